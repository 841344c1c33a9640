//! What a column's values look like, and the part that they suggest.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use crate::data::Time;

/// Up to this many values, integers are categories: codes, weekdays, ratings.
const FEW: usize = 50;
/// A category is worth learning when its values come this often on average.
const REPEATS: f64 = 2.0;
/// Seconds since 1970 that lie between the years 2000 and 2100; a thousand times as many are milliseconds.
const SECONDS: RangeInclusive<f64> = 946_684_800.0..=4_102_444_800.0;

/// One column of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The part it plays.
    pub part: Part,
    /// Different values, missing ones aside.
    pub values: usize,
    /// Rows without a value.
    pub missing: usize,
    /// Why it plays this part.
    pub why: String,
}

/// The part that a column plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A task's label.
    Label,
    /// A category.
    Categorical,
    /// A number.
    Numerical,
    /// When the rows were logged.
    Time,
    /// None.
    LeftOut,
}

impl Part {
    /// The part in a word or two.
    pub fn word(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::Categorical => "categorical",
            Self::Numerical => "numerical",
            Self::Time => "time",
            Self::LeftOut => "left out",
        }
    }
}

/// What has been seen of a column.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Digests of the different texts; a collision would be one value too few.
    values: HashSet<u64>,
    rows: usize,
    missing: usize,
    /// Texts that are no number.
    texts: usize,
    /// Texts that are dates; counted for as long as all texts are.
    dates: usize,
    /// Numbers that are no integer.
    fractions: usize,
    /// Texts that a label may be.
    binary: usize,
    /// Which rows are 1; kept for as long as all rows may be a label's.
    ones: Vec<bool>,
    least: f64,
    most: f64,
    /// Integers that are one more than the one before.
    steps: usize,
    last: Option<i64>,
}

impl Seen {
    /// Notes the value of the next row.
    pub(super) fn note(&mut self, text: &str) {
        self.rows += 1;
        // what a number may lack, and `fill` of `Preprocess` replaces
        let number = text.parse::<f32>().ok();
        if text.is_empty() || number.is_some_and(|number| !number.is_finite()) {
            self.missing += 1;
            self.last = None;
            return;
        }
        let hash = blake3::hash(text.as_bytes());
        self.values.insert(u64::from_le_bytes(*hash.as_bytes().first_chunk().unwrap_or(&[0; 8])));
        self.binary += usize::from(matches!(text, "0" | "1" | "0.0" | "1.0"));
        if self.binary == self.rows {
            self.ones.push(text.starts_with('1'));
        } else {
            self.ones = Vec::new();
        }
        match text.parse::<f64>() {
            Ok(number) => {
                let first = self.rows - self.missing - self.texts == 1;
                (self.least, self.most) =
                    if first { (number, number) } else { (self.least.min(number), self.most.max(number)) };
                self.fractions += usize::from(number.fract() != 0.0);
            }
            Err(_) => {
                if self.dates == self.texts {
                    self.dates += usize::from(matches!(Time::parse(text), Some(Time::Date(_))));
                }
                self.texts += 1;
            }
        }
        let integer = text.parse().ok();
        if let (Some(last), Some(integer)) = (self.last, integer) {
            self.steps += usize::from(i64::checked_add(last, 1) == Some(integer));
        }
        self.last = integer;
    }

