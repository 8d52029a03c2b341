//! The messages of the protobuf exposition (prometheus/client_model
//! `io/prometheus/client/metrics.proto`), as far as something is made of them.
//!
//! A family is never decoded as a whole, because a family of `/federate` may be the whole answer. A
//! metric's labels and a plain value, which are nearly all of an exposition, are read by hand.

use std::ops::Range;

use prost::Message as _;

use crate::prompb::messages::BucketSpan;
use crate::prompb::wire::read_varint;

/// `MetricFamily.name`, `.help`, `.type`, `.metric`, `.unit`.
pub(super) const NAME: u64 = 1;
pub(super) const HELP: u64 = 2;
pub(super) const TYPE: u64 = 3;
pub(super) const METRIC: u64 = 4;
pub(super) const UNIT: u64 = 5;

/// `MetricType`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum MetricType {
    #[default]
    Counter,
    Gauge,
    Summary,
    Untyped,
    Histogram,
    GaugeHistogram,
}

impl MetricType {
    pub(super) fn of(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::Counter,
            1 => Self::Gauge,
            2 => Self::Summary,
            3 => Self::Untyped,
            4 => Self::Histogram,
            5 => Self::GaugeHistogram,
            _ => return None,
        })
    }
}

/// `Counter`, `Gauge` and `Untyped`, exemplars and times of creation aside.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct SingleValue {
    #[prost(double, tag = "1")]
    value: f64,
}

/// `Summary`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Summary {
    #[prost(uint64, tag = "1")]
    pub(super) count: u64,
    #[prost(double, tag = "2")]
    pub(super) sum: f64,
    #[prost(message, repeated, tag = "3")]
    pub(super) quantiles: Vec<SummaryQuantile>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct SummaryQuantile {
    #[prost(double, tag = "1")]
    pub(super) quantile: f64,
    #[prost(double, tag = "2")]
    pub(super) value: f64,
}

/// `Histogram`: a classic one, a native one, or both at once.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ExposedHistogram {
    #[prost(uint64, tag = "1")]
    pub(super) count: u64,
    #[prost(double, tag = "4")]
    pub(super) count_float: f64,
    #[prost(double, tag = "2")]
    pub(super) sum: f64,
    #[prost(message, repeated, tag = "3")]
    pub(super) buckets: Vec<ClassicBucket>,
    #[prost(sint32, tag = "5")]
    pub(super) schema: i32,
    #[prost(double, tag = "6")]
    pub(super) zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    pub(super) zero_count: u64,
    #[prost(double, tag = "8")]
    pub(super) zero_count_float: f64,
    #[prost(message, repeated, tag = "9")]
    pub(super) negative_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "10")]
    pub(super) negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "11")]
    pub(super) negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "12")]
    pub(super) positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "13")]
    pub(super) positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "14")]
    pub(super) positive_counts: Vec<f64>,
}

impl ExposedHistogram {
    /// `model/textparse/protobufparse.go` `isNativeHistogram`: without observations and zero
    /// bucket, a span of length 0 says so.
    pub(super) fn is_native(&self) -> bool {
        !self.positive_spans.is_empty()
            || !self.negative_spans.is_empty()
            || self.zero_threshold > 0.0
            || self.zero_count > 0
    }

    /// Number of observations, whether it is written as an integer or as a float.
    pub(super) fn observations(&self) -> f64 {
        if self.count_float == 0.0 {
            self.count as f64
        } else {
            self.count_float
        }
    }
}

/// A bucket of a classic histogram.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct ClassicBucket {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "4")]
    count_float: f64,
    #[prost(double, tag = "2")]
    pub(super) upper_bound: f64,
}

impl ClassicBucket {
    /// Number of observations up to the bound.
    pub(super) fn observations(&self) -> f64 {
        if self.count_float == 0.0 {
            self.count as f64
        } else {
            self.count_float
        }
    }
}

/// One field of a message: its number and what it holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// A fault in the bytes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WireFault {
    /// The bytes end within the message: more bytes may complete it.
    Incomplete,
    Malformed(String),
}

