//! Samples that become visible late: hanging targets, `query_offset`, slow rules, exporters with
//! timestamps of their own, what is removed from the configuration, and out-of-order ingestion.
//!
//! `settle` is shorter than all of them, so that the overlap of the reads must find them, in a cold
//! process as in a warm one.

use std::net::SocketAddr;
use std::time::Duration;

use amp_forwarder::prompb::STALE_NAN;
use amp_forwarder_support::http::{Hangup, Server};
use amp_forwarder_support::now_ms;
use amp_forwarder_support::process::{Prometheus, PrometheusOptions, V3_5};
use tempfile::TempDir;

use super::kinds::rules;
use super::{Ends, Sandboxes, has, job};
use crate::targets;

/// A rule group that looks at a past of 4 s, and one that takes its time.
const RULES: &str = "groups:
- name: offset
  interval: 1s
  query_offset: 4s
  rules: [{record: 'late:offset', expr: 'sum by (job) (counts)'}]
- name: slow
  interval: 2s
  rules: [{record: 'late:slow', expr: 'sum by (job) (count_over_time(counts[10m:20ms]))'}]
";

/// A group of rules that is removed.
const REMOVED: &str = "- name: removed
  interval: 1s
  rules: [{record: 'late:removed', expr: 'sum by (job) (counts)'}]
";

/// A target that never answers: its `up` 0 becomes visible after the scrape's time-out.
async fn hanging() -> Server {
    Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), |_, _| async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        Err(Hangup)
    })
    .await
    .unwrap()
}

async fn late_samples_arrive(sandboxes: Sandboxes) {
    let folder = TempDir::new().unwrap();
    let counting = targets::counting("counts", 10).await;
    let removed = targets::counting("removed", 3).await;
    // Each sample has the time of four seconds ago.
    let old = targets::timed("old", |now_ms, _| now_ms - 4_000).await;
    // Every third sample is older than the one before it.
    let unordered = targets::timed("unordered", |now_ms, round| match round % 3 {
        2 => now_ms - 3_000,
        _ => now_ms,
    })
    .await;
    let hanging = hanging().await;
    // Its other target stays: a job that is removed as a whole leaves no markers.
    let mut removing = job("removing", &counting, "3s");
    removing.targets.push(removed.address().to_string());
    let jobs = vec![
        job("counting", &counting, "300ms"),
        job("hanging", &hanging, "5s"),
        job("old", &old, "500ms"),
        job("unordered", &unordered, "500ms"),
        removing,
    ];
    let both = format!("{RULES}{REMOVED}");
    let mut home = Prometheus::start(PrometheusOptions {
        scrape_itself: false,
        out_of_order_window: Some("1m".to_owned()),
        extra: rules(folder.path(), &both),
        ..PrometheusOptions::home(V3_5, jobs)
    })
    .await
    .unwrap();
    has(&home, "count(up) == 6 and on() (count(late:removed) == 2)").await;
    let settings = "always, settle: 1s, overlap: auto";
    let mut ends = Ends::start(&home.address(), settings, sandboxes, |yaml| yaml).await;
    ends.run_until(now_ms()).await;

    rules(folder.path(), RULES);
    home.reload(|options| {
        options.jobs.last_mut().unwrap().targets.pop();
    })
    .await
    .unwrap();
    // Their markers come 1.1 and 2 intervals later, with the time of the removal.
    has(&home, "absent(removed)").await;
    has(&home, "absent(late:removed)").await;
    has(&home, "count_over_time(up{job=\"hanging\"}[1m]) >= 2").await;
    let until_ms = now_ms();
    // What is late is there by then, and was read again with the overlap.
    ends.run_until(until_ms + 7_000).await;

    let received = ends.received().await;
    let last = |name: &str| {
        let series = received.floats.iter();
        let mut of = series.filter(|(labels, _)| labels["__name__"] == name);
        of.next()
            .map(|(_, samples)| *samples.last_key_value().unwrap().1)
    };
    assert_eq!(last("removed"), Some(STALE_NAN));
    assert_eq!(last("late:removed"), Some(STALE_NAN));
    for name in ["late:offset", "late:slow", "old", "unordered"] {
        assert!(last(name).is_some(), "{name}");
    }
    let late: u64 = ends
        .reports
        .iter()
        .filter_map(|report| report["reads"][0]["late"].as_u64())
        .sum();
    assert!(late > 10, "{late} samples came late");
    // What the home took behind the newest sample of its series is not shipped.
    let is_unordered = |name: &str, round: f64| name == "unordered" && round % 3.0 == 2.0;
    let samples = ends.assert_equal_but(&home, until_ms, is_unordered).await;
    assert!(samples > 300, "{samples} samples were compared");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_samples_arrive_if_each_tick_is_cold() {
    late_samples_arrive(Sandboxes::Cold).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_samples_arrive_if_two_sandboxes_take_turns() {
    late_samples_arrive(Sandboxes::Two).await;
}
