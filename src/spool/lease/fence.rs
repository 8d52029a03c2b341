//! The plan of a lease, and the fence that ends every call before the lease ends.

use std::time::Duration;

use tokio::time::Instant;

/// What a tick asks of the lease: how long to hold it, and how long to wait for it.
#[derive(Debug, Clone, Copy)]
pub struct LeasePlan {
    /// End of the lease: the tick will have ended by then. Never past the invocation's deadline.
    pub end: Instant,
    /// Time between the last moment of any call and the end of the lease.
    pub margin: Duration,
    /// Latest end of another holder's lease that is worth waiting for.
    pub wait_until: Instant,
}

/// The time until which the holder of the lease may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    end: Instant,
    margin: Duration,
}

impl Fence {
    /// A fence that ends calls `margin` before `end`.
    #[must_use]
    pub fn new(end: Instant, margin: Duration) -> Self {
        Self { end, margin }
    }

    /// Last moment at which a POST, PUT or DELETE may be under way.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.end.checked_sub(self.margin).unwrap_or(self.end)
    }

    /// Time left until the deadline; zero once it has passed.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.deadline().saturating_duration_since(Instant::now())
    }
}
