//! What is known of batches that were posted and are still owed.
//!
//! A remote mostly takes a throttled batch a little later. One with a 429 that never clears passes
//! a limit that the answer does not name, like one of active series: it is refused for good when it
//! was throttled for a quarter of an hour while the remote took other batches, because everything
//! behind it waits. After the same time of any answers that ask to send it again, its samples are
//! looked at apart. And one whose post had no clear answer may be stored. Such batches are known by
//! their place in the spool, or by their bytes while they are in memory.

use std::collections::BTreeMap;

use crate::batch::Batch;
use crate::prompb::RequestBody;
use crate::spool::name::SegmentName;
use crate::spool::state::{ThrottledBatch, ThrottlingRecord, TriedBatch};

/// How long a batch is tried again as it is, milliseconds.
const PATIENCE_MS: i64 = 15 * 60_000;

/// Most batches that are remembered: more than are ever in flight at once.
const MOST: usize = 1000;

/// What the posts of a batch have found out that is still owed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchTrial {
    /// Time of the first 429, if the last answer was one; milliseconds since 1970.
    pub throttled_ms: Option<i64>,
    /// Time of the first answer that asked to send it again, milliseconds since 1970.
    pub refused_ms: Option<i64>,
    /// Whether a post had no clear answer, so that the samples may be stored.
    pub in_doubt: bool,
}

impl BatchTrial {
    /// Adds what a later delivery has found out. The first times count; and a clock that was set
    /// back must not make the wait endless.
    fn follow(&mut self, later: &Self) {
        let first = |one: Option<i64>, other: Option<i64>| one.into_iter().chain(other).min();
        self.throttled_ms = first(self.throttled_ms, later.throttled_ms);
        self.refused_ms = first(self.refused_ms, later.refused_ms);
        self.in_doubt |= later.in_doubt;
    }
}

/// The trials of a remote's batches.
#[derive(Debug, Default)]
pub(crate) struct Trials {
    /// By segment and place in it.
    spooled: BTreeMap<(SegmentName, u32), BatchTrial>,
    /// Those of batches in memory.
    in_memory: Vec<(RequestBody, BatchTrial)>,
    /// When the remote last took any batch, milliseconds since 1970.
    passed_ms: Option<i64>,
}

fn is_over(since_ms: i64, now_ms: i64) -> bool {
    now_ms.saturating_sub(since_ms) >= PATIENCE_MS
}

fn never_clears(since_ms: i64, passed_ms: Option<i64>, now_ms: i64) -> bool {
    is_over(since_ms, now_ms) && passed_ms.is_some_and(|passed_ms| passed_ms >= since_ms)
}

impl Trials {
    /// The trials that the last release knew, of the segments that are still listed.
    pub(crate) fn new(
        throttling: Option<ThrottlingRecord>,
        tried: &[TriedBatch],
        is_listed: impl Fn(SegmentName) -> bool,
    ) -> Self {
        let ThrottlingRecord { passed_ms, batches } = throttling.unwrap_or_default();
        let mut trials = Self {
            passed_ms,
            ..Self::default()
        };
        for batch in batches.iter().filter(|batch| is_listed(batch.segment)) {
            let trial = BatchTrial {
                throttled_ms: Some(batch.since_ms),
                ..BatchTrial::default()
            };
            trials.record(batch.segment, batch.place, &trial);
        }
        for batch in tried.iter().filter(|batch| is_listed(batch.segment)) {
            let trial = BatchTrial {
                throttled_ms: None,
                refused_ms: batch.refused_ms,
                in_doubt: batch.in_doubt,
            };
            trials.record(batch.segment, batch.place, &trial);
        }
        trials
    }

    /// The throttled batches for `state.json`.
    pub(crate) fn throttling(&self) -> Option<ThrottlingRecord> {
        let batches = self
            .spooled
            .iter()
            .filter_map(|(&(segment, place), trial)| {
                Some(ThrottledBatch {
                    segment,
                    place,
                    since_ms: trial.throttled_ms?,
                })
            });
        let batches: Vec<_> = batches.collect();
        (!batches.is_empty()).then_some(ThrottlingRecord {
            passed_ms: self.passed_ms,
            batches,
        })
    }

    /// What else `state.json` says of batches.
    pub(crate) fn tried(&self) -> Vec<TriedBatch> {
        let known = self
            .spooled
            .iter()
            .filter(|(_, trial)| trial.in_doubt || trial.refused_ms.is_some());
        known
            .map(|(&(segment, place), trial)| TriedBatch {
                segment,
                place,
                refused_ms: trial.refused_ms,
                in_doubt: trial.in_doubt,
            })
            .collect()
    }

