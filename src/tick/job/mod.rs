//! A scrape job between its scrapes, and the slots that it serves.

mod slots;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

pub(crate) use self::slots::newest_slot_ms;
pub(super) use self::slots::{SlotGrid, within_minute};
use crate::home::Target;
use crate::spool::state::JobState;

/// Expected duration of a job's first scrape, including its sends.
pub(super) const EXPECTED_AT_FIRST: Duration = Duration::from_secs(1);

/// A scrape job between its scrapes. What changes is in cells, so that a tick that is dropped
/// midway leaves the jobs where they are.
pub(super) struct Job {
    /// Slots of the job.
    pub(super) grid: SlotGrid,
    /// Targets of the job. All of them are scraped at the same time.
    pub(super) targets: Vec<Target>,
    /// Newest slot that was served, milliseconds since 1970.
    pub(super) served_ms: Cell<Option<i64>>,
    /// Start of the newest read in the place of scrapes, milliseconds since 1970.
    pub(super) read_ms: Cell<Option<i64>>,
    /// Expected duration of the next scrape, including its sends.
    pub(super) expected: Cell<Duration>,
    /// Start of the newest scrape that succeeded for all targets, milliseconds since 1970.
    pub(super) scraped_ms: Cell<Option<i64>>,
    /// Instances of the targets whose last scrape or read failed, in this tick or in an earlier
    /// one.
    pub(super) failing: BTreeSet<String>,
}

impl Job {
    /// Takes over what another process has left: the newest slot that it served, and the targets
    /// whose last scrape or read has failed.
    pub(super) fn take_over(&mut self, state: &JobState) {
        self.served_ms.set(state.last_slot_ms);
        // The watermarks are at least as new as the last scrape of this process.
        self.scraped_ms.set(None);
        self.failing.clone_from(&state.failing);
    }

    /// Notes what came of the targets in a tick. `failed` says of an instance whether its last
    /// scrape or read has failed, and nothing if neither was tried.
    pub(super) fn note_failing(&mut self, failed: impl Fn(&str) -> Option<bool>) {
        let before = std::mem::take(&mut self.failing);
        let instances = self.targets.iter().map(Target::instance);
        self.failing = instances
            .filter(|&instance| failed(instance).unwrap_or_else(|| before.contains(instance)))
            .map(str::to_owned)
            .collect();
    }
}
