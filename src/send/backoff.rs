//! The wait before the next try.

use std::time::Duration;

use fastrand::Rng;

/// Exponential back-off with full jitter: each wait is drawn between zero and a bound that doubles.
///
/// ```
/// use std::time::Duration;
///
/// use amp_forwarder::send::Backoff;
///
/// let (min, max) = (Duration::from_millis(30), Duration::from_secs(5));
/// let mut rng = fastrand::Rng::with_seed(1);
/// let mut backoff = Backoff::new(min, max);
/// assert!(backoff.next(None, &mut rng) <= min);
/// // The receiver's Retry-After is taken as it is.
/// let asked = Duration::from_secs(60);
/// assert_eq!(backoff.next(Some(asked), &mut rng), asked);
/// ```
#[derive(Debug, Clone)]
pub struct Backoff {
    bound: Duration,
    max: Duration,
}

impl Backoff {
    /// The first drawn wait is at most `min`, and no later one is longer than `max`.
    #[must_use]
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { bound: min, max }
    }

    /// Returns the next wait: the receiver's `Retry-After`, else a drawn one.
    ///
    /// The next bound is twice this wait's bound, or twice the `Retry-After`, as in
    /// storage/remote/queue_manager.go `sendWriteRequestWithBackoff`.
    pub fn next(&mut self, retry_after: Option<Duration>, rng: &mut Rng) -> Duration {
        let (wait, base) = match retry_after.filter(|after| !after.is_zero()) {
            Some(after) => (after, after),
            None => (self.bound.mul_f64(rng.f64()), self.bound),
        };
        self.bound = base.saturating_mul(2).min(self.max);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(30);
    const MAX: Duration = Duration::from_secs(5);

    #[test]
    fn the_same_seed_waits_the_same_and_shards_differ() {
        let draw = |seed| {
            let (mut rng, mut backoff) = (Rng::with_seed(seed), Backoff::new(MIN, MAX));
            (0..5)
                .map(|_| backoff.next(None, &mut rng))
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn the_bound_doubles_to_the_maximum_and_jitter_uses_all_of_it() {
        let mut bound = MIN;
        for step in 0..12 {
            let (mut least, mut most) = (Duration::MAX, Duration::ZERO);
            for seed in 0..200 {
                let (mut rng, mut backoff) = (Rng::with_seed(seed), Backoff::new(MIN, MAX));
                let wait = (0..=step)
                    .map(|_| backoff.next(None, &mut rng))
                    .last()
                    .unwrap();
                (least, most) = (least.min(wait), most.max(wait));
            }
            assert!(
                most <= bound && most > bound.mul_f64(0.9),
                "step {step}: {most:?} of {bound:?}"
            );
            assert!(
                least < bound.mul_f64(0.1),
                "step {step}: {least:?} of {bound:?}"
            );
            bound = (bound * 2).min(MAX);
        }
        assert_eq!(bound, MAX);
    }

    #[test]
    fn retry_after_is_taken_as_it_is_and_doubled_within_the_maximum() {
        let mut rng = Rng::with_seed(7);
        let mut backoff = Backoff::new(MIN, MAX);
        assert_eq!(
            backoff.next(Some(Duration::from_secs(1)), &mut rng),
            Duration::from_secs(1)
        );
        assert_eq!(backoff.bound, Duration::from_secs(2));
        assert_eq!(
            backoff.next(Some(Duration::from_secs(60)), &mut rng),
            Duration::from_secs(60)
        );
        assert_eq!(backoff.bound, MAX);
        let drawn = Backoff::new(MIN, MAX).next(Some(Duration::ZERO), &mut rng);
        assert!(
            drawn <= MIN,
            "zero seconds is no leave to hammer: {drawn:?}"
        );
    }
}
