//! Numbers just as Prometheus takes and refuses them.

/// The one NaN that an exposition can give. Source: `model/value/value.go` `NormalNaN`.
pub const NORMAL_NAN: u64 = 0x7ff8_0000_0000_0001;

/// Parses a value as `model/textparse/promparse.go` `parseFloat` does: Go's `ParseFloat` without hexadecimals and underscores.
#[inline]
pub(in crate::scrape) fn value(text: &[u8]) -> Option<f64> {
    short_decimal(text).or_else(|| any_value(text))
}

/// Up to 15 digits with at most one point, as most values are. Digits and power are exact in a float, so that their quotient is the nearest one.
#[inline]
fn short_decimal(text: &[u8]) -> Option<f64> {
    const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    if text.len() > 16 {
        return None;
    }
    let (mut number, mut point) = (0_u64, None);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => number = number * 10 + u64::from(byte - b'0'),
            b'.' if point.is_none() => point = Some(at),
            _ => return None,
        }
    }
    let digits = text.len() - usize::from(point.is_some());
    let fraction = point.map_or(0, |point| text.len() - 1 - point);
    (1..16).contains(&digits).then(|| number as f64 / POWERS[fraction])
}

fn any_value(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let parsed: f64 = text.parse().ok()?;
    if parsed.is_finite() {
        return Some(parsed);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if parsed.is_nan() {
        // Go knows no signed NaN; Rust does.
        return (unsigned.len() == text.len()).then_some(f64::from_bits(NORMAL_NAN));
    }
    // Out of range is an error in Go and infinity in Rust.
    unsigned.as_bytes().first().is_some_and(u8::is_ascii_alphabetic).then_some(parsed)
}

/// Parses a timestamp: digits only, up to the largest `i64`.
#[inline]
pub(in crate::scrape) fn timestamp(text: &[u8]) -> Option<i64> {
    let mut parsed: i64 = 0;
    if text.len() <= 18 {
        // Too few digits to overflow.
        for &byte in text {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            parsed = parsed * 10 + i64::from(digit);
        }
        return (!text.is_empty()).then_some(parsed);
    }
    for &digit in text {
        parsed = parsed.checked_mul(10)?.checked_add(i64::from(digit.wrapping_sub(b'0')))?;
    }
    (!text.is_empty() && text.iter().all(u8::is_ascii_digit)).then_some(parsed)
}

/// Parses a timestamp of OpenMetrics, in seconds, to the millisecond below it (`openmetricsparse.go` `Next`). Milliseconds beyond `i64`
/// are a time that nobody takes either way.
pub(in crate::scrape) fn seconds(text: &[u8]) -> Option<i64> {
    let seconds = value(text)?;
    seconds.is_finite().then_some((seconds * 1000.0) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_short_way_gives_what_the_long_one_does(text in "[0-9]{0,12}(\\.[0-9]{0,12})?") {
            prop_assert_eq!(value(text.as_bytes()).map(f64::to_bits), any_value(text.as_bytes()).map(f64::to_bits));
        }
    }

    #[test]
    fn values_as_prometheus_takes_them() {
        let cases: &[(&str, f64)] = &[
            ("1", 1.0),
            ("-1", -1.0),
            ("+1", 1.0),
            ("5.", 5.0),
            (".5", 0.5),
            ("1e3", 1000.0),
            ("1E-3", 0.001),
            ("1e-400", 0.0),
            ("inf", f64::INFINITY),
            ("+Inf", f64::INFINITY),
            ("-INFINITY", f64::NEG_INFINITY),
            ("1.7976931348623157e308", f64::MAX),
            ("4.9406564584124654e-324", 5e-324),
            ("0000001", 1.0),
        ];
        for (text, expected) in cases {
            assert_eq!(value(text.as_bytes()).map(f64::to_bits), Some(expected.to_bits()), "{text}");
        }
        assert_eq!(value(b"-0").map(f64::to_bits), Some((-0.0_f64).to_bits()));
        for text in ["NaN", "nan", "nAn"] {
            assert_eq!(value(text.as_bytes()).map(f64::to_bits), Some(NORMAL_NAN), "{text}");
        }
    }

    #[test]
    fn values_that_prometheus_refuses() {
        for text in
            ["", "1e400", "-1e400", "+NaN", "-NaN", "0x1p4", "0x10", "1_000", "1p3", "abc", "1\r", ".", "e5", "1e", "--1", "1,5", "infin", "\u{661}"]
        {
            assert_eq!(value(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn timestamps() {
        assert_eq!(timestamp(b"0"), Some(0));
        assert_eq!(timestamp(b"0001395066363000"), Some(1_395_066_363_000));
        assert_eq!(timestamp(b"9223372036854775807"), Some(i64::MAX));
        for text in ["", "9223372036854775808", "99999999999999999999", "-1", "1.5", "1e3", "+1"] {
            assert_eq!(timestamp(text.as_bytes()), None, "{text}");
        }
    }
}
