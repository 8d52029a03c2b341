//! Real homes of three versions, and VictoriaMetrics, sample by sample to a real receiver.

use std::time::Instant;

use amp_forwarder_support::compare::compare;
use amp_forwarder_support::home::Recorder;
use amp_forwarder_support::process::{
    Job, NodeExporter, Prometheus, PrometheusOptions, V2_42, V2_53, V3_5, VictoriaMetrics,
};
use amp_forwarder_support::query::{Querier, Samples};
use amp_forwarder_support::{now_ms, wait_for};

use crate::common::{
    AMPLE, RunningFunction, TestConfig, assert_balanced, assert_in_order, exposed, gateway_to,
};

async fn everything_arrives(version: &str) {
    let exporter = NodeExporter::start().await.unwrap();
    let options = PrometheusOptions {
        external_labels: vec![("room".to_owned(), "cellar \"2\"".to_owned())],
        ..PrometheusOptions::home(version, vec![Job::new("node", &[exporter.address()])])
    };
    let home = Prometheus::start(options).await.unwrap();
    let expected = arrives_from(version, &home.url(), &home.querier(), 2).await;
    assert!(
        expected
            .keys()
            .all(|labels| labels["room"] == "cellar \"2\""),
        "{version}"
    );
}

/// Number of new samples that is enough to compare. Some homes show few new ones a tick:
/// VictoriaMetrics holds the latest back for a while.
const ENOUGH: u64 = 1500;

/// Number of the forwarder's own series: `up` and its like.
const OWN: u64 = 5;

/// Totals of the reports of some ticks.
#[derive(Debug, Default, Clone, Copy)]
struct Totals {
    ticks: u64,
    scraped: u64,
    written: u64,
}

/// Runs four ticks or more, until there is enough to compare. Each waits for newer samples at the
/// home.
async fn forward(running: &RunningFunction, recorder: &Recorder, querier: &Querier) -> Totals {
    let mut totals = Totals::default();
    let until = Instant::now() + AMPLE;
    while totals.ticks < 4
        || (totals.written - totals.ticks * OWN <= ENOUGH && Instant::now() < until)
    {
        totals.ticks += 1;
        let before = newest(recorder);
        wait_for("the home has newer samples", AMPLE, || async {
            querier
                .value("max(timestamp(up))")
                .await
                .is_ok_and(|newest| newest.is_some_and(|newest| newest * 1000.0 > before as f64))
        })
        .await
        .unwrap();
        let report = running
            .tick(include_str!("../../events/forward.json"), AMPLE)
            .await;
        assert_eq!(report["outcome"], "ok", "{report}");
        assert_balanced(&report);
        totals.written += report["ledger"]["written"].as_u64().unwrap();
        totals.scraped += report["scrapes"][0]["samples"].as_u64().unwrap();
    }
    totals
}

/// Forwards from a home with this number of targets and compares both ends; returns what the home
/// has exposed.
async fn arrives_from(version: &str, url: &str, querier: &Querier, targets: u32) -> Samples {
    let receiver = Prometheus::receiver(V3_5).await.unwrap();
    let gateway = gateway_to(&receiver).await;
    let scraped_all = format!("sum(up) == {targets}");
    wait_for("the home has scraped its targets", AMPLE, || async {
        querier
            .value(&scraped_all)
            .await
            .is_ok_and(|value| value.is_some())
    })
    .await
    .unwrap();
    let recorder = Recorder::start(url).await.unwrap();
    let started_ms = now_ms();
    let running =
        RunningFunction::start(&TestConfig::new(&recorder.address(), &gateway).yaml()).await;
    let totals = forward(&running, &recorder, querier).await;

    let expected = exposed(&recorder.recordings());
    let mut found = receiver
        .querier()
        .raw("{site=\"attic\"}", started_ms - 300_000, now_ms())
        .await
        .unwrap();
    // The forwarder's own series are not the home's.
    found.retain(|labels, _| {
        !(labels["job"] == "federate" && labels.get("instance") == Some(&recorder.address()))
    });
    let comparison = compare(&expected, &found);
    assert!(
        comparison.is_exact(),
        "{version}: lost {:?}, extra {:?}, different {:?}",
        comparison.lost.first(),
        comparison.extra.first(),
        comparison.different.first()
    );
    assert!(
        comparison.agreeing as u64 > ENOUGH,
        "{version}: only {} samples were compared",
        comparison.agreeing
    );
    // Each tick adds its own series; samples that the home repeated were not sent again.
    let own = totals.ticks * OWN;
    assert_eq!(
        totals.written,
        comparison.agreeing as u64 + own,
        "{version}"
    );
    assert!(totals.scraped >= totals.written - own, "{totals:?}");
    let stats = gateway.stats();
    assert_in_order(&stats);
    assert_eq!(stats.repeated, 0, "{version}: {stats:?}");
    assert_eq!(stats.mixed_replicas, 0, "{version}: {stats:?}");
    assert!(
        stats.max_samples <= 100 && stats.max_in_flight <= 8 && stats.max_in_flight > 1,
        "{version}: {stats:?}"
    );
    assert_eq!(
        stats.statuses.keys().copied().collect::<Vec<_>>(),
        [200],
        "{version}"
    );
    expected
}

fn newest(recorder: &Recorder) -> i64 {
    exposed(&recorder.recordings())
        .iter()
        .filter(|(labels, _)| labels["__name__"] == "up")
        .flat_map(|(_, samples)| samples.keys())
        .copied()
        .max()
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_2_42() {
    everything_arrives(V2_42).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_2_53() {
    everything_arrives(V2_53).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_3_5() {
    everything_arrives(V3_5).await;
}

/// Its `/federate` is text only, has no types, and knows no external labels.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victoria_metrics() {
    let exporter = NodeExporter::start().await.unwrap();
    let home = VictoriaMetrics::start(&[exporter.address()]).await.unwrap();
    arrives_from("victoria-metrics", &home.url(), &home.querier(), 1).await;
}
