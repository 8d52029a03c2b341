//! One GET of an exposition.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT, ACCEPT_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::net::{Exchange, HttpClient, NetError, Reply};

/// The formats that we parse, as `scrape/scrape.go` `acceptHeader` writes `[PrometheusText1.0.0, PrometheusText0.0.4]`:
/// `/federate` gives nothing else, and a target that knows only OpenMetrics is better told at once.
const ACCEPTED: &str = "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

const SCRAPE_TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// What to fetch.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The job's place in `scrape_configs`: its HTTP client configuration holds.
    pub job: usize,
    /// Target, path and parameters.
    pub url: &'a Url,
    /// Ask for gzip.
    pub compression: bool,
    /// From connecting to the end of the body.
    pub timeout: Duration,
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
            let Request { job, url, compression, timeout } = request;
            let mut http = http::Request::new(Bytes::new());
            *http.uri_mut() = url.as_str().parse().map_err(|error: http::uri::InvalidUri| NetError::of_url(url, error.to_string()))?;
            let headers = http.headers_mut();
            headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
            // Exactly this token: Prometheus compares it whole (util/httputil/compression.go).
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(if compression { "gzip" } else { "identity" }));
            headers.insert(USER_AGENT, HeaderValue::from_static(concat!("amp-forwarder/", env!("CARGO_PKG_VERSION"))));
            if let Ok(seconds) = HeaderValue::from_str(&timeout.as_secs_f64().to_string()) {
                headers.insert(SCRAPE_TIMEOUT, seconds);
            }
            let client = self.clients.get(job).ok_or_else(|| NetError::of_url(url, "no such job".to_owned()))?;
            let mut reply = client.send(http, Exchange { timeout, ..Exchange::default() }).await?;
            Ok(Answer { status: reply.status(), headers: reply.take_headers(), body: Box::new(HttpBody { reply }) })
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
