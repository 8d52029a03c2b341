//! Two replicas of a home: AMP elects one of them, and the other one takes over when it dies.

use std::time::Duration;

use amp_forwarder_support::gateway::{Gateway, GatewayOptions, WorkspaceLimits};
use amp_forwarder_support::process::{Job, NodeExporter, Prometheus, PrometheusOptions, V3_5};
use amp_forwarder_support::{now_ms, wait_for};
use serde_json::Value;

use crate::common::{AMPLE, RunningFunction, TestConfig, assert_balanced, assert_in_order};

const FORWARD: &str = include_str!("../../events/forward.json");
const REPLICA: &str = "__replica__";

async fn replica(name: &str, exporter: &NodeExporter) -> Prometheus {
    let external_labels = [("cluster", "attic"), (REPLICA, name)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let jobs = vec![Job::new("node", &[exporter.address()])];
    Prometheus::start(PrometheusOptions {
        external_labels: external_labels.to_vec(),
        ..PrometheusOptions::home(V3_5, jobs)
    })
    .await
    .unwrap()
}

/// The replicas whose samples were stored, in the order of arrival.
fn replicas(gateway: &Gateway) -> Vec<String> {
    let mut replicas: Vec<_> = gateway
        .stored()
        .iter()
        .filter_map(|sample| sample.labels.get(REPLICA).cloned())
        .collect();
    replicas.dedup();
    replicas
}

fn count(report: &Value, place: &str) -> u64 {
    report["ledger"][place].as_u64().unwrap()
}

/// A gateway in front of the receiver that elects another replica after four seconds of silence.
async fn electing_gateway(receiver: &Prometheus) -> Gateway {
    let limits = WorkspaceLimits {
        ha_failover: Duration::from_secs(4),
        ..WorkspaceLimits::default()
    };
    Gateway::start(GatewayOptions {
        upstream: Some(receiver.remote_write_url()),
        limits,
        ..GatewayOptions::default()
    })
    .await
    .unwrap()
}

async fn wait_for_scrapes(homes: &[Prometheus]) {
    for home in homes {
        let querier = home.querier();
        wait_for("both homes have scraped", AMPLE, || async {
            querier
                .value("sum(up) == 2")
                .await
                .is_ok_and(|value| value.is_some())
        })
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_elected_replica_is_stored_and_the_other_one_takes_over() {
    let exporter = NodeExporter::start().await.unwrap();
    let receiver = Prometheus::receiver(V3_5).await.unwrap();
    let gateway = electing_gateway(&receiver).await;
    let mut homes = [replica("a", &exporter).await, replica("b", &exporter).await];
    wait_for_scrapes(&homes).await;
    let started_ms = now_ms();
    let one = homes[0].address();
    let both = TestConfig::new(&one, &gateway).yaml().replace(
        &format!("['{one}']"),
        &format!("['{one}', '{}']", homes[1].address()),
    );
    let running = RunningFunction::start(&both).await;

    // Both are scraped at once, and one of them is elected.
    for first in [true, false] {
        let report = running.tick(FORWARD, AMPLE).await;
        assert_balanced(&report);
        assert_eq!(report["outcome"], "ok", "{report}");
        // After the first scrape the homes may have nothing new.
        assert!(
            !first || (count(&report, "written") > 200 && count(&report, "deduplicated") > 200),
            "{report}"
        );
        assert_eq!(
            count(&report, "rejected") + count(&report, "owed_after"),
            0,
            "{report}"
        );
    }
    let elected = replicas(&gateway);
    assert_eq!(elected.len(), 1, "{elected:?}");
    let (leader, other) = if elected[0] == "a" {
        (0, "b")
    } else {
        (1, "a")
    };

    // The elected replica dies: its scrapes fail, and the other one's samples are not taken until
    // the election ends.
    homes[leader].kill();
    let report = running.tick(FORWARD, AMPLE).await;
    assert_balanced(&report);
    assert_eq!(report["outcome"], "partial", "{report}");
    let killed_ms = now_ms();
    wait_for("the other replica is elected", AMPLE, || async {
        assert_balanced(&running.tick(FORWARD, AMPLE).await);
        replicas(&gateway).len() > 1
    })
    .await
    .unwrap();
    assert_eq!(replicas(&gateway), [elected[0].clone(), other.to_owned()]);
    wait_for("its new samples are taken", AMPLE, || async {
        let report = running.tick(FORWARD, AMPLE).await;
        assert_eq!(count(&report, "deduplicated"), 0, "{report}");
        count(&report, "written") > 200
    })
    .await
    .unwrap();

    let stats = gateway.stats();
    assert_eq!(stats.mixed_replicas, 0, "{stats:?}");
    assert_in_order(&stats);
    assert_eq!(
        stats.statuses.keys().copied().collect::<Vec<_>>(),
        [200, 202]
    );
    assert_one_series(&receiver, started_ms, killed_ms).await;
}

/// Asserts that what is stored has no replica label, so that queries see one series before and
/// after the kill.
async fn assert_one_series(receiver: &Prometheus, started_ms: i64, killed_ms: i64) {
    let stored = receiver
        .querier()
        .raw("node_load1", started_ms - 60_000, now_ms())
        .await
        .unwrap();
    assert_eq!(stored.len(), 1, "{:?}", stored.keys());
    let (labels, samples) = stored.first_key_value().unwrap();
    assert!(
        labels["cluster"] == "attic" && !labels.contains_key(REPLICA),
        "{labels:?}"
    );
    assert!(
        samples.keys().any(|at| *at < killed_ms) && samples.keys().any(|at| *at > killed_ms),
        "{samples:?}"
    );
}
