use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_types::region::Region;
use bytes::Bytes;
use fastrand::Rng;
use tokio::time::Instant;
use url::Url;

use crate::batch::Batch;
use crate::config::{Auth, HttpConfig, MetadataConfig, QueueConfig, RemoteWrite, SecretSource};
use crate::net::aws::SigningIdentity;
use crate::net::testing::{Server, ServerReply};
use crate::net::{Phase, testing};
use crate::prompb::RequestBody;
use crate::send::{
    BatchHistory, DeliverContext, DeliverSettings, HttpRemote, PostError, PostRequest, Remote,
    SendState, Signer, deliver,
};
use crate::time::{SystemClock, TokioClock};

fn config(url: Url) -> RemoteWrite {
    RemoteWrite {
        send_native_histograms: false,
        name: None,
        unnamed_id: "receiver".to_owned(),
        label: "receiver".to_owned(),
        url,
        remote_timeout: Duration::from_secs(30),
        headers: BTreeMap::from([("X-Team".to_owned(), "metrics".to_owned())]),
        write_relabel_configs: Vec::new(),
        metadata: MetadataConfig::default(),
        queue: QueueConfig {
            capacity: 10_000,
            max_shards: 50,
            min_shards: 1,
            max_samples_per_send: 2000,
            batch_send_deadline: Duration::from_secs(5),
            min_backoff: Duration::from_millis(30),
            max_backoff: Duration::from_secs(5),
            retry_on_http_429: true,
            sample_age_limit: None,
        },
        sigv4: None,
        http: HttpConfig::default(),
    }
}

fn post(body: &RequestBody) -> PostRequest<'_> {
    PostRequest {
        body,
        attempt: 0,
        timeout: Duration::from_secs(20),
        fresh_connection: false,
        fresh_credentials: false,
    }
}

fn remote(server: &Server) -> HttpRemote {
    HttpRemote::with_signer(
        &config(server.url("/api/v1/remote_write")),
        None,
        Arc::new(SystemClock),
    )
    .unwrap()
}

const BODY: &[u8] = b"\x04\x0cbody";

/// In pieces, as batches are.
fn body() -> RequestBody {
    BODY.chunks(2).map(Bytes::from_static).collect()
}

