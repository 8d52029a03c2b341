//! TLS configurations: rustls with ring.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue, VerifierBuilderError, WebPkiServerVerifier, verify_server_name,
};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, NamedGroup, RootCertStore,
    SignatureScheme, SupportedProtocolVersion, version,
};

use super::progress::{self, RequestStep};
use crate::config::{Secret, TlsConfig, TlsVersion};

/// Number of servers whose TLS sessions are kept, so that they can be resumed.
const SESSIONS: usize = 64;

/// The configuration of the process, built at its first use. The root certificates are compiled in:
/// reading the system's costs 3 to 45 ms for each client.
pub(super) fn config() -> Result<ClientConfig, TlsError> {
    static CONFIG: OnceLock<Result<ClientConfig, TlsError>> = OnceLock::new();
    CONFIG
        .get_or_init(|| configured(&TlsConfig::default(), &TlsMaterials::default()))
        .clone()
}

/// The contents of the files of a `tls_config`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TlsMaterials {
    pub(super) ca: Option<Secret>,
    pub(super) cert: Option<Secret>,
    pub(super) key: Option<Secret>,
}

/// A `tls_config` that cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("tls_config.{key}: {fault}")]
pub struct TlsError {
    /// The key of `tls_config` that must be changed.
    pub key: &'static str,
    /// The fault of its value.
    #[source]
    pub fault: TlsFault,
}

/// The fault of a key of `tls_config`.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TlsFault {
    /// rustls does not accept a certificate, a key or a version.
    #[error(transparent)]
    Rustls(#[from] Error),
    /// No verifier can be made of the authorities.
    #[error(transparent)]
    Verifier(#[from] VerifierBuilderError),
    /// The server name is neither a host name nor an address.
    #[error("it is neither a DNS name nor an IP address")]
    Name,
    /// The file holds no certificate.
    #[error("found no certificate in PEM form")]
    NoCertificate,
    /// The file holds no usable key. The parser's own message is left out, because it quotes the
    /// file.
    #[error("found no private key in PEM form that is not encrypted")]
    NoKey,
}

impl TlsFault {
    /// Makes errors about `key`.
    fn of<E: Into<Self>>(key: &'static str) -> impl FnOnce(E) -> TlsError {
        move |error| TlsError {
            key,
            fault: error.into(),
        }
    }
}

/// Builds the client configuration that a `tls_config` and the contents of its files describe.
pub(super) fn configured(
    tls: &TlsConfig,
    materials: &TlsMaterials,
) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(tls))
        .map_err(TlsFault::of("min_version"))?;
    let verifier = verifier(tls, materials, provider)?;
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match (&materials.cert, &materials.key) {
        (Some(cert), Some(key)) => {
            let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
                .map_err(|_| TlsFault::of("key")(TlsFault::NoKey))?;
            builder
                .with_client_auth_cert(certificates(cert, "cert")?, key)
                .map_err(TlsFault::of("cert"))?
        }
        _ => builder.with_no_client_auth(),
    };
    config.resumption =
        Resumption::store(Arc::new(Sessions(ClientSessionMemoryCache::new(SESSIONS))));
    Ok(config)
}

/// The TLS versions from `min_version` to `max_version`.
fn versions(tls: &TlsConfig) -> Vec<&'static SupportedProtocolVersion> {
    let lowest = tls.min_version.unwrap_or(TlsVersion::Tls12);
    let highest = tls.max_version.unwrap_or(TlsVersion::Tls13);
    [
        (TlsVersion::Tls13, &version::TLS13),
        (TlsVersion::Tls12, &version::TLS12),
    ]
    .into_iter()
    .filter(|(version, _)| (lowest..=highest).contains(version))
    .map(|(_, version)| version)
    .collect()
}

/// The verifier of server certificates that a `tls_config` describes.
fn verifier(
    tls: &TlsConfig,
    materials: &TlsMaterials,
    provider: Arc<CryptoProvider>,
) -> Result<Verifier, TlsError> {
    let authorities = match &materials.ca {
        Some(pem) => Some(certificates(pem, "ca")?),
        None => None,
    };
    let roots = match &authorities {
        // As in Go, configured authorities take the place of the public ones.
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for authority in authorities {
                roots.add(authority.clone()).map_err(TlsFault::of("ca"))?;
            }
            roots
        }
        None => RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        },
    };
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(TlsFault::of("ca"))?;
    let name = match &tls.server_name {
        Some(name) => Some(
            ServerName::try_from(name.clone())
                .map_err(|_| TlsFault::of("server_name")(TlsFault::Name))?,
        ),
        None => None,
    };
    Ok(Verifier {
        verifier,
        provider,
        name,
        pinned: authorities.unwrap_or_default(),
        insecure_skip_verify: tls.insecure_skip_verify,
    })
}

fn certificates(pem: &Secret, key: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(pem.expose().as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(TlsFault::of(key)(TlsFault::NoCertificate)),
    }
}

/// webpki's verification, against the configured name where there is one, and with Go's additional
/// trust in pinned certificates.
#[derive(Debug)]
struct Verifier {
    verifier: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
    name: Option<ServerName<'static>>,
    /// The certificates of `ca`. A server that presents one of these itself is trusted, as in Go
    /// (`x509` `Verify`). Such a certificate, made by `openssl req -x509`, mostly calls itself an
    /// authority, and webpki accepts no authority as a server.
    pinned: Vec<CertificateDer<'static>>,
    insecure_skip_verify: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.insecure_skip_verify {
            return Ok(ServerCertVerified::assertion());
        }
        let name = self.name.as_ref().unwrap_or(server_name);
        match self
            .verifier
            .verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
        {
            // webpki checks the validity first, so an error about anything else says that the time
            // was right.
            Err(error)
                if self.pinned.iter().any(|pinned| pinned == end_entity)
                    && !is_about_time(&error) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn is_about_time(error: &Error) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(
        error,
        Error::InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }
        )
    )
}

/// A session store that marks the beginning of the handshake, because that is when rustls looks for
/// a session first. So a time-out of the handshake can be distinguished from one of the TCP
/// connection.
#[derive(Debug)]
struct Sessions(ClientSessionMemoryCache);

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(server_name, group);
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        progress::current().enter(RequestStep::Handshaking);
        self.0.kx_hint(server_name)
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(server_name, value);
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        progress::current().enter(RequestStep::Handshaking);
        self.0.tls12_session(server_name)
    }

    fn remove_tls12_session(&self, server_name: &ServerName<'static>) {
        self.0.remove_tls12_session(server_name);
    }

    fn insert_tls13_ticket(
        &self,
        server_name: ServerName<'static>,
        value: Tls13ClientSessionValue,
    ) {
        self.0.insert_tls13_ticket(server_name, value);
    }

    fn take_tls13_ticket(
        &self,
        server_name: &ServerName<'static>,
    ) -> Option<Tls13ClientSessionValue> {
        progress::current().enter(RequestStep::Handshaking);
        self.0.take_tls13_ticket(server_name)
    }
}
