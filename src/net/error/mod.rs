//! Network errors by phase.

mod hints;

use std::error::Error;
use std::fmt;
use std::io;

use url::Url;

use self::hints::Kind;
use super::progress::Step;
use super::resolve::DnsError;

/// Where on its way a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Reading the secrets that the request needs, or fetching its token.
    Credentials,
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

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Credentials => "credentials",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Body => "body",
        })
    }
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
    /// `scheme://host:port/path`, without query and user information; of credentials, where they
    /// are kept.
    pub address: String,
    /// What the system said.
    pub cause: String,
    /// Whether it was the clock that ended it.
    pub timed_out: bool,
    /// Whether there is no route.
    pub unreachable: bool,
    /// Failed on a pooled connection before any answer: worth one immediate retry on a fresh one.
    pub stale_connection: bool,
    /// Likely cause and next step.
    pub hint: Option<&'static str>,
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.phase, self.address, self.cause)?;
        match self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl Error for NetError {}

impl NetError {
    /// What `error`, met while reading an answer's body (`Response::chunk`, `bytes`, …), means.
    /// `address` is shown redacted.
    #[must_use]
    pub fn from_reqwest(error: &reqwest::Error, peer: Peer, address: &Url) -> Self {
        Self::classify(error, Step::Connected, peer, redacted(address))
    }

    /// As [`NetError::from_reqwest`], before the end of the headers.
    pub(super) fn from_request(
        error: &reqwest::Error,
        step: Step,
        peer: Peer,
        address: String,
    ) -> Self {
        Self::classify(error, step, peer, address)
    }

    /// A request that the caller's own clock ended before its headers came.
    #[must_use]
    pub fn timed_out(phase: Phase, peer: Peer, address: &Url) -> Self {
        Self {
            phase,
            peer,
            address: redacted(address),
            cause: "timed out".to_owned(),
            timed_out: true,
            unreachable: false,
            stale_connection: false,
            hint: hints::hint(phase, peer, Kind::TimedOut),
        }
    }

    /// A file that stands for an answer and cannot be read.
    #[must_use]
    pub fn of_file(error: &io::Error) -> Self {
        Self {
            phase: Phase::Body,
            peer: Peer::Home,
            address: "the input file".to_owned(),
            cause: error.to_string(),
            timed_out: false,
            unreachable: false,
            stale_connection: false,
            hint: None,
        }
    }

    /// An address that cannot be asked at all.
    #[must_use]
    pub(crate) fn of_url(url: &Url, cause: String) -> Self {
        Self {
            phase: Phase::Http,
            peer: Peer::Home,
            ..Self::of_credentials(redacted(url), cause, false)
        }
    }

    /// Credentials, kept at `place`, that cannot be had. `passing`: not now.
    #[must_use]
    pub(crate) fn of_credentials(place: String, cause: String, passing: bool) -> Self {
        Self {
            phase: Phase::Credentials,
            peer: Peer::Aws,
            address: place,
            cause,
            timed_out: passing,
            unreachable: false,
            stale_connection: false,
            hint: None,
        }
    }

