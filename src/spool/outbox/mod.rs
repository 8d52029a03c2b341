//! What is owed to one remote: its segments, oldest first.
//!
//! One segment is at the head at a time: it is loaded, its batches are posted in any order, each is
//! marked as answered, and when all are, the segment is deleted; only then is the next one given
//! out. So a kill repeats at most the batches of one segment, whose samples are still the newest of
//! their series. All of it is done under the lease: no call is under way past its fence.

mod archive;
mod evict;
mod expire;
mod head;
mod open;
mod put;

mod throttling;
mod tombstones;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::Instant;

use self::archive::Kept;
pub use self::open::{Opened, open};
use self::throttling::Throttling;
use super::access::StoreAccess;
use super::name::{Folder, RemoteDir, SegmentName};
use super::retry::{erase, persist};
use super::segment;
use super::state::{Backlog, HeadState, RemoteState};
use super::store::StoreError;
use crate::batch::Batch;
use crate::config;

/// Bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of a segment.
    pub segment_bytes: usize,
    /// Of all segments of the remote together; the oldest give way.
    pub max_bytes: u64,
    /// Of what was refused.
    pub rejected: Bound,
    /// Of what was too old.
    pub expired: Bound,
}

/// How much is kept of what will never be sent; the oldest give way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bound {
    /// 0: nothing is kept.
    pub objects: u64,
    /// Of all of them.
    pub bytes: u64,
}

/// The segments of one remote, for one tick.
pub struct Outbox {
    access: StoreAccess,
    remote: RemoteDir,
    limits: Limits,
    inner: RefCell<Inner>,
    kept: RefCell<HashMap<Folder, Kept>>,
    /// Whoever takes the oldest segment in hand: to send it, or to give it up. Both at once would
    /// count it twice.
    oldest: Mutex<()>,
}

#[derive(Default)]
struct Inner {
    /// In the order of their names.
    entries: VecDeque<Entry>,
    /// Samples owed in those entries whose meta is not known yet.
    rest: u64,
    /// Samples that are owed beyond the sum, since this was last asked: their segment could not be
    /// looked into when the tick began, or they were answered and are owed once more.
    found: u64,
    /// What may be there and is owed to nobody; [`RemoteState::unwanted`].
    unwanted: BTreeMap<SegmentName, u8>,
    throttling: Throttling,
    /// [`RemoteState::missed`].
    missed: BTreeSet<SegmentName>,
    /// As the last release said, for as long as nothing newer is known.
    oldest_ms: Option<i64>,
    /// Loaded segments: the head and the next.
    loaded: Vec<Loaded>,
    /// How far the head was when it was left.
    resume: Option<HeadState>,
    /// The first of the segments that a killed tick left: some of its batches may have been
    /// answered.
    doubtful: Option<SegmentName>,
    /// The next part of each scrape of this epoch.
    parts: HashMap<(u64, u64), u32>,
    /// Given up or unreadable, since this was last asked.
    lost: u64,
    /// What people must know, since this was last asked.
    messages: Vec<String>,
}

struct Entry {
    name: SegmentName,
    bytes: u64,
    meta: Option<Meta>,
}

#[derive(Debug, Clone, Copy)]
struct Meta {
    /// Not answered yet.
    samples: u64,
    oldest_ms: Option<i64>,
}

struct Loaded {
    name: SegmentName,
    batches: Vec<Batch>,
    answered: Vec<bool>,
}

impl Loaded {
    fn is_done(&self) -> bool {
        self.answered.iter().all(|answered| *answered)
    }
}

/// The oldest segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its name.
    pub name: SegmentName,
    /// The batches that are not answered yet, with their places in it. At least one.
    pub batches: Vec<(u32, Batch)>,
    /// Some may have been answered before a kill: a refusal of theirs tells nothing.
    pub repeated: bool,
}

