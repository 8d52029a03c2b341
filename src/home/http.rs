//! The real home, asked over HTTP.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT, ACCEPT_ENCODING, USER_AGENT};
use http::{HeaderName, HeaderValue, Method};

use super::{Home, HomeMethod, HomeRequest, HomeResponse, ResponseBody};
use crate::net::{Exchange, HttpClient, HttpReply, NetError, Peer, redacted};

const SCRAPE_TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// A home that is asked with the HTTP client of each job.
pub struct HttpHome {
    /// One client for each job. Jobs with the same configuration share one.
    clients: Vec<Arc<HttpClient>>,
}

impl HttpHome {
    /// Asks with these clients, one for each job in the order of `scrape_configs`.
    #[must_use]
    pub fn new(clients: Vec<Arc<HttpClient>>) -> Self {
        Self { clients }
    }

    async fn exchange(&self, request: HomeRequest<'_>) -> Result<HomeResponse, NetError> {
        let url = request.url;
        let client = self
            .clients
            .get(request.job.index())
            .ok_or_else(|| NetError::malformed_request(Peer::Home, redacted(url), "no such job"))?;
        let timeout = request.timeout;
        let mut reply = client
            .send(
                http_request(&request)?,
                Exchange {
                    timeout,
                    ..Exchange::default()
                },
            )
            .await?;
        Ok(HomeResponse {
            status: reply.status(),
            headers: reply.take_headers(),
            body: Box::new(HttpBody { reply }),
        })
    }
}

impl Home for HttpHome {
    fn send<'a>(
        &'a self,
        request: HomeRequest<'a>,
    ) -> BoxFuture<'a, Result<HomeResponse, NetError>> {
        Box::pin(self.exchange(request))
    }
}

fn http_request(request: &HomeRequest<'_>) -> Result<http::Request<Bytes>, NetError> {
    let url = request.url;
    let mut http = http::Request::new(Bytes::new());
    *http.uri_mut() = url
        .as_str()
        .parse()
        .map_err(|error: http::uri::InvalidUri| {
            NetError::malformed_request(Peer::Home, redacted(url), error.to_string())
        })?;
    match &request.method {
        HomeMethod::Get {
            accept,
            compression,
        } => {
            let headers = http.headers_mut();
            if let Ok(accept) = HeaderValue::from_str(accept) {
                headers.insert(ACCEPT, accept);
            }
            // Exactly this token: Prometheus compares the whole value
            // (util/httputil/compression.go).
            headers.insert(
                ACCEPT_ENCODING,
                HeaderValue::from_static(if *compression { "gzip" } else { "identity" }),
            );
            if let Ok(seconds) = HeaderValue::from_str(&request.timeout.as_secs_f64().to_string()) {
                headers.insert(SCRAPE_TIMEOUT, seconds);
            }
        }
        HomeMethod::Post { body, headers } => {
            *http.method_mut() = Method::POST;
            *http.body_mut() = body.clone();
            http.headers_mut().extend(headers.iter().cloned());
        }
    }
    http.headers_mut().insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("amp-forwarder/", env!("CARGO_PKG_VERSION"))),
    );
    Ok(http)
}

struct HttpBody {
    reply: HttpReply,
}

impl ResponseBody for HttpBody {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, NetError>> {
        Box::pin(self.reply.chunk())
    }

    fn without_secrets(&self, read: &[u8], most: usize) -> String {
        self.reply.without_secrets(read, most)
    }
}
