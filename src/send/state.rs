//! The state that the shards of a remote share.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio::time::Instant;

use super::backoff::Backoff;
use super::patience::Patience;
use crate::time::millis;

/// Smallest size of a request in bytes that a 413 leads to. A smaller one would not help.
const MIN_REQUEST_BYTES: usize = 16 << 10;

/// Smallest number of samples a request that answers about the ingestion rate lead to for batches
/// that are built later. One that is not taken all the same is made smaller by itself.
const MIN_REQUEST_SAMPLES: u32 = 64;

/// Time after which requests may have twice as many bytes again. A receiver that still refuses them
/// costs a request and a split.
const BYTES_GROW: Duration = Duration::from_secs(3600);

/// Time after which requests may have twice as many samples again. A receiver that still refuses
/// them costs some seconds.
const SAMPLES_GROW: Duration = Duration::from_secs(600);

/// For this long, more samples that the receiver cannot take are expected.
const FOUND_LATELY: Duration = Duration::from_secs(3600);

/// A failed try, described for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendFailure {
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// Phase, address and cause, or the answer, in one line.
    pub message: String,
    /// Likely cause and next step of an answer that denies. The message of a network error holds
    /// its own.
    pub hint: Option<&'static str>,
}

impl SendFailure {
    /// Describes a try that the receiver did not answer.
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

/// The reason why a remote gets no more requests in this tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// The answer was 401 or 403 even with fresh credentials, or there are no credentials.
    Denied(SendFailure),
    /// The answer was 404 or 405, or the URL does not lead to a receiver.
    Misconfigured(SendFailure),
}

impl StopReason {
    /// The failure that stopped the remote.
    #[must_use]
    pub fn failure(&self) -> &SendFailure {
        match self {
            Self::Denied(failure) | Self::Misconfigured(failure) => failure,
        }
    }
}

/// State of one remote, shared by its shards and kept for the process. One thread works on it, so
/// it needs no lock.
#[derive(Debug)]
pub struct SendState {
    shared: RefCell<SharedSendState>,
    /// Wakes the shards when the remote is stopped or the end of their deliveries moves.
    changed: Notify,
    /// The turn of the shard that probes.
    turn: Mutex<()>,
    /// The turn of the shard that delivers a batch larger than `configured_bytes`.
    large_turn: Mutex<()>,
    /// The setting `forwarder.max_request_bytes`.
    configured_bytes: usize,
    /// Wakes those who wait for progress: see [`SendState::progressed`].
    progress: Notify,
}

/// A delivery that is under way; dropping it says that it has ended.
pub(super) struct UnderWay<'a>(&'a SendState);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.shared.borrow_mut().patience.end_delivery();
    }
}

#[derive(Debug)]
struct SharedSendState {
    stop: Option<StopReason>,
    /// Whether the remote was stopped in an earlier tick, and has taken no request since.
    probing: bool,
    back_off_until: Option<Instant>,
    request_bytes: usize,
    /// When `request_bytes` was last changed, milliseconds since 1970.
    bytes_changed_ms: i64,
    /// Most samples of a request that the receiver takes, as far as is known.
    request_samples: u32,
    /// When `request_samples` was last changed, milliseconds since 1970.
    samples_changed_ms: i64,
    /// Samples of the largest request that the receiver took in this tick.
    largest_passed: u32,
    /// Whether this tick has looked for samples that the receiver cannot take, and found none.
    isolated: bool,
    /// When such samples were last found, milliseconds since 1970.
    found_ms: Option<i64>,
    last_failure: Option<SendFailure>,
    /// End of sending once the tick is to stop.
    stop_grace_ends: Option<Instant>,
    /// Whether requests in flight are dropped, whatever has come of them.
    is_cut: bool,
    /// Whether deliveries end now, because their batches are to go another way.
    is_recalled: bool,
    /// End of sending as it moves with the amount of samples in memory.
    sending_ends: Option<Instant>,
    /// How long an answer is waited for.
    patience: Patience,
    rng: Rng,
}

