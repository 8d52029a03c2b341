//! The gateway over real sockets, with requests that the AWS SDK's signer has signed.

use std::time::{Duration, SystemTime};

use amp_forwarder_support::gateway::options::{ACCESS_KEY, SECRET_KEY, SESSION_TOKEN};
use amp_forwarder_support::gateway::wire::{self, Label, Sample, TimeSeries, WriteRequest};
use amp_forwarder_support::gateway::{
    AccessKey, Fault, FaultAction, Gateway, GatewayOptions, Outcome, Reason, SampleValue,
    WorkspaceLimits,
};
use amp_forwarder_support::http::Client;
use amp_forwarder_support::{now_ms, wait_for};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use bytes::Bytes;
use http_body_util::Full;

struct Poster {
    client: Client,
    url: String,
    region: &'static str,
    service: &'static str,
    key: &'static str,
    secret: &'static str,
    token: Option<&'static str>,
    time: SystemTime,
    headers: Vec<(&'static str, String)>,
}

impl Poster {
    fn new(gateway: &Gateway) -> Self {
        let headers = [
            ("content-encoding", "snappy"),
            ("content-type", "application/x-protobuf"),
            ("x-prometheus-remote-write-version", "0.1.0"),
            ("user-agent", "test"),
        ];
        Self {
            client: Client::default(),
            url: gateway.remote_write_url(),
            region: "us-east-1",
            service: "aps",
            key: ACCESS_KEY,
            secret: SECRET_KEY,
            token: Some(SESSION_TOKEN),
            time: SystemTime::now(),
            headers: headers
                .map(|(name, value)| (name, value.to_owned()))
                .to_vec(),
        }
    }

    fn signed(&self, body: &[u8]) -> http::Request<Full<Bytes>> {
        let mut builder = http::Request::post(&self.url);
        for (name, value) in &self.headers {
            builder = builder.header(*name, value);
        }
        let mut request = builder
            .body(Full::new(Bytes::copy_from_slice(body)))
            .unwrap();
        let identity = Credentials::new(
            self.key,
            self.secret,
            self.token.map(str::to_owned),
            None,
            "test",
        )
        .into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(self.time)
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        let signable =
            SignableRequest::new("POST", self.url.clone(), headers, SignableBody::Bytes(body))
                .unwrap();
        let (instructions, _) = sign(signable, &params).unwrap().into_parts();
        instructions.apply_to_request_http1x(&mut request);
        request
    }

