//! Reading segments: the head, which is sent now, and the next one.

use bytes::Bytes;

use super::inventory::window::Head;
use super::{HeadError, Outbox};
use crate::report::IncidentKind;
use crate::spool::name::{Folder, SegmentName};
use crate::spool::retry::{MAX_OBJECT, fetch};
use crate::spool::segment::{self, Segment, SegmentError};
use crate::spool::store::{Etag, FailureKind, StoreError};

/// An object under the name of a segment that this program cannot read.
struct Unreadable {
    error: SegmentError,
    /// All of the object.
    bytes: Bytes,
}

impl Outbox {
    /// The oldest segment with the batches that are still to be sent; read unless it is in memory.
    /// `None` when the backlog is empty, and when the oldest segment has just left or is gone:
    /// what comes next may then be in memory, so the caller must look again.
    ///
    /// # Errors
    /// The segment cannot be read now, or not by this program. Nothing newer may be sent before it
    /// can; call again later.
    pub async fn head(&self) -> Result<Option<Head>, HeadError> {
        let Some(name) = self.front() else {
            return Ok(None);
        };
        // An eviction may be under way. It works on the oldest segment, too, and both at once would
        // count its samples twice.
        let _turn = self.oldest.lock().await;
        if self.front() != Some(name) || !self.load(name).await? {
            return Ok(None);
        }
        let head = self.inventory.borrow().window.head(name);
        if head.as_ref().is_some_and(|head| head.batches.is_empty()) {
            // An earlier tick had the last answer and no time left to delete the segment.
            self.finish(name).await?;
            return Ok(None);
        }
        Ok(head)
    }

    /// Reads the segment after the head, if there is one and memory has room for it, so that it is
    /// there when its turn comes.
    pub async fn prefetch(&self) {
        // One that is larger than those that we write now waits for its turn: two of that kind
        // would fill a small function.
        let most = self.limits.segment_bytes as u64;
        let next = self.inventory.borrow().next_to_prefetch(most);
        // Errors, and segments that cannot be read, are dealt with when their turn comes.
        if let Some(name) = next
            && let Ok(Ok((segment, etag))) = self.get(name).await
        {
            self.take(name, segment, etag);
        }
    }

    /// Whether the segment is in memory now. If not, it has left the backlog.
    async fn load(&self, name: SegmentName) -> Result<bool, HeadError> {
        let is_loaded = self.inventory.borrow().window.contains(name);
        if is_loaded {
            return Ok(true);
        }
        let key = name.key(Folder::Segments, &self.remote);
        match self.get(name).await {
            Ok(Ok((segment, etag))) => {
                self.take(name, segment, etag);
                Ok(true)
            }
            Ok(Err(Unreadable {
                error: SegmentError::Newer(version),
                ..
            })) => Err(HeadError::Blocked { key, version }),
            Ok(Err(unreadable)) => {
                self.set_aside(name, unreadable).await?;
                Ok(false)
            }
            Err(error) if error.kind == FailureKind::NotFound => {
                self.lose(
                    IncidentKind::SegmentLost,
                    name,
                    &format!("spool: {key} is gone, though this program did not delete it"),
                )
                .await;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn take(&self, name: SegmentName, segment: Segment, etag: Etag) {
        let mut inventory = self.inventory.borrow_mut();
        inventory.load(name, segment.batches);
        if !etag.0.is_empty() {
            inventory.window.note_etag(name, etag);
        }
    }

    async fn get(
        &self,
        name: SegmentName,
    ) -> Result<Result<(Segment, Etag), Unreadable>, StoreError> {
        let key = name.key(Folder::Segments, &self.remote);
        let object = fetch(
            &*self.access.store,
            &key,
            MAX_OBJECT,
            self.access.work_ends(),
        )
        .await?;
        Ok(match segment::read(&object.bytes) {
            Ok(segment) => Ok((segment, object.etag)),
            Err(error) => Err(Unreadable {
                error,
                bytes: object.bytes,
            }),
        })
    }

    /// Moves an object that cannot be read to `rejected/`, as it is, and counts its samples as
    /// lost.
    async fn set_aside(
        &self,
        name: SegmentName,
        Unreadable { error, bytes }: Unreadable,
    ) -> Result<(), StoreError> {
        let key = name.key(Folder::Segments, &self.remote);
        // First the copy, then the deletion: a kill between them leaves both.
        let place = match self
            .keep_bytes(Folder::Rejected, name.scrape(), bytes)
            .await?
        {
            Some(place) => format!("it is kept as {place}"),
            None => "it is not kept: forwarder.spool.rejected leaves no room".to_owned(),
        };
        self.erase_for_good(name, self.access.work_ends()).await?;
        self.lose(
            IncidentKind::SegmentLost,
            name,
            &format!("spool: {key}: {error}; {place}, and the queue goes on without it"),
        )
        .await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Fallback;
    use super::super::tests::{batch, outbox, world};
    use crate::spool::state::RemoteRecord;
    use crate::spool::store::memory::StoreFault;
    use crate::spool::store::{FailureKind, Op};

    #[tokio::test(start_paused = true)]
    async fn a_head_that_leaves_gives_way_to_memory() {
        let store = world();
        let outbox = outbox(&store, 1, Some(&RemoteRecord::default())).await;
        outbox
            .put(1, vec![batch(1, 100)], Fallback::Memory)
            .await
            .unwrap();
        outbox
            .put(3, vec![batch(4, 300)], Fallback::Memory)
            .await
            .unwrap();
        let head = outbox.head().await.unwrap().unwrap();
        outbox.answered(head.name, 0);
        store.set_faults(|op, _, _| StoreFault {
            refuse: (op == Op::Delete).then_some(FailureKind::Denied),
            ..StoreFault::default()
        });
        outbox.finish(head.name).await.unwrap_err();
        store.heal();
        assert_eq!(
            outbox.head().await.unwrap(),
            None,
            "scrape 2 may be in memory"
        );
        assert_eq!(outbox.front().unwrap().scrape(), 3);
    }
}
