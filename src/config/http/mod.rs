//! Prometheus' HTTP client configuration, whose keys are inline in jobs and remotes. // common
//! config/http_config.go HTTPClientConfig

mod model;
mod proxy;
mod read;
#[cfg(test)]
mod tests;

pub use model::{Auth, HttpConfig, HttpHeader, OAuth2, TlsConfig, TlsVersion};
pub use proxy::ProxyConfig;
pub(super) use read::{auth_name, read_http};
