//! Durations (`1m30s`) and sizes (`4MiB`) as people write them, both ways.

use std::time::Duration;

/// What a duration looks like, for messages.
pub const DURATION_RULE: &str = "a duration such as \"500ms\", \"10s\", \"1m30s\", \"2h\" or \"7d\"";
/// What a size looks like, for messages.
pub const SIZE_RULE: &str = "a size such as \"64KiB\", \"4MiB\" or \"2GB\"";

/// The same for schemas.
pub const DURATION_PATTERN: &str = "^([0-9]+(ms|s|m|h|d))+$|^[0-9]+\\.[0-9]{1,3}(s|m|h|d)$";
pub const SIZE_PATTERN: &str = "^[0-9]+ ?(B|kB|KB|KiB|MB|MiB|GB|GiB)$";

/// Parses a sum of whole numbers with units `ms s m h d`, each unit at most once, or one decimal number with a unit
/// that comes to whole milliseconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut largest = u64::MAX;
    if rest.is_empty() {
        return None;
    }
    if let Some((whole, fraction)) = text.split_once('.') {
        let digits = fraction.find(|c: char| !c.is_ascii_digit()).filter(|n| (1..=3).contains(n))?;
        let (fraction, unit) = fraction.split_at(digits);
        let unit = parse_duration(&format!("1{unit}")).filter(|_| ["s", "m", "h", "d"].contains(&unit))?;
        let part = unit.checked_mul(fraction.parse().ok()?)? / 10_u32.checked_pow(u32::try_from(digits).ok()?)?;
        let total = unit.checked_mul(whole.parse().ok()?)?.checked_add(part)?;
        return (total.subsec_nanos() % 1_000_000 == 0).then_some(total);
    }
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let unit_len = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_len);
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        if millis >= largest {
            return None;
        }
        largest = millis;
        total = total.checked_add(Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(millis)?))?;
        rest = next;
    }
    Some(total)
}

/// Parses a whole number with a unit `B kB KB KiB MB MiB GB GiB`.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let factor = match unit.trim_start() {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A measured duration for people: three significant digits at most.
pub fn show_duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{:.1} ms", duration.as_secs_f64() * 1e3),
        10_000..1_000_000 => format!("{:.0} ms", duration.as_secs_f64() * 1e3),
        1_000_000..60_000_000 if micros.is_multiple_of(1_000_000) => format!("{} s", duration.as_secs()),
        1_000_000..60_000_000 => format!("{:.2} s", duration.as_secs_f64()),
        _ => {
            let secs = duration.as_secs();
            match (secs / 3600, secs / 60 % 60, secs % 60) {
                (0, m, 0) => format!("{m}m"),
                (0, m, s) => format!("{m}m{s}s"),
                (h, 0, _) => format!("{h}h"),
                (h, m, _) => format!("{h}h{m}m"),
            }
        }
    }
}

/// A byte count for people.
#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
pub fn show_size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_falling_units() {
        for (text, millis) in [
            ("500ms", Some(500)),
            ("10s", Some(10_000)),
            ("1m30s", Some(90_000)),
            ("1d2h", Some(93_600_000)),
            ("0s", Some(0)),
            ("", None),
            ("10", None),
            ("s", None),
            ("2.5s", Some(2_500)),
            ("0.25s", Some(250)),
            ("1.5h", Some(5_400_000)),
            ("1.5ms", None),
            ("1.5m30s", None),
            ("1.s", None),
            (".5s", None),
            ("1.5", None),
            ("30s1m", None),
            ("1s1s", None),
            ("-1s", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(parse_duration(text).map(|d| d.as_millis()), millis, "{text}");
        }
    }

    #[test]
    fn sizes_know_both_kinds_of_units() {
        for (text, bytes) in
            [("4MiB", Some(4 << 20)), ("2GB", Some(2_000_000_000)), ("1 KiB", Some(1024)), ("5", None), ("5TB", None)]
        {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }

    #[test]
    fn shown_durations_keep_three_digits() {
        for (micros, text) in [
            (700, "700 µs"),
            (1_540, "1.5 ms"),
            (42_300, "42 ms"),
            (2_500_000, "2.50 s"),
            (10_000_000, "10 s"),
            (90_000_000, "1m30s"),
        ] {
            assert_eq!(show_duration(Duration::from_micros(micros)), text);
        }
    }
}
