//! Signed requests to a remote-write receiver, and what its answers mean.

mod backoff;
mod verdict;

pub use backoff::Backoff;
pub use verdict::{MAX_RETRY_AFTER, Verdict, VerdictOptions, verdict};
