//! `mode: gaps`: what the slots that were missed would have shown is read from the home's TSDB, and
//! goes out before the next live scrape.
//!
//! Order is why it comes first: once a newer sample of a series was sent, the receiver takes none
//! that is older. So while a gap may still be filled, nothing newer of the target is gathered. A
//! gap that makes no progress although scrapes work is given up after [`PATIENCE`] ticks, so that
//! live samples go on.
//!
//! Reading takes time, so the live scrape after it shows a later moment than that of its slot. What
//! the slot itself showed is therefore read, too: a series may have gone in between.

use tokio::time::Instant;

use super::cursor::ReadCursor;
use super::{PlannedRead, ReadAttempt};
use crate::config::RemoteReadMode;
use crate::home::Target;
use crate::read::{Slots, WindowShape};
use crate::report::{Incident, IncidentKind, counted};
use crate::tick::Forwarder;
use crate::tick::job::SlotGrid;
use crate::tick::round::ScrapeRound;
use crate::time::millis;

/// Ticks in a row without progress after which a gap is given up.
pub(super) const PATIENCE: u64 = 3;

/// The slots of a target that were missed, in our clock, milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MissedSlots {
    first_ms: i64,
    last_ms: i64,
    interval_ms: i64,
}

impl MissedSlots {
    /// The slots after `gathered_ms` and before `until_ms`.
    fn between(grid: &SlotGrid, gathered_ms: i64, until_ms: i64) -> Option<Self> {
        let interval_ms = grid.interval_ms();
        let missed = Self {
            first_ms: grid.after(gathered_ms),
            last_ms: grid.newest(until_ms - 1),
            interval_ms,
        };
        (missed.first_ms <= missed.last_ms).then_some(missed)
    }

    fn count(self) -> u64 {
        u64::try_from((self.last_ms - self.first_ms) / self.interval_ms + 1).unwrap_or_default()
    }

    /// Splits off the slots that are not newer than `oldest_ms`: how many they are, and the rest.
    fn not_older_than(self, oldest_ms: i64) -> (u64, Option<Self>) {
        if self.first_ms > oldest_ms {
            return (0, Some(self));
        }
        let skipped = ((oldest_ms - self.first_ms) / self.interval_ms + 1)
            .min(i64::try_from(self.count()).unwrap_or(i64::MAX));
        let rest = Self {
            first_ms: self.first_ms + skipped * self.interval_ms,
            ..self
        };
        (
            u64::try_from(skipped).unwrap_or_default(),
            (rest.first_ms <= rest.last_ms).then_some(rest),
        )
    }
}

impl Forwarder {
    /// Fills the slots of a target that were missed before `due_ms`, and returns whether some are
    /// still to be read: nothing newer may be sent then.
    pub(in crate::tick) async fn is_gap_open(
        &self,
        target: &Target,
        grid: &SlotGrid,
        due_ms: i64,
        round: &ScrapeRound<'_>,
    ) -> bool {
        if self.config.forwarder.remote_read.mode != RemoteReadMode::Gaps {
            return false;
        }
        let Some(cursor) = self
            .cursor(target)
            .filter(|cursor| !cursor.is_unsupported(self.clock.now_ms()))
        else {
            return false;
        };
        let Some(gathered_ms) = cursor.gathered_ms.get() else {
            return false;
        };
        let older = MissedSlots::between(grid, gathered_ms, due_ms);
        if older.is_none() {
            cursor.known.borrow_mut().stuck = 0;
        } else if let Some(older) = older.filter(|_| cursor.known.borrow().stuck >= PATIENCE) {
            self.give_up(cursor, older, round);
            return false;
        }
        // After a gap, or when another slot was read until now, the live scrape is too late for its
        // own slot. Without timestamps of the home it has that of its slot, and nothing else may.
        let is_late = older.is_some() || cursor.slots_read_ms.get() > Some(due_ms);
        let own_timestamps = self.config.scrape_configs[cursor.job()].honor_timestamps;
        let missed = if is_late && own_timestamps {
            MissedSlots::between(grid, gathered_ms, due_ms + 1)
        } else {
            older
        };
        let Some(missed) = missed else {
            return false;
        };
        self.fill(cursor, missed, due_ms, round).await
    }

    /// Fills missed slots, and returns whether some are still to be read. The one that is due is
    /// not waited for if there is no time left for it, or if the home's clock has not come to it.
    async fn fill(
        &self,
        cursor: &ReadCursor,
        missed: MissedSlots,
        due_ms: i64,
        round: &ScrapeRound<'_>,
    ) -> bool {
        let now_ms = self.clock.now_ms();
        if cursor.is_home_busy(now_ms) {
            return missed.first_ms < due_ms;
        }
        let newest_ms = missed.last_ms;
        let (too_old, missed) = missed.not_older_than(self.oldest_sendable_ms(now_ms));
        let Some(missed) = missed else {
            self.say_too_old(too_old, cursor, round);
            cursor.gathered_ms.set(Some(newest_ms));
            return false;
        };
        self.learn_facts(cursor, round).await;
        if cursor.is_unsupported(self.clock.now_ms()) {
            return false;
        }
        self.read_slots(cursor, missed, too_old, due_ms, round)
            .await
    }

