//! Signed requests to a remote-write receiver, and what its answers mean.

mod backoff;
mod denial;
mod http;
mod remote;
mod sign;
mod verdict;

pub use self::backoff::Backoff;
pub use self::denial::{DenialContext, denial_hint};
pub use self::http::{HttpRemote, RemoteError};
pub use self::remote::{Answer, PostError, PostRequest, Remote};
pub use self::sign::{SignError, Signer};
pub use self::verdict::{MAX_RETRY_AFTER, Verdict, VerdictOptions, verdict};
