//! The batch whose 429 never clears: a limit that the answer does not name, as of active series.
//!
//! What the remote throttles it mostly takes a little later. A batch that was throttled for a
//! quarter of an hour, while the remote took others after it had first been throttled, is refused
//! for good: everything behind it waits. Such batches are known by their place in the spool, or
//! while they are in memory by their bytes.

use std::collections::BTreeMap;

use super::Outbox;
use crate::batch::Batch;
use crate::prompb::RequestBody;
use crate::spool::name::SegmentName;
use crate::spool::state::{self, Throttled};

/// So long is it waited for.
const PATIENCE_MS: i64 = 15 * 60_000;

/// Most batches that are remembered: so many are in flight at most, and a few more.
const MOST: usize = 1000;

#[derive(Default)]
pub(super) struct Throttling {
    /// By segment and place in it, the time of the first 429.
    since_ms: BTreeMap<(SegmentName, u32), i64>,
    in_memory: Vec<(RequestBody, i64)>,
    passed_ms: Option<i64>,
}

fn never_clears(since_ms: i64, passed_ms: Option<i64>, now_ms: i64) -> bool {
    now_ms.saturating_sub(since_ms) >= PATIENCE_MS
        && passed_ms.is_some_and(|passed_ms| passed_ms >= since_ms)
}

impl Throttling {
    pub(super) fn resume(
        &mut self,
        known: Option<state::Throttling>,
        is_there: impl Fn(SegmentName) -> bool,
    ) {
        let Some(known) = known else { return };
        self.passed_ms = known.passed_ms;
        let there = known
            .batches
            .into_iter()
            .filter(|batch| is_there(batch.segment))
            .take(MOST);
        self.since_ms
            .extend(there.map(|batch| ((batch.segment, batch.place), batch.since_ms)));
    }

    pub(super) fn state(&self) -> Option<state::Throttling> {
        let batches: Vec<_> = self
            .since_ms
            .iter()
            .map(|(&(segment, place), &since_ms)| Throttled {
                segment,
                place,
                since_ms,
            })
            .collect();
        (!batches.is_empty()).then_some(state::Throttling {
            passed_ms: self.passed_ms,
            batches,
        })
    }

    /// These batches went from memory into that segment.
    pub(super) fn put(&mut self, name: SegmentName, batches: &[Batch]) {
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

    pub(super) fn remove(&mut self, name: SegmentName) {
        self.since_ms.retain(|(known, _), _| *known != name);
    }
}

impl Outbox {
    /// The last answer that this batch of a segment had was a 429, the first at that time.
    pub fn throttled(&self, name: SegmentName, place: u32, since_ms: i64) {
        let since = &mut self.inner.borrow_mut().throttling.since_ms;
        if since.len() < MOST {
            let known_ms = since.entry((name, place)).or_insert(since_ms);
            // A clock that was set back must not wait for ever.
            *known_ms = since_ms.min(*known_ms);
        }
    }

    /// The same of a batch that is in memory: should it be put into a segment, it is known there.
    pub fn throttled_in_memory(&self, batch: &Batch, since_ms: i64) {
        let in_memory = &mut self.inner.borrow_mut().throttling.in_memory;
        if in_memory.len() < MOST {
            in_memory.push((batch.body.clone(), since_ms));
        }
    }

    /// The remote took a batch.
    pub fn passed(&self, now_ms: i64) {
        self.inner.borrow_mut().throttling.passed_ms = Some(now_ms);
    }

    /// Whether one more 429 refuses this batch for good.
    #[must_use]
    pub fn is_throttled_for_good(&self, name: SegmentName, place: u32, now_ms: i64) -> bool {
        let throttling = &self.inner.borrow().throttling;
        throttling
            .since_ms
            .get(&(name, place))
            .is_some_and(|since_ms| never_clears(*since_ms, throttling.passed_ms, now_ms))
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
}
