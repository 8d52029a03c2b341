//! A small HTTP/1.1 server that counts its connections and can misbehave on the wire, and a client
//! for plain HTTP.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::client::legacy::Client as LegacyClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The body of an answer. An error in it cuts the connection.
pub type ServerBody = BoxBody<Bytes, io::Error>;
/// A request as the server hands it to its handler.
pub type ServerRequest = http::Request<Incoming>;
/// The result of a handler: an answer, or `Err(Hangup)` to end the connection without one.
pub type HandlerResult = std::result::Result<http::Response<ServerBody>, Hangup>;

/// No answer is given. The connection is closed, or reset after [`Connection::reset_on_close`].
#[derive(Debug)]
pub struct Hangup;

impl std::fmt::Display for Hangup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hung up on purpose")
    }
}

impl std::error::Error for Hangup {}

/// The connection of a request, as the handler sees it.
#[derive(Debug, Default)]
pub struct Connection {
    /// Number of the connection, counted from 1 in the order of acceptance.
    pub id: u64,
    requests: AtomicU64,
    reset: AtomicBool,
}

impl Connection {
    /// Makes the end of this connection an RST in the place of a FIN.
    pub fn reset_on_close(&self) {
        self.reset.store(true, Ordering::SeqCst);
    }

    /// Number of requests on this connection so far, with the present one.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Counters of a [`Server`].
#[derive(Debug, Default)]
pub struct Counters {
    accepted: AtomicU64,
    open: AtomicU64,
}

impl Counters {
    /// Number of connections accepted since the start.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Number of open connections.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::SeqCst)
    }
}

