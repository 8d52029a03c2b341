//! Writing the state down in the middle of a tick, while the lease stays held.

use super::error::{LookError, ReleaseError};
use super::tenure::Tenure;
use crate::spool::access::StoreAccess;
use crate::spool::retry::{Pause, fetch, try_ends};
use crate::spool::state::{KEY, MAX_BYTES, SpoolState};
use crate::spool::store::{Etag, FailureKind};

impl Tenure {
    /// Writes `state` under the lease: one PUT. Its epoch and lease are set here. If the tick is
    /// killed afterwards, the next holder finds this state, and counts the backlog again as after
    /// any unclean end.
    ///
    /// # Errors
    /// The store is down, or another process has taken the lease. What was written before still
    /// stands.
    pub async fn checkpoint(
        &self,
        access: &StoreAccess,
        state: SpoolState,
    ) -> Result<(), ReleaseError> {
        let mut written = self.written.lock().await;
        let state = SpoolState {
            epoch: self.epoch,
            lease: written.lease.clone(),
            ..state
        };
        let body = state.write().map_err(LookError::State)?;
        let deadline = access.work_ends();
        let mut pause = Pause::default();
        loop {
            let error = match access
                .store
                .put_if_match(KEY, body.clone(), &written.etag, try_ends(deadline))
                .await
            {
                Ok(answer) => {
                    written.etag = answer.value;
                    written.keep(body);
                    return Ok(());
                }
                Err(error) => error,
            };
            if error.kind == FailureKind::Changed {
                // An earlier try of ours may have come through without an answer.
                let (found, present) = self.look(access).await?;
                if found == state {
                    written.etag = present;
                    written.keep(body);
                    return Ok(());
                }
                if present == written.etag || found.lease != state.lease {
                    return Err(ReleaseError::Lost {
                        held: self.epoch,
                        found: found.epoch,
                    });
                }
                written.etag = present;
            } else if !(error.kind.is_passing() && pause.pause(deadline).await) {
                return Err(LookError::Store(error).into());
            }
        }
    }

    async fn look(&self, access: &StoreAccess) -> Result<(SpoolState, Etag), LookError> {
        let object = fetch(&*access.store, KEY, MAX_BYTES, access.work_ends()).await?;
        Ok((SpoolState::read(&object.bytes)?, object.etag))
    }
}
