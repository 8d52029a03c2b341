//! The delivery of one batch, to its end.
//!
//! A batch is posted until the receiver gives a final answer. One that is too large is split, and
//! its parts are delivered one after the other ([`parts`](super::parts)). Samples that have become
//! too old are taken out of it. Everything else that can happen to a request is judged by
//! [`verdict`], and this module acts on the verdict.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;
use super::delivery::{Delivery, UndeliveredBatches, UndeliveredReason};
use super::parts::{OwedParts, Part};
use super::remote::{PostAnswer, PostError, PostRequest, Remote};
use super::state::{SendFailure, SendState, StopReason};
use super::verdict::{Verdict, VerdictOptions, verdict};
use crate::batch::Batch;
use crate::config::RemoteWrite;
use crate::time::{Clock, millis};

/// The settings of a remote that concern sending.
#[derive(Debug, Clone)]
pub struct DeliverSettings {
    /// Time for one request, from fetching credentials to the end of the answer.
    pub remote_timeout: Duration,
    /// Upper bound of the first back-off.
    pub min_backoff: Duration,
    /// Upper bound of all back-offs.
    pub max_backoff: Duration,
    /// Whether a request that was answered 429 is sent again. Otherwise its batch is refused for
    /// good.
    pub retry_on_http_429: bool,
    /// Age at which samples are no longer sent. They are taken out of their batch one by one.
    pub sample_age_limit: Option<Duration>,
}

impl From<&RemoteWrite> for DeliverSettings {
    fn from(config: &RemoteWrite) -> Self {
        Self {
            remote_timeout: config.remote_timeout,
            min_backoff: config.queue.min_backoff,
            max_backoff: config.queue.max_backoff,
            retry_on_http_429: config.queue.retry_on_http_429,
            sample_age_limit: config.queue.sample_age_limit,
        }
    }
}

/// The circumstances of a delivery.
#[derive(Clone, Copy)]
pub struct DeliverContext<'a> {
    /// Settings of the remote.
    pub settings: &'a DeliverSettings,
    /// State of the remote, shared by its shards.
    pub state: &'a SendState,
    /// The wall clock.
    pub clock: &'a dyn Clock,
    /// Latest end of the delivery. The state may name an earlier one (`sending_ends`).
    pub work_ends: Instant,
    /// Whether one more 429 refuses the batch for good: it was throttled for long enough, while
    /// other batches were taken.
    pub last_429: bool,
}

/// Delivers one batch, until it is answered for good, the remote is stopped, or sending
/// ends. The future may be dropped at any point; then the batch counts as owed.
pub async fn deliver(remote: &dyn Remote, batch: &Batch, context: &DeliverContext<'_>) -> Delivery {
    let _under_way = context.state.begin_delivery();
    let mut delivery = Delivery::default();
    // When sending ends first, the delivery below finds that no time is left.
    let _large = tokio::select! {
        biased;
        turn = context.state.large_turn(batch.raw_len) => turn,
        () = context.state.sending_ended(context.work_ends) => None,
    };
    let mut owed = OwedParts::new(batch.clone());
    while let Some(next) = owed.next() {
        let samples = u64::from(next.batch.samples);
        match deliver_part(remote, &next, context, &mut delivery).await {
            BatchOutcome::Written => delivery.written += samples,
            BatchOutcome::Deduplicated => delivery.deduplicated += samples,
            BatchOutcome::Expired => delivery.expired.push(next.batch),
            BatchOutcome::PartlyExpired { oldest_ms } => {
                delivery.expired.extend(owed.cut(next, oldest_ms));
            }
            BatchOutcome::Rejected { status, message } => {
                delivery.reject(next.batch, status, message);
            }
            BatchOutcome::TooLarge { status, message } => {
                let raw_len = next.batch.raw_len;
                let halved = owed.halve(next);
                // Batches that are built from now on close earlier, unless this one is not what
                // it says: then its size says nothing about ours.
                if !matches!(halved, Err((_, Some(_)))) {
                    context.state.too_large(raw_len);
                }
                match halved {
                    Ok(()) => {}
                    // A single sample cannot be split.
                    Err((batch, None)) => delivery.reject(batch, status, message),
                    Err((batch, Some(error))) => {
                        delivery.reject(batch, status, format!("{message}; {error}"));
                    }
                }
            }
            BatchOutcome::Undelivered(reason) => {
                delivery.undelivered = Some(UndeliveredBatches {
                    batches: owed.give_up(next),
                    reason,
                });
                break;
            }
        }
    }
    delivery
}

/// The end of a batch that is not split further.
enum BatchOutcome {
    Written,
    Deduplicated,
    Rejected {
        status: u16,
        message: String,
    },
    Expired,
    /// Samples before this time are too old, the others are not. Milliseconds since 1970.
    PartlyExpired {
        oldest_ms: i64,
    },
    TooLarge {
        status: u16,
        message: String,
    },
    Undelivered(UndeliveredReason),
}

impl BatchOutcome {
    fn out_of_time(failure: Option<SendFailure>) -> Self {
        Self::Undelivered(UndeliveredReason::Deadline(failure))
    }
}

