//! The lease while it is held.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Mutex;

use super::fence::LeaseFence;
use crate::spool::state::{Lease, SpoolState};
use crate::spool::store::{Etag, HolderMark};
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
    /// Notices when the process was suspended.
    pub fence: Arc<LeaseFence>,
    /// `state.json` as this tenure wrote it last. Whoever writes it holds the lock meanwhile.
    pub(super) written: Mutex<WrittenState>,
    /// The mark by which others see that this process is alive. It goes with the tenure.
    pub(super) _mark: HolderMark,
}

/// `state.json` as a tenure wrote it last.
#[derive(Debug)]
pub(super) struct WrittenState {
    /// The lease.
    pub(super) lease: Option<Lease>,
    /// The bytes of the object, for a lease that is renewed: each renewal writes it once more. They
    /// take less memory than the state.
    pub(super) body: Option<Bytes>,
    /// Etag of the object.
    pub(super) etag: Etag,
}

impl WrittenState {
    /// Keeps what was written, if renewals need it.
    pub(super) fn keep(&mut self, body: Bytes) {
        if self.body.is_some() {
            self.body = Some(body);
        }
    }
}

impl Tenure {
    /// Whether a lease is this tenure's, however long it is.
    pub(super) fn owns(&self, lease: &Lease, nonce: &str) -> bool {
        lease.nonce == nonce && lease.epoch == self.epoch
    }
}
