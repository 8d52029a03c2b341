//! Each phase, on real sockets.

mod aws;
mod http;
mod secrets;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::{Method, Request};
use url::Url;

use super::testing::{BlackHole, Server, ServerReply, refusing};
use super::{ClientOptions, Lookup, NetError, Peer, Phase, client, send};

/// Finds the same for every name.
#[derive(Clone)]
struct Fixed(Result<Vec<SocketAddr>, io::ErrorKind>);

impl Lookup for Fixed {
    fn lookup(&self, _: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let found = self.0.clone();
        Box::pin(async move { found.map_err(io::Error::from) })
    }
}

struct Hangs;

impl Lookup for Hangs {
    fn lookup(&self, _: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        Box::pin(std::future::pending())
    }
}

fn options(lookup: impl Lookup + 'static) -> ClientOptions {
    ClientOptions {
        connect_timeout: Duration::from_secs(1),
        lookup: Arc::new(lookup),
        ..ClientOptions::default()
    }
}

fn get(url: &Url, timeout: Duration) -> Request {
    let mut request = Request::new(Method::GET, url.clone());
    *request.timeout_mut() = Some(timeout);
    request
}

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);

async fn failure(options: &ClientOptions, url: &str, timeout: Duration) -> NetError {
    let url: Url = url.parse().unwrap();
    send(&client(options).unwrap(), get(&url, timeout), Peer::Home)
        .await
        .unwrap_err()
}

#[tokio::test]
async fn an_unknown_name_is_dns() {
    let error = failure(
        &options(Fixed(Err(io::ErrorKind::NotFound))),
        "http://prom.home/federate",
        LONG,
    )
    .await;
    assert_eq!(error.phase, Phase::Dns);
    assert!(error.cause.contains("prom.home"), "{error}");
    assert!(error.hint.unwrap().contains("Route 53"), "{error}");
}

#[tokio::test]
async fn the_systems_resolver_says_no_in_phase_dns() {
    let error = failure(
        &ClientOptions::default(),
        "http://no-such-host.invalid/",
        LONG,
    )
    .await;
    assert_eq!(error.phase, Phase::Dns, "{error}");
}

