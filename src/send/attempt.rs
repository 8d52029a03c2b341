//! The requests for one part of a batch, until something other than a split ends it.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;
use super::context::{DeliverContext, DeliverSettings};
use super::delivery::{Delivery, UndeliveredReason};
use super::outcome::BatchOutcome;
use super::parts::Part;
use super::remote::{PostAnswer, PostError, PostRequest, Remote};
use super::state::{SendFailure, SendState, StopReason};
use super::verdict::{Verdict, VerdictOptions, verdict};
use crate::batch::Batch;
use crate::net::Phase;
use crate::time::millis;

/// Number of answers about the ingestion rate after which a part is made smaller.
const OVER_RATE_TRIES: u32 = 3;

/// Time from the first of them to the last. A limit that is only reached, and not too small, mostly
/// takes a batch by then: its burst is that of a second or more.
const OVER_RATE_TIME: Duration = Duration::from_secs(2);

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
    /// The same, after an answer about the ingestion rate.
    WaitForRate(Option<Duration>),
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
    /// Number of answers that ask to send it again, and the most of them.
    refusals: u32,
    most_refusals: u32,
    /// Whether an earlier delivery of the batch met a 429.
    was_throttled: bool,
    /// Number of answers about the ingestion rate, and the time of the first.
    over_rate: Option<(u32, Instant)>,
}

impl Tries {
    fn new(settings: &DeliverSettings, was_throttled: bool, most_refusals: u32) -> Self {
        Self {
            backoff: Backoff::new(settings.min_backoff, settings.max_backoff),
            count: 0,
            last_failure: None,
            fresh_connection: false,
            fresh_credentials: false,
            credentials_refreshed: false,
            refusals: 0,
            most_refusals,
            was_throttled,
            over_rate: None,
        }
    }

    /// Counts an answer that asks to send the part again. Returns how the part ends after enough of
    /// them.
    fn count(
        &mut self,
        answer: &PostAnswer,
        step: &NextStep,
        part: &Part,
        state: &SendState,
    ) -> Option<BatchOutcome> {
        match step {
            NextStep::WaitForRate(_) => {
                if self.is_over_rate() && state.is_untried(part.batch.samples) && part.can_be_halved
                {
                    return Some(BatchOutcome::OverRate);
                }
            }
            NextStep::Wait(_) => {}
            NextStep::Reconnect | NextStep::Resign | NextStep::Stop(_) => return None,
        }
        self.refusals += 1;
        (self.refusals >= self.most_refusals).then(|| BatchOutcome::Refused {
            status: answer.status,
            message: answer.message(),
        })
    }