    async fn post(&self, body: &[u8]) -> anyhow::Result<(u16, String)> {
        let response = self.client.send(self.signed(body)).await?;
        Ok((
            response.status().as_u16(),
            String::from_utf8_lossy(response.body()).into_owned(),
        ))
    }
}

fn entry(pairs: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
    TimeSeries {
        labels: pairs
            .iter()
            .map(|(name, value)| Label {
                name: (*name).to_owned(),
                value: (*value).to_owned(),
            })
            .collect(),
        samples: samples
            .iter()
            .map(|(timestamp, value)| Sample {
                value: *value,
                timestamp: *timestamp,
            })
            .collect(),
        ..Default::default()
    }
}

fn body(entries: Vec<TimeSeries>) -> Vec<u8> {
    wire::compress(&WriteRequest {
        timeseries: entries,
        metadata: vec![],
    })
}

fn one(name: &str, timestamp: i64, value: f64) -> Vec<u8> {
    body(vec![entry(&[("__name__", name)], &[(timestamp, value)])])
}

#[tokio::test]
async fn a_signed_request_is_stored_to_the_bit() {
    let gateway = Gateway::start(GatewayOptions::default()).await.unwrap();
    let now = now_ms();
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    assert_eq!(
        Poster::new(&gateway)
            .post(&one("a", now, stale))
            .await
            .unwrap(),
        (200, String::new())
    );
    let stored = gateway.stored();
    assert_eq!(stored.len(), 1);
    assert_eq!(
        stored[0].labels,
        [("__name__".to_owned(), "a".to_owned())].into()
    );
    assert_eq!(stored[0].timestamp, now);
    assert_eq!(stored[0].value, SampleValue::Float(0x7ff0_0000_0000_0002));
    assert_eq!(gateway.journal()[0].headers["user-agent"], "test");
}

#[tokio::test]
async fn refusals_by_kind() {
    let mut options = GatewayOptions::default();
    let denied = AccessKey {
        secret: SECRET_KEY.to_owned(),
        session_token: None,
        allowed: false,
    };
    options.keys.insert("AKIDDENIED".to_owned(), denied);
    let gateway = Gateway::start(options).await.unwrap();
    type Change = fn(&mut Poster);
    let table: &[(Change, u16, Reason)] = &[
        (|p| p.secret = "wrong", 403, Reason::SignatureMismatch),
        (|p| p.key = "AKIDOTHER", 403, Reason::UnknownKey),
        (|p| p.token = None, 403, Reason::UnknownKey),
        (|p| p.token = Some("other"), 403, Reason::UnknownKey),
        (|p| p.region = "eu-west-1", 403, Reason::WrongRegion),
        (|p| p.service = "s3", 403, Reason::WrongService),
        (|p| p.time -= Duration::from_secs(301), 403, Reason::Expired),
        (|p| p.time += Duration::from_secs(310), 403, Reason::Expired),
        (
            |p| (p.key, p.token) = ("AKIDDENIED", None),
            403,
            Reason::AccessDenied,
        ),
        (|p| p.url.push('/'), 403, Reason::NoSuchPath),
        (
            |p| p.url = p.url.replace("/ws-", "/ws-other-"),
            404,
            Reason::NoSuchPath,
        ),
        (
            |p| p.headers.push(("x-scope-orgid", "x".to_owned())),
            403,
            Reason::Header,
        ),
        (|p| p.headers[0].1 = "gzip".to_owned(), 415, Reason::Header),
        (
            |p| p.headers[1].1 = "text/plain".to_owned(),
            415,
            Reason::Header,
        ),
        (|p| p.headers[2].1 = "2.0.0".to_owned(), 400, Reason::Header),
        (|p| p.headers.truncate(3), 400, Reason::Header),
    ];
    for (number, (change, status, reason)) in table.iter().enumerate() {
        let mut poster = Poster::new(&gateway);
        change(&mut poster);
        let answer = poster.post(&one("a", now_ms(), 1.0)).await.unwrap();
        assert_eq!(answer.0, *status, "row {number}: {}", answer.1);
        assert_eq!(
            gateway.journal().last().unwrap().reason,
            Some(*reason),
            "row {number}: {}",
            answer.1
        );
    }
    let unsigned = Client::default()
        .post(&gateway.remote_write_url(), "application/x-protobuf", "")
        .await
        .unwrap();
    assert_eq!(
        unsigned.body().as_ref(),
        br#"{"message":"Missing Authentication Token"}"#
    );
    assert_eq!(gateway.stats().stored, 0);
}

#[tokio::test]
async fn a_body_changed_after_signing_is_refused() {
    let gateway = Gateway::start(GatewayOptions::default()).await.unwrap();
    let poster = Poster::new(&gateway);
    let mut request = poster.signed(&one("a", now_ms(), 1.0));
    *request.body_mut() = Full::new(one("b", now_ms(), 1.0).into());
    assert_eq!(poster.client.send(request).await.unwrap().status(), 403);
}

#[tokio::test]
async fn sizes_and_forms() {
    let gateway = Gateway::start(GatewayOptions::default()).await.unwrap();
    let poster = Poster::new(&gateway);
    // This compresses to almost nothing. AMP does not say which form it counts, so both must keep
    // to the limit.
    let large = entry(
        &[("__name__", "a"), ("b", &"x".repeat(1_000_001))],
        &[(now_ms(), 1.0)],
    );
    assert_eq!(poster.post(&body(vec![large])).await.unwrap().0, 413);
    assert_eq!(poster.post(b"\xff\xff\xff\xff\x0fzz").await.unwrap().0, 413);
    assert_eq!(poster.post(b"").await.unwrap().0, 400);
    assert_eq!(
        poster
            .post(&snap::raw::Encoder::new().compress_vec(b"\x0a\xff").unwrap())
            .await
            .unwrap()
            .0,
        400
    );
    assert_eq!(
        poster.post(&body(vec![])).await.unwrap().0,
        200,
        "an empty signed request is a probe"
    );
}

#[tokio::test]
async fn partial_success_replicas_and_rates() {
    let limits = WorkspaceLimits {
        samples_per_second: Some(10.0),
        ..WorkspaceLimits::default()
    };
    let gateway = Gateway::start(GatewayOptions {
        limits,
        ..GatewayOptions::default()
    })
    .await
    .unwrap();
    let poster = Poster::new(&gateway);
    let now = now_ms();
    let mixed = vec![
        entry(&[("__name__", "a")], &[(now, 1.0)]),
        entry(&[("__name__", "b")], &[(now - 3_700_000, 1.0)]),
    ];
    let (status, text) = poster.post(&body(mixed)).await.unwrap();
    assert_eq!(status, 400, "{text}");
    assert_eq!(
        gateway.journal()[0]
            .samples
            .iter()
            .map(|sample| sample.outcome)
            .collect::<Vec<_>>(),
        [Outcome::Stored, Outcome::Refused(Reason::TooOld)]
    );

    let replica = |name| {
        body(vec![entry(
            &[("__name__", "up"), ("__replica__", name), ("cluster", "c")],
            &[(now, 1.0)],
        )])
    };
    assert_eq!(poster.post(&replica("a")).await.unwrap().0, 200);
    assert_eq!(poster.post(&replica("b")).await.unwrap().0, 202);
    assert!(gateway.journal()[2].samples[0].outcome == Outcome::Unjudged);

    let many = (0..11)
        .map(|number| entry(&[("__name__", &format!("m{number}"))], &[(now, 1.0)]))
        .collect();
    let (status, text) = poster.post(&body(many)).await.unwrap();
    assert_eq!(status, 429);
    assert!(
        text.starts_with("ingestion rate limit (10) exceeded while adding 11 samples"),
        "{text}"
    );
}

#[tokio::test]
async fn faults_on_the_wire() {
    let gateway = Gateway::start(GatewayOptions::default()).await.unwrap();
    let poster = Poster::new(&gateway);
    let mut at = now_ms() - 60_000;
    let mut next = || {
        at += 1;
        one("a", at, 1.0)
    };
    let retry_after = FaultAction::Respond {
        status: 503,
        body: "busy".to_owned(),
        headers: [("retry-after".to_owned(), "7".to_owned())].into(),
    };
    gateway.faults().add(Fault::once(retry_after));
    let response = poster.client.send(poster.signed(&next())).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "7");

