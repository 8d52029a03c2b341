//! The delivery of one batch, to its end.
//!
//! A batch is posted until the receiver gives a final answer. One that is too large is split, and
//! its parts are delivered one after the other ([`parts`](super::parts)). Samples that have become
//! too old are taken out of it. Everything else that can happen to a request is judged by
//! [`verdict`](super::verdict()), and [`attempt`](super::attempt) acts on the verdict.

use std::ops::ControlFlow;

use super::attempt::deliver_part;
use super::context::DeliverContext;
use super::delivery::{Delivery, UndeliveredBatches, UndeliveredReason};
use super::isolate::isolate;
use super::outcome::{BatchOutcome, settle};
use super::parts::{GivenUp, OwedParts, Part};
use super::remote::Remote;
use super::state::SendState;
use crate::batch::Batch;

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
    let mut owed = OwedParts::new(batch.clone(), context.history.in_doubt);
    // Whether a part that is refused once more is looked at sample by sample.
    let mut may_isolate =
        context.history.refused_for_long || context.state.has_found_lately(context.clock.now_ms());
    while let Some(next) = owed.next() {
        let mut next = match make_smaller(next, &mut owed, context.state) {
            ControlFlow::Continue(next) => next,
            ControlFlow::Break(()) => continue,
        };
        let most_refusals = if may_isolate { 1 } else { u32::MAX };
        let outcome = deliver_part(remote, &mut next, context, most_refusals, &mut delivery).await;
        if matches!(outcome, BatchOutcome::Refused { .. }) {
            may_isolate = false;
            // Once a tick is enough: mostly the remote takes nothing at all for a while.
            let isolated = if context.state.begins_isolation() {
                isolate(remote, next, context, &mut delivery).await
            } else {
                ControlFlow::Continue(next)
            };
            match isolated {
                ControlFlow::Continue(next) => owed.push(next),
                ControlFlow::Break(None) => {}
                ControlFlow::Break(Some((left, reason))) => {
                    delivery.leave(owed.give_up(left), reason);
                    break;
                }
            }
            continue;
        }
        if let Err((next, reason)) = settle(outcome, next, &mut owed, context, &mut delivery) {
            delivery.leave(owed.give_up(vec![next]), reason);
            break;
        }
    }
    delivery
}

/// Halves a part before it is posted if the receiver has shown that it takes only smaller ones.
/// Breaks when its halves are next instead of it.
fn make_smaller(part: Part, owed: &mut OwedParts, state: &SendState) -> ControlFlow<(), Part> {
    if part.batch.samples <= state.max_request_samples() || !part.can_be_halved {
        return ControlFlow::Continue(part);
    }
    match owed.halve(part) {
        Ok(()) => ControlFlow::Break(()),
        Err((mut whole, _)) => {
            whole.can_be_halved = false;
            ControlFlow::Continue(whole)
        }
    }
}

impl Delivery {
    /// Leaves batches undone, because of this reason.
    fn leave(&mut self, given_up: GivenUp, reason: UndeliveredReason) {
        let GivenUp { batches, in_doubt } = given_up;
        self.undelivered = Some(UndeliveredBatches {
            batches,
            in_doubt,
            reason,
        });
    }
}
