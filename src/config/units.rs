//! Durations, sizes and plain scalars as Prometheus reads them.

use std::time::Duration;

const MILLISECOND: u64 = 1;
const SECOND: u64 = 1000 * MILLISECOND;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Units of a duration, in milliseconds. A duration names them in this order, each at most once.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * DAY),
    ("w", 7 * DAY),
    ("d", DAY),
    ("h", HOUR),
    ("m", MINUTE),
    ("s", SECOND),
    ("ms", MILLISECOND),
];

/// Longest duration, in milliseconds: Go has nanoseconds in an i64.
const MAX_DURATION_MS: u64 = (i64::MAX / 1_000_000) as u64;

/// Reads a duration such as `1h30m`, `15s`, `100ms` or `0`. Returns `None` for any other text. //
/// common model/time.go ParseDuration
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use amp_forwarder::config::parse_duration;
///
/// assert_eq!(parse_duration("1m30s"), Some(Duration::from_secs(90)));
/// assert_eq!(parse_duration("90"), None, "a unit is needed");
/// ```
pub fn parse_duration(text: &str) -> Option<Duration> {
    match text {
        "" => return None,
        "0" => return Some(Duration::ZERO),
        _ => {}
    }
    let mut rest = text;
    let mut total: u64 = 0;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (name, tail) = tail.split_at(letters);
        let unit = next_unit
            + UNITS
                .get(next_unit..)?
                .iter()
                .position(|(unit, _)| *unit == name)?;
        let amount: u64 = number.parse().ok()?;
        total = total.checked_add(amount.checked_mul(UNITS[unit].1)?)?;
        next_unit = unit + 1;
        rest = tail;
    }
    (total <= MAX_DURATION_MS).then(|| Duration::from_millis(total))
}

/// Writes a duration as Prometheus does, such as `1h30m`. Fractions of a millisecond are dropped.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    for (name, size) in UNITS {
        // As in model.Duration.String, years and weeks are used only when they divide evenly.
        if size > DAY && !rest.is_multiple_of(size) {
            continue;
        }
        let amount = rest / size;
        if amount > 0 {
            text.push_str(&format!("{amount}{name}"));
            rest -= amount * size;
        }
    }
    text
}

/// Reads a size such as `10MiB`, `1.5GB`, `512KB` or `1024B`, in bytes. All units are powers of
/// two. Bare numbers are bytes; Prometheus refuses them. // github.com/alecthomas/units
/// ParseBase2Bytes
pub(super) fn parse_size(text: &str) -> Option<u64> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text
            .parse()
            .ok()
            .filter(|bytes| i64::try_from(*bytes).is_ok());
    }
    // One spelling throughout: `1GiB512MB` is refused.
    sum_of_sizes(text, "iB").or_else(|| sum_of_sizes(text, "B"))
}

/// The sum of sizes whose units all end with `suffix`.
fn sum_of_sizes(text: &str, suffix: &str) -> Option<u64> {
    const PREFIXES: &str = "KMGTPE";
    let mut total: u64 = 0;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest
            .bytes()
            .take_while(|b| b.is_ascii_digit() || *b == b'.')
            .count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let power = match unit.strip_suffix(suffix) {
            Some(prefix) if prefix.len() == 1 => PREFIXES.find(prefix)? + 1,
            _ if unit == "B" => 0,
            _ => return None,
        };
        let scale = 1u64 << (10 * power);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        let whole: u64 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok()?
        };
        let fraction: f64 = format!("0.{fraction}0").parse().ok()?;
        total = total
            .checked_add(whole.checked_mul(scale)?)?
            .checked_add((fraction * scale as f64) as u64)?;
        rest = tail;
    }
    i64::try_from(total).is_ok().then_some(total)
}

/// Reads one of YAML 1.1's booleans. // yaml.v2 resolve.go
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Some(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Some(false)
        }
        _ => None,
    }
}