    /// Whether a task's label may be this: 0 and 1, both, in every row; or else why not.
    pub(super) fn may_be_label(&self) -> Result<(), &'static str> {
        match () {
            () if self.missing > 0 => Err("it has rows without a value"),
            () if self.binary < self.rows => Err("it holds other values than 0 and 1"),
            () if self.least == self.most => Err("it is the same in all rows"),
            () => Ok(()),
        }
    }

    /// How the values say when rows were logged, if they do.
    fn times(&self, name: &str) -> Option<&'static str> {
        let present = self.rows - self.missing;
        let within = |unit: f64| [self.least, self.most].iter().all(|time| SECONDS.contains(&(time / unit)));
        match () {
            () if present == 0 => None,
            () if self.dates == present => Some("dates"),
            () if self.texts > 0 || self.fractions > 0 || !tells_time(name) => None,
            () if within(1.0) => Some("seconds since 1970, going by the name"),
            () if within(1e3) => Some("milliseconds since 1970, going by the name"),
            () => None,
        }
    }

    /// Whether a label is 1 only where another is, though not in all of those rows.
    pub(super) fn needs(&self, other: &Self) -> bool {
        let pairs = || self.ones.iter().zip(&other.ones);
        pairs().all(|(one, other)| other | !one) && pairs().any(|(one, other)| one != other)
    }

    /// The part that the values suggest, a label aside, and why.
    fn suggests(&self, name: &str) -> (Part, String) {
        let (present, values) = (self.rows - self.missing, self.values.len());
        let repeats = present as f64 / values.max(1) as f64;
        let numbers = self.texts == 0;
        if let (Some(times), 2..) = (self.times(name), values) {
            return match self.missing {
                0 => (Part::Time, format!("{times}: for splits by time, and no feature")),
                1 => (Part::LeftOut, format!("{times}, which one row lacks: no time to split by")),
                missing => (Part::LeftOut, format!("{times}, which {missing} rows lack: no time to split by")),
            };
        }
        match () {
            () if present == 0 => (Part::LeftOut, "no row has a value".into()),
            () if values == 1 && self.missing == 0 => (Part::LeftOut, "the same in all rows".into()),
            () if self.rows > 2 && self.steps == self.rows - 1 => {
                (Part::LeftOut, "counts the rows: each one more than the one before".into())
            }
            () if numbers && self.fractions > 0 => {
                (Part::Numerical, format!("numbers from {} to {}", self.least, self.most))
            }
            () if values > FEW && repeats < REPEATS && (!numbers || names_things(name)) => (
                Part::LeftOut,
                format!("hardly a value comes twice ({values} in {present} rows): nothing to learn from"),
            ),
            () if !numbers => (Part::Categorical, "texts".into()),
            () if names_things(name) => (Part::Categorical, "integers that stand for things, going by the name".into()),
            () if values <= FEW => (Part::Categorical, "few different integers".into()),
            () => (Part::Numerical, format!("many integers, from {} to {}", self.least, self.most)),
        }
    }

    /// The column with the part that it plays if it is no label.
    pub(super) fn column(&self, name: &str) -> Column {
        let (part, why) = self.suggests(name);
        Column { name: name.to_owned(), part, values: self.values.len(), missing: self.missing, why }
    }
}

/// Words of a name in small letters: `userId` and `user_id` are `user`, `id`.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut small = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && small) {
            words.push(String::new());
        }
        small = c.is_lowercase();
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether a column of this name says when something was.
fn tells_time(name: &str) -> bool {
    const TIMES: [&str; 8] = ["time", "date", "datetime", "timestamp", "ts", "at", "unix", "epoch"];
    words(name).iter().any(|word| TIMES.contains(&word.as_str()))
}

/// Whether a column of this name may say which user, session or search a row is of.
pub(super) fn names_a_group(name: &str) -> bool {
    const GROUPS: [&str; 12] = [
        "user",
        "session",
        "search",
        "query",
        "customer",
        "visitor",
        "member",
        "uid",
        "userid",
        "sessionid",
        "searchid",
        "queryid",
    ];
    let words = words(name);
    let named = |word: &String| GROUPS.contains(&word.as_str());
    match words.as_slice() {
        [.., thing, id] if id == "id" => named(thing),
        [.., last] => named(last),
        [] => false,
    }
}

