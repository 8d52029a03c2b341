//! `resolution`: of each span of the clock the newest sample of a series arrives, and every stale
//! marker, and `forwardctl verify` asks for nothing else.

use std::collections::BTreeMap;

use amp_forwarder::prompb::STALE_NAN;
use amp_forwarder_support::now_ms;
use amp_forwarder_support::process::V3_5;
use serde_json::Value;
use tempfile::TempDir;

use super::{Ends, Sandboxes, home, job};
use crate::common::credentials;
use crate::held::Held;
use crate::targets;

const SPAN_MS: i64 = 5_000;

/// Number of the span that a sample belongs to.
fn span(at_ms: i64) -> i64 {
    (at_ms - 1).div_euclid(SPAN_MS)
}

/// What arrives of a series in these spans.
fn thinned(
    samples: &BTreeMap<i64, u64>,
    spans: &std::ops::RangeInclusive<i64>,
) -> BTreeMap<i64, u64> {
    let is_newest = |at_ms: i64| {
        let after = samples.range(at_ms + 1..);
        let mut floats = after.filter(|(_, bits)| **bits != STALE_NAN);
        floats
            .next()
            .is_none_or(|(next_ms, _)| span(*next_ms) != span(at_ms))
    };
    samples
        .iter()
        .filter(|(at_ms, _)| spans.contains(&span(**at_ms)))
        .filter(|(at_ms, bits)| **bits == STALE_NAN || is_newest(**at_ms))
        .map(|(at_ms, bits)| (*at_ms, *bits))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_each_span_the_newest_sample_arrives_and_nothing_else_is_missed() {
    let counting = targets::counting("counts", 10).await;
    let flickering = targets::flickering(8).await;
    let jobs = vec![
        job("counting", &counting, "300ms"),
        job("flickering", &flickering, "700ms"),
    ];
    let home = home(V3_5, jobs, "", &[]).await;
    let settings = "always, settle: 2s, resolution: 5s";
    let mut ends = Ends::start(&home.address(), settings, Sandboxes::Cold, |yaml| yaml).await;
    ends.run_until(now_ms() + 3 * SPAN_MS).await;
    let until_ms = ends.safe_ms().unwrap();

    let received = ends.received().await.floats;
    let from_ms = received.values().flat_map(|of| of.keys()).min().unwrap();
    let spans = span(*from_ms) + 1..=span(until_ms);
    let held = Held::read(&home.url(), "__name__", 0, now_ms())
        .await
        .floats;
    let (mut samples, mut markers) = (0, 0);
    for (labels, of_series) in &held {
        let wanted = thinned(of_series, &spans);
        let found: BTreeMap<_, _> = received
            .get(labels)
            .into_iter()
            .flatten()
            .filter(|(at_ms, _)| spans.contains(&span(**at_ms)))
            .map(|(at_ms, bits)| (*at_ms, *bits))
            .collect();
        assert_eq!(found, wanted, "{labels:?}");
        samples += wanted.len();
        markers += wanted.values().filter(|bits| **bits == STALE_NAN).count();
    }
    assert!(samples > 20 && markers > 0, "{samples}, {markers} markers");

    // The range begins and ends within spans.
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("forwarder.yml");
    std::fs::write(&path, &ends.yaml).unwrap();
    let settled = (now_ms() - until_ms) / 1_000 + 3;
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_forwardctl"))
        .args(["verify", "--json", "--config"])
        .arg(&path)
        .args(["--last", "7s", "--settled", &format!("{settled}s")])
        .args([
            "--query-url",
            &format!("{}/api/v1/query", ends.receiver.url()),
        ])
        .env_clear()
        .envs(credentials())
        .output()
        .await
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    assert!(output.status.success(), "{report} {output:?}");
    assert_eq!(report["completeness"], 100.0, "{report}");
    let remote = &report["remotes"][0];
    assert_eq!(remote["foreign"], 0, "{report}");
    assert!(remote["home"].as_u64().unwrap() >= 10, "{report}");
}
