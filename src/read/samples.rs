//! The samples of one series in a window, in memory that the next series uses again.

use crate::prompb::messages::Histogram;
use crate::prompb::{STALE_NAN, TimedFloat};

/// Samples of one series: floats and histograms, each sorted by time, no time twice.
#[derive(Debug, Default)]
pub(super) struct SeriesSamples {
    pub(super) floats: Vec<TimedFloat>,
    pub(super) histograms: Vec<Histogram>,
    /// What [`SeriesSamples::rebuild`] builds in.
    spare: KeptSamples,
}

/// Samples that are left of a series.
#[derive(Debug, Default)]
pub(super) struct KeptSamples {
    floats: Vec<TimedFloat>,
    histograms: Vec<Histogram>,
}

/// `Histogram.schema` of custom buckets.
pub(super) const CUSTOM_BUCKETS: i32 = -53;

/// Whether the buckets of a histogram are custom ones.
pub(super) fn is_custom(histogram: &Histogram) -> bool {
    histogram.schema == CUSTOM_BUCKETS
}

/// Number of the span of a resolution that a sample belongs to. A span has its end and not its
/// start, as a window has its own end: the sample at 12:05:00 is the newest of the minute before,
/// and not the first one of a minute whose newest is still to come.
#[must_use]
pub fn resolution_span(timestamp_ms: i64, resolution_ms: i64) -> i64 {
    timestamp_ms
        .saturating_sub(1)
        .div_euclid(resolution_ms.max(1))
}

impl KeptSamples {
    pub(super) fn push_float(&mut self, value: f64, timestamp_ms: i64) {
        self.floats.push(TimedFloat {
            value,
            timestamp_ms,
        });
    }

    pub(super) fn push_histogram(&mut self, histogram: Histogram, timestamp_ms: i64) {
        self.histograms.push(Histogram {
            timestamp: timestamp_ms,
            ..histogram
        });
    }
}

impl SeriesSamples {
    /// Makes room for the next series.
    pub(super) fn clear(&mut self) {
        self.floats.clear();
        self.histograms.clear();
    }

    pub(super) fn has_custom_buckets(&self) -> bool {
        self.histograms.iter().any(is_custom)
    }

    /// Takes the histograms with custom buckets out.
    pub(super) fn take_custom_buckets(&mut self) -> Vec<Histogram> {
        self.histograms
            .extract_if(.., |histogram| is_custom(histogram))
            .collect()
    }

    pub(super) fn len(&self) -> usize {
        self.floats.len() + self.histograms.len()
    }

    /// Sorts by time what is not sorted, and keeps the first of several samples of one time. A home
    /// gives sorted samples; two answers for one label set are merged by this.
    pub(super) fn sort(&mut self) {
        if !self
            .floats
            .is_sorted_by(|a, b| a.timestamp_ms < b.timestamp_ms)
        {
            self.floats.sort_by_key(|float| float.timestamp_ms);
            self.floats.dedup_by_key(|float| float.timestamp_ms);
        }
        if !self
            .histograms
            .is_sorted_by(|a, b| a.timestamp < b.timestamp)
        {
            self.histograms.sort_by_key(|histogram| histogram.timestamp);
            self.histograms
                .dedup_by_key(|histogram| histogram.timestamp);
        }
    }

    /// Replaces the samples by those that `build` keeps of them.
    pub(super) fn rebuild(&mut self, build: impl FnOnce(&Self, &mut KeptSamples)) {
        let mut kept = std::mem::take(&mut self.spare);
        build(self, &mut kept);
        std::mem::swap(&mut self.floats, &mut kept.floats);
        std::mem::swap(&mut self.histograms, &mut kept.histograms);
        kept.floats.clear();
        kept.histograms.clear();
        self.spare = kept;
    }

