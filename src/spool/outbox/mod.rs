//! What is owed to one remote: its segments, oldest first.
//!
//! One segment is at the head at a time: it is loaded, its batches are posted in any order, each is marked as answered, and when all are, the
//! segment is deleted; only then is the next one given out. So a kill repeats at most the batches of one segment, whose samples are still the
//! newest of their series. All of it is done under the lease: no call is under way past its fence.

mod age;
mod kept;
mod load;
mod open;
mod room;
mod throttling;
mod unwanted;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::Instant;

use self::kept::Kept;
pub use self::open::{Opened, open};
use self::throttling::Throttling;
use super::name::{Folder, MAX_PART, RemoteDir, SegmentName};
use super::retry::{erase, persist};
use super::segment;
use super::state::{Backlog, HeadState, RemoteState};
use super::store::{Kind, Store, StoreError};
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

/// What all outboxes of a tick share.
#[derive(Clone)]
pub struct Tick {
    /// Where.
    pub store: Arc<dyn Store>,
    /// Of the lease.
    pub epoch: u64,
    /// Until then the backlog is read, moved and deleted. The time behind it is for what memory holds, and for the release.
    pub until: Instant,
    /// Of its fence.
    pub deadline: Instant,
    /// The last holder was killed.
    pub unclean: bool,
}

impl Tick {
    /// For what is good to know: it leaves as much time as it takes.
    fn spare(&self) -> Instant {
        let now = Instant::now();
        now + self.deadline.saturating_duration_since(now) / 2
    }
}

/// The segments of one remote, for one tick.
pub struct Outbox {
    tick: Tick,
    remote: RemoteDir,
    limits: Limits,
    inner: RefCell<Inner>,
    kept: RefCell<HashMap<Folder, Kept>>,
    /// Whoever takes the oldest segment in hand: to send it, or to give it up. Both at once would count it twice.
    oldest: Mutex<()>,
}

#[derive(Default)]
struct Inner {
    /// In the order of their names.
    entries: VecDeque<Entry>,
    /// Samples owed in those entries whose meta is not known yet.
    rest: u64,
    /// Samples that are owed beyond the sum, since this was last asked: their segment could not be looked into when the tick began, or they were
    /// answered and are owed once more.
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
    /// The first of the segments that a killed tick left: some of its batches may have been answered.
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
    /// They stay in memory and go another way: if they are in the spool nevertheless, nobody may send them.
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

impl From<&config::Spool> for Limits {
    fn from(spool: &config::Spool) -> Self {
        let bound = |kept: config::Kept| Bound { objects: kept.max_objects, bytes: kept.max_bytes };
        Self { segment_bytes: spool.segment_bytes, max_bytes: spool.max_bytes, rejected: bound(spool.rejected), expired: bound(spool.expired) }
    }
}

impl Outbox {
    /// Puts batches of a scrape behind everything older. Batches of the same scrape may follow later. Says how many segments they took.
    ///
    /// # Errors
    /// [`PutError`]: the others are in the spool.
    pub async fn put(&self, scrape: u64, batches: Vec<Batch>, otherwise: Otherwise) -> Result<usize, PutError> {
        let mut parts = segment::parts(batches, self.limits.segment_bytes).into_iter();
        let mut written = 0;
        while let Some(part) = parts.next() {
            if let Err(error) = self.put_part((self.tick.epoch, scrape), &part, otherwise).await {
                return Err(PutError { left: part.into_iter().chain(parts.flatten()).collect(), error });
            }
            written += 1;
        }
        Ok(written)
    }

