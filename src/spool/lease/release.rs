//! Releasing the lease.

use super::error::{LookError, ReleaseError};
use super::tenure::{Tenure, WrittenState};
use super::{LeaseClient, StoredState};
use crate::spool::retry::{Pause, try_ends};
use crate::spool::state::{KEY, SpoolState};
use crate::spool::store::{Etag, FailureKind};

impl LeaseClient {
    /// Releases the lease: one PUT. `state` is what the next tick must know; its epoch and lease
    /// are set here.
    ///
    /// # Errors
    /// The store is down, or another process has taken the lease. Without a release the lease ends
    /// when its time is over, and the next tick counts the backlog again.
    pub async fn release(&mut self, tenure: Tenure, state: SpoolState) -> Result<(), ReleaseError> {
        let tombstones = state
            .remotes
            .iter()
            .map(|(remote, known)| (remote.clone(), known.tombstones.clone()))
            .collect();
        let released = self.try_to_release(tenure, state).await;
        if released.is_err() {
            self.unreported_tombstones = tombstones;
        }
        released
    }

    async fn try_to_release(
        &mut self,
        tenure: Tenure,
        state: SpoolState,
    ) -> Result<(), ReleaseError> {
        let state = SpoolState {
            epoch: tenure.epoch,
            lease: None,
            ..state
        };
        let body = state.write().map_err(LookError::State)?;
        let deadline = tenure.deadlines.fence();
        let WrittenState { mut etag, .. } = tenure.written.into_inner();
        let mut pause = Pause::default();
        loop {
            let error = match self
                .store
                .put_if_match(KEY, body.clone(), &etag, try_ends(deadline))
                .await
            {
                Ok(answer) => {
                    self.learn(&answer.time);
                    self.released(state, answer.value);
                    return Ok(());
                }
                Err(error) => error,
            };
            if error.kind != FailureKind::Changed {
                if error.kind.is_passing() && pause.pause(deadline).await {
                    continue;
                }
                return Err(LookError::Store(error).into());
            }
            // An earlier try of ours may have changed it: of this release, or of the taking.
            let found = self.find(deadline).await?;
            match found.etag {
                // The release took place, and its answer was lost.
                Some(present) if found.state == state => {
                    self.released(state, present);
                    return Ok(());
                }
                // Our lease is still there under another etag: a late try of the taking came
                // through. Release that one.
                Some(present)
                    if present != etag
                        && found.state.lease.as_ref().is_some_and(|lease| {
                            lease.nonce == self.nonce && lease.epoch == tenure.epoch
                        }) =>
                {
                    etag = present;
                }
                _ => {
                    self.was_late = true;
                    return Err(ReleaseError::Lost {
                        held: tenure.epoch,
                        found: found.state.epoch,
                    });
                }
            }
        }
    }

    fn released(&mut self, state: SpoolState, etag: Etag) {
        self.released_empty = state.is_clean_and_empty();
        self.ended_ms = Some(self.clock.now_ms());
        self.warm = Some(StoredState {
            state,
            etag: Some(etag),
            time: None,
        });
    }
}
