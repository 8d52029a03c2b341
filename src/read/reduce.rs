//! What `/federate` would have shown at moments that are past.
//!
//! A gap is filled at the job's own resolution: for each slot that was missed, the sample that a
//! scrape would have seen then (`web/federate.go` `federation`). That is the newest one that is not
//! after the slot and not older than the look-back, unless it is a stale marker.

use super::samples::{SeriesSamples, is_custom};
use super::slots::Slots;
use crate::config::ScrapeProtocol;
use crate::intake::histogram_limits::compact;
use crate::prompb::STALE_NAN;
use crate::prompb::messages::{Count, Histogram, ZeroCount};

/// How native histograms are shown at a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotHistograms {
    /// As `/federate` shows them in protobuf: as histograms of floats, without their reset hint
    /// unless they are gauges.
    Floats,
    /// Not at all, as in the text formats, and with `scrape_native_histograms: false`.
    Hidden,
}

impl SlotHistograms {
    /// How a federation with these formats shows them to a job that takes native histograms or does
    /// not. Of the formats that both sides know, `/federate` takes the first, and it knows no
    /// OpenMetrics (`expfmt.Negotiate`).
    pub(super) fn of(protocols: &[ScrapeProtocol], takes_native: bool) -> Self {
        use ScrapeProtocol::{OpenMetricsText0_0_1, OpenMetricsText1_0_0, PrometheusProto};
        let known = |protocol: &&ScrapeProtocol| {
            !matches!(protocol, OpenMetricsText0_0_1 | OpenMetricsText1_0_0)
        };
        match protocols.iter().find(known) {
            Some(PrometheusProto) if takes_native => Self::Floats,
            _ => Self::Hidden,
        }
    }
}

impl Slots {
    /// Reduces the samples of a series to those that the slots show. `own_timestamps`: a sample
    /// keeps its timestamp and is shown once, as with `honor_timestamps`; otherwise it takes that
    /// of each slot that shows it.
    pub(super) fn reduce(
        &self,
        samples: &mut SeriesSamples,
        own_timestamps: bool,
        shown: SlotHistograms,
    ) {
        samples.rebuild(|given, kept| {
            let (mut floats, mut histograms) = (0, 0);
            let mut last_shown = None;
            for slot_ms in self.times() {
                // Both are sorted, so each is passed once.
                floats += given.floats[floats..]
                    .iter()
                    .take_while(|float| float.timestamp_ms <= slot_ms)
                    .count();
                histograms += given.histograms[histograms..]
                    .iter()
                    .take_while(|histogram| histogram.timestamp <= slot_ms)
                    .count();
                let float = floats.checked_sub(1).map(|newest| given.floats[newest]);
                let histogram = histograms
                    .checked_sub(1)
                    .map(|newest| &given.histograms[newest]);
                let float_ms = float.map(|float| float.timestamp_ms);
                let histogram_ms = histogram.map(|histogram| histogram.timestamp);
                let Some(newest_ms) = float_ms.max(histogram_ms) else {
                    continue;
                };
                let seen_before = own_timestamps && last_shown == Some(newest_ms);
                if seen_before || newest_ms < slot_ms.saturating_sub(self.look_back_ms) {
                    continue;
                }
                let timestamp_ms = if own_timestamps { newest_ms } else { slot_ms };
                match (float, histogram) {
                    (Some(float), _) if float.timestamp_ms == newest_ms => {
                        if float.value.to_bits() == STALE_NAN {
                            continue;
                        }
                        kept.push_float(float.value, timestamp_ms);
                    }
                    (_, Some(histogram)) => {
                        // Custom buckets are shown in every format: see `classic`.
                        let is_shown = shown == SlotHistograms::Floats || is_custom(histogram);
                        if histogram.is_stale() || !is_shown {
                            continue;
                        }
                        kept.push_histogram(federated(histogram), timestamp_ms);
                    }
                    _ => continue,
                }
                last_shown = Some(newest_ms);
            }
        });
    }
}

/// A histogram as `/federate` shows it in protobuf (`web/federate.go` `makeNativeHistogram`, from
/// `model/histogram/histogram.go` `ToFloat`), and as a scrape reads it: without empty buckets, and
/// as one of integers when it is empty, because nothing tells that apart
/// (`model/textparse/protobufparse.go` `Histogram`). One with custom buckets stays as it is.
fn federated(histogram: &Histogram) -> Histogram {
    if is_custom(histogram) {
        return histogram.clone();
    }
    let counts = |deltas: &[i64], counts: &[f64]| match deltas {
        [] => counts.to_vec(),
        deltas => deltas
            .iter()
            .scan(0_i64, |count, delta| {
                *count = count.wrapping_add(*delta);
                Some(*count as f64)
            })
            .collect(),
    };
    let count = match histogram.count {
        Some(Count::Int(count)) => count as f64,
        Some(Count::Float(count)) => count,
        None => 0.0,
    };
    let zero_count = match histogram.zero_count {
        Some(ZeroCount::Int(count)) => count as f64,
        Some(ZeroCount::Float(count)) => count,
        None => 0.0,
    };
    let mut shown = Histogram {
        count: Some(Count::Float(count)),
        zero_count: Some(ZeroCount::Float(zero_count)),
        negative_counts: counts(&histogram.negative_deltas, &histogram.negative_counts),
        negative_deltas: Vec::new(),
        positive_counts: counts(&histogram.positive_deltas, &histogram.positive_counts),
        positive_deltas: Vec::new(),
        reset_hint: match histogram.reset_hint {
            GAUGE => GAUGE,
            _ => 0,
        },
        ..histogram.clone()
    };
    compact(&mut shown);
    if !(count > 0.0 || zero_count > 0.0) {
        shown.count = Some(Count::Int(0));
        shown.zero_count = Some(ZeroCount::Int(0));
    }
    shown
}

