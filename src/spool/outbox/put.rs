//! What comes into the spool.

use super::{Entry, Meta, Otherwise, Outbox, PutError, samples};
use crate::batch::Batch;
use crate::spool::name::{Folder, MAX_PART, SegmentName};
use crate::spool::segment;
use crate::spool::store::{Kind, Op, StoreError};

impl Outbox {
    /// Puts batches of a scrape behind everything older. Batches of the same scrape may follow
    /// later. Says how many segments they took.
    ///
    /// # Errors
    /// [`PutError`]: the others are in the spool.
    pub async fn put(
        &self,
        scrape: u64,
        batches: Vec<Batch>,
        otherwise: Otherwise,
    ) -> Result<usize, PutError> {
        let mut parts = segment::parts(batches, self.limits.segment_bytes).into_iter();
        let mut written = 0;
        while let Some(part) = parts.next() {
            if let Err(error) = self
                .put_part((self.access.epoch, scrape), &part, otherwise)
                .await
            {
                return Err(PutError {
                    left: part.into_iter().chain(parts.flatten()).collect(),
                    error,
                });
            }
            written += 1;
        }
        Ok(written)
    }

    async fn put_part(
        &self,
        scrape: (u64, u64),
        batches: &[Batch],
        otherwise: Otherwise,
    ) -> Result<(), StoreError> {
        let bytes = segment::write(batches, None);
        if !self.make_room(bytes.len() as u64).await? {
            let samples = samples(batches);
            self.inner.borrow_mut().lost(
                samples,
                format!(
                    "spool: {samples} samples for {} are lost: they alone pass max_bytes",
                    self.remote
                ),
            );
            return Ok(());
        }
        let name = self.name_part(scrape)?;
        let size = bytes.len() as u64;
        if let Err(error) = self
            .write(Folder::Segments, name, bytes, self.access.deadline)
            .await
        {
            match otherwise {
                _ if error.kind != Kind::NoAnswer => {}
                Otherwise::Sent => self.discard(name).await,
                Otherwise::Lost => _ = self.inner.borrow_mut().missed.insert(name),
            }
            return Err(error);
        }
        let oldest_ms = batches.iter().map(|batch| batch.min_ms).min();
        self.inner.borrow_mut().throttling.put(name, batches);
        self.inner.borrow_mut().insert(Entry {
            name,
            bytes: size,
            meta: Some(Meta {
                samples: samples(batches),
                oldest_ms,
            }),
        });
        Ok(())
    }

    /// A part that no other segment of the scrape has, and that sorts behind them.
    fn name_part(&self, scrape: (u64, u64)) -> Result<SegmentName, StoreError> {
        let inner = &mut *self.inner.borrow_mut();
        let of_scrape = |entry: &&Entry| (entry.name.epoch(), entry.name.scrape()) == scrape;
        let unwanted = inner
            .unwanted
            .keys()
            .filter(|name| (name.epoch(), name.scrape()) == scrape);
        let known = inner
            .entries
            .iter()
            .filter(of_scrape)
            .map(|entry| &entry.name);
        let taken = known
            .chain(unwanted)
            .map(|name| name.part() + 1)
            .max()
            .unwrap_or_default();
        let part = inner
            .parts
            .get(&scrape)
            .copied()
            .unwrap_or_default()
            .max(taken);
        let name = SegmentName::new(scrape.0, scrape.1, part).ok_or_else(|| {
            let cause = format!(
                "scrape {} of epoch {} has no name for its part {part}, of at most {MAX_PART}",
                scrape.1, scrape.0
            );
            StoreError::new(
                Kind::Denied,
                Op::PutIfAbsent,
                self.access.store.address(),
                cause,
            )
        })?;
        inner.parts.insert(scrape, part + 1);
        Ok(name)
    }

    /// Puts these batches in place of a head, in its place in the order: for what is left of it
    /// when a batch was split.
    ///
    /// # Errors
    /// The store is down: the old segment stands for all of it, and what was answered of the batch
    /// that was split will be repeated.
    pub async fn replace(&self, name: SegmentName, batches: Vec<Batch>) -> Result<(), StoreError> {
        let left = samples(&batches);
        let mut written: Vec<Entry> = Vec::new();
        for part in segment::parts(batches, self.limits.segment_bytes) {
            let new = self.name_part((name.epoch(), name.scrape()))?;
            let bytes = segment::write(&part, None);
            let size = bytes.len() as u64;
            if let Err(error) = self
                .write(Folder::Segments, new, bytes, self.access.deadline)
                .await
            {
                // The old one stands for all of them: what is to be repeated is owed once more.
                {
                    let inner = &mut *self.inner.borrow_mut();
                    let owed = inner
                        .entries
                        .iter()
                        .find(|entry| entry.name == name)
                        .and_then(|entry| entry.meta)
                        .map_or(0, |meta| meta.samples);
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
            written.push(Entry {
                name: new,
                bytes: size,
                meta: Some(Meta {
                    samples: samples(&part),
                    oldest_ms,
                }),
            });
        }
        {
            let inner = &mut *self.inner.borrow_mut();
            written.into_iter().for_each(|entry| inner.insert(entry));
            // Nothing of the old one is owed any more: if it cannot be deleted now, the next tick
            // does so.
            if let Some(loaded) = inner.loaded.iter_mut().find(|loaded| loaded.name == name) {
                loaded.answered.fill(true);
            }
            if let Some(meta) = inner
                .entries
                .iter_mut()
                .find(|entry| entry.name == name)
                .and_then(|entry| entry.meta.as_mut())
            {
                meta.samples = 0;
            }
        }
        if self.erase(name, self.access.until).await.is_ok() {
            self.inner.borrow_mut().remove(name);
        }
        Ok(())
    }
}
