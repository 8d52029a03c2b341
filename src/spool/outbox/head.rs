//! Getting segments, and getting rid of what is none.

use tokio::time::Instant;

use super::{Head, HeadError, Loaded, Meta, Outbox};
use crate::spool::name::{Folder, SegmentName};
use crate::spool::retry::{MAX_OBJECT, fetch, peek};
use crate::spool::segment::{self, Segment, SegmentError};
use crate::spool::state::HeadState;
use crate::spool::store::{Kind, StoreError};

impl Outbox {
    /// The oldest segment with the batches that are still to be posted; loaded unless it is
    /// already. None when nothing is owed, and when the oldest is gone meanwhile, or has just left:
    /// what comes after it may be in memory, so that whoever sends must look again.
    ///
    /// # Errors
    /// [`HeadError`].
    pub async fn head(&self) -> Result<Option<Head>, HeadError> {
        let Some(name) = self.front() else {
            return Ok(None);
        };
        let _mine = self.oldest.lock().await;
        if self.front() != Some(name) || !self.load(name).await? {
            return Ok(None);
        }
        let (head, done) = {
            let inner = self.inner.borrow();
            let Some(loaded) = inner.loaded.iter().find(|loaded| loaded.name == name) else {
                return Ok(None);
            };
            let open = (0_u32..)
                .zip(&loaded.batches)
                .zip(&loaded.answered)
                .filter(|(_, answered)| !**answered);
            let batches = open
                .map(|((place, batch), _)| (place, batch.clone()))
                .collect();
            (
                Head {
                    name,
                    batches,
                    repeated: inner.doubtful == Some(name),
                },
                loaded.is_done(),
            )
        };
        if done {
            // The tick that had its last answer could not delete it any more.
            self.finish(name).await?;
            return Ok(None);
        }
        Ok(Some(head))
    }

