//! What all shards of a remote must know of each other.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio::time::Instant;

use super::backoff::Backoff;

/// Below this, a smaller limit would not help.
const MIN_REQUEST_BYTES: usize = 16 << 10;

/// A try that did not end well, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendFailure {
    /// `None` without an answer.
    pub status: Option<u16>,
    /// Phase, address and cause, or the answer.
    pub message: String,
    /// Likely cause and next step of an answer that denies. Those of network errors are part of the
    /// message.
    pub hint: Option<&'static str>,
}

impl SendFailure {
    /// A try that the receiver did not answer.
    #[must_use]
    pub fn without_answer(message: String) -> Self {
        Self {
            status: None,
            message,
            hint: None,
        }
    }
}

impl fmt::Display for SendFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// Why a remote gets no more requests in this tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// 401 or 403 even with fresh credentials, or no credentials at all.
    Denied(SendFailure),
    /// 404, 405, or no receiver at that URL.
    Misconfigured(SendFailure),
}

impl StopReason {
    /// What was answered.
    #[must_use]
    pub fn failure(&self) -> &SendFailure {
        match self {
            Self::Denied(failure) | Self::Misconfigured(failure) => failure,
        }
    }
}

/// Shared by the shards of one remote, kept for the process.
#[derive(Debug)]
pub struct SendState {
    shared: RefCell<Shared>,
    stopping: Notify,
    probe: Mutex<()>,
}

#[derive(Debug)]
struct Shared {
    stop: Option<StopReason>,
    /// It was stopped in an earlier tick, and nothing has come through since.
    probing: bool,
    back_off_until: Option<Instant>,
    request_bytes: usize,
    last_failure: Option<SendFailure>,
    /// End of sending once the tick is to stop.
    stop_grace_ends: Option<Instant>,
    /// End of sending as it changes with what memory holds.
    sending_ends: Option<Instant>,
    rng: Rng,
}

impl SendState {
    /// `max_request_bytes` is `forwarder.max_request_bytes`; `rng` draws the back-offs.
    #[must_use]
    pub fn new(max_request_bytes: usize, rng: Rng) -> Self {
        Self {
            shared: RefCell::new(Shared {
                stop: None,
                probing: false,
                back_off_until: None,
                request_bytes: max_request_bytes,
                last_failure: None,
                stop_grace_ends: None,
                sending_ends: None,
                rng,
            }),
            stopping: Notify::new(),
            probe: Mutex::default(),
        }
    }

    /// Forgets what held only for the last tick. A remote that was stopped is probed with one batch
    /// before the others follow.
    pub fn begin_tick(&self) {
        let mut shared = self.shared.borrow_mut();
        shared.probing |= shared.stop.take().is_some();
        shared.last_failure = None;
        shared.stop_grace_ends = None;
        shared.sending_ends = None;
        // Tokio's clock may not have counted a freeze: a time-out of the last tick means nothing
        // now.
        shared.back_off_until = None;
    }

    /// Whether and why it gets no more requests in this tick.
    #[must_use]
    pub fn stopped(&self) -> Option<StopReason> {
        self.shared.borrow().stop.clone()
    }

    /// Until when the receiver asked all shards to wait; `None` when it did not, or that time has
    /// passed.
    #[must_use]
    pub fn back_off_until(&self) -> Option<Instant> {
        self.shared
            .borrow()
            .back_off_until
            .filter(|until| *until > Instant::now())
    }

    /// Uncompressed bytes at which batches must close: less than configured once a 413 was
    /// answered.
    #[must_use]
    pub fn max_request_bytes(&self) -> usize {
        self.shared.borrow().request_bytes
    }

    /// The latest of this tick.
    #[must_use]
    pub fn last_failure(&self) -> Option<SendFailure> {
        self.shared.borrow().last_failure.clone()
    }

    /// Ends all deliveries of this tick at `stop_grace_ends`, because the tick is to stop.
    pub fn stop_by(&self, stop_grace_ends: Instant) {
        self.shared.borrow_mut().stop_grace_ends = Some(stop_grace_ends);
        self.stopping.notify_waiters();
    }

    /// Moves the end of this tick's deliveries to `sending_ends`. Each call replaces the last one.
    pub fn set_sending_ends(&self, sending_ends: Instant) {
        let earlier = self
            .shared
            .borrow_mut()
            .sending_ends
            .replace(sending_ends)
            .is_none_or(|known| sending_ends < known);
        if earlier {
            self.stopping.notify_waiters();
        }
    }

    /// End of sending as it is known now; never later than `work_ends`.
    pub(super) fn sending_ends(&self, work_ends: Instant) -> Instant {
        let shared = self.shared.borrow();
        [shared.stop_grace_ends, shared.sending_ends]
            .into_iter()
            .flatten()
            .fold(work_ends, Instant::min)
    }

    /// Waits for the end of sending, however it moves meanwhile. It is never later than
    /// `work_ends`.
    pub async fn sending_ended(&self, work_ends: Instant) {
        loop {
            let mut changed = std::pin::pin!(self.stopping.notified());
            changed.as_mut().enable();
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(self.sending_ends(work_ends)) => {
                    // It may be later by now.
                    if self.sending_ends(work_ends) <= Instant::now() {
                        return;
                    }
                }
                () = changed => {}
            }
        }
    }

    pub(super) fn stop(&self, stop: StopReason) {
        {
            let mut shared = self.shared.borrow_mut();
            if shared.stop.is_some() {
                return;
            }
            tracing::error!(reason = %stop.failure(), "the remote refuses everything: no more requests in this tick");
            shared.last_failure = Some(stop.failure().clone());
            shared.stop = Some(stop);
        }
        self.stopping.notify_waiters();
    }

    pub(super) fn failed(&self, failure: &SendFailure) {
        let first = self
            .shared
            .borrow_mut()
            .last_failure
            .replace(failure.clone())
            .is_none();
        if first {
            tracing::warn!("not delivered yet, trying again: {failure}");
        }
    }

    pub(super) fn back_off(&self, until: Instant) {
        let mut shared = self.shared.borrow_mut();
        shared.back_off_until = shared.back_off_until.max(Some(until));
    }

    pub(super) fn draw(&self, backoff: &mut Backoff, retry_after: Option<Duration>) -> Duration {
        backoff.next(retry_after, &mut self.shared.borrow_mut().rng)
    }

    /// A batch of `raw_len` uncompressed bytes was too large. One that was built under a larger
    /// limit says nothing about the present one.
    pub(super) fn too_large(&self, raw_len: u32) {
        let mut shared = self.shared.borrow_mut();
        if usize::try_from(raw_len).unwrap_or(usize::MAX) <= shared.request_bytes {
            shared.request_bytes =
                (shared.request_bytes / 2).max(MIN_REQUEST_BYTES.min(shared.request_bytes));
        }
    }

    /// The receiver takes requests: the other shards may follow.
    pub(super) fn accepts(&self) {
        self.shared.borrow_mut().probing = false;
    }

    /// Waits for its turn where the remote must be probed first; the turn lasts as long as the
    /// guard.
    pub(super) async fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        if !self.shared.borrow().probing {
            return None;
        }
        let turn = self.probe.lock().await;
        self.shared.borrow().probing.then_some(turn)
    }

    /// Sleeps, but not on once the remote is stopped or the time is up.
    pub(super) async fn sleep_until(&self, until: Instant) {
        loop {
            let mut stopping = std::pin::pin!(self.stopping.notified());
            stopping.as_mut().enable();
            if self.stopped().is_some() {
                return;
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(self.sending_ends(until)) => return,
                () = stopping => {}
            }
        }
    }
}
