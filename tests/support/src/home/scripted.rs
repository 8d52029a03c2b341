//! An exposition server that says what a test wants, as it wants it.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::http::{self as server, Connection, HandlerResult, Hangup, Server, ServerRequest};

/// What a page does besides being served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// Waits before the answer.
    Delay(Duration),
    /// Never answers.
    Hang,
    /// Sends this much of the (encoded) body, then waits this long.
    Stall(usize, Duration),
    /// Sends this much of the (encoded) body, then cuts the connection.
    Cut(usize),
    /// Ends the body after this many bytes of the exposition, as if it were whole: no error is to
    /// be seen.
    Truncate(usize),
    /// Resets the connection in place of an answer.
    Reset,
}

/// An answer of a [`ScriptedHome`].
#[derive(Debug, Clone)]
pub struct Page {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`; `None`: without.
    pub content_type: Option<String>,
    /// The exposition.
    pub body: Bytes,
    /// Whether gzip is spoken to those who ask for it.
    pub gzip: bool,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
    /// Trouble.
    pub trouble: Trouble,
}

impl Page {
    /// A text exposition as Prometheus serves it.
    pub fn text(body: impl Into<Bytes>) -> Self {
        Self {
            status: 200,
            content_type: Some(
                "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8".to_owned(),
            ),
            body: body.into(),
            gzip: true,
            headers: BTreeMap::new(),
            trouble: Trouble::None,
        }
    }

    /// An error.
    pub fn status(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            ..Self::text(body)
        }
    }

    /// With another content type.
    #[must_use]
    pub fn content_type(mut self, content_type: Option<&str>) -> Self {
        self.content_type = content_type.map(str::to_owned);
        self
    }

    /// With trouble.
    #[must_use]
    pub fn trouble(mut self, trouble: Trouble) -> Self {
        self.trouble = trouble;
        self
    }
}

/// A request that a [`ScriptedHome`] got.
#[derive(Debug, Clone)]
pub struct HomeRequest {
    /// Path and query.
    pub path: String,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// Connection, counted from 1.
    pub connection: u64,
    /// Wall clock, milliseconds since the epoch.
    pub at_ms: i64,
}

impl HomeRequest {
    fn new(request: &ServerRequest, connection: &Connection) -> Self {
        let headers = request.headers().iter();
        Self {
            path: request.uri().to_string(),
            headers: headers
                .map(|(name, value)| {
                    (
                        name.as_str().to_owned(),
                        String::from_utf8_lossy(value.as_bytes()).into_owned(),
                    )
                })
                .collect(),
            connection: connection.id,
            at_ms: crate::now_ms(),
        }
    }
}

#[derive(Debug)]
struct State {
    once: VecDeque<Page>,
    always: Page,
    requests: Vec<HomeRequest>,
}

/// A scripted home: serves its page on every path.
#[derive(Debug)]
pub struct ScriptedHome {
    server: Server,
    state: Arc<Mutex<State>>,
}

impl ScriptedHome {
    /// Serves `page` until told otherwise.
    ///
    /// # Errors
    /// Fails when no port can be listened on.
    pub async fn start(page: Page) -> anyhow::Result<Self> {
        let state = Arc::new(Mutex::new(State {
            once: VecDeque::new(),
            always: page,
            requests: Vec::new(),
        }));
        let shared = state.clone();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(listen, move |request, connection| {
            answer(shared.clone(), request, connection)
        })
        .await?;
        Ok(Self { server, state })
    }

    /// Serves `page` from now on.
    pub fn serve(&self, page: Page) {
        self.lock().always = page;
    }

    /// Serves `page` for one request, after those promised before.
    pub fn serve_once(&self, page: Page) {
        self.lock().once.push_back(page);
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<HomeRequest> {
        self.lock().requests.clone()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.server.counters().accepted()
    }

    /// `host:port`, for `static_configs`.
    pub fn address(&self) -> String {
        self.server.address().to_string()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(
    state: Arc<Mutex<State>>,
    request: ServerRequest,
    connection: Arc<Connection>,
) -> HandlerResult {
    let asks_gzip = request
        .headers()
        .get("accept-encoding")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .split(',')
        .any(|token| token.trim() == "gzip");
    let page = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.requests.push(HomeRequest::new(&request, &connection));
        state
            .once
            .pop_front()
            .unwrap_or_else(|| state.always.clone())
    };
    let exposition = match page.trouble {
        Trouble::Truncate(length) => page.body.slice(..length.min(page.body.len())),
        _ => page.body.clone(),
    };
    let gzip = page.gzip && asks_gzip;
    let encoded = if gzip {
        compress(&exposition)
    } else {
        exposition
    };
    let body = troubled_body(&page.trouble, encoded, &connection).await?;
    let mut response = http::Response::builder().status(page.status);
    if let Some(content_type) = &page.content_type {
        response = response.header("content-type", content_type);
    }
    if gzip {
        response = response.header("content-encoding", "gzip");
    }
    for (name, value) in &page.headers {
        response = response.header(name, value);
    }
    response.body(body).map_err(|_| Hangup)
}

/// Makes the body of an answer with the trouble of its page: it waits, stalls, is cut, or fails with
/// `Hangup` in place of an answer.
async fn troubled_body(
    trouble: &Trouble,
    encoded: Bytes,
    connection: &Connection,
) -> Result<server::ServerBody, Hangup> {
    match *trouble {
        Trouble::None | Trouble::Truncate(_) => Ok(server::full(encoded)),
        Trouble::Delay(pause) => {
            tokio::time::sleep(pause).await;
            Ok(server::full(encoded))
        }
        Trouble::Hang => std::future::pending().await,
        Trouble::Stall(at, pause) => {
            let at = at.min(encoded.len());
            let (head, tail) = (encoded.slice(..at), encoded.slice(at..));
            Ok(server::stalled(head, pause, tail))
        }
        Trouble::Cut(at) => Ok(server::cut(encoded.slice(..at.min(encoded.len())))),
        Trouble::Reset => {
            connection.reset_on_close();
            Err(Hangup)
        }
    }
}

fn compress(body: &[u8]) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default().into()
}
