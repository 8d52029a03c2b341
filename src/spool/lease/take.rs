//! Taking the lease.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::decide::{LeaseStep, decide, is_off, served_lately};
use super::error::TakeError;
use super::fence::{BothClocks, LeaseFence};
use super::tenure::{PreviousEnd, Tenure, WrittenState};
use super::{LeaseClient, StoredState};
use crate::spool::retry::{Pause, try_ends};
use crate::spool::state::{KEY, Lease, SpoolState};
use crate::spool::store::{Etag, FailureKind, HolderMark};
use crate::time::Deadlines;

/// How often a process that waits for another one looks whether that one is done.
const POLL: Duration = Duration::from_secs(1);

/// How long a store that is down is asked for the lease: slots pass meanwhile.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What one call of [`LeaseClient::take`] has done so far.
struct Attempt {
    /// When a store that is down is given up.
    store_ends: Instant,
    /// Epoch that an earlier try wrote, or may have written.
    tried: Option<u64>,
    /// How the holder before us ended, as of the last try.
    previous: PreviousEnd,
    /// Whether that holder was this process.
    continued: bool,
    /// Epochs up to this one were given, whatever `state.json` says. `None` before it was asked.
    given: Option<u64>,
    /// Whether a lease of ours was already written once more to correct its end.
    corrected: bool,
    /// Whether a write without a clear answer was already looked after once without a pause.
    doubted: bool,
    pause: Pause,
    /// Whether another process's lease was met.
    waits: bool,
    /// What the clocks showed before the lease was written last.
    seen: BothClocks,
    /// The mark by which others see that this process is alive.
    mark: HolderMark,
}

/// What comes next in taking the lease.
enum TakeStep {
    /// Write a lease of this epoch.
    Write(u64),
    /// Look again at this moment: somebody else holds the lease.
    LookAt(Instant),
    /// The lease is ours, with these ends of the tick's time.
    Held(Deadlines),
}

impl LeaseClient {
    /// Takes the lease: one PUT when the state is as we left it, a GET more when it is not, and a
    /// LIST more when the state may be from a backup.
    ///
    /// # Errors
    /// Another process holds the lease for too long, the store is down, or `state.json` is not
    /// usable. After [`TakeError::Store`] the lease may be ours nevertheless; our next call finds
    /// out.
    pub async fn take(&mut self, planned: &Deadlines) -> Result<Tenure, TakeError> {
        let store_ends = |now: Instant| planned.fence().min(now + PATIENCE);
        let mut attempt = Attempt {
            store_ends: store_ends(Instant::now()),
            tried: None,
            previous: PreviousEnd::None,
            continued: false,
            given: None,
            corrected: false,
            doubted: false,
            pause: Pause::default(),
            waits: false,
            seen: BothClocks::read(&*self.clock),
            mark: self.store.mark_holder().await,
        };
        // What we remember of our release makes the GET superfluous. If the state has changed
        // since, the conditional PUT fails and the loop looks.
        let steady = self.is_clock_steady();
        let mut known = self.warm.take().filter(|_| steady);
        loop {
            let found = match known.take() {
                Some(found) => found,
                None => self.find(attempt.store_ends).await?,
            };
            // Somebody else may have been here, or is: then there may be a backlog.
            self.released_empty &=
                self.held == Some(found.state.epoch) && found.state.lease.is_none();
            let is_ours = attempt.tried == Some(found.state.epoch);
            let mut step = self.next_step(&found, planned, &mut attempt)?;
            // Whoever has to wait for another process leaves everything but the state alone.
            let is_asked = attempt.given.is_some() || is_ours;
            if matches!(step, TakeStep::Write(_)) && !is_asked && self.may_be_restored(&found) {
                attempt.given = Some(self.newest_given(attempt.store_ends).await?);
                step = self.next_step(&found, planned, &mut attempt)?;
            }
            let epoch = match step {
                TakeStep::Write(epoch) => epoch,
                TakeStep::LookAt(moment) => {
                    if !std::mem::replace(&mut attempt.waits, true) {
                        tracing::info!("waiting for the lease, which another process holds");
                    }
                    if self.is_stopped_before(moment).await {
                        return Err(TakeError::Stopped);
                    }
                    if !attempt.mark.is_ours() {
                        attempt.mark = self.store.mark_holder().await;
                    }
                    attempt.store_ends = store_ends(Instant::now());
                    continue;
                }
                TakeStep::Held(deadlines) => return Ok(self.hold(found, deadlines, attempt)),
            };
            attempt.tried = Some(epoch);
            attempt.seen = BothClocks::read(&*self.clock);
            // A write that succeeded goes through the loop once more: only the store's own clock,
            // which came with the answer, says how long the lease is.
            known = self
                .try_to_write(&found, epoch, planned, &mut attempt)
                .await?;
        }
    }

