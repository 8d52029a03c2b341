//! The backlog of one remote: its segments, oldest first.
//!
//! One segment is the head at a time. It is read, its batches are posted in any order, and each is
//! marked as answered. When all are, the segment is deleted, and only then is the next one given
//! out. So a kill repeats at most the batches of one segment, and their samples are still the
//! newest of their series. All of this happens under the lease: no call is under way past its
//! fence.
//!
//! `inventory` is what is known without asking the store: plain data. [`Outbox`] is the async
//! shell around it. Its files have every call to the store, by what the call is for: `open`,
//! `head` (reading), `put` (writing), `delete`, `count`, `evict`, `expire`, `archive` and `adopt`.
//! A borrow of the inventory never lasts over an `await`.

#[cfg(feature = "cli")]
mod adopt;
mod archive;
mod count;
mod delete;
mod evict;
mod expire;
mod head;
mod inventory;
mod limits;
mod open;
mod put;

#[cfg(test)]
mod tests;

use std::cell::RefCell;

use tokio::sync::Mutex;

use self::inventory::Inventory;
pub use self::inventory::trials::BatchTrial;
pub use self::inventory::window::Head;
pub use self::limits::{ArchiveBound, SpoolLimits};
pub use self::open::{OpenSpool, open};
use super::access::StoreAccess;
use super::name::{RemoteDir, SegmentName};
use super::segment;
use super::state::{Backlog, RemoteRecord};
use super::store::StoreError;
use crate::batch::Batch;
use crate::report::Incident;

/// The backlog of one remote, for one tick.
pub struct Outbox {
    access: StoreAccess,
    remote: RemoteDir,
    limits: SpoolLimits,
    inventory: RefCell<Inventory>,
    /// The turn to work on the oldest segment: to give it out, or to evict it. Both wait for the
    /// store, and both at once would count its samples twice. It orders two futures of one thread,
    /// once for a segment.
    oldest: Mutex<()>,
}

/// Why there is no head although there is a backlog.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// A newer version of this program wrote the oldest segment. Nothing may pass it.
    #[error(
        "spool: {key} has version {version} and this program reads up to {}: \
         the remote is blocked until the newer program is back",
        segment::VERSION
    )]
    Blocked {
        /// Key of the segment.
        key: String,
        /// Version of its format.
        version: u16,
    },
    /// The store is down.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What becomes of batches that cannot be put into the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// They stay in memory and are sent from there. If the write took place after all, the segment
    /// must never be sent.
    Memory,
    /// They are counted as lost. If the write took place after all, the next tick finds the segment
    /// and sends it.
    Loss,
}

/// Batches that could not be put into the spool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct PutError {
    /// The batches that were not put, in their order. The first segment of them may exist
    /// nevertheless when the error is [`super::store::FailureKind::NoAnswer`].
    pub left: Vec<Batch>,
    /// The error of the store.
    #[source]
    pub error: StoreError,
}

impl Outbox {
    /// Marks a batch of the head as answered: written, or kept elsewhere.
    pub fn answered(&self, name: SegmentName, place: u32) {
        self.inventory.borrow_mut().answer(name, place);
    }

    /// Deletes the head if all of its batches were answered. Nothing newer may be posted before
    /// this has succeeded.
    ///
    /// # Errors
    /// The store is down. The next tick deletes the segment, as long as this one is released with
    /// [`Outbox::summary`].
    pub async fn finish(&self, name: SegmentName) -> Result<(), StoreError> {
        let is_done = self.inventory.borrow().window.is_done(name);
        if is_done {
            self.erase(name, self.access.work_ends()).await?;
            self.inventory.borrow_mut().remove(name);
        }
        Ok(())
    }

    /// The sums of the backlog, as far as they are known without asking the store.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        self.inventory.borrow().backlog.sums()
    }

    /// Size of the batches that are in memory, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.inventory.borrow().window.bytes()
    }

    /// The name of the oldest segment.
    #[must_use]
    pub fn front(&self) -> Option<SegmentName> {
        self.inventory.borrow().backlog.oldest()
    }

    /// Whether a batch of a segment in memory was not answered yet.
    #[must_use]
    pub fn is_owed(&self, name: SegmentName, place: u32) -> bool {
        self.inventory.borrow().window.is_unanswered(name, place)
    }

    /// Whether the backlog has no segment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inventory.borrow().backlog.is_empty()
    }

    /// Samples that were lost in the spool since the last call: evicted for `max_bytes`, or
    /// unreadable.
    #[must_use]
    pub fn take_lost(&self) -> u64 {
        self.inventory.borrow_mut().losses.take_samples()
    }

    /// Samples that were in the backlog when the tick began, but could not be counted then; found
    /// since the last call.
    #[must_use]
    pub fn take_found(&self) -> u64 {
        self.inventory.borrow_mut().backlog.take_found()
    }

    /// What people must know, since the last call. It was logged already.
    #[must_use]
    pub fn take_incidents(&self) -> Vec<Incident> {
        self.inventory.borrow_mut().losses.take_incidents()
    }

    /// What the next tick must know, for the release. May read the first bytes of the oldest
    /// segment for its time.
    pub async fn summary(&self) -> RemoteRecord {
        self.look_into_oldest().await;
        self.inventory.borrow().state()
    }

    /// Records what a delivery has found out about a batch of a segment that is still owed.
    pub fn tried(&self, name: SegmentName, place: u32, trial: &BatchTrial) {
        self.inventory
            .borrow_mut()
            .trials
            .record(name, place, trial);
    }

    /// Records the same of a batch in memory. If it is put into a segment later, it is known there.
    pub fn tried_in_memory(&self, batch: &Batch, trial: &BatchTrial) {
        self.inventory
            .borrow_mut()
            .trials
            .record_in_memory(batch, trial);
    }

    /// What earlier deliveries have found out about a batch of a segment.
    #[must_use]
    pub fn trial(&self, name: SegmentName, place: u32) -> BatchTrial {
        self.inventory.borrow().trials.get(name, place)
    }

    /// Records that the remote took a batch.
    pub fn passed(&self, now_ms: i64) {
        self.inventory.borrow_mut().trials.pass(now_ms);
    }

    /// Whether one more 429 refuses this batch for good.
    #[must_use]
    pub fn is_throttled_for_good(&self, name: SegmentName, place: u32, now_ms: i64) -> bool {
        self.inventory
            .borrow()
            .trials
            .is_throttled_for_good(name, place, now_ms)
    }

    /// Whether the remote has asked for so long to send this batch again that its samples are to be
    /// looked at apart.
    #[must_use]
    pub fn is_refused_for_long(&self, name: SegmentName, place: u32, now_ms: i64) -> bool {
        self.inventory
            .borrow()
            .trials
            .is_refused_for_long(name, place, now_ms)
    }
}
