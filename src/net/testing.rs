//! A small HTTP server that answers as a test says, also against the protocol.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use url::Url;

/// A request as the server received it.
#[derive(Debug, Clone)]
pub(crate) struct SeenRequest {
    /// Number of the request, counted from 0 over all connections.
    pub(crate) number: usize,
    pub(crate) line: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

pub(crate) enum ServerReply {
    /// The text is written as it is, and the connection stays open.
    Raw(String),
    /// The text is written as it is, and the connection is closed.
    Cut(String),
    /// The connection is reset without an answer.
    Reset,
    /// The server says nothing more.
    Silence,
}

impl ServerReply {
    pub(crate) fn status(status: u16, body: &str) -> Self {
        Self::Raw(format!(
            "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<SeenRequest>>>,
}

impl Server {
    pub(crate) async fn start(
        reply: impl Fn(&SeenRequest) -> ServerReply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let reply = Arc::new(reply);
        let (accepted_too, seen_too) = (Arc::clone(&accepted), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepted_too.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, Arc::clone(&seen_too), Arc::clone(&reply)));
            }
        });
        Self {
            address,
            accepted,
            seen,
        }
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        format!("http://{}{path}", self.address).parse().unwrap()
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub(crate) fn seen(&self) -> Vec<SeenRequest> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    seen: Arc<Mutex<Vec<SeenRequest>>>,
    reply: Arc<impl Fn(&SeenRequest) -> ServerReply>,
) {
    let mut buffer = Vec::new();
    while let Some(mut request) = read_request(&mut stream, &mut buffer).await {
        {
            let mut seen = seen.lock().unwrap();
            request.number = seen.len();
            seen.push(request.clone());
        }
        match reply(&request) {
            ServerReply::Raw(text) => stream.write_all(text.as_bytes()).await.unwrap(),
            ServerReply::Cut(text) => {
                stream.write_all(text.as_bytes()).await.unwrap();
                return;
            }
            ServerReply::Reset => {
                stream.set_zero_linger().unwrap();
                return;
            }
            ServerReply::Silence => std::future::pending().await,
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<SeenRequest> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer.drain(..end).collect()).unwrap();
    let mut lines = head.lines();
    let line = lines.next().unwrap().to_owned();
    let mut headers = http::HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        headers.append(
            name.parse::<http::HeaderName>().unwrap(),
            value.parse().unwrap(),
        );
    }
    let length = headers
        .get("content-length")
        .map_or(0, |value| value.to_str().unwrap().parse().unwrap());
    while buffer.len() < length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    Some(SeenRequest {
        number: 0,
        line,
        headers,
        body: buffer.drain(..length).collect(),
    })
}

/// Returns a loopback address where nothing listens.
pub(crate) async fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

/// A socket that accepts no connection: its backlog is full, and further SYNs are dropped.
pub(crate) struct BlackHole {
    pub(crate) address: SocketAddr,
    _listener: TcpListener,
    _connected: Vec<TcpStream>,
}

impl BlackHole {
    pub(crate) async fn dig(at: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(at).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut connected = Vec::new();
        // The backlog is full when a connection is no longer established at once.
        while let Ok(stream) =
            tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
        {
            connected.push(stream.unwrap());
        }
        Self {
            address,
            _listener: listener,
            _connected: connected,
        }
    }
}