impl SendState {
    /// Makes the state of a remote that has sent nothing yet. `max_request_bytes` is the setting
    /// `forwarder.max_request_bytes`, and `rng` draws the back-offs.
    #[must_use]
    pub fn new(max_request_bytes: usize, rng: Rng) -> Self {
        Self {
            shared: RefCell::new(SharedSendState {
                stop: None,
                probing: false,
                back_off_until: None,
                request_bytes: max_request_bytes,
                bytes_changed_ms: 0,
                request_samples: u32::MAX,
                samples_changed_ms: 0,
                largest_passed: 0,
                isolated: false,
                found_ms: None,
                last_failure: None,
                stop_grace_ends: None,
                is_cut: false,
                is_recalled: false,
                sending_ends: None,
                patience: Patience::default(),
                rng,
            }),
            changed: Notify::new(),
            turn: Mutex::default(),
            large_turn: Mutex::default(),
            configured_bytes: max_request_bytes,
            progress: Notify::new(),
        }
    }

    /// Forgets everything that was true only in the last tick. A remote that was stopped is probed
    /// with one batch before the others follow. Requests that were made smaller long ago may grow
    /// again: `now_ms` is the time, in milliseconds since 1970.
    pub fn begin_tick(&self, now_ms: i64) {
        let mut shared = self.shared.borrow_mut();
        shared.grow(self.configured_bytes, now_ms);
        shared.largest_passed = 0;
        shared.isolated = false;
        shared.probing |= shared.stop.take().is_some();
        shared.last_failure = None;
        shared.stop_grace_ends = None;
        shared.is_cut = false;
        shared.is_recalled = false;
        shared.sending_ends = None;
        // Monotonic instants of an earlier tick mean nothing in this one, because the sandbox may
        // have been frozen in between.
        shared.back_off_until = None;
        shared.patience.begin_tick();
    }

    /// The reason why the remote gets no more requests in this tick, if it was stopped.
    #[must_use]
    pub fn stopped(&self) -> Option<StopReason> {
        self.shared.borrow().stop.clone()
    }

    /// Time until which the receiver asked all shards to wait, if that time has not passed.
    #[must_use]
    pub fn back_off_until(&self) -> Option<Instant> {
        self.shared
            .borrow()
            .back_off_until
            .filter(|until| *until > Instant::now())
    }

    /// Uncompressed size at which batches must close, in bytes. A 413 makes it smaller than
    /// configured.
    #[must_use]
    pub fn max_request_bytes(&self) -> usize {
        self.shared.borrow().request_bytes
    }

    /// Most samples of a request that the receiver takes, as far as is known.
    #[must_use]
    pub fn max_request_samples(&self) -> u32 {
        self.shared.borrow().request_samples
    }

    /// The latest failure of this tick.
    #[must_use]
    pub fn last_failure(&self) -> Option<SendFailure> {
        self.shared.borrow().last_failure.clone()
    }

    /// Ends all deliveries of this tick at `stop_grace_ends`, because the tick is to stop.
    pub fn stop_by(&self, stop_grace_ends: Instant) {
        self.shared.borrow_mut().stop_grace_ends = Some(stop_grace_ends);
        self.changed.notify_waiters();
    }

    /// Ends the deliveries that are under way, and those that begin, until [`SendState::resume`]:
    /// their batches are to go another way. Each gives back what is not answered.
    pub fn recall(&self) {
        self.shared.borrow_mut().is_recalled = true;
        self.changed.notify_waiters();
    }

    /// Lets deliveries begin again after [`SendState::recall`].
    pub fn resume(&self) {
        self.shared.borrow_mut().is_recalled = false;
    }

    /// Whether deliveries end now, because their batches are to go another way.
    pub(super) fn is_recalled(&self) -> bool {
        self.shared.borrow().is_recalled
    }

    /// Drops all requests in flight and ends all deliveries of this tick: the lease is over.
    pub fn cut(&self) {
        self.shared.borrow_mut().is_cut = true;
        self.stop_by(Instant::now());
    }

