//! Network errors by phase.

use std::fmt;

/// Where on its way a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Name resolution.
    Dns,
    /// TCP connection.
    Connect,
    /// TLS handshake.
    Tls,
    /// From sending the request to the end of the answer's headers.
    Http,
    /// The answer's body.
    Body,
}

/// Who was asked: the likely cause of the same error differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// The home Prometheus.
    Home,
    /// A remote-write receiver, AMP for one.
    Remote,
    /// S3.
    Store,
    /// STS, SSM and other AWS services.
    Aws,
}

/// A request that got no usable answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetError {
    /// Where it failed.
    pub phase: Phase,
    /// Who was asked.
    pub peer: Peer,
    /// `scheme://host:port/path`, without query and user information.
    pub address: String,
    /// What the system said.
    pub cause: String,
    /// Whether it was the clock that ended it.
    pub timed_out: bool,
    /// Failed on a pooled connection before any answer: worth one immediate retry on a fresh one.
    pub stale_connection: bool,
    /// Likely cause and next step.
    pub hint: Option<&'static str>,
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}: {}", self.phase, self.address, self.cause)
    }
}

impl std::error::Error for NetError {}
