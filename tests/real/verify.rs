//! `forwardctl verify` against real programs: a home whose samples Prometheus itself has written to
//! a receiver, so that nothing of ours has a hand in what is compared.

use std::process::Output;

use amp_forwarder::series::text::series;
use amp_forwarder_support::gateway::options::GatewayOptions;
use amp_forwarder_support::gateway::{Fault, FaultAction, Gateway};
use amp_forwarder_support::process::{Job, NodeExporter, Prometheus, PrometheusOptions, V3_5};
use amp_forwarder_support::query::Querier;
use amp_forwarder_support::{now_ms, wait_for};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{AMPLE, assert_has, credentials};

/// The range of a young home.
const RECENT: [&str; 4] = ["--last", "30s", "--settled", "3s"];

/// A home that scrapes an exporter each second and writes every sample to `remote`.
pub(crate) async fn writing_home(exporter: &NodeExporter, remote: &str) -> Prometheus {
    Prometheus::start(PrometheusOptions {
        scrape_itself: false,
        external_labels: vec![("site".to_owned(), "attic".to_owned())],
        extra: format!(
            "remote_write:\n  - url: {remote}\n    queue_config: {{max_samples_per_send: 300, \
             batch_send_deadline: 200ms, max_shards: 1}}\n"
        ),
        ..PrometheusOptions::home(V3_5, vec![Job::new("node", &[exporter.address()])])
    })
    .await
    .unwrap()
}

pub(crate) fn config(folder: &TempDir, home: &Prometheus, remote: &str, mode: &str) -> String {
    let path = folder.path().join("forwarder.yml");
    let yaml = format!(
        "scrape_configs:\n- job_name: federate\n  scrape_interval: 2s\n  honor_labels: true\n  \
         metrics_path: /federate\n  params: {{'match[]': ['{{__name__=~\".+\"}}']}}\n  \
         static_configs: [{{targets: ['{}']}}]\nremote_write: [{{url: '{remote}', name: plain}}]\n\
         forwarder: {{remote_read: {{mode: {mode}}}, spool: {{url: 'file://{}'}}}}\n",
        home.address(),
        folder.path().join("spool").display(),
    );
    std::fs::write(&path, yaml).unwrap();
    path.display().to_string()
}

async fn verify(config: &str, arguments: &[&str]) -> (Value, Output) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_forwardctl"))
        .args(["verify", "--json", "--config", config])
        .args(arguments)
        .env_clear()
        .envs(credentials())
        .output()
        .await
        .unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (report, output)
}

