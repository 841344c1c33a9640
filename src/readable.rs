//! What people read: metrics, times, sizes, dates, paths.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

/// A metric with this many decimals; an undefined one says so.
pub fn number(value: Option<f64>, decimals: usize) -> String {
    let written = |value: f64| {
        let text = format!("{value:.decimals$}");
        // what rounds to nothing has no sign
        if text.starts_with('-') && text.chars().all(|c| matches!(c, '-' | '0' | '.')) {
            text[1..].to_owned()
        } else {
            text
        }
    };
    value.map_or_else(|| "undefined".to_owned(), written)
}

/// `0.4 s`, `3 min 12 s`, `2 h 5 min`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `512 B`, `3.4 MB`: powers of a thousand, as disks are sold.
pub fn bytes(size: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if size < 1000 {
        return format!("{size} B");
    }
    let mut value = size as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `2026-11-24 17:50:03 UTC`, of seconds since 1970.
pub fn moment(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.unwrap_or(Timestamp::MAX).strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A path from the working folder, if within it.
pub fn from_here(path: &Path) -> &Path {
    let here = std::env::current_dir().ok();
    here.and_then(|here| path.strip_prefix(here).ok()).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_read_well() {
        assert_eq!(duration(Duration::from_millis(430)), "0.4 s");
        assert_eq!(duration(Duration::from_secs(192)), "3 min 12 s");
        assert_eq!(duration(Duration::from_secs(7500)), "2 h 5 min");
        assert_eq!(
            ["999 B", "1.0 kB", "1.0 MB", "3.4 MB"],
            [999, 1000, 999_990, 3_400_000].map(bytes).each_ref().map(|s| s.as_str())
        );
    }

    #[test]
    fn moments_are_dates() {
        assert_eq!(moment(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(moment(1_000_000_000), "2001-09-09 01:46:40 UTC");
        assert_eq!(moment(u64::MAX), "9999-12-30 22:00:00 UTC");
    }
}
