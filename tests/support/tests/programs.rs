//! Starts each of the real programs once. `make tools` fetches them.

use std::collections::BTreeMap;
use std::time::Duration;

use amp_forwarder_support::compare::{Comparison, compare};
use amp_forwarder_support::gateway::{Gateway, GatewayOptions};
use amp_forwarder_support::home::{Page, Recorder, ScriptedHome, Trouble};
use amp_forwarder_support::http::Client;
use amp_forwarder_support::lambda::{Emulator, InvocationResult};
use amp_forwarder_support::process::{
    Job, NodeExporter, Prometheus, PrometheusOptions, V3_5, VERSIONS,
};
use amp_forwarder_support::query::{Querier, Samples};
use amp_forwarder_support::{Labels, now_ms, wait_for};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn each_version_scrapes_and_federates() {
    let exporter = NodeExporter::start().await.unwrap();
    for version in VERSIONS {
        let home = Prometheus::home(version, vec![Job::new("node", &[exporter.address()])])
            .await
            .unwrap();
        let querier = home.querier();
        wait_for("two targets are up", SOON, || async {
            querier.value("sum(up)").await.ok().flatten() == Some(2.0)
        })
        .await
        .unwrap();
        let recorder = Recorder::start(&home.url()).await.unwrap();
        let url = format!(
            "http://{}/federate?match%5B%5D=%7B__name__%3D~%22.%2B%22%7D",
            recorder.address()
        );
        assert_eq!(Client::default().get(&url).await.unwrap().status(), 200);
        let samples = recorder.recordings()[0].samples().unwrap();
        assert!(samples.len() > 500, "{version}: {}", samples.len());
        // Federation gave the samples of the query API, to the bit.
        let mut exposed = Samples::new();
        for sample in samples {
            let bits = amp_forwarder_support::query::value_bits(sample.value);
            exposed
                .entry(sample.labels)
                .or_default()
                .insert(sample.timestamp.unwrap(), bits);
        }
        let stored = querier
            .raw("{__name__=~\".+\"}", now_ms() - 60_000, now_ms())
            .await
            .unwrap();
        let comparison = compare(&exposed, &stored);
        assert!(
            comparison.agreeing > 500
                && comparison.lost.is_empty()
                && comparison.different.is_empty(),
            "{version}: {:?}",
            comparison.lost.first()
        );
    }
}

/// A Prometheus remote-writes to the gateway, which has a receiver behind it: in the end the
/// receiver has what the home has.
#[tokio::test]
async fn prometheus_through_the_gateway_into_a_receiver() {
    let mut receiver = Prometheus::receiver(V3_5).await.unwrap();
    let options = GatewayOptions {
        upstream: Some(receiver.remote_write_url()),
        keys: Default::default(),
        ..GatewayOptions::default()
    };
    let gateway = Gateway::start(options).await.unwrap();
    let mut home_options = PrometheusOptions::home(V3_5, Vec::new());
    home_options.extra = format!(
        "remote_write: [{{url: \"{}\", queue_config: {{batch_send_deadline: 100ms}}}}]",
        gateway.remote_write_url()
    );
    let home = Prometheus::start(home_options).await.unwrap();
    wait_for("samples are stored", SOON, || async {
        gateway.stats().stored > 1000
    })
    .await
    .unwrap();
    receiver.kill();
    wait_for(
        "the gateway says that the receiver is away",
        SOON,
        || async { gateway.stats().statuses.contains_key(&503) },
    )
    .await
    .unwrap();
    receiver.restart().await.unwrap();
    let before = gateway.stats().stored;
    wait_for("samples flow again", SOON, || async {
        gateway.stats().stored > before + 1000
    })
    .await
    .unwrap();
    let until = now_ms();
    let (at_home, received) = (home.querier(), receiver.querier());
    let agreed = wait_for("both ends agree", SOON, || async {
        compare_ends(&at_home, &received, until).await.is_exact()
    })
    .await;
    let comparison = compare_ends(&at_home, &received, until).await;
    let examples = (
        comparison.lost.first(),
        comparison.extra.first(),
        comparison.different.first(),
    );
    assert!(
        agreed.is_ok(),
        "{} agree, {} lost, {} extra: {examples:?}",
        comparison.agreeing,
        comparison.lost.len(),
        comparison.extra.len()
    );
    assert_eq!(gateway.stats().concurrent, 0);
    assert_eq!(gateway.stats().out_of_order, 0);
}

/// Compares the minute before `until` at both ends, from the first sample that was sent.
async fn compare_ends(at_home: &Querier, received: &Querier, until: i64) -> Comparison {
    let selector = "{job=\"prometheus\"}";
    let expected = at_home.raw(selector, until - 60_000, until).await.unwrap();
    let found = received.raw(selector, until - 60_000, until).await.unwrap();
    // A Prometheus sends what came after it had started to watch its own log, so the first scrape
    // is missing.
    let first = found
        .values()
        .filter_map(|samples| samples.keys().next())
        .min()
        .copied()
        .unwrap_or(i64::MAX);
    let since =
        |samples: BTreeMap<i64, u64>| samples.into_iter().filter(|(at, _)| *at >= first).collect();
    let expected: Samples = expected
        .into_iter()
        .map(|(labels, samples)| (labels, since(samples)))
        .collect();
    compare(&expected, &found)
}