    fn classify(error: &reqwest::Error, step: Step, peer: Peer, address: String) -> Self {
        let chain = Chain::of(error);
        let timed_out = error.is_timeout();
        let phase = if error.is_body() || error.is_decode() {
            Phase::Body
        } else if chain.dns || (timed_out && step == Step::Resolving) {
            Phase::Dns
        } else if chain.tls || (timed_out && step == Step::Handshaking) {
            Phase::Tls
        } else if error.is_connect() || (timed_out && step == Step::Connecting) {
            // A TCP connection is refused or lost, never cut short or garbled: that is the
            // handshake.
            let handshake = address.starts_with("https:")
                && matches!(
                    chain.io,
                    Some(
                        io::ErrorKind::UnexpectedEof
                            | io::ErrorKind::ConnectionReset
                            | io::ErrorKind::InvalidData
                    )
                );
            if handshake {
                Phase::Tls
            } else {
                Phase::Connect
            }
        } else {
            Phase::Http
        };
        let kind = match chain.io {
            _ if chain.tls_kind.is_some() => chain.tls_kind.unwrap_or(Kind::Other),
            _ if timed_out => Kind::TimedOut,
            _ if phase == Phase::Dns && chain.io == Some(io::ErrorKind::TimedOut) => Kind::TimedOut,
            Some(io::ErrorKind::ConnectionRefused) => Kind::Refused,
            Some(io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable) => {
                Kind::Unreachable
            }
            Some(
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionAborted,
            ) => Kind::Reset,
            _ => Kind::Other,
        };
        let from_socket = chain.io == Some(io::ErrorKind::TimedOut);
        Self {
            phase,
            peer,
            address,
            cause: if timed_out {
                "timed out".to_owned()
            } else {
                chain.cause
            },
            timed_out,
            unreachable: kind == Kind::Unreachable,
            // Our own time-out says nothing about the connection; the socket's (TCP_USER_TIMEOUT)
            // does.
            stale_connection: phase == Phase::Http
                && step == Step::Pooled
                && (!timed_out || from_socket),
            hint: hints::hint(phase, peer, kind),
        }
    }
}

/// What the sources of an error tell.
#[derive(Default)]
struct Chain {
    dns: bool,
    tls: bool,
    tls_kind: Option<Kind>,
    io: Option<io::ErrorKind>,
    /// The innermost message.
    cause: String,
}

impl Chain {
    fn of(error: &reqwest::Error) -> Self {
        let mut chain = Self::default();
        if let Some(source) = error.source() {
            chain.follow(source);
        }
        if chain.cause.is_empty() {
            "no answer".clone_into(&mut chain.cause);
        }
        chain
    }

    fn follow(&mut self, error: &(dyn Error + 'static)) {
        let mut next = Some(error);
        while let Some(current) = next {
            if let Some(dns) = current.downcast_ref::<DnsError>() {
                self.dns = true;
                self.io = Some(dns.source.kind());
                self.cause = dns.to_string();
                return;
            }
            if let Some(tls) = current.downcast_ref::<rustls::Error>() {
                self.tls = true;
                self.tls_kind = tls_kind(tls);
            }
            if current.downcast_ref::<reqwest::Error>().is_none() {
                self.cause = current.to_string();
            }
            next = match current.downcast_ref::<io::Error>() {
                Some(io) => {
                    self.io = Some(io.kind());
                    // io::Error::source skips the error that it wraps.
                    io.get_ref().map(|inner| inner as &(dyn Error + 'static))
                }
                None => current.source(),
            };
        }
    }
}

/// What of a TLS error changes the advice.
fn tls_kind(error: &rustls::Error) -> Option<Kind> {
    use rustls::{AlertDescription, CertificateError, Error};
    Some(match error {
        Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Kind::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Kind::WrongName
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Kind::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Kind::NotYetValid
            }
            // A self-signed certificate, mostly; webpki's errors are not named one by one.
            CertificateError::Other(error) if error.to_string().contains("CaUsedAsEndEntity") => {
                Kind::UnknownIssuer
            }
            _ => Kind::Certificate,
        },
        Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
                Kind::ClientCertificateWanted
            }
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied => Kind::ClientCertificateRefused,
            AlertDescription::ProtocolVersion => Kind::TlsVersion,
            AlertDescription::UnrecognisedName => Kind::UnknownName,
            _ => return None,
        },
        Error::PeerIncompatible(_) => Kind::TlsVersion,
        _ => return None,
    })
}

/// `scheme://host:port/path`: a query or user information may hold secrets.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_certificate_is_found_inside_an_io_error() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls));
        let mut outer = Chain::default();
        outer.follow(&error);
        assert_eq!(
            (outer.tls, outer.tls_kind),
            (true, Some(Kind::UnknownIssuer))
        );
        assert_eq!(outer.cause, "invalid peer certificate: UnknownIssuer");
        assert_eq!(outer.io, Some(io::ErrorKind::InvalidData));
    }
}
