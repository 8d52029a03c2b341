//! Counting the samples in segments, from their first bytes.

use std::pin::pin;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::time::{Instant, timeout_at};

use super::Outbox;
use super::inventory::backlog::Contents;
use crate::report::{IncidentKind, counted};
use crate::spool::name::{Folder, SegmentName};
use crate::spool::retry::peek;
use crate::spool::store::{FailureKind, StoreError};

/// Segments that are looked into at once, after a kill.
const PEEKS: usize = 16;

/// Longest time for looking once more into segments that could not be looked into before.
const LOOK: Duration = Duration::from_secs(2);

/// Which segments are looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// Those whose contents are not known.
    Unknown,
    /// Of these, those whose samples are in no sum.
    Uncounted,
}

impl Outbox {
    /// Looks into segments until a deadline. A later call or tick goes on with the others.
    pub(super) async fn count(&self, which: Which, until: Instant) {
        let names: Vec<_> = {
            let backlog = &self.inventory.borrow().backlog;
            match which {
                Which::Unknown => backlog.unknown().collect(),
                Which::Uncounted => backlog.uncounted().collect(),
            }
        };
        let peeks = stream::iter(names).map(|name| async move { (name, self.peek(name).await) });
        let mut peeked = pin!(peeks.buffer_unordered(PEEKS));
        while let Ok(Some((name, contents))) = timeout_at(until, peeked.next()).await {
            if let Some(contents) = contents {
                self.inventory.borrow_mut().backlog.learn(name, contents);
            }
        }
    }

    /// Looks once more into the segments whose samples are in no sum. Their samples would otherwise
    /// be in the backlog without being counted.
    pub async fn count_uncounted(&self) {
        let uncounted = || self.inventory.borrow().backlog.uncounted().count();
        if uncounted() > 0 {
            self.look_into(Which::Uncounted).await;
            let segments = uncounted();
            if segments > 0 {
                self.inventory.borrow_mut().losses.say(
                    IncidentKind::BacklogUncounted,
                    format!(
                        "spool: {}: {} not been looked into, and the backlog lacks what is there",
                        self.remote,
                        counted(segments as u64, "segment", ["has", "have"])
                    ),
                );
            }
        }
        self.lose_unattributed();
    }

    /// Counts the samples of a segment that is gone as lost.
    pub(super) async fn lose(&self, kind: IncidentKind, name: SegmentName, why: &str) {
        let known = self.inventory.borrow_mut().remove(name);
        let samples = match known {
            Some(samples) => samples,
            // Its samples are still in the sum. Once all other segments are known, they are what is
            // left of it; if one cannot be read now, a later call finds them.
            None => {
                self.look_into(Which::Unknown).await;
                self.inventory.borrow_mut().backlog.take_unattributed()
            }
        };
        self.inventory.borrow_mut().losses.lose(
            kind,
            samples,
            format!("{why}: {} lost", counted(samples, "sample", ["is", "are"])),
        );
    }

    /// Counts what is left of the sum as lost, once the contents of each segment are known: those
    /// samples were in segments that were lost before anything had looked into them.
    pub(super) fn lose_unattributed(&self) {
        let inventory = &mut *self.inventory.borrow_mut();
        let samples = inventory.backlog.take_unattributed();
        if samples > 0 {
            inventory.losses.lose(
                IncidentKind::SegmentLost,
                samples,
                format!(
                    "spool: {}: {} in segments that are lost",
                    self.remote,
                    counted(samples, "sample", ["was", "were"])
                ),
            );
        }
    }

    async fn look_into(&self, which: Which) {
        let until = self.access.optional_call_ends().min(Instant::now() + LOOK);
        self.count(which, until).await;
    }

    /// Looks into the oldest segment if nothing else says how old the backlog is.
    pub(super) async fn look_into_oldest(&self) {
        let oldest = self.inventory.borrow().backlog.oldest_of_unknown_age();
        if let Some(name) = oldest
            && let Some(contents) = self.peek(name).await
        {
            self.inventory.borrow_mut().backlog.learn(name, contents);
        }
    }

    async fn peek(&self, name: SegmentName) -> Option<Contents> {
        self.try_to_peek(name, self.access.optional_call_ends())
            .await
            .ok()
            .flatten()
    }