    /// Reads the missed slots, window by window, oldest first. `too_old` others were older than
    /// the remotes take; `due_ms` is the slot that the live scrape is for.
    async fn read_slots(
        &self,
        cursor: &ReadCursor,
        mut missed: MissedSlots,
        mut too_old: u64,
        due_ms: i64,
        round: &ScrapeRound<'_>,
    ) -> bool {
        let config = &self.config.scrape_configs[cursor.job()];
        let mut is_first = true;
        loop {
            if Instant::now() >= round.half_way() {
                return missed.first_ms < due_ms;
            }
            // What a slot showed and a later one shows again was sent with the first. So a later
            // window begins where the one before ended, unless the slots are the timestamps.
            let look_back_ms = if is_first || !config.honor_timestamps {
                cursor.look_back_ms()
            } else {
                cursor.look_back_ms().min(missed.interval_ms - 1)
            };
            let gap = Slots {
                first_ms: cursor.home_ms(missed.first_ms),
                interval_ms: missed.interval_ms,
                count: u32::try_from(missed.count()).unwrap_or(u32::MAX),
                look_back_ms,
            };
            let planned = cursor.planner.borrow().next_slots(&gap, gap.last_ms());
            let Some((window, slots)) = planned else {
                return true;
            };
            let read = PlannedRead {
                window,
                shape: WindowShape::Slots(slots),
                // A slot that cannot be read has failed as a scrape would have.
                reports: false,
            };
            let attempt = self.read_window(cursor, &read, round).await;
            cursor.slots_read_ms.set(Some(self.clock.now_ms()));
            let end_ms = match attempt {
                ReadAttempt::Read { end_ms, .. } => end_ms,
                ReadAttempt::Retry => continue,
                ReadAttempt::HomeDown | ReadAttempt::HomeBusy | ReadAttempt::Failed => return true,
                ReadAttempt::Unsupported => return false,
            };
            if too_old > 0 {
                self.say_too_old(std::mem::take(&mut too_old), cursor, round);
            }
            // The home's clock may be behind: then its newest slots are not there yet.
            let Some(covered) = slots.up_to(end_ms) else {
                return missed.first_ms < due_ms;
            };
            let last_ms = missed.first_ms + (covered.last_ms() - slots.first_ms);
            cursor.gather(last_ms, None);
            missed.first_ms = last_ms + missed.interval_ms;
            is_first = false;
            if missed.first_ms > missed.last_ms {
                return false;
            }
            self.make_durable(cursor, round).await;
        }
    }

    /// Gives up a gap, counted and loudly.
    fn give_up(&self, cursor: &ReadCursor, missed: MissedSlots, round: &ScrapeRound<'_>) {
        let config = &self.config.scrape_configs[cursor.job()];
        let slots = missed.count();
        let left = counted(slots, "slot", ["is", "are"]);
        let text = format!(
            "read: job {}: {left} given up: for {PATIENCE} ticks the home answered scrapes and no \
             read; see the errors of these ticks, and `forwardctl check --online`",
            config.job_name
        );
        tracing::error!("{text}");
        round.record.borrow_mut().gave_up(
            Incident::new(IncidentKind::GapGivenUp, text).for_job(&config.job_name),
            millis_of(slots, missed.interval_ms),
        );
        cursor.gathered_ms.set(Some(missed.last_ms));
        cursor.known.borrow_mut().stuck = 0;
        if cursor.denies.replace(false) {
            // It was no matter of a moment: the home is not known to keep anything any more.
            cursor.known.borrow_mut().answered = false;
            cursor.note_unsupported(self.clock.now_ms());
        }
    }

    /// Says how much of a gap is older than the remotes take.
    pub(super) fn say_too_old(&self, slots: u64, cursor: &ReadCursor, round: &ScrapeRound<'_>) {
        let config = &self.config.scrape_configs[cursor.job()];
        let spent_ms = millis_of(slots, millis(config.scrape_interval));
        let old = counted(slots, "slot", ["is", "are"]);
        let text = format!(
            "read: {}: {old} older than sample_age_limit: {} s of samples are at home only",
            cursor.target.instance(),
            spent_ms / 1000
        );
        tracing::error!("{text}");
        round.record.borrow_mut().gave_up(
            Incident::new(IncidentKind::GapTooOld, text).for_job(&config.job_name),
            spent_ms,
        );
    }
}

fn millis_of(slots: u64, interval_ms: i64) -> u64 {
    slots.saturating_mul(u64::try_from(interval_ms).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn missed_slots_lie_between_what_was_gathered_and_what_is_due() {
        let grid = SlotGrid::new("home", Duration::from_secs(15));
        let slot = grid.newest(1_700_000_000_000);
        let missed = |gathered, due| MissedSlots::between(&grid, gathered, due);
        assert_eq!(missed(slot, slot + 15_000), None, "the next one is due");
        assert_eq!(missed(slot, slot), None);
        assert_eq!(
            missed(slot + 60_000, slot),
            None,
            "a clock that was set back"
        );
        let two = missed(slot, slot + 45_000).unwrap();
        assert_eq!(
            (two.first_ms, two.last_ms, two.count()),
            (slot + 15_000, slot + 30_000, 2)
        );
        // A moment between two slots, as older versions noted it.
        assert_eq!(missed(slot + 1, slot + 45_000), Some(two));
        assert_eq!(missed(slot - 1, slot + 15_000).unwrap().count(), 1);
    }

    #[test]
    fn age_takes_the_oldest_slots() {
        let slots = MissedSlots {
            first_ms: 30_000,
            last_ms: 300_000,
            interval_ms: 30_000,
        };
        assert_eq!(slots.count(), 10);
        for (oldest_ms, skipped, left) in [
            (0, 0, 10),
            (29_999, 0, 10),
            (30_000, 1, 9),
            (95_000, 3, 7),
            (300_000, 10, 0),
            (900_000, 10, 0),
        ] {
            let (older, rest) = slots.not_older_than(oldest_ms);
            assert_eq!(
                (older, rest.map_or(0, MissedSlots::count)),
                (skipped, left),
                "{oldest_ms}"
            );
        }
    }
}
