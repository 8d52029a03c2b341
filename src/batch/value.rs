//! What a sample is worth: a number, or a native histogram.

use prost::Message as _;

use super::proto::{Count, Histogram, ZeroCount};
use super::wire;
use crate::series::text::STALE_NAN;

/// A sample's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Of a counter, a gauge, a part of a classic histogram or summary.
    Float(f64),
    /// A native histogram; its own timestamp is not looked at.
    Histogram(&'a Histogram),
}

impl Value<'_> {
    /// Bytes of its field in a `TimeSeries`.
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

/// Which kind of values a series had last: its stale marker must be of the same
/// (`tsdb/head_append.go` `headAppender.Append`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// [`Value::Float`].
    #[default]
    Float,
    /// A native histogram of integers.
    Histogram,
    /// A native histogram of floats.
    FloatHistogram,
}

impl Value<'_> {
    /// Its kind.
    #[inline]
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Float(_) => Kind::Float,
            Self::Histogram(Histogram {
                count: Some(Count::Float(_)),
                ..
            }) => Kind::FloatHistogram,
            Self::Histogram(_) => Kind::Histogram,
        }
    }
}

impl Histogram {
    /// The stale marker of a series of histograms: an empty one whose sum is [`STALE_NAN`].
    #[must_use]
    pub fn stale(kind: Kind) -> Self {
        let (count, zero_count) = match kind {
            Kind::FloatHistogram => (Count::Float(0.0), ZeroCount::Float(0.0)),
            Kind::Float | Kind::Histogram => (Count::Int(0), ZeroCount::Int(0)),
        };
        Self {
            count: Some(count),
            zero_count: Some(zero_count),
            sum: f64::from_bits(STALE_NAN),
            ..Self::default()
        }
    }

    /// Whether it is a stale marker.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.sum.to_bits() == STALE_NAN
    }
}

fn timestamp_len(timestamp_ms: i64) -> usize {
    if timestamp_ms == 0 {
        0
    } else {
        1 + wire::varint_len(timestamp_ms as u64)
    }
}

fn histogram_len(histogram: &Histogram, timestamp_ms: i64) -> usize {
    histogram.encoded_len() + timestamp_len(timestamp_ms)
}

/// `TimeSeries.histograms`, the timestamp last.
fn encode_histogram(histogram: &Histogram, timestamp_ms: i64, out: &mut Vec<u8>) {
    out.push(wire::HISTOGRAM);
    wire::varint(out, histogram_len(histogram, timestamp_ms) as u64);
    histogram.encode_raw(out);
    if timestamp_ms != 0 {
        out.push(wire::HISTOGRAM_TIMESTAMP);
        wire::varint(out, timestamp_ms as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::{BucketSpan, TimeSeries};
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
            (Histogram::stale(Kind::FloatHistogram), 0),
            (Histogram::stale(Kind::Float), -5),
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
    fn minus_zero_loses_its_sign_on_the_wire() {
        let (mut minus, mut plus) = (Vec::new(), Vec::new());
        Value::Float(-0.0).encode(5, &mut minus);
        Value::Float(0.0).encode(5, &mut plus);
        assert_eq!(minus, plus);
    }
}
