//! What of the samples of a window is taken.

use super::reduce::SlotHistograms;
use super::samples::SeriesSamples;
use super::slots::Slots;

/// What of the samples of a window is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowShape {
    /// All samples, markers and histograms as they are. With a resolution of more than a
    /// millisecond: of each such span of the clock the newest sample of a series, and all markers.
    Raw {
        /// Length of a span, milliseconds; 0 for all samples.
        resolution_ms: i64,
    },
    /// What `/federate` would have shown at these slots.
    Slots(Slots),
}

impl WindowShape {
    /// The shape of an answer that is complete up to this time only.
    pub(super) fn up_to(self, end_ms: i64) -> Self {
        match self {
            Self::Raw { .. } => self,
            Self::Slots(slots) => Self::Slots(slots.up_to(end_ms).unwrap_or(slots.first(0))),
        }
    }

    /// Leaves of a series what is taken. The samples are sorted. `own_timestamps` and `histograms`
    /// say how a slot shows them.
    pub(super) fn apply(
        &self,
        samples: &mut SeriesSamples,
        own_timestamps: bool,
        histograms: SlotHistograms,
    ) {
        match self {
            Self::Raw { resolution_ms } => samples.thin(*resolution_ms),
            Self::Slots(slots) => slots.reduce(samples, own_timestamps, histograms),
        }
    }
}
