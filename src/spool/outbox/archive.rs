//! `rejected/` and `expired/`: kept for people, within bounds.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Bound, Outbox};
use crate::batch::Batch;
use crate::spool::name::{Folder, MAX_SCRAPE, SegmentName};
use crate::spool::retry::{erase, list_all};
use crate::spool::segment::{self, Note};
use crate::spool::store::StoreError;

/// What is in a folder.
#[derive(Clone, Default)]
pub(super) struct Kept {
    /// Keys and sizes, oldest first.
    objects: VecDeque<(String, u64)>,
    /// For the names of this tick.
    next: u32,
}

impl Outbox {
    /// Keeps batches that were refused for good, or are too old. The oldest that are kept give way.
    ///
    /// # Errors
    /// The store is down: they are not kept, as far as is known.
    pub async fn keep(
        &self,
        folder: Folder,
        scrape: u64,
        batches: &[Batch],
        note: Option<&Note>,
    ) -> Result<(), StoreError> {
        self.keep_bytes(folder, scrape, segment::write(batches, note))
            .await
            .map(|_| ())
    }

    /// The key; none when the bounds leave no room for it.
    pub(super) async fn keep_bytes(
        &self,
        folder: Folder,
        scrape: u64,
        bytes: Bytes,
    ) -> Result<Option<String>, StoreError> {
        let until = self.access.until;
        let bound = self.bound(folder);
        let size = bytes.len() as u64;
        if bound.objects == 0 || size > bound.bytes {
            return Ok(None);
        }
        if !self.kept.borrow().contains_key(&folder) {
            let listed = list_all(&*self.access.store, &self.remote.prefix(folder), until).await?;
            let objects = listed
                .into_iter()
                .map(|listed| (listed.key, listed.size))
                .collect();
            self.kept
                .borrow_mut()
                .entry(folder)
                .or_insert(Kept { objects, next: 0 });
        }
        loop {
            let victim = {
                let kept = self.kept.borrow();
                let objects = kept.get(&folder).map(|kept| &kept.objects);
                let (number, held) = objects.map_or((0, 0), |objects| {
                    (
                        objects.len() as u64,
                        objects.iter().map(|(_, size)| size).sum::<u64>(),
                    )
                });
                if number < bound.objects && held + size <= bound.bytes {
                    break;
                }
                objects.and_then(|objects| objects.front().cloned())
            };
            let Some((key, _)) = victim else { break };
            erase(&*self.access.store, &key, until).await?;
            if let Some(kept) = self.kept.borrow_mut().get_mut(&folder) {
                kept.objects.retain(|(known, _)| *known != key);
            }
        }
        let Some(name) = self.name_kept(folder, scrape) else {
            return Ok(None);
        };
        let key = name.key(folder, &self.remote);
        self.write(folder, name, bytes, until).await?;
        if let Some(kept) = self.kept.borrow_mut().get_mut(&folder) {
            kept.objects.push_back((key.clone(), size));
        }
        Ok(Some(key))
    }

    fn bound(&self, folder: Folder) -> Bound {
        match folder {
            Folder::Expired => self.limits.expired,
            Folder::Rejected | Folder::Segments => self.limits.rejected,
        }
    }

    /// Of this epoch, whatever the epoch of the samples: so that no two ticks ever use one name.
    fn name_kept(&self, folder: Folder, scrape: u64) -> Option<SegmentName> {
        let mut kept = self.kept.borrow_mut();
        let kept = kept.get_mut(&folder)?;
        loop {
            let name = SegmentName::new(self.access.epoch, scrape.min(MAX_SCRAPE), kept.next)?;
            kept.next += 1;
            // Epochs begin anew when somebody removes all but this.
            if kept
                .objects
                .iter()
                .all(|(known, _)| *known != name.key(folder, &self.remote))
            {
                return Some(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{LIMITS, batch, outbox_with, world};
    use super::super::{Bound, Limits};
    use crate::spool::name::Folder;
    use crate::spool::segment::{self, Note};
    use crate::spool::state::RemoteState;

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_bounded_and_the_oldest_gives_way() {
        let store = world();
        let note = Note {
            status: 400,
            message: "out of bounds".to_owned(),
        };
        let limits = Limits {
            rejected: Bound {
                objects: 3,
                bytes: 100_000,
            },
            expired: Bound {
                objects: 100,
                bytes: 300,
            },
            ..LIMITS
        };
        for epoch in 1..4 {
            let outbox = outbox_with(limits, &store, epoch, Some(&RemoteState::default())).await;
            for scrape in 1..3 {
                outbox
                    .keep(Folder::Rejected, scrape, &[batch(1, 100)], Some(&note))
                    .await
                    .unwrap();
                outbox
                    .keep(Folder::Expired, scrape, &[batch(1, 100)], None)
                    .await
                    .unwrap();
            }
        }
        let keys = store.keys();
        let of = |folder: &str| {
            keys.iter()
                .filter(|key| key.starts_with(folder))
                .map(|key| &key[key.len() - 28..])
                .collect::<Vec<_>>()
        };
        assert_eq!(
            of("rejected/amp/"),
            [
                "0000000002-00000002-0001.seg",
                "0000000003-00000001-0000.seg",
                "0000000003-00000002-0001.seg"
            ]
        );
        assert_eq!(
            of("expired/amp/"),
            [
                "0000000003-00000001-0000.seg",
                "0000000003-00000002-0001.seg"
            ]
        );
        let kept = segment::read(
            &store
                .peek("rejected/amp/0000000003-00000001-0000.seg")
                .unwrap(),
        )
        .unwrap();
        assert_eq!((kept.note, kept.batches), (Some(note), vec![batch(1, 100)]));

        let none = Limits {
            rejected: Bound::default(),
            ..limits
        };
        let before = store.keys();
        outbox_with(none, &store, 9, Some(&RemoteState::default()))
            .await
            .keep(Folder::Rejected, 1, &[batch(1, 100)], None)
            .await
            .unwrap();
        assert_eq!(store.keys(), before);
    }
}
