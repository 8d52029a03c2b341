//! A tick's access to the store.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::retry::LongPeek;
use super::store::Store;
use crate::time::Deadlines;

/// Longest time for counting the samples of segments when a tick begins.
const LONGEST_COUNT: Duration = Duration::from_secs(15);

/// The store as the outboxes of one tick use it: under one lease, with one set of deadlines.
#[derive(Clone)]
pub struct StoreAccess {
    /// The store that holds the spool.
    pub store: Arc<dyn Store>,
    /// Epoch of the lease: the first part of the name of each segment that this tick writes.
    pub epoch: u64,
    /// Ends of the tick's time under this lease.
    pub deadlines: Deadlines,
    /// Whether the last holder of the lease was killed or could not release it.
    pub unclean: bool,
    /// The turn to read a long index.
    pub(super) long_peek: Arc<LongPeek>,
}

impl StoreAccess {
    /// End of reading, moving and deleting the backlog.
    pub(super) fn work_ends(&self) -> Instant {
        self.deadlines.work_ends()
    }

    /// Deadline of the lease's fence: no call may be under way after it.
    pub(super) fn fence(&self) -> Instant {
        self.deadlines.fence()
    }

    /// Deadline for counting the samples of segments when a tick begins: most of it belongs to
    /// scrapes and sending.
    pub(super) fn count_ends(&self) -> Instant {
        let now = Instant::now();
        now + (self.deadlines.left_to_fence(now) / 4).min(LONGEST_COUNT)
    }

    /// Deadline for a call whose result is useful but not needed.
    pub(super) fn optional_call_ends(&self) -> Instant {
        self.deadlines.optional_call_ends(Instant::now())
    }
}
