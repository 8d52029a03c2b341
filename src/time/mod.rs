//! The wall clock, behind a seam, and the ends of a tick's time. Sleeping is always tokio's.

mod deadlines;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

pub use self::deadlines::Deadlines;

/// The time of day. Across ticks a monotonic clock would not do: it may not count the time during
/// which a Lambda sandbox is frozen.
pub trait Clock: Send + Sync {
    /// Returns the milliseconds since 1970.
    fn now_ms(&self) -> i64;
}

/// Converts a duration to whole milliseconds. One of more than 292 million years becomes
/// `i64::MAX`.
///
/// ```
/// use std::time::Duration;
///
/// assert_eq!(amp_forwarder::time::millis(Duration::from_micros(1_999)), 1);
/// assert_eq!(amp_forwarder::time::millis(Duration::MAX), i64::MAX);
/// ```
#[must_use]
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The operating system's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    fn now_ms(&self) -> i64 {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        millis(since_1970.unwrap_or_default())
    }
}

/// A wall clock that starts at a chosen time and follows tokio's clock. Simulations pause that one.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    start_ms: i64,
    start: Instant,
}

impl TokioClock {
    /// Makes a clock that shows `start_ms` now.
    #[must_use]
    pub fn starting_at(start_ms: i64) -> Self {
        Self {
            start_ms,
            start: Instant::now(),
        }
    }
}

impl Clock for TokioClock {
    fn now_ms(&self) -> i64 {
        self.start_ms.saturating_add(millis(self.start.elapsed()))
    }
}