    /// Keeps of each span of the clock of this many milliseconds only the newest sample, and all
    /// stale markers besides.
    pub(super) fn thin(&mut self, resolution_ms: i64) {
        if resolution_ms <= 1 {
            return;
        }
        let span = |timestamp_ms: i64| resolution_span(timestamp_ms, resolution_ms);
        // From the newest to the oldest: the first sample of a span that is met is its newest.
        let (mut floats, mut histograms) = (self.floats.len(), self.histograms.len());
        let mut taken = None;
        let mut keeps = |timestamp_ms: i64, is_marker: bool| {
            let span = Some(span(timestamp_ms));
            is_marker || std::mem::replace(&mut taken, span) != span
        };
        let (mut kept_floats, mut kept_histograms) = (floats, histograms);
        while floats + histograms > 0 {
            let float_ms = floats.checked_sub(1).map(|at| self.floats[at].timestamp_ms);
            let histogram_ms = histograms
                .checked_sub(1)
                .map(|at| self.histograms[at].timestamp);
            if let Some(float_ms) = float_ms.filter(|_| float_ms >= histogram_ms) {
                floats -= 1;
                let is_marker = self.floats[floats].value.to_bits() == STALE_NAN;
                if keeps(float_ms, is_marker) {
                    kept_floats -= 1;
                    self.floats.swap(floats, kept_floats);
                }
            } else if let Some(histogram_ms) = histogram_ms {
                histograms -= 1;
                let is_marker = self.histograms[histograms].is_stale();
                if keeps(histogram_ms, is_marker) {
                    kept_histograms -= 1;
                    self.histograms.swap(histograms, kept_histograms);
                }
            }
        }
        self.floats.drain(..kept_floats);
        self.histograms.drain(..kept_histograms);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::prompb::ValueKind;

    /// One sample of either kind: its time, whether it is a histogram, whether it is a marker.
    type Given = (i64, bool, bool);

    pub(in crate::read) fn samples(given: &[Given]) -> SeriesSamples {
        let mut samples = SeriesSamples::default();
        for &(timestamp_ms, is_histogram, is_marker) in given {
            match (is_histogram, is_marker) {
                (true, true) => samples.histograms.push(Histogram {
                    timestamp: timestamp_ms,
                    ..Histogram::stale(ValueKind::Histogram)
                }),
                (true, false) => samples.histograms.push(Histogram {
                    timestamp: timestamp_ms,
                    ..Histogram::default()
                }),
                (false, _) => {
                    let value = if is_marker {
                        f64::from_bits(STALE_NAN)
                    } else {
                        1.5
                    };
                    samples.floats.push(TimedFloat {
                        value,
                        timestamp_ms,
                    });
                }
            }
        }
        samples
    }

    /// The samples by time.
    pub(in crate::read) fn shown(samples: &SeriesSamples) -> Vec<Given> {
        let floats = samples.floats.iter().map(|float| {
            let is_marker = float.value.to_bits() == STALE_NAN;
            (float.timestamp_ms, false, is_marker)
        });
        let histograms = samples
            .histograms
            .iter()
            .map(|histogram| (histogram.timestamp, true, histogram.is_stale()));
        let mut shown: Vec<_> = floats.chain(histograms).collect();
        shown.sort_unstable();
        shown
    }

    /// Samples of different times, in the order of time.
    pub(in crate::read) fn any_samples() -> impl Strategy<Value = Vec<Given>> {
        vec(
            (
                0..400_i64,
                prop::bool::weighted(0.3),
                prop::bool::weighted(0.2),
            ),
            0..60,
        )
        .prop_map(|mut given| {
            given.sort_unstable();
            given.dedup_by_key(|sample| sample.0);
            given
        })
    }

    #[test]
    fn a_span_keeps_its_newest_sample_and_its_markers() {
        let mut thinned = samples(&[
            (0, false, false),
            (9, false, false),
            (10, false, false),
            (12, false, true),
            (20, false, false),
            (25, true, false),
            (29, false, true),
            (31, true, false),
            (32, false, false),
        ]);
        thinned.thin(10);
        assert_eq!(
            shown(&thinned),
            [
                (0, false, false),
                (10, false, false),
                (12, false, true),
                (20, false, false),
                (25, true, false),
                (29, false, true),
                (32, false, false)
            ]
        );
    }

    #[test]
    fn what_is_merged_is_sorted_and_no_time_stands_twice() {
        let mut merged = samples(&[(5, false, false), (9, false, false), (3, false, false)]);
        merged.floats.push(TimedFloat {
            value: -1.0,
            timestamp_ms: 9,
        });
        merged.histograms = samples(&[(8, true, false), (2, true, true)]).histograms;
        merged.sort();
        assert_eq!(
            shown(&merged),
            [
                (2, true, true),
                (3, false, false),
                (5, false, false),
                (8, true, false),
                (9, false, false)
            ]
        );
        assert_eq!(
            merged.floats[2].value.to_bits(),
            1.5_f64.to_bits(),
            "the first one stays"
        );
    }

    proptest! {
        #[test]
        fn thinning_is_what_it_says(given in any_samples(), resolution in 0_i64..90) {
            let mut thinned = samples(&given);
            thinned.thin(resolution);
            let span = |at: i64| if resolution > 1 { (at - 1).div_euclid(resolution) } else { at };
            let expected: Vec<_> = given
                .iter()
                .filter(|(at, _, is_marker)| {
                    *is_marker
                        || !given.iter().any(|(other, _, is_marker)| {
                            !is_marker && other > at && span(*other) == span(*at)
                        })
                })
                .copied()
                .collect();
            prop_assert_eq!(shown(&thinned), expected);
        }
    }
}
