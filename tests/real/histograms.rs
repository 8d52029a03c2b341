//! Native histograms on their way from a target by a real home to a real receiver.

use amp_forwarder_support::families::{
    Family, Histogram, Metric, MetricType, delimited, family, labelled, spans,
};
use amp_forwarder_support::gateway::Gateway;
use amp_forwarder_support::home::{Page, ScriptedHome};
use amp_forwarder_support::process::{Job, Prometheus, PrometheusOptions, V3_5};
use amp_forwarder_support::query::Querier;
use amp_forwarder_support::{Labels, families, now_ms, wait_for};

use serde_json::json;

use crate::common::{AMPLE, RunningFunction, TestConfig, assert_balanced, assert_has, gateway_to};

/// An event that scrapes at once, whatever the slot.
const FORWARD: &str = include_str!("../../events/forward.json");

const FLAG: &str = "--enable-feature=native-histograms";

/// Histograms of integers and of floats, on both sides of zero, of two series, and a gauge
/// histogram. All of them grow with each round.
fn page(round: u64) -> Page {
    let grown = |count: u64| count * (round + 1);
    let latency = |path: &str, schema: i32| Metric {
        histogram: Some(Histogram {
            sample_count: Some(grown(15)),
            sample_sum: Some(18.5 * (round + 1) as f64),
            schema: Some(schema),
            zero_threshold: Some(0.001),
            zero_count: Some(grown(2)),
            positive_span: spans(&[(0, 2), (3, 1)]),
            positive_delta: vec![grown(3) as i64, grown(2) as i64, -(grown(4) as i64)],
            negative_span: spans(&[(-3, 1)]),
            negative_delta: vec![grown(4) as i64],
            ..Histogram::default()
        }),
        ..labelled(&[("path", path)])
    };
    let queue = Metric {
        histogram: Some(Histogram {
            sample_count_float: Some(7.5 / (round + 1) as f64),
            sample_sum: Some(3.5),
            schema: Some(-1),
            zero_threshold: Some(1e-128),
            zero_count_float: Some(0.5 / (round + 1) as f64),
            positive_span: spans(&[(1, 2)]),
            positive_count: vec![3.0 / (round + 1) as f64, 4.0 / (round + 1) as f64],
            ..Histogram::default()
        }),
        ..labelled(&[])
    };
    let plain: Family = family(
        "plain",
        MetricType::Gauge,
        vec![Metric {
            gauge: families::single(round as f64),
            ..labelled(&[])
        }],
    );
    let latencies = vec![latency("/a", 1), latency("/b", 5)];
    let body = delimited(&[
        family("latency", MetricType::Histogram, latencies),
        family("queue", MetricType::GaugeHistogram, vec![queue]),
        plain,
    ]);
    Page::text(body).content_type(Some(families::CONTENT_TYPE))
}

fn config(home: &Prometheus, gateway: &Gateway, send: bool) -> String {
    let yaml = TestConfig::new(&home.address(), gateway).yaml();
    yaml.replace(
        "    sigv4:",
        &format!("    send_native_histograms: {send}\n    sigv4:"),
    )
}

const ROUNDS: u64 = 4;
const QUANTILES: [&str; 5] = ["0.01", "0.3", "0.5", "0.9", "0.999"];

async fn home(target: &ScriptedHome) -> Prometheus {
    let job = Job::new("app", &[&target.address()]);
    Prometheus::start(PrometheusOptions {
        flags: vec![FLAG.to_owned()],
        scrape_itself: false,
        ..PrometheusOptions::home(V3_5, vec![job])
    })
    .await
    .unwrap()
}

async fn receiver() -> Prometheus {
    Prometheus::start(PrometheusOptions {
        flags: vec![FLAG.to_owned()],
        ..PrometheusOptions::receiver(V3_5)
    })
    .await
    .unwrap()
}

/// A selector of one series by its name and path.
fn series_selector(name: &str, labels: &Labels) -> String {
    let path = labels
        .get("path")
        .map(|path| format!(",path=\"{path}\""))
        .unwrap_or_default();
    format!("{name}{{job=\"app\"{path}}}")
}

/// Asserts that both ends give the same quantiles of a series; returns how many of them are
/// numbers.
async fn equal_quantiles(
    home: &Prometheus,
    receiver: &Prometheus,
    series: &str,
    at_ms: i64,
) -> usize {
    let mut answers = 0;
    for quantile in QUANTILES {
        let query = format!("histogram_quantile({quantile}, {series})");
        let expected = home.querier().value_at(&query, at_ms).await.unwrap();
        let found = receiver.querier().value_at(&query, at_ms).await.unwrap();
        assert_eq!(found, expected, "{query} at {at_ms}");
        answers += usize::from(expected.is_some_and(f64::is_finite));
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn native_histograms_arrive_and_answer_equally() {
    let target = ScriptedHome::start(page(0)).await.unwrap();
    let home = home(&target).await;
    let receiver = receiver().await;
    let gateway = gateway_to(&receiver).await;
    let dropping_gateway = gateway_to(&receiver).await;
    let running = RunningFunction::start(&config(&home, &gateway, true)).await;
    let started_ms = now_ms();

    for round in 0..ROUNDS {
        target.serve(page(round));
        let count = format!("sum(histogram_count(latency)) == {}", 30 * (round + 1));
        wait_for("the home has this round", AMPLE, || async {
            home.querier()
                .value(&count)
                .await
                .is_ok_and(|value| value.is_some())
        })
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", home.log()));
        let report = running.tick(FORWARD, AMPLE).await;
        assert_eq!(report["outcome"], "ok", "{report}");
        assert_balanced(&report);
        assert_eq!(report["ledger"]["filtered"], 0, "{report}");
    }

    let mut answers = 0;
    for (name, series) in [("latency", 2), ("queue", 1)] {
        let selector = format!("{name}{{job=\"app\"}}");
        let raw = async |querier: Querier| {
            querier
                .raw_histograms(&selector, started_ms - 60_000, now_ms())
                .await
                .unwrap()
        };
        let expected = raw(home.querier()).await;
        let found = raw(receiver.querier()).await;
        assert_eq!(found.len(), series);
        for (mut labels, samples) in found {
            assert_eq!(labels.remove("site").as_deref(), Some("attic"));
            assert_eq!(samples.len(), ROUNDS as usize, "{labels:?}");
            for (at_ms, histogram) in samples {
                assert_eq!(
                    expected[&labels][&at_ms], histogram,
                    "{labels:?} at {at_ms}"
                );
                let series = series_selector(name, &labels);
                answers += equal_quantiles(&home, &receiver, &series, at_ms).await;
            }
        }
    }
    assert_eq!(answers, 3 * ROUNDS as usize * QUANTILES.len());

    // Without `send_native_histograms` they are dropped and counted; other samples are sent.
    let dropping = RunningFunction::start(&config(&home, &dropping_gateway, false)).await;
    let report = dropping.tick(FORWARD, AMPLE).await;
    assert_has(
        &report,
        &json!({"outcome": "ok", "ledger": {"filtered": 3}}),
    );
    assert_balanced(&report);
    assert!(
        report["ledger"]["written"].as_u64().unwrap() >= 6,
        "{report}"
    );
}
