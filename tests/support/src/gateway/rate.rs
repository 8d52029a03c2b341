//! Rate limits: token buckets that hold one second's worth.

use std::time::Instant;

/// A token bucket.
#[derive(Debug)]
pub struct TokenBucket {
    per_second: f64,
    tokens: f64,
    filled: Instant,
}

impl TokenBucket {
    /// Makes a full bucket.
    pub fn new(per_second: f64, now: Instant) -> Self {
        Self {
            per_second,
            tokens: per_second,
            filled: now,
        }
    }

    /// Takes `count` tokens if the bucket has as many; otherwise none.
    pub fn take(&mut self, count: f64, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + gained).min(self.per_second);
        self.filled = now;
        let enough = self.tokens >= count;
        if enough {
            self.tokens -= count;
        }
        enough
    }

    /// Tokens a second.
    pub fn per_second(&self) -> f64 {
        self.per_second
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn refills_and_takes_all_or_nothing() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(10.0, start);
        assert!(!bucket.take(11.0, start));
        assert!(bucket.take(10.0, start));
        assert!(!bucket.take(1.0, start));
        assert!(bucket.take(5.0, start + Duration::from_millis(500)));
        assert!(
            !bucket.take(11.0, start + Duration::from_secs(60)),
            "holds one second's worth"
        );
    }
}
