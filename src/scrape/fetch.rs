//! One GET of an exposition.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT, ACCEPT_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::config::{NameEscaping, ScrapeProtocol};
use crate::net::{self, NetError, Peer};

const SCRAPE_TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// What to fetch.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Target, path and parameters.
    pub url: &'a Url,
    /// See [`accept`].
    pub accept: &'a str,
    /// Ask for gzip.
    pub compression: bool,
    /// From connecting to the end of the body.
    pub timeout: Duration,
}

/// The header `Accept`, as `scrape/scrape.go` `acceptHeader` writes it: best first, anything last.
///
/// `/federate` gives UTF-8 names as they are only to whom says so, in whatever format (prometheus/common `expfmt.Negotiate`), so there
/// protobuf says it as well.
#[must_use]
pub fn accept(protocols: &[ScrapeProtocol], escaping: NameEscaping, federation: bool) -> String {
    let mut accept = String::new();
    // From one more than there are formats downwards: len(ScrapeProtocolsHeaders) + 1.
    let mut weight = 6;
    for protocol in protocols {
        let media_type = match protocol {
            ScrapeProtocol::PrometheusProto => "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
            ScrapeProtocol::PrometheusText0_0_4 => "text/plain;version=0.0.4",
            ScrapeProtocol::PrometheusText1_0_0 => "text/plain;version=1.0.0",
            ScrapeProtocol::OpenMetricsText0_0_1 => "application/openmetrics-text;version=0.0.1",
            ScrapeProtocol::OpenMetricsText1_0_0 => "application/openmetrics-text;version=1.0.0",
        };
        let escapes = match protocol {
            ScrapeProtocol::PrometheusText1_0_0 | ScrapeProtocol::OpenMetricsText1_0_0 => true,
            ScrapeProtocol::PrometheusProto => federation,
            _ => false,
        };
        accept += media_type;
        if escapes {
            accept += &format!(";escaping={}", escaping.as_str());
        }
        accept += &format!(";q=0.{weight},");
        weight -= 1;
    }
    accept + &format!("*/*;q=0.{weight}")
}

/// The head of an answer, and its body to come.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The body as it stands on the wire.
    pub body: Box<dyn Body>,
}

/// A body that arrives in pieces.
pub trait Body: Send {
    /// The next piece; none at a clean end.
    ///
    /// # Errors
    /// A body that is cut, or that takes longer than the request's time-out.
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, NetError>>;
}

/// The home Prometheus: a seam, so that whole ticks run in a simulation.
pub trait Home: Send + Sync {
    /// Asks, and returns once the headers are there.
    ///
    /// # Errors
    /// No answer.
    fn get<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Result<Answer, NetError>>;
}

/// The real one.
#[derive(Debug, Clone)]
pub struct HttpHome {
    client: reqwest::Client,
}

impl HttpHome {
    /// Scrapes with this client.
    #[must_use]
    pub fn new(client: reqwest::Client) -> Self {
        Self { client }
    }
}

impl Home for HttpHome {
    fn get<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Result<Answer, NetError>> {
        Box::pin(async move {
            let mut http = reqwest::Request::new(reqwest::Method::GET, request.url.clone());
            let headers = http.headers_mut();
            if let Ok(accept) = HeaderValue::from_str(request.accept) {
                headers.insert(ACCEPT, accept);
            }
            // Exactly this token: Prometheus compares it whole (util/httputil/compression.go).
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(if request.compression { "gzip" } else { "identity" }));
            headers.insert(USER_AGENT, HeaderValue::from_static(concat!("amp-forwarder/", env!("CARGO_PKG_VERSION"))));
            if let Ok(seconds) = HeaderValue::from_str(&request.timeout.as_secs_f64().to_string()) {
                headers.insert(SCRAPE_TIMEOUT, seconds);
            }
            *http.timeout_mut() = Some(request.timeout);
            let mut response = net::send(&self.client, http, Peer::Home).await?;
            let (status, headers) = (response.status().as_u16(), std::mem::take(response.headers_mut()));
            Ok(Answer { status, headers, body: Box::new(HttpBody { response }) })
        })
    }
}

struct HttpBody {
    response: reqwest::Response,
}

impl Body for HttpBody {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, NetError>> {
        Box::pin(async move { self.response.chunk().await.map_err(|error| NetError::from_reqwest(&error, Peer::Home, self.response.url())) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FEDERATE_PROTOCOLS;

    #[test]
    fn what_prometheus_asks_for() {
        use NameEscaping::AllowUtf8;
        use ScrapeProtocol::{OpenMetricsText0_0_1, OpenMetricsText1_0_0, PrometheusProto, PrometheusText0_0_4, PrometheusText1_0_0};
        // As captured from Prometheus 3.5.
        let default = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,\
                       text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(accept(&[OpenMetricsText1_0_0, OpenMetricsText0_0_1, PrometheusText1_0_0, PrometheusText0_0_4], AllowUtf8, false), default);
        let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        assert_eq!(accept(&[PrometheusProto], AllowUtf8, false), format!("{protobuf};q=0.6,*/*;q=0.5"));
        let federation = accept(&FEDERATE_PROTOCOLS, AllowUtf8, true);
        let text = "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3";
        assert_eq!(federation, format!("{protobuf};escaping=allow-utf-8;q=0.6,{text}"));
    }
}
