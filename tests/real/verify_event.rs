//! The event `verify`: the function compares the home with a workspace by signed queries, and
//! publishes the metric `Completeness`.

use amp_forwarder_support::gateway::wire::{Label, Sample, TimeSeries, WriteRequest, compress};
use amp_forwarder_support::gateway::{Gateway, GatewayOptions};
use amp_forwarder_support::http::Client;
use amp_forwarder_support::now_ms;
use amp_forwarder_support::process::{Prometheus, V3_5};
use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::common::{AMPLE, RunningFunction, TestConfig, assert_has, gateway_to};

/// Samples of each series, 15 s apart. The newest is six minutes old: what is younger than five is
/// not verified.
const SAMPLES: i64 = 100;
const INTERVAL_MS: i64 = 15_000;
const NEWEST_AGE_MS: i64 = 6 * 60_000;

/// Series of the home, as `site` has them.
fn series(names: &[&str], external: &[(&str, &str)], now_ms: i64) -> WriteRequest {
    let timeseries = names.iter().map(|name| {
        let mut labels: Vec<_> = [("__name__", *name), ("instance", "a"), ("job", "node")]
            .iter()
            .chain(external)
            .map(|(name, value)| Label {
                name: (*name).to_owned(),
                value: (*value).to_owned(),
            })
            .collect();
        labels.sort();
        let samples = (0..SAMPLES).map(|number| Sample {
            value: number as f64 / 3.0,
            timestamp: now_ms - NEWEST_AGE_MS - (SAMPLES - 1 - number) * INTERVAL_MS,
        });
        TimeSeries {
            labels,
            samples: samples.collect(),
            ..TimeSeries::default()
        }
    });
    WriteRequest {
        timeseries: timeseries.collect(),
        ..WriteRequest::default()
    }
}

/// Writes samples into a Prometheus, which has none yet.
async fn write(prometheus: &Prometheus, request: &WriteRequest) {
    let request = http::Request::post(prometheus.remote_write_url())
        .header("content-encoding", "snappy")
        .header("content-type", "application/x-protobuf")
        .header("x-prometheus-remote-write-version", "0.1.0")
        .body(Full::new(Bytes::from(compress(request))))
        .unwrap();
    let answer = Client::default().send(request).await.unwrap();
    assert_eq!(answer.status(), 204, "{answer:?}");
}

/// A home and a receiver that lacks `lacking`, whose samples have its external label as well.
async fn ends(names: &[&str], lacking: &[&str]) -> (Prometheus, Prometheus) {
    let home = Prometheus::receiver(V3_5).await.unwrap();
    let receiver = Prometheus::receiver(V3_5).await.unwrap();
    let now_ms = now_ms();
    write(&home, &series(names, &[], now_ms)).await;
    let mut there = names.to_vec();
    there.retain(|name| !lacking.contains(name));
    write(&receiver, &series(&there, &[("site", "attic")], now_ms)).await;
    (home, receiver)
}

/// The answer of the function, and the values of `Completeness` that it published.
async fn verified(home: &Prometheus, gateway: &Gateway) -> (Value, Vec<f64>) {
    let config = TestConfig {
        forwarder: "deadline_margin: 500ms, remote_read: {mode: always}",
        ..TestConfig::new(&home.address(), gateway)
    };
    let running = RunningFunction::start(&config.yaml()).await;
    let event = json!({"action": "verify", "last": "20m"});
    let report = running.tick(&event.to_string(), AMPLE).await;
    let log = running.function.log();
    let published = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line.get("_aws").is_some())
        .filter_map(|line| line["Completeness"].as_f64());
    (report, published.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_whole_is_published_as_whole() {
    let names = ["a", "b", "c", "d"];
    let (home, receiver) = ends(&names, &[]).await;
    let gateway = gateway_to(&receiver).await;
    let (report, published) = verified(&home, &gateway).await;
    // 20 minutes up to five minutes ago hold the samples from 25 to 6 minutes ago.
    let each = report["remotes"][0]["home"].as_u64().unwrap() / 4;
    assert!((75..=78).contains(&each), "{report}");
    assert_has(
        &report,
        &json!({"ok": true, "unit": "samples", "completeness": 100.0, "unread": []}),
    );
    let remote = &report["remotes"][0];
    assert_eq!(remote["precision"], "query", "{report}");
    assert_eq!(remote["home"], remote["at_remote"], "{report}");
    assert!(remote["remote"].is_string(), "{report}");
    assert_eq!(published, [100.0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_lowers_the_completeness() {
    let names = ["a", "b", "c", "d"];
    let (home, receiver) = ends(&names, &["c"]).await;
    let gateway = gateway_to(&receiver).await;
    let (report, published) = verified(&home, &gateway).await;
    assert_has(&report, &json!({"ok": false, "completeness": 75.0}));
    let remote = &report["remotes"][0];
    assert_eq!(remote["metrics"][0]["metric"], "c", "{report}");
    assert_eq!(
        remote["missing"].as_u64().unwrap() * 4,
        remote["home"].as_u64().unwrap(),
        "{report}"
    );
    assert_eq!(published, [75.0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_not_query_is_told_so() {
    let (home, receiver) = ends(&["a"], &[]).await;
    let mut options = GatewayOptions {
        upstream: Some(receiver.remote_write_url()),
        ..GatewayOptions::default()
    };
    options
        .keys
        .values_mut()
        .for_each(|key| key.allowed = false);
    let gateway = Gateway::start(options).await.unwrap();
    let config = TestConfig::new(&home.address(), &gateway).yaml();
    let running = RunningFunction::start(&config).await;
    let event = json!({"action": "verify", "last": "20m"}).to_string();
    let answer = running.api.invoke(event, AMPLE).await.unwrap();
    let text = format!("{answer:?}");
    assert!(text.contains("aps:QueryMetrics"), "{text}");
}
