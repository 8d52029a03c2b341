//! One GET of an exposition.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT, ACCEPT_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::config::{NameEscaping, ScrapeProtocol};
use crate::net::{Exchange, HttpClient, NetError, Reply};

const SCRAPE_TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// What to fetch.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The job's place in `scrape_configs`: its HTTP client configuration holds.
    pub job: usize,
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
/// `/federate` gives UTF-8 names as they are only to whom says so, in whatever format
/// (prometheus/common `expfmt.Negotiate`), so there protobuf says it as well.
#[must_use]
pub fn accept(protocols: &[ScrapeProtocol], escaping: NameEscaping, federation: bool) -> String {
    let mut accept = String::new();
    // From one more than there are formats downwards: len(ScrapeProtocolsHeaders) + 1.
    let mut weight = 6;
    for protocol in protocols {
        let media_type = match protocol {
            ScrapeProtocol::PrometheusProto => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
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
pub struct HttpHome {
    /// Of each job. Jobs that are configured alike share one.
    clients: Vec<Arc<HttpClient>>,
}

impl HttpHome {
    /// Scrapes with these clients, one for each job.
    #[must_use]
    pub fn new(clients: Vec<Arc<HttpClient>>) -> Self {
        Self { clients }
    }
}

impl Home for HttpHome {
    fn get<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Result<Answer, NetError>> {
        Box::pin(async move {
            let Request {
                job,
                url,
                accept,
                compression,
                timeout,
            } = request;
            let mut http = http::Request::new(Bytes::new());
            *http.uri_mut() = url
                .as_str()
                .parse()
                .map_err(|error: http::uri::InvalidUri| NetError::of_url(url, error.to_string()))?;
            let headers = http.headers_mut();
            if let Ok(accept) = HeaderValue::from_str(accept) {
                headers.insert(ACCEPT, accept);
            }
            // Exactly this token: Prometheus compares it whole (util/httputil/compression.go).
            headers.insert(
                ACCEPT_ENCODING,
                HeaderValue::from_static(if compression { "gzip" } else { "identity" }),
            );
            headers.insert(
                USER_AGENT,
                HeaderValue::from_static(concat!("amp-forwarder/", env!("CARGO_PKG_VERSION"))),
            );
            if let Ok(seconds) = HeaderValue::from_str(&timeout.as_secs_f64().to_string()) {
                headers.insert(SCRAPE_TIMEOUT, seconds);
            }
            let client = self
                .clients
                .get(job)
                .ok_or_else(|| NetError::of_url(url, "no such job".to_owned()))?;
            let mut reply = client
                .send(
                    http,
                    Exchange {
                        timeout,
                        ..Exchange::default()
                    },
                )
                .await?;
            Ok(Answer {
                status: reply.status(),
                headers: reply.take_headers(),
                body: Box::new(HttpBody { reply }),
            })
        })
    }
}

struct HttpBody {
    reply: Reply,
}

impl Body for HttpBody {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, NetError>> {
        Box::pin(self.reply.chunk())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FEDERATE_PROTOCOLS;
    use crate::config::NameEscaping::AllowUtf8;

    #[test]
    fn what_prometheus_asks_for() {
        use ScrapeProtocol::{
            OpenMetricsText0_0_1, OpenMetricsText1_0_0, PrometheusProto, PrometheusText0_0_4,
            PrometheusText1_0_0,
        };
        // As captured from Prometheus 3.5.
        let default = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,\
                       text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(
            accept(
                &[
                    OpenMetricsText1_0_0,
                    OpenMetricsText0_0_1,
                    PrometheusText1_0_0,
                    PrometheusText0_0_4
                ],
                AllowUtf8,
                false
            ),
            default
        );
        let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        assert_eq!(
            accept(&[PrometheusProto], AllowUtf8, false),
            format!("{protobuf};q=0.6,*/*;q=0.5")
        );
        let federation = accept(&FEDERATE_PROTOCOLS, AllowUtf8, true);
        let text = "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3";
        assert_eq!(
            federation,
            format!("{protobuf};escaping=allow-utf-8;q=0.6,{text}")
        );
    }
}