/// Waits until the receiver has some seconds of samples that are old enough to be compared.
pub(crate) async fn settled(receiver: &Prometheus) {
    let querier = receiver.querier();
    wait_for("the receiver has samples", AMPLE, || async {
        let enough = "count_over_time(up{job=\"node\"}[8s] offset 4s) >= 7";
        querier
            .value(enough)
            .await
            .is_ok_and(|value| value.is_some())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_whole_is_whole_and_what_was_swallowed_is_named() {
    let exporter = NodeExporter::start().await.unwrap();
    let receiver = Prometheus::receiver(V3_5).await.unwrap();
    let gateway = Gateway::start(GatewayOptions {
        upstream: Some(receiver.remote_write_url()),
        // Prometheus signs nothing here.
        keys: Default::default(),
        ..GatewayOptions::default()
    })
    .await
    .unwrap();
    let home = writing_home(&exporter, &gateway.remote_write_url()).await;
    settled(&receiver).await;
    let folder = TempDir::new().unwrap();
    let path = config(&folder, &home, &receiver.remote_write_url(), "always");

    let (report, output) = verify(&path, &RECENT).await;
    assert!(output.status.success(), "{report} {output:?}");
    assert_has(
        &report,
        &serde_json::json!({"ok": true, "unit": "samples", "completeness": 100.0}),
    );
    let remote = &report["remotes"][0];
    assert_eq!(remote["precision"], "bits", "{report}");
    assert!(remote["home"].as_u64().unwrap() > 1000, "{report}");
    assert_eq!(remote["home"], remote["at_remote"], "{report}");
    assert_eq!(remote["remote"], "plain", "{report}");

    // By queries the same comes out, but for stale markers.
    let query_url = format!("{}/api/v1/query", receiver.url());
    let (report, output) =
        verify(&path, &[&RECENT[..], &["--query-url", &query_url]].concat()).await;
    assert!(output.status.success(), "{report} {output:?}");
    assert_eq!(report["remotes"][0]["precision"], "query", "{report}");
    assert!(
        report["remotes"][0]["home"].as_u64().unwrap() > 1000,
        "{report}"
    );

    let lost = gateway.stats().swallowed;
    gateway.faults().add(Fault {
        min_samples: 100,
        ..Fault::once(FaultAction::Drop)
    });
    wait_for("a batch is swallowed", AMPLE, || async {
        gateway.stats().swallowed > lost
    })
    .await
    .unwrap();
    let swallowed = gateway.stats().swallowed - lost;
    let swallowed_ms = now_ms();
    wait_for("it is old enough to be compared", AMPLE, || async {
        now_ms() > swallowed_ms + 5_000
    })
    .await
    .unwrap();
    let (report, output) = verify(&path, &RECENT).await;
    assert_eq!(output.status.code(), Some(1), "{report} {output:?}");
    let remote = &report["remotes"][0];
    assert_eq!(remote["missing"], swallowed, "{report}");
    assert_eq!(
        (&remote["different"], &remote["foreign"]),
        (&0.into(), &0.into()),
        "{report}"
    );
    assert!(
        !remote["metrics"].as_array().unwrap().is_empty(),
        "{report}"
    );
    assert!(
        remote["examples"][0]["series"]
            .as_str()
            .unwrap()
            .contains("site=\"attic\""),
        "{report}"
    );
}

/// Lets the gateway acknowledge a batch of a scrape without storing it, and returns the samples of
/// the home that were in it, sorted: `up` and its like are the forwarder's own.
async fn swallow_a_batch(gateway: &Gateway) -> Vec<(String, i64)> {
    let before = gateway.stats().swallowed;
    gateway.faults().add(Fault {
        min_samples: 100,
        ..Fault::once(FaultAction::Drop)
    });
    wait_for("a batch is swallowed", AMPLE, || async {
        gateway.stats().swallowed > before
    })
    .await
    .unwrap();
    let journal = gateway.journal();
    let swallowed = journal
        .iter()
        .find(|entry| entry.fault == Some(FaultAction::Drop))
        .unwrap();
    let mut of_home: Vec<_> = swallowed
        .samples
        .iter()
        .map(|sample| (gateway.labels(sample.series), sample.timestamp))
        .filter(|(labels, _)| labels["job"] != "federate")
        .map(|(labels, timestamp)| {
            let pairs = labels.iter().map(|(name, value)| (&**name, &**value));
            (series(&pairs.collect::<Vec<_>>()), timestamp)
        })
        .collect();
    of_home.sort();
    of_home
}

/// Waits until a query has a value.
async fn wait_for_value(what: &str, querier: &Querier, query: &str) {
    wait_for(what, AMPLE, || async {
        querier
            .value(query)
            .await
            .is_ok_and(|value| value.is_some())
    })
    .await
    .unwrap();
}

/// Series and times of the samples that a report names, sorted.
fn examples(remote: &Value) -> Vec<(String, i64)> {
    let all = remote["examples"].as_array().unwrap().iter();
    let mut named: Vec<_> = all
        .map(|example| {
            let series = example["series"].as_str().unwrap().to_owned();
            (series, example["timestamp_ms"].as_i64().unwrap())
        })
        .collect();
    named.sort();
    named
}

/// The forwarder itself sends what `/federate` shows, so slots are compared. The receiver is read by
/// its query API.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_slots_what_federate_has_shown_is_expected() {
    let exporter = NodeExporter::start().await.unwrap();
    let receiver = Prometheus::receiver(V3_5).await.unwrap();
    let gateway = Gateway::start(GatewayOptions {
        upstream: Some(receiver.remote_write_url()),
        keys: Default::default(),
        ..GatewayOptions::default()
    })
    .await
    .unwrap();
    let home = Prometheus::home(V3_5, vec![Job::new("node", &[exporter.address()])])
        .await
        .unwrap();
    let folder = TempDir::new().unwrap();
    let path = config(&folder, &home, &gateway.remote_write_url(), "gaps");
    let query_url = format!("{}/api/v1/query", receiver.url());
    let arguments = ["--query-url", &query_url, "--last", "8s", "--settled", "5s"];
    let _running = tokio::process::Command::new(env!("CARGO_BIN_EXE_forwardctl"))
        .args(["run", "--config", &path])
        .env_clear()
        .envs(credentials())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let querier = receiver.querier();
    // A home begins to scrape some seconds after its start.
    let enough = "count_over_time(up{job=\"node\"}[20s] offset 14s) >= 2";
    wait_for_value("the forwarder has served some slots", &querier, enough).await;

    let (report, output) = verify(&path, &arguments).await;
    assert!(output.status.success(), "{report} {output:?}");
    assert_has(
        &report,
        &serde_json::json!({"ok": true, "unit": "slots", "completeness": 100.0}),
    );
    let remote = &report["remotes"][0];
    assert_eq!(remote["precision"], "query", "{report}");
    // Four slots of two targets.
    assert!(remote["home"].as_u64().unwrap() > 2000, "{report}");
    assert_eq!(remote["foreign"], 0, "{report}");

    // The verification has given the home series of its own, and of a series that is new in a slot
    // nothing can be said: it may not have been visible.
    let read = "prometheus_http_request_duration_seconds_count{handler=\"/api/v1/read\"}";
    let enough = format!("count_over_time({read}[20s]) >= 2");
    wait_for_value("the series of the first read are known", &querier, &enough).await;
    let swallowed = swallow_a_batch(&gateway).await;
    let swallowed_ms = now_ms();
    wait_for("it is old enough to be compared", AMPLE, || async {
        now_ms() > swallowed_ms + 7_000
    })
    .await
    .unwrap();
    // Long enough for a slow machine, and not so long that it reaches back before the first slot.
    let longer = [
        "--query-url",
        &query_url,
        "--last",
        "14s",
        "--settled",
        "5s",
        "--examples",
        "100000",
    ];
    let (report, output) = verify(&path, &longer).await;
    assert_eq!(output.status.code(), Some(1), "{report} {output:?}");
    // The batch may hold `up`, which says when the slot was scraped. Then its other samples do.
    let remote = &report["remotes"][0];
    assert_eq!(examples(remote), swallowed);
    assert_eq!(remote["missing"], swallowed.len(), "{report}");
    assert_eq!(remote["different"], 0, "{report}");
}