/// The step after a request that did not end the batch.
enum NextStep {
    /// Post again at once, on a connection that was never used.
    Reconnect,
    /// Post again at once, with fresh credentials and a new signature.
    Resign,
    /// Send nothing more to this remote.
    Stop(StopReason),
    /// Post again after the receiver's `Retry-After` or a drawn back-off.
    Wait(Option<Duration>),
}

/// Whether a batch may be posted now.
enum Readiness {
    /// It may, within `timeout`. A wait that reaches `sending_ends` is not begun.
    Post {
        timeout: Duration,
        sending_ends: Instant,
    },
    /// Not before this time.
    WaitUntil(Instant),
    /// It may not any more.
    Ended(BatchOutcome),
}

/// Memory of one batch's requests.
struct Tries {
    backoff: Backoff,
    /// Number of requests so far.
    count: u32,
    last_failure: Option<SendFailure>,
    /// Whether a dead pooled connection was met. From then on each request opens its own.
    fresh_connection: bool,
    /// Whether the next request is made with fresh credentials.
    fresh_credentials: bool,
    /// Whether fresh credentials were used before: a second denial is final.
    credentials_refreshed: bool,
}

impl Tries {
    fn new(settings: &DeliverSettings) -> Self {
        Self {
            backoff: Backoff::new(settings.min_backoff, settings.max_backoff),
            count: 0,
            last_failure: None,
            fresh_connection: false,
            fresh_credentials: false,
            credentials_refreshed: false,
        }
    }

    fn next_request<'a>(&mut self, batch: &'a Batch, timeout: Duration) -> PostRequest<'a> {
        let request = PostRequest {
            body: &batch.body,
            attempt: self.count,
            timeout,
            fresh_connection: self.fresh_connection,
            fresh_credentials: std::mem::take(&mut self.fresh_credentials),
        };
        self.count += 1;
        request
    }
}

/// Posts a batch again and again, until something other than a split ends it. Counts requests,
/// retries and throttling in `delivery`.
async fn deliver_part(
    remote: &dyn Remote,
    part: &Part,
    context: &DeliverContext<'_>,
    delivery: &mut Delivery,
) -> BatchOutcome {
    let (state, batch) = (context.state, &part.batch);
    // A remote that was stopped in an earlier tick is probed with one batch. The other shards wait
    // here for its end, which drops the turn.
    let _turn = tokio::select! {
        biased;
        turn = state.turn() => turn,
        () = state.sending_ended(context.work_ends) => {
            return BatchOutcome::out_of_time(state.last_failure());
        }
    };
    let mut tries = Tries::new(context.settings);
    loop {
        // Looked at before each request: samples age, and other shards may have found out
        // something about the remote.
        let (timeout, sending_ends) = match readiness(part, context, &tries) {
            Readiness::Post {
                timeout,
                sending_ends,
            } => (timeout, sending_ends),
            Readiness::WaitUntil(until) => {
                state.sleep_until(until).await;
                continue;
            }
            Readiness::Ended(outcome) => return outcome,
        };
        let request = tries.next_request(batch, timeout);
        delivery.attempts += 1;
        let posted = Instant::now();
        let Some(result) = post_in_time(remote, request, context).await else {
            return unanswered(remote, state);
        };
        let now_ms = context.clock.now_ms();
        let step = match judge(remote, &result, context, &tries, now_ms) {
            ControlFlow::Break(outcome) => {
                // Even a refusal shows that the receiver takes requests: the other shards may
                // follow.
                state.accepts(posted.elapsed());
                return outcome;
            }
            ControlFlow::Continue(step) => step,
        };
        if result.as_ref().is_ok_and(|answer| answer.status == 429) {
            delivery.throttled_ms.get_or_insert(now_ms);
        }
        let failure = failure_of(remote, &result);
        let (attempt, samples) = (tries.count, batch.samples);
        tracing::debug!(attempt, samples, "not delivered yet: {failure}");
        state.failed(&failure);
        delivery.retries += 1;
        match step {
            // A frozen Lambda leaves dead sockets: nothing is wrong with the remote.
            NextStep::Reconnect => tries.fresh_connection = true,
            NextStep::Resign => {
                tries.fresh_credentials = true;
                tries.credentials_refreshed = true;
            }
            // The next look at the state ends this batch and those of the other shards.
            NextStep::Stop(stop) => state.stop(stop),
            NextStep::Wait(after) => {
                let until = Instant::now() + state.draw(&mut tries.backoff, after);
                // A Retry-After is meant for all shards, a drawn back-off for this one.
                if after.is_some_and(|after| !after.is_zero()) {
                    state.back_off(until);
                }
                if until >= sending_ends {
                    return BatchOutcome::out_of_time(Some(failure));
                }
                state.sleep_until(until).await;
            }
        }
        tries.last_failure = Some(failure);
    }
}

