//! The stale marker: how Prometheus writes that a series has ended.

use super::messages::{Count, Histogram, ZeroCount};
use super::value::ValueKind;

/// Bits of the NaN that marks the end of a series (`model/value/value.go` `StaleNaN`). No text
/// format can carry it.
pub const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

impl Histogram {
    /// The stale marker for a series of histograms: an empty histogram whose sum is [`STALE_NAN`].
    ///
    /// A series of float histograms needs a float histogram as its marker (`tsdb/head_append.go`
    /// `headAppender.Append`).
    #[must_use]
    pub fn stale(kind: ValueKind) -> Self {
        let (count, zero_count) = match kind {
            ValueKind::FloatHistogram => (Count::Float(0.0), ZeroCount::Float(0.0)),
            ValueKind::Float | ValueKind::Histogram => (Count::Int(0), ZeroCount::Int(0)),
        };
        Self {
            count: Some(count),
            zero_count: Some(zero_count),
            sum: f64::from_bits(STALE_NAN),
            ..Self::default()
        }
    }

    /// Whether this histogram is a stale marker.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.sum.to_bits() == STALE_NAN
    }
}
