//! When rows were logged: numbers or dates, as far as a split by time needs them.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

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

/// Seconds since 1970; without a zone, of UTC.
fn date(text: &str) -> Option<f64> {
    let in_utc = |time: DateTime| Offset::UTC.to_timestamp(time).ok();
    let time = text.parse::<Timestamp>().ok().or_else(|| text.parse::<DateTime>().ok().and_then(in_utc))?;
    Some(time.as_second() as f64 + f64::from(time.subsec_nanosecond()) / 1e9)
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