#[tokio::test]
async fn a_look_up_without_an_answer_is_dns_whichever_clock_ends_it() {
    for timeout in [SHORT, LONG] {
        let error = failure(&options(Hangs), "http://prom.home/", timeout).await;
        assert_eq!(
            (error.phase, error.timed_out),
            (Phase::Dns, true),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_refused_port_is_connect_and_names_the_nodeport() {
    let error = failure(
        &ClientOptions::default(),
        &format!("http://{}/", refusing().await),
        LONG,
    )
    .await;
    assert_eq!((error.phase, error.timed_out), (Phase::Connect, false));
    assert!(
        error.to_string().contains("refused") && error.hint.unwrap().contains("NodePort"),
        "{error}"
    );
}

#[tokio::test]
async fn a_black_hole_is_connect_whichever_clock_ends_it() {
    let hole = BlackHole::dig("127.0.0.1:0".parse().unwrap()).await;
    for timeout in [SHORT, LONG] {
        let error = failure(
            &options(Hangs),
            &format!("http://{}/", hole.address),
            timeout,
        )
        .await;
        assert_eq!(
            (error.phase, error.timed_out, error.stale_connection),
            (Phase::Connect, true, false),
            "{error}"
        );
        assert!(error.hint.unwrap().contains("security group"), "{error}");
    }
}

#[tokio::test]
async fn a_port_without_tls_is_tls() {
    let server = Server::start(|_| ServerReply::status(200, "")).await;
    let error = failure(
        &options(Hangs),
        &format!("https://{}/", server.address),
        LONG,
    )
    .await;
    // The server sees no request in a ClientHello and says nothing: the clock of the connection
    // ends it.
    assert_eq!(
        (error.phase, error.timed_out),
        (Phase::Tls, true),
        "{error}"
    );
    assert!(error.hint.unwrap().contains("scheme http"), "{error}");
    let error = failure(
        &options(Hangs),
        &format!("https://{}/", server.address),
        SHORT,
    )
    .await;
    assert_eq!(
        (error.phase, error.timed_out),
        (Phase::Tls, true),
        "{error}"
    );

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let error = failure(
        &ClientOptions::default(),
        &format!("https://{address}/"),
        LONG,
    )
    .await;
    assert_eq!(error.phase, Phase::Tls, "{error}");
    assert!(error.hint.unwrap().contains("scheme http"), "{error}");
}

#[tokio::test]
async fn headers_that_never_come_are_http() {
    let server = Server::start(|_| ServerReply::Silence).await;
    let error = failure(
        &ClientOptions::default(),
        server.url("/federate").as_str(),
        SHORT,
    )
    .await;
    assert_eq!(
        (error.phase, error.timed_out, error.stale_connection),
        (Phase::Http, true, false),
        "{error}"
    );
}

#[tokio::test]
async fn a_body_that_stalls_or_ends_early_is_body() {
    let server = Server::start(|_| {
        ServerReply::Raw("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_owned())
    })
    .await;
    let url = server.url("/");
    let mut response = send(
        &client(&ClientOptions::default()).unwrap(),
        get(&url, SHORT),
        Peer::Home,
    )
    .await
    .unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "half");
    let error = NetError::from_reqwest(response.chunk().await.unwrap_err(), Peer::Home, &url);
    assert_eq!(
        (error.phase, error.timed_out),
        (Phase::Body, true),
        "{error}"
    );
    assert!(error.hint.unwrap().contains("MSS"), "{error}");

    let server = Server::start(|_| {
        ServerReply::Cut("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_owned())
    })
    .await;
    let url = server.url("/");
    let mut response = send(
        &client(&ClientOptions::default()).unwrap(),
        get(&url, SHORT),
        Peer::Home,
    )
    .await
    .unwrap();
    let _ = response.chunk().await;
    let error = NetError::from_reqwest(response.chunk().await.unwrap_err(), Peer::Home, &url);
    assert_eq!(
        (error.phase, error.timed_out),
        (Phase::Body, false),
        "{error}"
    );
}

#[tokio::test]
async fn a_reset_tells_a_pooled_connection_from_a_fresh_one() {
    let server = Server::start(|seen| {
        if seen.number == 0 {
            ServerReply::status(200, "")
        } else {
            ServerReply::Reset
        }
    })
    .await;
    let client = client(&ClientOptions::default()).unwrap();
    let url = server.url("/");
    let first = send(&client, get(&url, LONG), Peer::Remote).await.unwrap();
    first.bytes().await.unwrap();
    let pooled = send(&client, get(&url, LONG), Peer::Remote)
        .await
        .unwrap_err();
    assert_eq!(
        (pooled.phase, pooled.stale_connection),
        (Phase::Http, true),
        "{pooled}"
    );
    assert_eq!(server.accepted(), 1);
    let fresh = send(&client, get(&url, LONG), Peer::Remote)
        .await
        .unwrap_err();
    assert_eq!(
        (fresh.phase, fresh.stale_connection),
        (Phase::Http, false),
        "{fresh}"
    );
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn the_next_address_serves_when_the_first_refuses_or_is_a_black_hole() {
    let server = Server::start(|_| ServerReply::status(200, "")).await;
    let port = server.address.port();
    let hole = BlackHole::dig(SocketAddr::new("127.0.0.3".parse().unwrap(), port)).await;
    let url: Url = format!("http://prom.home:{port}/").parse().unwrap();
    for first in ["127.0.0.2", "::1", &hole.address.ip().to_string()] {
        let addresses = [first, "127.0.0.1"].map(|ip| SocketAddr::new(ip.parse().unwrap(), port));
        let client = client(&options(Fixed(Ok(addresses.to_vec())))).unwrap();
        let response = send(&client, get(&url, LONG), Peer::Home).await;
        assert!(response.is_ok(), "after {first}: {response:?}");
    }
}

#[tokio::test]
async fn addresses_are_shown_without_secrets() {
    let url = format!(
        "http://user:hunter2@{}/federate?token=hunter2",
        refusing().await
    );
    let error = failure(&ClientOptions::default(), &url, LONG).await;
    let shown = format!("{error} {error:?}");
    assert!(
        shown.contains("/federate") && !shown.contains("hunter2") && !shown.contains("user"),
        "{shown}"
    );
}
