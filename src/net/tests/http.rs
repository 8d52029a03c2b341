//! What a configuration adds to requests, and what it keeps to itself.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request};
use tempfile::TempDir;
use url::Url;

use super::super::testing::{SeenRequest, Server, ServerReply};
use super::super::{ClientOptions, Exchange, HttpClient, Lookup, NetError, Peer, Phase};
use crate::config::{
    Auth, HttpConfig, HttpHeader, OAuth2, ProxyConfig, Secret, SecretSource, Source, TlsConfig,
};

fn client(http: &HttpConfig) -> HttpClient {
    HttpClient::new(http, ClientOptions::default(), Peer::Home)
}

fn with(auth: Auth) -> HttpConfig {
    HttpConfig {
        auth: Some(auth),
        ..HttpConfig::default()
    }
}

fn text(value: &str) -> Option<SecretSource> {
    Some(SecretSource::text(value))
}

fn basic() -> Auth {
    Auth::Basic {
        username: text("Aladdin"),
        password: text("open sesame"),
    }
}

async fn get(client: &HttpClient, url: &Url) -> Result<u16, NetError> {
    request(client, Method::GET, url).await
}

async fn request(client: &HttpClient, method: Method, url: &Url) -> Result<u16, NetError> {
    let body = if method == Method::GET {
        Bytes::new()
    } else {
        Bytes::from_static(b"samples")
    };
    let request = Request::builder()
        .method(method)
        .uri(url.as_str())
        .body(body)
        .unwrap();
    client
        .send(request, Exchange::default())
        .await
        .map(|reply| reply.status())
}

