//! Several samples of one series in one entry of a request.

use crate::prompb::messages::Histogram;
use crate::prompb::{TimedFloat, Value, ValueKind, wire};

/// Samples of one series and one kind, in time order: those of one entry. A receiver appends all
/// floats of an entry and then all of its histograms (Cortex, `pkg/ingester/ingester.go` `Push`),
/// so an entry never mixes them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum EntrySamples<'a> {
    /// Floats.
    Floats(&'a [TimedFloat]),
    /// Native histograms. Their timestamps are those of the messages.
    Histograms(&'a [Histogram]),
}

/// An entry that fits into a batch of its own, with its length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct FittingEntry<'a> {
    /// The samples, at least one.
    pub(super) samples: EntrySamples<'a>,
    /// Bytes of the message `TimeSeries`.
    pub(super) len: usize,
}

impl<'a> EntrySamples<'a> {
    /// Number of samples.
    pub(super) fn len(self) -> usize {
        match self {
            Self::Floats(floats) => floats.len(),
            Self::Histograms(histograms) => histograms.len(),
        }
    }

    /// Whether there is no sample.
    pub(super) fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Kind of the last sample.
    pub(super) fn last_kind(self) -> ValueKind {
        match self {
            Self::Histograms([.., last]) => Value::Histogram(last).kind(),
            Self::Floats(_) | Self::Histograms([]) => ValueKind::Float,
        }
    }

    /// Oldest and newest timestamp, milliseconds since 1970. None without a sample.
    pub(super) fn span_ms(self) -> Option<(i64, i64)> {
        match self {
            Self::Floats([first, .., last]) => Some((first.timestamp_ms, last.timestamp_ms)),
            Self::Floats([only]) => Some((only.timestamp_ms, only.timestamp_ms)),
            Self::Histograms([first, .., last]) => Some((first.timestamp, last.timestamp)),
            Self::Histograms([only]) => Some((only.timestamp, only.timestamp)),
            Self::Floats([]) | Self::Histograms([]) => None,
        }
    }

    /// Cuts off the first samples, as many as fit into an entry of at most `most` samples and
    /// `bytes` bytes, but at least one. `labels` is the length of the labels in bytes.
    pub(super) fn split_fitting(
        self,
        labels: usize,
        most: usize,
        bytes: usize,
    ) -> (FittingEntry<'a>, Self) {
        let most = most.clamp(1, self.len().max(1));
        // The length of a field depends on its own: nine bytes more are enough for tag and length.
        let room = bytes.saturating_sub(1 + 9);
        let mut len = labels;
        let mut fit = |field: usize| {
            let fits = len == labels || len + field <= room;
            len += if fits { field } else { 0 };
            fits
        };
        match self {
            Self::Floats(floats) => {
                let count = floats[..most.min(floats.len())]
                    .iter()
                    .take_while(|float| {
                        fit(wire::field_len(wire::sample_len(
                            float.value,
                            float.timestamp_ms,
                        )))
                    })
                    .count();
                let (samples, rest) = floats.split_at(count);
                let samples = Self::Floats(samples);
                (FittingEntry { samples, len }, Self::Floats(rest))
            }
            Self::Histograms(histograms) => {
                let count = histograms[..most.min(histograms.len())]
                    .iter()
                    .take_while(|histogram| {
                        fit(Value::Histogram(histogram).field_len(histogram.timestamp))
                    })
                    .count();
                let (samples, rest) = histograms.split_at(count);
                let samples = Self::Histograms(samples);
                (FittingEntry { samples, len }, Self::Histograms(rest))
            }
        }
    }

    /// Appends the fields `TimeSeries.samples` or `TimeSeries.histograms`.
    pub(super) fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::Floats(floats) => floats
                .iter()
                .for_each(|float| wire::sample(out, float.value, float.timestamp_ms)),
            Self::Histograms(histograms) => histograms.iter().for_each(|histogram| {
                Value::Histogram(histogram).encode(histogram.timestamp, out);
            }),
        }
    }
}
