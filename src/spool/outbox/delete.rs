//! Deleting segments, those of writes without an answer included.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::time::Instant;

use super::Outbox;
use crate::spool::name::{Folder, SegmentName};
use crate::spool::retry::{erase, erase_known};
use crate::spool::store::{FailureKind, StoreError};

/// Longest time for one deletion of a segment with a tombstone: nothing waits for it to succeed.
const TRY: Duration = Duration::from_secs(2);

/// Deletions that are under way at once.
const AT_ONCE: usize = 16;

impl Outbox {
    /// Deletes a segment. One that was read is deleted only as it was read, so that a stale tick
    /// deletes nothing that was written anew.
    pub(super) async fn erase(&self, name: SegmentName, until: Instant) -> Result<(), StoreError> {
        let key = name.key(Folder::Segments, &self.remote);
        let etag = self.inventory.borrow().window.etag(name);
        match etag {
            Some(etag) => erase_known(&*self.access.store, &key, &etag, until).await,
            None => erase(&*self.access.store, &key, until).await,
        }
    }

    /// Deletes a segment whose samples are counted elsewhere. A deletion without an answer is as
    /// good as one: the segment gets a tombstone.
    pub(super) async fn erase_for_good(
        &self,
        name: SegmentName,
        until: Instant,
    ) -> Result<(), StoreError> {
        match self.erase(name, until).await {
            Err(error) if error.kind == FailureKind::NoAnswer => {
                self.bury(name).await;
                Ok(())
            }
            erased => erased,
        }
    }

    /// Gives a segment a tombstone, because its samples took another way: if the segment exists, it
    /// must not be sent.
    pub(super) async fn bury(&self, name: SegmentName) {
        self.inventory.borrow_mut().tombstones.insert(name);
        // The tombstone is in memory until the release. If this tick is killed before, only an
        // immediate deletion keeps the next tick from sending the segment.
        self.try_to_delete(name).await;
    }

    /// Deletes the segments that have a tombstone from earlier ticks.
    pub(super) async fn delete_buried(&self) {
        let names: Vec<_> = self.inventory.borrow().tombstones.names().collect();
        let deleting =
            stream::iter(names).map(|name| async move { (name, self.try_to_delete(name).await) });
        let deleted: Vec<_> = deleting.buffer_unordered(AT_ONCE).collect().await;
        let deleted = deleted
            .into_iter()
            .filter(|(_, deleted)| *deleted)
            .map(|(name, _)| name);
        self.inventory.borrow_mut().tombstones.deleted(deleted);
    }

