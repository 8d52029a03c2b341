//! The forwarder's own series, at a real receiver, and the dashboard that asks for them.

use amp_forwarder_support::gateway::faults::Fault;
use amp_forwarder_support::process::{Prometheus, V3_5};
use serde_json::Value;

use crate::cli::{CommandLine, text};
use crate::common::{TestConfig, gateway_to, scripted};

const DASHBOARD: &str = include_str!("../../infra/dashboards/pipeline.json");

/// Series of one remote and one forwarder.
const SERIES: f64 = 21.0;

/// Runs a process that makes one tick, and returns its report.
async fn tick(cli: &CommandLine) -> Value {
    let output = cli.runs(&["run", "--once", "--json"]).await;
    let report = serde_json::from_slice(&output.stdout);
    report.unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)))
}

/// Metric and label of each variable that a dashboard asks the receiver for.
fn choices(dashboard: &Value) -> Vec<(&str, &str)> {
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let asked = variables.iter().filter(|it| it["type"] == "query");
    asked
        .map(|it| {
            let query = it["query"]["query"].as_str().unwrap();
            query
                .strip_prefix("label_values(")
                .and_then(|rest| rest.strip_suffix(')')?.split_once(", "))
                .unwrap_or_else(|| panic!("{query}"))
        })
        .collect()
}

#[tokio::test]
async fn sums_go_on_from_process_to_process_and_the_dashboard_finds_them() {
    let home = scripted(125).await;
    let receiver = Prometheus::receiver(V3_5).await.unwrap();
    let gateway = gateway_to(&receiver).await;
    let config = TestConfig {
        forwarder: "deadline_margin: 500ms, own_series: {enabled: true, instance: attic}",
        ..TestConfig::new(&home.address(), &gateway)
    };
    let cli = CommandLine::with(&config.yaml());
    let querier = receiver.querier();
    let value = async |query: &str| querier.value(query).await.unwrap();

    // The first tick has nothing to say yet.
    let report = tick(&cli).await;
    assert_eq!(report["ledger"]["written"], 130, "{report}");
    assert_eq!(value("count({__name__=~\"amp_forwarder_.*\"})").await, None);
    // One tick in which nothing gets through, and then some in which everything does.
    gateway
        .faults()
        .add(Fault::always(Fault::status(500, "away")));
    let report = tick(&cli).await;
    assert_eq!(report["ledger"]["written"], 0, "{report}");
    gateway.faults().clear();
    let mut before = 0.0;
    for ticks in [2.0, 3.0, 4.0] {
        let report = tick(&cli).await;
        let ledger = &report["ledger"];
        assert_eq!(ledger["owed_after"], 0, "{report}");
        assert_eq!(
            value("amp_forwarder_ticks_total").await,
            Some(ticks),
            "{report}"
        );
        let written = "amp_forwarder_samples_total{fate=\"written\"}";
        let written = value(written).await.unwrap();
        assert!(written >= before, "{written} after {before}");
        before = written;
    }
    let all = "count({__name__=~\"amp_forwarder_.*\",job=\"amp-forwarder\",instance=\"attic\",\
               site=\"attic\"})";
    assert_eq!(value(all).await, Some(SERIES));
    // What the state says now, the next tick would send.
    let output = cli.runs(&["status", "--json"]).await;
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["counters"]["ticks"], 5, "{status}");

    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut asked = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap().replace("$forwarder", ".*");
            assert!(!expression.contains('$'), "{expression}");
            let found = value(&expression).await;
            assert!(
                found.is_some_and(|it| !it.is_nan()),
                "{expression}: {found:?}"
            );
            if panel["title"] == "Not accounted for" {
                assert_eq!(found, Some(0.0), "{expression}");
            }
            asked += 1;
        }
    }
    assert!(asked >= 15, "{asked}");
    // Its choice of a forwarder has something to offer: without it, every panel is empty.
    for (metric, label) in choices(&dashboard) {
        let offered = value(&format!(
            "count by ({label}) ({metric}{{{label}=\"attic\"}})"
        ))
        .await;
        assert_eq!(offered, Some(1.0), "{metric} by {label}");
    }
}

#[tokio::test]
async fn without_the_key_none_of_them_is_sent() {
    let home = scripted(5).await;
    let receiver = Prometheus::receiver(V3_5).await.unwrap();
    let gateway = gateway_to(&receiver).await;
    let cli = CommandLine::with(&TestConfig::new(&home.address(), &gateway).yaml());
    for _ in 0..2 {
        tick(&cli).await;
    }
    let found = receiver.querier();
    let found = found.value("count({__name__=~\"amp_forwarder_.*\"})").await;
    assert_eq!(found.unwrap(), None);
}
