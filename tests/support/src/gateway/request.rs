//! The form of a request: path, headers, size and encoding. (`tenant` judges its samples.)

use http::request::Parts;
use prost::Message;

use super::options::GatewayOptions;
use super::refusal::{Reason, Refusal};
use super::wire::{self, WriteRequest};

/// The remote-write path of a workspace.
pub fn path(workspace: &str) -> String {
    format!("/workspaces/{workspace}/api/v1/remote_write")
}

/// Checks method and path. Errors there are answered before the signature is checked.
///
/// # Errors
/// Refuses a trailing slash and unknown routes with 403, another workspace with 404.
pub fn check_route(parts: &Parts, options: &GatewayOptions) -> Result<(), Refusal> {
    let actual = parts.uri.path();
    if actual == path(&options.workspace) {
        return if parts.method == http::Method::POST {
            Ok(())
        } else {
            Err(Refusal::json(405, Reason::Method, "Method Not Allowed"))
        };
    }
    if actual.starts_with("/workspaces/") && actual.ends_with("/api/v1/remote_write") {
        return Err(Refusal::json(
            404,
            Reason::NoSuchPath,
            "Workspace not found",
        ));
    }
    Err(Refusal::json(
        403,
        Reason::NoSuchPath,
        "Missing Authentication Token",
    ))
}

/// Checks the headers of remote write 1.0.
///
/// # Errors
/// Refuses another encoding or type with 415, other headers with 400, and AMP's own tenant header
/// with 403.
pub fn check_headers(parts: &Parts) -> Result<(), Refusal> {
    let value = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    if parts.headers.contains_key("x-scope-orgid") {
        return Err(Refusal::json(
            403,
            Reason::Header,
            "X-Scope-OrgID is not allowed",
        ));
    }
    for (name, expected, status) in [
        ("content-encoding", "snappy", 415),
        ("content-type", "application/x-protobuf", 415),
        ("x-prometheus-remote-write-version", "0.1.0", 400),
    ] {
        if value(name) != expected {
            let body = format!("{name}: \"{}\", expected \"{expected}\"", value(name));
            return Err(Refusal::text(status, Reason::Header, body));
        }
    }
    if value("user-agent").is_empty() {
        return Err(Refusal::text(400, Reason::Header, "user-agent is missing"));
    }
    Ok(())
}

/// Decompresses a body; both of its forms must keep to the limit.
///
/// # Errors
/// Refuses a body that is too large with 413, and one that is no snappy block with 400.
pub fn decompress(body: &[u8], limit: usize) -> Result<Vec<u8>, Refusal> {
    let too_large = |size: usize| {
        let body = format!("Request Entity Too Large: {size} bytes, the limit is {limit}");
        Refusal::json(413, Reason::TooLarge, body)
    };
    if body.len() > limit {
        return Err(too_large(body.len()));
    }
    match snap::raw::decompress_len(body) {
        Ok(length) if length > limit => return Err(too_large(length)),
        _ => {}
    }
    wire::decompress(body, limit)
        .map_err(|error| Refusal::text(400, Reason::Malformed, format!("snappy: {error}")))
}

/// Decodes a request.
///
/// # Errors
/// Refuses bytes that are no request with 400.
pub fn decode(bytes: &[u8]) -> Result<WriteRequest, Refusal> {
    WriteRequest::decode(bytes)
        .map_err(|error| Refusal::text(400, Reason::Malformed, format!("proto: {error}")))
}
