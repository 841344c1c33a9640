//! What a column's values look like, and the part that they suggest.

use std::collections::HashSet;

/// Up to this many values, integers are categories: codes, weekdays, ratings.
const FEW: usize = 50;
/// A category is worth learning when its values come this often on average.
const REPEATS: f64 = 2.0;

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
    /// Numbers that are no integer.
    fractions: usize,
    /// Texts that a label may be.
    binary: usize,
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
        match text.parse::<f64>() {
            Ok(number) => {
                let first = self.rows - self.missing - self.texts == 1;
                (self.least, self.most) =
                    if first { (number, number) } else { (self.least.min(number), self.most.max(number)) };
                self.fractions += usize::from(number.fract() != 0.0);
            }
            Err(_) => self.texts += 1,
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

    /// The part that the values suggest, a label aside, and why.
    fn suggests(&self, name: &str) -> (Part, String) {
        let (present, values) = (self.rows - self.missing, self.values.len());
        let repeats = present as f64 / values.max(1) as f64;
        let numbers = self.texts == 0;
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
    fn names_are_taken_apart() {
        assert_eq!(words("userId"), ["user", "id"]);
        assert_eq!(words("USER_ID"), ["user", "id"]);
        assert_eq!(words(" is-clicked? "), ["is", "clicked"]);
        assert!(words("..").is_empty());
    }
}
