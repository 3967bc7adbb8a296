//! Times, durations and sizes in the words of people.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// `3 min ago`; a time in the future (clocks differ) is `just now`.
pub(crate) fn ago(ts: u64, now: u64) -> String {
    let ms = now.saturating_sub(ts);
    if ms < 2_000 { "just now".to_owned() } else { format!("{} ago", coarse(ms / 1_000)) }
}

/// `3 h 12 min`: the two largest units.
pub(crate) fn duration(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// `1.2 MB`, in powers of 1,000.
pub(crate) fn bytes(count: u64) -> String {
    let (unit, name) = match count {
        0..1_000 => return format!("{count} B"),
        1_000..1_000_000 => (1_000, "kB"),
        1_000_000..1_000_000_000 => (1_000_000, "MB"),
        _ => (1_000_000_000, "GB"),
    };
    format!("{}.{} {name}", count / unit, count % unit * 10 / unit)
}

/// `12:03:04Z`: std knows no local time, so it is UTC and says so.
pub(crate) fn clock(ts: u64) -> String {
    let seconds = ts / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

fn coarse(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn two(large: u64, large_name: &str, small: u64, small_name: &str) -> String {
    if small == 0 {
        format!("{large} {large_name}")
    } else {
        format!("{large} {large_name} {small} {small_name}")
    }
}

#[cfg(test)]
mod tests {
    use super::{ago, bytes, clock, duration};

    #[test]
    fn times_and_sizes_read_well() {
        assert_eq!(ago(1_000, 2_500), "just now");
        assert_eq!(ago(5_000, 1_000), "just now");
        assert_eq!(ago(0, 185_000), "3 min ago");
        assert_eq!(ago(0, 90_000_000), "1 d ago");
        assert_eq!(duration(59_999), "59 s");
        assert_eq!(duration(11_520_000), "3 h 12 min");
        assert_eq!(duration(7_200_000), "2 h");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_250_000), "1.2 MB");
        assert_eq!(clock(86_400_000 + 3_723_000), "01:02:03Z");
    }
}