impl WireFault {
    pub(super) fn text(self) -> String {
        match self {
            Self::Incomplete => "a message ends within a field".to_owned(),
            Self::Malformed(text) => text,
        }
    }
}

impl From<prost::DecodeError> for WireFault {
    fn from(error: prost::DecodeError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Reads a varint, of at most ten bytes.
pub(super) fn varint(bytes: &[u8], at: &mut usize) -> Result<u64, WireFault> {
    read_varint(bytes, at).ok_or_else(|| {
        if bytes.len() - *at == 0 {
            WireFault::Incomplete
        } else {
            WireFault::Malformed("a varint is too long".to_owned())
        }
    })
}

/// Reads a field, and moves `at` behind it.
#[inline]
pub(super) fn field<'a>(bytes: &'a [u8], at: &mut usize) -> Result<(u64, Field<'a>), WireFault> {
    let mut end = *at;
    if let Some(found) = usual_field(bytes, &mut end) {
        *at = end;
        return Ok(found);
    }
    any_field(bytes, at)
}

/// Reads a field that is as nearly all are: whole, numbered from 1 to 15, and of bytes or a varint.
/// It gives what [`any_field`] gives, without an error's way on the way of each sample.
#[inline]
fn usual_field<'a>(bytes: &'a [u8], at: &mut usize) -> Option<(u64, Field<'a>)> {
    let key = *bytes.get(*at)?;
    *at += 1;
    if !(1 << 3..1 << 7).contains(&key) {
        return None;
    }
    let value = match key & 7 {
        0 => Field::Varint(read_varint(bytes, at)?),
        2 => {
            let length = usize::try_from(read_varint(bytes, at)?).ok()?;
            let inside = bytes.get(*at..)?.get(..length)?;
            *at += length;
            Field::Bytes(inside)
        }
        _ => return None,
    };
    Some((u64::from(key >> 3), value))
}

fn any_field<'a>(bytes: &'a [u8], at: &mut usize) -> Result<(u64, Field<'a>), WireFault> {
    let key = varint(bytes, at)?;
    let (number, wire_type) = (key >> 3, key & 7);
    if number == 0 || number > u64::from(u32::MAX >> 3) {
        return Err(WireFault::Malformed(format!(
            "illegal field number {number}"
        )));
    }
    let length = match wire_type {
        0 => return Ok((number, Field::Varint(varint(bytes, at)?))),
        1 => 8,
        2 => usize::try_from(varint(bytes, at)?).unwrap_or(usize::MAX),
        5 => 4,
        // Groups were deprecated before this format existed.
        other => {
            return Err(WireFault::Malformed(format!(
                "field {number} has wire type {other}"
            )));
        }
    };
    let inside = bytes
        .get(*at..)
        .and_then(|rest| rest.get(..length))
        .ok_or(WireFault::Incomplete)?;
    *at += length;
    Ok((
        number,
        if wire_type == 2 {
            Field::Bytes(inside)
        } else {
            Field::Fixed
        },
    ))
}

/// A field that must hold bytes.
pub(super) fn bytes<'a>(name: &str, field: Field<'a>) -> Result<&'a [u8], WireFault> {
    match field {
        Field::Bytes(bytes) => Ok(bytes),
        _ => Err(WireFault::Malformed(format!(
            "wrong wire type for field {name}"
        ))),
    }
}

/// A field that must hold a number.
pub(super) fn number(name: &str, field: Field<'_>) -> Result<u64, WireFault> {
    match field {
        Field::Varint(number) => Ok(number),
        _ => Err(WireFault::Malformed(format!(
            "wrong wire type for field {name}"
        ))),
    }
}

/// The fields `Metric.label` at the start of a message, as far as each is whole and shorter than
/// 128 bytes. Nearly all are, and a metric has a dozen of them: only their lengths are looked at.
#[inline]
pub(super) fn short_labels(message: &[u8]) -> &[u8] {
    const LABEL: u8 = 0x0a;
    let mut at = 0;
    while let Some(&[LABEL, length @ 0..0x80]) = message[at..].first_chunk() {
        let end = at + 2 + usize::from(length);
        if end > message.len() {
            break;
        }
        at = end;
    }
    &message[..at]
}

