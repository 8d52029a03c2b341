//! Getting segments, and getting rid of what is none.

use super::{Head, HeadError, Loaded, Meta, Outbox};
use crate::spool::name::{Folder, SegmentName};
use crate::spool::retry::{MAX_OBJECT, fetch, peek};
use crate::spool::segment::{self, Segment, SegmentError};
use crate::spool::state::HeadState;
use crate::spool::store::{Kind, StoreError};

impl Outbox {
    /// The oldest segment with the batches that are still to be posted; loaded unless it is already. None when nothing is owed.
    ///
    /// # Errors
    /// [`HeadError`].
    pub async fn head(&self) -> Result<Option<Head>, HeadError> {
        loop {
            let Some(name) = self.inner.borrow().entries.front().map(|entry| entry.name) else { return Ok(None) };
            if !self.load(name).await? {
                continue;
            }
            let (head, done) = {
                let inner = self.inner.borrow();
                let Some(loaded) = inner.loaded.iter().find(|loaded| loaded.name == name) else { continue };
                let open = (0_u32..).zip(&loaded.batches).zip(&loaded.answered).filter(|(_, answered)| !**answered);
                let batches = open.map(|((place, batch), _)| (place, batch.clone())).collect();
                (Head { name, batches, repeated: inner.doubtful == Some(name) }, loaded.is_done())
            };
            if !done {
                return Ok(Some(head));
            }
            // The tick that had its last answer could not delete it any more.
            self.finish(name).await?;
        }
    }

    /// Loads the segment after the head, if there is one and nothing is in its way: so that it is there when its turn comes.
    pub async fn prefetch(&self) {
        let next = {
            let inner = self.inner.borrow();
            inner.entries.get(1).map(|entry| entry.name).filter(|_| inner.loaded.len() < 2)
        };
        // An error is met again when its turn comes; what is damaged waits for its turn, too.
        if let Some(name) = next
            && let Ok(Ok(segment)) = self.get(name).await
        {
            self.keep_loaded(name, segment);
        }
    }

    /// Whether the segment is loaded now. If not, it is no longer among the entries.
    async fn load(&self, name: SegmentName) -> Result<bool, HeadError> {
        if self.inner.borrow().loaded.iter().any(|loaded| loaded.name == name) {
            return Ok(true);
        }
        let key = name.key(Folder::Segments, &self.remote);
        match self.get(name).await {
            Ok(Ok(segment)) => {
                self.keep_loaded(name, segment);
                Ok(true)
            }
            Ok(Err((SegmentError::Newer(version), _))) => Err(HeadError::Blocked { key, version }),
            Ok(Err((error, bytes))) => {
                self.set_aside(name, &error, bytes).await?;
                Ok(false)
            }
            Err(error) if error.kind == Kind::NotFound => {
                self.forget(name, &format!("spool: {key} is gone, though nobody of ours deleted it")).await;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn get(&self, name: SegmentName) -> Result<Result<Segment, (SegmentError, bytes::Bytes)>, StoreError> {
        let key = name.key(Folder::Segments, &self.remote);
        let object = fetch(&*self.tick.store, &key, MAX_OBJECT, self.tick.deadline).await?;
        Ok(segment::read(&object.bytes).map_err(|error| (error, object.bytes)))
    }

    fn keep_loaded(&self, name: SegmentName, segment: Segment) {
        let inner = &mut *self.inner.borrow_mut();
        // It may have been given up meanwhile, or loaded.
        if !inner.entries.iter().any(|entry| entry.name == name) || inner.loaded.iter().any(|loaded| loaded.name == name) {
            return;
        }
        let mut answered = vec![false; segment.batches.len()];
        if let Some(resume) = inner.resume.take_if(|resume| resume.segment == name) {
            for place in resume.answered {
                if let Some(answered) = answered.get_mut(place as usize) {
                    *answered = true;
                }
            }
        }
        let open = segment.batches.iter().zip(&answered).filter(|(_, answered)| !**answered);
        let samples = open.map(|(batch, _)| u64::from(batch.samples)).sum();
        let oldest_ms = segment.batches.iter().map(|batch| batch.min_ms).min();
        inner.learn(name, Meta { samples, oldest_ms });
        inner.loaded.push(Loaded { name, batches: segment.batches, answered });
    }

    /// Moves what cannot be read to `rejected/`, as it is.
    async fn set_aside(&self, name: SegmentName, error: &SegmentError, bytes: bytes::Bytes) -> Result<(), StoreError> {
        let key = name.key(Folder::Segments, &self.remote);
        let place = match self.keep_bytes(Folder::Rejected, name.scrape(), bytes).await? {
            Some(place) => format!("it is kept as {place}"),
            None => "it is not kept: forwarder.spool.rejected leaves no room".to_owned(),
        };
        self.get_rid_of(name).await?;
        self.forget(name, &format!("spool: {key}: {error}; {place}, and the queue goes on without it")).await;
        Ok(())
    }

    /// Counts what was owed in a segment as lost.
    pub(super) async fn forget(&self, name: SegmentName, why: &str) {
        let known = self.inner.borrow_mut().remove(name);
        let samples = match known {
            Some(samples) => samples,
            None => self.recount().await,
        };
        self.inner.borrow_mut().lost(samples, format!("{why}: {samples} samples are lost"));
    }

    /// Looks into all segments whose meta is not known: what the sum has and they have not. For the sake of the ledger, after one of them was lost.
    async fn recount(&self) -> u64 {
        self.look_into_unknown().await;
        let inner = &mut *self.inner.borrow_mut();
        // Of those that cannot be read now, nothing is known: they keep the rest.
        if inner.entries.iter().any(|entry| entry.meta.is_none()) { 0 } else { std::mem::take(&mut inner.rest) }
    }

    /// Looks into the segments whose meta is not known.
    pub(super) async fn look_into_unknown(&self) {
        let unknown: Vec<_> = self.inner.borrow().entries.iter().filter(|entry| entry.meta.is_none()).map(|entry| entry.name).collect();
        for name in unknown {
            if let Some(meta) = self.peek(name).await {
                self.inner.borrow_mut().learn(name, meta);
            }
        }
    }

    /// What is owed in a segment, from its first bytes. None when that cannot be told.
    pub(super) async fn peek(&self, name: SegmentName) -> Option<Meta> {
        let key = name.key(Folder::Segments, &self.remote);
        let entries = peek(&*self.tick.store, &key, self.tick.deadline).await.ok()?.ok()?;
        let answered = match &self.inner.borrow().resume {
            Some(HeadState { segment, answered }) if *segment == name => answered.clone(),
            _ => Vec::new(),
        };
        let open = (0_u32..).zip(&entries).filter(|(place, _)| !answered.contains(place));
        let samples = open.map(|(_, entry)| u64::from(entry.samples)).sum();
        Some(Meta { samples, oldest_ms: entries.iter().map(|entry| entry.min_ms).min() })
    }

    /// So that a backlog can tell its age.
    pub(super) async fn look_at_oldest(&self) {
        let unknown = {
            let inner = self.inner.borrow();
            inner.entries.front().filter(|entry| entry.meta.is_none() && inner.oldest_ms.is_none()).map(|entry| entry.name)
        };
        if let Some(name) = unknown
            && let Some(meta) = self.peek(name).await
        {
            self.inner.borrow_mut().learn(name, meta);
        }
    }
}
