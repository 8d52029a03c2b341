//! The HTTP client configuration as the rest of the program sees it.

use url::Url;

use super::super::secret::{Secret, SecretSource};
use super::proxy::ProxyConfig;

/// HTTP client configuration of a job or a remote. `enable_http2` is read and has no effect: all
/// requests use HTTP/1.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// Credentials of each request, at most one kind.
    pub auth: Option<Auth>,
    /// Settings for TLS.
    pub tls: TlsConfig,
    /// Proxies that requests go through.
    pub proxy: ProxyConfig,
    /// Whether redirects are followed. Credentials are sent to no other host. Default true.
    pub follow_redirects: bool,
    /// `http_headers`: headers that are added to each request, after those of the protocol.
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
    /// Name of the header, as written.
    pub name: String,
    /// Values in the order `values`, `secrets`, `files`. Each is a header of its own.
    pub values: Vec<SecretSource>,
}

/// The source of the `Authorization` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// `basic_auth`.
    Basic {
        /// User name; empty by default.
        username: Option<SecretSource>,
        /// Password; empty by default.
        password: Option<SecretSource>,
    },
    /// `authorization`, `bearer_token` and `bearer_token_file`.
    Authorization {
        /// Word before the credentials. Default `Bearer`.
        scheme: String,
        /// Credentials; empty by default.
        credentials: Option<SecretSource>,
    },
    /// `oauth2`, with client credentials.
    OAuth2(Box<OAuth2>),
}

/// Prometheus' `oauth2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth2 {
    /// Id of this client.
    pub client_id: String,
    /// Secret of this client; empty by default.
    pub client_secret: Option<SecretSource>,
    /// Scopes that are asked for together.
    pub scopes: Vec<String>,
    /// Address of the token server.
    pub token_url: Url,
    /// Further parameters of the request for a token.
    pub endpoint_params: Vec<(String, Secret)>,
    /// Settings for TLS to the token server.
    pub tls: TlsConfig,
    /// Proxies for the token server.
    pub proxy: ProxyConfig,
}

/// Prometheus' `tls_config`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM certificates of the only authorities that are trusted. By default the public ones are.
    pub ca: Option<SecretSource>,
    /// PEM certificate chain of the client, which is given together with `key`.
    pub cert: Option<SecretSource>,
    /// PEM key of the client, which is given together with `cert`.
    pub key: Option<SecretSource>,
    /// Name that the server is asked for and that its certificate must have. By default it is the
    /// host of the address.
    pub server_name: Option<String>,
    /// Whether the server's certificate is accepted unverified. Default false.
    pub insecure_skip_verify: bool,
    /// Lowest version. Default: TLS 1.2.
    pub min_version: Option<TlsVersion>,
    /// Highest version. Default: TLS 1.3.
    pub max_version: Option<TlsVersion>,
}

/// Supported versions of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl HttpConfig {
    /// The sources that must be read before a request can be made: files, objects in S3, and
    /// secrets in AWS.
    #[must_use]
    pub fn sources(&self) -> Vec<&SecretSource> {
        let mut sources: Vec<&SecretSource> = self.tls.sources().collect();
        match &self.auth {
            None => {}
            Some(Auth::Basic { username, password }) => {
                sources.extend(username.iter().chain(password));
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
