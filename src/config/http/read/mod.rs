//! Reads the HTTP client configuration; errors are worded as Prometheus 3.5 words them.

mod auth;
mod headers;
mod proxy;
mod tls;

pub(in crate::config) use auth::auth_name;

use super::model::HttpConfig;
use crate::config::reader::{Reader, Section};

/// Reads the keys that are inline in a job or a remote. // common config/http_config.go
/// HTTPClientConfig.Validate
pub(in crate::config) fn read_http(reader: &mut Reader<'_>, section: &Section<'_>) -> HttpConfig {
    reader.boolean(section, "enable_http2");
    HttpConfig {
        auth: auth::read_auth(reader, section),
        tls: tls::read_tls(reader, section),
        proxy: proxy::read_proxy(reader, section),
        follow_redirects: reader.boolean(section, "follow_redirects").unwrap_or(true),
        headers: headers::read_headers(reader, section),
    }
}