#[tokio::test]
async fn a_request_carries_what_prometheus_sends() {
    let server = Server::start(|_| ServerReply::status(200, "")).await;
    let remote = remote(&server);
    assert_eq!(remote.post(post(&body())).await.unwrap().status, 200);
    remote
        .post(PostRequest {
            attempt: 3,
            ..post(&body())
        })
        .await
        .unwrap();

    let seen = server.seen();
    assert_eq!(seen[0].line, "POST /api/v1/remote_write HTTP/1.1");
    assert_eq!(seen[0].body, BODY);
    let header = |n: usize, name: &str| {
        seen[n]
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    for (name, value) in [
        ("content-encoding", "snappy"),
        ("content-type", "application/x-protobuf"),
        ("x-prometheus-remote-write-version", "0.1.0"),
        (
            "user-agent",
            concat!("amp-forwarder/", env!("CARGO_PKG_VERSION")),
        ),
        ("content-length", "6"),
        ("x-team", "metrics"),
    ] {
        assert_eq!(header(0, name).as_deref(), Some(value), "{name}");
    }
    for name in [
        "accept-encoding",
        "retry-attempt",
        "authorization",
        "transfer-encoding",
    ] {
        assert_eq!(header(0, name), None, "{name}");
    }
    assert_eq!(header(1, "retry-attempt").as_deref(), Some("3"));
    assert_eq!(server.accepted(), 1, "the connection is kept");
}

#[tokio::test]
async fn an_answer_is_cut_to_1024_bytes_and_its_connection_kept() {
    let server = Server::start(|_| ServerReply::status(400, &"é".repeat(5000))).await;
    let remote = remote(&server);
    for _ in 0..2 {
        let answer = remote.post(post(&body())).await.unwrap();
        assert_eq!((answer.status, answer.body), (400, "é".repeat(512)));
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_status_stands_though_its_body_is_cut_or_stalls() {
    let answer = "HTTP/1.1 400 Bad Request\r\ncontent-length: 100\r\n\r\nout of ord";
    let cut = Server::start(move |_| ServerReply::Cut(answer.to_owned())).await;
    let stalls = Server::start(move |_| ServerReply::Raw(answer.to_owned())).await;
    let start = Instant::now();
    for server in [cut, stalls] {
        let answer = remote(&server).post(post(&body())).await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (400, "out of ord"));
    }
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "a stalled body costs {:?}",
        start.elapsed()
    );
}

/// A receiver that repeats the headers and the address of each request, behind this many bytes.
async fn echo(padding: usize) -> Server {
    Server::start(move |seen| {
        let headers: Vec<_> = seen.headers.iter().collect();
        let said = format!("{}{} {headers:?}", "x".repeat(padding), seen.line);
        ServerReply::status(400, &said)
    })
    .await
}

#[tokio::test]
async fn what_a_receiver_repeats_shows_no_secret_wherever_the_text_is_cut() {
    const SECRETS: [&str; 4] = [
        "header-secret-0123456789",
        "token-secret-abcdefghij",
        "query-secret-zyxwvutsrq",
        "FwoGZXIvYXdzEJrABCDEFGHIJ",
    ];
    let identity = SigningIdentity {
        credentials: SharedCredentialsProvider::new(Credentials::new(
            "AKIDEXAMPLE",
            "signing-secret",
            Some(SECRETS[3].into()),
            None,
            "test",
        )),
        region: Region::from_static("eu-west-1"),
    };
    for padding in [0, 400, 700, 800, 850, 900, 930, 960, 1_000, 1_020] {
        let server = echo(padding).await;
        let mut config = config(server.url(&format!("/write?key={}", SECRETS[2])));
        config.headers = [("X-Key".to_owned(), SECRETS[0].to_owned())].into();
        let mut bearer = config.clone();
        bearer.http.auth = Some(Auth::Authorization {
            scheme: "Bearer".to_owned(),
            credentials: Some(SecretSource::text(SECRETS[1])),
        });
        let signer = Signer::new(identity.clone(), "aps");
        for (config, signer) in [(&bearer, None), (&config, Some(signer))] {
            let remote = HttpRemote::with_signer(config, signer, Arc::new(SystemClock)).unwrap();
            let answer = remote.post(post(&body())).await.unwrap();
            assert!(answer.body.len() <= 1024, "{}", answer.body);
            let sent = server.seen().pop().unwrap();
            let signature = sent.headers.get("authorization").map_or("", |value| {
                let value = value.to_str().unwrap();
                value
                    .split_once("Signature=")
                    .map_or(value, |(_, rest)| rest)
            });
            for secret in SECRETS.iter().chain([&signature]) {
                for part in secret.as_bytes().windows(8) {
                    let part = std::str::from_utf8(part).unwrap();
                    assert!(
                        !answer.message().contains(part),
                        "{padding}: {part} in {}",
                        answer.message()
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn a_redirect_is_followed_only_where_samples_and_signature_survive_it() {
    let server = Server::start(|seen| match seen.line.split(' ').nth(1) {
        Some("/elsewhere") => ServerReply::status(204, ""),
        _ => ServerReply::Raw(
            "HTTP/1.1 307 x\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n".to_owned(),
        ),
    })
    .await;
    assert_eq!(
        remote(&server).post(post(&body())).await.unwrap().status,
        204
    );
    assert_eq!((server.seen().len(), &server.seen()[1].body[..]), (2, BODY));

    let mut stays = config(server.url("/api/v1/remote_write"));
    stays.http.follow_redirects = false;
    let stays = HttpRemote::with_signer(&stays, None, Arc::new(SystemClock)).unwrap();
    assert_eq!(stays.post(post(&body())).await.unwrap().status, 307);
}

#[tokio::test]
async fn dead_pooled_connections_cost_one_retry_each_on_a_fresh_one() {
    // The first request keeps its connection; the second finds it reset, as after a freeze.
    let server = Server::start(|seen| {
        if seen.number == 1 {
            ServerReply::Reset
        } else {
            ServerReply::status(200, "")
        }
    })
    .await;
    let remote = remote(&server);
    let state = SendState::new(1_000_000, Rng::with_seed(1));
    let mut settings = DeliverSettings::from(&config(server.url("/")));
    settings.min_backoff = Duration::from_secs(3600);
    settings.max_backoff = Duration::from_secs(3600);
    let context = DeliverContext {
        settings: &settings,
        state: &state,
        clock: &SystemClock,
        work_ends: Instant::now() + Duration::from_secs(20),
        history: BatchHistory::default(),
    };
    let batch = Batch {
        body: body(),
        samples: 1,
        raw_len: 1,
        min_ms: 0,
        max_ms: 0,
    };
    for (retries, accepted) in [(0, 1), (1, 2)] {
        let delivery = deliver(&remote, &batch, &context).await;
        assert_eq!(
            (delivery.written, delivery.retries),
            (1, retries),
            "{delivery:?}"
        );
        assert_eq!(server.accepted(), accepted);
    }
    assert_eq!(server.seen()[2].headers["retry-attempt"], "1");
}

#[tokio::test]
async fn a_fresh_connection_is_fresh() {
    let server = Server::start(|_| ServerReply::status(200, "")).await;
    let remote = remote(&server);
    for accepted in 1..4 {
        let body = body();
        let request = PostRequest {
            fresh_connection: true,
            ..post(&body)
        };
        assert_eq!(remote.post(request).await.unwrap().status, 200);
        assert_eq!(server.accepted(), accepted);
    }
}

#[tokio::test]
async fn a_refusal_names_phase_and_address() {
    let url = format!("http://{}/api/v1/remote_write", testing::refusing().await)
        .parse()
        .unwrap();
    let remote = HttpRemote::with_signer(&config(url), None, Arc::new(SystemClock)).unwrap();
    let PostError::Net(error) = remote.post(post(&body())).await.unwrap_err() else {
        panic!()
    };
    assert_eq!(error.phase, Phase::Connect);
    assert!(
        error.to_string().contains("/api/v1/remote_write"),
        "{error}"
    );
}

#[tokio::test]
async fn each_try_is_signed_anew() {
    let server = Server::start(|_| {
        ServerReply::status(403, "The security token included in the request is expired")
    })
    .await;
    let identity = SigningIdentity {
        credentials: SharedCredentialsProvider::new(Credentials::new(
            "AKID",
            "secret",
            Some("token".into()),
            None,
            "test",
        )),
        region: Region::from_static("eu-west-1"),
    };
    let clock = Arc::new(TokioClock::starting_at(1_795_176_000_000));
    let signer = Signer::new(identity, "aps");
    let remote =
        HttpRemote::with_signer(&config(server.url("/remote_write")), Some(signer), clock).unwrap();
    let answer = remote.post(post(&body())).await.unwrap();
    assert!(
        remote
            .hint(&answer)
            .unwrap()
            .contains("session has expired")
    );
    remote
        .post(PostRequest {
            attempt: 1,
            ..post(&body())
        })
        .await
        .unwrap();

    let seen = server.seen();
    for request in &seen {
        let text = |name: &str| request.headers[name].to_str().unwrap();
        assert!(
            text("authorization").contains("/20261120/eu-west-1/aps/aws4_request"),
            "{request:?}"
        );
        assert!(
            text("x-amz-date").starts_with("20261120T12000"),
            "{request:?}"
        );
        assert_eq!(text("x-amz-security-token"), "token");
        assert!(!request.headers.contains_key("x-amz-content-sha256"));
    }
    // Retry-Attempt is signed too.
    assert_ne!(
        seen[0].headers["authorization"],
        seen[1].headers["authorization"]
    );
}
