//! What a configuration adds to requests, and what it keeps to itself.

mod oauth2;
mod proxies;
mod redirects;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use tempfile::TempDir;
use url::Url;

use crate::config::{
    Auth, HttpConfig, HttpHeader, OAuth2, ProxyConfig, Secret, SecretSource, Source, TlsConfig,
};
use crate::net::testing::{SeenRequest, Server, ServerReply};
use crate::net::{ClientOptions, Exchange, HttpClient, NetError, Peer, Phase};

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

fn redirect(status: u16, to: &str) -> ServerReply {
    ServerReply::Raw(format!(
        "HTTP/1.1 {status} x\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"
    ))
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
