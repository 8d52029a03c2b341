//! What of a sample is compared.

use std::hash::Hasher as _;

use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

use crate::prompb::STALE_NAN;
use crate::prompb::messages::{BucketSpan, Count, Histogram, ZeroCount};

/// A sample, reduced to what is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimedPrint {
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Its value.
    pub print: ValuePrint,
}

/// A value, reduced to what is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValuePrint {
    /// Bits of a float. −0 has those of 0, because remote read shows it as 0
    /// (`prompb/types.pb.go` leaves out a value that equals 0).
    Float(u64),
    /// A stale marker, of a float or of a histogram.
    Marker,
    /// A native histogram.
    Histogram(HistogramPrint),
}

/// A native histogram, reduced to what is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HistogramPrint {
    /// Bits of the count as a float.
    pub count: u64,
    /// Bits of the sum, as in [`ValuePrint::Float`].
    pub sum: u64,
    /// Hash of resolution, zero bucket and all buckets that are not empty. `None` where only count
    /// and sum are known.
    pub buckets: Option<u64>,
}

/// How exactly the two ends can be compared, which depends on how the remote is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// All bits of values, stale markers, and all buckets: the remote has remote read.
    Bits,
    /// Any NaN equals any NaN, there are no stale markers, and histograms are compared by count
    /// and sum: the remote answers queries.
    Query,
}

impl ValuePrint {
    /// The print of a float.
    #[must_use]
    pub(super) fn float(value: f64) -> Self {
        match value.to_bits() {
            STALE_NAN => Self::Marker,
            _ => Self::Float(positive(value).to_bits()),
        }
    }

    /// The print of a native histogram.
    #[must_use]
    pub(super) fn histogram(histogram: &Histogram) -> Self {
        if histogram.is_stale() {
            return Self::Marker;
        }
        let count = match histogram.count {
            Some(Count::Int(count)) => count as f64,
            Some(Count::Float(count)) => count,
            None => 0.0,
        };
        Self::Histogram(HistogramPrint {
            count: positive(count).to_bits(),
            sum: positive(histogram.sum).to_bits(),
            buckets: Some(buckets_hash(histogram)),
        })
    }

    /// The print of a native histogram of which only these are known.
    #[must_use]
    pub(super) fn count_and_sum(count: f64, sum: f64) -> Self {
        Self::Histogram(HistogramPrint {
            count: positive(count).to_bits(),
            sum: positive(sum).to_bits(),
            buckets: None,
        })
    }

    /// Whether the value at home is the value at the remote, as far as that can be seen.
    #[must_use]
    pub(super) fn agrees(self, remote: Self, precision: Precision) -> bool {
        match (self, remote) {
            (Self::Float(home), Self::Float(remote)) => same_bits(home, remote, precision),
            (Self::Histogram(home), Self::Histogram(remote)) => {
                let buckets = home.buckets.zip(remote.buckets);
                same_bits(home.count, remote.count, precision)
                    && same_bits(home.sum, remote.sum, precision)
                    && buckets.is_none_or(|(home, remote)| home == remote)
            }
            (home, remote) => home == remote,
        }
    }
}

fn same_bits(home: u64, remote: u64, precision: Precision) -> bool {
    let both_nan = || f64::from_bits(home).is_nan() && f64::from_bits(remote).is_nan();
    home == remote || (precision == Precision::Query && both_nan())
}

/// The value with −0 as 0.
fn positive(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value }
}

/// Hashes what the buckets say. Spans may be cut differently after a TSDB has stored a histogram,
/// so empty buckets do not count.
fn buckets_hash(histogram: &Histogram) -> u64 {
    let mut hash = Xxh3::new();
    hash.write_i32(histogram.schema);
    hash.write_u64(histogram.zero_threshold.to_bits());
    let zero_count = match histogram.zero_count {
        Some(ZeroCount::Int(count)) => count as f64,
        Some(ZeroCount::Float(count)) => count,
        None => 0.0,
    };
    hash.write_u64(positive(zero_count).to_bits());
    for (spans, deltas, counts) in [
        (
            &histogram.positive_spans,
            &histogram.positive_deltas,
            &histogram.positive_counts,
        ),
        (
            &histogram.negative_spans,
            &histogram.negative_deltas,
            &histogram.negative_counts,
        ),
    ] {
        hash.write_u8(0xff);
        for (index, count) in buckets(spans, deltas, counts) {
            if count != 0.0 {
                hash.write_i64(index);
                hash.write_u64(count.to_bits());
            }
        }
    }
    for bound in &histogram.custom_values {
        hash.write_u64(bound.to_bits());
    }
    hash.finish()
}

/// The index and the count of each bucket that the spans name.
fn buckets(
    spans: &[BucketSpan],
    deltas: &[i64],
    counts: &[f64],
) -> impl Iterator<Item = (i64, f64)> {
    let mut next = 0_i64;
    let indexes = spans.iter().flat_map(move |span| {
        next += i64::from(span.offset);
        let start = next;
        next += i64::from(span.length);
        start..next
    });
    let mut count = 0_i64;
    let of_deltas = deltas.iter().map(move |delta| {
        count = count.saturating_add(*delta);
        count as f64
    });
    indexes.zip(of_deltas.chain(counts.iter().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(spans: &[(i32, u32)], deltas: &[i64]) -> Histogram {
        Histogram {
            count: Some(Count::Int(5)),
            sum: 2.5,
            positive_spans: spans
                .iter()
                .map(|&(offset, length)| BucketSpan { offset, length })
                .collect(),
            positive_deltas: deltas.to_vec(),
            ..Histogram::default()
        }
    }

    #[test]
    fn floats_agree_by_bits_and_by_query_any_nan_is_a_nan() {
        let other_nan = f64::from_bits(0x7ff8_0000_0000_0007);
        for (home, remote, bits, query) in [
            (1.5, 1.5, true, true),
            (1.5, 1.500_000_000_000_000_2, false, false),
            (0.0, -0.0, true, true),
            (f64::NAN, f64::NAN, true, true),
            (f64::NAN, other_nan, false, true),
            (f64::from_bits(STALE_NAN), f64::NAN, false, false),
            (
                f64::from_bits(STALE_NAN),
                f64::from_bits(STALE_NAN),
                true,
                true,
            ),
        ] {
            let (home_print, remote_print) = (ValuePrint::float(home), ValuePrint::float(remote));
            assert_eq!(
                (
                    home_print.agrees(remote_print, Precision::Bits),
                    home_print.agrees(remote_print, Precision::Query)
                ),
                (bits, query),
                "{home} {remote}"
            );
        }
    }

    #[test]
    fn histograms_agree_when_their_buckets_do_however_the_spans_are_cut() {
        let one = ValuePrint::histogram(&histogram(&[(1, 4)], &[2, -2, 0, 3]));
        let cut = ValuePrint::histogram(&histogram(&[(1, 1), (2, 1)], &[2, 1]));
        let moved = ValuePrint::histogram(&histogram(&[(2, 1), (2, 1)], &[2, 1]));
        assert!(one.agrees(cut, Precision::Bits));
        assert!(!one.agrees(moved, Precision::Bits));
        let shown = ValuePrint::count_and_sum(5.0, 2.5);
        assert!(one.agrees(shown, Precision::Query));
        assert!(!one.agrees(ValuePrint::count_and_sum(5.0, 2.6), Precision::Query));
    }
}
