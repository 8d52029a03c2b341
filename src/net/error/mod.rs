//! Network errors: phase, address, cause and next step.

mod chain;
mod hints;
mod phase;

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use url::Url;

use self::chain::SourceChain;
use self::phase::NetFault;
pub use self::phase::{Peer, Phase};
use super::progress::RequestStep;
use crate::report::plain_line;

/// An error underneath another one, shared so that the outer one can be cloned.
pub type SharedError = Arc<dyn Error + Send + Sync>;

/// A request that got no usable answer.
///
/// Its text names the phase, the address, the cause and, where the table of hints has one, the next
/// step:
///
/// ```
/// use amp_forwarder::net::{NetError, Peer, Phase};
///
/// let url = "http://user:secret@prom.home:9090/federate?match[]=up".parse().unwrap();
/// let error = NetError::timed_out(Phase::Dns, Peer::Home, &url);
/// let text = error.to_string();
/// assert!(text.starts_with("dns http://prom.home:9090/federate: timed out; "));
/// assert!(text.contains("Route 53 Resolver"));
/// ```
#[derive(Debug, Clone)]
pub struct NetError {
    /// How far the request came.
    pub phase: Phase,
    /// The party that was asked.
    pub peer: Peer,
    /// `scheme://host:port/path`, without query and user information. For credentials, the place
    /// where they are kept.
    pub address: String,
    /// Innermost message of the system, the client or the service.
    pub cause: String,
    /// Whether a time-out ended the request. For credentials, whether the next try may succeed.
    pub timed_out: bool,
    /// Whether there is no route to the host.
    pub unreachable: bool,
    /// Whether a pooled connection failed before any answer. Such a request deserves one immediate
    /// retry on a fresh connection.
    pub stale_connection: bool,
    /// Likely cause and next step.
    pub hint: Option<&'static str>,
    /// The error underneath, without the URL of the request.
    pub source: Option<SharedError>,
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A server words a part of the cause, such as the names in its certificate.
        let (address, cause) = (plain_line(&self.address), plain_line(&self.cause));
        write!(f, "{} {address}: {cause}", self.phase)?;
        match self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl Error for NetError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.source.as_ref()?;
        Some(&**source)
    }
}

/// Compares everything but the error underneath, whose text is part of `cause`.
impl PartialEq for NetError {
    fn eq(&self, other: &Self) -> bool {
        let flags = |error: &Self| (error.timed_out, error.unreachable, error.stale_connection);
        self.phase == other.phase
            && self.peer == other.peer
            && self.address == other.address
            && self.cause == other.cause
            && self.hint == other.hint
            && flags(self) == flags(other)
    }
}

impl Eq for NetError {}

impl NetError {
    /// An error without hint and source, which no clock ended.
    #[must_use]
    pub fn new(
        phase: Phase,
        peer: Peer,
        address: impl Into<String>,
        cause: impl Into<String>,
    ) -> Self {
        Self {
            phase,
            peer,
            address: address.into(),
            cause: cause.into(),
            timed_out: false,
            unreachable: false,
            stale_connection: false,
            hint: None,
            source: None,
        }
    }

    /// An error that was met while an answer's body was read (`Response::chunk`, `bytes` and the
    /// like). `url` is shown without query and user information.
    #[must_use]
    pub fn from_reqwest(error: reqwest::Error, peer: Peer, url: &Url) -> Self {
        Self::classify(error, RequestStep::Connected, peer, redacted(url))
    }

    /// An error that was met before the end of the answer's headers, during `step`.
    pub(super) fn from_request(
        error: reqwest::Error,
        step: RequestStep,
        peer: Peer,
        address: String,
    ) -> Self {
        Self::classify(error, step, peer, address)
    }

    /// A request that the caller's own clock ended.
    #[must_use]
    pub fn timed_out(phase: Phase, peer: Peer, url: &Url) -> Self {
        Self {
            timed_out: true,
            hint: hints::hint(phase, peer, NetFault::TimedOut),
            ..Self::new(phase, peer, redacted(url), "timed out")
        }
    }

    /// A body that comes from a file or another local source, and cannot be read to its end.
    #[must_use]
    pub fn unreadable_body(error: io::Error, peer: Peer, place: impl Into<String>) -> Self {
        let cause = error.to_string();
        Self::new(Phase::Body, peer, place, cause).with_source(error)
    }

    /// A request that cannot be built from the configuration. `place` is the malformed address, or
    /// the name of the malformed setting.
    #[must_use]
    pub fn malformed_request(
        peer: Peer,
        place: impl Into<String>,
        cause: impl Into<String>,
    ) -> Self {
        Self::new(Phase::Request, peer, place, cause)
    }

    /// Credentials, kept at `place`, that cannot be read. `passing` says whether the next try may
    /// succeed.
    #[must_use]
    pub(super) fn no_credentials(
        place: impl Into<String>,
        cause: impl Into<String>,
        passing: bool,
    ) -> Self {
        Self {
            timed_out: passing,
            ..Self::new(Phase::Credentials, Peer::Aws, place, cause)
        }
    }

    /// The same error, with the error underneath it.
    #[must_use]
    pub(super) fn with_source(self, source: impl Error + Send + Sync + 'static) -> Self {
        Self {
            source: Some(Arc::new(source)),
            ..self
        }
    }

    fn classify(error: reqwest::Error, step: RequestStep, peer: Peer, address: String) -> Self {
        let chain = SourceChain::of(&error);
        let timed_out = error.is_timeout();
        let phase = chain.phase(&error, step, address.starts_with("https:"));
        let fault = chain.fault(phase, timed_out);
        // Our own time-out says nothing about the connection; the socket's does.
        let blames_connection = !timed_out || chain.has_socket_timed_out();
        let stale_connection =
            phase == Phase::Http && step == RequestStep::Pooled && blames_connection;
        let cause = if timed_out {
            "timed out".to_owned()
        } else {
            chain.cause
        };
        Self {
            timed_out,
            unreachable: fault == NetFault::Unreachable,
            stale_connection,
            hint: hints::hint(phase, peer, fault),
            // The URL may hold secrets.
            ..Self::new(phase, peer, address, cause).with_source(error.without_url())
        }
    }
}

/// The address as `scheme://host:port/path`: a query or user information may hold secrets.
///
/// ```
/// let url = "https://user:secret@prom.home:9090/federate?token=secret".parse().unwrap();
/// assert_eq!(amp_forwarder::net::redacted(&url), "https://prom.home:9090/federate");
/// ```
#[must_use]
pub fn redacted(url: &Url) -> String {
    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    format!(
        "{}://{}{port}{}",
        url.scheme(),
        url.host_str().unwrap_or_default(),
        url.path()
    )
}
