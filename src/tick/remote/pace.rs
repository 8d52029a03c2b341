//! The rate at which the backlog leaves the spool. It is halved at a 429 and rises again with each
//! batch that meets none.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// The rate after a 429 is never less than this many samples a second.
const SLOWEST: f64 = 500.0;

/// Each batch that meets no 429 raises it by this factor.
const FASTER: f64 = 1.1;

/// Delay by which timers usually wake up late. A turn that was missed by less still counts from its
/// own time, so that these delays do not lower the rate.
const LATE: Duration = Duration::from_millis(20);

/// The pace of one remote's backlog. The learnt rate is kept for the process. The upper bound comes
/// from the configuration and is passed to each call as `bound`, in samples a second.
#[derive(Debug)]
pub(super) struct Pace {
    /// Learnt rate, samples a second.
    rate: Cell<f64>,
    /// Moment at which the rate was last halved in this tick.
    slowed: Cell<Option<Instant>>,
    /// Turn of the last batch that left, and the number of its samples.
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

    /// Returns the present rate, samples a second.
    fn rate(&self, bound: f64) -> f64 {
        self.rate.get().min(bound).max(1.0)
    }

    /// Returns when the next batch may leave, at the present rate. The first batch of a tick may
    /// leave at once (`None`).
    pub(super) fn next_turn(&self, bound: f64) -> Option<Instant> {
        // The last batch pays for its own samples: the next one waits for the time that they take
        // at the present rate. So batches of any size keep the rate.
        let (at, samples) = self.last.get()?;
        Some(at + Duration::from_secs_f64(f64::from(samples) / self.rate(bound)))
    }

    /// Records that a batch leaves now.
    pub(super) fn takes_turn(&self, samples: u32, bound: f64) {
        // The turn counts from the time at which it was due if it was missed only by a timer's
        // delay. After a longer pause it counts from now, so that no burst catches up on the pause.
        let now = Instant::now();
        let turn = self
            .next_turn(bound)
            .filter(|turn| *turn <= now && now - *turn <= LATE);
        self.last.set(Some((turn.unwrap_or(now), samples)));
    }

    /// Learns from an answered batch. `throttled` says whether it met a 429.
    pub(super) fn answered(&self, posted: Instant, throttled: bool, bound: f64) {
        // All batches in flight may meet the same throttling, so only a batch that was posted after
        // the last halving halves the rate again.
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

    /// Returns how many samples leave in ten seconds, in batches of `samples`.
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
        // A turn that was already computed moves back, too.
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