/// Whether a column of this name numbers things rather than measures them.
fn names_things(name: &str) -> bool {
    const THINGS: [&str; 12] =
        ["id", "ids", "code", "zip", "postcode", "user", "item", "session", "type", "category", "year", "month"];
    words(name).last().is_some_and(|last| THINGS.contains(&last.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column<T: ToString>(name: &str, values: impl IntoIterator<Item = T>) -> (Part, Seen) {
        let mut seen = Seen::default();
        values.into_iter().for_each(|value| seen.note(&value.to_string()));
        (seen.column(name).part, seen)
    }

    #[test]
    fn parts_follow_the_values() {
        let part = |name: &str, values: Vec<String>| column(name, values).0;
        let of = |f: &dyn Fn(u32) -> String| (0..200).map(f).collect::<Vec<_>>();
        assert_eq!(part("x", of(&|_| "7".into())), Part::LeftOut);
        assert_eq!(part("x", of(&|_| String::new())), Part::LeftOut);
        assert_eq!(part("x", of(&|row| (row + 5).to_string())), Part::LeftOut, "counts the rows");
        assert_eq!(part("x", of(&|row| (row % 7).to_string())), Part::Categorical);
        assert_eq!(part("age", of(&|row| (row % 91).to_string())), Part::Numerical);
        assert_eq!(part("user_id", of(&|row| (row % 91).to_string())), Part::Categorical);
        assert_eq!(part("user_id", of(&|row| (row * 7919 % 1009).to_string())), Part::LeftOut);
        assert_eq!(part("gain", of(&|row| (row * 7919 % 1009).to_string())), Part::Numerical);
        assert_eq!(part("x", of(&|row| format!("{}.5", row % 3))), Part::Numerical);
        assert_eq!(part("x", of(&|row| format!("t{}", row % 60))), Part::Categorical);
        assert_eq!(part("x", of(&|row| format!("t{row}"))), Part::LeftOut);
        // times, whatever else they may look like
        let second = |row: u32| 1_700_000_000_u64 + u64::from(row);
        assert_eq!(part("x", of(&|row| format!("2024-05-{:02}", row % 31 + 1))), Part::Time);
        assert_eq!(part("x", of(&|row| format!("2024-05-31 {:02}:59:07.25Z", row % 24))), Part::Time);
        for name in ["created_at", "eventTime", "TIMESTAMP", "ts", "order-date"] {
            assert_eq!(part(name, of(&|row| second(row).to_string())), Part::Time, "{name} counts the rows");
            assert_eq!(part(name, of(&|row| (1000 * second(row * 7 % 90) + 5).to_string())), Part::Time, "{name}");
            assert_ne!(part(name, of(&|row| (second(row * 7 % 90) / 2).to_string())), Part::Time, "before 2000");
            assert_ne!(part(name, of(&|row| format!("{}.5", second(row)))), Part::Time, "no whole number");
            assert_ne!(
                part(name, of(&|row| format!("{}000", second(row) * u64::from(row % 2)))),
                Part::Time,
                "some are 0"
            );
        }
        assert_eq!(part("amount", of(&|row| second(row * 7 % 90).to_string())), Part::Numerical);
        assert_eq!(part("x", of(&|row| format!("2024-05-{:02}", row % 32 + 1))), Part::Categorical, "no 32nd");
        assert_eq!(part("x", of(&|row| if row > 0 { "2024-05-31".into() } else { "5".into() })), Part::Categorical);
        assert_eq!(part("x", of(&|_| "2024-05-31".into())), Part::LeftOut, "the same in all rows");
        let gap = column("x", (0..9).map(|row| if row == 4 { String::new() } else { format!("2024-05-1{row}") })).1;
        assert_eq!(gap.column("x").why, "dates, which one row lacks: no time to split by");
        // a value that is missing now and then is a value
        assert_eq!(part("x", of(&|row| if row % 2 == 0 { "yes".into() } else { String::new() })), Part::Categorical);
    }

    #[test]
    fn labels_are_zeros_and_ones_in_every_row() {
        let may = |values: &[&str]| column("y", values).1.may_be_label();
        assert_eq!([may(&["0", "1"]), may(&["1.0", "0.0"])], [Ok(()); 2]);
        assert_eq!(may(&["0", "1", ""]), Err("it has rows without a value"));
        assert_eq!(may(&["0", "1", "2"]), Err("it holds other values than 0 and 1"));
        assert_eq!(may(&["no", "yes"]), Err("it holds other values than 0 and 1"));
        assert_eq!(may(&["1", "1.0"]), Err("it is the same in all rows"));
    }

    #[test]
    fn groups_are_users_sessions_and_searches() {
        for name in ["user", "userId", "USER_ID", "session_id", "search id", "last_query", "uid"] {
            assert!(names_a_group(name), "{name}");
        }
        for name in ["user_type", "id", "item_id", "searches_today", "users_item_id", ""] {
            assert!(!names_a_group(name), "{name}");
        }
    }

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(words("userId"), ["user", "id"]);
        assert_eq!(words("USER_ID"), ["user", "id"]);
        assert_eq!(words(" is-clicked? "), ["is", "clicked"]);
        assert!(words("..").is_empty());
    }
}
