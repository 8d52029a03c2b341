//! A scrape job between its scrapes, and the slots that it serves.

mod slots;

use std::time::Duration;

pub(crate) use self::slots::newest_slot_ms;
pub(super) use self::slots::{SlotGrid, within_minute};
use crate::home::Target;

/// Expected duration of a job's first scrape, including its sends.
pub(super) const EXPECTED_AT_FIRST: Duration = Duration::from_secs(1);

/// A scrape job between its scrapes.
pub(super) struct Job {
    /// Slots of the job.
    pub(super) grid: SlotGrid,
    /// Targets of the job. All of them are scraped at the same time.
    pub(super) targets: Vec<Target>,
    /// Newest slot that was served, milliseconds since 1970.
    pub(super) served_ms: Option<i64>,
    /// Start of the newest read in the place of scrapes, milliseconds since 1970.
    pub(super) read_ms: Option<i64>,
    /// Expected duration of the next scrape, including its sends.
    pub(super) expected: Duration,
    /// Start of the newest scrape that succeeded for all targets, milliseconds since 1970.
    pub(super) scraped_ms: Option<i64>,
}
