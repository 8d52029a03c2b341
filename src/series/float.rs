//! Floats written as Go writes them.

/// Shortest decimal digits of a finite number, without sign, and the exponent of the first one.
fn digits(number: f64) -> (String, i32) {
    let scientific = format!("{:e}", number.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    (mantissa.replace('.', ""), exponent.parse().unwrap_or(0))
}

fn special(number: f64) -> Option<&'static str> {
    if number.is_nan() {
        Some("NaN")
    } else if number == f64::INFINITY {
        Some("+Inf")
    } else if number == f64::NEG_INFINITY {
        Some("-Inf")
    } else {
        None
    }
}

fn sign(number: f64) -> &'static str {
    if number.is_sign_negative() { "-" } else { "" }
}

/// `strconv.FormatFloat(number, 'e', -1, 64)`.
fn exponential(number: f64) -> String {
    let (digits, exponent) = digits(number);
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    let exponent_sign = if exponent < 0 { '-' } else { '+' };
    format!(
        "{}{first}{point}{rest}e{exponent_sign}{:02}",
        sign(number),
        exponent.abs()
    )
}

/// As Prometheus' HTTP API prints a value (`util/jsonutil/marshal.go` `MarshalFloat`).
#[must_use]
pub fn json(number: f64) -> String {
    if let Some(text) = special(number) {
        return text.to_owned();
    }
    let size = number.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        exponential(number)
    } else {
        format!("{number}")
    }
}

/// As `model/textparse/openmetricsparse.go` `formatOpenMetricsFloat` writes the labels `le` and
/// `quantile`.
#[must_use]
pub fn open_metrics(number: f64) -> String {
    if let Some(text) = special(number) {
        return text.to_owned();
    }
    if number == 0.0 {
        return "0.0".to_owned();
    }
    // 'g' with the shortest precision changes to exponents below 1e-4 and from 1e6 on
    // (strconv/ftoa.go `formatDigits`).
    let (_, exponent) = digits(number);
    let text = if (-4..6).contains(&exponent) {
        format!("{number}")
    } else {
        exponential(number)
    };
    if text.contains(['e', '.']) {
        text
    } else {
        text + ".0"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_api() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e-7, "1.5e-07"),
            (1e-6, "0.000001"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (1.234_567_89e8, "123456789"),
            (-2.5e-10, "-2.5e-10"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
        ];
        for (number, expected) in cases {
            assert_eq!(json(number), expected);
        }
    }

    #[test]
    fn labels_of_open_metrics() {
        let cases = [
            (1.0, "1.0"),
            (0.0, "0.0"),
            (-1.0, "-1.0"),
            (0.5, "0.5"),
            (100_000.0, "100000.0"),
            (1e6, "1e+06"),
            (123_456_789.0, "1.23456789e+08"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (f64::INFINITY, "+Inf"),
            (-0.0, "0.0"),
            (2.5e9, "2.5e+09"),
            (99_999.5, "99999.5"),
        ];
        for (number, expected) in cases {
            assert_eq!(open_metrics(number), expected);
        }
    }
}
