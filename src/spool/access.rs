//! A tick's access to the store.

use std::sync::Arc;

use tokio::time::Instant;

use super::store::Store;

/// The store as the outboxes of one tick use it: under one lease, with one set of deadlines.
#[derive(Clone)]
pub struct StoreAccess {
    /// The store that holds the spool.
    pub store: Arc<dyn Store>,
    /// Epoch of the lease: the first part of the name of each segment that this tick writes.
    pub epoch: u64,
    /// End of reading, moving and deleting the backlog. The time from here to `deadline` is kept
    /// for flushing what memory holds, and for the release.
    pub until: Instant,
    /// Deadline of the lease's fence: no call may be under way after it.
    pub deadline: Instant,
    /// Whether the last holder of the lease was killed or could not release it.
    pub unclean: bool,
}

impl StoreAccess {
    /// Deadline for a call whose result is useful but not needed: it may take half of the time that
    /// is left, so that the calls that are needed still fit in.
    pub(super) fn optional_call_deadline(&self) -> Instant {
        let now = Instant::now();
        now + self.deadline.saturating_duration_since(now) / 2
    }
}
