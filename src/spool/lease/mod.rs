//! The lease: only its holder scrapes, drains or writes.
//!
//! It is taken and released with one conditional PUT of `state.json` each. Its end is measured by
//! the store's clock, the only one that all processes share. That clock is known within bounds
//! ([`StoreTime`]), and each side takes the bound that is against it: the holder stops when the
//! lease may have ended, others go on when it must have. What the local clock is used for, to guess
//! the store's before a warm process has asked it anything, can cost time but no safety: the answer
//! brings the store's own.

mod checkpoint;
mod decide;
mod error;
mod fence;
mod release;
mod renew;
mod take;
mod tenure;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use self::decide::{LONGEST_LEASE, is_lately, is_steady};
pub use self::error::{LookError, ReleaseError, TakeError};
use self::fence::FencedStore;
pub use self::fence::LeaseFence;
pub use self::tenure::{PreviousEnd, Tenure};
use super::access::StoreAccess;
use super::name::{Folder, MAX_EPOCH_FOUND, RemoteDir, SegmentName};
use super::retry::{Pause, list_all, try_ends};
use super::state::{KEY, MAX_BYTES, SpoolState, StateError};
use super::store::{Etag, FailureKind, Store, StoreAnswer, StoreError, StoreTime};
use crate::time::{Clock, millis};

impl Tenure {
    /// The access to the store that outboxes need.
    #[must_use]
    pub fn access(&self, client: &LeaseClient) -> StoreAccess {
        StoreAccess {
            store: Arc::new(FencedStore {
                store: Arc::clone(&client.store),
                fence: Arc::clone(&self.fence),
            }),
            epoch: self.epoch,
            deadlines: self.deadlines.clone(),
            unclean: self.previous == PreviousEnd::Unclean,
            long_peek: Arc::default(),
        }
    }
}

/// `state.json` as it is in the store.
#[derive(Debug, Clone)]
struct StoredState {
    state: SpoolState,
    /// Etag of the object; `None` when there is no object.
    etag: Option<Etag>,
    /// What the store's clock showed then; `None` when that is not known.
    time: Option<StoreTime>,
}

/// When the store's clock was last compared with ours.
#[derive(Debug, Clone, Copy)]
struct ClockReading {
    /// The monotonic clock then.
    at: Instant,
    /// Our wall clock then, milliseconds since 1970.
    now_ms: i64,
}

/// Takes and releases the lease. It lives as long as the process: what it remembers of the last
/// release saves a warm process the GET.
pub struct LeaseClient {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// Random name of this process, which tells our own lease from others'.
    nonce: String,
    /// Time for which a schedule's slots need no tick: see [`LeaseClient::with_spare`].
    spare: Duration,
    /// The signal that ends a wait for another process's lease.
    stop: Option<watch::Receiver<bool>>,
    /// The state as we released it, until the next taking.
    warm: Option<StoredState>,
    /// Epoch of our last lease.
    held: Option<u64>,
    /// Whether another process took a lease of ours that had ended. Since then we may have written
    /// segments that its release does not know.
    was_late: bool,
    /// Whether our last release left no backlog, and nothing since says that another process may
    /// have left one.
    released_empty: bool,
    /// When our last tick ended that left nothing behind, by our wall clock, milliseconds since
    /// 1970.
    ended_ms: Option<i64>,
    /// The store's clock less ours, milliseconds.
    offset_ms: i64,
    /// When `offset_ms` was measured.
    measured: Option<ClockReading>,
    /// Tombstones that a failed release could not write; see [`RemoteRecord::tombstones`]. The
    /// taking of our next lease writes them: if that tick is killed, other processes know of them.
    ///
    /// [`RemoteRecord::tombstones`]: super::state::RemoteRecord::tombstones
    unreported_tombstones: BTreeMap<RemoteDir, BTreeMap<SegmentName, u8>>,
}

