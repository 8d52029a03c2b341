//! Signed requests to a remote-write receiver, and what its answers mean.
//!
//! Read [`deliver()`] first: it posts one batch until that is answered for good. [`verdict()`] is
//! the table of answers, [`denial_hint`] the table of advice, [`SendState`] what the shards of a
//! remote share, and [`HttpRemote`] the real [`Remote`].

mod attempt;
mod backoff;
mod context;
mod deliver;
mod delivery;
mod denial;
mod http;
mod isolate;
mod once;
mod outcome;
mod parts;
mod patience;
mod probe;
mod remote;
mod settlement;
mod state;
#[cfg(test)]
mod tests;
mod unusable;
mod verdict;

pub use self::backoff::Backoff;
pub use self::context::{DeliverContext, DeliverSettings};
pub use self::deliver::deliver;
pub use self::delivery::{
    BatchHistory, Delivery, RejectedBatch, UndeliveredBatches, UndeliveredReason,
};
pub use self::denial::{DenialContext, denial_hint};
pub use self::http::{HttpRemote, RemoteError};
pub use self::once::{PostOnceError, post_once};
pub use self::probe::{Probe, probe};
pub use self::remote::{PostAnswer, PostError, PostRequest, Remote};
pub use self::state::{SendFailure, SendState, StopReason};
pub use self::unusable::UnusableRemote;
pub use self::verdict::{MAX_RETRY_AFTER, Verdict, VerdictOptions, verdict};
pub use crate::net::sign::{SignError, Signer};
