//! Writes that had no answer: their segments may exist, or may yet appear.
//!
//! What becomes of such a segment depends on what became of its samples. If they took another way
//! and were counted there, the segment must never be sent: old samples would arrive after newer
//! ones. It gets a *tombstone* in `state.json`: every tick ignores a segment of this name, and the
//! next few ticks delete it. If the samples were counted as lost, the segment is only *missed*: the
//! next tick looks for it, and sends it if it is there.

use std::collections::{BTreeMap, BTreeSet};

use crate::spool::name::SegmentName;

/// Number of ticks that delete a name. A write without an answer takes place within seconds or
/// never, and a tick is mostly a minute.
const TICKS: u8 = 5;

/// Most tombstones; the oldest are dropped beyond that.
const MOST: usize = 1000;

/// The segments whose writes had no answer.
#[derive(Debug, Default)]
pub(crate) struct Tombstones {
    /// Names of segments that must never be sent, with the number of ticks that still have to
    /// delete each.
    ticks_left: BTreeMap<SegmentName, u8>,
    /// Names of segments whose samples were counted as lost.
    missed: BTreeSet<SegmentName>,
}

impl Tombstones {
    /// The tombstones that the last release left. A segment that it missed and that is not in the
    /// store by now gets one: from here on it is counted as lost for good.
    pub(crate) fn new(
        ticks_left: BTreeMap<SegmentName, u8>,
        missed: BTreeSet<SegmentName>,
        is_listed: impl Fn(SegmentName) -> bool,
    ) -> Self {
        let mut tombstones = Self {
            ticks_left,
            missed: BTreeSet::new(),
        };
        let gone = missed.into_iter().filter(|name| !is_listed(*name));
        tombstones.ticks_left.extend(gone.map(|name| (name, TICKS)));
        tombstones
    }

    /// Names of the segments that must never be sent, oldest first.
    pub(crate) fn names(&self) -> impl Iterator<Item = SegmentName> {
        self.ticks_left.keys().copied()
    }

    /// Whether the segment must never be sent.
    pub(crate) fn contains(&self, name: SegmentName) -> bool {
        self.ticks_left.contains_key(&name)
    }

    /// Adds the tombstone of a segment whose samples took another way.
    pub(crate) fn insert(&mut self, name: SegmentName) {
        self.ticks_left.insert(name, TICKS);
        while self.ticks_left.len() > MOST {
            self.ticks_left.pop_first();
        }
    }

    /// Records that this tick has deleted these segments. A tombstone goes when enough ticks have.
    pub(crate) fn deleted(&mut self, names: impl IntoIterator<Item = SegmentName>) {
        for name in names {
            if let Some(ticks) = self.ticks_left.get_mut(&name) {
                *ticks = ticks.saturating_sub(1);
            }
        }
        self.ticks_left.retain(|_, ticks| *ticks > 0);
    }

    /// Records a segment whose samples were counted as lost.
    pub(crate) fn miss(&mut self, name: SegmentName) {
        self.missed.insert(name);
    }

    /// The tombstones for `state.json`.
    pub(crate) fn ticks_left(&self) -> &BTreeMap<SegmentName, u8> {
        &self.ticks_left
    }

    /// The missed segments for `state.json`.
    pub(crate) fn missed(&self) -> &BTreeSet<SegmentName> {
        &self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(scrape: u64) -> SegmentName {
        SegmentName::new(1, scrape, 0).unwrap()
    }

    #[test]
    fn a_tombstone_goes_after_enough_ticks_have_deleted_its_segment() {
        let mut tombstones = Tombstones::default();
        tombstones.insert(name(1));
        tombstones.insert(name(2));
        for _ in 1..TICKS {
            tombstones.deleted([name(1), name(7)]);
        }
        assert!(tombstones.contains(name(1)));
        tombstones.deleted([name(1)]);
        assert!(tombstones.names().eq([name(2)]), "that one was not deleted");
    }

    #[test]
    fn a_missed_segment_that_is_not_there_is_never_sent() {
        let tombstones =
            Tombstones::new([(name(1), 2)].into(), [name(2), name(3)].into(), |listed| {
                listed == name(3)
            });
        assert_eq!(
            tombstones.ticks_left(),
            &[(name(1), 2), (name(2), TICKS)].into()
        );
        assert!(
            tombstones.missed().is_empty(),
            "the one that is there counts"
        );
    }

    #[test]
    fn the_oldest_give_way() {
        let mut tombstones = Tombstones::default();
        (0..1_001).for_each(|scrape| tombstones.insert(name(scrape)));
        assert_eq!(tombstones.ticks_left().len(), MOST);
        assert!(!tombstones.contains(name(0)) && tombstones.contains(name(1_000)));
    }
}