fn header(seen: &SeenRequest, name: &str) -> Vec<String> {
    seen.headers
        .get_all(name)
        .iter()
        .map(|value| value.to_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn credentials_and_headers_are_added() {
    let server = Server::start(|_| ServerReply::status(200, "")).await;
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("h"), " from a file\n").unwrap();
    let file = SecretSource::File(Source::Path(folder.path().join("h")));
    let headers = vec![HttpHeader {
        name: "X-Team".into(),
        values: vec![SecretSource::text("a"), SecretSource::text("b"), file],
    }];
    for (auth, expected) in [
        (basic(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        (
            Auth::Basic {
                username: text("a"),
                password: None,
            },
            "Basic YTo=",
        ),
        (
            Auth::Authorization {
                scheme: "Bearer".into(),
                credentials: text("hunter2"),
            },
            "Bearer hunter2",
        ),
        (
            Auth::Authorization {
                scheme: "ApiKey".into(),
                credentials: None,
            },
            "ApiKey ",
        ),
    ] {
        get(
            &client(&HttpConfig {
                headers: headers.clone(),
                ..with(auth)
            }),
            &server.url("/"),
        )
        .await
        .unwrap();
        let seen = server.seen().pop().unwrap();
        // A header ends where its last visible character is.
        assert_eq!(
            header(&seen, "authorization")[0].trim_end(),
            expected.trim_end()
        );
        assert_eq!(header(&seen, "x-team"), ["a", "b", "from a file"]);
    }
}

#[tokio::test]
async fn a_file_is_read_for_each_request_and_a_missing_one_is_named() {
    let server = Server::start(|_| ServerReply::status(200, "")).await;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("token");
    let source = SecretSource::File(Source::Path(path.clone()));
    let client = client(&with(Auth::Authorization {
        scheme: "Bearer".into(),
        credentials: Some(source),
    }));
    let error = get(&client, &server.url("/")).await.unwrap_err();
    assert_eq!(error.phase, Phase::Credentials);
    assert!(
        error
            .to_string()
            .contains("token: unable to read file: No such file"),
        "{error}"
    );
    for token in ["one", "two"] {
        std::fs::write(&path, token).unwrap();
        get(&client, &server.url("/")).await.unwrap();
        assert_eq!(
            header(&server.seen().pop().unwrap(), "authorization"),
            [format!("Bearer {token}")]
        );
    }
    std::fs::write(&path, "hunter2\nhunter3").unwrap();
    let error = get(&client, &server.url("/"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("line break") && !error.contains("hunter"),
        "{error}"
    );
}

#[tokio::test]
async fn a_refused_get_is_repeated_once_if_the_secret_has_changed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "old").unwrap();
    let rotated = path.clone();
    // The token is changed while the request is under way.
    let server = Server::start(move |seen| {
        std::fs::write(&rotated, "new").unwrap();
        if seen.headers["authorization"] == "Bearer new" {
            ServerReply::status(200, "")
        } else {
            ServerReply::status(401, "")
        }
    })
    .await;
    let auth = |path: &std::path::Path| Auth::Authorization {
        scheme: "Bearer".into(),
        credentials: Some(SecretSource::File(Source::Path(path.into()))),
    };
    assert_eq!(
        get(&client(&with(auth(&path))), &server.url("/")).await,
        Ok(200)
    );
    assert_eq!(server.seen().len(), 2);

    let refusing = Server::start(|_| ServerReply::status(401, "")).await;
    assert_eq!(
        get(&client(&with(auth(&path))), &refusing.url("/")).await,
        Ok(401)
    );
    assert_eq!(
        get(&client(&with(basic())), &refusing.url("/")).await,
        Ok(401)
    );
    assert_eq!(
        refusing.seen().len(),
        2,
        "what has not changed is not sent again"
    );
}

fn redirect(status: u16, to: &str) -> ServerReply {
    ServerReply::Raw(format!(
        "HTTP/1.1 {status} x\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"
    ))
}

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

fn oauth2(server: &Server, secret: &str) -> OAuth2 {
    OAuth2 {
        client_id: "me & you".into(),
        client_secret: text(secret),
        scopes: vec!["read".into(), "write".into()],
        token_url: server.url("/token"),
        endpoint_params: vec![("audience".into(), Secret::new("home"))],
        tls: TlsConfig::default(),
        proxy: ProxyConfig::default(),
    }
}

#[tokio::test]
async fn a_token_is_fetched_once_and_kept_until_it_expires() {
    let issued = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&issued);
    let server = Server::start(move |seen| {
        if !seen.line.contains("/token") {
            return ServerReply::status(200, "");
        }
        let number = count.fetch_add(1, Ordering::SeqCst);
        // The second one lives for less than the margin: it is never used twice.
        let lifetime = if number == 0 { "\"3600\"" } else { "5" };
        let token = format!(
            "{{\"access_token\":\"t{number}\",\"token_type\":\"bearer\",\"expires_in\":{lifetime}}}"
        );
        ServerReply::status(200, &token)
    })
    .await;
    let client = client(&with(Auth::OAuth2(Box::new(oauth2(&server, "s/ecret")))));
    for _ in 0..3 {
        get(&client, &server.url("/federate")).await.unwrap();
    }
    let seen = server.seen();
    assert_eq!(issued.load(Ordering::SeqCst), 1);
    assert_eq!(
        header(&seen[0], "authorization"),
        ["Basic bWUrJTI2K3lvdTpzJTJGZWNyZXQ="]
    );
    assert_eq!(
        seen[0].body,
        b"grant_type=client_credentials&scope=read+write&audience=home"
    );
    assert!(
        seen[1..]
            .iter()
            .all(|seen| header(seen, "authorization") == ["Bearer t0"])
    );
}

#[tokio::test]
async fn a_short_token_is_fetched_anew_and_a_server_may_want_the_secret_in_the_body() {
    let server = Server::start(|seen| {
        if !seen.line.contains("/token") {
            return ServerReply::status(200, "");
        }
        if seen.headers.contains_key("authorization") {
            return ServerReply::status(401, "{\"error\":\"invalid_client\"}");
        }
        assert_eq!(
            seen.body,
            b"grant_type=client_credentials&scope=read+write&audience=home\
              &client_id=me+%26+you&client_secret=x"
        );
        ServerReply::status(200, "{\"access_token\":\"t\",\"expires_in\":5}")
    })
    .await;
    let client = client(&with(Auth::OAuth2(Box::new(oauth2(&server, "x")))));
    for _ in 0..2 {
        get(&client, &server.url("/federate")).await.unwrap();
    }
    let tokens = server
        .seen()
        .iter()
        .filter(|seen| seen.line.contains("/token"))
        .count();
    assert_eq!(tokens, 3, "the way that the server takes is remembered");
}

#[tokio::test]
async fn a_refused_token_says_why_and_shows_no_secret() {
    let server = Server::start(|seen| {
        ServerReply::status(
            400,
            &format!(
                "{{\"error\":\"invalid_scope\",\"echo\":{:?}}}",
                String::from_utf8_lossy(&seen.body)
            ),
        )
    })
    .await;
    let client = client(&with(Auth::OAuth2(Box::new(oauth2(&server, "hunter2")))));
    let error = get(&client, &server.url("/federate")).await.unwrap_err();
    assert_eq!((error.phase, error.timed_out), (Phase::Credentials, false));
    let shown = format!("{error} {error:?}");
    assert!(
        shown.contains("answered 400 invalid_scope")
            && shown.contains("/token")
            && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[tokio::test]
async fn the_secret_of_a_client_follows_no_redirect() {
    let other = Server::start(|_| ServerReply::status(200, "")).await;
    for status in [302, 307, 308] {
        let to = other.url("/token");
        let server = Server::start(move |_| redirect(status, to.as_str())).await;
        let config = with(Auth::OAuth2(Box::new(oauth2(&server, "hush & shush"))));
        let error = get(&client(&config), &server.url("/federate"))
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&format!("answered {status}")) && text.contains("token_url"),
            "{text}"
        );
    }
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn a_proxy_is_asked_where_configured() {
    let home = Server::start(|_| ServerReply::status(200, "")).await;
    let proxy = Server::start(|_| ServerReply::status(200, "")).await;
    let mut through = Url::parse(&format!("http://{}", proxy.address)).unwrap();
    through.set_username("u").unwrap();
    through.set_password(Some("hunter2")).unwrap();
    let through = Some(Secret::new(through.to_string()));
    let config = ProxyConfig {
        http: through.clone(),
        https: through,
        no_proxy: "127.0.0.9".into(),
        spares_loopback: false,
        connect_headers: vec![("X-Connect".into(), SecretSource::text("a"))],
    };
    let client = client(&HttpConfig {
        proxy: config,
        ..HttpConfig::default()
    });
    get(&client, &home.url("/federate")).await.unwrap();
    let seen = proxy.seen().pop().unwrap();
    assert_eq!(
        seen.line,
        format!("GET http://{}/federate HTTP/1.1", home.address)
    );
    assert_eq!(header(&seen, "proxy-authorization"), ["Basic dTpodW50ZXIy"]);
    assert_eq!(
        (header(&seen, "x-connect").len(), home.seen().len()),
        (0, 0)
    );

    // TLS goes through a tunnel; the proxy agrees, but no server behind it speaks TLS.
    let https: Url = format!("https://{}/federate", home.address)
        .parse()
        .unwrap();
    let error = get(&client, &https).await.unwrap_err();
    assert!(
        matches!(error.phase, Phase::Tls | Phase::Connect),
        "{error}"
    );
    let seen = proxy.seen().pop().unwrap();
    assert_eq!(seen.line, format!("CONNECT {} HTTP/1.1", home.address));
    assert_eq!(
        (
            header(&seen, "x-connect"),
            header(&seen, "proxy-authorization")
        ),
        (vec!["a".to_owned()], vec!["Basic dTpodW50ZXIy".to_owned()])
    );
}

#[tokio::test]
async fn a_proxy_out_of_reach_is_named_without_its_password() {
    let address = super::super::testing::refusing().await;
    let proxy = ProxyConfig {
        http: Some(Secret::new(format!("http://u:hunter2@{address}"))),
        ..ProxyConfig::default()
    };
    let client = client(&HttpConfig {
        proxy,
        ..HttpConfig::default()
    });
    let error = get(&client, &"http://prom.home/federate".parse().unwrap())
        .await
        .unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(
        shown.contains(&format!("on the way to the proxy http://{address}"))
            && shown.contains("proxy_url")
            && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[tokio::test]
async fn answers_are_shown_without_what_was_sent() {
    let server = Server::start(|_| ServerReply::status(200, "")).await;
    let mut config = with(basic());
    config.headers = vec![HttpHeader {
        name: "X-Key".into(),
        values: vec![SecretSource::text("hunter2")],
    }];
    let request = Request::get(server.url("/?key=queried").as_str())
        .body(Bytes::new())
        .unwrap();
    let reply = client(&config).send(request, Exchange::default()).await;
    let said = b"Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ== is open sesame for Aladdin, \
                 with hunter2 and queried, and open sesam";
    assert_eq!(
        reply.unwrap().without_secrets(said, 1024),
        "Authorization: Basic <secret> is <secret> for Aladdin, with <secret> and <secret>, and \
         <secret>"
    );
}

#[tokio::test]
async fn secrets_cost_time_of_the_request() {
    let server = Server::start(|_| ServerReply::Silence).await;
    let mut config = oauth2(&server, "x");
    config.token_url = server.url("/token");
    let client = client(&with(Auth::OAuth2(Box::new(config))));
    let request = Request::get(server.url("/federate").as_str())
        .body(Bytes::new())
        .unwrap();
    let timeout = Duration::from_millis(300);
    let error = client
        .send(
            request,
            Exchange {
                timeout,
                ..Exchange::default()
            },
        )
        .await
        .err()
        .unwrap();
    assert_eq!(
        (error.phase, error.timed_out),
        (Phase::Credentials, true),
        "{error}"
    );
}
