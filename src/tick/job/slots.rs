//! The slots at which a job is due. They form a grid of wall-clock time, so that the moment within
//! its minute at which a tick starts matters little.

use std::time::Duration;

use crate::config::ScrapeConfig;
use crate::time::millis;

/// The grid of one job: an offset plus multiples of its interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tick) struct SlotGrid {
    interval_ms: i64,
    offset_ms: i64,
}

/// Interval from which a tick serves only the slot that is due when it starts. A wait for a slot
/// within the minute would cost money, and the next tick serves that slot at once.
const WAIT_BELOW_MS: i64 = 60_000;

/// Returns the newest slot of a job that is not after `now_ms`, milliseconds since 1970.
#[must_use]
pub(crate) fn newest_slot_ms(job: &ScrapeConfig, now_ms: i64) -> i64 {
    SlotGrid::new(&job.job_name, job.scrape_interval).newest(now_ms)
}

/// Returns whether a slot belongs to the tick that started at `start_ms`.
pub(in crate::tick) fn within_minute(slot_ms: i64, start_ms: i64) -> bool {
    slot_ms < start_ms.saturating_add(60_000)
}

impl SlotGrid {
    /// Makes the grid of a job. The hash of its name gives the offset, so that jobs are spread over
    /// their intervals as Prometheus spreads its targets (`scrape/target.go` `offset`).
    #[must_use]
    pub(in crate::tick) fn new(job_name: &str, interval: Duration) -> Self {
        let interval_ms = millis(interval).max(1);
        let hash = xxhash_rust::xxh3::xxh3_64(job_name.as_bytes());
        Self {
            interval_ms,
            offset_ms: (hash % interval_ms as u64) as i64,
        }
    }

    /// Returns the distance of two slots, milliseconds.
    #[must_use]
    pub(in crate::tick) fn interval_ms(&self) -> i64 {
        self.interval_ms
    }

    /// Returns the newest slot that is not after `now_ms`.
    #[must_use]
    pub(in crate::tick) fn newest(&self, now_ms: i64) -> i64 {
        // Euclidean division rounds down for times before the offset, too.
        (now_ms - self.offset_ms).div_euclid(self.interval_ms) * self.interval_ms + self.offset_ms
    }

    /// Returns the slot that is due: the newest one, unless it was served. It also serves older
    /// slots that were missed, so that a missed hour costs one scrape.
    #[must_use]
    pub(in crate::tick) fn due(&self, now_ms: i64, served_ms: Option<i64>) -> Option<i64> {
        let newest = self.newest(now_ms);
        // A slot that was served more than an interval in the future shows that the clock was set
        // back. It is ignored, or the job would stop until the clock has caught up.
        let served = served_ms.filter(|&served| served <= now_ms.saturating_add(self.interval_ms));
        (served.is_none_or(|served| newest > served)).then_some(newest)
    }

    /// Returns the slot after the newest one.
    #[must_use]
    pub(in crate::tick) fn after(&self, now_ms: i64) -> i64 {
        self.newest(now_ms).saturating_add(self.interval_ms)
    }

    /// Returns the slot after the newest one, if a tick that started at `start_ms` waits for it.
    #[must_use]
    pub(in crate::tick) fn next(&self, now_ms: i64, start_ms: i64) -> Option<i64> {
        let next = self.after(now_ms);
        (self.interval_ms < WAIT_BELOW_MS && within_minute(next, start_ms)).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Serves a job as ticks do. Each tick starts at its time and ends when it has no slot to wait
    /// for.
    fn served(grid: SlotGrid, ticks: &[i64]) -> Vec<i64> {
        let (mut slots, mut last, mut free) = (Vec::new(), None, i64::MIN);
        for &tick in ticks {
            let start = tick.max(free);
            let mut now = start;
            loop {
                if let Some(slot) = grid.due(now, last) {
                    slots.push(slot);
                    last = Some(slot);
                }
                match grid.next(now, start) {
                    Some(next) => now = next,
                    None => break,
                }
            }
            free = now;
        }
        slots
    }

    proptest! {
        /// Each slot is served once and in order, at whatever moment of its minute a tick starts.
        #[test]
        fn no_slot_is_skipped_or_doubled(
            starts in prop::collection::vec(0_i64..60_000, 10..30),
            seconds in prop::sample::select(vec![1_u64, 5, 10, 15, 20, 30, 60]),
            job in "[a-z]{1,8}",
        ) {
            let grid = SlotGrid::new(&job, Duration::from_secs(seconds));
            let base = 1_700_000_040_000_i64;
            let mut ticks: Vec<_> = (0..)
                .zip(&starts)
                .map(|(minute, start)| base + minute * 60_000 + start)
                .collect();
            // EventBridge delivers at least once.
            ticks.push(ticks[3] + 1);
            ticks.sort_unstable();
            let slots = served(grid, &ticks);
            let interval = seconds as i64 * 1000;
            for pair in slots.windows(2) {
                if seconds < 60 {
                    // A gap is possible only where two ticks lie more than a minute apart.
                    prop_assert!(pair[1] > pair[0] && (pair[1] - pair[0]) % interval == 0);
                } else {
                    prop_assert!(pair[1] > pair[0] && pair[1] - pair[0] <= 2 * interval);
                }
            }
            let unique: std::collections::BTreeSet<_> = slots.iter().collect();
            prop_assert_eq!(unique.len(), slots.len());
        }
    }

    #[test]
    fn a_steady_schedule_serves_every_slot() {
        for seconds in [1, 5, 7, 10, 15, 20, 30, 45, 60] {
            let grid = SlotGrid::new("federate", Duration::from_secs(seconds));
            let ticks: Vec<i64> = (0..60)
                .map(|minute| 1_700_000_040_000 + minute * 60_000 + 31_000)
                .collect();
            let slots = served(grid, &ticks);
            assert!(
                slots
                    .windows(2)
                    .all(|pair| pair[1] - pair[0] == seconds as i64 * 1000),
                "{seconds}s"
            );
            assert!(
                slots.len() as u64 >= 59 * 60 / seconds,
                "{seconds}s: {}",
                slots.len()
            );
        }
    }

    #[test]
    fn a_long_interval_is_not_waited_for() {
        let grid = SlotGrid::new("federate", Duration::from_secs(60));
        let now = 1_700_000_040_000;
        let slot = grid.due(now, None).unwrap();
        assert!(slot <= now && now - slot < 60_000);
        assert_eq!(grid.due(now, Some(slot)), None);
        assert_eq!(grid.next(now, now), None);
        assert_eq!(grid.due(now + 60_000, Some(slot)), Some(slot + 60_000));
    }

    #[test]
    fn a_missed_hour_is_one_scrape() {
        let grid = SlotGrid::new("federate", Duration::from_secs(15));
        let slot = grid.newest(1_700_000_040_000);
        assert_eq!(
            grid.due(slot + 3_600_001, Some(slot)),
            Some(slot + 3_600_000)
        );
        assert_eq!(grid.due(slot + 3_600_001, Some(slot + 3_600_000)), None);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_stop_the_job() {
        let grid = SlotGrid::new("federate", Duration::from_secs(15));
        let slot = grid.newest(1_700_000_040_000);
        assert!(grid.due(slot - 3_600_000, Some(slot)).is_some());
    }
}
