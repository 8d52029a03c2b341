//! Header values that hold secrets.

use ::http::header::{HeaderName, HeaderValue};
use aws_smithy_types::base64;

use super::error::{NetError, Peer};

/// The value of an `Authorization: Basic` header.
pub(super) fn basic(username: &str, password: &str) -> Result<HeaderValue, NetError> {
    let text = format!("Basic {}", base64::encode(format!("{username}:{password}")));
    sensitive(&text)
}

/// A header value that no log shows.
pub(super) fn sensitive(text: &str) -> Result<HeaderValue, NetError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        NetError::no_credentials(
            "header",
            "a secret holds a line break or another control character",
            false,
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// A header name of the configuration. `peer` is the party that it was meant for.
pub(super) fn name(text: &str, peer: Peer) -> Result<HeaderName, NetError> {
    text.parse()
        .map_err(|_| NetError::malformed_request(peer, text, "not a valid header name"))
}
