//! When rows were logged: numbers or dates, as far as a split by time needs them.

/// A moment as a log writes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Time {
    /// A number, whatever it counts from. Beyond 2^53 neighbours may become one time: their order stays, and a split keeps
    /// rows of one time together.
    Number(f64),
    /// Seconds since 1970 of an ISO 8601 text.
    Date(f64),
}

impl Time {
    /// Reads a finite number, or `2024-05-31`, `2024-05-31T23:59`, `2024-05-31 23:59:07.25`, with `Z`, `+02:00`, `+0200` or
    /// `+02` behind a time of day or nothing, which is taken for UTC.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.parse::<f64>() {
            Ok(number) => number.is_finite().then_some(Self::Number(number)),
            Err(_) => date(text).map(Self::Date),
        }
    }
}

/// The times of a log's rows. Numbers and dates have no common order, so a log holds one or the other.
#[derive(Debug, Default)]
pub(crate) struct Times {
    of: Vec<f64>,
    numbers: bool,
    dates: bool,
}

impl Times {
    pub(super) fn push(&mut self, time: Time) {
        match time {
            Time::Number(_) => self.numbers = true,
            Time::Date(_) => self.dates = true,
        }
        let (Time::Number(time) | Time::Date(time)) = time;
        self.of.push(time);
    }

    pub(super) fn append(&mut self, other: &mut Self) {
        self.numbers |= other.numbers;
        self.dates |= other.dates;
        self.of.append(&mut other.of);
    }

    pub(super) fn len(&self) -> usize {
        self.of.len()
    }

    /// Forgets all but the first rows.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.of.truncate(rows);
    }

    /// Whether there are both numbers and dates.
    pub(super) fn are_mixed(&self) -> bool {
        self.numbers && self.dates
    }

    /// All of them; none of a log without times.
    pub(super) fn all(&self) -> Option<&[f64]> {
        (!self.of.is_empty()).then_some(&self.of)
    }
}

/// Seconds since 1970.
fn date(text: &str) -> Option<f64> {
    if !text.is_ascii() || text.len() < 10 {
        return None;
    }
    let (date, rest) = text.split_at(10);
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *lengths.get(usize::try_from(month).ok()?.checked_sub(1)?)?;
    if !(1..=length).contains(&day) {
        return None;
    }
    // every fourth year before this one had a leap day, but for those of whole centuries, but for every fourth of these
    let before = year + 3999;
    let years = 365 * before + before / 4 - before / 100 + before / 400;
    const UNTIL_1970: i64 = 365 * 5969 + 5969 / 4 - 5969 / 100 + 5969 / 400;
    let days = years - UNTIL_1970 + lengths[..month as usize - 1].iter().sum::<i64>() + day - 1;
    Some(days as f64 * 86_400.0 + if rest.is_empty() { 0.0 } else { time_of_day(rest.strip_prefix(['T', 't', ' '])?)? })
}

/// Seconds since midnight UTC.
fn time_of_day(text: &str) -> Option<f64> {
    let zone = text.find(['Z', 'z', '+', '-']).unwrap_or(text.len());
    let (clock, zone) = text.split_at(zone);
    let (hour, minute, second) = match clock.len() {
        5 => {
            let [hour, minute] = numbers(clock, ':', [2, 2])?;
            (hour, minute, 0.0)
        }
        _ => {
            let [hour, minute, second] = numbers(clock.get(..8)?, ':', [2, 2, 2])?;
            let fraction = match clock[8..].strip_prefix(['.', ',']) {
                Some(digits) if all_digits(digits) => format!("0.{digits}").parse().ok()?,
                Some(_) => return None,
                None if clock.len() == 8 => 0.0,
                None => return None,
            };
            (hour, minute, second as f64 + fraction)
        }
    };
    // 60 is a leap second
    if hour > 23 || minute > 59 || second >= 61.0 {
        return None;
    }
    Some((hour * 3600 + minute * 60 - offset(zone)?) as f64 + second)
}

/// Seconds that a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    let sign = match zone.chars().next() {
        None => return Some(0),
        Some('Z' | 'z') => return (zone.len() == 1).then_some(0),
        Some('-') => -1,
        Some(_) => 1,
    };
    let zone = &zone[1..];
    let [hours, minutes] = match zone.len() {
        2 => [numbers::<1>(zone, ':', [2])?[0], 0],
        4 => numbers(&format!("{}:{}", &zone[..2], &zone[2..]), ':', [2, 2])?,
        _ => numbers(zone, ':', [2, 2])?,
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Numbers of so many digits each, with a sign between them.
fn numbers<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut found = text.split(between);
    let mut numbers = [0; N];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let text = found.next().filter(|text| text.len() == digits && all_digits(text))?;
        *number = text.parse().ok()?;
    }
    found.next().is_none().then_some(numbers)
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against `date -u -d .. +%s`.
    #[test]
    fn dates_are_seconds_since_1970() {
        for (text, seconds) in [
            ("1970-01-01", 0.0),
            ("1969-12-31", -86_400.0),
            ("1900-03-01", -2_203_891_200.0),
            ("2000-02-29", 951_782_400.0),
            ("2000-03-01", 951_868_800.0),
            ("2024-05-31T23:59", 1_717_199_940.0),
            ("2024-05-31 23:59:07", 1_717_199_947.0),
            ("2024-05-31T23:59:07.25Z", 1_717_199_947.25),
            ("2024-05-31T23:59:07+02:00", 1_717_192_747.0),
            ("2024-05-31T23:59:07+0200", 1_717_192_747.0),
            ("2024-05-31T23:59:07-03", 1_717_210_747.0),
        ] {
            assert_eq!(Time::parse(text), Some(Time::Date(seconds)), "{text}");
        }
    }

    #[test]
    fn numbers_are_what_they_are() {
        assert_eq!(Time::parse("1717199947"), Some(Time::Number(1_717_199_947.0)));
        assert_eq!(Time::parse("-2.5"), Some(Time::Number(-2.5)));
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in [
            "",
            "NaN",
            "inf",
            "yesterday",
            "31.05.2024",
            "2024-5-31",
            "2024-13-01",
            "2023-02-29",
            "1900-02-29",
            "2024-04-31",
            "2024-05-00",
            "2024-05-31T",
            "2024-05-31T24:00",
            "2024-05-31T23:60",
            "2024-05-31T23:59:07.",
            "2024-05-31T23:59:071",
            "2024-05-31T23:59+2",
            "2024-05-31T23:59Zz",
            "2024-05-31x23:59",
            "2024-05-31T2é:59",
        ] {
            assert_eq!(Time::parse(text), None, "{text}");
        }
    }
}
