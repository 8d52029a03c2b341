//! What is kept for people in `rejected/` or `expired/` of a remote, and what must give way.

use std::collections::VecDeque;

use super::super::limits::ArchiveBound;
use crate::spool::name::{Folder, MAX_SCRAPE, RemoteDir, SegmentName};
use crate::spool::store::ListedObject;

/// The objects of one folder of one remote.
#[derive(Debug, Default)]
pub(crate) struct ArchiveIndex {
    /// Oldest first.
    objects: VecDeque<ListedObject>,
    /// The part that the next name of this tick has.
    next_part: u32,
}

impl ArchiveIndex {
    /// The index of these objects, oldest first.
    pub(crate) fn new(objects: Vec<ListedObject>) -> Self {
        Self {
            objects: objects.into(),
            next_part: 0,
        }
    }

    /// The oldest object, if it must go before one of `bytes` more keeps the bounds.
    pub(crate) fn victim(&self, bound: ArchiveBound, bytes: u64) -> Option<String> {
        let held: u64 = self.objects.iter().map(|object| object.size).sum();
        if (self.objects.len() as u64) < bound.objects && held + bytes <= bound.bytes {
            return None;
        }
        self.objects.front().map(|object| object.key.clone())
    }

    /// Removes an object that was deleted.
    pub(crate) fn remove(&mut self, key: &str) {
        self.objects.retain(|object| object.key != key);
    }

    /// Adds an object that was written, as the newest.
    pub(crate) fn push(&mut self, key: String, size: u64) {
        self.objects.push_back(ListedObject { key, size });
    }

    /// A name that no object has. Its epoch is that of the tick that writes it, not of the samples,
    /// so that no two ticks ever use the same name. None when the numbers are used up.
    pub(crate) fn next_name(
        &mut self,
        epoch: u64,
        scrape: u64,
        folder: Folder,
        remote: &RemoteDir,
    ) -> Option<SegmentName> {
        loop {
            let name = SegmentName::new(epoch, scrape.min(MAX_SCRAPE), self.next_part)?;
            self.next_part += 1;
            // Epochs start again from 1 when somebody removes everything but this folder.
            let key = name.key(folder, remote);
            if self.objects.iter().all(|object| object.key != key) {
                return Some(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(objects: &[(&str, u64)]) -> ArchiveIndex {
        let listed = objects.iter().map(|(key, size)| ListedObject {
            key: (*key).to_owned(),
            size: *size,
        });
        ArchiveIndex::new(listed.collect())
    }

    #[test]
    fn the_oldest_goes_until_both_bounds_are_kept() {
        let bound = ArchiveBound {
            objects: 3,
            bytes: 100,
        };
        let mut index = index(&[("a", 60), ("b", 30)]);
        assert_eq!(index.victim(bound, 10), None);
        assert_eq!(index.victim(bound, 11).as_deref(), Some("a"));
        index.push("c".to_owned(), 1);
        assert_eq!(index.victim(bound, 1).as_deref(), Some("a"), "too many");
        index.remove("a");
        assert_eq!(index.victim(bound, 69), None);
        assert_eq!(ArchiveIndex::default().victim(bound, 1_000), None);
    }

    #[test]
    fn a_name_that_is_taken_is_passed_over() {
        let amp = RemoteDir::new("amp");
        let mut index = index(&[("rejected/amp/0000000003-00000007-0000.seg", 1)]);
        let mut next = |scrape| index.next_name(3, scrape, Folder::Rejected, &amp);
        assert_eq!(next(7), SegmentName::new(3, 7, 1));
        assert_eq!(next(u64::MAX), SegmentName::new(3, MAX_SCRAPE, 2));
    }
}
