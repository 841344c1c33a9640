//! How long to wait before the next attempt.

use std::time::{Duration, SystemTime};

use jiff::fmt::rfc2822;

/// How patient a fetch is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Patience {
    /// Attempts in a row that bring no further byte, after the first.
    pub retries: u32,
    /// The wait before the first of them, which doubles with each.
    pub first: Duration,
    /// The longest wait, but for one that the server asks for.
    pub longest: Duration,
    /// The longest wait that a server may ask for.
    pub asked: Duration,
    /// How long a connection may say nothing.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let [first, longest, asked, silence] = [1, 60, 600, 60].map(Duration::from_secs);
        Self { retries: 5, first, longest, asked, silence }
    }
}

impl Patience {
    /// The wait after so many failures, counted from 1; `None` to give up. It doubles each time, and `share` (from a half
    /// to 1) of it is waited, so that those who failed together do not come back together (full jitter halves the load
    /// too, but may come back at once). What the server asks for is the least.
    pub(super) fn wait(&self, failures: u32, share: f64, after: Option<Duration>) -> Option<Duration> {
        if failures > self.retries || after.is_some_and(|after| after > self.asked) {
            return None;
        }
        let doubled = self.first.saturating_mul(1 << (failures - 1).min(20)).min(self.longest);
        Some(doubled.mul_f64(share).max(after.unwrap_or_default()))
    }
}

/// The wait that a `Retry-After` asks for: seconds, or a date.
pub(super) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let then = rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    // what is past asks for nothing
    Some(SystemTime::try_from(then).ok()?.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_end() {
        let patience = Patience::default();
        let seconds =
            |failures, share, after| patience.wait(failures, share, after).map(|wait: Duration| wait.as_secs_f64());
        let waits: Vec<_> = (1..=6).map(|failures| seconds(failures, 1.0, None)).collect();
        assert_eq!(waits, [Some(1.0), Some(2.0), Some(4.0), Some(8.0), Some(16.0), None]);
        assert_eq!(seconds(3, 0.5, None), Some(2.0));
        let long = Patience { retries: 100, ..patience };
        assert_eq!(long.wait(90, 1.0, None), Some(Duration::from_secs(60)));
        assert_eq!(seconds(1, 1.0, Some(Duration::from_secs(7))), Some(7.0));
        assert_eq!(seconds(1, 1.0, Some(Duration::from_secs(601))), None);
    }

    /// The date is RFC 9110's example (section 5.6.7), its number of seconds from `date -u -d`.
    #[test]
    fn servers_ask_in_seconds_or_by_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:00 GMT", now), Some(Duration::ZERO));
        for wrong in ["", "-1", "soon", "Sun, 06 Nov 1994", "Sun, 06 Foo 1994 08:49:37 GMT"] {
            assert_eq!(retry_after(wrong, now), None, "{wrong}");
        }
    }
}
