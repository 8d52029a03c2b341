//! One batch, to its end.

use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;
use super::remote::{PostAnswer, PostError, PostRequest, Remote};
use super::state::{SendFailure, SendState, StopReason};
use super::verdict::{Verdict, VerdictOptions, verdict};
use crate::batch::{Batch, split};
use crate::config::RemoteWrite;
use crate::time::{Clock, millis};

/// What a remote's configuration says about sending.
#[derive(Debug, Clone)]
pub struct DeliverSettings {
    /// For one request.
    pub remote_timeout: Duration,
    /// Bound of the first back-off.
    pub min_backoff: Duration,
    /// Bound of all.
    pub max_backoff: Duration,
    /// Else a 429 rejects.
    pub retry_on_http_429: bool,
    /// Batches wholly older expire.
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

/// What a delivery happens in.
#[derive(Clone, Copy)]
pub struct DeliverContext<'a> {
    /// Of the remote.
    pub settings: &'a DeliverSettings,
    /// Of the remote, shared by its shards.
    pub state: &'a SendState,
    /// The wall clock.
    pub clock: &'a dyn Clock,
    /// No request outlives it.
    pub work_ends: Instant,
    /// This batch was throttled for long enough, while others passed: one more 429 rejects it.
    pub last_429: bool,
}

/// Where each sample of a batch ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Samples that are stored.
    pub written: u64,
    /// Samples that the receiver's HA deduplication dropped.
    pub deduplicated: u64,
    /// Refused for good: parts of the batch, to be kept.
    pub rejected: Vec<RejectedBatch>,
    /// Wholly older than `sample_age_limit`, to be kept.
    pub expired: Vec<Batch>,
    /// What is still owed.
    pub undelivered: Option<UndeliveredBatches>,
    /// Requests made.
    pub attempts: u32,
    /// Of them, without a final verdict.
    pub retries: u32,
    /// When it was throttled by a 429 first, milliseconds since 1970.
    pub throttled_ms: Option<i64>,
}

/// A batch, or a part of one, that was refused for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedBatch {
    /// Just as it was posted.
    pub batch: Batch,
    /// Of the answer.
    pub status: u16,
    /// Names the first error only; AMP stores the valid samples of a refused request.
    pub message: String,
}

/// What a delivery leaves undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndeliveredBatches {
    /// In the order in which they would have been posted. Their samples may have been stored: the
    /// last answer may be missing.
    pub batches: Vec<Batch>,
    /// Why.
    pub reason: UndeliveredReason,
}

/// Why samples are still owed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UndeliveredReason {
    /// No time is left, or not enough for what the receiver asked to wait; with the last failure,
    /// if there was one.
    Deadline(Option<SendFailure>),
    /// The remote is denied or misconfigured.
    Stopped(StopReason),
}

impl Delivery {
    /// Samples that were refused for good.
    #[must_use]
    pub fn rejected_samples(&self) -> u64 {
        self.rejected
            .iter()
            .map(|rejected| u64::from(rejected.batch.samples))
            .sum()
    }

    /// Samples that were too old.
    #[must_use]
    pub fn expired_samples(&self) -> u64 {
        self.expired
            .iter()
            .map(|batch| u64::from(batch.samples))
            .sum()
    }

    /// Samples that are still owed.
    #[must_use]
    pub fn undelivered_samples(&self) -> u64 {
        let batches = self
            .undelivered
            .iter()
            .flat_map(|undelivered| &undelivered.batches);
        batches.map(|batch| u64::from(batch.samples)).sum()
    }
}

/// Delivers one batch: until it is answered for good, the remote is stopped, or the deadline has
/// come. Safe to drop at any point.
pub async fn deliver(remote: &dyn Remote, batch: &Batch, context: &DeliverContext<'_>) -> Delivery {
    let mut delivery = Delivery::default();
    let mut owed = vec![batch.clone()];
    while let Some(next) = owed.pop() {
        let samples = u64::from(next.samples);
        match deliver_whole(remote, &next, context, &mut delivery).await {
            End::Written => delivery.written += samples,
            End::Deduplicated => delivery.deduplicated += samples,
            End::Expired => delivery.expired.push(next),
            End::Rejected { status, message } => reject(&mut delivery, next, status, message),
            End::TooLarge { message } => {
                context.state.too_large(next.raw_len);
                match split(&next) {
                    Ok(Some((first, second))) => owed.extend([second, first]),
                    Ok(None) => reject(&mut delivery, next, 413, message),
                    Err(error) => reject(&mut delivery, next, 413, format!("{message}; {error}")),
                }
            }
            End::Undelivered(reason) => {
                owed.push(next);
                owed.reverse();
                delivery.undelivered = Some(UndeliveredBatches {
                    batches: owed,
                    reason,
                });
                break;
            }
        }
    }
    delivery
}

fn reject(delivery: &mut Delivery, batch: Batch, status: u16, message: String) {
    tracing::warn!(
        samples = batch.samples,
        "the remote refused a batch for good: {message}"
    );
    delivery.rejected.push(RejectedBatch {
        batch,
        status,
        message,
    });
}

/// How a request that is not split further ends.
enum End {
    Written,
    Deduplicated,
    Rejected { status: u16, message: String },
    Expired,
    TooLarge { message: String },
    Undelivered(UndeliveredReason),
}

