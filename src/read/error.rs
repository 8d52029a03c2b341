//! Why a window could not be read, and what the caller can do about it.

use super::response::MalformedResponse;
use super::snappy::SnappyError;
use crate::intake::Refusal;
use crate::net::{NetError, Phase};

/// What the caller can do about a [`ReadError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadErrorKind {
    /// There is no remote read at this address, or not one that can be decoded: federate instead.
    Unsupported,
    /// It was too much for the home, for the way or for us: ask for less. Not in the same tick if
    /// the home may still be working on it ([`ReadError::runs_on`]).
    Smaller,
    /// The home is away or is starting: ask again later.
    Unavailable,
    /// The request is refused: a person must change something.
    Refused,
    /// The answer does not say when it was made, so nobody knows up to when it is complete.
    NoDate,
}

/// Why a window could not be read. Nothing of it is sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There was no complete answer.
    #[error("remote read: {0}")]
    Net(#[from] NetError),
    /// The answer's status was not 200.
    #[error(
        "remote read {address}: the server returned HTTP status {status}{}{}",
        quoted(.text), status_hint(*.status, .text)
    )]
    Status {
        /// Scheme, host, port and path.
        address: String,
        /// HTTP status of the answer.
        status: u16,
        /// Start of the answer's body on one line, without control characters. May be empty.
        text: String,
    },
    /// The answer is not that of a remote read.
    #[error(
        "remote read {address}: the answer is {found} instead of application/x-protobuf: is there \
         a login page or a proxy that does not pass /api/v1/read? Set forwarder.remote_read.path, \
         or mode off"
    )]
    Foreign {
        /// Scheme, host, port and path.
        address: String,
        /// `Content-Type` or `Content-Encoding` of the answer.
        found: String,
    },
    /// The body is no snappy block, or was cut.
    #[error("remote read {address}: {cause}{}", snappy_hint(.cause))]
    Snappy {
        /// Scheme, host, port and path.
        address: String,
        /// What was wrong with it.
        cause: SnappyError,
    },
    /// The body is no `ReadResponse`.
    #[error("remote read {address}: {cause}")]
    Malformed {
        /// Scheme, host, port and path.
        address: String,
        /// What was wrong, and where.
        cause: MalformedResponse,
    },
    /// The window passed a limit of ours.
    #[error("remote read {address}: {limit} exceeded{hint}")]
    Limit {
        /// Scheme, host, port and path.
        address: String,
        /// Name of the limit, and its value.
        limit: String,
        /// What to do, or empty when a smaller window is enough.
        hint: &'static str,
        /// What the caller can do.
        kind: ReadErrorKind,
    },
    /// The answer has no usable header `Date`.
    #[error(
        "remote read {address}: the answer has no Date, so nobody knows up to which time it is \
         complete: let the proxy in front of the home pass this header, or set \
         forwarder.remote_read.mode to gaps"
    )]
    NoDate {
        /// Scheme, host, port and path.
        address: String,
    },
    /// A series was refused, as it would be in a scrape.
    #[error("remote read {address}: {cause}")]
    Series {
        /// Scheme, host, port and path.
        address: String,
        /// Why.
        cause: Refusal,
    },
}

impl ReadError {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ReadErrorKind {
        match self {
            Self::Net(error) => net_kind(error),
            Self::Status { status, text, .. } => status_kind(*status, text),
            Self::Foreign { .. } => ReadErrorKind::Unsupported,
            Self::Snappy { cause, .. } => match cause {
                SnappyError::Truncated { .. }
                | SnappyError::TooLong { .. }
                | SnappyError::EntryTooLong => ReadErrorKind::Smaller,
                // Bytes were damaged on the way.
                SnappyError::Preamble
                | SnappyError::Overrun { .. }
                | SnappyError::Offset { .. } => ReadErrorKind::Unavailable,
                SnappyError::BeyondWindow { .. } => ReadErrorKind::Unsupported,
            },
            Self::Malformed { cause, .. } if cause.is_too_long() => ReadErrorKind::Smaller,
            Self::Malformed { .. } => ReadErrorKind::Unavailable,
            Self::Limit { kind, .. } => *kind,
            Self::NoDate { .. } => ReadErrorKind::NoDate,
            Self::Series { .. } => ReadErrorKind::Refused,
        }
    }

    /// Whether the home may still be working on the request, so that another one must wait: it
    /// does not notice that nobody listens any more, and keeps the memory of the answer.
    #[must_use]
    pub fn runs_on(&self) -> bool {
        match self {
            Self::Net(error) => error.timed_out && matches!(error.phase, Phase::Http | Phase::Body),
            Self::Status { status, .. } => matches!(status, 502 | 504 | 408),
            _ => false,
        }
    }
}

fn net_kind(error: &NetError) -> ReadErrorKind {
    match error.phase {
        Phase::Request => ReadErrorKind::Refused,
        Phase::Credentials if !error.timed_out => ReadErrorKind::Refused,
        Phase::Credentials | Phase::Dns | Phase::Connect | Phase::Tls => ReadErrorKind::Unavailable,
        // It had the request. A home that dies of it resets the connection.
        Phase::Http | Phase::Body => ReadErrorKind::Smaller,
    }
}

