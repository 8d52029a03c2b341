//! What a tick knows of a remote's part of the spool without asking the store.
//!
//! Plain data: nothing here waits, and nothing here calls the store. [`super::Outbox`] does that,
//! and records here what came of it. Each file has one concern; this one has the changes that
//! concern several of them.

pub(crate) mod archive_index;
pub(crate) mod backlog;
pub(crate) mod losses;
pub(crate) mod parts;
pub(crate) mod tombstones;
pub(crate) mod trials;
pub(crate) mod window;

use std::collections::HashMap;

use self::archive_index::ArchiveIndex;
use self::backlog::{BacklogSegment, Contents, SegmentBacklog};
use self::losses::Losses;
use self::parts::{NoPartLeft, PartNumbers, ScrapeId};
use self::tombstones::Tombstones;
use self::trials::Trials;
use self::window::Window;
use crate::batch::{self, Batch};
use crate::spool::name::{Folder, SegmentName};
use crate::spool::state::{Backlog, RemoteRecord};

/// What is known of a remote's part of the spool.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    /// The segments whose samples wait to be sent.
    pub(crate) backlog: SegmentBacklog,
    /// The segments in memory.
    pub(crate) window: Window,
    /// The segments that must never be sent, and those that were counted as lost.
    pub(crate) tombstones: Tombstones,
    /// The batches that were posted and are still owed.
    pub(crate) trials: Trials,
    /// The numbers for the names of new segments.
    pub(crate) parts: PartNumbers,
    /// What is kept for people, by folder; a folder is listed when something is first added to it.
    pub(crate) archives: HashMap<Folder, ArchiveIndex>,
    /// What people must know.
    pub(crate) losses: Losses,
}

impl Inventory {
    /// What is known when a tick begins: `listed`, the segments in the store in the order of their
    /// names, and what the last release said. `unclean` if there was no last release.
    pub(crate) fn new(
        mut listed: Vec<BacklogSegment>,
        released: RemoteRecord,
        unclean: bool,
    ) -> Self {
        let is_listed = |listed: &[BacklogSegment], name| {
            listed
                .iter()
                .any(|segment: &BacklogSegment| segment.name == name)
        };
        let missed = &released.missed;
        let tombstones = Tombstones::new(released.tombstones, released.missed.clone(), |name| {
            is_listed(&listed, name)
        });
        listed.retain(|segment| !tombstones.contains(segment.name));
        // The sums of the last release are old after an unclean end.
        let knows_nothing = unclean || (released.uncounted && released.uncounted_names.is_empty());
        for segment in &mut listed {
            let is_apart = |(first, last): &(SegmentName, SegmentName)| {
                (*first..=*last).contains(&segment.name)
            };
            segment.in_sum = !knows_nothing
                && !missed.contains(&segment.name)
                && !released.uncounted_names.iter().any(is_apart);
        }
        let sums = if knows_nothing {
            Backlog::default()
        } else {
            released.backlog
        };
        // A killed tick may have posted batches of its head and not have come to say so.
        let doubtful = listed
            .first()
            .map(|segment| segment.name)
            .filter(|_| unclean);
        Self {
            trials: Trials::new(released.throttling, &released.tried, |name| {
                is_listed(&listed, name)
            }),
            window: Window::new(released.head, doubtful),
            backlog: SegmentBacklog::new(listed, &sums),
            tombstones,
            ..Self::default()
        }
    }

    /// What the next tick must know.
    pub(crate) fn state(&self) -> RemoteRecord {
        RemoteRecord {
            backlog: self.backlog.sums(),
            head: self.window.progress(self.backlog.oldest()),
            metadata_ms: None,
            table: None,
            throttling: self.trials.throttling(),
            tried: self.trials.tried(),
            tombstones: self.tombstones.ticks_left().clone(),
            missed: self.tombstones.missed().clone(),
            uncounted: self.backlog.uncounted().next().is_some(),
            uncounted_names: self.backlog.uncounted_ranges(),
        }
    }

    /// A name for a new segment of a scrape, which sorts behind all others of it. Names with a
    /// tombstone are never used again.
    pub(crate) fn next_name(&mut self, scrape: ScrapeId) -> Result<SegmentName, NoPartLeft> {
        let used = self.backlog.names().chain(self.tombstones.names());
        self.parts.next(scrape, used)
    }

    /// Adds a segment that was written.
    pub(crate) fn insert(&mut self, name: SegmentName, bytes: u64, batches: &[Batch]) {
        let contents = Contents {
            samples: batch::samples(batches),
            oldest_ms: batches.iter().map(|batch| batch.min_ms).min(),
        };
        self.trials.store(name, batches);
        self.backlog.insert(BacklogSegment {
            name,
            bytes,
            contents: Some(contents),
            in_sum: true,
        });
    }