#[tokio::test]
async fn a_prometheus_takes_the_scripted_home_for_a_target() {
    let target = ScriptedHome::start(Page::text("# TYPE foo untyped\nfoo{a=\"b\"} 1.5 \n"))
        .await
        .unwrap();
    let home = Prometheus::home(V3_5, vec![Job::new("scripted", &[&target.address()])])
        .await
        .unwrap();
    let querier = home.querier();
    let is = |expression: &'static str, value: f64| {
        let querier = querier.clone();
        async move {
            wait_for(expression, SOON, || async {
                querier.value(expression).await.ok().flatten() == Some(value)
            })
            .await
        }
    };
    is("foo{a=\"b\"}", 1.5).await.unwrap();
    assert!(target.requests()[0].headers["accept-encoding"].contains("gzip"));
    target.serve(Page::text("foo 1\n").trouble(Trouble::Cut(10)));
    is("up{job=\"scripted\"}", 0.0).await.unwrap();
    target.serve(Page::text("foo 1\nbar 2\n").trouble(Trouble::Truncate(6)));
    is("scrape_samples_scraped{job=\"scripted\"}", 1.0)
        .await
        .unwrap();
    target.serve(Page::text("foo 1\n").content_type(None));
    is("up{job=\"scripted\"}", 0.0).await.unwrap();
    target.serve(Page::text("foo 1\n").trouble(Trouble::Stall(3, Duration::from_millis(100))));
    is("up{job=\"scripted\"}", 1.0).await.unwrap();
    target.serve(Page::text("foo 1\n").trouble(Trouble::Reset));
    is("up{job=\"scripted\"}", 0.0).await.unwrap();
}

#[tokio::test]
async fn exact_values_by_the_query_api() {
    let body = "a NaN\na{x=\"1\"} -0\na{x=\"2\"} 1.7976931348623157e+308\n\
                a{x=\"3\"} 4.9e-324\na{x=\"4\"} -Inf\na{x=\"5\"} 0.1\n";
    let target = ScriptedHome::start(Page::text(body)).await.unwrap();
    let home = Prometheus::home(V3_5, vec![Job::new("t", &[&target.address()])])
        .await
        .unwrap();
    let querier = home.querier();
    wait_for("scraped", SOON, || async {
        querier.value("count(a)").await.ok().flatten() == Some(6.0)
    })
    .await
    .unwrap();
    let samples = querier.raw("a", now_ms() - 60_000, now_ms()).await.unwrap();
    let bits = |x: &str| {
        let (_, of_series) = samples
            .iter()
            .find(|(labels, _)| labels.get("x").map_or("", String::as_str) == x)
            .unwrap();
        *of_series.values().next().unwrap()
    };
    let expected = [f64::NAN, -0.0, f64::MAX, 4.9e-324, f64::NEG_INFINITY, 0.1];
    for (x, value) in ["", "1", "2", "3", "4", "5"].iter().zip(expected) {
        assert_eq!(bits(x), value.to_bits(), "{x:?}");
    }
    let labels: &Labels = samples.keys().next().unwrap();
    assert_eq!(labels["__name__"], "a");
}

/// The test plays the function: it sees what cargo-lambda's emulator does with an answer and with
/// an error.
#[tokio::test]
async fn the_emulator() {
    let emulator = Emulator::start(Duration::from_secs(20)).await.unwrap();
    let base = format!(
        "http://{}/2018-06-01/runtime/invocation",
        emulator.runtime_api()
    );
    let client = Client::default();
    let function = async {
        for (kind, body) in [
            ("response", r#"{"outcome":"ok"}"#),
            ("error", r#"{"errorType":"Failed","errorMessage":"x"}"#),
        ] {
            let next = client.get(&format!("{base}/next")).await.unwrap();
            let header = |name: &str| next.headers()[name].to_str().unwrap().to_owned();
            let left = header("lambda-runtime-deadline-ms").parse::<i64>().unwrap() - now_ms();
            assert!((15_000..=20_000).contains(&left), "{left}");
            let id = header("lambda-runtime-aws-request-id");
            client
                .post(&format!("{base}/{id}/{kind}"), "application/json", body)
                .await
                .unwrap();
        }
    };
    let test = async {
        assert_eq!(
            emulator.invoke("{}", SOON).await.unwrap(),
            InvocationResult::Answer(serde_json::json!({ "outcome": "ok" }))
        );
        assert_eq!(
            emulator.invoke("{}", SOON).await.unwrap().error_type(),
            Some("Failed")
        );
    };
    tokio::join!(function, test);
}
