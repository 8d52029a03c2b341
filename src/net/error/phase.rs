//! The words that describe a network error: how far the request came, who was asked, and which
//! fault ended it.

use std::fmt;

/// How far a request came before it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The request could not be built: its URL, a header name or a proxy address of the
    /// configuration is malformed.
    Request,
    /// The secrets that the request needs could not be read, or its token could not be fetched.
    Credentials,
    /// Name resolution.
    Dns,
    /// TCP connection.
    Connect,
    /// TLS handshake.
    Tls,
    /// The exchange from the first byte of the request to the end of the answer's headers.
    Http,
    /// The answer's body.
    Body,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "request",
            Self::Credentials => "credentials",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Body => "body",
        })
    }
}

/// The party that was asked. The same error has different likely causes for different peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// The home Prometheus.
    Home,
    /// A remote-write receiver, for example AMP.
    Remote,
    /// S3.
    Store,
    /// STS, SSM and other AWS services.
    Aws,
}

/// The fault that ended a request, as far as it changes the advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) enum NetFault {
    TimedOut,
    /// The connection was refused.
    Refused,
    /// There is no route to the host.
    Unreachable,
    /// The connection was reset.
    Reset,
    /// The server's certificate is signed by an authority that is not trusted.
    UnknownIssuer,
    /// The server's certificate is for other names.
    WrongName,
    Expired,
    NotYetValid,
    /// The server's certificate is unfit for another reason.
    Certificate,
    ClientCertificateWanted,
    ClientCertificateRefused,
    /// The two sides speak no common TLS version.
    TlsVersion,
    /// The server has no host of the requested name.
    UnknownName,
    /// The connection was closed before an answer.
    Closed,
    /// The answer is no HTTP.
    NotHttp,
    Other,
}
