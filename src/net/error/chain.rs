//! What the sources of a client's error say about its phase and fault.

use std::error::Error;
use std::io;

use super::phase::{NetFault, Phase};
use crate::net::progress::RequestStep;
use crate::net::resolve::DnsError;

/// The findings along the sources of an error.
#[derive(Default)]
pub(super) struct SourceChain {
    /// Name resolution failed.
    dns: bool,
    /// rustls reported an error.
    tls: bool,
    /// The fault that rustls named, if it changes the advice.
    tls_fault: Option<NetFault>,
    /// Kind of the innermost I/O error.
    io: Option<io::ErrorKind>,
    /// Innermost message.
    pub(super) cause: String,
}

impl SourceChain {
    pub(super) fn of(error: &reqwest::Error) -> Self {
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
                self.tls_fault = tls_fault(tls);
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

    /// The phase in which the request failed. `step` is what it was doing, and `https` whether its
    /// address asks for TLS.
    pub(super) fn phase(&self, error: &reqwest::Error, step: RequestStep, https: bool) -> Phase {
        let timed_out = error.is_timeout();
        if error.is_body() || error.is_decode() {
            return Phase::Body;
        }
        if self.dns || (timed_out && step == RequestStep::Resolving) {
            return Phase::Dns;
        }
        if self.tls || (timed_out && step == RequestStep::Handshaking) {
            return Phase::Tls;
        }
        if error.is_connect() || (timed_out && step == RequestStep::Connecting) {
            // A TCP connection is refused or lost, never cut short or garbled. If it was, the
            // handshake was cut.
            return if https && self.is_cut() {
                Phase::Tls
            } else {
                Phase::Connect
            };
        }
        Phase::Http
    }

    fn is_cut(&self) -> bool {
        matches!(
            self.io,
            Some(
                io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::InvalidData
            )
        )
    }

    /// The fault that ended the request in `phase`. `timed_out` says whether the client's own clock
    /// ended it.
    pub(super) fn fault(&self, phase: Phase, timed_out: bool) -> NetFault {
        if let Some(fault) = self.tls_fault {
            return fault;
        }
        if timed_out || (phase == Phase::Dns && self.has_socket_timed_out()) {
            return NetFault::TimedOut;
        }
        // These two are hyper's texts: the function has no dependency on hyper of its own.
        if phase == Phase::Http && self.cause.starts_with("invalid HTTP ") {
            return NetFault::NotHttp;
        }
        if phase == Phase::Http && self.cause == "connection closed before message completed" {
            return NetFault::Closed;
        }
        match self.io {
            Some(io::ErrorKind::ConnectionRefused) => NetFault::Refused,
            Some(io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable) => {
                NetFault::Unreachable
            }
            Some(
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionAborted,
            ) => NetFault::Reset,
            _ => NetFault::Other,
        }
    }

    /// Whether the operating system gave up on the socket (`TCP_USER_TIMEOUT`).
    pub(super) fn has_socket_timed_out(&self) -> bool {
        self.io == Some(io::ErrorKind::TimedOut)
    }
}

/// The fault behind a TLS error, if it changes the advice.
fn tls_fault(error: &rustls::Error) -> Option<NetFault> {
    use rustls::{AlertDescription, CertificateError, Error};
    Some(match error {
        Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                NetFault::UnknownIssuer
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                NetFault::WrongName
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                NetFault::Expired
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                NetFault::NotYetValid
            }
            // Mostly a self-signed certificate. webpki's own errors have no variants in rustls.
            CertificateError::Other(error) if error.to_string().contains("CaUsedAsEndEntity") => {
                NetFault::UnknownIssuer
            }
            _ => NetFault::Certificate,
        },
        Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
                NetFault::ClientCertificateWanted
            }
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied => NetFault::ClientCertificateRefused,
            AlertDescription::ProtocolVersion => NetFault::TlsVersion,
            AlertDescription::UnrecognisedName => NetFault::UnknownName,
            _ => return None,
        },
        Error::PeerIncompatible(_) => NetFault::TlsVersion,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_certificate_is_found_inside_an_io_error() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls));
        let mut chain = SourceChain::default();
        chain.follow(&error);
        assert!(chain.tls);
        assert_eq!(chain.tls_fault, Some(NetFault::UnknownIssuer));
        assert_eq!(chain.cause, "invalid peer certificate: UnknownIssuer");
        assert_eq!(chain.io, Some(io::ErrorKind::InvalidData));
    }
}
