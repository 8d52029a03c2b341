//! The batch whose 429 never clears, because it passes a limit that the answer does not name, like
//! one of active series.
//!
//! A remote mostly takes a throttled batch a little later. A batch is refused for good when it was
//! throttled for a quarter of an hour while the remote took other batches: everything behind it
//! waits. Such batches are known by their place in the spool, or by their bytes while they are in
//! memory.

use std::collections::BTreeMap;

use crate::batch::Batch;
use crate::prompb::RequestBody;
use crate::spool::name::SegmentName;
use crate::spool::state::{ThrottledBatch, ThrottlingRecord};

/// How long a throttled batch is tried again, milliseconds.
const PATIENCE_MS: i64 = 15 * 60_000;

/// Most batches that are remembered: more than are ever in flight at once.
const MOST: usize = 1000;

/// Since when each throttled batch of a remote is throttled.
#[derive(Debug, Default)]
pub(crate) struct Throttling {
    /// Time of the first 429 by segment and place in it, milliseconds since 1970.
    since_ms: BTreeMap<(SegmentName, u32), i64>,
    /// The same for batches in memory.
    in_memory: Vec<(RequestBody, i64)>,
    /// When the remote last took any batch, milliseconds since 1970.
    passed_ms: Option<i64>,
}

fn never_clears(since_ms: i64, passed_ms: Option<i64>, now_ms: i64) -> bool {
    now_ms.saturating_sub(since_ms) >= PATIENCE_MS
        && passed_ms.is_some_and(|passed_ms| passed_ms >= since_ms)
}

impl Throttling {
    /// The throttled batches that the last release knew, of the segments that are still listed.
    pub(crate) fn new(
        released: Option<ThrottlingRecord>,
        is_listed: impl Fn(SegmentName) -> bool,
    ) -> Self {
        let Some(released) = released else {
            return Self::default();
        };
        let listed = released
            .batches
            .into_iter()
            .filter(|batch| is_listed(batch.segment))
            .take(MOST);
        Self {
            since_ms: listed
                .map(|batch| ((batch.segment, batch.place), batch.since_ms))
                .collect(),
            in_memory: Vec::new(),
            passed_ms: released.passed_ms,
        }
    }

    /// The throttled batches for `state.json`.
    pub(crate) fn state(&self) -> Option<ThrottlingRecord> {
        let batches: Vec<_> = self
            .since_ms
            .iter()
            .map(|(&(segment, place), &since_ms)| ThrottledBatch {
                segment,
                place,
                since_ms,
            })
            .collect();
        (!batches.is_empty()).then_some(ThrottlingRecord {
            passed_ms: self.passed_ms,
            batches,
        })
    }

    /// Records that the last answer to a batch of a segment was a 429, and the first one came at
    /// `since_ms`.
    pub(crate) fn throttle(&mut self, name: SegmentName, place: u32, since_ms: i64) {
        if self.since_ms.len() < MOST {
            let known_ms = self.since_ms.entry((name, place)).or_insert(since_ms);
            // A clock that was set back must not make the wait endless.
            *known_ms = since_ms.min(*known_ms);
        }
    }

    /// Records the same of a batch in memory.
    pub(crate) fn throttle_in_memory(&mut self, batch: &Batch, since_ms: i64) {
        if self.in_memory.len() < MOST {
            self.in_memory.push((batch.body.clone(), since_ms));
        }
    }

    /// Records that the remote took a batch.
    pub(crate) fn pass(&mut self, now_ms: i64) {
        self.passed_ms = Some(now_ms);
    }

    /// Whether one more 429 refuses this batch for good.
    pub(crate) fn is_for_good(&self, name: SegmentName, place: u32, now_ms: i64) -> bool {
        self.since_ms
            .get(&(name, place))
            .is_some_and(|since_ms| never_clears(*since_ms, self.passed_ms, now_ms))
    }

    /// Records that these batches went from memory into a segment.
    pub(crate) fn store(&mut self, name: SegmentName, batches: &[Batch]) {
        for (place, batch) in (0_u32..).zip(batches) {
            if let Some(at) = self
                .in_memory
                .iter()
                .position(|(body, _)| body.is_same(&batch.body))
            {
                let (_, since_ms) = self.in_memory.swap_remove(at);
                self.since_ms.insert((name, place), since_ms);
            }
        }
    }

    /// Forgets the batches of a segment.
    pub(crate) fn remove(&mut self, name: SegmentName) {
        self.since_ms.retain(|(known, _), _| *known != name);
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
        let mut throttling = Throttling::default();
        throttling.throttle_in_memory(&batch, 5);
        throttling.pass(7);
        assert_eq!(throttling.state(), None);
        throttling.store(name, std::slice::from_ref(&batch));
        throttling.throttle(name, 0, 100);
        assert!(
            throttling.is_for_good(name, 0, late_ms),
            "the first time counts"
        );
        assert!(!throttling.is_for_good(name, 1, late_ms));
        let released = throttling.state();
        let resumed = Throttling::new(released.clone(), |listed| listed == name);
        assert!(resumed.is_for_good(name, 0, late_ms));
        assert_eq!(Throttling::new(released, |_| false).state(), None);
        throttling.remove(name);
        assert_eq!(throttling.state(), None);
    }
}
