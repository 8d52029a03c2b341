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
//! - The end of the lease: never later than the kill. It is planned for the moment of the kill, or
//!   for a short term after which it is renewed (`forwardctl run`, which may be killed and started
//!   again at any time); the store's answer tells how much earlier it may be, because that clock is
//!   known only within bounds.
//! - [`fence`](Deadlines::fence): no call to the store and no request to a remote is under way any
//!   more, because another process may hold the lease from its end on.
//! - [`work_ends`](Deadlines::work_ends): scrapes, requests to remotes and work on the store's
//!   backlog end. The rest, `forwarder.deadline_margin`, belongs to what memory holds and to the
//!   release.
//! - [`sending_ends`](Deadlines::sending_ends): requests to one remote end. It moves: the more
//!   memory holds and the slower the store is, the earlier the writes must begin.
//! - [`lease_wait_ends`](Deadlines::lease_wait_ends): a tick that still waits for another holder's
//!   lease gives up, because too little time would be left to do anything useful.
//!
//! A tick of a schedule ends long before that, because the next one comes a minute after it and
//! must not wait for its lease:
//!
//! ```text
//! tick starts                                                   next tick starts
//! |== scrape the slots of this minute ==========|                    |
//! |== send new samples =========================|== as long as answers come ==|
//! |== send the backlog =============================================|         |
//! |                                         last call           minute_ends   |
//! |                                             |                    |<------>|
//! |                                             |<---- patience ---->| last sends
//! ```
//!
//! - Last call: the slots of the tick's minute are served. A remote that has not answered for its
//!   patience gets no more requests from here on, and what memory holds goes to the spool.
//! - [`minute_ends`](Deadlines::minute_ends): the next tick begins. Nothing of the backlog is sent
//!   any more.
//! - [`hands_over`](Deadlines::hands_over): new samples that are still not sent go to the spool. As
//!   long as the tick is at work for them, it scrapes the slots that come.

use std::sync::{Arc, Mutex, PoisonError};
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

/// Samples that were scraped last are still sent for this long after the tick's minute, as long as
/// the remote answers.
const LAST_SENDS: Duration = Duration::from_secs(5);

/// Longest time that is kept free for writing memory to the spool.
const LONGEST_RESERVE: Duration = Duration::from_secs(3600);

/// A moment that all clones share.
#[derive(Debug, Clone)]
struct SharedInstant(Arc<Mutex<Instant>>);

impl SharedInstant {
    fn new(moment: Instant) -> Self {
        Self(Arc::new(Mutex::new(moment)))
    }

    fn get(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, moment: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = moment;
    }
}

