//! TLS configurations: rustls with ring.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue, WebPkiServerVerifier, verify_server_name,
};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, NamedGroup, RootCertStore,
    SignatureScheme, SupportedProtocolVersion, version,
};

use super::progress::{self, Step};
use crate::config::{Secret, TlsConfig, TlsVersion};

/// Sessions that can be taken up again, of as many servers.
const SESSIONS: usize = 64;

/// With the roots compiled in, built on first use: reading the system's certificates costs 3 to 45
/// ms for each client.
pub(super) fn config() -> Result<ClientConfig, Error> {
    static CONFIG: OnceLock<Result<ClientConfig, Error>> = OnceLock::new();
    CONFIG
        .get_or_init(|| {
            configured(&TlsConfig::default(), &Materials::default())
                .map_err(|error| Error::General(error.cause))
        })
        .clone()
}

/// What stands in the files of a `tls_config`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Materials {
    pub(super) ca: Option<Secret>,
    pub(super) cert: Option<Secret>,
    pub(super) key: Option<Secret>,
}

/// A `tls_config` that cannot be used.
#[derive(Debug)]
pub(super) struct TlsError {
    /// The key that is to be mended.
    pub(super) key: &'static str,
    pub(super) cause: String,
}

/// The configuration that a `tls_config` means.
pub(super) fn configured(tls: &TlsConfig, materials: &Materials) -> Result<ClientConfig, TlsError> {
    let fail = |key| {
        move |error: Error| TlsError {
            key,
            cause: error.to_string(),
        }
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (lowest, highest) = (
        tls.min_version.unwrap_or(TlsVersion::Tls12),
        tls.max_version.unwrap_or(TlsVersion::Tls13),
    );
    let versions: Vec<&'static SupportedProtocolVersion> = [
        (TlsVersion::Tls13, &version::TLS13),
        (TlsVersion::Tls12, &version::TLS12),
    ]
    .into_iter()
    .filter(|(version, _)| (lowest..=highest).contains(version))
    .map(|(_, version)| version)
    .collect();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(fail("min_version"))?;

    let authorities = match &materials.ca {
        Some(pem) => Some(certificates(pem, "ca")?),
        None => None,
    };
    let roots = match &authorities {
        // As in Go: they take the place of the public ones.
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for authority in authorities {
                roots.add(authority.clone()).map_err(fail("ca"))?;
            }
            roots
        }
        None => RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        },
    };
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let verifier = verifier.build().map_err(|error| TlsError {
        key: "ca",
        cause: error.to_string(),
    })?;
    let name = match &tls.server_name {
        Some(name) => Some(
            ServerName::try_from(name.clone()).map_err(|error| TlsError {
                key: "server_name",
                cause: error.to_string(),
            })?,
        ),
        None => None,
    };
    let verifier = Verifier {
        verifier,
        provider,
        name,
        pinned: authorities.unwrap_or_default(),
        insecure_skip_verify: tls.insecure_skip_verify,
    };
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));

    let mut config = match (&materials.cert, &materials.key) {
        (Some(cert), Some(key)) => {
            // Its Display names what was found in the file, never the key.
            let key =
                PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|_| TlsError {
                    key: "key",
                    cause: "found no private key in PEM form, which is not encrypted".to_owned(),
                })?;
            builder
                .with_client_auth_cert(certificates(cert, "cert")?, key)
                .map_err(fail("cert"))?
        }
        _ => builder.with_no_client_auth(),
    };
    config.resumption =
        Resumption::store(Arc::new(Sessions(ClientSessionMemoryCache::new(SESSIONS))));
    Ok(config)
}

fn certificates(pem: &Secret, key: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(pem.expose().as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(TlsError {
            key,
            cause: "found no certificate in PEM form".to_owned(),
        }),
    }
}

/// webpki's verification, against another name where one is configured, and with what Go does in
/// addition.
#[derive(Debug)]
struct Verifier {
    verifier: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
    name: Option<ServerName<'static>>,
    /// Of `ca`: a server that shows one of these themselves is trusted, as Go does (x509 Verify).
    /// Such a certificate, made by `openssl req -x509`, mostly calls itself an authority, which
    /// webpki accepts of none at the end of a chain.
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
            // The time is what webpki looks at first.
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

/// The first thing that a handshake does is to look here: so a time-out in it is told from one in
/// the TCP connection before.
#[derive(Debug)]
struct Sessions(ClientSessionMemoryCache);

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(server_name, group);
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        progress::current().enter(Step::Handshaking);
        self.0.kx_hint(server_name)
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(server_name, value);
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        progress::current().enter(Step::Handshaking);
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
        progress::current().enter(Step::Handshaking);
        self.0.take_tls13_ticket(server_name)
    }
}
