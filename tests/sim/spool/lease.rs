//! Ticks without the lease, and the lease between ticks.

use std::sync::atomic::Ordering;

use amp_forwarder::report::{IncidentKind, Outcome as TickOutcome, Report};
use amp_forwarder::spool::state::{KEY, SpoolState};
use amp_forwarder::time::Clock as _;

use super::Run;
use super::checks::began;
use crate::memory::has;
use crate::store::Process;
use crate::world::SimClock;

impl Run {
    /// Checks that a tick goes on without the store only if its process was at work within the last
    /// two minutes. `concurrent`: another process has worked since, which it cannot know.
    pub(super) fn degraded(
        &mut self,
        at: usize,
        report: &Report,
        process: &Process,
        start_ms: i64,
        concurrent: bool,
    ) {
        let ended_ms = self.ended_ms[at];
        if began(report) {
            self.ended_ms[at] = Some(SimClock(std::sync::Arc::clone(&self.world)).now_ms());
        }
        if is_degraded(report, process) {
            self.without(ended_ms, start_ms, concurrent);
        }
    }

    /// Checks the same for a tick that was killed, and so has no report.
    pub(super) fn went_without(&mut self, at: usize, killed: &Process, start_ms: i64) {
        if killed.acts_without_lease() {
            self.without(self.ended_ms[at], start_ms, self.last != at);
        }
    }

    fn without(&mut self, ended_ms: Option<i64>, start_ms: i64, concurrent: bool) {
        let now_ms = SimClock(std::sync::Arc::clone(&self.world)).now_ms();
        match ended_ms {
            // The tick may wait for the lease for a while before it finds that the store is down. A
            // clock that was set back has caught up by then.
            Some(ended_ms) if start_ms - ended_ms < 120_000 && now_ms >= ended_ms => {
                self.concurrent_without_store |= concurrent;
            }
            _ => self.world.found(
                "degraded",
                format!(
                    "it went on without the store, and its last tick had ended at {ended_ms:?}"
                ),
            ),
        }
    }

    /// Checks that no process is kept out by its own lease.
    pub(super) fn busy(&self, report: &Report, process: &Process) {
        let lease = self
            .shared
            .objects
            .peek(KEY)
            .and_then(|bytes| SpoolState::read(&bytes).ok())
            .and_then(|state| state.lease);
        let own = lease.is_some_and(|lease| process.is(&lease.nonce));
        if matches!(report.outcome, TickOutcome::Busy)
            && own
            && has(report, IncidentKind::LeaseHeld)
        {
            self.world.found("busy", "with its own lease");
        }
    }
}

/// Whether the tick scraped or sent without the lease.
pub(super) fn is_degraded(report: &Report, process: &Process) -> bool {
    let touched =
        !report.scrapes.is_empty() || report.remotes.iter().any(|remote| remote.requests > 0);
    let told = has(report, IncidentKind::WithoutSpool);
    // A tick that has the lease may have found the store down before it posted or wrote anything.
    touched
        && told
        && !process.held.load(Ordering::Relaxed)
        && !process.told.load(Ordering::Relaxed)
}

pub(super) fn released(report: &Report) -> bool {
    !has(report, IncidentKind::LeaseNotReleased)
}