    /// Records what a delivery has found out about a batch of a segment.
    pub(crate) fn record(&mut self, name: SegmentName, place: u32, trial: &BatchTrial) {
        let is_known = self.spooled.contains_key(&(name, place));
        if *trial != BatchTrial::default() && (is_known || self.spooled.len() < MOST) {
            self.spooled.entry((name, place)).or_default().follow(trial);
        }
    }

    /// Records the same of a batch in memory.
    pub(crate) fn record_in_memory(&mut self, batch: &Batch, trial: &BatchTrial) {
        if *trial != BatchTrial::default() && self.in_memory.len() < MOST {
            self.in_memory.push((batch.body.clone(), *trial));
        }
    }

    /// Records that the remote took a batch.
    pub(crate) fn pass(&mut self, now_ms: i64) {
        self.passed_ms = Some(now_ms);
    }

    /// What is known of a batch of a segment.
    pub(crate) fn get(&self, name: SegmentName, place: u32) -> BatchTrial {
        let known = self.spooled.get(&(name, place));
        known.copied().unwrap_or_default()
    }

    /// Whether one more 429 refuses this batch for good.
    pub(crate) fn is_throttled_for_good(&self, name: SegmentName, place: u32, now_ms: i64) -> bool {
        let since_ms = self.get(name, place).throttled_ms;
        since_ms.is_some_and(|since_ms| never_clears(since_ms, self.passed_ms, now_ms))
    }

    /// Whether the remote has asked for so long to send this batch again that its samples are to be
    /// looked at apart.
    pub(crate) fn is_refused_for_long(&self, name: SegmentName, place: u32, now_ms: i64) -> bool {
        let since_ms = self.get(name, place).refused_ms;
        since_ms.is_some_and(|since_ms| is_over(since_ms, now_ms))
    }

    /// Records that these batches went from memory into a segment.
    pub(crate) fn store(&mut self, name: SegmentName, batches: &[Batch]) {
        for (place, batch) in (0_u32..).zip(batches) {
            if let Some(at) = self
                .in_memory
                .iter()
                .position(|(body, _)| body.is_same(&batch.body))
            {
                let (_, trial) = self.in_memory.swap_remove(at);
                self.record(name, place, &trial);
            }
        }
    }

    /// Forgets the batches of a segment.
    pub(crate) fn remove(&mut self, name: SegmentName) {
        self.spooled.retain(|(known, _), _| *known != name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_an_hour_while_others_pass() {
        let minutes = |minutes: i64| 1_000_000 + minutes * 60_000;
        assert!(never_clears(minutes(0), Some(minutes(0)), minutes(15)));
        assert!(never_clears(minutes(0), Some(minutes(3)), minutes(16)));
        assert!(
            !never_clears(minutes(0), Some(minutes(14)), minutes(15) - 1),
            "not yet"
        );
        assert!(
            !never_clears(minutes(0), None, minutes(60)),
            "nothing passes"
        );
        assert!(
            !never_clears(minutes(0), Some(minutes(0) - 1), minutes(60)),
            "nothing passes since"
        );
        assert!(
            !never_clears(minutes(60), Some(minutes(70)), minutes(5)),
            "the clock was set back"
        );
    }

    #[test]
    fn a_batch_is_known_in_memory_and_in_its_segment() {
        let batch = Batch {
            body: vec![0; 9].into(),
            samples: 1,
            raw_len: 9,
            min_ms: 0,
            max_ms: 0,
        };
        let name = SegmentName::new(1, 1, 0).unwrap();
        let late_ms = 5 + PATIENCE_MS;
        let throttled = |since_ms| BatchTrial {
            throttled_ms: Some(since_ms),
            refused_ms: Some(since_ms + 1),
            in_doubt: since_ms == 5,
        };
        let mut trials = Trials::default();
        trials.record_in_memory(&batch, &throttled(5));
        trials.pass(7);
        assert_eq!((trials.throttling(), trials.tried()), (None, vec![]));
        trials.store(name, std::slice::from_ref(&batch));
        trials.record(name, 0, &throttled(100));
        let is_known = |trials: &Trials| {
            assert_eq!(trials.get(name, 0), throttled(5), "the first time counts");
            assert!(trials.is_throttled_for_good(name, 0, late_ms));
            assert!(!trials.is_throttled_for_good(name, 1, late_ms));
            assert!(trials.is_refused_for_long(name, 0, late_ms + 1));
            assert!(!trials.is_refused_for_long(name, 0, late_ms), "not yet");
        };
        is_known(&trials);
        let (throttling, tried) = (trials.throttling(), trials.tried());
        let released =
            |listed: bool| Trials::new(throttling.clone(), &tried, |known| listed && known == name);
        is_known(&released(true));
        assert_eq!(released(false).tried(), []);
        assert_eq!(released(false).throttling(), None);
        trials.remove(name);
        assert_eq!((trials.throttling(), trials.tried()), (None, vec![]));
    }
}
