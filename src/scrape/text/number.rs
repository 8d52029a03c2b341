//! Numbers just as Prometheus takes and refuses them.

/// The one NaN that an exposition can give. Source: `model/value/value.go` `NormalNaN`.
pub const NORMAL_NAN: u64 = 0x7ff8_0000_0000_0001;

/// Parses a value as `model/textparse/promparse.go` `parseFloat` does: Go's `ParseFloat` without
/// hexadecimals and underscores.
#[inline]
pub(in crate::scrape) fn value(text: &[u8]) -> Option<f64> {
    match decimal(text) {
        Some((value, length)) if length == text.len() => Some(value),
        _ => any_value(text),
    }
}

/// Parses the value at the start of a text, up to a blank or a newline, and returns its length.
#[inline]
pub(super) fn leading(text: &[u8]) -> Option<(f64, usize)> {
    if let Some((value, at)) = decimal(text)
        && let Some(b' ' | b'\n') = text.get(at)
    {
        return Some((value, at));
    }
    let length = length(text)?;
    Some((value(&text[..length])?, length))
}

/// Length of the number at the start of a text, up to a blank or a newline. None when neither is
/// found within the length of a number.
#[inline]
pub(super) fn length(text: &[u8]) -> Option<usize> {
    // Nearly always a timestamp of 13 digits and the end of the line.
    if let [.., b'\n'] = text.first_chunk::<{ TIMESTAMP + 1 }>()? {
        return Some(TIMESTAMP);
    }
    text.iter()
        .take(LONGEST)
        .position(|byte| matches!(byte, b' ' | b'\n'))
}

/// Number of digits of a timestamp in milliseconds, from 2001 to 2286.
const TIMESTAMP: usize = 13;

/// Length in bytes that no number of Prometheus reaches.
const LONGEST: usize = 32;

/// Parses digits with at most one point, which is the form of most values, up to the first other
/// byte.
///
/// The digits as a whole number and the power of ten are both exact in a float. So their quotient
/// is rounded once, and is the nearest float (W. D. Clinger's fast path).
#[inline]
fn decimal(text: &[u8]) -> Option<(f64, usize)> {
    const POWERS: [f64; 19] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
        1e17, 1e18,
    ];
    const EXACT: u64 = 1 << f64::MANTISSA_DIGITS;
    // The digits behind the point are appended to those before it: 12.5 is 125 / 10.
    let (whole, point) = digits(text, 0);
    let (number, end, fraction) = match text.get(point) {
        Some(b'.') => {
            let (number, end) = digits(&text[point + 1..], whole);
            (number, point + 1 + end, end)
        }
        _ => (whole, point, 0),
    };
    let power = POWERS.get(fraction)?;
    // 19 digits do not overflow.
    ((1..=19).contains(&(point + fraction)) && number <= EXACT)
        .then(|| (number as f64 / power, end))
}

/// Appends the digits at the start of a text to a number, and returns how many there are. With more
/// than 19 digits the number has overflowed and means nothing.
#[inline]
fn digits(text: &[u8], mut number: u64) -> (u64, usize) {
    const POWERS: [u64; 9] = [
        1,
        10,
        100,
        1000,
        10_000,
        100_000,
        1_000_000,
        10_000_000,
        100_000_000,
    ];
    let mut at = 0;
    while let Some(eight) = text[at..].first_chunk() {
        let (value, length) = leading_digits(eight);
        number = number.wrapping_mul(POWERS[length]).wrapping_add(value);
        at += length;
        if length < 8 {
            return (number, at);
        }
    }
    // The text ends within the next eight bytes.
    while let Some(digit) = text
        .get(at)
        .map(|byte| byte.wrapping_sub(b'0'))
        .filter(|&digit| digit < 10)
    {
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (number, at)
}

/// The number that the digits at the start of eight bytes make, and how many there are, without a
/// branch for each.
#[inline]
fn leading_digits(text: &[u8; 8]) -> (u64, usize) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // The first byte is the lowest one.
    let text = u64::from_le_bytes(*text);
    // A byte is no digit if adding 0x46 sets its high bit (it is above '9'), or if subtracting 0x30
    // does (it is below '0'). Carries and borrows of such a byte reach only bytes behind it.
    let high = text.wrapping_add(ONES * 0x46) | text.wrapping_sub(ONES * 0x30);
    let length = (high & (ONES * 0x80)).trailing_zeros() as usize / 8;
    if length == 0 {
        return (0, 0);
    }
    // The digits move to the end, and zeros come in before them.
    let text = text << (64 - 8 * length);
    // Each step joins neighbours: digits to pairs, pairs to fours, fours to the number. A
    // multiplication adds the left half, scaled, to the right one.
    let pairs = (text & (ONES * 0x0f)).wrapping_mul((10 << 8) + 1) >> 8;
    let fours = (pairs & 0x00ff_00ff_00ff_00ff).wrapping_mul((100 << 16) + 1) >> 16;
    let eight = (fours & 0x0000_ffff_0000_ffff).wrapping_mul((10_000 << 32) + 1) >> 32;
    (eight, length)
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
    unsigned
        .as_bytes()
        .first()
        .is_some_and(u8::is_ascii_alphabetic)
        .then_some(parsed)
}

