//! Timestamps: which samples are taken, and how a scrape that failed gives them back.

use super::entry::{AGAIN, AGAIN_BEFORE};
use super::{SeriesCache, Transaction};
use crate::series::ids::SeriesId;

/// How a sample relates to the last one of its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// The sample is newer and was taken.
    Fresh {
        /// Number of samples of this series that this scrape gave before: 0 for nearly all.
        nth: u16,
    },
    /// The sample was already sent.
    Unchanged,
    /// The sample is older than what an earlier scrape gave.
    OutOfOrder,
    /// The sample is a second value for the same time, or an older one, in one scrape. Prometheus
    /// finds out only when it commits.
    Duplicate,
    /// Another scrape that is under way has taken a sample of the label set, or had when this one
    /// first showed it. Which of the samples are taken is known when that scrape has ended.
    Left,
}

/// The last time that a series was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// It was seen in this scrape.
    Already,
    /// It was seen in the last scrape that was committed, or in a later one that failed.
    Lately,
    /// It was seen longer ago, or never: Prometheus' own cache would not know it
    /// (`scrape/scrape.go` `iterDone`).
    Not,
}

impl SeriesCache {
    /// Marks a series as seen in this scrape, and says when it was seen before.
    #[inline]
    pub fn touch(&mut self, transaction: Transaction, series: SeriesId) -> Sighting {
        let entry = &mut self.entries[series.index()];
        entry.seen = self.scrapes[transaction.target.index()] + 1;
        let before = std::mem::replace(&mut entry.seen_by, transaction.id);
        if before == transaction.id {
            Sighting::Already
        } else if before > 0 && before >= self.committed[transaction.target.index()] {
            Sighting::Lately
        } else {
            Sighting::Not
        }
    }

    /// Takes a sample's timestamp, if it is a newer one.
    #[inline]
    pub fn observe(
        &mut self,
        transaction: Transaction,
        series: SeriesId,
        timestamp_ms: i64,
    ) -> Observation {
        // Timestamps belong to the label set, so an alias asks its primary.
        let primary = self.entries[series.index()].primary as usize;
        // Whether this scrape has already taken a sample of the label set.
        let mine = self.entries[primary].transaction == transaction.id;
        if self.is_contended(transaction, primary, mine) {
            return Observation::Left;
        }
        // Older samples are refused. Older than this scrape's own last sample but not than what was
        // committed before it is a duplicate to Prometheus.
        let entry = &mut self.entries[primary];
        if timestamp_ms < entry.last_ms {
            return if mine && timestamp_ms >= entry.before_ms {
                Observation::Duplicate
            } else {
                Observation::OutOfOrder
            };
        }
        // The same time again, unless the last sample may not have arrived and is owed once more.
        if timestamp_ms == entry.last_ms && (mine || entry.resend & AGAIN == 0) {
            return if mine {
                Observation::Duplicate
            } else {
                Observation::Unchanged
            };
        }
        // The sample is taken. The first one of a scrape saves what a rollback restores; a further
        // one opens the next scrape number.
        if mine {
            let Some(nth) = entry.nth.checked_add(1) else {
                return Observation::Duplicate;
            };
            entry.nth = nth;
        } else {
            entry.begin_transaction(transaction.id);
        }
        entry.last_ms = timestamp_ms;
        entry.resend &= !AGAIN;
        let nth = entry.nth;
        if series.index() != primary {
            // The alias keeps the time of its own last sample, so that it counts as taken and the
            // label set is not forgotten while any target still shows it.
            let alias = &mut self.entries[series.index()];
            if !mine {
                (alias.before_ms, alias.transaction) = (alias.last_ms, transaction.id);
            }
            alias.last_ms = timestamp_ms;
        }
        Observation::Fresh { nth }
    }

    /// Whether a label set is left to another transaction. `mine`: this one has already taken a
    /// sample of it.
    ///
    /// A label set from which another open scrape has taken a sample is left to that scrape,
    /// because only one of the two orders of commit would be right. It stays so until this scrape
    /// ends, even if the other one commits earlier: `yielded` remembers it.
    #[inline]
    pub(super) fn is_contended(
        &mut self,
        transaction: Transaction,
        primary: usize,
        mine: bool,
    ) -> bool {
        let yielded = || (transaction.id, self.labels[primary]);
        if !self.yielded.is_empty() && self.yielded.contains(&yielded()) {
            return true;
        }
        let is_taken = !mine
            && self.open.len() > 1
            && self
                .open
                .iter()
                .any(|open| open.id == self.entries[primary].transaction);
        if is_taken {
            let yielded = yielded();
            self.yielded.insert(yielded);
        }
        is_taken
    }

    /// The scrape under way that has taken the last sample of a series, if there is one.
    #[must_use]
    pub fn holder(&self, series: SeriesId) -> Option<Transaction> {
        let primary = self.entries[series.index()].primary as usize;
        let taken_by = self.entries[primary].transaction;
        self.open.iter().copied().find(|open| open.id == taken_by)
    }

    /// Forgets that a transaction has left a series to another one, which has ended.
    pub fn reclaim(&mut self, transaction: Transaction, series: SeriesId) {
        let primary = self.entries[series.index()].primary as usize;
        self.yielded.remove(&(transaction.id, self.labels[primary]));
    }

    /// Ends a scrape that failed: timestamps go back to what they were before it. Entries stay.
    pub fn rollback(&mut self, transaction: Transaction) {
        self.close(transaction);
        // Only entries whose last sample is this scrape's have saved something for it.
        for entry in &mut self.entries {
            if entry.transaction == transaction.id {
                entry.last_ms = entry.before_ms;
                entry.resend = if entry.resend & AGAIN_BEFORE == 0 {
                    0
                } else {
                    AGAIN
                };
                entry.transaction = 0;
            }
        }
    }

    /// Forgets that the last samples were sent: the next scrape sends everything it sees, but still
    /// nothing older, because they may have arrived (a home behind a load balancer can go back in
    /// time).
    pub fn forget_timestamps(&mut self) {
        for entry in &mut self.entries {
            entry.resend |= AGAIN;
        }
    }
}
