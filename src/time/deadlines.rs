//! All ends of a tick's time.
//!
//! A Lambda function is killed without notice when its invocation's time is up. What must happen
//! before that is given a moment of its own. Each moment leaves time for what follows it:
//!
//! ```text
//! tick starts                                                                killed
//! |                                                               lease ends |
//! |                                                                     |    |
//! |== wait for another holder's lease ==|                               |    |
//! |== post to the remotes =========|    |                               |    |
//! |== scrape; read, move and delete the backlog ===|                    |    |
//! |== write memory to the spool; release the lease ========|            |    |
//! |                                |    |          |       |            |    |
//! |                     sending_ends    |    work_ends   fence          |  kill
//! |                                |   lease_wait_ends     |            |    |
//!                                  |<-- reserve -->|       |            |
//!                                                  |<----->|            |
//!                                           deadline_margin|<---------->|
//!                                                           fence margin
//! ```
//!
//! - [`kill`](Deadlines::kill): the runtime ends the process.
//! - The end of the lease: never later than the kill. It is planned for the moment of the kill; the
//!   store's answer tells how much earlier it may be, because that clock is known only within
//!   bounds.
//! - [`fence`](Deadlines::fence): no call to the store and no request to a remote is under way any
//!   more, because another process may hold the lease from its end on.
//! - [`work_ends`](Deadlines::work_ends): scrapes, requests to remotes and work on the store's
//!   backlog end. The rest, `forwarder.deadline_margin`, belongs to what memory holds and to the
//!   release.
//! - [`sending_ends`](Deadlines::sending_ends): requests to one remote end. It moves: the more
//!   memory holds and the slower the store is, the earlier the writes must begin.
//! - [`lease_wait_ends`](Deadlines::lease_wait_ends): a tick that still waits for another holder's
//!   lease gives up, because too little time would be left to do anything useful.

use std::time::Duration;

use tokio::time::Instant;

/// Longest time between the last call to the store and the end of the lease.
const FENCE_MARGIN: Duration = Duration::from_secs(1);

/// A tick that has less time than this for its work does nothing useful.
const LEAST_WORK: Duration = Duration::from_secs(2);

/// What is in flight may still be answered for this long once a tick is to stop.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Length of a tick without an invocation's deadline.
const UNLIMITED: Duration = Duration::from_secs(3600);

/// Longest time that is kept free for writing memory to the spool.
const LONGEST_RESERVE: Duration = Duration::from_secs(3600);

/// The ends of one tick's time; the module's drawing shows their order.
///
/// ```
/// use std::time::Duration;
///
/// use amp_forwarder::time::Deadlines;
/// use tokio::time::Instant;
///
/// let start = Instant::now();
/// let seconds = |n| start + Duration::from_secs(n);
/// let planned = Deadlines::new(start, Some(seconds(60)), Duration::from_secs(4));
/// assert_eq!(planned.fence(), seconds(59));
/// assert_eq!(planned.work_ends(), seconds(55));
///
/// // The lease that was granted ends ten seconds before the kill.
/// let granted = planned.with_lease_end(seconds(50));
/// assert_eq!(granted.fence(), seconds(49));
/// assert_eq!(granted.kill(), seconds(60));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    kill: Instant,
    /// End of the lease: planned, or granted by the store. Without a lease, the kill.
    lease_end: Instant,
    /// Time between the fence and the end of the lease. Zero without a lease.
    fence_margin: Duration,
    /// Time between the end of work and the fence: `forwarder.deadline_margin`, at most the tick.
    deadline_margin: Duration,
}

impl Deadlines {
    /// Plans a tick that starts `now`. `kill` is when the runtime ends the process; without one the
    /// tick has an hour. The lease is planned to end with the kill.
    #[must_use]
    pub fn new(now: Instant, kill: Option<Instant>, deadline_margin: Duration) -> Self {
        let kill = kill.unwrap_or(now + UNLIMITED);
        let deadline_margin = deadline_margin.min(kill.saturating_duration_since(now));
        Self {
            kill,
            lease_end: kill,
            // A short tick must not spend more on the fence than on what precedes it.
            fence_margin: FENCE_MARGIN.min(deadline_margin / 2),
            deadline_margin,
        }
    }

    /// Returns the deadlines under a lease that was granted until `lease_end`.
    #[must_use]
    pub fn with_lease_end(self, lease_end: Instant) -> Self {
        Self {
            lease_end: lease_end.min(self.kill),
            ..self
        }
    }

    /// Returns the deadlines of a tick that goes on without a lease: nothing has to be fenced.
    #[must_use]
    pub fn without_lease(self) -> Self {
        Self {
            lease_end: self.kill,
            fence_margin: Duration::ZERO,
            ..self
        }
    }

    /// Returns when the runtime ends the process.
    #[must_use]
    pub fn kill(&self) -> Instant {
        self.kill
    }

