//! Types and help texts on their way from a real home to the gateway.

use std::collections::BTreeMap;

use amp_forwarder_support::gateway::Gateway;
use amp_forwarder_support::http::Client;
use amp_forwarder_support::process::{Job, NodeExporter, Prometheus, V3_5};
use amp_forwarder_support::wait_for;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{
    AMPLE, RunningFunction, TestConfig, assert_balanced, assert_has, gateway, gateway_to, scripted,
    spooling,
};

const FORWARD: &str = include_str!("../../events/forward.json");

/// Type and help text by metric.
type MetadataByMetric = BTreeMap<String, (String, String)>;

async fn of(home: &Prometheus) -> MetadataByMetric {
    let answer = Client::default()
        .get(&format!("{}/api/v1/metadata", home.url()))
        .await
        .unwrap();
    let answer: Value = serde_json::from_slice(answer.body()).unwrap();
    let text = |entry: &Value, key: &str| entry[0][key].as_str().unwrap().to_owned();
    answer["data"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, entry)| (name.clone(), (text(entry, "type"), text(entry, "help"))))
        .collect()
}

/// The metadata that arrived, and the number of requests with it.
fn arrived(gateway: &Gateway) -> (MetadataByMetric, usize) {
    let mut metadata = MetadataByMetric::new();
    let mut requests = 0;
    for entry in gateway
        .journal()
        .iter()
        .filter(|entry| !entry.metadata.is_empty())
    {
        requests += 1;
        assert_eq!(entry.sample_count, 0, "metadata travels alone");
        assert_eq!(entry.status, Some(200));
        assert!(entry.metadata.len() <= 50, "{}", entry.metadata.len());
        for metric in &entry.metadata {
            let kind = [
                "unknown",
                "counter",
                "gauge",
                "histogram",
                "gaugehistogram",
                "summary",
                "info",
                "stateset",
            ][metric.r#type as usize];
            let before = metadata.insert(
                metric.metric_family_name.clone(),
                (kind.to_owned(), metric.help.clone()),
            );
            assert_eq!(before, None, "{}", metric.metric_family_name);
        }
    }
    (metadata, requests)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_federation_loses_arrives_once_an_hour() {
    let exporter = NodeExporter::start().await.unwrap();
    let receiver = Prometheus::receiver(V3_5).await.unwrap();
    let gateway = gateway_to(&receiver).await;
    let home = Prometheus::home(V3_5, vec![Job::new("node", &[exporter.address()])])
        .await
        .unwrap();
    let querier = home.querier();
    wait_for("the home has scraped", AMPLE, || async {
        querier
            .value("sum(up) == 2")
            .await
            .is_ok_and(|value| value.is_some())
    })
    .await
    .unwrap();
    let folder = TempDir::new().unwrap();
    let mut config = TestConfig::new(&home.address(), &gateway);
    config.forwarder = "deadline_margin: 500ms, metadata: {enabled: true}";
    let yaml = spooling(&config.yaml(), folder.path()).replace(
        "    sigv4:",
        "    metadata_config: {max_samples_per_send: 50}\n    sigv4:",
    );

    let expected = of(&home).await;
    for _ in 0..2 {
        // Each is a cold process. Only the first one finds that an hour has passed.
        let running = RunningFunction::start(&yaml).await;
        for _ in 0..2 {
            let report = running.tick(FORWARD, AMPLE).await;
            assert_balanced(&report);
            assert_has(&report, &json!({"outcome": "ok", "errors": []}));
        }
    }
    let (metadata, requests) = arrived(&gateway);
    assert!(
        metadata.len() > 200 && metadata == expected,
        "{} of {}",
        metadata.len(),
        expected.len()
    );
    assert_eq!(requests, metadata.len().div_ceil(50));
    assert_eq!(
        gateway.stats().statuses.keys().copied().collect::<Vec<_>>(),
        [200]
    );
}

#[tokio::test]
async fn a_home_without_metadata_is_worth_a_warning_and_no_more() {
    // This home answers every request with an exposition.
    let (home, gateway) = (scripted(125).await, gateway().await);
    let mut config = TestConfig::new(&home.address(), &gateway);
    config.forwarder = "deadline_margin: 500ms, metadata: {enabled: true, path: /prom/meta}";
    let running = RunningFunction::start(&config.yaml()).await;
    for errors in [1, 0] {
        let report = running.tick(FORWARD, AMPLE).await;
        assert_balanced(&report);
        assert_eq!(report["outcome"], "ok", "{report}");
        assert_eq!(
            report["errors"].as_array().unwrap().len(),
            errors,
            "{report}"
        );
    }
    assert_eq!(
        home.requests()
            .iter()
            .filter(|asked| asked.path.starts_with("/prom/meta?limit=20000"))
            .count(),
        1
    );
    assert_eq!(
        gateway.stats().statuses.keys().copied().collect::<Vec<_>>(),
        [200]
    );
}
