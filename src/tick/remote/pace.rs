//! The rate at which the backlog leaves the spool: it is halved at a 429, and rises again when none
//! comes.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// The rate after a 429 is never less than this many samples a second.
const SLOWEST: f64 = 500.0;

/// Each batch that meets no 429 raises it by this factor.
const FASTER: f64 = 1.1;

/// Timers wake up late by about this much. A turn that was missed by less still counts from its own
/// time, so that the rate does not sink by the timers' delays.
const LATE: Duration = Duration::from_millis(20);

/// The pace of one remote's backlog. The learnt rate is kept for the process; the upper bound is the
/// configuration's and is passed in.
#[derive(Debug)]
pub(super) struct Pace {
    /// Samples a second.
    rate: Cell<f64>,
    /// Moment at which the rate was last halved in this tick.
    slowed: Cell<Option<Instant>>,
    /// Turn of the last batch that left, and its samples.
    last: Cell<Option<(Instant, u32)>>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            rate: Cell::new(f64::INFINITY),
            slowed: Cell::new(None),
            last: Cell::new(None),
        }
    }
}

impl Pace {
    /// Starts a tick. Monotonic instants of an earlier tick mean nothing in this one, because the
    /// sandbox may have been frozen in between.
    pub(super) fn begin(&self) {
        self.slowed.set(None);
        self.last.set(None);
    }

    fn rate(&self, bound: f64) -> f64 {
        self.rate.get().min(bound).max(1.0)
    }

    /// Returns when the next batch may leave, at the present rate; `None` when it may leave at once.
    pub(super) fn next_turn(&self, bound: f64) -> Option<Instant> {
        let (at, samples) = self.last.get()?;
        Some(at + Duration::from_secs_f64(f64::from(samples) / self.rate(bound)))
    }

    /// Records that a batch leaves now.
    pub(super) fn takes_turn(&self, samples: u32, bound: f64) {
        let now = Instant::now();
        let turn = self
            .next_turn(bound)
            .filter(|turn| *turn <= now && now - *turn <= LATE);
        self.last.set(Some((turn.unwrap_or(now), samples)));
    }

    /// Learns from an answered batch whether it had met a 429. All batches in flight at once may meet
    /// the same throttling, so only one that was posted after the last halving halves the rate again.
    pub(super) fn answered(&self, posted: Instant, throttled: bool, bound: f64) {
        let rate = self.rate(bound);
        if !throttled {
            self.rate.set(rate * FASTER);
        } else if self.slowed.get().is_none_or(|slowed| posted > slowed) {
            self.slowed.set(Some(Instant::now()));
            self.rate.set((rate / 2.0).max(SLOWEST.min(bound)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: f64 = 50_000.0;

    /// Samples that leave in ten seconds, in batches of that many.
    async fn leave(pace: &Pace, samples: u32) -> u32 {
        let end = Instant::now() + Duration::from_secs(10);
        let mut left = 0;
        while let Some(turn) = pace
            .next_turn(BOUND)
            .or(Some(Instant::now()))
            .filter(|turn| *turn < end)
        {
            tokio::time::sleep_until(turn).await;
            pace.takes_turn(samples, BOUND);
            left += samples;
        }
        left
    }

    #[tokio::test(start_paused = true)]
    async fn the_bound_is_kept_whatever_the_size_of_batches() {
        for samples in [10, 1_000, 30_000] {
            let left = f64::from(leave(&Pace::default(), samples).await);
            assert!(
                (left - 10.0 * BOUND).abs() <= f64::from(samples).max(0.05 * 10.0 * BOUND),
                "{samples}: {left}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_429_halves_it_once_for_all_in_flight_and_others_raise_it_up_to_the_bound() {
        let pace = Pace::default();
        pace.takes_turn(1_000, BOUND);
        let posted = Instant::now();
        let turn = |pace: &Pace| pace.next_turn(BOUND).unwrap() - posted;
        assert_eq!(turn(&pace), Duration::from_millis(20));
        tokio::time::sleep(Duration::from_millis(1)).await;
        for _ in 0..8 {
            pace.answered(posted, true, BOUND);
        }
        // The turn that was given already is later, too.
        assert_eq!(turn(&pace), Duration::from_millis(40));
        tokio::time::sleep(Duration::from_millis(1)).await;
        pace.answered(Instant::now(), true, BOUND);
        assert_eq!(turn(&pace), Duration::from_millis(80));
        for _ in 0..20 {
            pace.answered(posted, false, BOUND);
        }
        assert_eq!(turn(&pace), Duration::from_millis(20));
        for _ in 0..30 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            pace.answered(Instant::now(), true, BOUND);
        }
        assert_eq!(
            turn(&pace),
            Duration::from_secs(2),
            "never slower than the slowest"
        );
        // Another tick begins at once, and at the rate that was learnt.
        pace.begin();
        assert_eq!(pace.next_turn(BOUND), None);
        pace.takes_turn(1_000, BOUND);
        assert_eq!(
            pace.next_turn(BOUND).unwrap() - Instant::now(),
            Duration::from_secs(2)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_bound_below_the_slowest_holds() {
        let pace = Pace::default();
        pace.answered(Instant::now(), true, 50.0);
        pace.takes_turn(100, 50.0);
        assert_eq!(
            pace.next_turn(50.0).unwrap() - Instant::now(),
            Duration::from_secs(2)
        );
    }
}