    /// Returns when a tick gives up to wait for another holder's lease.
    #[must_use]
    pub fn lease_wait_ends(&self) -> Instant {
        before(self.kill, self.deadline_margin + LEAST_WORK)
    }

    /// Returns when the last call to the store must have ended.
    #[must_use]
    pub fn fence(&self) -> Instant {
        before(self.lease_end, self.fence_margin)
    }

    /// Returns the time from `now` to the fence; zero once it has passed.
    #[must_use]
    pub fn left_to_fence(&self, now: Instant) -> Duration {
        self.fence().saturating_duration_since(now)
    }

    /// Returns when a call to the store must have ended whose answer is only good to know: it may
    /// take half of the time that is left, so that as much remains for what is necessary.
    #[must_use]
    pub fn optional_call_ends(&self, now: Instant) -> Instant {
        now + self.left_to_fence(now) / 2
    }

    /// Returns when scrapes, requests to remotes and work on the store's backlog must have ended.
    #[must_use]
    pub fn work_ends(&self) -> Instant {
        before(self.fence(), self.deadline_margin)
    }

    /// Returns when requests to a remote must have ended if memory then takes `reserve` to be
    /// written to the spool.
    #[must_use]
    pub fn sending_ends(&self, reserve: Duration) -> Instant {
        before(self.work_ends(), reserve.min(LONGEST_RESERVE))
    }

    /// Returns when requests that are in flight must have ended if the tick is stopped `now`.
    #[must_use]
    pub fn stop_grace_ends(now: Instant) -> Instant {
        now + STOP_GRACE
    }
}

/// The moment that much earlier; `moment` itself when the clock does not reach back that far.
fn before(moment: Instant, earlier: Duration) -> Instant {
    moment.checked_sub(earlier).unwrap_or(moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    fn planned(now: Instant) -> Deadlines {
        Deadlines::new(now, Some(now + MINUTE), 5 * SECOND)
    }

    #[test]
    fn each_end_leaves_time_for_what_follows_it() {
        let now = Instant::now();
        let deadlines = planned(now);
        assert_eq!(deadlines.kill(), now + 60 * SECOND);
        assert_eq!(deadlines.fence(), now + 59 * SECOND);
        assert_eq!(deadlines.work_ends(), now + 54 * SECOND);
        assert_eq!(deadlines.sending_ends(3 * SECOND), now + 51 * SECOND);
        assert_eq!(deadlines.sending_ends(Duration::ZERO), now + 54 * SECOND);
        assert_eq!(deadlines.lease_wait_ends(), now + 53 * SECOND);
    }

    #[test]
    fn a_lease_that_ends_early_moves_the_fence_and_one_that_ends_late_does_not() {
        let now = Instant::now();
        let early = planned(now).with_lease_end(now + 40 * SECOND);
        assert_eq!(early.fence(), now + 39 * SECOND);
        assert_eq!(early.work_ends(), now + 34 * SECOND);
        assert_eq!(early.kill(), now + MINUTE);
        assert_eq!(early.lease_wait_ends(), planned(now).lease_wait_ends());
        let late = planned(now).with_lease_end(now + 2 * MINUTE);
        assert_eq!(late, planned(now));
    }

    #[test]
    fn without_a_lease_there_is_no_fence_before_the_kill() {
        let now = Instant::now();
        let deadlines = planned(now).without_lease();
        assert_eq!(deadlines.fence(), deadlines.kill());
        assert_eq!(deadlines.work_ends(), now + 55 * SECOND);
    }

    #[test]
    fn a_tick_that_is_shorter_than_its_margin_has_no_time_for_work() {
        let now = Instant::now();
        let deadlines = Deadlines::new(now, Some(now + SECOND), 5 * SECOND);
        assert_eq!(deadlines.fence(), now + SECOND / 2);
        assert!(deadlines.work_ends() <= now);
        assert_eq!(deadlines.without_lease().work_ends(), now);
        let killed = Deadlines::new(now, Some(now), 5 * SECOND);
        assert_eq!(killed.fence(), now);
        assert_eq!(killed.left_to_fence(now), Duration::ZERO);
    }

    #[test]
    fn a_tick_without_a_deadline_has_an_hour() {
        let now = Instant::now();
        let deadlines = Deadlines::new(now, None, 5 * SECOND);
        assert_eq!(deadlines.kill(), now + 60 * MINUTE);
    }

    #[test]
    fn an_optional_call_gets_half_of_what_is_left() {
        let now = Instant::now();
        let deadlines = planned(now);
        assert_eq!(deadlines.left_to_fence(now), 59 * SECOND);
        let ends = deadlines.optional_call_ends(now);
        assert_eq!(ends, now + 59 * SECOND / 2);
        let past = deadlines.fence() + SECOND;
        assert_eq!(deadlines.optional_call_ends(past), past);
    }
}
