//! How a part of a batch ends, and what that means for the batch.

use super::context::DeliverContext;
use super::delivery::{Delivery, UndeliveredReason};
use super::parts::{OwedParts, Part};
use super::state::{SendFailure, SendState};
use crate::batch::{Batch, SplitError};

/// The end of a batch that is not split further.
pub(super) enum BatchOutcome {
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
    /// It was posted before without a clear answer, and the receiver has its samples.
    Repeated,
    /// The receiver takes other batches, but at most smaller ones of so many samples at once.
    OverRate,
    /// The receiver asks to send it again, for the last time that the caller wants to know of.
    Refused {
        status: u16,
        message: String,
    },
    Undelivered(UndeliveredReason),
}

impl BatchOutcome {
    /// Deliveries have to end now. `failure` is the last one, if there was one.
    pub(super) fn ended(state: &SendState, failure: Option<SendFailure>) -> Self {
        Self::Undelivered(why_ended(state, failure))
    }
}

/// Why a delivery that has to end leaves samples undone, after this failure.
pub(super) fn why_ended(state: &SendState, failure: Option<SendFailure>) -> UndeliveredReason {
    if state.is_recalled() {
        UndeliveredReason::Recalled
    } else {
        UndeliveredReason::Deadline(failure)
    }
}

/// Counts the samples of a part by its outcome, or adds what is left of it to what is owed.
///
/// # Errors
/// The part is still owed, for this reason.
pub(super) fn settle(
    outcome: BatchOutcome,
    part: Part,
    owed: &mut OwedParts,
    context: &DeliverContext<'_>,
    delivery: &mut Delivery,
) -> Result<(), (Part, UndeliveredReason)> {
    let samples = u64::from(part.batch.samples);
    let state = context.state;
    match outcome {
        BatchOutcome::Written => {
            state.passed(part.batch.samples);
            delivery.written += samples;
        }
        BatchOutcome::Deduplicated => delivery.deduplicated += samples,
        BatchOutcome::Repeated => delivery.repeat(&part.batch),
        BatchOutcome::Expired => delivery.expired.push(part.batch),
        BatchOutcome::PartlyExpired { oldest_ms } => {
            delivery.expired.extend(owed.cut(part, oldest_ms));
        }
        BatchOutcome::Rejected { status, message } | BatchOutcome::Refused { status, message } => {
            delivery.reject(part.batch, status, message);
        }
        BatchOutcome::TooLarge { status, message } => {
            let raw_len = part.batch.raw_len;
            let halved = owed.halve(part);
            // Batches that are built from now on close earlier, unless this one is not what
            // it says: then its size says nothing about ours.
            if !matches!(halved, Err((_, Some(_)))) {
                state.too_large(raw_len, context.clock.now_ms());
            }
            if let Err((part, error)) = halved {
                delivery.reject_whole(part.batch, status, &message, error);
            }
        }
        BatchOutcome::OverRate => {
            state.over_rate(samples, context.clock.now_ms());
            if let Err((mut whole, _)) = owed.halve(part) {
                whole.can_be_halved = false;
                owed.push(whole);
            }
        }
        BatchOutcome::Undelivered(reason) => return Err((part, reason)),
    }
    Ok(())
}

impl Delivery {
    /// Adds a batch that is too large and cannot be split: it has one sample, or is no request.
    fn reject_whole(
        &mut self,
        batch: Batch,
        status: u16,
        message: &str,
        error: Option<SplitError>,
    ) {
        let message = match error {
            None => message.to_owned(),
            Some(error) => format!("{message}; {error}"),
        };
        self.reject(batch, status, message);
    }

    /// Counts a batch that the receiver has from an earlier post.
    fn repeat(&mut self, batch: &Batch) {
        let samples = batch.samples;
        tracing::info!(samples, "a batch was posted twice: the receiver has it");
        self.repeated += u64::from(samples);
    }
}