/// Bytes of the field that [`short_value`] reads.
pub(super) const SHORT_VALUE: usize = 11;

/// The tag of the field `Metric.timestamp_ms`.
pub(super) const TIMESTAMP_MS: u8 = 0x30;

/// The field `Metric.gauge`, `.counter` or `.untyped` at the start of a message, if it has the
/// usual form: its message has field 1 as eight bytes, and nothing else. Gives its number and the
/// value.
#[inline]
pub(super) fn short_value(message: &[u8]) -> Option<(u8, f64)> {
    let &[key, 9, 0x09, a, b, c, d, e, f, g, h] = message.first_chunk::<SHORT_VALUE>()? else {
        return None;
    };
    let value = f64::from_le_bytes([a, b, c, d, e, f, g, h]);
    matches!(key, 0x12 | 0x1a | 0x2a).then_some((key >> 3, value))
}

/// The value of a `Counter`, `Gauge` or `Untyped`.
#[inline]
pub(super) fn single(message: &[u8]) -> Result<f64, WireFault> {
    // The usual form: field 1 as eight bytes, and nothing else. Otherwise prost decodes it.
    if let Some((0x09, rest)) = message.split_first().map(|(key, rest)| (*key, rest))
        && let Ok(bits) = rest.try_into()
    {
        return Ok(f64::from_le_bytes(bits));
    }
    Ok(SingleValue::decode(message)?.value)
}

/// The places of name and value in a `LabelPair`.
pub(super) fn label(pair: &[u8]) -> Result<(Range<usize>, Range<usize>), WireFault> {
    let (mut name, mut value, mut at) = (0..0, 0..0, 0);
    while at < pair.len() {
        match field(pair, &mut at)? {
            (1, field) => {
                // The field ends at `at`, so its bytes start this far before.
                name = at - bytes("Name", field)?.len()..at;
                // prompb/io/prometheus/client/decoder.go parseLabel: one that is not there at all
                // is found later.
                if name.is_empty() {
                    return Err(WireFault::Malformed(
                        "invalid label name: it is empty".to_owned(),
                    ));
                }
            }
            (2, field) => value = at - bytes("Value", field)?.len()..at,
            _ => {}
        }
    }
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_short_value_is_read_as_any_other(
            start in prop_oneof![
                Just([0x12, 9, 0x09]), Just([0x1a, 9, 0x09]), Just([0x2a, 9, 0x09]),
                Just([0x22, 9, 0x09]), any::<[u8; 3]>(),
            ],
            rest in prop::collection::vec(0_u8..=0xff, 0..20),
        ) {
            let bytes = [&start[..], &rest].concat();
            if let Some((number, value)) = short_value(&bytes) {
                prop_assert!(matches!(number, 2 | 3 | 5), "{}", number);
                let mut at = 0;
                let (expected, Field::Bytes(inside)) = any_field(&bytes, &mut at).unwrap() else {
                    panic!("it is no message");
                };
                prop_assert_eq!((u64::from(number), SHORT_VALUE), (expected, at));
                let expected = SingleValue::decode(inside).unwrap().value;
                prop_assert_eq!(value.to_bits(), expected.to_bits());
            } else {
                let is_usual = matches!(start, [0x12 | 0x1a | 0x2a, 9, 0x09]);
                prop_assert!(!is_usual || rest.len() < 8);
            }
        }

        #[test]
        fn a_usual_field_is_read_as_any_other(
            key in 0_u8..=0xff,
            length in prop::collection::vec(0_u8..=0xff, 0..12),
            rest in prop::collection::vec(0_u8..=0xff, 0..200),
        ) {
            let bytes = [&[key], &length[..], &rest[..]].concat();
            let (mut at, mut expected_at) = (0, 0);
            let found = format!("{:?}", field(&bytes, &mut at));
            prop_assert_eq!(found, format!("{:?}", any_field(&bytes, &mut expected_at)));
            prop_assert_eq!(at, expected_at);
        }
    }
}
