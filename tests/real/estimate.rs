//! `forwardctl estimate` compared with the counts of the home's own query API.

use std::collections::BTreeMap;

use amp_forwarder_support::process::{Job, NodeExporter, Prometheus, PrometheusOptions, V3_5};
use amp_forwarder_support::{now_ms, wait_for};
use serde_json::Value;

use crate::cli::CommandLine;
use crate::common::{AMPLE, TestConfig, gateway};

/// Seconds of a month in AWS' bills.
const MONTH: f64 = 730.0 * 3600.0;

/// Number of the forwarder's own series: `up` and its like.
const OWN: f64 = 5.0;

async fn estimate(cli: &CommandLine, arguments: &[&str]) -> Value {
    let output = cli
        .runs(&[&["estimate", "--json"], arguments].concat())
        .await;
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn close(found: f64, expected: f64, tolerance: f64) {
    assert!(
        (found - expected).abs() <= expected * tolerance,
        "{found} is not within {tolerance} of {expected}"
    );
}

/// A home that scrapes the exporter every 30 seconds: half of our scrapes bring something new at 15
/// seconds, all at 30.
async fn home(exporter: &NodeExporter) -> Prometheus {
    let job = Job::new("node", &[exporter.address()]).every("30s");
    let home = Prometheus::start(PrometheusOptions {
        scrape_itself: false,
        ..PrometheusOptions::home(V3_5, vec![job])
    })
    .await
    .unwrap();
    let querier = home.querier();
    wait_for("the home has scraped its exporter", AMPLE * 2, || async {
        querier.value("up").await.is_ok_and(|up| up == Some(1.0))
    })
    .await
    .unwrap();
    home
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_agrees_with_the_homes_own_counts() {
    let exporter = NodeExporter::start().await.unwrap();
    let home = home(&exporter).await;
    let querier = home.querier();
    let cli = CommandLine::with(&TestConfig::new(&home.address(), &gateway().await).yaml());

    let once = estimate(&cli, &["--watch", "0s"]).await;
    let counted = querier
        .value("count({__name__=~\".+\"})")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(once["series"].as_f64(), Some(counted + OWN));
    for bill in once["intervals"].as_array().unwrap() {
        let interval = bill["interval_s"].as_f64().unwrap();
        assert_eq!(
            bill["samples_month"].as_f64(),
            Some((counted + OWN) * MONTH / interval),
            "{interval}"
        );
    }
    let mut sizes: BTreeMap<String, f64> = BTreeMap::new();
    for metric in once["top"].as_array().unwrap() {
        let name = metric["metric"].as_str().unwrap();
        sizes.insert(name.to_owned(), metric["series"].as_f64().unwrap());
        assert_eq!(
            querier.value(&format!("count({name})")).await.unwrap(),
            metric["series"].as_f64(),
            "{name}"
        );
    }
    let largest = querier
        .value("max(count by (__name__) ({__name__=~\".+\"}))")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(sizes.values().copied().fold(0.0, f64::max), largest);

    let watched = estimate(&cli, &["--watch", "1m"]).await;
    let now_ms = now_ms();
    let raw = querier
        .raw("{__name__=~\".+\"}", now_ms - 59_999, now_ms)
        .await
        .unwrap();
    let a_minute = raw.values().map(BTreeMap::len).sum::<usize>() as f64;
    let month = |index: usize| {
        watched["intervals"][index]["samples_month"]
            .as_f64()
            .unwrap()
    };
    // Two of four scrapes of a minute brought something new.
    close(month(0), a_minute * MONTH / 60.0 + OWN * MONTH / 15.0, 0.02);
    close(month(1), a_minute * MONTH / 60.0 + OWN * MONTH / 30.0, 0.02);
    close(month(2), (counted + OWN) * MONTH / 60.0, 0.02);
    // By remote read each sample counts once, whatever the interval.
    let always = &watched["always"];
    let samples = (a_minute + OWN) * MONTH / 60.0;
    close(always["samples_month"].as_f64().unwrap(), samples, 0.02);
    let bills = watched["intervals"].as_array().unwrap().iter();
    for bill in bills.chain([always]) {
        let lines = bill["lines"].as_array().unwrap();
        close(
            bill["dollars"].as_f64().unwrap(),
            lines
                .iter()
                .map(|line| line["dollars"].as_f64().unwrap())
                .sum(),
            1e-9,
        );
        assert_eq!(lines[0]["quantity"], bill["samples_month"]);
    }
}

#[tokio::test]
async fn it_says_what_is_wrong() {
    let cli = CommandLine::with(&TestConfig::new("127.0.0.1:9", &gateway().await).yaml());
    let output = cli.runs(&["estimate", "--watch", "0s"]).await;
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.contains("connect") && message.contains("127.0.0.1:9"),
        "{message}"
    );
    let output = cli.runs(&["estimate", "--watch", "90s"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("whole minutes"));
}