/// No head, though there is something owed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The oldest segment is of a newer program: nothing may pass it.
    #[error(
        "spool: {key} has version {version} and this program reads up to {}: the remote is blocked until the newer program is back",
        segment::VERSION
    )]
    Blocked {
        /// Where it is.
        key: String,
        /// Its version.
        version: u16,
    },
    /// The store is down.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What becomes of batches that cannot be put into the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// They stay in memory and go another way: if they are in the spool nevertheless, nobody may
    /// send them.
    Sent,
    /// They are counted as lost: if they are in the spool nevertheless, so much the better.
    Lost,
}

/// Batches that could not be put into the spool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct PutError {
    /// They may be there nevertheless, when the error is [`super::store::Kind::NoAnswer`].
    pub left: Vec<Batch>,
    /// Why.
    pub error: StoreError,
}

impl From<&config::SpoolConfig> for Limits {
    fn from(spool: &config::SpoolConfig) -> Self {
        let bound = |kept: config::ArchiveLimits| Bound {
            objects: kept.max_objects,
            bytes: kept.max_bytes,
        };
        Self {
            segment_bytes: spool.segment_bytes,
            max_bytes: spool.max_bytes,
            rejected: bound(spool.rejected),
            expired: bound(spool.expired),
        }
    }
}

impl Outbox {
    async fn write(
        &self,
        folder: Folder,
        name: SegmentName,
        bytes: Bytes,
        until: Instant,
    ) -> Result<(), StoreError> {
        persist(
            &*self.access.store,
            &name.key(folder, &self.remote),
            bytes,
            until,
        )
        .await
    }

    /// Marks a batch of the head as answered: written, or kept elsewhere.
    pub fn answered(&self, name: SegmentName, place: u32) {
        let inner = &mut *self.inner.borrow_mut();
        let Some(loaded) = inner.loaded.iter_mut().find(|loaded| loaded.name == name) else {
            return;
        };
        let at = place as usize;
        let Some(answered) = loaded.answered.get_mut(at).filter(|answered| !**answered) else {
            return;
        };
        *answered = true;
        let samples = u64::from(loaded.batches[at].samples);
        if let Some(meta) = inner
            .entries
            .iter_mut()
            .find(|entry| entry.name == name)
            .and_then(|entry| entry.meta.as_mut())
        {
            meta.samples = meta.samples.saturating_sub(samples);
        }
    }

    /// Deletes the head if all of its batches were answered. Nothing newer may be posted before
    /// this has succeeded.
    ///
    /// # Errors
    /// The store is down. The next tick deletes it, as long as it is released with
    /// [`Outbox::summary`].
    pub async fn finish(&self, name: SegmentName) -> Result<(), StoreError> {
        let done = self
            .inner
            .borrow()
            .loaded
            .iter()
            .any(|loaded| loaded.name == name && loaded.is_done());
        if done {
            self.erase(name, self.access.until).await?;
            self.inner.borrow_mut().remove(name);
        }
        Ok(())
    }

    async fn erase(&self, name: SegmentName, until: Instant) -> Result<(), StoreError> {
        erase(
            &*self.access.store,
            &name.key(Folder::Segments, &self.remote),
            until,
        )
        .await
    }