/// `Histogram.ResetHint` GAUGE.
const GAUGE: i32 = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::tests::{any_samples, samples, shown};
    use super::*;
    use crate::prompb::messages::BucketSpan;

    /// What federation shows at a slot, as `web/federate.go` says it: time, kind.
    fn federation(given: &[(i64, bool, bool)], slot: i64, look_back: i64) -> Option<(i64, bool)> {
        given
            .iter()
            .rfind(|(at, ..)| (slot - look_back..=slot).contains(at))
            .filter(|(.., is_marker)| !is_marker)
            .map(|&(at, is_histogram, _)| (at, is_histogram))
    }

    proptest! {
        #[test]
        fn slots_show_what_federation_showed(
            given in any_samples(),
            first in -50_i64..400,
            interval in 1_i64..60,
            count in 1_u32..12,
            look_back in 0_i64..90,
            own_timestamps in any::<bool>(),
            hidden in any::<bool>(),
        ) {
            let slots = Slots { first_ms: first, interval_ms: interval, count, look_back_ms: look_back };
            let histograms = if hidden { SlotHistograms::Hidden } else { SlotHistograms::Floats };
            let mut reduced = samples(&given);
            slots.reduce(&mut reduced, own_timestamps, histograms);
            let mut expected: Vec<_> = slots
                .times()
                .filter_map(|slot| {
                    let (at, is_histogram) = federation(&given, slot, look_back)?;
                    let at = if own_timestamps { at } else { slot };
                    (!is_histogram || !hidden).then_some((at, is_histogram, false))
                })
                .collect();
            expected.dedup();
            prop_assert_eq!(shown(&reduced), expected);
            prop_assert!(reduced.floats.is_sorted_by_key(|float| float.timestamp_ms));
        }
    }

    #[test]
    fn histograms_are_those_of_a_federation() {
        let given = Histogram {
            count: Some(Count::Int(9)),
            sum: 4.5,
            schema: 3,
            zero_threshold: 0.001,
            zero_count: Some(ZeroCount::Int(2)),
            positive_spans: vec![BucketSpan {
                offset: 1,
                length: 3,
            }],
            positive_deltas: vec![3, -2, 1],
            negative_spans: vec![BucketSpan {
                offset: 0,
                length: 1,
            }],
            negative_deltas: vec![2],
            reset_hint: 2,
            timestamp: 7,
            ..Histogram::default()
        };
        let shown = federated(&given);
        assert_eq!(
            shown,
            Histogram {
                count: Some(Count::Float(9.0)),
                zero_count: Some(ZeroCount::Float(2.0)),
                positive_counts: vec![3.0, 1.0, 2.0],
                positive_deltas: vec![],
                negative_counts: vec![2.0],
                negative_deltas: vec![],
                reset_hint: 0,
                ..given.clone()
            }
        );
        assert_eq!(federated(&shown), shown, "floats stay as they are");
        let gauge = Histogram {
            reset_hint: 3,
            ..given
        };
        assert_eq!(federated(&gauge).reset_hint, 3);
        let empty = Histogram {
            schema: 3,
            count: Some(Count::Float(0.0)),
            positive_spans: vec![BucketSpan {
                offset: 1,
                length: 1,
            }],
            positive_counts: vec![0.0],
            ..Histogram::default()
        };
        let shown = federated(&empty);
        assert_eq!(shown.count, Some(Count::Int(0)));
        assert_eq!(
            (shown.positive_spans, shown.positive_counts),
            (vec![], vec![])
        );
        let custom = Histogram {
            schema: -53,
            ..empty
        };
        assert_eq!(federated(&custom), custom);
    }

    #[test]
    fn the_formats_of_the_job_say_whether_there_are_histograms() {
        use ScrapeProtocol::{
            OpenMetricsText1_0_0, PrometheusProto, PrometheusText0_0_4, PrometheusText1_0_0,
        };
        for (protocols, shown) in [
            (
                &[PrometheusProto, PrometheusText0_0_4][..],
                SlotHistograms::Floats,
            ),
            (
                &[OpenMetricsText1_0_0, PrometheusProto],
                SlotHistograms::Floats,
            ),
            (
                &[PrometheusText1_0_0, PrometheusProto],
                SlotHistograms::Hidden,
            ),
            (&[OpenMetricsText1_0_0], SlotHistograms::Hidden),
        ] {
            assert_eq!(SlotHistograms::of(protocols, true), shown, "{protocols:?}");
            let refused = SlotHistograms::of(protocols, false);
            assert_eq!(refused, SlotHistograms::Hidden, "{protocols:?}");
        }
    }
}
