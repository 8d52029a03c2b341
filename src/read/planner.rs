//! How much the next window asks for: as much as the home answers well, and not more.
//!
//! The home builds an answer whole before its first byte, so windows are bounded. A planner starts
//! with a minute, grows by what the last answer held, and asks for half after a failure. Below an
//! interval of the home it is the number of series that fills an answer: then the names are split
//! instead.

use std::time::Duration;

use super::name_part::MAX_PARTS;
use super::request::TimeRange;
use super::slots::Slots;
use super::window::{grid_ms, on_grid};
use crate::time::millis;

/// Raw size of an answer (before compression) that a window aims at, in bytes.
const AIM_RAW_BYTES: u64 = 16 << 20;

/// A float sample in an answer, in bytes: two headers, a value, and the varint of a time of today.
const SAMPLE_BYTES: u64 = 18;

/// New time that a window covers at most, in milliseconds.
const MAX_SPAN_MS: i64 = 120_000;

/// New time that the first window of a process covers, in milliseconds.
const FIRST_SPAN_MS: i64 = 60_000;

/// Samples of a series that a window aims at, at most: with more, chunks would be cheaper.
const MAX_SAMPLES_A_SERIES: u64 = 60;

/// The home's interval as long as nothing is known of it, in milliseconds.
const LIKELY_INTERVAL_MS: i64 = 15_000;

/// Windows in a row that must succeed before one asks for more than what has failed. A read that
/// fails runs on at home, and keeps its memory there.
const PATIENCE: u32 = 8;

/// Raw size of an answer that costs a home nothing, in bytes.
const SMALL_RAW_BYTES: u64 = 64 << 10;

/// [`PATIENCE`] with such answers: a small home catches up soon after its line was bad.
const SMALL_PATIENCE: u32 = 2;

/// Plans the windows of one target.
#[derive(Debug, Clone)]
pub struct WindowPlanner {
    /// Distance of the ends of windows, milliseconds.
    grid_ms: i64,
    /// Samples of a window at most.
    max_samples: u64,
    /// New time that the next window covers, milliseconds.
    span_ms: i64,
    /// Length of the whole range that the next window asks for at most, what it reads again
    /// included, as the density of the samples allows it; milliseconds.
    range_ms: i64,
    /// What [`PATIENCE`] allows, milliseconds. A failure lowers it.
    ceiling_ms: i64,
    /// Parts of each window by name.
    parts: u32,
    /// The home's interval, as far as the answers show it, milliseconds.
    interval_ms: i64,
    /// Windows in a row that succeeded.
    successes: u32,
}

/// The range of one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedWindow {
    /// What is asked for. Its end is the watermark once all parts were taken.
    pub range: TimeRange,
    /// Of that, how much lies above the watermark or, for slots, is not look-back. Milliseconds.
    pub new_ms: i64,
    /// Requests that the window is read in, each for a part of the names: [`super::NamePart`]. At
    /// least 1.
    pub parts: u32,
}

/// Size of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AnswerSize {
    /// Bytes before compression.
    pub raw_bytes: u64,
    /// Series.
    pub series: u64,
    /// Samples, those that were sent before included.
    pub samples: u64,
}

impl WindowPlanner {
    /// A planner that knows nothing of the home. `resolution_ms` is that of
    /// the raw samples that are taken, 0 for slots; `max_samples` bounds a window.
    #[must_use]
    pub fn new(resolution_ms: i64, max_samples: u64) -> Self {
        Self {
            grid_ms: grid_ms(resolution_ms),
            max_samples: max_samples.max(1),
            span_ms: FIRST_SPAN_MS,
            range_ms: i64::MAX,
            ceiling_ms: MAX_SPAN_MS,
            parts: 1,
            interval_ms: LIKELY_INTERVAL_MS,
            successes: 0,
        }
    }

