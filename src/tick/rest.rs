//! When a tick may end: no job has a slot of the tick's minute to serve any more, no scrape of a
//! later slot is under way, and no remote has anything to do.

use std::cell::Cell;

use tokio::sync::Notify;

/// What a tick waits for before it ends.
#[derive(Debug)]
pub(super) struct TickRest {
    /// Jobs that still have slots of the minute to serve.
    on_duty: Cell<usize>,
    /// Jobs that scrape for a slot after the minute.
    in_overtime: Cell<usize>,
    /// Wakes those who wait for the end.
    changed: Notify,
}

impl TickRest {
    /// Makes the state at the start of a tick of `jobs` jobs.
    pub(super) fn new(jobs: usize) -> Self {
        Self {
            on_duty: Cell::new(jobs),
            in_overtime: Cell::new(0),
            changed: Notify::new(),
        }
    }

    /// Records that a job has served the slots of the minute. Returns whether all jobs have.
    pub(super) fn off_duty(&self) -> bool {
        self.on_duty.set(self.on_duty.get().saturating_sub(1));
        self.changed.notify_waiters();
        self.on_duty.get() == 0
    }

    /// Records that a job begins to scrape for a slot after the minute.
    pub(super) fn overtime_begins(&self) {
        self.in_overtime.set(self.in_overtime.get() + 1);
    }

    /// Records that a scrape for a slot after the minute has ended.
    pub(super) fn overtime_ends(&self) {
        self.in_overtime
            .set(self.in_overtime.get().saturating_sub(1));
        self.changed.notify_waiters();
    }

    /// Records that a remote has more or less to do.
    pub(super) fn changed(&self) {
        self.changed.notify_waiters();
    }

    /// Waits until the tick may end: until the remotes are at rest as well, and no scrape is under
    /// way.
    pub(super) async fn comes(&self, remotes_rest: impl Fn() -> bool) {
        let is_over = || self.is_near(&remotes_rest) && self.in_overtime.get() == 0;
        self.until(is_over).await;
    }

    /// Waits while scrapes for slots after the minute are all that the tick goes on for. Returns
    /// whether it may end after them.
    pub(super) async fn follows_overtime(&self, remotes_rest: impl Fn() -> bool) -> bool {
        let is_decided = || !self.is_near(&remotes_rest) || self.in_overtime.get() == 0;
        self.until(is_decided).await;
        self.is_near(&remotes_rest)
    }

    /// Returns whether the tick ends once no scrape is under way.
    pub(super) fn is_near(&self, remotes_rest: impl Fn() -> bool) -> bool {
        self.on_duty.get() == 0 && remotes_rest()
    }

    /// Waits until a condition holds that changes with this state.
    async fn until(&self, holds: impl Fn() -> bool) {
        loop {
            // The wait is created before the state is read, so that no change in between is
            // missed.
            let changed = self.changed.notified();
            if holds() {
                return;
            }
            changed.await;
        }
    }
}
