//! The query API of a workspace: a signed `POST …/api/v1/query` is answered by the receiver behind
//! the gateway.

use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::Full;

use super::refusal::{Reason, Refusal};
use super::{GatewayState, sigv4};
use crate::http::{self as server, HandlerResult, Hangup, ServerRequest};

/// Largest form that is read.
const LARGEST_FORM: usize = 1 << 20;

/// The path of queries of a workspace.
pub fn path(workspace: &str) -> String {
    format!("/workspaces/{workspace}/api/v1/query")
}

/// Checks the signature, and passes the query on.
pub(super) async fn answer(shared: &GatewayState, request: ServerRequest) -> HandlerResult {
    let (parts, body) = request.into_parts();
    let body = server::read_body(body, LARGEST_FORM).await.ok_or(Hangup)?;
    let options = &shared.options;
    let signed = if options.keys.is_empty() {
        Ok(())
    } else {
        sigv4::verify(&parts, &body, options, SystemTime::now())
    };
    let answered = match signed {
        Ok(()) => ask(shared, body).await,
        Err(refusal) => Err(refusal),
    };
    Ok(answered.unwrap_or_else(|refusal| server::respond(refusal.status, refusal.body)))
}

async fn ask(
    shared: &GatewayState,
    form: Bytes,
) -> Result<http::Response<server::ServerBody>, Refusal> {
    let away = |what: String| Refusal::text(503, Reason::UpstreamAway, what);
    let upstream = shared.options.upstream.as_deref().unwrap_or_default();
    let url = upstream
        .strip_suffix("/api/v1/write")
        .map(|home| format!("{home}/api/v1/query"))
        .ok_or_else(|| away("there is no receiver to query".to_owned()))?;
    let request = http::Request::post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::new(form))
        .map_err(|error| away(error.to_string()))?;
    let answer = server::Client::default()
        .send(request)
        .await
        .map_err(|error| away(format!("{error:#}")))?;
    let status = answer.status().as_u16();
    Ok(server::respond(status, answer.into_body()))
}