    async fn try_to_delete(&self, name: SegmentName) -> bool {
        let key = name.key(Folder::Segments, &self.remote);
        let until = self.access.optional_call_ends().min(Instant::now() + TRY);
        let deleted = self.access.store.delete(&key, until).await;
        if let Err(error) = &deleted {
            tracing::debug!("{error}: the next tick deletes it");
        }
        deleted.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::super::Fallback;
    use super::super::tests::{amp, batch, drain, outbox, world};
    use crate::spool::retry::erase;
    use crate::spool::state::{RemoteRecord, SpoolState};
    use crate::spool::store::memory::{MemoryStore, StoreFault};
    use crate::spool::store::{FailureKind, Op};

    fn loses_writes(store: &MemoryStore) {
        store.set_faults(|op, _, _| match op {
            Op::PutIfAbsent => StoreFault {
                answer_lost: true,
                ..StoreFault::default()
            },
            _ => StoreFault {
                refuse: Some(FailureKind::Denied),
                ..StoreFault::default()
            },
        });
    }

    #[tokio::test(start_paused = true)]
    async fn a_segment_that_was_written_anew_since_it_was_read_is_not_deleted() {
        for written_anew in [false, true] {
            let store = world();
            let known = RemoteRecord::default();
            let tick = outbox(&store, 1, Some(&known)).await;
            tick.put(1, vec![batch(10, 100)], Fallback::Memory)
                .await
                .unwrap();
            let head = tick.head().await.unwrap().unwrap();
            let key = store.keys().remove(0);
            if written_anew {
                store.plant(&key, store.peek(&key).unwrap());
            }
            tick.answered(head.name, 0);
            tick.finish(head.name).await.unwrap();
            assert_eq!(store.keys().contains(&key), written_anew);
            assert_eq!(tick.backlog().samples, 0, "it is not the one that was sent");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_in_doubt_whose_batches_went_another_way_is_never_sent() {
        let store = world();
        let first = outbox(&store, 1, Some(&RemoteRecord::default())).await;
        loses_writes(&store);
        first
            .put(1, vec![batch(10, 100)], Fallback::Memory)
            .await
            .unwrap_err();
        store.heal();
        first
            .put(1, vec![batch(10, 100)], Fallback::Memory)
            .await
            .unwrap();
        let key = |part| format!("segments/amp/0000000001-00000001-000{part}.seg");
        assert_eq!(store.keys(), [key(0), key(1)]);
        let mut known = first.summary().await;
        assert_eq!(
            (
                known.backlog.segments,
                known.backlog.samples,
                known.tombstones.len()
            ),
            (1, 10, 1)
        );
        let orphan = store.peek(&key(0)).unwrap();

        // It is deleted unsent, and should the write take place only now, once more.
        for epoch in 2..6 {
            let tick = outbox(&store, epoch, Some(&known)).await;
            assert_eq!(
                (tick.backlog().samples, store.keys()),
                (10, vec![key(1)]),
                "{epoch}"
            );
            store.plant(&key(0), orphan.clone());
            known = tick.summary().await;
        }
        // Not while the store refuses to.
        store.set_faults(|op, _, _| StoreFault {
            refuse: (op == Op::Delete).then_some(FailureKind::Denied),
            ..StoreFault::default()
        });
        let refused = outbox(&store, 6, Some(&known)).await;
        assert_eq!(
            (refused.backlog().samples, refused.summary().await),
            (10, known.clone())
        );
        store.heal();
        let last = outbox(&store, 7, Some(&known)).await;
        assert!(last.summary().await.tombstones.is_empty());
        assert_eq!(drain(&last).await, [10]);
        assert!(store.keys().is_empty() && last.take_lost() == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_name_of_a_write_in_doubt_is_not_used_again() {
        let store = world();
        let first = outbox(&store, 1, Some(&RemoteRecord::default())).await;
        first
            .put(1, vec![batch(10, 100)], Fallback::Memory)
            .await
            .unwrap();
        let head = first.head().await.unwrap().unwrap();
        loses_writes(&store);
        // It was split, and seven samples were answered: they will be repeated.
        first
            .replace(head.name, vec![batch(3, 100)])
            .await
            .unwrap_err();
        assert_eq!((first.backlog().samples, first.take_found()), (10, 7));
        store.heal();
        let second = outbox(&store, 2, Some(&first.summary().await)).await;
        assert_eq!(store.keys().len(), 1);
        let head = second.head().await.unwrap().unwrap();
        second
            .replace(head.name, vec![batch(3, 100)])
            .await
            .unwrap();
        assert_eq!(store.keys(), ["segments/amp/0000000001-00000001-0002.seg"]);
        let third = outbox(&store, 3, Some(&second.summary().await)).await;
        assert_eq!(drain(&third).await, [3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_in_doubt_that_was_counted_as_lost_is_looked_for() {
        for is_there in [true, false] {
            let store = world();
            let first = outbox(&store, 1, Some(&RemoteRecord::default())).await;
            loses_writes(&store);
            first
                .put(1, vec![batch(10, 100)], Fallback::Loss)
                .await
                .unwrap_err();
            store.heal();
            let summary = first.summary().await;
            let state = SpoolState {
                remotes: [(amp(), summary.clone())].into(),
                ..SpoolState::default()
            };
            assert_eq!(
                (
                    summary.backlog.samples,
                    summary.missed.len(),
                    state.is_clean_and_empty()
                ),
                (0, 1, false)
            );
            let orphan = store.peek(&store.keys()[0]).unwrap();
            if !is_there {
                erase(
                    &store,
                    &store.keys()[0],
                    Instant::now() + Duration::from_secs(9),
                )
                .await
                .unwrap();
            }
            let second = outbox(&store, 2, Some(&summary)).await;
            assert_eq!(second.backlog().samples, if is_there { 10 } else { 0 });
            let summary = second.summary().await;
            assert_eq!(
                (summary.missed.len(), summary.tombstones.len()),
                (0, usize::from(!is_there))
            );
            if !is_there {
                // Now it is too late.
                store.plant("segments/amp/0000000001-00000001-0000.seg", orphan);
            }
            let third = outbox(&store, 3, Some(&summary)).await;
            assert_eq!(
                drain(&third).await,
                if is_there { vec![10] } else { vec![] }
            );
            assert!(store.keys().is_empty());
        }
    }
}
