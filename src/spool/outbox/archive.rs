//! `rejected/` and `expired/`: batches that will never be sent, kept for people within bounds.

use bytes::Bytes;

use super::Outbox;
use super::inventory::archive_index::ArchiveIndex;
use super::limits::ArchiveBound;
use crate::batch::Batch;
use crate::spool::name::Folder;
use crate::spool::retry::{erase, list_all};
use crate::spool::segment::{self, Note};
use crate::spool::store::StoreError;

impl Outbox {
    /// Keeps batches that were refused for good, or are too old. The oldest objects of the folder
    /// are deleted to make room.
    ///
    /// # Errors
    /// The store is down. The batches may be kept nevertheless.
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

    /// Keeps an object. Returns its key, or `None` when the bounds leave no room for it.
    pub(super) async fn keep_bytes(
        &self,
        folder: Folder,
        scrape: u64,
        bytes: Bytes,
    ) -> Result<Option<String>, StoreError> {
        let until = self.access.work_ends();
        let bound = self.bound(folder);
        let size = bytes.len() as u64;
        if bound.objects == 0 || size > bound.bytes {
            return Ok(None);
        }
        self.list_archive(folder).await?;
        while let Some(key) = self.with_archive(folder, |index| index.victim(bound, size)) {
            erase(&*self.access.store, &key, until).await?;
            self.with_archive(folder, |index| index.remove(&key));
        }
        let named = self.with_archive(folder, |index| {
            index.next_name(self.access.epoch, scrape, folder, &self.remote)
        });
        let Some(name) = named else {
            return Ok(None);
        };
        let key = name.key(folder, &self.remote);
        self.write(folder, name, bytes, until).await?;
        self.with_archive(folder, |index| index.push(key.clone(), size));
        Ok(Some(key))
    }

    /// Lists the folder, once a tick and only when something is added to it.
    async fn list_archive(&self, folder: Folder) -> Result<(), StoreError> {
        let is_listed = self.inventory.borrow().archives.contains_key(&folder);
        if is_listed {
            return Ok(());
        }
        let prefix = self.remote.prefix(folder);
        let listed = list_all(&*self.access.store, &prefix, self.access.work_ends()).await?;
        self.inventory
            .borrow_mut()
            .archives
            .entry(folder)
            .or_insert_with(|| ArchiveIndex::new(listed));
        Ok(())
    }

    fn with_archive<T>(&self, folder: Folder, act: impl FnOnce(&mut ArchiveIndex) -> T) -> T {
        act(self
            .inventory
            .borrow_mut()
            .archives
            .entry(folder)
            .or_default())
    }

    fn bound(&self, folder: Folder) -> ArchiveBound {
        match folder {
            Folder::Expired => self.limits.expired,
            Folder::Rejected | Folder::Segments => self.limits.rejected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{LIMITS, batch, outbox_with, world};
    use super::super::{ArchiveBound, SpoolLimits};
    use crate::spool::name::Folder;
    use crate::spool::segment::{self, Note};
    use crate::spool::state::RemoteRecord;

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_bounded_and_the_oldest_gives_way() {
        let store = world();
        let note = Note {
            status: 400,
            message: "out of bounds".to_owned(),
        };
        let limits = SpoolLimits {
            rejected: ArchiveBound {
                objects: 3,
                bytes: 100_000,
            },
            expired: ArchiveBound {
                objects: 100,
                bytes: 300,
            },
            ..LIMITS
        };
        for epoch in 1..4 {
            let outbox = outbox_with(limits, &store, epoch, Some(&RemoteRecord::default())).await;
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

        let none = SpoolLimits {
            rejected: ArchiveBound::default(),
            ..limits
        };
        let before = store.keys();
        outbox_with(none, &store, 9, Some(&RemoteRecord::default()))
            .await
            .keep(Folder::Rejected, 1, &[batch(1, 100)], None)
            .await
            .unwrap();
        assert_eq!(store.keys(), before);
    }
}
