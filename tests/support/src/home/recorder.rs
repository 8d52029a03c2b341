//! A reverse proxy in front of a home that keeps the answers. So a test knows what a scrape
//! received from the wire, and not from the forwarder's own ledger.

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Full;

use crate::exposition;
use crate::http::{self as server, Client, HandlerResult, Server, ServerRequest};

/// Largest body of a request that is passed on: queries of remote read are small.
const MAX_REQUEST: usize = 1 << 20;

/// An answer that was passed on.
#[derive(Debug, Clone)]
pub struct Recording {
    /// Time of the request, milliseconds since 1970.
    pub at_ms: i64,
    /// Path and query of the request.
    pub path: String,
    /// HTTP status.
    pub status: u16,
    /// `Content-Type` of the answer; empty when it has none.
    pub content_type: String,
    /// The exposition, decompressed.
    pub body: Bytes,
}

impl Recording {
    /// Parses the samples of the exposition.
    ///
    /// # Errors
    /// Fails when a real Prometheus would not write such an exposition.
    pub fn samples(&self) -> Result<Vec<exposition::ExposedSample>> {
        exposition::parse(&self.content_type, &self.body)
    }
}

#[derive(Debug)]
struct State {
    home: String,
    client: Client,
    recordings: Mutex<Vec<Recording>>,
}

/// A recording reverse proxy.
#[derive(Debug)]
pub struct Recorder {
    server: Server,
    state: Arc<State>,
}

impl Recorder {
    /// Starts a proxy that passes everything on to `home` (`http://host:port`) and keeps the
    /// answers, but for those of remote read.
    ///
    /// # Errors
    /// Fails when no port can be listened on.
    pub async fn start(home: &str) -> Result<Self> {
        let state = Arc::new(State {
            home: home.to_owned(),
            client: Client::default(),
            recordings: Mutex::default(),
        });
        let shared = state.clone();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(listen, move |request, _| pass(shared.clone(), request)).await?;
        Ok(Self { server, state })
    }

    /// `host:port`, for `static_configs`.
    pub fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// All answers that were passed on, in their order.
    pub fn recordings(&self) -> Vec<Recording> {
        self.state
            .recordings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Removes and returns the answers since the last call, so that a long test does not keep them
    /// all.
    pub fn take(&self) -> Vec<Recording> {
        std::mem::take(
            &mut *self
                .state
                .recordings
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

async fn pass(state: Arc<State>, request: ServerRequest) -> HandlerResult {
    let at_ms = crate::now_ms();
    let answer = ask(&state, request, at_ms).await;
    Ok(answer.unwrap_or_else(|error| server::respond(502, format!("{error:#}\n"))))
}

async fn ask(
    state: &State,
    request: ServerRequest,
    at_ms: i64,
) -> Result<http::Response<server::ServerBody>> {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .to_owned();
    let mut builder = http::Request::builder()
        .method(request.method())
        .uri(format!("{}{path}", state.home));
    for (name, value) in request
        .headers()
        .iter()
        .filter(|(name, _)| *name != http::header::HOST && *name != http::header::CONTENT_LENGTH)
    {
        builder = builder.header(name, value);
    }
    let is_read = request.method() == http::Method::POST;
    let asked = server::read_body(request.into_body(), MAX_REQUEST)
        .await
        .context("read the request")?;
    let response = state.client.send(builder.body(Full::new(asked))?).await?;
    let (head, body) = response.into_parts();
    let header = |name: &str| {
        head.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let exposition = if header("content-encoding") == "gzip" {
        let mut plain = Vec::new();
        flate2::read::MultiGzDecoder::new(body.as_ref())
            .read_to_end(&mut plain)
            .context("gunzip the home's answer")?;
        plain.into()
    } else {
        body.clone()
    };
    if is_read {
        return Ok(passed_on(&head, body));
    }
    let recording = Recording {
        at_ms,
        path,
        status: head.status.as_u16(),
        content_type: header("content-type").to_owned(),
        body: exposition,
    };
    state
        .recordings
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(recording);
    Ok(passed_on(&head, body))
}

fn passed_on(head: &http::response::Parts, body: Bytes) -> http::Response<server::ServerBody> {
    let mut answer = http::Response::new(server::full(body));
    *answer.status_mut() = head.status;
    for (name, value) in &head.headers {
        if name != http::header::TRANSFER_ENCODING && name != http::header::CONNECTION {
            answer.headers_mut().append(name, value.clone());
        }
    }
    answer
}
