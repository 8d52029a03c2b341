//! The lease while it is held.

use tokio::sync::Mutex;

use crate::spool::state::{Lease, SpoolState};
use crate::spool::store::Etag;
use crate::time::Deadlines;

/// How the previous holder of the lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreviousEnd {
    /// There was no previous holder.
    None,
    /// It released the lease.
    Clean,
    /// It was killed, or could not release the lease: the sums of the backlog must be counted
    /// again.
    Unclean,
}

/// The lease, held.
#[derive(Debug)]
pub struct Tenure {
    /// Number of this tenure: the first part of the names of its segments.
    pub epoch: u64,
    /// Ends of the tick's time under this lease.
    pub deadlines: Deadlines,
    /// What the last release wrote.
    pub state: SpoolState,
    /// How the previous holder ended.
    pub previous: PreviousEnd,
    /// Whether nobody else held the lease since this process did: then what it remembers of series
    /// and slots still holds.
    pub continued: bool,
    /// The lease as it stands in `state.json`.
    pub(super) lease: Option<Lease>,
    /// Etag of `state.json` as this tenure wrote it last. Whoever writes it holds the lock
    /// meanwhile.
    pub(super) etag: Mutex<Etag>,
}