    /// The next window: from `start_ms` (see [`range_start_ms`](super::window::range_start_ms)) to
    /// an end above `watermark_ms`, but not above `until_ms`. `None` when there is nothing to read
    /// yet, also when the watermark lies in the future.
    #[must_use]
    pub fn next(&self, start_ms: i64, watermark_ms: i64, until_ms: i64) -> Option<PlannedWindow> {
        let last_ms = on_grid(until_ms, self.grid_ms);
        if last_ms <= watermark_ms {
            return None;
        }
        // At least one step, however small the span is.
        let least_ms = on_grid(watermark_ms, self.grid_ms).saturating_add(self.grid_ms);
        let span_ms = self.span_beside(watermark_ms.saturating_sub(start_ms));
        let wanted_ms = on_grid(watermark_ms.saturating_add(span_ms), self.grid_ms);
        let end_ms = wanted_ms.max(least_ms).min(last_ms);
        Some(PlannedWindow {
            range: TimeRange {
                start_ms: start_ms.min(watermark_ms),
                end_ms,
            },
            new_ms: end_ms - watermark_ms,
            parts: self.parts,
        })
    }

    /// The next window of a gap that is filled slot by slot, and the slots that it serves: at least
    /// one. `None` when not even the first one is over at `until_ms`.
    #[must_use]
    pub fn next_slots(&self, gap: &Slots, until_ms: i64) -> Option<(PlannedWindow, Slots)> {
        let steps = self.span_beside(gap.look_back_ms) / gap.interval_ms.max(1);
        let wanted = u32::try_from(steps).unwrap_or(u32::MAX).max(1);
        let slots = gap.first(wanted).up_to(until_ms)?;
        let window = PlannedWindow {
            range: slots.range(),
            new_ms: slots.range().len_ms() - slots.look_back_ms,
            parts: self.parts,
        };
        Some((window, slots))
    }

    /// Learns from a window that was taken. `size` is that of its largest part.
    pub fn succeeded(&mut self, window: &PlannedWindow, size: AnswerSize) {
        self.successes += 1;
        // No home fails for an answer this small: it was the line that broke.
        let patience = if size.raw_bytes <= SMALL_RAW_BYTES {
            SMALL_PATIENCE
        } else {
            PATIENCE
        };
        if self.successes >= patience {
            self.successes = 0;
            if self.parts > 1 {
                self.parts /= 2;
            } else {
                self.ceiling_ms = (self.ceiling_ms * 2).min(MAX_SPAN_MS);
            }
        }
        let asked_ms = window.range.len_ms().max(1);
        let (Some(samples), Some(series)) = (positive(size.samples), positive(size.series)) else {
            // An answer without samples says nothing of those to come.
            self.span_ms = self.bounded(self.span_ms * 2);
            return;
        };
        let interval = u128::from(series) * asked_ms as u128 / u128::from(samples);
        self.interval_ms = i64::try_from(interval).unwrap_or(i64::MAX).max(1);
        // What is no sample is labels, and no shorter window has fewer of them: where they alone
        // exceed the aim, samples may take half as much again.
        let labels = size.raw_bytes.saturating_sub(samples * SAMPLE_BYTES);
        let budget = AIM_RAW_BYTES.saturating_sub(labels).max(labels / 2);
        let most = (budget / SAMPLE_BYTES)
            .min(series.saturating_mul(MAX_SAMPLES_A_SERIES))
            .min(self.max_samples / u64::from(self.parts));
        let allowed = u128::from(most) * asked_ms as u128 / u128::from(samples);
        self.range_ms = i64::try_from(allowed).unwrap_or(i64::MAX);
        self.span_ms = self.bounded(self.range_ms.min(self.span_ms * 2));
    }

    /// Learns from a window that was too much for the home, or for us
    /// ([`ReadErrorKind::Smaller`](super::ReadErrorKind)).
    pub fn failed(&mut self, window: &PlannedWindow) {
        self.successes = 0;
        let half_ms = window.new_ms / 2;
        if half_ms < self.interval_ms.max(self.grid_ms) {
            self.parts = (self.parts * 2).min(MAX_PARTS);
        }
        self.span_ms = half_ms.max(self.grid_ms);
        self.ceiling_ms = self.span_ms;
    }

    /// New time of a window that reads this much again, milliseconds: an overlap, or the look-back
    /// of slots. Only the first window of a gap looks back far, so that this is not a matter of the
    /// window before.
    fn span_beside(&self, behind_ms: i64) -> i64 {
        self.span_ms
            .min(self.range_ms.saturating_sub(behind_ms.max(0)))
            .max(self.grid_ms)
    }

    fn bounded(&self, span_ms: i64) -> i64 {
        span_ms.min(self.ceiling_ms).max(self.grid_ms)
    }
}

