//! The lease: only its holder scrapes, drains or writes.
//!
//! Taken and released with one conditional PUT of `state.json` each. Its end is told by the store's
//! clock, the only one that all processes share. That clock is known within bounds ([`StoreTime`]),
//! and each side takes the bound that is against it: the holder stops when the lease may have
//! ended, others go on when it must have. What the local clock is used for, to guess the store's
//! before a warm process has asked it anything, can cost time but no safety: the answer brings the
//! store's own.

mod decide;
mod error;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::decide::{Step, decide, is_lately, is_off, is_steady};
pub use self::error::{LookError, ReleaseError, TakeError};
use super::access::StoreAccess;
use super::name::{Folder, RemoteDir, SegmentName};
use super::retry::{Pause, list_all, try_ends};
use super::state::{KEY, Lease, MAX_BYTES, State, StateError};
use super::store::{Answer, Etag, Kind, Store, StoreError, StoreTime};
use crate::time::{Clock, Deadlines, millis};

/// How often a process that waits for another one looks whether that one is done.
const POLL: Duration = Duration::from_secs(1);

/// How long a store that is down is asked for the lease: slots pass meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the last holder ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Previous {
    /// There was none.
    None,
    /// It released.
    Clean,
    /// It was killed, or could not release: the summary of the backlog must be counted anew.
    Unclean,
}

/// The lease, held.
#[derive(Debug, Clone)]
pub struct Tenure {
    /// For the names of segments.
    pub epoch: u64,
    /// Ends of the tick's time under this lease.
    pub deadlines: Deadlines,
    /// What the last release said.
    pub state: State,
    /// How that went.
    pub previous: Previous,
    /// Nobody else held the lease since this process did: what it remembers of series and slots
    /// still holds.
    pub continued: bool,
    etag: Etag,
}

impl Tenure {
    /// Returns the access to the store that outboxes need.
    #[must_use]
    pub fn access(&self, keeper: &Keeper) -> StoreAccess {
        let unclean = self.previous == Previous::Unclean;
        StoreAccess {
            store: Arc::clone(&keeper.store),
            epoch: self.epoch,
            deadlines: self.deadlines,
            unclean,
        }
    }
}

/// A state as it lies in the store.
#[derive(Debug, Clone)]
struct Found {
    state: State,
    /// None: there is no object.
    etag: Option<Etag>,
    time: Option<StoreTime>,
}

/// Takes and releases the lease. Kept for the process: a warm one needs no GET.
pub struct Keeper {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    nonce: String,
    /// As we released it.
    warm: Option<Found>,
    /// Our last epoch.
    held: Option<u64>,
    released_empty: bool,
    /// When our last tick ended that left nothing behind, by our clock.
    ended_ms: Option<i64>,
    /// The store's clock less ours.
    offset_ms: i64,
    /// When that was learnt, by the clock that does not go back and by ours.
    learnt: Option<(Instant, i64)>,
    /// What a release that failed could not tell; see [`RemoteState::unwanted`]. Our next lease
    /// tells it: should that tick be killed, others know.
    ///
    /// [`RemoteState::unwanted`]: super::state::RemoteState::unwanted
    untold: BTreeMap<RemoteDir, BTreeMap<SegmentName, u8>>,
}

