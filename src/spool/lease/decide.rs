//! Decisions of the lease as pure functions: what to do about a state that was found, and which
//! clocks can be believed.

use std::time::Duration;

use tokio::time::Instant;

use super::tenure::PreviousEnd;
use crate::spool::state::SpoolState;
use crate::spool::store::StoreTime;
use crate::time::millis;

/// A lease that ends further from the plan than this is written once more, because our guess of the
/// store's clock was wrong.
const TOLERANCE: Duration = Duration::from_secs(5);

/// No lease is longer: a function runs for a quarter of an hour at most, and a tick of `forwardctl`
/// for some minutes. One that says so was written by a wrong clock or by somebody else, and nobody
/// can hold it: it counts as ended, or the forwarder would wait for it for ever.
pub(super) const LONGEST_LEASE: Duration = Duration::from_secs(3600);

/// A schedule of one tick a minute starts another process only when this one is late or lost.
const LATELY_MS: i64 = 120_000;

/// A schedule of one tick a minute serves slots more often than that.
const SERVED_LATELY_MS: u64 = 300_000;

/// Whether a state has a slot that was served in the last five minutes. A backup has none.
pub(super) fn served_lately(newest_slot_ms: Option<i64>, now_ms: i64) -> bool {
    newest_slot_ms.is_some_and(|slot_ms| now_ms.abs_diff(slot_ms) <= SERVED_LATELY_MS)
}

/// Whether a lease ends so far from the plan that our guess of the store's clock must have been
/// wrong.
pub(super) fn is_off(end: Instant, planned: Instant) -> bool {
    planned.saturating_duration_since(end) > TOLERANCE
        || end.saturating_duration_since(planned) > TOLERANCE
}

/// Whether a tick ended within the last two minutes. False after the clock was set back.
pub(super) fn is_lately(ended_ms: Option<i64>, now_ms: i64) -> bool {
    ended_ms.is_some_and(|ended_ms| (0..LATELY_MS).contains(&now_ms.saturating_sub(ended_ms)))
}

/// Whether our wall clock has moved as time did: not back, and forward by no more than a freeze of
/// the process between two ticks explains, which the monotonic clock may not have counted.
pub(super) fn is_steady(elapsed: Duration, by_clock_ms: i64) -> bool {
    let elapsed_ms = millis(elapsed);
    let ahead_ms = by_clock_ms.saturating_sub(elapsed_ms);
    ahead_ms > -millis(TOLERANCE) && ahead_ms < LATELY_MS
}

/// What to do about a state that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseStep {
    /// The lease can be taken.
    Take(PreviousEnd),
    /// An earlier try of ours has taken it, and its answer was lost.
    Ours,
    /// Another process holds it; it ends at this moment at the latest.
    Wait(Instant),
}

/// Decides what to do about a state. `tried` is the epoch that an earlier try of this call wrote,
/// `time` what the store's clock showed, and `has_mark` says that this process has the mark of the
/// holder, which a living holder would have.
pub(super) fn decide(
    state: &SpoolState,
    nonce: &str,
    tried: Option<u64>,
    time: Option<&StoreTime>,
    has_mark: bool,
    now: Instant,
) -> LeaseStep {
    let Some(lease) = &state.lease else {
        return LeaseStep::Take(if state.epoch == 0 {
            PreviousEnd::None
        } else {
            PreviousEnd::Clean
        });
    };
    if lease.nonce == nonce {
        // Otherwise it is of one of our own earlier ticks, and that one has ended: a process has
        // one tick at a time.
        return if tried == Some(lease.epoch) {
            LeaseStep::Ours
        } else {
            LeaseStep::Take(PreviousEnd::Unclean)
        };
    }
    if lease.is_marked && has_mark {
        return LeaseStep::Take(PreviousEnd::Unclean);
    }
    let is_too_long = time.is_some_and(|time| {
        let latest_ms = time.date_ms.saturating_add(time.coarse_ms);
        lease.until_ms.saturating_sub(latest_ms) > millis(LONGEST_LEASE)
    });
    if is_too_long {
        return LeaseStep::Take(PreviousEnd::Unclean);
    }
    match time.map(|time| time.certainly_reached(lease.until_ms)) {
        Some(end) if end <= now => LeaseStep::Take(PreviousEnd::Unclean),
        Some(end) => LeaseStep::Wait(end),
        None => LeaseStep::Wait(now),
    }
}