impl LeaseClient {
    /// A client that holds no lease. `rng` draws the name of this process: no two processes may
    /// draw the same.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, rng: &mut fastrand::Rng) -> Self {
        let nonce = format!("{:032x}", rng.u128(..));
        Self {
            store,
            clock,
            nonce,
            spare: Duration::ZERO,
            stop: None,
            warm: None,
            held: None,
            was_late: false,
            released_empty: false,
            ended_ms: None,
            offset_ms: 0,
            measured: None,
            unreported_tombstones: BTreeMap::new(),
        }
    }

    /// Sets for how long the slots of a schedule need no tick: when one comes that much later, it
    /// still serves the slot that passed. A tick that finds another one at work does not wait for a
    /// shorter time of its own.
    #[must_use]
    pub fn with_spare(self, spare: Duration) -> Self {
        Self { spare, ..self }
    }

    /// Sets the signal that ends a wait for another process's lease: once it is true, nobody waits.
    pub fn stop_waiting_at(&mut self, stop: Option<watch::Receiver<bool>>) {
        self.stop = stop;
    }

    /// Whether a tick may go on without a store that is down. That keeps the order of samples only
    /// if there can be no backlog: our own last release left none, and our last tick ended so
    /// recently that the schedule has started no other process in between.
    #[must_use]
    pub fn may_go_without(&self) -> bool {
        self.released_empty && is_lately(self.ended_ms, self.clock.now_ms())
    }

    /// Records that a tick has ended that went on without the store.
    pub fn went_without(&mut self) {
        self.ended_ms = Some(self.clock.now_ms());
    }

    /// Reads the state without taking the lease.
    ///
    /// # Errors
    /// The store is down, or `state.json` is not usable.
    pub async fn look(&mut self, deadline: Instant) -> Result<SpoolState, LookError> {
        Ok(self.find(deadline).await?.state)
    }

    async fn find(&mut self, deadline: Instant) -> Result<StoredState, LookError> {
        let mut pause = Pause::default();
        loop {
            match self.store.get(KEY, MAX_BYTES, try_ends(deadline)).await {
                Ok(StoreAnswer {
                    value: object,
                    time,
                }) => {
                    self.learn(&time);
                    if !object.is_whole() {
                        return Err(
                            StateError::Malformed(format!("it has {} bytes", object.size)).into(),
                        );
                    }
                    return Ok(StoredState {
                        state: SpoolState::read(&object.bytes)?,
                        etag: Some(object.etag),
                        time: Some(time),
                    });
                }
                Err(error) if error.kind == FailureKind::NotFound => {
                    if let Some(time) = &error.time {
                        self.learn(time);
                    }
                    // Somebody may have removed the object. Epochs must then go on behind those of
                    // the segments that are there, or new segments would sort before old ones.
                    let state = SpoolState {
                        epoch: self.newest_epoch(deadline).await?,
                        ..SpoolState::default()
                    };
                    return Ok(StoredState {
                        state,
                        etag: None,
                        time: error.time,
                    });
                }
                Err(error) if error.kind.is_passing() && pause.pause(deadline).await => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn newest_epoch(&self, deadline: Instant) -> Result<u64, StoreError> {
        let listed = list_all(&*self.store, &Folder::Segments.prefix(), deadline).await?;
        let names = listed
            .iter()
            .filter_map(|listed| SegmentName::parse(listed.key.rsplit('/').next()?));
        let epochs = names.map(SegmentName::epoch);
        // A name that somebody else made up must not use up all epochs.
        Ok(epochs
            .filter(|epoch| *epoch <= MAX_EPOCH_FOUND)
            .max()
            .unwrap_or_default())
    }

    /// A moment by the store's clock as we guess it, milliseconds since 1970.
    fn store_ms(&self, moment: Instant) -> i64 {
        let left = moment.saturating_duration_since(Instant::now());
        self.clock
            .now_ms()
            .saturating_add(self.offset_ms)
            .saturating_add(millis(left.min(LONGEST_LEASE)))
    }

    /// Measures the store's clock against ours, from an answer of the store. It takes the latest
    /// time that the clock may show, and adds what rounding takes once more, so that no lease is
    /// shorter than planned because of rounding.
    fn learn(&mut self, time: &StoreTime) {
        let since = millis(time.sent.elapsed());
        let now_ms = self.clock.now_ms();
        self.offset_ms = time
            .date_ms
            .saturating_add(2 * time.coarse_ms + since)
            .saturating_sub(now_ms);
        self.measured = Some(ClockReading {
            at: Instant::now(),
            now_ms,
        });
    }

    /// Whether our wall clock has moved as time did since the last measurement. If it was set, a
    /// lease of the wrong length would be written; and if this tick were killed before that is
    /// corrected, everybody would wait for its end.
    fn is_clock_steady(&self) -> bool {
        self.measured.is_some_and(|measured| {
            let by_clock_ms = self.clock.now_ms().saturating_sub(measured.now_ms);
            is_steady(measured.at.elapsed(), by_clock_ms)
        })
    }
}

#[cfg(test)]
mod checkpoint_tests;
#[cfg(test)]
mod tests;