    /// Waits until requests in flight are to be dropped.
    pub(super) async fn is_cut(&self) {
        loop {
            let changed = self.changed.notified();
            if self.shared.borrow().is_cut {
                return;
            }
            changed.await;
        }
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
            self.changed.notify_waiters();
        }
    }

    /// End of sending as it is known now; never later than `work_ends`.
    pub(super) fn sending_ends(&self, work_ends: Instant) -> Instant {
        let shared = self.shared.borrow();
        let recalled = shared.is_recalled.then(Instant::now);
        [shared.stop_grace_ends, shared.sending_ends, recalled]
            .into_iter()
            .flatten()
            .fold(work_ends, Instant::min)
    }

    /// Waits for the end of sending, even if it moves in the meantime. It is never later than
    /// `work_ends`.
    pub async fn sending_ended(&self, work_ends: Instant) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(self.sending_ends(work_ends)) => {
                    // The end may have moved to a later time during the sleep.
                    if self.sending_ends(work_ends) <= Instant::now() {
                        return;
                    }
                }
                () = changed => {}
            }
        }
    }

    /// Stops all requests of this tick to the remote. The first reason counts.
    pub(super) fn stop(&self, stop: StopReason) {
        {
            let mut shared = self.shared.borrow_mut();
            if shared.stop.is_some() {
                return;
            }
            tracing::error!(
                reason = %stop.failure(),
                "the remote refuses everything: no more requests in this tick"
            );
            shared.last_failure = Some(stop.failure().clone());
            shared.stop = Some(stop);
        }
        self.changed.notify_waiters();
    }

    /// Remembers a failure, and logs the first one of the tick.
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

    /// Holds back all shards until this time.
    pub(super) fn back_off(&self, until: Instant) {
        let mut shared = self.shared.borrow_mut();
        shared.back_off_until = shared.back_off_until.max(Some(until));
    }

    /// The next wait of a back-off.
    pub(super) fn draw(&self, backoff: &mut Backoff, retry_after: Option<Duration>) -> Duration {
        backoff.next(retry_after, &mut self.shared.borrow_mut().rng)
    }

    /// Halves the size of requests, because a batch of `raw_len` uncompressed bytes was too large.
    /// A batch that was built under a larger limit says nothing about the present one.
    pub(super) fn too_large(&self, raw_len: u32, now_ms: i64) {
        let mut shared = self.shared.borrow_mut();
        if usize::try_from(raw_len).unwrap_or(usize::MAX) <= shared.request_bytes {
            shared.request_bytes =
                (shared.request_bytes / 2).max(MIN_REQUEST_BYTES.min(shared.request_bytes));
            shared.bytes_changed_ms = now_ms;
        }
    }

    /// Makes later requests smaller, because none of so many samples passes the limit of the
    /// ingestion rate.
    pub(super) fn over_rate(&self, samples: u64, now_ms: i64) {
        let mut shared = self.shared.borrow_mut();
        let half = u32::try_from(samples / 2).unwrap_or(u32::MAX);
        let most = half.max(MIN_REQUEST_SAMPLES);
        if most < shared.request_samples {
            tracing::warn!(most, "the remote takes no more samples than that at once");
            shared.request_samples = most;
            shared.samples_changed_ms = now_ms;
        }
    }

    /// Records that the receiver took a request of so many samples.
    pub(super) fn passed(&self, samples: u32) {
        let mut shared = self.shared.borrow_mut();
        shared.largest_passed = shared.largest_passed.max(samples);
    }

    /// Whether the receiver has not taken a request of so many samples in this tick.
    pub(super) fn is_untried(&self, samples: u32) -> bool {
        samples > self.shared.borrow().largest_passed
    }

    /// Whether samples that the receiver cannot take may be looked for now. True once a tick, and
    /// again after some were found.
    pub(super) fn begins_isolation(&self) -> bool {
        !std::mem::replace(&mut self.shared.borrow_mut().isolated, true)
    }

    /// Records that samples were found that the receiver cannot take.
    pub(super) fn found(&self, now_ms: i64) {
        let mut shared = self.shared.borrow_mut();
        shared.isolated = false;
        shared.found_ms = Some(now_ms);
    }

    /// Whether samples that the receiver cannot take were found lately. The next scrape mostly
    /// shows the same series, so no batch has to wait for long to be looked at.
    pub(super) fn has_found_lately(&self, now_ms: i64) -> bool {
        let found_ms = self.shared.borrow().found_ms;
        found_ms.is_some_and(|found_ms| {
            (0..=millis(FOUND_LATELY)).contains(&now_ms.saturating_sub(found_ms))
        })
    }

    /// Notes that the receiver gave a final answer, to a request that took this long. That ends the
    /// probing: it takes requests, so the other shards may follow.
    pub(super) fn accepts(&self, took: Duration) {
        {
            let mut shared = self.shared.borrow_mut();
            shared.probing = false;
            shared.patience.answered(took);
        }
        self.progress.notify_waiters();
    }

    /// Notes that a delivery begins.
    pub(super) fn begin_delivery(&self) -> UnderWay<'_> {
        let is_first = self.shared.borrow_mut().patience.begin_delivery();
        if is_first {
            self.progress.notify_waiters();
        }
        UnderWay(self)
    }

    /// When the remote is given up that is asked now, if no final answer comes before. `None` while
    /// it is not asked.
    #[must_use]
    pub fn gives_up_at(&self) -> Option<Instant> {
        self.shared.borrow().patience.ends()
    }

    /// Whether the remote was asked in this tick, and gave no final answer.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.shared.borrow().patience.is_silent()
    }

    /// Waits for a change of [`SendState::gives_up_at`].
    pub fn progressed(&self) -> tokio::sync::futures::Notified<'_> {
        self.progress.notified()
    }

    /// Waits for a turn if the remote must be probed first. The turn lasts as long as the guard.
    pub(super) async fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        if !self.shared.borrow().probing {
            return None;
        }
        let turn = self.turn.lock().await;
        self.shared.borrow().probing.then_some(turn)
    }

    /// Waits for a turn if a batch of `raw_len` uncompressed bytes is larger than any that is built
    /// under the present configuration: one from before, or one that somebody else put into the
    /// spool. When such a batch is split, it is in memory as a whole, so only one shard delivers
    /// one at a time. The turn lasts as long as the guard.
    pub(super) async fn large_turn(&self, raw_len: u32) -> Option<MutexGuard<'_, ()>> {
        if usize::try_from(raw_len).is_ok_and(|raw_len| raw_len <= self.configured_bytes) {
            return None;
        }
        Some(self.large_turn.lock().await)
    }

    /// Sleeps until this time, or until the remote is stopped or the deliveries must end.
    pub(super) async fn sleep_until(&self, until: Instant) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.stopped().is_some() {
                return;
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(self.sending_ends(until)) => return,
                () = changed => {}
            }
        }
    }
}

impl SharedSendState {
    /// Lets requests that were made smaller grow again after a while: whatever was in the way may
    /// be gone.
    fn grow(&mut self, configured_bytes: usize, now_ms: i64) {
        let is_over = |changed_ms: &mut i64, time: Duration| {
            // A clock that was set back must not make it endless.
            *changed_ms = now_ms.min(*changed_ms);
            now_ms.saturating_sub(*changed_ms) >= millis(time)
        };
        if self.request_bytes < configured_bytes && is_over(&mut self.bytes_changed_ms, BYTES_GROW)
        {
            self.request_bytes = self.request_bytes.saturating_mul(2).min(configured_bytes);
            self.bytes_changed_ms = now_ms;
        }
        if self.request_samples < u32::MAX && is_over(&mut self.samples_changed_ms, SAMPLES_GROW) {
            self.request_samples = self.request_samples.saturating_mul(2);
            self.samples_changed_ms = now_ms;
        }
    }
}
