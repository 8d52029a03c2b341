//! The home Prometheus: the seam through which everything is asked of it, and its targets.
//!
//! [`Home`] is a trait, so that whole ticks run against a simulated home (`tests/sim`).
//! [`HttpHome`] is the real one. What is asked and what an answer means is the business of the
//! rooms above: `scrape` reads expositions, `metadata` reads types and help texts.

mod http;
mod target;

use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use url::Url;

pub use self::http::HttpHome;
pub use self::target::{JobId, Target, targets};
use crate::net::NetError;

/// One request to the home.
#[derive(Debug, Clone)]
pub struct HomeRequest<'a> {
    /// The job whose HTTP client configuration (credentials, proxy, TLS) applies.
    pub job: JobId,
    /// Address, path and parameters.
    pub url: &'a Url,
    /// What is sent.
    pub method: HomeMethod<'a>,
    /// Longest time from connecting to the end of the answer's body.
    pub timeout: Duration,
}

/// What a request sends.
#[derive(Debug, Clone)]
pub enum HomeMethod<'a> {
    /// A GET of an exposition or of a page of the HTTP API.
    Get {
        /// The header `Accept`.
        accept: &'a str,
        /// Whether the home may answer with gzip.
        compression: bool,
    },
    /// A POST, such as a query of the remote-read API.
    Post {
        /// The whole body as it goes on the wire.
        body: Bytes,
        /// `Content-Type`, `Content-Encoding` and the like.
        headers: &'a [(HeaderName, HeaderValue)],
    },
}

/// The head of an answer, with its body still to come.
pub struct HomeResponse {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The body as it comes on the wire.
    pub body: Box<dyn ResponseBody>,
}

/// A body that arrives in pieces.
pub trait ResponseBody: Send {
    /// Waits for the next piece. `None` is the clean end of the body.
    ///
    /// # Errors
    /// The connection broke, or the request's time-out has passed.
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, NetError>>;

    /// The beginning of what was read as text, at most `most` bytes, without the secrets that the
    /// request carried: a home or a proxy may repeat them in its answer. A body without a request
    /// has none.
    fn without_secrets(&self, read: &[u8], most: usize) -> String {
        let mut text = String::from_utf8_lossy(read).into_owned();
        text.truncate(text.floor_char_boundary(most));
        text
    }
}

/// The home Prometheus.
pub trait Home: Send + Sync {
    /// Sends a request, and returns once the headers of the answer have arrived.
    ///
    /// # Errors
    /// There was no answer: the error names the phase (DNS, connect, TLS, …) and the next step. An
    /// HTTP status is no error here.
    fn send<'a>(
        &'a self,
        request: HomeRequest<'a>,
    ) -> BoxFuture<'a, Result<HomeResponse, NetError>>;
}
