//! Renewing a lease, and finding out whether it is still held.

use tokio::time::Instant;

use super::LeaseClient;
use super::error::{LookError, ReleaseError};
use super::take::PATIENCE;
use super::tenure::Tenure;
use crate::spool::retry::{Pause, fetch, try_ends};
use crate::spool::state::{KEY, MAX_BYTES, SpoolState};
use crate::spool::store::FailureKind;

impl LeaseClient {
    /// Renews a short lease: one PUT. The ends of the tick's time move with it. Returns false for a
    /// lease that was taken for the whole tick and is not renewed: a suspension has moved its end.
    ///
    /// # Errors
    /// The store is down, or another process has taken the lease. Then the tick's time ends with
    /// the lease as it was.
    pub async fn renew(&self, tenure: &Tenure) -> Result<bool, ReleaseError> {
        let deadline = tenure.deadlines.fence();
        let mut written = tenure.written.lock().await;
        let mut pause = Pause::default();
        loop {
            let planned = tenure.deadlines.planned_lease_end(Instant::now());
            let until_ms = self.store_ms(planned);
            let Some(body) = &written.body else {
                return Ok(false);
            };
            let mut state = SpoolState::read(body).map_err(LookError::State)?;
            if let Some(lease) = &mut state.lease {
                lease.until_ms = until_ms;
            }
            let body = state.write().map_err(LookError::State)?;
            let put = self
                .store
                .put_if_match(KEY, body.clone(), &written.etag, try_ends(deadline));
            let error = match put.await {
                Ok(answer) => {
                    if let Some(end) = answer.time.certainly_before(until_ms) {
                        tenure.deadlines.move_lease_end(end);
                    }
                    written.lease = state.lease;
                    written.etag = answer.value;
                    written.keep(body);
                    return Ok(true);
                }
                Err(error) => error,
            };
            if error.kind == FailureKind::Changed {
                // An earlier try of ours may have come through without an answer.
                let object = fetch(&*self.store, KEY, MAX_BYTES, deadline)
                    .await
                    .map_err(LookError::Store)?;
                let found = SpoolState::read(&object.bytes).map_err(LookError::State)?;
                if object.etag == written.etag
                    || !found
                        .lease
                        .is_some_and(|lease| tenure.owns(&lease, &self.nonce))
                {
                    return Err(ReleaseError::Lost {
                        held: tenure.epoch,
                        found: found.epoch,
                    });
                }
                written.etag = object.etag;
            } else if !(error.kind.is_passing() && pause.pause(deadline).await) {
                return Err(LookError::Store(error).into());
            }
        }
    }

    /// Asks the store whether the lease is still ours, and moves the end of the tick's time to
    /// where the store's clock says it is. For a process that may have been suspended: its
    /// monotonic clock did not count that time. If the store does not say, the end stays where it
    /// is.
    pub async fn confirm(&self, tenure: &Tenure) {
        let now = Instant::now();
        let deadline = tenure.deadlines.planned_work_ends().min(now + PATIENCE);
        let asked = self.store.get(KEY, MAX_BYTES, try_ends(deadline));
        let Ok(answer) = asked.await else {
            return;
        };
        let lease = SpoolState::read(&answer.value.bytes).ok();
        let lease = lease.and_then(|state| state.lease);
        let end = lease
            .filter(|lease| tenure.owns(lease, &self.nonce))
            .and_then(|lease| answer.time.certainly_before(lease.until_ms));
        tenure.deadlines.move_lease_end(end.unwrap_or(now));
    }
}