    /// Loads the segment after the head, if there is one and nothing is in its way: so that it is
    /// there when its turn comes.
    pub async fn prefetch(&self) {
        let next = {
            let inner = self.inner.borrow();
            inner
                .entries
                .get(1)
                .map(|entry| entry.name)
                .filter(|_| inner.loaded.len() < 2)
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
        if self
            .inner
            .borrow()
            .loaded
            .iter()
            .any(|loaded| loaded.name == name)
        {
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
                self.forget(
                    name,
                    &format!("spool: {key} is gone, though nobody of ours deleted it"),
                )
                .await;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn get(
        &self,
        name: SegmentName,
    ) -> Result<Result<Segment, (SegmentError, bytes::Bytes)>, StoreError> {
        let key = name.key(Folder::Segments, &self.remote);
        let object = fetch(&*self.access.store, &key, MAX_OBJECT, self.access.until).await?;
        Ok(segment::read(&object.bytes).map_err(|error| (error, object.bytes)))
    }

    fn keep_loaded(&self, name: SegmentName, segment: Segment) {
        let inner = &mut *self.inner.borrow_mut();
        // It may have been given up meanwhile, or loaded.
        if !inner.entries.iter().any(|entry| entry.name == name)
            || inner.loaded.iter().any(|loaded| loaded.name == name)
        {
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
        let open = segment
            .batches
            .iter()
            .zip(&answered)
            .filter(|(_, answered)| !**answered);
        let samples = open.map(|(batch, _)| u64::from(batch.samples)).sum();
        let oldest_ms = segment.batches.iter().map(|batch| batch.min_ms).min();
        inner.learn(name, Meta { samples, oldest_ms });
        inner.loaded.push(Loaded {
            name,
            batches: segment.batches,
            answered,
        });
    }

    /// Moves what cannot be read to `rejected/`, as it is.
    async fn set_aside(
        &self,
        name: SegmentName,
        error: &SegmentError,
        bytes: bytes::Bytes,
    ) -> Result<(), StoreError> {
        let key = name.key(Folder::Segments, &self.remote);
        let place = match self
            .keep_bytes(Folder::Rejected, name.scrape(), bytes)
            .await?
        {
            Some(place) => format!("it is kept as {place}"),
            None => "it is not kept: forwarder.spool.rejected leaves no room".to_owned(),
        };
        self.get_rid_of(name, self.access.until).await?;
        self.forget(
            name,
            &format!("spool: {key}: {error}; {place}, and the queue goes on without it"),
        )
        .await;
        Ok(())
    }

    /// Counts what was owed in a segment as lost.
    pub(super) async fn forget(&self, name: SegmentName, why: &str) {
        let known = self.inner.borrow_mut().remove(name);
        let samples = match known {
            Some(samples) => samples,
            None => self.recount().await,
        };
        self.inner
            .borrow_mut()
            .lost(samples, format!("{why}: {samples} samples are lost"));
    }

    /// Looks into all segments whose meta is not known: what the sum has and they have not. For the
    /// sake of the ledger, after one of them was lost.
    async fn recount(&self) -> u64 {
        self.look_into_unknown().await;
        let inner = &mut *self.inner.borrow_mut();
        // Of those that cannot be read now, nothing is known: they keep the rest.
        if inner.entries.iter().any(|entry| entry.meta.is_none()) {
            0
        } else {
            std::mem::take(&mut inner.rest)
        }
    }

    /// Counts what is left of the sum once it is known what is in each segment: it was owed in
    /// those that were lost while nobody could tell.
    pub(super) fn settle_rest(&self) {
        let inner = &mut *self.inner.borrow_mut();
        if inner.rest > 0 && inner.entries.iter().all(|entry| entry.meta.is_some()) {
            let samples = std::mem::take(&mut inner.rest);
            inner.lost(
                samples,
                format!(
                    "spool: {samples} samples for {} are lost with the segments that were",
                    self.remote
                ),
            );
        }
    }

    /// Looks into the segments whose meta is not known.
    pub(super) async fn look_into_unknown(&self) {
        let unknown: Vec<_> = self
            .inner
            .borrow()
            .entries
            .iter()
            .filter(|entry| entry.meta.is_none())
            .map(|entry| entry.name)
            .collect();
        for name in unknown {
            if let Some(meta) = self.peek(name).await {
                self.inner.borrow_mut().learn(name, meta);
            }
        }
    }

    /// What is owed in a segment, from its first bytes. None when that cannot be told.
    pub(super) async fn peek(&self, name: SegmentName) -> Option<Meta> {
        self.try_to_peek(name, self.access.optional_call_deadline())
            .await
            .ok()
            .flatten()
    }

    /// The same. None when it is no segment that can be read.
    ///
    /// # Errors
    /// The store is down.
    pub(super) async fn try_to_peek(
        &self,
        name: SegmentName,
        until: Instant,
    ) -> Result<Option<Meta>, StoreError> {
        let key = name.key(Folder::Segments, &self.remote);
        let peeked = match peek(&*self.access.store, &key, until).await {
            Err(error) if error.kind == Kind::NotFound => return Ok(None),
            peeked => peeked?,
        };
        let Ok(entries) = peeked else { return Ok(None) };
        let answered = match &self.inner.borrow().resume {
            Some(HeadState { segment, answered }) if *segment == name => answered.clone(),
            _ => Vec::new(),
        };
        let open = (0_u32..)
            .zip(&entries)
            .filter(|(place, _)| !answered.contains(place));
        let samples = open.map(|(_, entry)| u64::from(entry.samples)).sum();
        Ok(Some(Meta {
            samples,
            oldest_ms: entries.iter().map(|entry| entry.min_ms).min(),
        }))
    }

    /// So that a backlog can tell its age.
    pub(super) async fn look_at_oldest(&self) {
        let unknown = {
            let inner = self.inner.borrow();
            inner
                .entries
                .front()
                .filter(|entry| entry.meta.is_none() && inner.oldest_ms.is_none())
                .map(|entry| entry.name)
        };
        if let Some(name) = unknown
            && let Some(meta) = self.peek(name).await
        {
            self.inner.borrow_mut().learn(name, meta);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::super::Otherwise;
    use super::super::tests::{batch, drain, outbox, world};
    use crate::spool::state::RemoteState;
    use crate::spool::store::memory::Fault;
    use crate::spool::store::{Kind, Op, Store as _};

    #[tokio::test(start_paused = true)]
    async fn a_head_that_leaves_gives_way_to_memory() {
        let store = world();
        let outbox = outbox(&store, 1, Some(&RemoteState::default())).await;
        outbox
            .put(1, vec![batch(1, 100)], Otherwise::Sent)
            .await
            .unwrap();
        outbox
            .put(3, vec![batch(4, 300)], Otherwise::Sent)
            .await
            .unwrap();
        let head = outbox.head().await.unwrap().unwrap();
        outbox.answered(head.name, 0);
        store.set_faults(|op, _, _| Fault {
            refuse: (op == Op::Delete).then_some(Kind::Denied),
            ..Fault::default()
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

    #[tokio::test(start_paused = true)]
    async fn what_was_lost_while_nobody_could_tell_is_counted_when_the_rest_is_known() {
        let store = world();
        let first = outbox(&store, 1, Some(&RemoteState::default())).await;
        first
            .put(1, vec![batch(1, 100)], Otherwise::Sent)
            .await
            .unwrap();
        first
            .put(2, vec![batch(2, 200)], Otherwise::Sent)
            .await
            .unwrap();
        let second = outbox(&store, 2, Some(&first.summary().await)).await;
        store
            .delete(&store.keys()[0], Instant::now() + Duration::from_secs(1))
            .await
            .unwrap();
        store.set_faults(|op, key, _| Fault {
            refuse: (op == Op::Get && key.contains("-00000002-")).then_some(Kind::Denied),
            ..Fault::default()
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
}