    /// What is left in a segment, from its first bytes. None when there is no segment that can be
    /// read.
    ///
    /// # Errors
    /// The store is down.
    pub(super) async fn try_to_peek(
        &self,
        name: SegmentName,
        until: Instant,
    ) -> Result<Option<Contents>, StoreError> {
        let key = name.key(Folder::Segments, &self.remote);
        let peeked = match peek(&*self.access.store, &key, &self.access.long_peek, until).await {
            Err(error) if error.kind == FailureKind::NotFound => return Ok(None),
            peeked => peeked?,
        };
        let Ok(index) = peeked else { return Ok(None) };
        let inventory = self.inventory.borrow();
        Ok(Some(inventory.window.contents_of(name, &index)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::super::tests::{LIMITS, amp, batch, drain, outbox, tick, world};
    use super::super::{Fallback, open};
    use crate::report::IncidentKind;
    use crate::spool::name::{Folder, SegmentName};
    use crate::spool::state::{RemoteRecord, SpoolState};
    use crate::spool::store::memory::{MemoryStore, StoreFault};
    use crate::spool::store::{FailureKind, Op, Store as _};

    #[tokio::test(start_paused = true)]
    async fn what_was_lost_while_nobody_could_tell_is_counted_when_the_rest_is_known() {
        let store = world();
        let first = outbox(&store, 1, Some(&RemoteRecord::default())).await;
        first
            .put(1, vec![batch(1, 100)], Fallback::Memory)
            .await
            .unwrap();
        first
            .put(2, vec![batch(2, 200)], Fallback::Memory)
            .await
            .unwrap();
        let second = outbox(&store, 2, Some(&first.summary().await)).await;
        store
            .delete(&store.keys()[0], Instant::now() + Duration::from_secs(1))
            .await
            .unwrap();
        store.set_faults(|op, key, _| StoreFault {
            refuse: (op == Op::Get && key.contains("-00000002-")).then_some(FailureKind::Denied),
            ..StoreFault::default()
        });
        assert_eq!(
            (
                second.head().await.unwrap(),
                second.take_lost(),
                second.backlog().samples
            ),
            (None, 0, 3)
        );
        store.heal();
        assert_eq!(drain(&second).await, [2]);
        second.count_uncounted().await;
        assert_eq!((second.take_lost(), second.backlog().samples), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_segment_that_could_not_be_looked_into_is_owed_all_the_same() {
        let store = world();
        outbox(&store, 1, Some(&RemoteRecord::default()))
            .await
            .put(1, vec![batch(7, 100)], Fallback::Memory)
            .await
            .unwrap();
        for drained in [false, true] {
            store.set_faults(|op, _, _| StoreFault {
                refuse: (op == Op::Get).then_some(FailureKind::Denied),
                ..StoreFault::default()
            });
            let mut opened = open(
                &tick(&store, 2, true),
                &SpoolState::default(),
                &[(amp(), LIMITS)],
            )
            .await
            .unwrap();
            let outbox = opened.outboxes.pop().unwrap();
            assert_eq!(
                (outbox.backlog().segments, outbox.backlog().samples),
                (1, 0),
                "nobody can tell"
            );
            outbox.count_uncounted().await;
            assert_eq!(
                outbox.take_incidents()[0].kind,
                IncidentKind::BacklogUncounted
            );
            let told = SpoolState {
                remotes: [(amp(), outbox.summary().await)].into(),
                ..SpoolState::default()
            };
            store.heal();
            let next = open(&tick(&store, 3, false), &told, &[(amp(), LIMITS)])
                .await
                .unwrap();
            assert_eq!(
                next.outboxes[0].backlog().samples,
                7,
                "the next tick counts anew"
            );
            if drained {
                assert_eq!(drain(&outbox).await, [7]);
            }
            outbox.count_uncounted().await;
            assert_eq!((outbox.take_found(), outbox.take_found()), (7, 0));
            assert_eq!(
                (outbox.backlog().samples, outbox.take_incidents().len()),
                (if drained { 0 } else { 7 }, 0)
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_segment_in_no_sum_is_told_of_beside_others_that_are_in_it() {
        let store = world();
        let mut released = three(&store).await;
        // The tick before had a write of these four samples in doubt, and counted them as lost.
        let name = SegmentName::new(1, 9, 0).unwrap();
        store.plant(
            &name.key(Folder::Segments, &amp()),
            crate::spool::segment::write(&[batch(4, 100)], None),
        );
        released.missed.insert(name);
        store.set_faults(|op, _, _| StoreFault {
            refuse: (op == Op::Get).then_some(FailureKind::Denied),
            ..StoreFault::default()
        });
        let second = outbox(&store, 2, Some(&released)).await;
        assert_eq!(second.backlog().samples, 7, "nobody knows of more");
        second.count_uncounted().await;
        assert_eq!(
            second.take_incidents()[0].kind,
            IncidentKind::BacklogUncounted
        );
        store.heal();
        second.count_uncounted().await;
        assert_eq!((second.backlog().samples, second.take_found()), (11, 4));
        assert_eq!((second.take_lost(), second.take_incidents().len()), (0, 0));
    }

    /// Three segments of 1, 2 and 4 samples, and what the release says of them.
    async fn three(store: &MemoryStore) -> RemoteRecord {
        let first = outbox(store, 1, Some(&RemoteRecord::default())).await;
        for scrape in 1..4 {
            let batches = vec![batch(1 << (scrape - 1), 100)];
            first.put(scrape, batches, Fallback::Memory).await.unwrap();
        }
        first.summary().await
    }

    #[tokio::test(start_paused = true)]
    async fn what_vanishes_between_two_clean_ticks_is_lost() {
        for gone in [vec![0], vec![1], vec![2], vec![0, 1, 2]] {
            let store = world();
            let released = three(&store).await;
            let keys = store.keys();
            let samples: u64 = gone.iter().map(|at| 1 << at).sum();
            for at in &gone {
                let soon = Instant::now() + Duration::from_secs(1);
                store.delete(&keys[*at], soon).await.unwrap();
            }
            let second = outbox(&store, 2, Some(&released)).await;
            assert_eq!(second.backlog().samples, 7, "{gone:?}: as it was told");
            let sent: u32 = drain(&second).await.iter().sum();
            second.count_uncounted().await;
            assert_eq!(
                (second.take_lost(), second.backlog().samples),
                (samples, 0),
                "{gone:?}"
            );
            assert_eq!(u64::from(sent) + samples, 7);
            let incidents = second.take_incidents();
            assert_eq!(incidents[0].kind, IncidentKind::SegmentLost, "{gone:?}");
            assert_eq!(second.summary().await, RemoteRecord::default());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_program_adds_is_counted_and_nothing_is_lost() {
        let store = world();
        let released = three(&store).await;
        let key = "segments/amp/0000000001-00000009-0000.seg";
        store.plant(key, crate::spool::segment::write(&[batch(8, 100)], None));
        let second = outbox(&store, 2, Some(&released)).await;
        assert_eq!((second.backlog().samples, second.take_found()), (15, 0));
        assert_eq!(drain(&second).await, [1, 2, 4, 8]);
        second.count_uncounted().await;
        assert_eq!(second.take_lost(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn counting_has_an_end_and_goes_on_with_what_is_not_known() {
        let store = world();
        for scrape in 1..=500 {
            let key = format!("segments/amp/0000000001-{scrape:08}-0000.seg");
            store.plant(&key, crate::spool::segment::write(&[batch(1, 100)], None));
        }
        // Sixteen at once take a second.
        store.set_faults(|op, _, _| StoreFault {
            delay: Duration::from_secs(u64::from(op == Op::Get)),
            ..StoreFault::default()
        });
        let mut released = None;
        let mut counted = Vec::new();
        for epoch in 2..7 {
            let started = Instant::now();
            let tick = outbox(&store, epoch, released.as_ref()).await;
            let took = started.elapsed();
            assert!(took <= Duration::from_secs(15), "{epoch}: {took:?}");
            counted.push(tick.backlog().samples);
            released = Some(tick.summary().await);
        }
        assert!(counted[0] > 100 && counted[0] < 400, "{counted:?}");
        assert!(counted[1] > counted[0] + 100, "{counted:?}: it goes on");
        assert_eq!(counted[4], 500, "{counted:?}");
        let released = released.unwrap();
        assert!(!released.uncounted && released.uncounted_names.is_empty());
        store.heal();
        let last = outbox(&store, 9, Some(&released)).await;
        assert_eq!(drain(&last).await.len(), 500);
        assert_eq!((last.take_lost(), last.take_found()), (0, 0));
    }
}
