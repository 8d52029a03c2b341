//! Makes certificates for the servers and clients of tests.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

const DAY: Duration = Duration::from_secs(86_400);

/// An authority that signs certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM form.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate chain.
    pub cert: String,
    /// The private key.
    pub key: String,
}

impl Authority {
    /// Makes a new authority.
    ///
    /// # Errors
    /// Fails when there is no randomness.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self {
            issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)?,
        })
    }

    /// The certificate of the authority, in PEM form.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Issues a certificate for a server with these names or addresses, or for a client.
    ///
    /// # Errors
    /// Fails when a certificate may not have one of the names.
    pub fn issue(&self, names: &[&str]) -> Result<Pair> {
        self.issue_with(&params(names)?)
    }

    /// Issues a certificate that expired yesterday; see [`Self::issue`].
    ///
    /// # Errors
    /// Fails as [`Self::issue`] does.
    pub fn issue_expired(&self, names: &[&str]) -> Result<Pair> {
        self.issue_with(&expired(params(names)?))
    }

    fn issue_with(&self, params: &CertificateParams) -> Result<Pair> {
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?;
        Ok(Pair {
            cert: cert.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// Makes a certificate that is its own authority, as `openssl req -x509` does.
///
/// # Errors
/// Fails as [`Authority::issue`] does.
pub fn self_signed(names: &[&str], is_expired: bool) -> Result<Pair> {
    let mut params = params(names)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.extended_key_usages = Vec::new();
    if is_expired {
        params = expired(params);
    }
    let key = KeyPair::generate()?;
    Ok(Pair {
        cert: params.self_signed(&key)?.pem(),
        key: key.serialize_pem(),
    })
}

fn params(names: &[&str]) -> Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    Ok(params)
}

fn expired(mut params: CertificateParams) -> CertificateParams {
    params.not_before = (SystemTime::now() - 10 * DAY).into();
    params.not_after = (SystemTime::now() - DAY).into();
    params
}
