//! Writing segments.

use bytes::Bytes;
use tokio::time::Instant;

use super::inventory::parts::{NoPartLeft, ScrapeId};
use super::{Fallback, Outbox, PutError};
use crate::batch::{self, Batch};
use crate::report::{IncidentKind, counted};
use crate::spool::name::{Folder, MAX_PART, SegmentName};
use crate::spool::retry::persist;
use crate::spool::segment;
use crate::spool::store::{FailureKind, Op, StoreError};

/// A segment that [`Outbox::replace`] has written.
struct Replacement {
    name: SegmentName,
    bytes: u64,
    batches: Vec<Batch>,
}

impl Outbox {
    /// Writes an object under a name that was never used before.
    pub(super) async fn write(
        &self,
        folder: Folder,
        name: SegmentName,
        bytes: Bytes,
        until: Instant,
    ) -> Result<(), StoreError> {
        let key = name.key(folder, &self.remote);
        persist(&*self.access.store, &key, bytes, until).await
    }

    /// Puts batches of a scrape behind everything older. Batches of the same scrape may follow
    /// later. Returns the number of segments that were written.
    ///
    /// # Errors
    /// The store could not take all of them. [`PutError::left`] are the batches that are not in the
    /// spool; the others are.
    pub async fn put(
        &self,
        scrape: u64,
        batches: Vec<Batch>,
        fallback: Fallback,
    ) -> Result<usize, PutError> {
        let scrape = ScrapeId {
            epoch: self.access.epoch,
            scrape,
        };
        let mut parts = segment::parts(batches, self.limits.segment_bytes).into_iter();
        let mut written = 0;
        while let Some(part) = parts.next() {
            if let Err(error) = self.put_part(scrape, &part, fallback).await {
                return Err(PutError {
                    left: part.into_iter().chain(parts.flatten()).collect(),
                    error,
                });
            }
            written += 1;
        }
        Ok(written)
    }

    pub(super) async fn put_part(
        &self,
        scrape: ScrapeId,
        batches: &[Batch],
        fallback: Fallback,
    ) -> Result<(), StoreError> {
        let bytes = segment::write(batches, None);
        let size = bytes.len() as u64;
        if !self.make_room(size).await? {
            let samples = batch::samples(batches);
            self.inventory.borrow_mut().losses.lose(
                IncidentKind::BacklogEvicted,
                samples,
                format!(
                    "spool: {}: {} lost: one scrape alone is larger than max_bytes",
                    self.remote,
                    counted(samples, "sample", ["is", "are"])
                ),
            );
            return Ok(());
        }
        let name = self.next_name(scrape)?;
        let written = self
            .write(Folder::Segments, name, bytes, self.access.fence())
            .await;
        if let Err(error) = written {
            // Without an answer the segment may exist, or appear later. What that means depends on
            // what the caller does with the batches.
            match fallback {
                _ if error.kind != FailureKind::NoAnswer => {}
                Fallback::Memory => self.bury(name).await,
                Fallback::Loss => self.inventory.borrow_mut().tombstones.miss(name),
            }
            return Err(error);
        }
        self.inventory.borrow_mut().insert(name, size, batches);
        Ok(())
    }

    fn next_name(&self, scrape: ScrapeId) -> Result<SegmentName, StoreError> {
        let named = self.inventory.borrow_mut().next_name(scrape);
        named.map_err(|NoPartLeft { scrape, part }| {
            let cause = format!(
                "scrape {} of epoch {} has no name for its part {part}, of at most {MAX_PART}",
                scrape.scrape, scrape.epoch
            );
            StoreError::new(
                FailureKind::Denied,
                Op::PutIfAbsent,
                self.access.store.address(),
                cause,
            )
        })
    }

    /// Puts these batches in place of a head, in its place in the order: what is left of a head
    /// after one of its batches was split.
    ///
    /// # Errors
    /// The store is down. The old segment stays as it is, and the answered part of the batch that
    /// was split will be sent again.
    pub async fn replace(&self, name: SegmentName, batches: Vec<Batch>) -> Result<(), StoreError> {
        let left = batch::samples(&batches);
        // The new segments are written before the old one is deleted, so that a kill in between
        // repeats samples but loses none.
        let mut written: Vec<Replacement> = Vec::new();
        for part in segment::parts(batches, self.limits.segment_bytes) {
            let new = self.next_name(name.into())?;
            let bytes = segment::write(&part, None);
            let size = bytes.len() as u64;
            if let Err(error) = self
                .write(Folder::Segments, new, bytes, self.access.fence())
                .await
            {
                self.undo_replace(name, left, &written).await;
                if error.kind == FailureKind::NoAnswer {
                    self.bury(new).await;
                }
                return Err(error);
            }
            written.push(Replacement {
                name: new,
                bytes: size,
                batches: part,
            });
        }
        {
            let inventory = &mut *self.inventory.borrow_mut();
            for new in written {
                inventory.insert(new.name, new.bytes, &new.batches);
            }
            // The samples of the old segment are in the new ones. If it cannot be deleted now, a
            // later call or the next tick deletes it.
            inventory.answer_all(name);
        }
        if self.erase(name, self.access.work_ends()).await.is_ok() {
            self.inventory.borrow_mut().remove(name);
        }
        Ok(())
    }

    /// The old segment will be sent as a whole again, so the new ones must not be.
    async fn undo_replace(&self, name: SegmentName, left: u64, written: &[Replacement]) {
        self.inventory
            .borrow_mut()
            .backlog
            .repeat_all_but(name, left);
        for new in written {
            self.bury(new.name).await;
        }
    }
}
