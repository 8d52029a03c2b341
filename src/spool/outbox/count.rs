//! Counting the samples in segments, from their first bytes.

use futures_util::stream::{self, StreamExt as _};
use tokio::time::Instant;

use super::Outbox;
use super::inventory::backlog::Contents;
use crate::report::IncidentKind;
use crate::spool::name::{Folder, SegmentName};
use crate::spool::retry::peek;
use crate::spool::store::{FailureKind, StoreError};

/// Segments that are looked into at once, after a kill.
const PEEKS: usize = 16;

impl Outbox {
    /// Looks into all segments, and believes them rather than the last release.
    pub(super) async fn count_all(&self) {
        let names: Vec<_> = self.inventory.borrow().backlog.names().collect();
        let peeks = stream::iter(names).map(|name| async move { (name, self.peek(name).await) });
        let peeked: Vec<_> = peeks.buffer_unordered(PEEKS).collect().await;
        let backlog = &mut self.inventory.borrow_mut().backlog;
        for (name, contents) in peeked {
            if let Some(contents) = contents {
                backlog.learn(name, contents);
            }
        }
        backlog.forget_released();
    }

    /// Looks once more into the segments that could not be looked into before. Their samples would
    /// otherwise be in the backlog without being counted.
    pub async fn count_unknown(&self) {
        let samples_are_in_the_sum = self.inventory.borrow().backlog.has_unattributed();
        if !samples_are_in_the_sum {
            self.look_into_unknown().await;
            let inventory = &mut *self.inventory.borrow_mut();
            let unknown = inventory.backlog.uncounted();
            if unknown > 0 {
                inventory.losses.say(
                    IncidentKind::BacklogUncounted,
                    format!(
                        "spool: {unknown} segments for {} could not be looked into: \
                     their backlog is not counted yet",
                        self.remote
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
                self.look_into_unknown().await;
                self.inventory.borrow_mut().backlog.take_unattributed()
            }
        };
        self.inventory.borrow_mut().losses.lose(
            kind,
            samples,
            format!("{why}: {samples} samples are lost"),
        );
    }

    /// Counts what is left of the sum as lost, once the contents of each segment are known: those
    /// samples were in segments that were lost before anything had looked into them.
    fn lose_unattributed(&self) {
        let inventory = &mut *self.inventory.borrow_mut();
        let samples = inventory.backlog.take_unattributed();
        if samples > 0 {
            inventory.losses.lose(
                IncidentKind::SegmentLost,
                samples,
                format!(
                    "spool: {samples} samples for {} were in segments that are lost",
                    self.remote
                ),
            );
        }
    }

    async fn look_into_unknown(&self) {
        let unknown: Vec<_> = self.inventory.borrow().backlog.unknown().collect();
        for name in unknown {
            self.look_into(name).await;
        }
    }

    /// Looks into the oldest segment if nothing else says how old the backlog is.
    pub(super) async fn look_into_oldest(&self) {
        let oldest = self.inventory.borrow().backlog.oldest_of_unknown_age();
        if let Some(name) = oldest {
            self.look_into(name).await;
        }
    }

    async fn look_into(&self, name: SegmentName) {
        if let Some(contents) = self.peek(name).await {
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
    use crate::spool::state::{RemoteRecord, SpoolState};
    use crate::spool::store::memory::StoreFault;
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
        second.count_unknown().await;
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
            outbox.count_unknown().await;
            assert!(
                outbox.take_incidents()[0]
                    .text
                    .contains("is not counted yet")
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
            outbox.count_unknown().await;
            assert_eq!((outbox.take_found(), outbox.take_found()), (7, 0));
            assert_eq!(
                (outbox.backlog().samples, outbox.take_incidents().len()),
                (if drained { 0 } else { 7 }, 0)
            );
        }
    }
}
