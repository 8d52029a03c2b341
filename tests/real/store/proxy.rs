//! A TCP proxy that fails in the ways of a network.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProxyMode {
    Pass,
    /// The request passes; its answer does not, and the connection is cut.
    CutAnswer,
    /// The request passes; its answer never comes.
    Hang,
    /// The request does not pass; this text is the answer.
    Answer(String),
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    mode: Arc<Mutex<ProxyMode>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = Arc::new(Mutex::new(ProxyMode::Pass));
        let shared = Arc::clone(&mode);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(
                    client,
                    SocketAddr::from(([127, 0, 0, 1], upstream)),
                    Arc::clone(&shared),
                ));
            }
        });
        Self {
            port,
            mode,
            accepting,
        }
    }

    pub(crate) fn set(&self, mode: ProxyMode) {
        *self.mode.lock().unwrap() = mode;
    }

    /// Answers with an S3 error.
    pub(crate) fn answer(&self, status: &str, code: &str) {
        let body = format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as the test wants \
             it</Message></Error>"
        );
        let date = httpdate::fmt_http_date(std::time::SystemTime::now());
        let length = body.len();
        self.set(ProxyMode::Answer(format!(
            "HTTP/1.1 {status}\r\ndate: {date}\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{body}"
        )));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut client: TcpStream, upstream: SocketAddr, mode: Arc<Mutex<ProxyMode>>) {
    let Ok(mut server) = TcpStream::connect(upstream).await else {
        return;
    };
    let (mut request, mut answer) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        tokio::select! {
            read = client.read(&mut request) => {
                let Ok(length @ 1..) = read else { return };
                let now = mode.lock().unwrap().clone();
                if let ProxyMode::Answer(text) = now {
                    let _ = client.write_all(text.as_bytes()).await;
                    let _ = client.shutdown().await;
                    // The rest of the request is read first, or the reset would overtake the
                    // answer.
                    while matches!(client.read(&mut request).await, Ok(1..)) {}
                    return;
                }
                if server.write_all(&request[..length]).await.is_err() { return }
            }
            read = server.read(&mut answer) => {
                let Ok(length @ 1..) = read else { return };
                let now = mode.lock().unwrap().clone();
                match now {
                    ProxyMode::CutAnswer => return,
                    ProxyMode::Hang => {
                        while matches!(client.read(&mut request).await, Ok(1..)) {}
                        return;
                    }
                    _ => if client.write_all(&answer[..length]).await.is_err() { return },
                }
            }
        }
    }
}
