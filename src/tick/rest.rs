//! When a tick may end: no job has a slot of the tick's minute to serve any more, and no remote has
//! anything to do.

use std::cell::Cell;

use tokio::sync::Notify;

/// What a tick waits for before it ends.
#[derive(Debug)]
pub(super) struct TickRest {
    /// Jobs that still have slots of the minute to serve.
    on_duty: Cell<usize>,
    /// Wakes those who wait for the end.
    changed: Notify,
}

impl TickRest {
    /// Makes the state at the start of a tick of `jobs` jobs.
    pub(super) fn new(jobs: usize) -> Self {
        Self {
            on_duty: Cell::new(jobs),
            changed: Notify::new(),
        }
    }

    /// Records that a job has served the slots of the minute. Returns whether all jobs have.
    pub(super) fn off_duty(&self) -> bool {
        self.on_duty.set(self.on_duty.get().saturating_sub(1));
        self.changed.notify_waiters();
        self.on_duty.get() == 0
    }

    /// Records that a remote has less to do.
    pub(super) fn changed(&self) {
        self.changed.notify_waiters();
    }

    /// Waits until the tick may end: until the remotes are at rest as well.
    pub(super) async fn comes(&self, remotes_rest: impl Fn() -> bool) {
        loop {
            // The wait is created before the state is read, so that no change in between is
            // missed.
            let changed = self.changed.notified();
            if self.on_duty.get() == 0 && remotes_rest() {
                return;
            }
            changed.await;
        }
    }
}
