//! Which requests carry credentials.

use crate::config::http::HttpConfig;

/// Whether requests carry credentials.
pub(super) fn has_credentials(http: &HttpConfig) -> bool {
    http.auth.is_some()
        || http
            .headers
            .iter()
            .any(|header| is_credential(&header.name))
}

/// Whether the name of a header or a URL parameter says that its value is a credential.
pub(super) fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["auth", "cookie", "key", "password", "secret", "token"]
        .iter()
        .any(|word| name.contains(word))
}
