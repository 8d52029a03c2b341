//! The HTTP client configuration as the rest of the program sees it.

use url::Url;

use super::super::secret::{Secret, SecretSource};
use super::proxy::ProxyConfig;

/// How requests of a job or to a remote are made. `enable_http2` is read and has no effect:
/// HTTP/1.1 is spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// What proves who asks. At most one.
    pub auth: Option<Auth>,
    /// Certificates and versions.
    pub tls: TlsConfig,
    /// Who is asked to pass requests on.
    pub proxy: ProxyConfig,
    /// Default true. Credentials go to no other host.
    pub follow_redirects: bool,
    /// `http_headers`: added to each request, after those of the protocol.
    pub headers: Vec<HttpHeader>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            auth: None,
            tls: TlsConfig::default(),
            proxy: ProxyConfig::default(),
            follow_redirects: true,
            headers: Vec::new(),
        }
    }
}

/// One name of `http_headers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpHeader {
    /// As written.
    pub name: String,
    /// `values`, then `secrets`, then `files`, a header each.
    pub values: Vec<SecretSource>,
}

/// What the `Authorization` header is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// `basic_auth`.
    Basic {
        /// Default: empty.
        username: Option<SecretSource>,
        /// Default: empty.
        password: Option<SecretSource>,
    },
    /// `authorization`, `bearer_token` and `bearer_token_file`.
    Authorization {
        /// Default `Bearer`.
        scheme: String,
        /// Default: empty.
        credentials: Option<SecretSource>,
    },
    /// `oauth2`, with client credentials.
    OAuth2(Box<OAuth2>),
}

/// Prometheus' `oauth2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth2 {
    /// Of this client.
    pub client_id: String,
    /// Default: empty.
    pub client_secret: Option<SecretSource>,
    /// Asked for together.
    pub scopes: Vec<String>,
    /// Where tokens come from.
    pub token_url: Url,
    /// Further parameters of the request for a token.
    pub endpoint_params: Vec<(String, Secret)>,
    /// For the token's server.
    pub tls: TlsConfig,
    /// For the token's server.
    pub proxy: ProxyConfig,
}

/// Prometheus' `tls_config`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM certificates of the authorities that are trusted, and no others. Default: the public
    /// ones.
    pub ca: Option<SecretSource>,
    /// PEM chain of the client. Only together with `key`.
    pub cert: Option<SecretSource>,
    /// PEM key of the client.
    pub key: Option<SecretSource>,
    /// The name that is asked for and that the certificate must have, in place of the address'
    /// host.
    pub server_name: Option<String>,
    /// Default false: the server's certificate is verified.
    pub insecure_skip_verify: bool,
    /// Default: TLS 1.2.
    pub min_version: Option<TlsVersion>,
    /// Default: TLS 1.3.
    pub max_version: Option<TlsVersion>,
}

/// The versions that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl HttpConfig {
    /// What has to be asked for before a request can be made: files, objects in S3, secrets that
    /// AWS keeps.
    #[must_use]
    pub fn sources(&self) -> Vec<&SecretSource> {
        let mut sources: Vec<&SecretSource> = self.tls.sources().collect();
        match &self.auth {
            None => {}
            Some(Auth::Basic { username, password }) => {
                sources.extend(username.iter().chain(password))
            }
            Some(Auth::Authorization { credentials, .. }) => sources.extend(credentials),
            Some(Auth::OAuth2(oauth2)) => {
                sources.extend(&oauth2.client_secret);
                sources.extend(oauth2.tls.sources());
                sources.extend(oauth2.proxy.connect_headers.iter().map(|(_, value)| value));
            }
        }
        sources.extend(self.headers.iter().flat_map(|header| &header.values));
        sources.extend(self.proxy.connect_headers.iter().map(|(_, value)| value));
        sources.retain(|source| source.constant().is_none());
        sources
    }
}

impl TlsConfig {
    fn sources(&self) -> impl Iterator<Item = &SecretSource> {
        self.ca.iter().chain(&self.cert).chain(&self.key)
    }
}
