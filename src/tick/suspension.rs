//! A process that is suspended in the middle of a tick: a laptop that sleeps, a frozen sandbox. The
//! monotonic clock may not count that time, so the fence of the lease would come too late.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use tokio::time::Instant;

use super::lease::LeasedSpool;
use super::{Forwarder, Lane};

impl Forwarder {
    /// Notes a suspension. Returns whether the lease may be over.
    fn note_suspension(&self, held: &LeasedSpool) -> bool {
        held.fence().check();
        if !held.fence().take_suspended() {
            return false;
        }
        self.lanes.iter().for_each(Lane::deadlines_moved);
        held.deadlines().work_ends() <= Instant::now()
    }

    /// Runs the work of a tick. Nothing of it goes on after a suspension before it is known how
    /// long the lease still lasts, so that requests in flight do not reach a receiver late.
    pub(super) async fn fenced<T>(
        &self,
        work: impl Future<Output = T>,
        held: Option<&LeasedSpool>,
    ) -> T {
        let mut work = pin!(work);
        let mut confirming: Option<LocalBoxFuture<'_, ()>> = None;
        std::future::poll_fn(|context| {
            if let Some(held) = held
                && self.note_suspension(held)
                && let Some(holder) = &self.holder
            {
                // The clock may only have been set: the store knows.
                confirming = Some(holder.confirm(held).boxed_local());
            }
            if let Some(confirm) = &mut confirming {
                if confirm.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                confirming = None;
                if held.is_some_and(|held| held.deadlines().fence() <= Instant::now()) {
                    self.lanes.iter().for_each(|lane| lane.state.cut());
                }
                self.lanes.iter().for_each(Lane::deadlines_moved);
            }
            work.as_mut().poll(context)
        })
        .await
    }
}