/// Parses a timestamp: digits only, up to the largest `i64`.
#[inline]
pub(in crate::scrape) fn timestamp(text: &[u8]) -> Option<i64> {
    // Nearly always 13 digits: eight, and then the last eight, of which three are among the first.
    if let Ok(text) = <&[u8; TIMESTAMP]>::try_from(text)
        && let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk())
    {
        let ((first, length), (last, last_length)) = (leading_digits(first), leading_digits(last));
        return (length == 8 && last_length == 8)
            .then_some((first * 100_000 + last % 100_000) as i64);
    }
    if text.len() <= 18 {
        // Too few digits to overflow.
        let (parsed, length) = digits(text, 0);
        return (length == text.len() && length > 0).then_some(parsed as i64);
    }
    let mut parsed: i64 = 0;
    for &digit in text {
        parsed = parsed
            .checked_mul(10)?
            .checked_add(i64::from(digit.wrapping_sub(b'0')))?;
    }
    text.iter().all(u8::is_ascii_digit).then_some(parsed)
}

/// Parses a timestamp of OpenMetrics, in seconds, to the millisecond below it
/// (`openmetricsparse.go` `Next`). Milliseconds beyond `i64` are saturated: such a time is refused
/// later in any case.
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
        fn a_number_ends_at_a_blank(text in "-?[0-9]{0,20}(\\.[0-9]{0,20})?(e[0-9]{1,2})?", end in "[ \n]", rest in "[ 0-9\n]{0,20}") {
            let line = format!("{text}{end}{rest}");
            let found = leading(line.as_bytes()).map(|(value, length)| (value.to_bits(), length));
            // Of few bytes it may not know where they end: then the line is cut from its end.
            prop_assert!(found.is_none() || found == any_value(text.as_bytes()).map(|value| (value.to_bits(), text.len())));
            prop_assert!(found.is_some() || line.len() <= TIMESTAMP || line.as_bytes()[TIMESTAMP] == b'\n' || any_value(text.as_bytes()).is_none() || text.len() >= LONGEST);
        }

        #[test]
        fn leading_digits_are_found(text in "[0-9]{0,8}[0-9/:\\x00-\\xff]{0,8}") {
            let bytes: Vec<u8> = text.chars().map(|byte| byte as u8).chain([b'x'; 8]).take(8).collect();
            let eight: &[u8; 8] = bytes[..].try_into().unwrap();
            let length = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let number = bytes[..length].iter().fold(0, |number, byte| number * 10 + u64::from(byte - b'0'));
            prop_assert_eq!(leading_digits(eight), (number, length));
        }

        #[test]
        fn timestamps_of_any_length(text in "[0-9]{0,20}") {
            prop_assert_eq!(timestamp(text.as_bytes()), text.parse().ok());
        }

        #[test]
        fn the_short_way_gives_what_the_long_one_does(text in "0{0,12}[0-9]{0,12}(\\.[0-9]{0,18})?") {
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
            assert_eq!(
                value(text.as_bytes()).map(f64::to_bits),
                Some(expected.to_bits()),
                "{text}"
            );
        }
        assert_eq!(value(b"-0").map(f64::to_bits), Some((-0.0_f64).to_bits()));
        for text in ["NaN", "nan", "nAn"] {
            assert_eq!(
                value(text.as_bytes()).map(f64::to_bits),
                Some(NORMAL_NAN),
                "{text}"
            );
        }
    }

    #[test]
    fn values_that_prometheus_refuses() {
        for text in [
            "", "1e400", "-1e400", "+NaN", "-NaN", "0x1p4", "0x10", "1_000", "1p3", "abc", "1\r",
            ".", "e5", "1e", "--1", "1,5", "infin", "\u{661}",
        ] {
            assert_eq!(value(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn timestamps() {
        assert_eq!(timestamp(b"0"), Some(0));
        assert_eq!(timestamp(b"0001395066363000"), Some(1_395_066_363_000));
        assert_eq!(timestamp(b"9223372036854775807"), Some(i64::MAX));
        for text in [
            "",
            "9223372036854775808",
            "99999999999999999999",
            "-1",
            "1.5",
            "1e3",
            "+1",
        ] {
            assert_eq!(timestamp(text.as_bytes()), None, "{text}");
        }
    }
}
