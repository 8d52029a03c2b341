//! The last timestamps of all series as a table, and back: what makes a cold process send what a
//! warm one would.

use super::SeriesCache;
use super::entry::{AGAIN, NEVER};
use super::seeds::Seeds;
use crate::series::ids::TargetId;
use crate::series::last_timestamps::{LastTimestamp, LastTimestamps};

impl SeriesCache {
    /// The last timestamps of the series of some targets, as far as they are not older than
    /// `not_before_ms`, milliseconds since 1970. Timestamps that [`SeriesCache::restore`] gave and
    /// whose series did not come since are among them, whatever their target is.
    ///
    /// No transaction may be open: its timestamps would be taken for final ones.
    #[must_use]
    pub fn last_timestamps(
        &self,
        wanted: impl Fn(TargetId) -> bool,
        not_before_ms: i64,
    ) -> LastTimestamps {
        let known = self
            .entries
            .iter()
            .filter(|entry| !entry.is_dropped() && wanted(entry.target))
            .map(|entry| {
                let primary = entry.primary as usize;
                let of_labels = &self.entries[primary];
                // A sample that may not have arrived is sent again.
                let again = of_labels.resend & AGAIN != 0 && of_labels.last_ms != NEVER;
                LastTimestamp {
                    labels_hash: self.labels[primary],
                    last_ms: of_labels.last_ms - i64::from(again),
                }
            });
        known
            .chain(self.seeds.entries())
            .filter(|entry| entry.last_ms != NEVER && entry.last_ms >= not_before_ms)
            .collect()
    }

    /// Takes over what another process knows of some targets: the last timestamp of each of their
    /// series becomes that of the table, or none. What the table says of other series is kept for
    /// the time when they come; it replaces what an earlier table said.
    ///
    /// No transaction may be open.
    pub fn restore(&mut self, table: &LastTimestamps, wanted: impl Fn(TargetId) -> bool) {
        let mut seeds = Seeds::new(table.clone());
        for index in 0..self.entries.len() {
            let entry = &mut self.entries[index];
            let primary = entry.primary as usize;
            if !wanted(entry.target) || entry.is_dropped() {
                continue;
            }
            let labels_hash = self.labels[primary];
            // The first entry of the label set takes the seed, and the others follow it.
            let last_ms = table.get(labels_hash).unwrap_or(NEVER);
            seeds.take(labels_hash);
            for at in [primary, index] {
                let entry = &mut self.entries[at];
                (entry.last_ms, entry.before_ms) = (last_ms, last_ms);
                (entry.transaction, entry.resend) = (0, 0);
            }
        }
        seeds.compact();
        self.seeds = seeds;
    }

    /// Forgets the last timestamps of the series of some targets that are newer than `to_ms`,
    /// milliseconds since 1970: what was taken after that time was lost, and will be read again. So
    /// was perhaps the sample before it, which may be older than that time and have become visible
    /// after it. It may come once more, as in a process that knows nothing.
    ///
    /// No transaction may be open.
    pub fn rewind(&mut self, to_ms: i64, wanted: impl Fn(TargetId) -> bool) {
        for index in 0..self.entries.len() {
            if !wanted(self.entries[index].target) {
                continue;
            }
            let primary = self.entries[index].primary as usize;
            for at in [primary, index] {
                let entry = &mut self.entries[at];
                if entry.last_ms > to_ms {
                    (entry.last_ms, entry.before_ms) = (NEVER, NEVER);
                    (entry.transaction, entry.resend) = (0, 0);
                }
            }
        }
        self.seeds.rewind(to_ms);
    }
}
