//! A request that is worth two tries and no more, such as metadata.

use std::time::Duration;

use super::remote::{PostAnswer, PostError, PostRequest, Remote};
use crate::prompb::RequestBody;

/// A request that was not taken by [`post_once`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostOnceError {
    /// Neither try was answered, or the second one was not.
    #[error(transparent)]
    Unanswered(#[from] PostError),
    /// The receiver answered, and did not take it. Holds the answer in one line.
    #[error("{0}")]
    Refused(String),
}

/// Posts a request, and posts it once more if it was not answered or the receiver failed: a
/// connection may have died since its last use. `timeout` is asked before each try how long that
/// one may take.
///
/// # Errors
/// [`PostOnceError`] when the receiver did not take it. Trying again at once is of no use.
pub async fn post_once(
    remote: &dyn Remote,
    body: &RequestBody,
    timeout: impl Fn() -> Duration,
) -> Result<(), PostOnceError> {
    let post = |attempt| {
        remote.post(PostRequest {
            body,
            attempt,
            timeout: timeout(),
            fresh_connection: attempt > 0,
            fresh_credentials: false,
        })
    };
    let answer = match post(0).await {
        Ok(answer) if answer.status < 500 => answer,
        Ok(_) | Err(_) => post(1).await?,
    };
    if is_taken(&answer) {
        Ok(())
    } else {
        Err(PostOnceError::Refused(answer.message()))
    }
}

fn is_taken(answer: &PostAnswer) -> bool {
    (200..300).contains(&answer.status)
}