    /// Whether a state may have come back from a backup, so that epochs behind its own were given.
    /// It does if it is older than one that this process had. A process that had none believes a
    /// state that served a slot lately: a LIST in each cold tick would cost a fleet too much.
    fn may_be_restored(&self, found: &StoredState) -> bool {
        match self.held {
            // What is not there was already looked for among the segments.
            _ if found.etag.is_none() => false,
            Some(held) => found.state.epoch < held,
            None => {
                let jobs = found.state.jobs.values();
                let newest_ms = jobs.filter_map(|job| job.last_slot_ms).max();
                !served_lately(newest_ms, self.clock.now_ms())
            }
        }
    }

    /// The newest epoch that is known to have been given: that of this process, or of a segment.
    async fn newest_given(&self, deadline: Instant) -> Result<u64, TakeError> {
        let newest = self.newest_epoch(deadline).await?;
        Ok(self.held.unwrap_or_default().max(newest))
    }

    /// Decides what to do about a state that was found.
    fn next_step(
        &self,
        found: &StoredState,
        planned: &Deadlines,
        attempt: &mut Attempt,
    ) -> Result<TakeStep, TakeError> {
        let now = Instant::now();
        let step = decide(
            &found.state,
            &self.nonce,
            attempt.tried,
            found.time.as_ref(),
            attempt.mark.is_ours(),
            now,
        );
        match step {
            LeaseStep::Ours => match lease_end(found, planned) {
                Some(end) if attempt.corrected || !is_off(end, planned.planned_lease_end(now)) => {
                    Ok(TakeStep::Held(planned.clone().with_lease_end(end)))
                }
                None if attempt.corrected => Err(TakeError::Late),
                // Our guess of the store's clock was wrong. Now it is known: write the same lease
                // again with the right end.
                _ => {
                    attempt.corrected = true;
                    Ok(TakeStep::Write(found.state.epoch))
                }
            },
            LeaseStep::Wait(end)
                if end > planned.lease_wait_ends() || self.is_served(found, planned) =>
            {
                Err(TakeError::Busy {
                    epoch: found.state.epoch,
                    left: end - now,
                })
            }
            // The holder mostly releases before its lease ends.
            LeaseStep::Wait(end) => Ok(TakeStep::LookAt(end.min(now + POLL))),
            LeaseStep::Take(previous) => {
                // Without a state.json, only segments say that there were earlier ticks, and
                // nothing says how they ended.
                let is_lost = found.etag.is_none() && found.state.epoch > 0;
                // A state from a backup does not know of later segments. New ones must not have
                // their names, nor sort before them.
                let given = attempt.given.unwrap_or_default();
                let is_restored = found.state.epoch < given;
                attempt.previous = if is_lost || is_restored || self.was_late {
                    PreviousEnd::Unclean
                } else {
                    previous
                };
                attempt.continued = self.held == Some(found.state.epoch);
                // What was read is below the largest epoch, so there is a next one.
                let epoch = found.state.epoch.max(given);
                Ok(TakeStep::Write(epoch.saturating_add(1)))
            }
        }
    }

