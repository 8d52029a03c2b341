//! The fence of a lease whose process may be suspended: a laptop that sleeps, a frozen sandbox. The
//! monotonic clock may not count that time, so the fence would come too late.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::spool::store::{Call, Etag, Object, Page, Store};
use crate::time::{Clock, Deadlines, millis};

/// By more than this the wall clock runs ahead of the monotonic one only when it was set, or when
/// the process was suspended. It is less than the fence's margin.
const TOLERANCE_MS: i64 = 500;

/// What both clocks showed at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct BothClocks {
    at: Instant,
    at_ms: i64,
}

impl BothClocks {
    pub(super) fn read(clock: &dyn Clock) -> Self {
        Self {
            at: Instant::now(),
            at_ms: clock.now_ms(),
        }
    }
}

/// Compares the wall clock with the monotonic one while a lease is held.
pub struct LeaseFence {
    deadlines: Deadlines,
    clock: Arc<dyn Clock>,
    /// When the clocks were last compared.
    seen: Mutex<BothClocks>,
    /// Whether a suspension was found since the last call of [`LeaseFence::take_suspended`].
    is_suspended: AtomicBool,
}

impl std::fmt::Debug for LeaseFence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LeaseFence").field(&self.deadlines).finish()
    }
}

impl LeaseFence {
    /// Begins to compare, with what the clocks showed before the lease was written.
    pub(super) fn new(deadlines: Deadlines, clock: Arc<dyn Clock>, seen: BothClocks) -> Self {
        Self {
            deadlines,
            clock,
            seen: Mutex::new(seen),
            is_suspended: AtomicBool::new(false),
        }
    }

    /// Compares the clocks. The time that the monotonic one has not counted is taken off the lease.
    pub fn check(&self) {
        let now = BothClocks::read(&*self.clock);
        let seen = std::mem::replace(
            &mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner),
            now,
        );
        let by_wall_ms = now.at_ms.saturating_sub(seen.at_ms);
        let uncounted_ms = by_wall_ms.saturating_sub(millis(now.at - seen.at));
        if uncounted_ms <= TOLERANCE_MS {
            return;
        }
        let uncounted = Duration::from_millis(uncounted_ms.unsigned_abs());
        tracing::warn!("the process was suspended for {uncounted:.1?} in the middle of a tick");
        let lease_end = self.deadlines.lease_end().checked_sub(uncounted);
        self.deadlines
            .move_lease_end(lease_end.unwrap_or_else(Instant::now));
        self.is_suspended.store(true, Ordering::Relaxed);
    }

    /// Returns whether a suspension was found since the last call.
    pub fn take_suspended(&self) -> bool {
        self.is_suspended.swap(false, Ordering::Relaxed)
    }

    /// The deadline of a call that is made now, with the given deadline.
    fn deadline(&self, deadline: Instant) -> Instant {
        self.check();
        deadline.min(self.deadlines.fence())
    }
}

/// The store under a lease: no call begins after the fence, wherever it is by then.
pub(super) struct FencedStore {
    pub(super) store: Arc<dyn Store>,
    pub(super) fence: Arc<LeaseFence>,
}

impl Store for FencedStore {
    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes, deadline: Instant) -> Call<'a, Etag> {
        let deadline = self.fence.deadline(deadline);
        self.store.put_if_absent(key, body, deadline)
    }

    fn put_if_match<'a>(
        &'a self,
        key: &'a str,
        body: Bytes,
        etag: &'a Etag,
        deadline: Instant,
    ) -> Call<'a, Etag> {
        let deadline = self.fence.deadline(deadline);
        self.store.put_if_match(key, body, etag, deadline)
    }

    fn get<'a>(&'a self, key: &'a str, most: u64, deadline: Instant) -> Call<'a, Object> {
        let deadline = self.fence.deadline(deadline);
        self.store.get(key, most, deadline)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        deadline: Instant,
    ) -> Call<'a, Page> {
        let deadline = self.fence.deadline(deadline);
        self.store.list(prefix, after, deadline)
    }

    fn delete<'a>(&'a self, key: &'a str, deadline: Instant) -> Call<'a, ()> {
        let deadline = self.fence.deadline(deadline);
        self.store.delete(key, deadline)
    }

    fn delete_if_match<'a>(
        &'a self,
        key: &'a str,
        etag: &'a Etag,
        deadline: Instant,
    ) -> Call<'a, ()> {
        let deadline = self.fence.deadline(deadline);
        self.store.delete_if_match(key, etag, deadline)
    }

    fn address(&self) -> &str {
        self.store.address()
    }
}