async fn deliver_whole(
    remote: &dyn Remote,
    batch: &Batch,
    context: &DeliverContext<'_>,
    delivery: &mut Delivery,
) -> End {
    let DeliverContext {
        settings,
        state,
        clock,
        work_ends,
        last_429,
    } = *context;
    let mut backoff = Backoff::new(settings.min_backoff, settings.max_backoff);
    let mut last = None;
    let mut attempt = 0;
    let mut fresh_connection = false;
    let (mut fresh_credentials, mut credentials_refreshed) = (false, false);
    let _turn = tokio::select! {
        biased;
        turn = state.turn() => turn,
        () = state.sending_ended(work_ends) => return End::Undelivered(UndeliveredReason::Deadline(state.last_failure())),
    };
    loop {
        let sending_ends = state.sending_ends(work_ends);
        let now_ms = clock.now_ms();
        if too_old(batch, settings.sample_age_limit, now_ms) {
            return End::Expired;
        }
        if let Some(stop) = state.stopped() {
            return End::Undelivered(UndeliveredReason::Stopped(stop));
        }
        if let Some(until) = state.back_off_until() {
            if until >= sending_ends {
                return End::Undelivered(UndeliveredReason::Deadline(
                    last.or_else(|| state.last_failure()),
                ));
            }
            state.sleep_until(until).await;
            continue;
        }
        let left = sending_ends.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return End::Undelivered(UndeliveredReason::Deadline(last));
        }

        let request = PostRequest {
            body: &batch.body,
            attempt,
            timeout: settings.remote_timeout.min(left),
            fresh_connection,
            fresh_credentials: std::mem::take(&mut fresh_credentials),
        };
        delivery.attempts += 1;
        attempt += 1;
        let answered = tokio::select! {
            biased;
            result = remote.post(request) => Some(result),
            () = state.sending_ended(work_ends) => None,
        };
        let Some(result) = answered else {
            let failure = SendFailure {
                status: None,
                message: format!("send {}: no answer before the deadline", remote.address()),
                hint: None,
            };
            state.failed(&failure);
            return End::Undelivered(UndeliveredReason::Deadline(Some(failure)));
        };

        let options = VerdictOptions {
            retry_on_http_429: settings.retry_on_http_429 && !last_429,
            now_ms: clock.now_ms(),
        };
        let next = match &result {
            Ok(answer) => match verdict(answer.status, &answer.headers, &answer.body, &options) {
                Verdict::Written => Next::End(End::Written),
                Verdict::Deduplicated => Next::End(End::Deduplicated),
                Verdict::Rejected => Next::End(End::Rejected {
                    status: answer.status,
                    message: answer.message(),
                }),
                Verdict::TooLarge => Next::End(End::TooLarge {
                    message: answer.message(),
                }),
                Verdict::Denied if !credentials_refreshed => Next::Resign,
                Verdict::Denied => Next::Stop(StopReason::Denied(failure_of(remote, &result))),
                Verdict::Misconfigured => {
                    Next::Stop(StopReason::Misconfigured(failure_of(remote, &result)))
                }
                Verdict::Retry { after } => Next::Wait(after),
            },
            Err(PostError::Net(error)) if error.stale_connection && !fresh_connection => {
                Next::Reconnect
            }
            Err(PostError::Sign(error)) if error.is_final() && !credentials_refreshed => {
                Next::Resign
            }
            Err(PostError::Sign(error)) if error.is_final() => {
                Next::Stop(StopReason::Denied(failure_of(remote, &result)))
            }
            Err(_) => Next::Wait(None),
        };
        if let Next::End(end) = next {
            state.accepts();
            return end;
        }
        if result.as_ref().is_ok_and(|answer| answer.status == 429) {
            delivery.throttled_ms.get_or_insert(options.now_ms);
        }
        let failure = failure_of(remote, &result);
        tracing::debug!(
            attempt,
            samples = batch.samples,
            "not delivered yet: {failure}"
        );
        state.failed(&failure);
        delivery.retries += 1;
        match next {
            Next::End(_) => {}
            // A frozen Lambda leaves dead sockets: nothing is wrong with the remote.
            Next::Reconnect => fresh_connection = true,
            Next::Resign => (fresh_credentials, credentials_refreshed) = (true, true),
            Next::Stop(stop) => state.stop(stop),
            Next::Wait(after) => {
                let until = Instant::now() + state.draw(&mut backoff, after);
                if after.is_some_and(|after| !after.is_zero()) {
                    state.back_off(until);
                }
                if until >= sending_ends {
                    return End::Undelivered(UndeliveredReason::Deadline(Some(failure)));
                }
                state.sleep_until(until).await;
            }
        }
        last = Some(failure);
    }
}

enum Next {
    End(End),
    /// At once, on a connection never used.
    Reconnect,
    /// At once, with fresh credentials and clock.
    Resign,
    Stop(StopReason),
    Wait(Option<Duration>),
}

fn failure_of(remote: &dyn Remote, result: &Result<PostAnswer, PostError>) -> SendFailure {
    let address = remote.address();
    match result {
        Ok(answer) => SendFailure {
            status: Some(answer.status),
            message: format!("send {address}: {}", answer.message()),
            hint: remote.hint(answer),
        },
        // It names phase and address itself.
        Err(PostError::Net(error)) => SendFailure {
            status: None,
            message: error.to_string(),
            hint: None,
        },
        Err(PostError::Sign(error)) => SendFailure {
            status: None,
            message: format!("sign {address}: {error}"),
            hint: None,
        },
    }
}

fn too_old(batch: &Batch, limit: Option<Duration>, now_ms: i64) -> bool {
    limit.is_some_and(|limit| batch.max_ms < now_ms.saturating_sub(millis(limit)))
}