impl Keeper {
    /// `rng` draws the name of this process: no two may share it.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, rng: &mut fastrand::Rng) -> Self {
        let nonce = format!("{:032x}", rng.u128(..));
        Self {
            store,
            clock,
            nonce,
            warm: None,
            held: None,
            released_empty: false,
            ended_ms: None,
            offset_ms: 0,
            learnt: None,
            untold: BTreeMap::new(),
        }
    }

    /// Whether a tick may go on without a store that is down, and order is safe: our own last
    /// release was clean and empty, and our last tick ended so lately that the schedule will have
    /// started no other process meanwhile, which might have left a backlog.
    #[must_use]
    pub fn may_go_without(&self) -> bool {
        self.released_empty && is_lately(self.ended_ms, self.clock.now_ms())
    }

    /// A tick has ended that went on without the store.
    pub fn went_without(&mut self) {
        self.ended_ms = Some(self.clock.now_ms());
    }

    /// The state as it is, for those who only look: no lease is needed.
    ///
    /// # Errors
    /// [`LookError`].
    pub async fn look(&mut self, deadline: Instant) -> Result<State, LookError> {
        Ok(self.find(deadline).await?.state)
    }

    /// Takes the lease: one PUT when it is as we left it, a GET more when it is not, and a LIST
    /// more the very first time.
    ///
    /// # Errors
    /// [`TakeError`]. After [`TakeError::Store`] it may be ours nevertheless; our next call will
    /// find out.
    pub async fn take(&mut self, planned: &Deadlines) -> Result<Tenure, TakeError> {
        let store_ends = |now: Instant| planned.fence().min(now + PATIENCE);
        // A clock that was moved would make a lease of the wrong length; should we be killed before
        // it is corrected, everybody waits for its end.
        let steady = self.learnt.is_some_and(|(then, then_ms)| {
            is_steady(then.elapsed(), self.clock.now_ms().saturating_sub(then_ms))
        });
        let mut known = self.warm.take().filter(|_| steady);
        let mut tried = None;
        let mut last = (Previous::None, false);
        let (mut corrected, mut doubted) = (false, false);
        let mut deadline = store_ends(Instant::now());
        let mut pause = Pause::default();
        loop {
            let found = match known.take() {
                Some(found) => found,
                None => self.find(deadline).await?,
            };
            self.released_empty &=
                self.held == Some(found.state.epoch) && found.state.lease.is_none();
            let now = Instant::now();
            let epoch = match decide(&found.state, &self.nonce, tried, found.time.as_ref(), now) {
                Step::Ours => match lease_end(&found, planned) {
                    Some(end) if corrected || !is_off(end, planned.kill()) => {
                        return Ok(self.hold(found, planned.with_lease_end(end), last));
                    }
                    None if corrected => return Err(TakeError::Late),
                    _ => {
                        corrected = true;
                        found.state.epoch
                    }
                },
                Step::Wait(end) if end > planned.lease_wait_ends() => {
                    return Err(TakeError::Busy {
                        epoch: found.state.epoch,
                        left: end - now,
                    });
                }
                Step::Wait(end) => {
                    tokio::time::sleep_until(end.min(now + POLL)).await;
                    deadline = store_ends(Instant::now());
                    continue;
                }
                Step::Take(previous) => {
                    // Without a state.json, segments are what tells of earlier ticks.
                    let previous = if found.etag.is_none() && found.state.epoch > 0 {
                        Previous::Unclean
                    } else {
                        previous
                    };
                    last = (previous, self.held == Some(found.state.epoch));
                    found.state.epoch + 1
                }
            };
            tried = Some(epoch);
            let written = self.write(&found, epoch, planned.kill(), deadline).await;
            if matches!(&written, Err(TakeError::Store(error)) if error.kind == Kind::Changed) {
                // Somebody else may be at work, or may have left a backlog: to go on without the
                // store is safe no more.
                self.released_empty = false;
            }
            match written {
                Ok(written) => known = Some(written),
                // That may have been us: the state tells, and mostly at once.
                Err(TakeError::Store(error))
                    if matches!(error.kind, Kind::Changed | Kind::NoAnswer)
                        && !std::mem::replace(&mut doubted, true) => {}
                Err(TakeError::Store(error))
                    if error.kind == Kind::Changed || error.kind.is_passing() =>
                {
                    if !pause.pause(deadline).await {
                        return Err(error.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Releases the lease: one PUT. `state` is what the next tick is to know; its epoch and lease
    /// are seen to here.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub async fn release(&mut self, tenure: Tenure, state: State) -> Result<(), ReleaseError> {
        let unwanted = state
            .remotes
            .iter()
            .map(|(remote, known)| (remote.clone(), known.unwanted.clone()))
            .collect();
        let released = self.try_to_release(tenure, state).await;
        if released.is_err() {
            self.untold = unwanted;
        }
        released
    }

    async fn try_to_release(&mut self, tenure: Tenure, state: State) -> Result<(), ReleaseError> {
        let state = State {
            epoch: tenure.epoch,
            lease: None,
            ..state
        };
        let body = state.write().map_err(LookError::State)?;
        let deadline = tenure.deadlines.fence();
        let mut etag = tenure.etag;
        let mut pause = Pause::default();
        loop {
            let error = match self
                .store
                .put_if_match(KEY, body.clone(), &etag, try_ends(deadline))
                .await
            {
                Ok(answer) => {
                    self.learn(&answer.time);
                    self.released(state, answer.value);
                    return Ok(());
                }
                Err(error) => error,
            };
            if error.kind != Kind::Changed {
                if error.kind.is_passing() && pause.pause(deadline).await {
                    continue;
                }
                return Err(LookError::Store(error).into());
            }
            // An earlier try of ours may be what has changed it, of the release or of the taking.
            let found = self.find(deadline).await?;
            match found.etag {
                Some(present) if found.state == state => {
                    self.released(state, present);
                    return Ok(());
                }
                Some(present)
                    if present != etag
                        && found.state.lease.as_ref().is_some_and(|lease| {
                            lease.nonce == self.nonce && lease.epoch == tenure.epoch
                        }) =>
                {
                    etag = present;
                }
                _ => {
                    return Err(ReleaseError::Lost {
                        held: tenure.epoch,
                        found: found.state.epoch,
                    });
                }
            }
        }
    }

    fn released(&mut self, state: State, etag: Etag) {
        self.released_empty = state.is_clean_and_empty();
        self.ended_ms = Some(self.clock.now_ms());
        self.warm = Some(Found {
            state,
            etag: Some(etag),
            time: None,
        });
    }

    async fn find(&mut self, deadline: Instant) -> Result<Found, LookError> {
        let mut pause = Pause::default();
        loop {
            match self.store.get(KEY, MAX_BYTES, try_ends(deadline)).await {
                Ok(Answer {
                    value: object,
                    time,
                }) => {
                    self.learn(&time);
                    if !object.is_whole() {
                        return Err(
                            StateError::Malformed(format!("it has {} bytes", object.size)).into(),
                        );
                    }
                    return Ok(Found {
                        state: State::read(&object.bytes)?,
                        etag: Some(object.etag),
                        time: Some(time),
                    });
                }
                Err(error) if error.kind == Kind::NotFound => {
                    if let Some(time) = &error.time {
                        self.learn(time);
                    }
                    // An epoch that starts anew must not sort before what is there: somebody may
                    // have removed the object.
                    let state = State {
                        epoch: self.newest_epoch(deadline).await?,
                        ..State::default()
                    };
                    return Ok(Found {
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
        Ok(names.map(SegmentName::epoch).max().unwrap_or_default())
    }

    async fn write(
        &mut self,
        found: &Found,
        epoch: u64,
        lease_end: Instant,
        deadline: Instant,
    ) -> Result<Found, TakeError> {
        let length = lease_end.saturating_duration_since(Instant::now());
        let until_ms = self.clock.now_ms() + self.offset_ms + millis(length);
        let lease = Lease {
            nonce: self.nonce.clone(),
            epoch,
            until_ms,
        };
        let mut state = State {
            epoch,
            lease: Some(lease),
            ..found.state.clone()
        };
        // Whoever had the lease meanwhile has counted what was there.
        if self.held == Some(found.state.epoch) {
            for (remote, names) in &self.untold {
                state
                    .remotes
                    .entry(remote.clone())
                    .or_default()
                    .unwanted
                    .extend(names);
            }
        }
        let body = state.write()?;
        let deadline = try_ends(deadline);
        let answer = match &found.etag {
            Some(etag) => self.store.put_if_match(KEY, body, etag, deadline).await?,
            None => self.store.put_if_absent(KEY, body, deadline).await?,
        };
        self.learn(&answer.time);
        Ok(Found {
            state,
            etag: Some(answer.value),
            time: Some(answer.time),
        })
    }

    /// The store's clock at its latest, and once more what rounding takes: so no lease is shorter
    /// than planned for the sake of rounding.
    fn learn(&mut self, time: &StoreTime) {
        let since = millis(time.sent.elapsed());
        let now_ms = self.clock.now_ms();
        self.offset_ms = time.date_ms + 2 * time.coarse_ms + since - now_ms;
        self.learnt = Some((Instant::now(), now_ms));
    }

    fn hold(
        &mut self,
        found: Found,
        deadlines: Deadlines,
        (previous, continued): (Previous, bool),
    ) -> Tenure {
        self.released_empty = false;
        self.held = Some(found.state.epoch);
        self.untold.clear();
        Tenure {
            epoch: found.state.epoch,
            deadlines,
            state: State {
                lease: None,
                ..found.state
            },
            previous,
            continued,
            // It was written: there is one.
            etag: found.etag.unwrap_or(Etag(String::new())),
        }
    }
}

/// The moment up to which a lease that we wrote is certainly ours. `None` when its fence has passed
/// already.
fn lease_end(found: &Found, planned: &Deadlines) -> Option<Instant> {
    let lease = found.state.lease.as_ref()?;
    let end = found.time.as_ref()?.certainly_before(lease.until_ms)?;
    (planned.with_lease_end(end).fence() > Instant::now()).then_some(end)
}

#[cfg(test)]
mod tests;