impl PartialEq for SharedInstant {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for SharedInstant {}

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadlines {
    kill: Instant,
    /// End of the lease: planned, or granted by the store. Without a lease, the kill. All clones
    /// share it, because it moves when a short lease is renewed.
    lease_end: SharedInstant,
    /// Length of a lease that is renewed. None for a lease that lasts until the kill.
    term: Option<Duration>,
    /// Time between the fence and the end of the lease. Zero without a lease.
    fence_margin: Duration,
    /// Time between the end of work and the fence: `forwarder.deadline_margin`, at most the tick.
    deadline_margin: Duration,
    /// When the schedule starts the next tick. None if this one is not a schedule's.
    minute_ends: Option<Instant>,
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
            lease_end: SharedInstant::new(kill),
            term: None,
            // A short tick must not spend more on the fence than on what precedes it.
            fence_margin: FENCE_MARGIN.min(deadline_margin / 2),
            deadline_margin,
            minute_ends: None,
        }
    }

    /// Returns the deadlines of a tick of a schedule, which starts the next one at `minute_ends`.
    #[must_use]
    pub fn with_minute_end(self, minute_ends: Instant) -> Self {
        Self {
            minute_ends: Some(minute_ends),
            ..self
        }
    }

    /// Returns the deadlines of a tick whose lease is never longer than `term`, and is renewed:
    /// after a kill the next process need not wait for long.
    #[must_use]
    pub fn with_lease_term(self, term: Duration) -> Self {
        Self {
            term: Some(term),
            ..self
        }
    }

    /// Returns when a lease must end that is taken or renewed `now`.
    #[must_use]
    pub fn planned_lease_end(&self, now: Instant) -> Instant {
        self.term
            .map_or(self.kill, |term| self.kill.min(now + term))
    }

    /// Returns when the lease is to be renewed: when half of its term is left. `None` for one that
    /// lasts until the kill, or already ends with it.
    #[must_use]
    pub fn renewal(&self) -> Option<Instant> {
        let term = self.term?;
        let lease_end = self.lease_end.get();
        (lease_end < self.kill).then(|| before(lease_end, term / 2))
    }

    /// Returns the end of the lease as it is known now.
    #[must_use]
    pub fn lease_end(&self) -> Instant {
        self.lease_end.get()
    }

    /// Moves the end of the lease, for all clones.
    pub fn move_lease_end(&self, lease_end: Instant) {
        self.lease_end.set(lease_end.min(self.kill));
    }

    /// Returns when the schedule starts the next tick; `None` if this tick is not a schedule's.
    #[must_use]
    pub fn minute_ends(&self) -> Option<Instant> {
        self.minute_ends
    }

    /// Returns when samples are no longer sent from memory, if the slots of the tick's minute were
    /// served at `last_call`.
    #[must_use]
    pub fn hands_over(&self, last_call: Instant) -> Instant {
        let work_ends = self.work_ends();
        self.minute_ends.map_or(work_ends, |ends| {
            (ends.max(last_call) + LAST_SENDS).min(work_ends)
        })
    }

    /// Returns the deadlines under a lease that was granted until `lease_end`.
    #[must_use]
    pub fn with_lease_end(self, lease_end: Instant) -> Self {
        Self {
            lease_end: SharedInstant::new(lease_end.min(self.kill)),
            ..self
        }
    }

    /// Returns the deadlines of a tick that goes on without a lease: nothing has to be fenced.
    #[must_use]
    pub fn without_lease(self) -> Self {
        Self {
            lease_end: SharedInstant::new(self.kill),
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
        before(self.lease_end.get(), self.fence_margin)
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

    /// Returns when work ends if the lease is renewed for as long as it is needed. Plans are made
    /// by this end, and requests are bounded by [`work_ends`](Self::work_ends).
    #[must_use]
    pub fn planned_work_ends(&self) -> Instant {
        if self.term.is_none() {
            return self.work_ends();
        }
        before(self.kill, self.fence_margin + self.deadline_margin)
    }

    /// Returns when requests to a remote must have ended if memory then takes `reserve` to be
    /// written to the spool.
    #[must_use]
    pub fn sending_ends(&self, reserve: Duration) -> Instant {
        before(self.planned_work_ends(), reserve.min(LONGEST_RESERVE)).min(self.work_ends())
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
    fn a_tick_of_a_schedule_hands_over_at_the_end_of_its_minute() {
        let now = Instant::now();
        let by_hand = Deadlines::new(now, Some(now + 90 * SECOND), 5 * SECOND);
        assert_eq!(by_hand.hands_over(now), by_hand.work_ends());
        let scheduled = by_hand.with_minute_end(now + MINUTE);
        assert_eq!(scheduled.minute_ends(), Some(now + MINUTE));
        assert_eq!(scheduled.hands_over(now + 50 * SECOND), now + 65 * SECOND);
        assert_eq!(scheduled.hands_over(now + 70 * SECOND), now + 75 * SECOND);
        // It is never later than the end of work.
        assert_eq!(scheduled.hands_over(now + 83 * SECOND), now + 84 * SECOND);
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
    fn a_short_lease_moves_the_fence_of_all_clones_with_each_renewal() {
        let now = Instant::now();
        let deadlines = planned(now).with_lease_term(30 * SECOND);
        assert_eq!(deadlines.planned_lease_end(now), now + 30 * SECOND);
        let granted = deadlines.with_lease_end(now + 30 * SECOND);
        let clone = granted.clone();
        assert_eq!(clone.renewal(), Some(now + 15 * SECOND));
        assert_eq!(clone.work_ends(), now + 24 * SECOND);
        assert_eq!(clone.planned_work_ends(), now + 54 * SECOND);
        // Without a renewal, sending ends in time; the reserve counts from the planned end.
        assert_eq!(clone.sending_ends(10 * SECOND), now + 24 * SECOND);
        assert_eq!(clone.sending_ends(40 * SECOND), now + 14 * SECOND);
        granted.move_lease_end(now + 45 * SECOND);
        assert_eq!(clone.fence(), now + 44 * SECOND);
        assert_eq!(granted.planned_lease_end(now + 40 * SECOND), now + MINUTE);
        granted.move_lease_end(now + 70 * SECOND);
        assert_eq!(clone.fence(), now + 59 * SECOND);
        assert_eq!(clone.renewal(), None);
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
