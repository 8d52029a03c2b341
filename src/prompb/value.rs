//! The value of a sample: a float or a native histogram.

use prost::Message as _;

use super::messages::{Count, Histogram};
use super::wire;

/// A sample's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A float: a counter, a gauge, or a part of a classic histogram or summary.
    Float(f64),
    /// A native histogram. Its own timestamp field is ignored.
    Histogram(&'a Histogram),
}

impl Value<'_> {
    /// Length in bytes of the field that [`Value::encode`] appends.
    #[inline]
    #[must_use]
    pub fn field_len(self, timestamp_ms: i64) -> usize {
        match self {
            Self::Float(value) => wire::field_len(wire::sample_len(value, timestamp_ms)),
            Self::Histogram(histogram) => wire::field_len(histogram_len(histogram, timestamp_ms)),
        }
    }

    /// Appends the field `TimeSeries.samples` or `TimeSeries.histograms`.
    #[inline]
    pub fn encode(self, timestamp_ms: i64, out: &mut Vec<u8>) {
        match self {
            Self::Float(value) => wire::sample(out, value, timestamp_ms),
            Self::Histogram(histogram) => encode_histogram(histogram, timestamp_ms, out),
        }
    }
}

impl From<f64> for Value<'_> {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

/// A value and its time: what changes of a series from sample to sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimedValue<'a> {
    /// The value.
    pub value: Value<'a>,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
}

/// A float sample: a value and its time.
///
/// Two of them are equal when their times and the bits of their values are: a stale marker is a NaN
/// with a payload, and −0 is not 0.
#[derive(Debug, Clone, Copy)]
pub struct TimedFloat {
    /// The value, with its bits as they came.
    pub value: f64,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
}

impl PartialEq for TimedFloat {
    fn eq(&self, other: &Self) -> bool {
        (self.value.to_bits(), self.timestamp_ms) == (other.value.to_bits(), other.timestamp_ms)
    }
}

impl Eq for TimedFloat {}

/// The kind of a series' last value. Its stale marker must be of the same kind
/// (`tsdb/head_append.go` `headAppender.Append`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ValueKind {
    /// A float ([`Value::Float`]).
    #[default]
    Float,
    /// A native histogram of integers.
    Histogram,
    /// A native histogram of floats.
    FloatHistogram,
}

impl Value<'_> {
    /// The kind of this value.
    #[inline]
    #[must_use]
    pub fn kind(self) -> ValueKind {
        match self {
            Self::Float(_) => ValueKind::Float,
            Self::Histogram(Histogram {
                count: Some(Count::Float(_)),
                ..
            }) => ValueKind::FloatHistogram,
            Self::Histogram(_) => ValueKind::Histogram,
        }
    }
}

fn timestamp_len(timestamp_ms: i64) -> usize {
    if timestamp_ms == 0 {
        0
    } else {
        1 + wire::varint_len(timestamp_ms as u64)
    }
}

/// Bytes of a sum of −0, which prost takes for a zero and leaves out.
fn minus_zero_len(sum: f64) -> usize {
    if sum.to_bits() == (-0.0_f64).to_bits() {
        1 + 8
    } else {
        0
    }
}

fn histogram_len(histogram: &Histogram, timestamp_ms: i64) -> usize {
    histogram.encoded_len() + minus_zero_len(histogram.sum) + timestamp_len(timestamp_ms)
}

/// Appends the field `TimeSeries.histograms`, with the timestamp as its last field.
fn encode_histogram(histogram: &Histogram, timestamp_ms: i64, out: &mut Vec<u8>) {
    out.push(wire::HISTOGRAM);
    wire::varint(out, histogram_len(histogram, timestamp_ms) as u64);
    histogram.encode_raw(out);
    if minus_zero_len(histogram.sum) > 0 {
        out.push(wire::HISTOGRAM_SUM);
        out.extend_from_slice(&histogram.sum.to_bits().to_le_bytes());
    }
    if timestamp_ms != 0 {
        out.push(wire::HISTOGRAM_TIMESTAMP);
        wire::varint(out, timestamp_ms as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::super::messages::{BucketSpan, TimeSeries, ZeroCount};
    use super::*;

    #[test]
    fn a_histogram_is_written_as_it_is_read() {
        let histogram = Histogram {
            count: Some(Count::Int(7)),
            sum: -1.5,
            schema: -4,
            zero_threshold: 0.001,
            zero_count: Some(ZeroCount::Int(0)),
            positive_spans: vec![BucketSpan {
                offset: -3,
                length: 2,
            }],
            positive_deltas: vec![5, -3],
            reset_hint: 3,
            ..Histogram::default()
        };
        for (histogram, timestamp) in [
            (histogram, 1_700_000_000_000),
            (Histogram::stale(ValueKind::FloatHistogram), 0),
            (Histogram::stale(ValueKind::Float), -5),
        ] {
            let mut bytes = Vec::new();
            let value = Value::Histogram(&histogram);
            value.encode(timestamp, &mut bytes);
            assert_eq!(bytes.len(), value.field_len(timestamp));
            let read = TimeSeries::decode(&*bytes).unwrap().histograms.remove(0);
            assert_eq!(
                (read.sum.to_bits(), read.timestamp),
                (histogram.sum.to_bits(), timestamp)
            );
            assert_eq!(
                (read.count, read.zero_count),
                (histogram.count, histogram.zero_count)
            );
            assert_eq!(
                (read.positive_spans, read.positive_deltas, read.reset_hint),
                (
                    histogram.positive_spans,
                    histogram.positive_deltas,
                    histogram.reset_hint
                )
            );
        }
    }

    #[test]
    fn minus_zero_keeps_its_sign_on_the_wire() {
        let histogram = Histogram {
            sum: -0.0,
            ..Histogram::default()
        };
        for zero in [-0.0, 0.0_f64] {
            let histogram = Histogram {
                sum: zero,
                ..histogram.clone()
            };
            let mut bytes = Vec::new();
            for value in [Value::Float(zero), Value::Histogram(&histogram)] {
                let before = bytes.len();
                value.encode(5, &mut bytes);
                assert_eq!(bytes.len() - before, value.field_len(5), "{value:?}");
            }
            let read = TimeSeries::decode(&*bytes).unwrap();
            let (float, histogram) = (&read.samples[0], &read.histograms[0]);
            assert_eq!(float.value.to_bits(), zero.to_bits());
            assert_eq!(histogram.sum.to_bits(), zero.to_bits());
            assert_eq!((float.timestamp, histogram.timestamp), (5, 5));
        }
    }
}