/// Posts once. Returns `None` when sending ends first.
async fn post_in_time(
    remote: &dyn Remote,
    request: PostRequest<'_>,
    context: &DeliverContext<'_>,
) -> Option<Result<PostAnswer, PostError>> {
    // The end of sending may move closer while the request is in flight, so the request's own
    // time-out is not enough.
    tokio::select! {
        biased;
        // After the lease has ended, not even the rest of a request may go out.
        () = context.state.is_cut() => None,
        result = remote.post(request) => Some(result),
        () = context.state.sending_ended(context.work_ends) => None,
    }
}

/// Notes that sending ended while a request was in flight.
fn unanswered(remote: &dyn Remote, state: &SendState) -> BatchOutcome {
    let message = format!("send {}: no answer before the deadline", remote.address());
    let failure = SendFailure::without_answer(message);
    state.failed(&failure);
    BatchOutcome::out_of_time(Some(failure))
}

/// Whether the batch may be posted now, by its age, the state of the remote and the time that is
/// left.
fn readiness(part: &Part, context: &DeliverContext<'_>, tries: &Tries) -> Readiness {
    let DeliverContext {
        settings, state, ..
    } = *context;
    let sending_ends = state.sending_ends(context.work_ends);
    if let Some(expired) = expired(part, settings.sample_age_limit, context.clock.now_ms()) {
        return Readiness::Ended(expired);
    }
    if let Some(stop) = state.stopped() {
        let reason = UndeliveredReason::Stopped(stop);
        return Readiness::Ended(BatchOutcome::Undelivered(reason));
    }
    if let Some(until) = state.back_off_until() {
        if until < sending_ends {
            return Readiness::WaitUntil(until);
        }
        let failure = tries.last_failure.clone();
        let failure = failure.or_else(|| state.last_failure());
        return Readiness::Ended(BatchOutcome::out_of_time(failure));
    }
    let left = sending_ends.saturating_duration_since(Instant::now());
    if left.is_zero() {
        let failure = tries.last_failure.clone();
        return Readiness::Ended(BatchOutcome::out_of_time(failure));
    }
    Readiness::Post {
        timeout: settings.remote_timeout.min(left),
        sending_ends,
    }
}

/// Decides what a request's end means: the end of the batch, or the next step.
fn judge(
    remote: &dyn Remote,
    result: &Result<PostAnswer, PostError>,
    context: &DeliverContext<'_>,
    tries: &Tries,
    now_ms: i64,
) -> ControlFlow<BatchOutcome, NextStep> {
    let denied = || {
        if tries.credentials_refreshed {
            NextStep::Stop(StopReason::Denied(failure_of(remote, result)))
        } else {
            NextStep::Resign
        }
    };
    let answer = match result {
        Ok(answer) => answer,
        Err(PostError::Net(error)) if error.stale_connection && !tries.fresh_connection => {
            return ControlFlow::Continue(NextStep::Reconnect);
        }
        Err(PostError::Sign(error)) if error.is_final() => return ControlFlow::Continue(denied()),
        Err(_) => return ControlFlow::Continue(NextStep::Wait(None)),
    };
    let options = VerdictOptions {
        retry_on_http_429: context.settings.retry_on_http_429 && !context.last_429,
        now_ms,
    };
    match verdict(answer.status, &answer.headers, &answer.body, &options) {
        Verdict::Written => ControlFlow::Break(BatchOutcome::Written),
        Verdict::Deduplicated => ControlFlow::Break(BatchOutcome::Deduplicated),
        Verdict::Rejected => ControlFlow::Break(BatchOutcome::Rejected {
            status: answer.status,
            message: answer.message(),
        }),
        Verdict::TooLarge => ControlFlow::Break(BatchOutcome::TooLarge {
            status: answer.status,
            message: answer.message(),
        }),
        Verdict::Denied => ControlFlow::Continue(denied()),
        Verdict::Misconfigured => ControlFlow::Continue(NextStep::Stop(StopReason::Misconfigured(
            failure_of(remote, result),
        ))),
        Verdict::Retry { after } => ControlFlow::Continue(NextStep::Wait(after)),
    }
}

fn failure_of(remote: &dyn Remote, result: &Result<PostAnswer, PostError>) -> SendFailure {
    let address = remote.address();
    match result {
        Ok(answer) => SendFailure {
            status: Some(answer.status),
            message: format!("send {address}: {}", answer.message()),
            hint: remote.hint(answer),
        },
        // A network error names its phase and address itself.
        Err(PostError::Net(error)) => SendFailure::without_answer(error.to_string()),
        Err(PostError::Sign(error)) => {
            SendFailure::without_answer(format!("sign {address}: {error}"))
        }
    }
}

/// Whether all samples of a part are older than the limit, or some of them.
fn expired(part: &Part, limit: Option<Duration>, now_ms: i64) -> Option<BatchOutcome> {
    let oldest_ms = now_ms.saturating_sub(millis(limit?));
    if part.batch.max_ms < oldest_ms {
        Some(BatchOutcome::Expired)
    } else if part.batch.min_ms < oldest_ms && part.can_be_cut {
        Some(BatchOutcome::PartlyExpired { oldest_ms })
    } else {
        None
    }
}
