//! What all scrapes and reads of a tick share.

use std::cell::RefCell;

use tokio::time::Instant;

use super::Plan;
use super::lease::LeasedSpool;
use super::report::TickRecord;
use super::rest::TickRest;
use crate::time::Deadlines;

/// The context that all scrapes of a tick share.
pub(super) struct ScrapeRound<'a> {
    pub(super) plan: &'a Plan,
    pub(super) held: Option<&'a LeasedSpool>,
    /// Start of the tick, milliseconds since 1970.
    pub(super) start_ms: i64,
    /// Start of the work by the monotonic clock.
    pub(super) started: Instant,
    pub(super) deadlines: &'a Deadlines,
    /// What the tick waits for before it ends.
    pub(super) rest: &'a TickRest,
    /// Facts for the report.
    pub(super) record: &'a RefCell<TickRecord>,
}

impl ScrapeRound<'_> {
    /// When a catch-up is interrupted: the next tick goes on with it.
    pub(super) fn reads_end(&self) -> Instant {
        let work_ends = self.deadlines.planned_work_ends();
        let minute_ends = self.deadlines.minute_ends();
        minute_ends.map_or(work_ends, |ends| ends.min(work_ends))
    }

    /// The middle of the tick's time for work. Reading a gap takes no longer.
    pub(super) fn half_way(&self) -> Instant {
        let all = self
            .deadlines
            .planned_work_ends()
            .saturating_duration_since(self.started);
        self.started + all / 2
    }
}