    async fn put_part(&self, scrape: (u64, u64), batches: &[Batch], otherwise: Otherwise) -> Result<(), StoreError> {
        let bytes = segment::write(batches, None);
        if !self.make_room(bytes.len() as u64).await? {
            let samples = samples(batches);
            self.inner.borrow_mut().lost(samples, format!("spool: {samples} samples for {} are lost: they alone pass max_bytes", self.remote));
            return Ok(());
        }
        let name = self.name_part(scrape)?;
        let size = bytes.len() as u64;
        if let Err(error) = self.write(Folder::Segments, name, bytes, self.tick.deadline).await {
            match otherwise {
                _ if error.kind != Kind::NoAnswer => {}
                Otherwise::Sent => self.discard(name).await,
                Otherwise::Lost => _ = self.inner.borrow_mut().missed.insert(name),
            }
            return Err(error);
        }
        let oldest_ms = batches.iter().map(|batch| batch.min_ms).min();
        self.inner.borrow_mut().throttling.put(name, batches);
        self.inner.borrow_mut().insert(Entry { name, bytes: size, meta: Some(Meta { samples: samples(batches), oldest_ms }) });
        Ok(())
    }

    /// A part that no other segment of the scrape has, and that sorts behind them.
    fn name_part(&self, scrape: (u64, u64)) -> Result<SegmentName, StoreError> {
        let inner = &mut *self.inner.borrow_mut();
        let of_scrape = |entry: &&Entry| (entry.name.epoch(), entry.name.scrape()) == scrape;
        let unwanted = inner.unwanted.keys().filter(|name| (name.epoch(), name.scrape()) == scrape);
        let known = inner.entries.iter().filter(of_scrape).map(|entry| &entry.name);
        let taken = known.chain(unwanted).map(|name| name.part() + 1).max().unwrap_or_default();
        let part = inner.parts.get(&scrape).copied().unwrap_or_default().max(taken);
        let name = SegmentName::new(scrape.0, scrape.1, part).ok_or_else(|| {
            let cause = format!("scrape {} of epoch {} has no name for its part {part}, of at most {MAX_PART}", scrape.1, scrape.0);
            StoreError::new(Kind::Denied, super::store::Op::PutIfAbsent, self.tick.store.address(), cause)
        })?;
        inner.parts.insert(scrape, part + 1);
        Ok(name)
    }

    async fn write(&self, folder: Folder, name: SegmentName, bytes: Bytes, until: Instant) -> Result<(), StoreError> {
        persist(&*self.tick.store, &name.key(folder, &self.remote), bytes, until).await
    }

    /// Marks a batch of the head as answered: written, or kept elsewhere.
    pub fn answered(&self, name: SegmentName, place: u32) {
        let inner = &mut *self.inner.borrow_mut();
        let Some(loaded) = inner.loaded.iter_mut().find(|loaded| loaded.name == name) else { return };
        let at = place as usize;
        let Some(answered) = loaded.answered.get_mut(at).filter(|answered| !**answered) else { return };
        *answered = true;
        let samples = u64::from(loaded.batches[at].samples);
        if let Some(meta) = inner.entries.iter_mut().find(|entry| entry.name == name).and_then(|entry| entry.meta.as_mut()) {
            meta.samples = meta.samples.saturating_sub(samples);
        }
    }

    /// Deletes the head if all of its batches were answered. Nothing newer may be posted before this has succeeded.
    ///
    /// # Errors
    /// The store is down. The next tick deletes it, as long as it is released with [`Outbox::summary`].
    pub async fn finish(&self, name: SegmentName) -> Result<(), StoreError> {
        let done = self.inner.borrow().loaded.iter().any(|loaded| loaded.name == name && loaded.is_done());
        if done {
            self.erase(name, self.tick.until).await?;
            self.inner.borrow_mut().remove(name);
        }
        Ok(())
    }

    async fn erase(&self, name: SegmentName, until: Instant) -> Result<(), StoreError> {
        erase(&*self.tick.store, &name.key(Folder::Segments, &self.remote), until).await
    }