    /// Writes the lease. `None` when that failed and the state must be looked at again.
    async fn try_to_write(
        &mut self,
        found: &StoredState,
        epoch: u64,
        planned: &Deadlines,
        attempt: &mut Attempt,
    ) -> Result<Option<StoredState>, TakeError> {
        let error = match self
            .write(found, epoch, planned, &attempt.mark, attempt.store_ends)
            .await
        {
            Ok(written) => return Ok(Some(written)),
            Err(TakeError::Store(error)) => error,
            Err(error) => return Err(error),
        };
        let is_changed = error.kind == FailureKind::Changed;
        if is_changed {
            // Somebody else may be at work, or may have left a backlog: going on without the store
            // is no longer safe.
            self.released_empty = false;
        }
        // The write that was not answered, or that changed the state, may have been ours. The state
        // says so, mostly at once: so the first time there is no pause.
        if (is_changed || error.kind == FailureKind::NoAnswer)
            && !std::mem::replace(&mut attempt.doubted, true)
        {
            return Ok(None);
        }
        let may_succeed_later = is_changed || error.kind.is_passing();
        if may_succeed_later && attempt.pause.pause(attempt.store_ends).await {
            return Ok(None);
        }
        Err(error.into())
    }

    async fn write(
        &mut self,
        found: &StoredState,
        epoch: u64,
        planned: &Deadlines,
        mark: &HolderMark,
        deadline: Instant,
    ) -> Result<StoredState, TakeError> {
        let lease = Lease {
            nonce: self.nonce.clone(),
            epoch,
            until_ms: self.store_ms(planned.planned_lease_end(Instant::now())),
            serves_until_ms: planned.minute_ends().map(|ends| self.store_ms(ends)),
            is_marked: mark.is_ours(),
        };
        let mut state = SpoolState {
            epoch,
            lease: Some(lease),
            ..found.state.clone()
        };
        // Tombstones that our last release could not write. If somebody else held the lease since,
        // that holder has counted the segments, and they belong to the backlog.
        if self.held == Some(found.state.epoch) {
            for (remote, names) in &self.unreported_tombstones {
                state
                    .remotes
                    .entry(remote.clone())
                    .or_default()
                    .tombstones
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
        Ok(StoredState {
            state,
            etag: Some(answer.value),
            time: Some(answer.time),
        })
    }

    /// Waits for this moment. Returns true as soon as the process is to stop.
    async fn is_stopped_before(&self, moment: Instant) -> bool {
        let stopped = async {
            let is_stopped = match self.stop.clone() {
                Some(mut stop) => stop.wait_for(|stop| *stop).await.is_ok(),
                None => false,
            };
            if !is_stopped {
                // Nobody is there to stop it.
                std::future::pending::<()>().await;
            }
        };
        tokio::time::timeout_at(moment, stopped).await.is_ok()
    }

    /// Whether the holder of the lease that was found serves nearly all slots that this tick would
    /// serve. The next tick of the schedule serves the rest.
    fn is_served(&self, found: &StoredState, planned: &Deadlines) -> bool {
        let theirs = found.state.lease.as_ref().and_then(|lease| {
            let time = found.time.as_ref()?;
            // The end of the lease is bounded by what a lease may be, whoever wrote it.
            Some(time.certainly_reached(lease.serves_until_ms?.min(lease.until_ms)))
        });
        let ours = planned.minute_ends();
        theirs.is_some_and(|theirs| ours.is_some_and(|ours| theirs + self.spare >= ours))
    }

    fn hold(&mut self, found: StoredState, deadlines: Deadlines, attempt: Attempt) -> Tenure {
        self.released_empty = false;
        self.was_late = false;
        self.held = Some(found.state.epoch);
        self.unreported_tombstones.clear();
        Tenure {
            epoch: found.state.epoch,
            fence: Arc::new(LeaseFence::new(
                deadlines.clone(),
                Arc::clone(&self.clock),
                attempt.seen,
            )),
            previous: attempt.previous,
            continued: attempt.continued,
            written: Mutex::new(WrittenState {
                lease: found.state.lease.clone(),
                body: deadlines.renewal().and_then(|_| found.state.write().ok()),
                // It was written, so there is one.
                etag: found.etag.unwrap_or(Etag(String::new())),
            }),
            deadlines,
            state: SpoolState {
                lease: None,
                ..found.state
            },
            _mark: attempt.mark,
        }
    }
}

/// The moment up to which a lease that we wrote is certainly ours. `None` when its fence has passed
/// already.
fn lease_end(found: &StoredState, planned: &Deadlines) -> Option<Instant> {
    let lease = found.state.lease.as_ref()?;
    let end = found.time.as_ref()?.certainly_before(lease.until_ms)?;
    (planned.clone().with_lease_end(end).fence() > Instant::now()).then_some(end)
}
