//! What all scrapes and reads of a tick share.

use std::cell::RefCell;

use tokio::time::Instant;

use super::Plan;
use super::lease::LeasedSpool;
use super::report::TickRecord;
use crate::time::Deadlines;

/// The context that all scrapes of a tick share.
pub(super) struct ScrapeRound<'a> {
    pub(super) plan: &'a Plan,
    pub(super) held: Option<&'a LeasedSpool>,
    /// Start of the tick, milliseconds since 1970.
    pub(super) start_ms: i64,
    /// Start of the work by the monotonic clock.
    pub(super) started: Instant,
    pub(super) deadlines: Deadlines,
    /// Facts for the report.
    pub(super) record: &'a RefCell<TickRecord>,
}

impl ScrapeRound<'_> {
    /// The middle of the tick's time for work. Reading a gap takes no longer.
    pub(super) fn half_way(&self) -> Instant {
        let all = self
            .deadlines
            .work_ends()
            .saturating_duration_since(self.started);
        self.started + all / 2
    }
}
