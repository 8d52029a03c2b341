//! The gateway's own HTTP API, for the demo and for people: `GET /admin/stats`, `GET
//! /admin/journal`, `POST /admin/faults` (one fault), `DELETE /admin/faults`.

use http::Method;

use super::GatewayState;
use super::faults::Fault;
use crate::http::{self as server, ServerBody, ServerRequest};

const LARGEST_FAULT: usize = 64 * 1024;
const NEWEST: usize = 100;

/// Answers a request to `/admin/`.
pub(super) async fn answer(
    shared: &GatewayState,
    request: ServerRequest,
) -> http::Response<ServerBody> {
    let (parts, body) = request.into_parts();
    match (parts.method, parts.uri.path()) {
        (Method::GET, "/admin/stats") => server::respond_json(200, &shared.stats()),
        (Method::GET, "/admin/journal") => server::respond_json(200, &newest(shared)),
        (Method::POST, "/admin/faults") => {
            let body = server::read_body(body, LARGEST_FAULT)
                .await
                .unwrap_or_default();
            match serde_json::from_slice::<Fault>(&body) {
                Ok(fault) => {
                    shared.faults.add(fault);
                    server::respond(204, "")
                }
                Err(error) => server::respond(400, format!("not a fault: {error}\n")),
            }
        }
        (Method::DELETE, "/admin/faults") => {
            shared.faults.clear();
            server::respond(204, "")
        }
        _ => server::respond(
            404,
            "known routes: GET /admin/stats, GET /admin/journal, POST /admin/faults, \
             DELETE /admin/faults\n",
        ),
    }
}

fn newest(shared: &GatewayState) -> Vec<serde_json::Value> {
    let journal = shared.journal();
    let entries: Vec<_> = journal.entries().collect();
    entries[entries.len().saturating_sub(NEWEST)..]
        .iter()
        .map(|entry| {
            serde_json::json!({
                "number": entry.number,
                "connection": entry.connection,
                "arrived_ms": entry.arrived_ms,
                "took_ms": entry.answered.map(|at| (at.saturating_sub(entry.arrived)).as_millis()),
                "status": entry.status,
                "reason": entry.reason,
                "fault": entry.fault,
                "samples": entry.sample_count,
                "body_bytes": entry.body_bytes,
                "in_flight": entry.in_flight,
            })
        })
        .collect()
}
