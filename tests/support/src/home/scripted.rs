//! An exposition server whose answers a test chooses.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::http::{self as server, Connection, HandlerResult, Hangup, Server, ServerRequest};

/// The trouble of a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trouble {
    /// The page is served without trouble.
    #[default]
    None,
    /// The answer waits.
    Delay(Duration),
    /// The answer never comes.
    Hang,
    /// The answer stops after this many bytes of the encoded body, and continues after this time.
    Stall(usize, Duration),
    /// The connection is cut after this many bytes of the encoded body.
    Cut(usize),
    /// The body ends after this many bytes of the exposition as if it were whole, without any
    /// error.
    Truncate(usize),
    /// The connection is reset in place of an answer.
    Reset,
}

/// An answer of a [`ScriptedHome`].
#[derive(Debug, Clone)]
pub struct Page {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`; `None` leaves the header out.
    pub content_type: Option<String>,
    /// The exposition.
    pub body: Bytes,
    /// Whether the body is compressed for clients that accept gzip.
    pub gzip: bool,
    /// Further headers of the answer.
    pub headers: BTreeMap<String, String>,
    /// The trouble of the page.
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

    /// An answer of another status.
    pub fn status(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            ..Self::text(body)
        }
    }

    /// Changes the content type.
    #[must_use]
    pub fn content_type(mut self, content_type: Option<&str>) -> Self {
        self.content_type = content_type.map(str::to_owned);
        self
    }

    /// Adds trouble.
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
    /// Request headers.
    pub headers: BTreeMap<String, String>,
    /// Number of the connection, counted from 1.
    pub connection: u64,
    /// Time of the request, milliseconds since 1970.
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

/// A scripted home, which serves its page on every path.
#[derive(Debug)]
pub struct ScriptedHome {
    server: Server,
    state: Arc<Mutex<State>>,
}

impl ScriptedHome {
    /// Starts a home that serves `page` until another page takes its place.
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

    /// Serves `page` for one request, after the pages that were added before.
    pub fn serve_once(&self, page: Page) {
        self.lock().once.push_back(page);
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<HomeRequest> {
        self.lock().requests.clone()
    }

    /// Number of connections accepted so far.
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

/// Makes the body of an answer with the trouble of its page: it waits, stalls, is cut, or fails
/// with `Hangup` in place of an answer.
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