    /// Counts an answer about the ingestion rate. Returns whether there were enough of them.
    fn is_over_rate(&mut self) -> bool {
        let (count, first) = self.over_rate.unwrap_or((0, Instant::now()));
        self.over_rate = Some((count + 1, first));
        self.was_throttled || (count + 1 >= OVER_RATE_TRIES && first.elapsed() >= OVER_RATE_TIME)
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

/// Posts a part again and again, until something other than a split ends it, or it was refused
/// `most_refusals` times. Counts requests, retries and throttling in `delivery`.
pub(super) async fn deliver_part(
    remote: &dyn Remote,
    part: &mut Part,
    context: &DeliverContext<'_>,
    most_refusals: u32,
    delivery: &mut Delivery,
) -> BatchOutcome {
    let state = context.state;
    // A remote that was stopped in an earlier tick is probed with one batch. The other shards wait
    // here for its end, which drops the turn.
    let _turn = tokio::select! {
        biased;
        turn = state.turn() => turn,
        () = state.sending_ended(context.work_ends) => {
            return BatchOutcome::ended(state, state.last_failure());
        }
    };
    let mut tries = Tries::new(
        context.settings,
        context.history.was_throttled,
        most_refusals,
    );
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
        let request = tries.next_request(&part.batch, timeout);
        delivery.attempts += 1;
        let posted = Instant::now();
        let Some(result) = post_in_time(remote, request, context).await else {
            part.in_doubt = true;
            return unanswered(remote, state);
        };
        let now_ms = context.clock.now_ms();
        let step = match judge(remote, &result, part, context, &tries) {
            ControlFlow::Break(outcome) => {
                // Even a refusal shows that the receiver takes requests: the other shards may
                // follow.
                state.accepts(posted.elapsed());
                return outcome;
            }
            ControlFlow::Continue(step) => step,
        };
        part.in_doubt |= may_be_stored(&result);
        let failure = failure_of(remote, &result);
        let (attempt, samples) = (tries.count, part.batch.samples);
        tracing::debug!(attempt, samples, "not delivered yet: {failure}");
        state.failed(&failure);
        delivery.retries += 1;
        if let Ok(answer) = &result {
            if answer.status == 429 {
                delivery.throttled_ms.get_or_insert(now_ms);
            }
            if matches!(step, NextStep::Wait(_) | NextStep::WaitForRate(_)) {
                delivery.refused_ms.get_or_insert(now_ms);
            }
            if let Some(outcome) = tries.count(answer, &step, part, state) {
                return outcome;
            }
        }
        tries.last_failure = Some(failure);
        if let ControlFlow::Break(outcome) = take(step, state, &mut tries, sending_ends).await {
            return outcome;
        }
    }
}

/// Takes the step after a request that did not end the part.
async fn take(
    step: NextStep,
    state: &SendState,
    tries: &mut Tries,
    sending_ends: Instant,
) -> ControlFlow<BatchOutcome> {
    match step {
        // A frozen Lambda leaves dead sockets: nothing is wrong with the remote.
        NextStep::Reconnect => tries.fresh_connection = true,
        NextStep::Resign => {
            tries.fresh_credentials = true;
            tries.credentials_refreshed = true;
        }
        // The next look at the state ends this batch and those of the other shards.
        NextStep::Stop(stop) => state.stop(stop),
        NextStep::Wait(after) | NextStep::WaitForRate(after) => {
            let until = Instant::now() + state.draw(&mut tries.backoff, after);
            // A Retry-After is meant for all shards, a drawn back-off for this one.
            if after.is_some_and(|after| !after.is_zero()) {
                state.back_off(until);
            }
            if until >= sending_ends {
                let failure = tries.last_failure.clone();
                return ControlFlow::Break(BatchOutcome::ended(state, failure));
            }
            state.sleep_until(until).await;
        }
    }
    ControlFlow::Continue(())
}

/// Whether the samples of a request may be stored although there was no answer that says so. A
/// server that fails may have stored them, or a server behind it.
fn may_be_stored(result: &Result<PostAnswer, PostError>) -> bool {
    match result {
        Ok(answer) => answer.status == 408 || answer.status >= 500,
        Err(PostError::Net(error)) => matches!(error.phase, Phase::Http | Phase::Body),
        Err(PostError::Sign(_)) => false,
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

/// Notes that deliveries ended while a request was in flight.
fn unanswered(remote: &dyn Remote, state: &SendState) -> BatchOutcome {
    // A batch that was asked for says nothing about the remote.
    if state.is_recalled() {
        return BatchOutcome::Undelivered(UndeliveredReason::Recalled);
    }
    let message = format!("send {}: no answer before the deadline", remote.address());
    let failure = SendFailure::without_answer(message);
    state.failed(&failure);
    BatchOutcome::ended(state, Some(failure))
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
        return Readiness::Ended(BatchOutcome::ended(state, failure));
    }
    let left = sending_ends.saturating_duration_since(Instant::now());
    if left.is_zero() {
        let failure = tries.last_failure.clone();
        return Readiness::Ended(BatchOutcome::ended(state, failure));
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
    part: &Part,
    context: &DeliverContext<'_>,
    tries: &Tries,
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
        retry_on_http_429: context.settings.retry_on_http_429,
        in_doubt: part.in_doubt,
        now_ms: context.clock.now_ms(),
    };
    let rejected = || {
        ControlFlow::Break(BatchOutcome::Rejected {
            status: answer.status,
            message: answer.message(),
        })
    };
    match verdict(answer.status, &answer.headers, &answer.body, &options) {
        Verdict::Written => ControlFlow::Break(BatchOutcome::Written),
        Verdict::Deduplicated => ControlFlow::Break(BatchOutcome::Deduplicated),
        Verdict::Repeated => ControlFlow::Break(BatchOutcome::Repeated),
        Verdict::Rejected => rejected(),
        // A batch that can be made smaller may still pass.
        Verdict::OverRate { after } if part.can_be_halved || !context.history.last_429 => {
            ControlFlow::Continue(NextStep::WaitForRate(after))
        }
        Verdict::OverRate { .. } => rejected(),
        Verdict::Retry { .. } if answer.status == 429 && context.history.last_429 => rejected(),
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