    /// Puts a segment that was read into the window, unless it has left the backlog meanwhile or is
    /// there already.
    pub(crate) fn load(&mut self, name: SegmentName, batches: Vec<Batch>) {
        if !self.backlog.contains(name) || self.window.contains(name) {
            return;
        }
        let contents = self.window.load(name, batches);
        self.backlog.learn(name, contents);
    }

    /// Marks a batch of a loaded segment as answered. A second answer changes nothing.
    pub(crate) fn answer(&mut self, name: SegmentName, place: u32) {
        if let Some(samples) = self.window.answer(name, place) {
            self.backlog.answer(name, samples);
        }
    }

    /// Marks all batches of a segment as answered, because others take its place.
    pub(crate) fn answer_all(&mut self, name: SegmentName) {
        self.window.answer_all(name);
        self.backlog.answer_all(name);
    }

    /// Removes a segment that was deleted or is gone. Returns the samples that were left in it, or
    /// `None` when that is not known.
    pub(crate) fn remove(&mut self, name: SegmentName) -> Option<u64> {
        self.window.remove(name);
        self.trials.remove(name);
        self.backlog.remove(name)
    }

    /// The segment after the head, if there is room for it in the window and it is not larger than
    /// `most` bytes.
    pub(crate) fn next_to_prefetch(&self, most: u64) -> Option<SegmentName> {
        let next = self.backlog.names().nth(1)?;
        let fits = self.backlog.size(next).is_some_and(|bytes| bytes <= most);
        (fits && self.window.has_room()).then_some(next)
    }

    /// The oldest segment that is not being sent.
    pub(crate) fn next_to_evict(&self) -> Option<SegmentName> {
        self.backlog
            .names()
            .find(|name| !self.window.contains(*name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::state::HeadProgress;

    fn name(scrape: u64) -> SegmentName {
        SegmentName::new(1, scrape, 0).unwrap()
    }

    fn listed(scrape: u64) -> BacklogSegment {
        BacklogSegment {
            name: name(scrape),
            bytes: 100,
            contents: None,
            in_sum: true,
        }
    }

    fn batch(samples: u32) -> Batch {
        Batch {
            body: vec![0; 9].into(),
            samples,
            raw_len: 9,
            min_ms: 1_000,
            max_ms: 2_000,
        }
    }

    #[test]
    fn a_segment_with_a_tombstone_is_not_in_the_backlog() {
        let released = RemoteRecord {
            tombstones: [(name(1), 2)].into(),
            missed: [name(2), name(3)].into(),
            ..RemoteRecord::default()
        };
        let inventory = Inventory::new(vec![listed(1), listed(2)], released, true);
        assert!(inventory.backlog.names().eq([name(2)]));
        assert!(inventory.tombstones.names().eq([name(1), name(3)]));
        let state = inventory.state();
        assert!(state.uncounted && state.missed.is_empty());
    }

    #[test]
    fn answers_reduce_the_backlog_once_and_outlive_the_tick() {
        let mut inventory = Inventory::default();
        inventory.insert(name(1), 100, &[batch(3), batch(5)]);
        inventory.load(name(1), vec![batch(3), batch(5)]);
        inventory.load(name(1), vec![batch(3), batch(5)]);
        inventory.load(name(2), vec![batch(9)]);
        assert!(
            !inventory.window.contains(name(2)),
            "it is not in the backlog"
        );
        inventory.answer(name(1), 1);
        inventory.answer(name(1), 1);
        let state = inventory.state();
        assert_eq!(state.backlog.samples, 3);
        assert_eq!(
            state.head,
            Some(HeadProgress {
                segment: name(1),
                answered: vec![1]
            })
        );
        let mut next = Inventory::new(vec![listed(1)], state, false);
        next.load(name(1), vec![batch(3), batch(5)]);
        assert_eq!(next.backlog.sums().samples, 3);
        next.answer_all(name(1));
        assert!(next.window.is_done(name(1)));
        assert_eq!(next.remove(name(1)), Some(0));
        assert_eq!(next.state().backlog, Backlog::default());
    }

    #[test]
    fn the_head_is_not_evicted_and_the_segment_after_it_is_fetched_ahead() {
        let mut inventory = Inventory::default();
        (1..4).for_each(|scrape| inventory.insert(name(scrape), 100, &[batch(1)]));
        inventory.load(name(1), vec![batch(1)]);
        assert_eq!(inventory.next_to_prefetch(100), Some(name(2)));
        assert_eq!(inventory.next_to_prefetch(99), None, "it is too large");
        assert_eq!(inventory.next_to_evict(), Some(name(2)));
        inventory.load(name(2), vec![batch(1)]);
        assert_eq!(inventory.next_to_prefetch(100), None);
        assert_eq!(inventory.next_to_evict(), Some(name(3)));
    }
}