    for (action, stored) in [
        (FaultAction::Reset, false),
        (FaultAction::StoreAndReset, true),
        (FaultAction::StoreAndClose, true),
        (FaultAction::StoreAndCut, true),
    ] {
        let before = gateway.stats().stored;
        gateway.faults().add(Fault::once(action.clone()));
        let error = poster.post(&next()).await.unwrap_err();
        assert_eq!(
            gateway.stats().stored - before,
            u64::from(stored),
            "{action:?}"
        );
        if matches!(action, FaultAction::Reset | FaultAction::StoreAndReset) {
            assert!(
                format!("{error:#}").contains("reset"),
                "{action:?}: {error:#}"
            );
        }
    }

    let before = gateway.stats();
    gateway.faults().add(Fault::once(FaultAction::Drop));
    assert_eq!(poster.post(&next()).await.unwrap().0, 200);
    assert_eq!(gateway.stats().stored, before.stored);
    assert_eq!(gateway.stats().swallowed, before.swallowed + 1);

    for (action, stored) in [(FaultAction::Hang, 0), (FaultAction::StoreAndHang, 1)] {
        let before = gateway.stats();
        gateway.faults().add(Fault::once(action));
        let gave_up = tokio::time::timeout(Duration::from_millis(200), poster.post(&next())).await;
        assert!(gave_up.is_err());
        wait_for(
            "the request that was given up is journalled",
            Duration::from_secs(5),
            || async { gateway.stats().in_flight == 0 },
        )
        .await
        .unwrap();
        assert_eq!(gateway.stats().stored - before.stored, stored);
        assert_eq!(gateway.journal().last().unwrap().status, None);
    }