/// Reads one of YAML 1.1's integers: `1_000`, `0x10`, `0b11`, `010` (octal), or a whole float such
/// as `1e3`. // yaml.v2 resolve.go
pub(super) fn parse_integer(text: &str) -> Option<i128> {
    let digits = text.replace('_', "");
    let (sign, magnitude) = match digits.as_bytes().first()? {
        b'-' => (-1, &digits[1..]),
        b'+' => (1, &digits[1..]),
        _ => (1, digits.as_str()),
    };
    // `from_str_radix` would take a second sign.
    if !magnitude.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let radix = |prefixes: [&str; 2]| {
        prefixes
            .into_iter()
            .find_map(|prefix| magnitude.strip_prefix(prefix))
    };
    let parsed = if let Some(hex) = radix(["0x", "0X"]) {
        unsigned(hex, 16)
    } else if let Some(binary) = radix(["0b", "0B"]) {
        unsigned(binary, 2)
    } else if let Some(octal) = radix(["0o", "0O"]) {
        unsigned(octal, 8)
    } else if magnitude.len() > 1
        && magnitude.starts_with('0')
        && magnitude.bytes().all(|b| b.is_ascii_digit())
    {
        unsigned(magnitude, 8)
    } else {
        unsigned(magnitude, 10)
    };
    if let Some(integer) = parsed {
        return Some(sign * integer);
    }
    let float: f64 = magnitude.parse().ok()?;
    (float.fract() == 0.0 && float < 9e15).then_some(sign * float as i128)
}

/// Reads digits without a sign.
fn unsigned(digits: &str, radix: u32) -> Option<i128> {
    if digits.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok().map(i128::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [
            ("0", 0),
            ("0s", 0),
            ("15s", 15_000),
            ("1m30s", 90_000),
            ("1h", 3_600_000),
            ("1d1ms", 86_400_001),
            (
                "1y2w3d4h5m6s7ms",
                (365 + 14 + 3) * DAY + 4 * HOUR + 5 * MINUTE + 6007,
            ),
            ("007s", 7000),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_millis(ms)),
                "{text}"
            );
        }
        for text in [
            "",
            "15",
            "1.5s",
            "-1s",
            "1s1m",
            "1s1s",
            " 1s",
            "1s ",
            "1S",
            "s",
            "1us",
            "300y",
            "99999999999999999999s",
            "1sm",
            "é",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_written_as_prometheus_does() {
        for (ms, text) in [
            (0, "0s"),
            (15_000, "15s"),
            (90_000, "1m30s"),
            (DAY + HOUR, "1d1h"),
            (90 * DAY, "90d"),
            (7 * DAY, "1w"),
            (30, "30ms"),
        ] {
            assert_eq!(format_duration(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("1000000", 1_000_000),
            ("1B", 1),
            ("1KB", 1024),
            ("1KiB", 1024),
            ("100MB", 100 << 20),
            ("1.5GiB", 3 << 29),
            ("1GB512MB", (1 << 30) + (512 << 20)),
            (".5KB", 512),
            ("1EB", 1 << 60),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "MB",
            "1kB",
            "1K",
            "1 MB",
            "-1MB",
            "1.2.3MB",
            ".MB",
            "9EB",
            "16EB",
            "1GiB512MB",
            "1ZB",
            "é",
        ] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn integers() {
        for (text, number) in [
            ("1000", 1000),
            ("1_000", 1000),
            ("0x10", 16),
            ("010", 8),
            ("0b11", 3),
            ("1e3", 1000),
            ("-5", -5),
            ("+5", 5),
            ("2.0", 2),
            ("0", 0),
        ] {
            assert_eq!(parse_integer(text), Some(number), "{text}");
        }
        for text in [
            "", "x", "--5", "+-5", "1.5", "0x-1", "inf", "nan", "1e99", "10s", "-",
        ] {
            assert_eq!(parse_integer(text), None, "{text}");
        }
    }

    #[test]
    fn booleans_are_those_of_yaml_1_1() {
        assert_eq!(parse_bool("on"), Some(true));
        assert_eq!(parse_bool("No"), Some(false));
        assert_eq!(parse_bool("oN"), None);
    }

    proptest! {
        #[test]
        fn durations_round_trip(ms in 0..=MAX_DURATION_MS) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }

        #[test]
        fn whole_sizes_round_trip(amount in 0u64..1 << 30, unit in 0usize..4) {
            let (name, shift) = [("B", 0), ("KiB", 10), ("MB", 20), ("GiB", 30)][unit];
            prop_assert_eq!(parse_size(&format!("{amount}{name}")), Some(amount << shift));
        }

        #[test]
        fn nothing_panics(text in "\\PC*", numeric in "[-+0-9._xXobeEkKMGiBsmhdwy]{0,24}") {
            for text in [text, numeric] {
                parse_duration(&text);
                parse_size(&text);
                parse_integer(&text);
            }
        }
    }
}