/// A listening server; dropping it closes the socket and every connection.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    counters: Arc<Counters>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Listens on `address` (port 0: any free one) and answers each request with `handler`.
    ///
    /// # Errors
    /// Fails when the address cannot be listened on.
    pub async fn start<F, Fut>(address: SocketAddr, handler: F) -> Result<Self>
    where
        F: Fn(ServerRequest, Arc<Connection>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = HandlerResult> + Send + 'static,
    {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listen on {address}"))?;
        let address = listener.local_addr()?;
        let counters = Arc::new(Counters::default());
        let task = tokio::spawn(accept(listener, counters.clone(), Arc::new(handler)));
        Ok(Self {
            address,
            counters,
            task,
        })
    }

    /// The address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://host:port`, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Counters of its connections.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept<F, Fut>(listener: TcpListener, counters: Arc<Counters>, handler: Arc<F>)
where
    F: Fn(ServerRequest, Arc<Connection>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = HandlerResult> + Send + 'static,
{
    // Aborting this task drops the set, and with it every connection.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else { continue };
        let _ = stream.set_nodelay(true);
        let id = counters.accepted.fetch_add(1, Ordering::SeqCst) + 1;
        counters.open.fetch_add(1, Ordering::SeqCst);
        let connection = Arc::new(Connection {
            id,
            ..Connection::default()
        });
        let handler = handler.clone();
        let open = OpenCount(counters.clone());
        connections.spawn(async move {
            let _open = open;
            let socket = Socket {
                stream,
                connection: connection.clone(),
            };
            let service = hyper::service::service_fn(move |request| {
                connection.requests.fetch_add(1, Ordering::SeqCst);
                handler(request, connection.clone())
            });
            // An error means that the peer went away, or that the handler hung up.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

struct OpenCount(Arc<Counters>);

impl Drop for OpenCount {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A socket that can be closed with RST.
struct Socket {
    stream: TcpStream,
    connection: Arc<Connection>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.connection.reset.load(Ordering::SeqCst) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.reset.load(Ordering::SeqCst) {
            // A FIN now would reach the peer before the RST.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Makes a whole body.
pub fn full(bytes: impl Into<Bytes>) -> ServerBody {
    Full::new(bytes.into())
        .map_err(|never: Infallible| match never {})
        .boxed()
}

/// Makes a body that ends with an error after `bytes`: the peer sees a cut connection.
pub fn cut(bytes: impl Into<Bytes>) -> ServerBody {
    let frames = [
        Ok(Frame::data(bytes.into())),
        Err(io::Error::other("cut on purpose")),
    ];
    // hyper drops what it has not flushed when a body fails, and flushes when a body makes it wait.
    let flush = Some(std::time::Duration::from_millis(5));
    BodyExt::boxed(StreamBody::new(Frames {
        frames: frames.into_iter(),
        stall_before: flush,
        stalled: None,
    }))
}

/// Makes a body that pauses after `head` and then continues with `tail`.
pub fn stalled(
    head: impl Into<Bytes>,
    pause: std::time::Duration,
    tail: impl Into<Bytes>,
) -> ServerBody {
    let frames = [Ok(Frame::data(head.into())), Ok(Frame::data(tail.into()))];
    BodyExt::boxed(StreamBody::new(Frames {
        frames: frames.into_iter(),
        stall_before: Some(pause),
        stalled: None,
    }))
}

type FrameResult = io::Result<Frame<Bytes>>;

struct Frames {
    frames: std::array::IntoIter<FrameResult, 2>,
    stall_before: Option<std::time::Duration>,
    stalled: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl futures_util::Stream for Frames {
    type Item = FrameResult;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<FrameResult>> {
        let this = &mut *self;
        if this.frames.len() == 1
            && let Some(pause) = this.stall_before.take()
        {
            this.stalled = Some(Box::pin(tokio::time::sleep(pause)));
        }
        if let Some(sleep) = &mut this.stalled {
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            this.stalled = None;
        }
        Poll::Ready(this.frames.next())
    }
}

/// Makes a plain answer.
pub fn respond(status: u16, body: impl Into<Bytes>) -> http::Response<ServerBody> {
    let mut response = http::Response::new(full(body));
    *response.status_mut() =
        http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// Makes an answer in JSON.
pub fn respond_json(status: u16, value: &impl serde::Serialize) -> http::Response<ServerBody> {
    let mut response = respond(status, serde_json::to_vec(value).unwrap_or_default());
    response.headers_mut().insert(
        "content-type",
        http::HeaderValue::from_static("application/json"),
    );
    response
}

/// Reads a body of at most `limit` bytes; `None` when it is longer or cut.
pub async fn read_body<B>(body: B, limit: usize) -> Option<Bytes>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Limited::new(body, limit)
        .collect()
        .await
        .ok()
        .map(http_body_util::Collected::to_bytes)
}

/// A client for plain HTTP; clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    inner: LegacyClient<HttpConnector, Full<Bytes>>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            inner: LegacyClient::builder(TokioExecutor::new()).build_http(),
        }
    }
}

/// Limit of an answer's length. No answer here comes near it.
const LONGEST_ANSWER: usize = 1 << 30;

impl Client {
    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// Fails when there is no answer, or it is cut.
    pub async fn send(&self, request: http::Request<Full<Bytes>>) -> Result<http::Response<Bytes>> {
        let address = format!("{} {}", request.method(), request.uri());
        let response = self
            .inner
            .request(request)
            .await
            .with_context(|| address.clone())?;
        let (head, body) = response.into_parts();
        let body = read_body(body, LONGEST_ANSWER)
            .await
            .with_context(|| format!("{address}: the answer was cut"))?;
        Ok(http::Response::from_parts(head, body))
    }

    /// Sends a GET and returns the answer of any status.
    ///
    /// # Errors
    /// Fails as [`Self::send`] does.
    pub async fn get(&self, url: &str) -> Result<http::Response<Bytes>> {
        self.send(http::Request::get(url).body(Full::default())?)
            .await
    }

    /// Sends a POST and returns the answer of any status.
    ///
    /// # Errors
    /// Fails as [`Self::send`] does.
    pub async fn post(
        &self,
        url: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Result<http::Response<Bytes>> {
        let request = http::Request::post(url)
            .header("content-type", content_type)
            .body(Full::new(body.into()))?;
        self.send(request).await
    }
}
