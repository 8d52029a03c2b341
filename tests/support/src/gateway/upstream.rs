//! The receiver behind the gateway: a real Prometheus with `--web.enable-remote-write-receiver`.

use bytes::Bytes;
use http_body_util::Full;

use super::refusal::{Reason, Refusal};
use super::wire::{self, WriteRequest};
use crate::http::Client;

/// The receiver of the accepted samples.
#[derive(Debug)]
pub struct Upstream {
    url: String,
    client: Client,
}

impl Upstream {
    /// Makes a receiver with this remote-write URL.
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            client: Client::default(),
        }
    }

    /// Forwards a request and waits for its answer.
    ///
    /// # Errors
    /// Refuses with 503 when the receiver is away or failing, and with its own status when it
    /// refuses the request.
    pub async fn forward(&self, request: &WriteRequest) -> Result<(), Refusal> {
        if request.timeseries.is_empty() && request.metadata.is_empty() {
            return Ok(());
        }
        let away = |what: String| Refusal::text(503, Reason::UpstreamAway, what);
        let body = Full::new(Bytes::from(wire::compress(request)));
        let request = http::Request::post(&self.url)
            .header("content-encoding", "snappy")
            .header("content-type", "application/x-protobuf")
            .header("user-agent", "gateway")
            .header("x-prometheus-remote-write-version", "0.1.0")
            .body(body)
            .map_err(|error| away(error.to_string()))?;
        let response = self
            .client
            .send(request)
            .await
            .map_err(|error| away(format!("no healthy upstream: {error:#}")))?;
        let status = response.status().as_u16();
        let text = String::from_utf8_lossy(response.body()).into_owned();
        match status {
            200..=299 => Ok(()),
            500..=599 => Err(away(text)),
            _ => Err(Refusal::text(status, Reason::UpstreamRefused, text)),
        }
    }
}
