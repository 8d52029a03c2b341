//! What can go wrong with the lease.

use std::time::Duration;

use crate::spool::state::StateError;
use crate::spool::store::StoreError;

/// No lease.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TakeError {
    /// Somebody else is at work.
    #[error("spool: another tick holds the lease (epoch {epoch}) for up to {} more seconds", left.as_secs())]
    Busy {
        /// Of that one.
        epoch: u64,
        /// Until its lease ends by itself.
        left: Duration,
    },
    /// It was taken so slowly that nothing of it is left.
    #[error("spool: taking the lease took longer than the tick may")]
    Late,
    /// The store is down.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `state.json` is not usable.
    #[error(transparent)]
    State(#[from] StateError),
}

/// A `state.json` that could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookError {
    /// The store is down.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not usable.
    #[error(transparent)]
    State(#[from] StateError),
}

impl From<LookError> for TakeError {
    fn from(error: LookError) -> Self {
        match error {
            LookError::Store(error) => Self::Store(error),
            LookError::State(error) => Self::State(error),
        }
    }
}

/// A release that did not succeed. The lease ends by itself; whoever comes next counts the backlog
/// anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// It was taken over: we came too late.
    #[error(
        "spool: the lease of epoch {held} was taken over by epoch {found}: this tick took longer than it had planned"
    )]
    Lost {
        /// Ours.
        held: u64,
        /// Theirs.
        found: u64,
    },
    /// The store is down, or the state not usable.
    #[error(transparent)]
    Look(#[from] LookError),
}
