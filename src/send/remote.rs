//! A remote-write receiver, behind a seam.

use std::fmt;
use std::time::Duration;

use ::http::HeaderMap;
use futures_util::future::BoxFuture;

use crate::net::NetError;
use crate::net::sign::SignError;
use crate::prompb::RequestBody;

/// Takes remote-write requests.
pub trait Remote: Send + Sync {
    /// Posts once. Ends, one way or the other, within `request.timeout`.
    ///
    /// # Errors
    /// [`PostError`] when there is no answer: the samples may have been stored all the same.
    fn post<'a>(&'a self, request: PostRequest<'a>)
    -> BoxFuture<'a, Result<PostAnswer, PostError>>;

    /// Where it posts to, for people: without query and user information.
    fn address(&self) -> &str;

    /// Likely cause and next step for an answer that denies.
    fn hint(&self, answer: &PostAnswer) -> Option<&'static str> {
        let _ = answer;
        None
    }
}

/// One try.
#[derive(Debug, Clone, Copy)]
pub struct PostRequest<'a> {
    /// Snappy-compressed `WriteRequest`.
    pub body: &'a RequestBody,
    /// 0 for the first try.
    pub attempt: u32,
    /// For all of it, from fetching credentials to the end of the answer.
    pub timeout: Duration,
    /// On a connection that was never used.
    pub fresh_connection: bool,
    /// Signed with credentials asked for anew.
    pub fresh_credentials: bool,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct PostAnswer {
    /// HTTP status.
    pub status: u16,
    /// All of them.
    pub headers: HeaderMap,
    /// The first 1024 bytes, as storage/remote/client.go reads.
    pub body: String,
}

impl PostAnswer {
    /// The status and the body in one line, without what may hold a secret.
    #[must_use]
    pub fn message(&self) -> String {
        // AWS answers a bad signature with the canonical request, session token included.
        let told = self
            .body
            .split("The Canonical String")
            .next()
            .unwrap_or_default();
        let line = told.split_whitespace().collect::<Vec<_>>().join(" ");
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        if line.is_empty() {
            format!("answered {}", self.status)
        } else {
            format!("answered {}: {line}", self.status)
        }
    }
}

/// No answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostError {
    /// On the network.
    Net(NetError),
    /// Before: nothing was sent.
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
        let told = answer(
            "does not match.\n\nThe Canonical String for this request should have been\nx-amz-security-token:hunter2",
        );
        assert_eq!(told.message(), "answered 403: does not match.");
    }
}