    gateway
        .faults()
        .add(Fault::once(FaultAction::Delay { ms: 100 }));
    let start = std::time::Instant::now();
    assert_eq!(poster.post(&next()).await.unwrap().0, 200);
    assert!(start.elapsed() >= Duration::from_millis(100));
    assert_eq!(gateway.faults().active(), 0);
}

#[tokio::test]
async fn concurrent_requests_with_one_series_are_breaches() {
    let gateway = Gateway::start(GatewayOptions::default()).await.unwrap();
    let poster = Poster::new(&gateway);
    let now = now_ms();
    gateway
        .faults()
        .add(Fault::times(FaultAction::Delay { ms: 300 }, 3));
    let (a, b, c) = (
        one("a", now, 1.0),
        one("a", now + 1, 1.0),
        one("b", now, 1.0),
    );
    let (first, second, third) = tokio::join!(poster.post(&a), poster.post(&b), poster.post(&c));
    assert!(first.is_ok() && second.is_ok() && third.is_ok());
    let stats = gateway.stats();
    assert_eq!(stats.concurrent, 1, "{stats:?}");
    assert_eq!(stats.max_in_flight, 3, "{stats:?}");
    assert_eq!(stats.connections, 3, "{stats:?}");
    assert_eq!(
        poster.post(&one("b", now - 1, 1.0)).await.unwrap().0,
        200,
        "inside the window"
    );
    assert_eq!(gateway.stats().out_of_order, stats.out_of_order + 1);
}

#[tokio::test]
async fn counting_only_and_the_admin_api() {
    let gateway = Gateway::start(GatewayOptions {
        count_only: true,
        ..GatewayOptions::default()
    })
    .await
    .unwrap();
    let poster = Poster::new(&gateway);
    assert_eq!(
        poster.post(&one("not a name", 0, 1.0)).await.unwrap().0,
        200
    );
    let client = Client::default();
    let faults = format!("{}/admin/faults", gateway.url());
    assert_eq!(
        client
            .post(
                &faults,
                "application/json",
                r#"{"action":"respond","status":500,"times":1}"#
            )
            .await
            .unwrap()
            .status(),
        204
    );
    assert_eq!(
        client
            .post(&faults, "application/json", r#"{"action":"explode"}"#)
            .await
            .unwrap()
            .status(),
        400
    );
    assert_eq!(poster.post(&one("a", 0, 1.0)).await.unwrap().0, 500);
    let stats = client
        .get(&format!("{}/admin/stats", gateway.url()))
        .await
        .unwrap();
    let stats: serde_json::Value = serde_json::from_slice(stats.body()).unwrap();
    assert_eq!(stats["samples"], 2, "{stats}");
    assert_eq!(stats["statuses"]["500"], 1, "{stats}");
    let journal = client
        .get(&format!("{}/admin/journal", gateway.url()))
        .await
        .unwrap();
    assert_eq!(
        serde_json::from_slice::<Vec<serde_json::Value>>(journal.body())
            .unwrap()
            .len(),
        2
    );
}