    /// What is owed, as far as it is known without asking the store.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        self.inner.borrow().backlog()
    }

    /// Bytes of the segments that are loaded.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.inner
            .borrow()
            .loaded
            .iter()
            .flat_map(|loaded| &loaded.batches)
            .map(|batch| batch.body.len())
            .sum()
    }

    /// The name of the oldest segment.
    #[must_use]
    pub fn front(&self) -> Option<SegmentName> {
        self.inner.borrow().entries.front().map(|entry| entry.name)
    }

    /// Whether a batch of a loaded segment was not answered yet.
    #[must_use]
    pub fn is_owed(&self, name: SegmentName, place: u32) -> bool {
        let inner = self.inner.borrow();
        inner
            .loaded
            .iter()
            .find(|loaded| loaded.name == name)
            .is_some_and(|loaded| loaded.answered.get(place as usize) == Some(&false))
    }

    /// Whether nothing is owed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.borrow().entries.is_empty()
    }

    /// Samples that were lost in the spool since this was last asked: given up for `max_bytes`, or
    /// unreadable.
    #[must_use]
    pub fn take_lost(&self) -> u64 {
        std::mem::take(&mut self.inner.borrow_mut().lost)
    }

    /// Samples that were owed all the time, though nobody could tell: found since this was last
    /// asked.
    #[must_use]
    pub fn take_found(&self) -> u64 {
        std::mem::take(&mut self.inner.borrow_mut().found)
    }

    /// What people must know, since this was last asked. It was logged already.
    #[must_use]
    pub fn take_messages(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.borrow_mut().messages)
    }

    /// For the release. May look into the oldest segment for its time.
    pub async fn summary(&self) -> RemoteState {
        self.look_at_oldest().await;
        let inner = self.inner.borrow();
        let first = inner.entries.front().map(|entry| entry.name);
        let of_loaded = inner
            .loaded
            .iter()
            .find(|loaded| Some(loaded.name) == first)
            .map(|loaded| HeadState {
                segment: loaded.name,
                answered: (0_u32..)
                    .zip(&loaded.answered)
                    .filter(|(_, answered)| **answered)
                    .map(|(place, _)| place)
                    .collect(),
            });
        let head = of_loaded.or_else(|| {
            inner
                .resume
                .clone()
                .filter(|resume| Some(resume.segment) == first)
        });
        RemoteState {
            backlog: inner.backlog(),
            head: head.filter(|head| !head.answered.is_empty()),
            metadata_ms: None,
            throttling: inner.throttling.state(),
            unwanted: inner.unwanted.clone(),
            missed: inner.missed.clone(),
            uncounted: inner.uncounted() > 0,
        }
    }
}

impl Inner {
    fn insert(&mut self, entry: Entry) {
        let at = self
            .entries
            .partition_point(|known| known.name < entry.name);
        self.entries.insert(at, entry);
    }

    /// What was owed in it leaves the sum. None when that is not known.
    fn remove(&mut self, name: SegmentName) -> Option<u64> {
        self.loaded.retain(|loaded| loaded.name != name);
        self.throttling.remove(name);
        let at = self.entries.iter().position(|entry| entry.name == name)?;
        let entry = self.entries.remove(at)?;
        if at == 0 {
            self.oldest_ms = None;
        }
        entry.meta.map(|meta| meta.samples)
    }

    /// Now that it is known what is in a segment.
    fn learn(&mut self, name: SegmentName, meta: Meta) {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.name == name) else {
            return;
        };
        if entry.meta.is_none() {
            entry.meta = Some(meta);
            self.found += meta.samples.saturating_sub(self.rest);
            self.rest = self.rest.saturating_sub(meta.samples);
        }
    }

    fn lost(&mut self, samples: u64, message: String) {
        self.lost += samples;
        self.say(message);
    }

    fn say(&mut self, message: String) {
        tracing::error!("{message}");
        self.messages.push(message);
    }

    /// Segments of which nothing is in the sum.
    fn uncounted(&self) -> usize {
        if self.rest == 0 {
            self.entries
                .iter()
                .filter(|entry| entry.meta.is_none())
                .count()
        } else {
            0
        }
    }

    fn backlog(&self) -> Backlog {
        let known: u64 = self
            .entries
            .iter()
            .filter_map(|entry| entry.meta)
            .map(|meta| meta.samples)
            .sum();
        let first = self.entries.front();
        Backlog {
            segments: self.entries.len() as u64,
            samples: known + self.rest,
            bytes: self.entries.iter().map(|entry| entry.bytes).sum(),
            oldest_ms: first
                .and_then(|first| first.meta.map_or(self.oldest_ms, |meta| meta.oldest_ms)),
        }
    }
}

fn samples(batches: &[Batch]) -> u64 {
    batches.iter().map(|batch| u64::from(batch.samples)).sum()
}
