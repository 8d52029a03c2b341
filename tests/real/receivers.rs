//! Remotes without sigv4: plain remote write to real receivers.

use std::collections::BTreeMap;

use amp_forwarder_support::home::{Page, Recorder, ScriptedHome};
use amp_forwarder_support::process::{
    Job, NodeExporter, Prometheus, PrometheusOptions, V3_5, VictoriaMetrics,
};
use amp_forwarder_support::query::{Querier, Samples};
use amp_forwarder_support::{now_ms, wait_for};
use serde_json::json;

use crate::common::{
    AMPLE, RunningFunction, SPOOL, assert_balanced, assert_has, exposed, exposition,
};

fn yaml(home: &str, remote: &str) -> String {
    format!(
        "global: {{scrape_interval: 1m, scrape_timeout: 5s, external_labels: {{site: \
         attic}}}}\nscrape_configs:\n- job_name: federate\n  honor_labels: true\n  \
         metrics_path: /federate\n  params: {{'match[]': ['{{__name__=~\".+\"}}']}}\n  \
         static_configs: [{{targets: ['{home}']}}]\n\
         remote_write: [{{url: '{remote}', name: plain, queue_config: {{max_samples_per_send: \
         500}}}}]\n\
         forwarder: {{deadline_margin: 500ms, spool: {{url: 'file://{SPOOL}'}}}}\n"
    )
}

/// Forwards two ticks of a real home, and compares the samples that the receiver shows, to the last
/// bit.
async fn receives(remote: &str, querier: &Querier, exact: bool, flush: impl AsyncFn()) {
    let exporter = NodeExporter::start().await.unwrap();
    let home = Prometheus::start(PrometheusOptions::home(
        V3_5,
        vec![Job::new("node", &[exporter.address()])],
    ))
    .await
    .unwrap();
    let at_home = home.querier();
    wait_for("the home has scraped its exporter", AMPLE, || async {
        at_home
            .value("sum(up) == 2")
            .await
            .is_ok_and(|value| value.is_some())
    })
    .await
    .unwrap();
    let recorder = Recorder::start(&home.url()).await.unwrap();
    let started_ms = now_ms();
    let running = RunningFunction::start(&yaml(&recorder.address(), remote)).await;
    let mut written = 0;
    for _ in 0..2 {
        let report = running
            .tick(include_str!("../../events/forward.json"), AMPLE)
            .await;
        assert_eq!(report["outcome"], "ok", "{report}");
        assert_balanced(&report);
        written += report["ledger"]["written"].as_u64().unwrap();
    }
    flush().await;

    let mut expected = exposed(&recorder.recordings());
    let count = |samples: &Samples| samples.values().map(BTreeMap::len).sum::<usize>();
    let mut found = querier
        .raw("{site=\"attic\"}", started_ms - 300_000, now_ms())
        .await
        .unwrap();
    found.retain(|labels, _| {
        !(labels["job"] == "federate" && labels.get("instance") == Some(&recorder.address()))
    });
    assert!(count(&found) > 700, "{}", count(&found));
    assert_eq!(written as usize, count(&expected) + 10);
    if !exact {
        // VictoriaMetrics takes a NaN and never shows it, and it stores floats as decimals.
        let digits = |samples: &mut Samples| {
            for bits in samples.values_mut().flat_map(BTreeMap::values_mut) {
                *bits = format!("{:.12e}", f64::from_bits(*bits))
                    .parse::<f64>()
                    .unwrap()
                    .to_bits();
            }
        };
        expected
            .values_mut()
            .for_each(|samples| samples.retain(|_, bits| !f64::from_bits(*bits).is_nan()));
        expected.retain(|_, samples| !samples.is_empty());
        digits(&mut expected);
        digits(&mut found);
    }
    let differs = expected
        .iter()
        .find(|(labels, samples)| found.get(*labels) != Some(samples));
    assert!(
        found == expected,
        "{} samples arrived of {}; {differs:?}",
        count(&found),
        count(&expected)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_receives() {
    let receiver = Prometheus::receiver(V3_5).await.unwrap();
    receives(
        &receiver.remote_write_url(),
        &receiver.querier(),
        true,
        async || (),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victoria_metrics_receives() {
    let receiver = VictoriaMetrics::start(&[]).await.unwrap();
    let flush = async || receiver.flush().await.unwrap();
    receives(
        &receiver.remote_write_url(),
        &receiver.querier(),
        false,
        flush,
    )
    .await;
}

/// Prometheus without an out-of-order window answers 400 to samples that are older than the newest
/// of their series.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_refuses_what_is_out_of_order() {
    let options = PrometheusOptions {
        out_of_order_window: None,
        ..PrometheusOptions::receiver(V3_5)
    };
    let receiver = Prometheus::start(options).await.unwrap();
    let now = now_ms();
    let home = ScriptedHome::start(Page::text(exposition(5, now)))
        .await
        .unwrap();
    let config = yaml(&home.address(), &receiver.remote_write_url());
    let first = RunningFunction::start(&config)
        .await
        .tick("{}", AMPLE)
        .await;
    assert_has(&first, &json!({"outcome": "ok", "ledger": {"written": 10}}));
    // A new process does not know the samples of the first one.
    home.serve(Page::text(exposition(5, now - 60_000)));
    let running = RunningFunction::start(&config).await;
    let second = running.tick("{}", AMPLE).await;
    assert_eq!(
        second["ledger"]["rejected"], 10,
        "a whole request is counted: an upper bound; {second}"
    );
    assert_balanced(&second);
    assert!(
        running.function.log().contains("out of order sample"),
        "{}",
        running.function.log()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prometheus_that_takes_nothing_says_so() {
    let prometheus = Prometheus::start(PrometheusOptions {
        scrape_itself: false,
        ..PrometheusOptions::home(V3_5, Vec::new())
    })
    .await
    .unwrap();
    let home = ScriptedHome::start(Page::text(exposition(5, now_ms())))
        .await
        .unwrap();
    let report = RunningFunction::start(&yaml(&home.address(), &prometheus.remote_write_url()))
        .await
        .tick("{}", AMPLE)
        .await;
    assert_has(
        &report,
        &json!({"outcome": "failed", "ledger": {"owed_after": 10}}),
    );
    assert!(
        report["errors"]
            .to_string()
            .contains("--web.enable-remote-write-receiver"),
        "{report}"
    );
}
