//! Why a scrape failed.

use super::body::BodyError;
use super::exposition::ExpositionError;
use crate::net::NetError;

/// Why a scrape failed. Nothing of it is sent, and `up` is 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScrapeError {
    /// There was no complete answer.
    #[error("{0}")]
    Net(#[from] NetError),
    /// The answer's status was not 200.
    #[error(
        "http {address}: the server returned HTTP status {status}{}{}",
        said(.answer),
        status_hint(*.status)
    )]
    Status {
        /// Scheme, host, port and path.
        address: String,
        /// HTTP status of the answer.
        status: u16,
        /// The start of the answer's body in one line; empty unless the status is 400, which is
        /// how a home refuses a selector.
        answer: String,
    },
    /// The answer's format is not one that is parsed.
    #[error("parse {address}: {cause}")]
    Format {
        /// Scheme, host, port and path.
        address: String,
        /// What was found, and what to do.
        cause: String,
    },
    /// The body could not be decoded.
    #[error("body {address}: {cause}")]
    Body {
        /// Scheme, host, port and path.
        address: String,
        /// What was wrong with it.
        cause: BodyError,
    },
    /// The exposition is malformed, or a sample was refused.
    #[error("parse {address}: {cause}")]
    Exposition {
        /// Scheme, host, port and path.
        address: String,
        /// Where, and why.
        cause: ExpositionError,
    },
    /// The scrape passed `body_size_limit`, `sample_limit` or the memory limit.
    #[error("scrape {address}: {limit} exceeded{hint}")]
    Limit {
        /// Scheme, host, port and path.
        address: String,
        /// Name of the limit, and its value.
        limit: String,
        /// What to do.
        hint: &'static str,
    },
}

/// What the home said.
fn said(answer: &str) -> String {
    if answer.is_empty() {
        String::new()
    } else {
        format!(": {answer}")
    }
}

/// What a status of a home most likely means.
fn status_hint(status: u16) -> &'static str {
    match status {
        301..=308 => "; too many redirects: give the final address as target and metrics_path",
        400 => {
            "; a match[] selector is not valid: Prometheus' own page /graph says what is wrong \
             with it"
        }
        401 | 403 => {
            "; the home does not take these credentials, or asks for some: set basic_auth, \
             authorization or oauth2 of the job"
        }
        404 => "; check metrics_path (with --web.route-prefix, /federate is below that prefix)",
        405 => "; only GET is allowed: is this Prometheus?",
        503 => "; Prometheus is starting (it replays its write-ahead log) or shutting down",
        _ => "",
    }
}