/// `storage/remote/read_handler.go`, `web/api/v1/api.go` (`remoteRead` of an agent), and what
/// proxies answer in the place of a home.
fn status_kind(status: u16, text: &str) -> ReadErrorKind {
    match status {
        // A POST is not followed, and an agent answers 500 to all reads.
        200..=399 | 404 | 405 | 410 | 501 => ReadErrorKind::Unsupported,
        500 if is_agent(text) => ReadErrorKind::Unsupported,
        400 if is_unknown_path(text) => ReadErrorKind::Unsupported,
        // storage/remote/codec.go ToQueryResult
        400 if text.contains("exceeded sample limit") => ReadErrorKind::Smaller,
        408 | 502 | 504 => ReadErrorKind::Smaller,
        425 | 429 | 500.. => ReadErrorKind::Unavailable,
        _ => ReadErrorKind::Refused,
    }
}

/// What VictoriaMetrics says of a path that it does not serve.
fn is_unknown_path(text: &str) -> bool {
    text.contains("unsupported path requested")
}

/// `cmd/prometheus` in agent mode has no storage to read from.
fn is_agent(text: &str) -> bool {
    text.contains("Prometheus Agent")
}

fn quoted(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text:?}")
    }
}

/// The next step where nothing serves remote read.
const NO_READ: &str = "; there is no remote read here: set forwarder.remote_read.path, or mode off \
                       if the home has none";

fn status_hint(status: u16, text: &str) -> &'static str {
    match status {
        200..=299 => "; only 200 is an answer of remote read",
        300..=399 => {
            "; a POST is not followed to another address: give the final one as target, and \
             forwarder.remote_read.path if it differs from /api/v1/read"
        }
        404 | 405 | 410 | 501 => NO_READ,
        400 if is_unknown_path(text) => NO_READ,
        400 if text.contains("exceeded sample limit") => {
            "; the home's --storage.remote.read-sample-limit is too small even for a short window"
        }
        400 => "; the home takes no such query: check the match[] selectors of the job",
        401 | 403 | 407 => {
            "; these credentials may not read: allow POST /api/v1/read beside GET /federate, or \
             set forwarder.remote_read.mode to off"
        }
        500 if is_agent(text) => {
            "; an agent keeps no samples: scrape the Prometheus that it writes to"
        }
        502 | 504 => "; a proxy gave up waiting: the next window is smaller",
        503 => "; Prometheus is starting (it replays its write-ahead log) or shutting down",
        _ => "",
    }
}

fn snappy_hint(error: &SnappyError) -> &'static str {
    match error {
        SnappyError::Truncated { .. } => {
            ": the home or a proxy ended the answer early; the next window is smaller"
        }
        SnappyError::BeyondWindow { .. } | SnappyError::EntryTooLong => "",
        SnappyError::TooLong { .. } => ": the next window is smaller",
        SnappyError::Preamble | SnappyError::Overrun { .. } | SnappyError::Offset { .. } => {
            ": the answer was damaged on the way, or this is no Prometheus"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Peer;

    #[test]
    fn each_error_says_what_can_be_done() {
        use ReadErrorKind::{Refused, Smaller, Unavailable, Unsupported};
        let agent = "unavailable with Prometheus Agent";
        for (status, text, kind) in [
            (204, "", Unsupported),
            (301, "", Unsupported),
            (302, "", Unsupported),
            (308, "", Unsupported),
            (400, "exceeded sample limit (10)", Smaller),
            (400, "snappy: corrupt input", Refused),
            (400, "unsupported path requested: /api/v1/read", Unsupported),
            (401, "", Refused),
            (403, "", Refused),
            (404, "", Unsupported),
            (405, "", Unsupported),
            (408, "", Smaller),
            (413, "", Refused),
            (429, "", Unavailable),
            (500, agent, Unsupported),
            (500, "mmap: out of memory", Unavailable),
            (501, "", Unsupported),
            (502, "", Smaller),
            (503, "Service Unavailable", Unavailable),
            (504, "", Smaller),
            (599, "", Unavailable),
        ] {
            let error = ReadError::Status {
                address: "http://h/api/v1/read".to_owned(),
                status,
                text: text.to_owned(),
            };
            assert_eq!(error.kind(), kind, "{error}");
            assert!(
                error
                    .to_string()
                    .starts_with("remote read http://h/api/v1/read: ")
            );
            assert!(
                text.is_empty() || error.to_string().contains(text),
                "{error}"
            );
        }
    }

    #[test]
    fn a_read_that_broke_off_on_the_way_was_too_much() {
        use ReadErrorKind::{Refused, Smaller, Unavailable};
        for (phase, timed_out, kind, runs_on) in [
            (Phase::Request, false, Refused, false),
            (Phase::Credentials, false, Refused, false),
            (Phase::Credentials, true, Unavailable, false),
            (Phase::Dns, true, Unavailable, false),
            (Phase::Connect, false, Unavailable, false),
            (Phase::Tls, false, Unavailable, false),
            (Phase::Http, true, Smaller, true),
            (Phase::Http, false, Smaller, false),
            (Phase::Body, true, Smaller, true),
        ] {
            let error = ReadError::from(NetError {
                timed_out,
                ..NetError::new(phase, Peer::Home, "http://h/", "it broke")
            });
            assert_eq!((error.kind(), error.runs_on()), (kind, runs_on), "{error}");
        }
    }
}
