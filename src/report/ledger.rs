//! The balance of a tick: the count of every sample that entered, by its fate.

use serde::{Deserialize, Serialize};

/// The counts of a tick. Every sample that enters ends in exactly one of them:
///
/// `owed_before + scraped + backfilled = filtered + unchanged + rolled_back + written +
/// deduplicated + repeated + rejected + expired + lost + owed_after`
///
/// ```
/// use amp_forwarder::report::{Fate, Ledger};
///
/// let mut ledger = Ledger { scraped: 10, ..Ledger::default() };
/// ledger.record(Fate::Written, 8);
/// assert!(!ledger.balances());
/// ledger.leave_owed(2);
/// assert!(ledger.balances());
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// Samples in the queue or the spool when the tick started.
    pub owed_before: u64,
    /// Samples that the home exposed, including our own such as `up`.
    pub scraped: u64,
    /// Samples read from the home for slots that scrapes have missed.
    pub backfilled: u64,
    /// Samples dropped by relabelling, out of order within one tick, or too far ahead.
    pub filtered: u64,
    /// Samples of a series and timestamp that were sent before.
    pub unchanged: u64,
    /// Samples of scrapes that failed.
    pub rolled_back: u64,
    /// Samples that the receiver accepted.
    pub written: u64,
    /// Samples that the receiver dropped because another replica had sent them (202).
    pub deduplicated: u64,
    /// Samples that the receiver has from an earlier post that had no clear answer, such as one
    /// before a kill: their repeat was refused as out of order or as duplicates. Samples that were
    /// out of order from the start look the same after such a post, and are among them.
    pub repeated: u64,
    /// Samples of batches that were refused for good. This is an upper bound, because AMP stores
    /// the valid samples of a batch that it refuses.
    pub rejected: u64,
    /// Samples older than the receiver takes.
    pub expired: u64,
    /// Samples that could neither be sent nor be kept.
    pub lost: u64,
    /// Samples that are still to be sent.
    pub owed_after: u64,
}

/// The ends of a sample's way, from where it was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The receiver accepted it.
    Written,
    /// The receiver dropped it, because another replica had sent it.
    Deduplicated,
    /// The receiver has it from an earlier post that had no clear answer.
    Repeated,
    /// Its batch was refused for good.
    Rejected,
    /// It became older than the receiver takes.
    Expired,
    /// It could neither be sent nor be kept.
    Lost,
}

impl Ledger {
    /// Records the fate of samples.
    pub fn record(&mut self, fate: Fate, samples: u64) {
        *match fate {
            Fate::Written => &mut self.written,
            Fate::Deduplicated => &mut self.deduplicated,
            Fate::Repeated => &mut self.repeated,
            Fate::Rejected => &mut self.rejected,
            Fate::Expired => &mut self.expired,
            Fate::Lost => &mut self.lost,
        } += samples;
    }

    /// Records the backlog in the spool: `before` the tick and `after` it.
    pub fn record_backlog(&mut self, before: u64, after: u64) {
        (self.owed_before, self.owed_after) = (before, after);
    }

    /// Records samples of this tick that stay owed.
    pub fn leave_owed(&mut self, samples: u64) {
        self.owed_after += samples;
    }

    /// Returns the number of samples that came in.
    #[must_use]
    pub fn entered(&self) -> u64 {
        self.owed_before + self.scraped + self.backfilled
    }

    /// Returns the number of samples that are accounted for.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.filtered
            + self.unchanged
            + self.rolled_back
            + self.written
            + self.deduplicated
            + self.repeated
            + self.rejected
            + self.expired
            + self.lost
            + self.owed_after
    }

    /// Returns whether all samples that came in are accounted for.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.entered() == self.ended()
    }

    /// Adds the ledger of the next tick. The backlog that one tick leaves is the one that the next
    /// tick finds, so it counts once.
    pub fn follow(&mut self, next: &Self) {
        // What the next tick finds beyond what this one left came from elsewhere.
        let owed_before = (self.owed_before + next.owed_before).saturating_sub(self.owed_after);
        self.add(next);
        (self.owed_before, self.owed_after) = (owed_before, next.owed_after);
    }

    /// Adds the ledger of another remote.
    pub fn add(&mut self, other: &Self) {
        let Self {
            owed_before,
            scraped,
            backfilled,
            filtered,
            unchanged,
            rolled_back,
            written,
            deduplicated,
            repeated,
            rejected,
            expired,
            lost,
            owed_after,
        } = other;
        self.owed_before += owed_before;
        self.scraped += scraped;
        self.backfilled += backfilled;
        self.filtered += filtered;
        self.unchanged += unchanged;
        self.rolled_back += rolled_back;
        self.written += written;
        self.deduplicated += deduplicated;
        self.repeated += repeated;
        self.rejected += rejected;
        self.expired += expired;
        self.lost += lost;
        self.owed_after += owed_after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_between_ticks_counts_once() {
        let first = Ledger {
            owed_before: 70,
            scraped: 30,
            written: 20,
            owed_after: 80,
            ..Ledger::default()
        };
        let second = Ledger {
            owed_before: 80,
            written: 75,
            owed_after: 5,
            ..Ledger::default()
        };
        let mut all = Ledger::default();
        all.follow(&first);
        all.follow(&second);
        assert_eq!(
            all,
            Ledger {
                owed_before: 70,
                scraped: 30,
                written: 95,
                owed_after: 5,
                ..Ledger::default()
            }
        );
        assert!(all.balances());
    }
}