/// Bound for the samples of a window that `memory_limit` allows: a quarter of it, for what is
/// staged besides queues and caches.
///
/// ```
/// // 20,000 series at 15 s for two minutes are 160,000 samples.
/// assert!(amp_forwarder::read::default_max_samples(64 << 20) > 160_000);
/// ```
#[must_use]
pub fn default_max_samples(memory_limit: usize) -> u64 {
    /// Bytes of a sample in a batch before they are compressed, its share of the labels included.
    const STAGED_BYTES: u64 = 64;
    (memory_limit as u64 / 4 / STAGED_BYTES).max(1_000)
}

/// Time from which samples are read, at the latest: one that is too old when it arrives is not even
/// asked for. Milliseconds since 1970.
#[must_use]
pub fn oldest_wanted_ms(now_ms: i64, sample_age_limit: Duration) -> i64 {
    now_ms.saturating_sub(millis(sample_age_limit))
}

fn positive(number: u64) -> Option<u64> {
    (number > 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The answer of a home with so many series of so many bytes of labels, at this interval.
    fn answer(window: &PlannedWindow, series: u64, labels: u64, interval_ms: i64) -> AnswerSize {
        let each = (window.range.len_ms() / interval_ms + 1) as u64;
        let series = series / u64::from(window.parts);
        AnswerSize {
            raw_bytes: series * (labels + each * SAMPLE_BYTES),
            series,
            samples: series * each,
        }
    }

    /// New time of the windows of a long gap, once they have settled.
    fn settled(series: u64, labels: u64, interval_ms: i64, overlap_ms: i64) -> (i64, u32) {
        let mut planner = WindowPlanner::new(0, 10_000_000);
        let mut watermark = 0;
        for _ in 0..20 {
            let window = planner
                .next(watermark - overlap_ms, watermark, i64::MAX)
                .unwrap();
            planner.succeeded(&window, answer(&window, series, labels, interval_ms));
            watermark = window.range.end_ms;
        }
        (planner.span_beside(overlap_ms), planner.parts)
    }

    #[test]
    fn windows_grow_to_what_the_home_answers_well() {
        for (series, labels, interval, overlap, from, to) in [
            // Two minutes of 20,000 series fit.
            (20_000, 300, 15_000, 0, 120_000, 120_000),
            (10, 300, 15_000, 0, 120_000, 120_000),
            // At a sample a second, sixty of each are enough.
            (1_000, 300, 1_000, 0, 50_000, 60_000),
            // Labels alone are above the aim: still some samples of each.
            (100_000, 300, 15_000, 0, 100_000, 120_000),
            (1_000_000, 300, 1_000, 0, 5_000, 10_000),
            // What overlaps counts as well.
            (1_000, 300, 1_000, 40_000, 10_000, 20_000),
            (1_000, 300, 1_000, 300_000, 5_000, 5_000),
        ] {
            let (span, parts) = settled(series, labels, interval, overlap);
            assert!(
                (from..=to).contains(&span),
                "{series} {interval} {overlap}: {span}"
            );
            assert_eq!(parts, 1);
        }
    }

    #[test]
    fn a_failure_halves_the_window_and_then_splits_the_names() {
        let mut planner = WindowPlanner::new(0, 1_000_000);
        let mut seen = Vec::new();
        for _ in 0..6 {
            let window = planner.next(0, 0, 1_000_000).unwrap();
            seen.push((window.range.end_ms, window.parts));
            planner.failed(&window);
        }
        assert_eq!(
            seen,
            [
                (60_000, 1),
                (30_000, 1),
                (15_000, 1),
                (5_000, 2),
                (5_000, 4),
                (5_000, 8)
            ]
        );
        // It takes a while until as much is asked for as has failed.
        let mut successes = 0;
        while planner.parts > 1 || planner.span_ms < 60_000 {
            let window = planner.next(0, 0, 1_000_000).unwrap();
            planner.succeeded(&window, answer(&window, 1_000, 300, 15_000));
            successes += 1;
            assert!(successes < 100, "{planner:?}");
        }
        assert!(successes > 4 * PATIENCE, "{successes}");
    }

    #[test]
    fn the_look_back_of_a_gaps_first_window_does_not_shorten_the_next_one() {
        let gap = |first_ms, look_back_ms| Slots {
            first_ms,
            interval_ms: 15_000,
            count: 1_000,
            look_back_ms,
        };
        let mut planner = WindowPlanner::new(0, 10_000_000);
        // 360 s at a sample a second are far above sixty samples of each series.
        let first = planner.next_slots(&gap(0, 300_000), i64::MAX).unwrap().0;
        planner.succeeded(&first, answer(&first, 1_000, 300, 1_000));
        let next = planner.next_slots(&gap(60_000, 14_999), i64::MAX).unwrap();
        // Slots of 15 s: as much as looks back less than one of them, and is less than a minute.
        assert_eq!((next.1.count, next.0.new_ms), (2, 15_000), "{planner:?}");
        // One that looks back again reads as little as it can.
        let again = planner.next_slots(&gap(60_000, 300_000), i64::MAX).unwrap();
        assert_eq!(again.1.count, 1);
    }

    #[test]
    fn a_bound_for_samples_is_kept() {
        let mut planner = WindowPlanner::new(0, 2_000);
        for _ in 0..5 {
            let window = planner.next(0, 0, 1_000_000).unwrap();
            planner.succeeded(&window, answer(&window, 1_000, 300, 5_000));
        }
        let window = planner.next(0, 0, 1_000_000).unwrap();
        assert!(window.new_ms <= 10_000, "{window:?}");
    }

    #[test]
    fn what_lies_in_the_future_is_not_read() {
        let planner = WindowPlanner::new(0, 1_000);
        for (watermark, until) in [(100_000, 100_000), (100_000, 104_999), (100_000, 3_000)] {
            assert_eq!(planner.next(watermark, watermark, until), None, "{until}");
        }
        assert!(planner.next(100_000, 100_000, 105_000).is_some());
    }

    proptest! {
        /// Windows cover all of the time, end on the grid, and stay within their bounds.
        #[test]
        fn windows_follow_each_other_without_a_hole(
            watermark in -1_000_000_i64..1_000_000,
            gap in 0_i64..7_200_000,
            overlap in 0_i64..300_000,
            resolution in prop::sample::select(vec![0_i64, 1_000, 7_000, 60_000, 300_000]),
            fails in prop::collection::vec(prop::bool::weighted(0.2), 2_000),
            series in 1_u64..300_000,
            interval in 100_i64..60_000,
        ) {
            let mut planner = WindowPlanner::new(resolution, 500_000);
            let (mut at, until) = (watermark, watermark + gap);
            let mut fails = fails.into_iter();
            while let Some(window) = planner.next(at - overlap, at, until) {
                prop_assert_eq!(window.range.start_ms, at - overlap);
                prop_assert_eq!(window.range.end_ms, at + window.new_ms);
                prop_assert_eq!(window.range.end_ms % grid_ms(resolution), 0);
                prop_assert!(window.new_ms > 0 && window.range.end_ms <= until);
                prop_assert!(window.new_ms <= MAX_SPAN_MS.max(grid_ms(resolution)));
                prop_assert!((1..=MAX_PARTS).contains(&window.parts));
                match fails.next() {
                    Some(true) => planner.failed(&window),
                    Some(false) => {
                        planner.succeeded(&window, answer(&window, series, 300, interval));
                        at = window.range.end_ms;
                    }
                    None => break,
                }
            }
        }

        #[test]
        fn slots_follow_each_other_without_a_hole(
            first in -1_000_000_i64..1_000_000,
            interval in 1_000_i64..300_000,
            count in 1_u32..200,
            look_back in 1_000_i64..300_000,
            over in 0_i64..300_000,
        ) {
            let gap = Slots { first_ms: first, interval_ms: interval, count, look_back_ms: look_back };
            let mut planner = WindowPlanner::new(0, 500_000);
            let (mut left, mut served) = (Some(gap), Vec::new());
            let until = gap.last_ms() - over;
            while let Some((window, slots)) = left.and_then(|left| planner.next_slots(&left, until)) {
                prop_assert_eq!(window.range.end_ms, slots.last_ms());
                prop_assert_eq!(window.range.start_ms, slots.first_ms - look_back);
                served.extend(slots.times());
                planner.succeeded(&window, answer(&window, 1_000, 300, 15_000));
                left = left.and_then(|left| left.after(slots.last_ms()));
            }
            let wanted: Vec<_> = gap.times().filter(|&slot| slot <= until).collect();
            prop_assert_eq!(served, wanted);
        }
    }
}
