//! The seam to a remote-write receiver.

use std::fmt;
use std::time::Duration;

use ::http::HeaderMap;
use futures_util::future::BoxFuture;

use crate::net::NetError;
use crate::net::sign::SignError;
use crate::prompb::RequestBody;
use crate::report::is_hidden;

/// A remote-write receiver. Simulations put a model in its place.
pub trait Remote: Send + Sync {
    /// Posts once. It ends within `request.timeout`.
    ///
    /// # Errors
    /// [`PostError`] when there is no answer. After [`PostError::Net`] the samples may have been
    /// stored all the same.
    fn post<'a>(&'a self, request: PostRequest<'a>)
    -> BoxFuture<'a, Result<PostAnswer, PostError>>;

    /// Address for people, without query and user information.
    fn address(&self) -> &str;

    /// Likely cause and next step for an answer that denies.
    fn hint(&self, answer: &PostAnswer) -> Option<&'static str> {
        let _ = answer;
        None
    }
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub struct PostRequest<'a> {
    /// A `WriteRequest`, compressed with snappy.
    pub body: &'a RequestBody,
    /// Number of earlier tries of the same batch.
    pub attempt: u32,
    /// Time from fetching credentials to the end of the answer.
    pub timeout: Duration,
    /// Whether the request must go out on a connection that was never used.
    pub fresh_connection: bool,
    /// Whether the request is made with credentials that are fetched for it.
    pub fresh_credentials: bool,
}

/// The answer of a receiver.
#[derive(Debug, Clone)]
pub struct PostAnswer {
    /// HTTP status.
    pub status: u16,
    /// All headers of the answer.
    pub headers: HeaderMap,
    /// The first 1024 bytes of the body, as storage/remote/client.go reads.
    pub body: String,
}

impl PostAnswer {
    /// The status and the body in one line. The part of the body that may hold a secret is left
    /// out.
    #[must_use]
    pub fn message(&self) -> String {
        // AWS answers a bad signature with the canonical request, which holds the session token.
        let harmless = self
            .body
            .split("The Canonical String")
            .next()
            .unwrap_or_default();
        let line = harmless.split_whitespace().collect::<Vec<_>>().join(" ");
        let line: String = line.chars().filter(|c| !is_hidden(*c)).collect();
        if line.is_empty() {
            format!("answered {}", self.status)
        } else {
            format!("answered {}: {line}", self.status)
        }
    }
}

/// A request without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostError {
    /// The network failed. The request may have arrived.
    Net(NetError),
    /// The request could not be made. Nothing was sent.
    Sign(SignError),
}

impl fmt::Display for PostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(error) => error.fmt(f),
            Self::Sign(error) => write!(f, "sign: {error}"),
        }
    }
}

impl std::error::Error for PostError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Net(error) => Some(error),
            Self::Sign(error) => Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_without_the_session_token() {
        let answer = |body: &str| PostAnswer {
            status: 403,
            headers: HeaderMap::new(),
            body: body.to_owned(),
        };
        assert_eq!(answer("").message(), "answered 403");
        assert_eq!(
            answer("a\n\tb\x1b[31m\n").message(),
            "answered 403: a b[31m"
        );
        let message = answer(
            "does not match.\n\nThe Canonical String for this request should have been\n\
             x-amz-security-token:hunter2",
        );
        assert_eq!(message.message(), "answered 403: does not match.");
    }
}
