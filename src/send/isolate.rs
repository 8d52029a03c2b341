//! Looks for the samples that a receiver cannot take, in a batch that it has refused for long.
//!
//! An answer that asks to send again may be about the batch, and not about the receiver: a server
//! may fail at one series, time after time, and everything behind the batch would wait for it until
//! it is too old. So a single sample of the batch is posted. If that one is taken, the receiver is
//! there, and the batch is halved until what it does not take stands alone. Those samples are
//! refused for good, if the receiver is still there after all others were answered. If the single
//! sample is not taken either, nothing is known, and the batch stays as it is.

use std::ops::ControlFlow;

use super::attempt::deliver_part;
use super::context::DeliverContext;
use super::delivery::{BatchHistory, Delivery, UndeliveredReason};
use super::outcome::{BatchOutcome, settle, why_ended};
use super::parts::{OwedParts, Part};
use super::remote::Remote;

/// Number of posts after which a part is halved.
const TRIES: u32 = 2;

/// A single series that is refused while the others of its batch are taken.
struct Suspect {
    part: Part,
    status: u16,
    message: String,
}

/// What is left of a batch, and why.
pub(super) type LeftOver = (Vec<Part>, UndeliveredReason);

/// Looks for the samples that the receiver cannot take. Continues with the part as it was when
/// nothing is known; otherwise breaks with what is still owed.
pub(super) async fn isolate(
    remote: &dyn Remote,
    mut part: Part,
    context: &DeliverContext<'_>,
    delivery: &mut Delivery,
) -> ControlFlow<Option<LeftOver>, Part> {
    // What was learnt of the batch as a whole says nothing about its parts.
    let context = &DeliverContext {
        history: BatchHistory::default(),
        ..*context
    };
    // Another one each minute, as the one that is tried may be what the receiver cannot take.
    let place = context.clock.now_ms().unsigned_abs() / 60_000;
    let Some((mut first, rest)) = OwedParts::single_out(&part, place as usize) else {
        return ControlFlow::Continue(part);
    };
    let mut owed = OwedParts::new(rest.batch.clone(), rest.in_doubt);
    if !is_answered(remote, &mut first, &mut owed, context, delivery).await {
        part.in_doubt |= first.in_doubt;
        return ControlFlow::Continue(part);
    }
    let mut suspects = Vec::new();
    while let Some(mut next) = owed.next() {
        let outcome = deliver_part(remote, &mut next, context, TRIES, delivery).await;
        let settled = match outcome {
            BatchOutcome::Refused { status, message } => {
                // Samples of one series stay together: they are in order.
                match owed.split(next) {
                    Ok(()) => {}
                    Err(part) => suspects.push(Suspect {
                        part,
                        status,
                        message,
                    }),
                }
                Ok(())
            }
            outcome => settle(outcome, next, &mut owed, context, delivery),
        };
        if let Err((next, reason)) = settled {
            let mut left = vec![next];
            left.extend(owed.into_parts());
            left.extend(suspects.into_iter().map(|suspect| suspect.part));
            return ControlFlow::Break(Some((left, reason)));
        }
    }
    give_up(remote, first, suspects, context, delivery).await
}

/// Refuses the suspects for good, if the receiver still takes the sample that it took before: a
/// repeat of the newest sample of its series.
async fn give_up(
    remote: &dyn Remote,
    mut first: Part,
    suspects: Vec<Suspect>,
    context: &DeliverContext<'_>,
    delivery: &mut Delivery,
) -> ControlFlow<Option<LeftOver>, Part> {
    if suspects.is_empty() {
        return ControlFlow::Break(None);
    }
    first.in_doubt = true;
    // Its samples were counted before.
    let mut uncounted = Delivery::default();
    let outcome = deliver_part(remote, &mut first, context, TRIES, &mut uncounted).await;
    delivery.attempts += uncounted.attempts;
    if !is_final(&outcome) {
        let parts = suspects.into_iter().map(|suspect| suspect.part);
        let failure = context.state.last_failure();
        return ControlFlow::Break(Some((parts.collect(), why_ended(context.state, failure))));
    }
    context.state.found(context.clock.now_ms());
    for suspect in suspects {
        let message = format!(
            "{}, time after time, while the others of its batch were taken",
            suspect.message
        );
        delivery.reject(suspect.part.batch, suspect.status, message);
    }
    ControlFlow::Break(None)
}

/// Posts a single entry once, and counts it if it got its final answer.
async fn is_answered(
    remote: &dyn Remote,
    first: &mut Part,
    owed: &mut OwedParts,
    context: &DeliverContext<'_>,
    delivery: &mut Delivery,
) -> bool {
    let outcome = deliver_part(remote, first, context, 1, delivery).await;
    is_final(&outcome) && settle(outcome, first.clone(), owed, context, delivery).is_ok()
}

/// Whether the receiver took the samples or refused them for good.
fn is_final(outcome: &BatchOutcome) -> bool {
    matches!(
        outcome,
        BatchOutcome::Written
            | BatchOutcome::Deduplicated
            | BatchOutcome::Repeated
            | BatchOutcome::Rejected { .. }
    )
}
