//! What one tick is asked to do.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::progress::TickProgress;

/// The task of one tick.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Moment at which the runtime ends the process.
    pub deadline: Option<Instant>,
    /// Whether each job is scraped once, now, in place of the minute's slots.
    pub once: bool,
    /// Names of the jobs that are scraped; all jobs without them.
    pub jobs: Option<Vec<String>>,
    /// Whether nothing is scraped and only the backlog is sent.
    pub drain_only: bool,
    /// A signal to stop: once true, no further scrape starts, and queued samples are still sent.
    pub stop: Option<tokio::sync::watch::Receiver<bool>>,
    /// Whether the lease is short and is renewed, because the process may be killed and started
    /// again at any time. Otherwise it lasts until the deadline.
    pub renews_lease: bool,
    /// Counters that others may watch during the tick.
    pub live: Option<Arc<TickProgress>>,
}

impl Plan {
    /// Returns whether a schedule runs the tick, so that another one follows it in a minute.
    #[must_use]
    pub fn is_scheduled(&self) -> bool {
        !self.once && !self.drain_only && self.jobs.is_none()
    }

    /// Returns whether the tick must stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| *stop.borrow())
    }

    /// Sleeps for `wait`, or until the tick must stop.
    pub async fn sleep(&self, wait: Duration) {
        let Some(mut stop) = self.stop.clone() else {
            return tokio::time::sleep(wait).await;
        };
        tokio::select! {
            biased;
            () = tokio::time::sleep(wait) => {}
            // An error means that the sender is gone, which is no signal to stop.
            Ok(_) = stop.wait_for(|stop| *stop) => {}
        }
    }
}
