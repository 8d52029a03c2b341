//! `forwardctl run --listen`: a small HTTP server beside the ticks, for a Prometheus that watches
//! the forwarder, for what supervises the process, and for people.
//!
//! It only reads: nothing that it is asked changes anything, and no page holds a secret.

mod metrics;
mod page;
mod view;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use amp_forwarder::time::{Clock as _, SystemClock};
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

pub(super) use self::view::RunView;
use crate::outcome::CommandError;

/// Connections at the same time. A browser opens six.
const CONNECTIONS: usize = 32;

/// Time for the head of a request.
const HEAD: Duration = Duration::from_secs(10);

/// Longest life of a connection: a Prometheus that scrapes each minute comes back with a new one.
const CONNECTION: Duration = Duration::from_secs(300);

const TEXT: &str = "text/plain; charset=utf-8";

/// The styles are in the page itself, and there is nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/// Opens the port. Nothing is answered yet.
pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener, CommandError> {
    TcpListener::bind(address).await.map_err(|error| {
        CommandError::Failed(format!(
            "cannot listen on {address}: {error}; name a free port with --listen"
        ))
    })
}

/// Answers until it is dropped.
pub(super) async fn serve(listener: TcpListener, view: Arc<RunView>) -> Infallible {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else {
            return std::future::pending().await;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: others must close some first.
                tracing::warn!("--listen: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let view = Arc::clone(&view);
        tokio::spawn(async move {
            let _ = tokio::time::timeout(CONNECTION, connection(stream, view)).await;
            drop(permit);
        });
    }
}

async fn connection(stream: TcpStream, view: Arc<RunView>) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let answer = answer(request.method(), request.uri().path(), &view);
        async move { Ok::<_, Infallible>(answer) }
    });
    // A client that goes away is no error of ours.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// The answer to a request. A page is made anew for each of them.
fn answer(method: &Method, path: &str, view: &RunView) -> Response<Full<Bytes>> {
    let (status, kind, text) = match path {
        _ if method != Method::GET && method != Method::HEAD => (
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "only GET and HEAD\n".to_owned(),
        ),
        "/" => (
            StatusCode::OK,
            "text/html; charset=utf-8",
            page::html(&view.shown(), SystemClock.now_ms()),
        ),
        "/metrics" => (
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            metrics::exposition(&view.shown(), SystemClock.now_ms()),
        ),
        "/-/healthy" => (StatusCode::OK, TEXT, "It is alive.\n".to_owned()),
        "/-/ready" => match view.shown().ready(SystemClock.now_ms()) {
            Ok(()) => (StatusCode::OK, TEXT, "It forwards.\n".to_owned()),
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n")),
        },
        _ => (
            StatusCode::NOT_FOUND,
            TEXT,
            "there are /, /metrics, /-/healthy and /-/ready\n".to_owned(),
        ),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reading_is_answered_and_nothing_is_kept_by_a_browser() {
        let view = RunView::new(0, &[], Arc::default());
        for (method, path, status) in [
            (Method::GET, "/", 200),
            (Method::HEAD, "/metrics", 200),
            (Method::GET, "/-/healthy", 200),
            (Method::GET, "/-/ready", 503),
            (Method::GET, "/metrics/", 404),
            (Method::GET, "/../etc/passwd", 404),
            (Method::POST, "/", 405),
            (Method::DELETE, "/metrics", 405),
        ] {
            let answer = answer(&method, path, &view);
            assert_eq!(answer.status(), status, "{method} {path}");
            assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
        }
    }
}
