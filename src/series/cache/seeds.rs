//! Last timestamps from the table of another process, until their series come.

use super::entry::NEVER;
use crate::series::last_timestamps::{LastTimestamp, LastTimestamps};

/// Last timestamps of series that the cache does not know yet.
#[derive(Debug, Default)]
pub(super) struct Seeds {
    /// An entry that was taken has the timestamp [`NEVER`].
    table: LastTimestamps,
    /// Number of entries that were taken.
    taken: usize,
}

impl Seeds {
    pub(super) fn new(table: LastTimestamps) -> Self {
        Self { table, taken: 0 }
    }

    /// Those that were not taken yet.
    pub(super) fn entries(&self) -> impl Iterator<Item = LastTimestamp> {
        let entries = self.table.entries().iter().copied();
        entries.filter(|entry| entry.last_ms != NEVER)
    }

    /// Moves newer timestamps back to this one.
    pub(super) fn rewind(&mut self, to_ms: i64) {
        for entry in self.table.entries_mut() {
            entry.last_ms = entry.last_ms.min(to_ms);
        }
    }

    /// Removes the last timestamp of a label set, milliseconds.
    pub(super) fn take(&mut self, labels_hash: u64) -> Option<i64> {
        if self.table.is_empty() {
            return None;
        }
        let at = self.table.find(labels_hash)?;
        let entry = &mut self.table.entries_mut()[at];
        let last_ms = std::mem::replace(&mut entry.last_ms, NEVER);
        if last_ms == NEVER {
            return None;
        }
        self.taken += 1;
        Some(last_ms)
    }

    /// Frees the memory of entries that were taken, once these are half of all.
    pub(super) fn compact(&mut self) {
        if self.taken > 0 && self.taken * 2 >= self.table.len() {
            self.table.retain(|entry| entry.last_ms != NEVER);
            self.taken = 0;
        }
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        self.table.memory()
    }
}
