//! Reads what a Prometheus serves on `/federate`. It is independent of the forwarder's parsers and
//! reads only what real servers write there: text 0.0.4 and delimited protobuf with float samples.
//! It is not a general parser.

use anyhow::{Context, Result, bail, ensure};
use prost::Message;

use crate::Labels;

/// A sample of an exposition.
#[derive(Debug, Clone, PartialEq)]
pub struct ExposedSample {
    /// Labels with `__name__`. Empty values are left out, as Prometheus does.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
    /// Milliseconds since 1970, if the exposition gives a timestamp.
    pub timestamp: Option<i64>,
}

/// Reads a body by its content type.
///
/// # Errors
/// Fails when it is not what a Prometheus writes.
pub fn parse(content_type: &str, body: &[u8]) -> Result<Vec<ExposedSample>> {
    if content_type.starts_with("application/vnd.google.protobuf") {
        return parse_protobuf(body);
    }
    let text = std::str::from_utf8(body).context("the exposition is not UTF-8")?;
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| parse_line(line).with_context(|| format!("exposition line {line:?}")))
        .collect()
}

fn parse_line(line: &str) -> Result<ExposedSample> {
    let mut labels = Labels::new();
    let end_of_name = line.find(['{', ' ']).context("no value")?;
    let (name, mut rest) = line.split_at(end_of_name);
    if !name.is_empty() {
        labels.insert("__name__".to_owned(), name.to_owned());
    }
    if let Some(inside) = rest.strip_prefix('{') {
        rest = parse_labels(inside, &mut labels)?;
    }
    let mut fields = rest.split_ascii_whitespace();
    let value = match fields.next().context("no value")? {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse()?,
    };
    let timestamp = fields.next().map(str::parse).transpose()?;
    ensure!(fields.next().is_none(), "more than value and timestamp");
    labels.retain(|_, value| !value.is_empty());
    Ok(ExposedSample {
        labels,
        value,
        timestamp,
    })
}

/// Parses the labels behind an opening brace; returns the text behind the closing one.
fn parse_labels<'a>(mut rest: &'a str, labels: &mut Labels) -> Result<&'a str> {
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Ok(after);
        }
        let (name, after_name) = if let Some(quoted) = rest.strip_prefix('"') {
            unquote(quoted)?
        } else {
            let end = rest.find('=').context("a label without a value")?;
            (rest[..end].to_owned(), &rest[end..])
        };
        let Some(value) = after_name.strip_prefix("=\"") else {
            // A quoted metric name has no value.
            labels.insert("__name__".to_owned(), name);
            rest = after_name;
            continue;
        };
        let (value, after_value) = unquote(value)?;
        ensure!(labels.insert(name, value).is_none(), "a label twice");
        rest = after_value;
    }
}

/// Reads the text behind an opening quote; returns it and what follows the closing quote.
fn unquote(rest: &str) -> Result<(String, &str)> {
    let mut text = String::new();
    let mut chars = rest.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok((text, &rest[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, escaped)) => text.push(escaped),
                None => break,
            },
            _ => text.push(char),
        }
    }
    bail!("a quote without an end")
}

#[derive(Clone, PartialEq, Message)]
struct FederatedFamily {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<FederatedMetric>,
}

#[derive(Clone, PartialEq, Message)]
struct FederatedMetric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<FederatedLabel>,
    #[prost(message, optional, tag = "5")]
    untyped: Option<FederatedValue>,
    #[prost(int64, optional, tag = "6")]
    timestamp_ms: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct FederatedLabel {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct FederatedValue {
    #[prost(double, tag = "1")]
    value: f64,
}

/// `/federate` gives floats as untyped. Native histograms are skipped.
fn parse_protobuf(mut body: &[u8]) -> Result<Vec<ExposedSample>> {
    let mut samples = Vec::new();
    while !body.is_empty() {
        let family = FederatedFamily::decode_length_delimited(&mut body)?;
        for metric in family.metric {
            let Some(untyped) = metric.untyped else {
                continue;
            };
            let mut labels: Labels = metric
                .label
                .into_iter()
                .map(|label| (label.name, label.value))
                .collect();
            labels.insert("__name__".to_owned(), family.name.clone());
            labels.retain(|_, value| !value.is_empty());
            samples.push(ExposedSample {
                labels,
                value: untyped.value,
                timestamp: metric.timestamp_ms,
            });
        }
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_federate_writes() {
        let body = "# TYPE foo untyped\n\
                    foo{a=\"x\\\"},\\\\y\\nz\",job=\"h\",instance=\"\"} 1.5e-05 1700000000123\n\
                    {\"utf.8\",\"l.a\"=\"v\"} +Inf 5\nbare NaN\n";
        let samples = parse("text/plain; version=0.0.4", body.as_bytes()).unwrap();
        assert_eq!(samples[0].labels["a"], "x\"},\\y\nz");
        assert_eq!(samples[0].labels.get("instance"), None);
        assert_eq!(samples[0].value, 1.5e-05);
        assert_eq!(samples[0].timestamp, Some(1_700_000_000_123));
        assert_eq!(samples[1].labels["__name__"], "utf.8");
        assert_eq!(samples[1].labels["l.a"], "v");
        assert!(samples[2].value.is_nan());
        for wrong in [
            "foo",
            "foo{a=\"1} 2",
            "foo 1 2 3",
            "foo{a=\"1\",a=\"2\"} 1",
            "foo x",
        ] {
            assert!(parse("text/plain", wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn protobuf() {
        let metric = FederatedMetric {
            label: vec![FederatedLabel {
                name: "job".to_owned(),
                value: "h".to_owned(),
            }],
            untyped: Some(FederatedValue { value: -0.0 }),
            timestamp_ms: Some(7),
        };
        let body = FederatedFamily {
            name: "foo".to_owned(),
            metric: vec![metric],
        }
        .encode_length_delimited_to_vec();
        let samples = parse("application/vnd.google.protobuf; encoding=delimited", &body).unwrap();
        assert_eq!(samples[0].labels["__name__"], "foo");
        assert_eq!(samples[0].timestamp, Some(7));
        assert!(parse("application/vnd.google.protobuf", &body[..body.len() - 1]).is_err());
    }
}