    /// Puts these batches in place of a head, in its place in the order: for what is left of it when a batch was split.
    ///
    /// # Errors
    /// The store is down: the old segment stands for all of it, and what was answered of the batch that was split will be repeated.
    pub async fn replace(&self, name: SegmentName, batches: Vec<Batch>) -> Result<(), StoreError> {
        let left = samples(&batches);
        let mut written: Vec<Entry> = Vec::new();
        for part in segment::parts(batches, self.limits.segment_bytes) {
            let new = self.name_part((name.epoch(), name.scrape()))?;
            let bytes = segment::write(&part, None);
            let size = bytes.len() as u64;
            if let Err(error) = self.write(Folder::Segments, new, bytes, self.tick.deadline).await {
                // The old one stands for all of them: what is to be repeated is owed once more.
                {
                    let inner = &mut *self.inner.borrow_mut();
                    let owed = inner.entries.iter().find(|entry| entry.name == name).and_then(|entry| entry.meta).map_or(0, |meta| meta.samples);
                    inner.found += owed.saturating_sub(left);
                }
                for entry in written {
                    self.discard(entry.name).await;
                }
                if error.kind == Kind::NoAnswer {
                    self.discard(new).await;
                }
                return Err(error);
            }
            let oldest_ms = part.iter().map(|batch| batch.min_ms).min();
            written.push(Entry { name: new, bytes: size, meta: Some(Meta { samples: samples(&part), oldest_ms }) });
        }
        {
            let inner = &mut *self.inner.borrow_mut();
            written.into_iter().for_each(|entry| inner.insert(entry));
            // Nothing of the old one is owed any more: if it cannot be deleted now, the next tick does so.
            if let Some(loaded) = inner.loaded.iter_mut().find(|loaded| loaded.name == name) {
                loaded.answered.fill(true);
            }
            if let Some(meta) = inner.entries.iter_mut().find(|entry| entry.name == name).and_then(|entry| entry.meta.as_mut()) {
                meta.samples = 0;
            }
        }
        if self.erase(name, self.tick.until).await.is_ok() {
            self.inner.borrow_mut().remove(name);
        }
        Ok(())
    }

    /// What is owed, as far as it is known without asking the store.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        self.inner.borrow().backlog()
    }

    /// Bytes of the segments that are loaded.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.inner.borrow().loaded.iter().flat_map(|loaded| &loaded.batches).map(|batch| batch.body.len()).sum()
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
        inner.loaded.iter().find(|loaded| loaded.name == name).is_some_and(|loaded| loaded.answered.get(place as usize) == Some(&false))
    }

    /// Whether nothing is owed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.borrow().entries.is_empty()
    }

    /// Samples that were lost in the spool since this was last asked: given up for `max_bytes`, or unreadable.
    #[must_use]
    pub fn take_lost(&self) -> u64 {
        std::mem::take(&mut self.inner.borrow_mut().lost)
    }

    /// Samples that were owed all the time, though nobody could tell: found since this was last asked.
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
        let of_loaded = inner.loaded.iter().find(|loaded| Some(loaded.name) == first).map(|loaded| HeadState {
            segment: loaded.name,
            answered: (0_u32..).zip(&loaded.answered).filter(|(_, answered)| **answered).map(|(place, _)| place).collect(),
        });
        let head = of_loaded.or_else(|| inner.resume.clone().filter(|resume| Some(resume.segment) == first));
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
        let at = self.entries.partition_point(|known| known.name < entry.name);
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
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.name == name) else { return };
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
        if self.rest == 0 { self.entries.iter().filter(|entry| entry.meta.is_none()).count() } else { 0 }
    }

    fn backlog(&self) -> Backlog {
        let known: u64 = self.entries.iter().filter_map(|entry| entry.meta).map(|meta| meta.samples).sum();
        let first = self.entries.front();
        Backlog {
            segments: self.entries.len() as u64,
            samples: known + self.rest,
            bytes: self.entries.iter().map(|entry| entry.bytes).sum(),
            oldest_ms: first.and_then(|first| first.meta.map_or(self.oldest_ms, |meta| meta.oldest_ms)),
        }
    }
}

fn samples(batches: &[Batch]) -> u64 {
    batches.iter().map(|batch| u64::from(batch.samples)).sum()
}
