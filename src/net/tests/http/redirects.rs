//! Redirects: which are followed, and what goes along.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request};
use url::Url;

use super::{basic, client, get, header, redirect, request, with};
use crate::config::{HttpConfig, HttpHeader, SecretSource};
use crate::net::testing::{Server, ServerReply};
use crate::net::{ClientOptions, Exchange, HttpClient, Lookup, Peer};

#[tokio::test]
async fn redirects_are_followed_where_configured() {
    let server = Server::start(|seen| match seen.line.split(' ').nth(1).unwrap() {
        "/there" => ServerReply::status(200, ""),
        "/loop" => redirect(302, "/loop"),
        path => redirect(path[1..].parse().unwrap(), "/there"),
    })
    .await;
    let follows = client(&HttpConfig {
        auth: Some(basic()),
        ..HttpConfig::default()
    });
    let stays = client(&HttpConfig {
        follow_redirects: false,
        ..HttpConfig::default()
    });
    for status in [301, 302, 303, 307, 308] {
        let url = server.url(&format!("/{status}"));
        assert_eq!(get(&follows, &url).await, Ok(200));
        // The same host gets the credentials again.
        assert!(
            server
                .seen()
                .pop()
                .unwrap()
                .headers
                .contains_key("authorization")
        );
        assert_eq!(get(&stays, &url).await, Ok(status));
        // A POST that becomes a GET has lost its samples.
        let expected = if status < 307 { status } else { 200 };
        assert_eq!(request(&follows, Method::POST, &url).await, Ok(expected));
        if expected == 200 {
            let last = server.seen().pop().unwrap();
            assert_eq!(
                (last.line.as_str(), &last.body[..]),
                ("POST /there HTTP/1.1", &b"samples"[..])
            );
        }
        let signed = Request::post(url.as_str())
            .body(Bytes::from_static(b"s"))
            .unwrap();
        assert_eq!(
            follows
                .send(
                    signed,
                    Exchange {
                        signed: true,
                        ..Exchange::default()
                    }
                )
                .await
                .unwrap()
                .status(),
            status
        );
    }
    let before = server.seen().len();
    assert_eq!(get(&follows, &server.url("/loop")).await, Ok(302));
    assert_eq!(server.seen().len() - before, 11);
}

/// Sends a GET with secrets of its own and of its configuration.
async fn get_with_secrets(url: &Url) -> u16 {
    let headers = vec![HttpHeader {
        name: "X-Key".into(),
        values: vec![SecretSource::text("hunter2")],
    }];
    let client = client(&HttpConfig {
        headers,
        ..with(basic())
    });
    let mut own = http::HeaderValue::from_static("hunter2");
    own.set_sensitive(true);
    let request = Request::get(url.as_str())
        .header("accept", "text/plain")
        .header("x-own", own)
        .body(Bytes::new())
        .unwrap();
    let reply = client.send(request, Exchange::default()).await;
    reply.unwrap().status()
}

#[tokio::test]
async fn credentials_go_to_no_other_origin_and_do_not_come_back() {
    // Another name, another port, and back again.
    for host in ["localhost", "127.0.0.1"] {
        let back = Arc::new(OnceLock::<Url>::new());
        let to = Arc::clone(&back);
        let other = Server::start(move |_| redirect(307, to.get().unwrap().as_str())).await;
        let port = other.address.port();
        let server = Server::start(move |seen| match seen.number {
            0 => redirect(307, &format!("http://u:p@{host}:{port}/x")),
            _ => ServerReply::status(200, ""),
        })
        .await;
        back.set(server.url("/back")).unwrap();
        assert_eq!(get_with_secrets(&server.url("/")).await, 200);
        let sent = format!("{:?}", server.seen()[0]);
        assert!(sent.contains("hunter2") && sent.contains("QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        for seen in [other.seen().pop().unwrap(), server.seen().pop().unwrap()] {
            assert_eq!(header(&seen, "accept"), ["text/plain"]);
            assert!(
                !format!("{seen:?}").contains("hunter2")
                    && !seen.headers.contains_key("authorization"),
                "{seen:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_body_goes_to_no_other_origin() {
    let other = Server::start(|_| ServerReply::status(200, "")).await;
    let to = other.url("/");
    let server = Server::start(move |_| redirect(307, to.as_str())).await;
    let client = client(&HttpConfig::default());
    let posted = request(&client, Method::POST, &server.url("/")).await;
    assert_eq!(posted, Ok(307));
    assert!(other.seen().is_empty());
    assert_eq!(get(&client, &server.url("/")).await, Ok(200));
}

/// Knows two homes that the test's server plays, and the machine itself.
#[derive(Clone, Default)]
struct Homes(Arc<AtomicUsize>);

impl Lookup for Homes {
    fn lookup(&self, host: String) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> {
        // The first look-up is that of the connection, the second one that of the redirect.
        let is_connecting = self.0.fetch_add(1, Ordering::SeqCst) == 0;
        let address = if host == "prom.home" && !is_connecting {
            "10.0.0.5:0"
        } else {
            "127.0.0.1:0"
        };
        Box::pin(std::future::ready(Ok(vec![address.parse().unwrap()])))
    }
}

#[tokio::test]
async fn a_redirect_to_the_machine_itself_is_refused_unless_the_server_is_there() {
    let inner = Server::start(|_| ServerReply::status(200, "an event")).await;
    let to = inner.address.port();
    for host in ["127.0.0.1", "runtime.internal"] {
        let server =
            Server::start(move |_| redirect(302, &format!("http://{host}:{to}/next"))).await;
        let port = server.address.port();
        for (home, permitted) in [("prom.home", false), ("loopback.home", true)] {
            let options = ClientOptions {
                lookup: Arc::new(Homes::default()),
                ..ClientOptions::default()
            };
            let client = HttpClient::new(&HttpConfig::default(), options, Peer::Home);
            let url = format!("http://{home}:{port}/federate").parse().unwrap();
            let before = inner.seen().len();
            let answered = get(&client, &url).await;
            assert_eq!(answered.is_ok(), permitted, "{home} → {host}: {answered:?}");
            assert_eq!(inner.seen().len() > before, permitted, "{home} → {host}");
            if let Err(error) = answered {
                assert!(
                    error.to_string().contains("find out why it does"),
                    "{error}"
                );
            }
        }
    }
}
