//! The last timestamps of each remote's series, as the spool has them and is to have them.
//!
//! Each target has a part of its own, because a target's part may move only with its watermark:
//! what another target has put into the queues in the meantime is not durable yet.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::series::{LastTimestamps, TargetId};
use crate::spool::state::TimestampTable;

/// The table of one remote.
#[derive(Default)]
pub(in crate::tick) struct RemoteTable {
    /// What was read from the spool when this process took over.
    found: RefCell<LastTimestamps>,
    /// What is durable of each target that this process has read.
    durable: RefCell<BTreeMap<TargetId, LastTimestamps>>,
    /// The object that holds all of it, as the next release names it.
    stored: RefCell<Option<TimestampTable>>,
    /// Objects that the next release no longer names.
    replaced: RefCell<Vec<TimestampTable>>,
    /// Objects that no state names any more.
    obsolete: RefCell<Vec<TimestampTable>>,
    /// Time of the home's clock from which on it is known of every series what was sent,
    /// milliseconds since 1970.
    complete_from_ms: Cell<i64>,
    /// Number of the next object in this epoch.
    next_number: Cell<u32>,
    /// The epoch that `next_number` belongs to.
    epoch: Cell<u64>,
    /// Whether it was said that the table is too large to be kept.
    pub(in crate::tick) left_out_is_said: Cell<bool>,
}

impl RemoteTable {
    /// Begins with what another process has left. Without a table nothing is known of any series
    /// before `complete_from_ms`.
    pub(in crate::tick) fn take_over(
        &self,
        stored: Option<TimestampTable>,
        found: LastTimestamps,
        complete_from_ms: i64,
    ) {
        self.stored.replace(stored);
        self.found.replace(found);
        self.durable.borrow_mut().clear();
        // What is left of them is swept away under the lease that begins.
        self.replaced.borrow_mut().clear();
        self.obsolete.borrow_mut().clear();
        self.complete_from_ms.set(complete_from_ms);
    }

    /// Time of the home's clock from which on it is known of every series what was sent,
    /// milliseconds since 1970.
    pub(in crate::tick) fn complete_from_ms(&self) -> i64 {
        self.complete_from_ms.get()
    }

    /// The object that the next release names.
    pub(in crate::tick) fn stored(&self) -> Option<TimestampTable> {
        self.stored.borrow().clone()
    }

    /// Names another object, or none.
    pub(in crate::tick) fn set_stored(&self, table: Option<TimestampTable>) {
        let before = self.stored.replace(table);
        self.replaced.borrow_mut().extend(before);
    }

    /// Records that the lease was released, with the state that names the present object.
    pub(in crate::tick) fn released(&self) {
        self.obsolete
            .borrow_mut()
            .append(&mut self.replaced.borrow_mut());
    }

    /// Objects that no state names any more. They are to be deleted under the next lease: after a
    /// release another process may be at work.
    pub(in crate::tick) fn take_obsolete(&self) -> Vec<TimestampTable> {
        self.obsolete.take()
    }

    /// Replaces a target's part: what it says is delivered, or in the spool.
    pub(in crate::tick) fn update(&self, target: TargetId, last: LastTimestamps) {
        self.durable.borrow_mut().insert(target, last);
    }

    /// The whole table, without what no read reaches back to.
    pub(in crate::tick) fn merged(&self, not_before_ms: i64) -> LastTimestamps {
        let (found, durable) = (self.found.borrow(), self.durable.borrow());
        let parts = durable.values().flat_map(LastTimestamps::entries);
        let all = found.entries().iter().chain(parts);
        all.filter(|last| last.last_ms >= not_before_ms)
            .copied()
            .collect()
    }

    /// A name for the next object.
    pub(in crate::tick) fn next(&self, epoch: u64, series: usize) -> TimestampTable {
        if self.epoch.replace(epoch) != epoch {
            self.next_number.set(0);
        }
        let number = self.next_number.get() + 1;
        self.next_number.set(number);
        TimestampTable {
            epoch,
            number,
            series: series as u64,
        }
    }

    /// Bytes held.
    pub(in crate::tick) fn memory(&self) -> usize {
        let durable = self.durable.borrow();
        let parts = durable.values().map(LastTimestamps::memory).sum::<usize>();
        self.found.borrow().memory() + parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::LastTimestamp;

    fn table<const N: usize>(entries: [(u64, i64); N]) -> LastTimestamps {
        entries
            .map(|(labels_hash, last_ms)| LastTimestamp {
                labels_hash,
                last_ms,
            })
            .into_iter()
            .collect()
    }

    #[test]
    fn a_target_replaces_its_own_part_only() {
        let remote = RemoteTable::default();
        remote.take_over(None, table([(1, 100), (2, 200), (3, 10)]), 0);
        remote.update(TargetId(0), table([(1, 150), (4, 140)]));
        assert_eq!(
            remote.merged(100),
            table([(1, 150), (2, 200), (4, 140)]),
            "what is too old is left out"
        );
        remote.update(TargetId(0), table([(4, 160)]));
        assert_eq!(
            remote.merged(0),
            table([(1, 100), (2, 200), (3, 10), (4, 160)])
        );
    }

    #[test]
    fn a_table_is_obsolete_once_a_release_has_named_another_one() {
        let remote = RemoteTable::default();
        let tables = [1, 2, 3].map(|series| remote.next(7, series));
        remote.set_stored(Some(tables[0].clone()));
        remote.set_stored(Some(tables[1].clone()));
        assert_eq!(remote.take_obsolete(), [], "the last state names it");
        remote.released();
        remote.set_stored(Some(tables[2].clone()));
        assert_eq!(remote.take_obsolete(), [tables[0].clone()]);
        assert_eq!(remote.take_obsolete(), [], "once");
        remote.take_over(None, LastTimestamps::default(), 0);
        remote.released();
        assert_eq!(remote.take_obsolete(), [], "those of others are swept");
    }

    #[test]
    fn names_are_used_once() {
        let remote = RemoteTable::default();
        let names = [7, 7, 8].map(|epoch| {
            let table = remote.next(epoch, 5);
            (table.epoch, table.number)
        });
        assert_eq!(names, [(7, 1), (7, 2), (8, 1)]);
    }
}
