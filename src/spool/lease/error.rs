//! The errors of the lease.

use std::time::Duration;

use crate::spool::state::StateError;
use crate::spool::store::StoreError;

/// Why the lease could not be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TakeError {
    /// Another process holds the lease.
    #[error(
        "spool: another tick holds the lease (epoch {epoch}) for up to {} more seconds",
        left.as_secs()
    )]
    Busy {
        /// Epoch of that lease.
        epoch: u64,
        /// Time until that lease ends if it is not released.
        left: Duration,
    },
    /// Taking the lease took so long that no time is left in it.
    #[error("spool: taking the lease took longer than the tick may")]
    Late,
    /// The process is to stop, and did not wait any longer for another one's lease.
    #[error("spool: stopped while another tick held the lease")]
    Stopped,
    /// The store is down.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `state.json` is not usable.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Why `state.json` could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookError {
    /// The store is down.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `state.json` is not usable.
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

/// Why a release did not succeed. The lease then ends when its time is over, and the next holder
/// counts the backlog again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// Another process has taken the lease, because the release came too late.
    #[error(
        "spool: the lease of epoch {held} was taken over by epoch {found}: \
         this tick took longer than it had planned"
    )]
    Lost {
        /// Epoch of our lease.
        held: u64,
        /// Epoch of the lease that was found.
        found: u64,
    },
    /// The store is down, or the state not usable.
    #[error(transparent)]
    Look(#[from] LookError),
}
