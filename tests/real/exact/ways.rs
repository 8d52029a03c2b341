//! Ways to a home: with a password, by a proxy that passes `/federate` only, and to a home that
//! has no remote read.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use amp_forwarder_support::http::{self as server, Client, Server};
use amp_forwarder_support::process::{
    NodeExporter, Prometheus, PrometheusOptions, V3_5, VictoriaMetrics, WebConfig,
};
use amp_forwarder_support::query::{Querier, Samples};
use amp_forwarder_support::{Labels, now_ms, wait_for};
use serde_json::Value;

use super::{Ends, Sandboxes, home, job};
use crate::common::{AMPLE, RunningFunction, TestConfig, assert_balanced, gateway};
use crate::held::Held;
use crate::targets;

/// Time-out of a tick that serves two slots or more.
const SHORT: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sample_of_a_home_with_a_password_arrives() {
    let target = targets::counting("counts", 10).await;
    let web = WebConfig {
        password: true,
        ..WebConfig::default()
    };
    let options = PrometheusOptions {
        scrape_itself: false,
        web: Some(web),
        ..PrometheusOptions::home(V3_5, vec![job("counting", &target, "300ms")])
    };
    let locked = Prometheus::start(options).await.unwrap();
    // It answers nobody without the password, so a way that adds it lets the test look.
    let open = passing(&locked, |_| true).await;
    let url = format!("http://{}", open.address());
    let querier = Querier::new(&url);
    wait_for("it has scraped", AMPLE, || async {
        let count = querier.value("count(counts)").await;
        count.is_ok_and(|count| count == Some(10.0))
    })
    .await
    .unwrap();
    let address = locked.address();
    let with = |password: &str| {
        let credentials = format!(
            "basic_auth: {{username: {}, password: '{password}'}}\n    metrics_path",
            WebConfig::USER
        );
        move |yaml: String| yaml.replace("metrics_path", &credentials)
    };
    let settings = "always, settle: 1s";
    let change = with(WebConfig::PASSWORD);
    let mut ends = Ends::start(&address, settings, Sandboxes::One, change).await;
    ends.run_until(now_ms() + 4_000).await;
    let until_ms = ends.safe_ms().unwrap();
    let samples = ends.compare(&url, until_ms, |_| {}, |_, _| false).await;
    assert!(samples > 50, "{samples} samples were compared");

    let refused = Ends::start(&address, settings, Sandboxes::One, with("hunter2")).await;
    let report = first_failure(&refused.running[0]).await;
    let text = report.to_string();
    assert!(
        text.contains("401") && text.contains("these credentials may not read"),
        "{text}"
    );
    let everything = format!("{text}{}", refused.running[0].function.log());
    assert!(!everything.contains("hunter2"), "{everything}");
}

/// Whether the proxy of a test passes reads.
static READS_PASS: AtomicBool = AtomicBool::new(true);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_whose_reads_fail_leaves_the_other_ones_of_its_job_whole() {
    let target = targets::counting("counts", 10).await;
    let one = home(V3_5, vec![job("one", &target, "300ms")], "", &[]).await;
    let other = home(V3_5, vec![job("other", &target, "300ms")], "", &[]).await;
    let proxy = passing(&one, |path| {
        READS_PASS.load(Ordering::Relaxed) || is_federation(path)
    })
    .await;
    let (first, second) = (proxy.address().to_string(), other.address());
    let both = format!("['{first}', '{second}']");
    let change = |yaml: String| yaml.replace(&format!("['{first}']"), &both);
    let settings = "always, settle: 2s";
    let mut ends = Ends::start(&first, settings, Sandboxes::One, change).await;
    ends.run_until(now_ms() + 2_000).await;
    READS_PASS.store(false, Ordering::Relaxed);
    let patience = Instant::now() + AMPLE;
    let mut fallen_back = 0;
    while fallen_back < 2 {
        fallen_back += incidents(std::slice::from_ref(ends.tick().await), "gap_given_up");
        assert!(Instant::now() < patience, "{:?}", ends.reports);
    }
    let reads = ends.reports.last().unwrap()["reads"].clone();
    let of_second = reads.as_array().unwrap().iter();
    let safe_ms = of_second
        .filter(|read| read["instance"] == second.as_str())
        .find_map(|read| read["safe_ms"].as_i64())
        .unwrap();

    let of = |samples: Samples| -> Samples {
        let is_other = |labels: &Labels| labels["job"] == "other";
        let series = samples.into_iter().filter(|(labels, _)| is_other(labels));
        series.collect()
    };
    let received = of(ends.received().await.floats);
    let held = of(Held::read(&other.url(), "job", 0, now_ms()).await.floats);
    let from_ms = *received.values().flat_map(|of| of.keys()).min().unwrap();
    let mut compared = 0;
    for (labels, samples) in &held {
        for (at_ms, bits) in samples.range(from_ms..=safe_ms) {
            let found = received.get(labels).and_then(|of| of.get(at_ms));
            assert_eq!(found, Some(bits), "{labels:?} at {at_ms}");
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared} samples were compared");
}

/// [`WebConfig::USER`] and [`WebConfig::PASSWORD`] in base64.
const AUTHORIZATION: &str = "Basic YWRtaW46Y29ycmVjdCBob3JzZQ==";

/// A proxy that adds the password of [`WebConfig`], passes on the paths that `passes` names, and
/// answers 404 to others.
async fn passing(home: &Prometheus, passes: fn(&str) -> bool) -> Server {
    let home = home.url();
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    Server::start(listen, move |request, _| {
        let home = home.clone();
        async move {
            let path = request.uri().path_and_query().unwrap().to_string();
            if !passes(request.uri().path()) {
                return Ok(server::respond(404, "not here\n"));
            }
            let (head, body) = request.into_parts();
            let mut asked = http::Request::builder()
                .method(head.method)
                .uri(format!("{home}{path}"))
                .header("authorization", AUTHORIZATION);
            let names = ["accept", "content-type", "content-encoding"];
            for name in names
                .into_iter()
                .filter(|name| head.headers.contains_key(*name))
            {
                asked = asked.header(name, &head.headers[name]);
            }
            let body = server::read_body(body, 1 << 20).await.unwrap();
            let asked = asked.body(http_body_util::Full::new(body)).unwrap();
            let (head, body) = Client::default().send(asked).await.unwrap().into_parts();
            let mut answer = server::respond(head.status.as_u16(), body);
            for name in ["content-type", "date"] {
                if let Some(value) = head.headers.get(name) {
                    answer.headers_mut().insert(name, value.clone());
                }
            }
            Ok(answer)
        }
    })
    .await
    .unwrap()
}

fn is_federation(path: &str) -> bool {
    path == "/federate"
}

/// Incidents of this kind in some reports.
fn incidents(reports: &[Value], kind: &str) -> usize {
    let all = reports
        .iter()
        .flat_map(|report| report["incidents"].as_array());
    all.flatten()
        .filter(|incident| incident["kind"] == kind)
        .count()
}

/// The report of the first tick that reads, which fails: one that begins within a few seconds of
/// the start has nothing to read yet.
async fn first_failure(running: &RunningFunction) -> Value {
    let patience = Instant::now() + AMPLE;
    loop {
        let report = running.tick("{}", SHORT).await;
        assert_balanced(&report);
        if report["outcome"] != "ok" {
            return report;
        }
        assert!(Instant::now() < patience, "{report}");
    }
}

/// Asserts that a home without remote read is federated with `gaps`, which says once what it lacks,
/// and that `always` fails with the next step.
async fn only_federation_works(address: &str, hint: &str) {
    let gateway = gateway().await;
    let yaml = |mode: &str| {
        let settings = format!("remote_read: {{mode: {mode}}}, deadline_margin");
        let config = TestConfig {
            interval: "1s",
            ..TestConfig::new(address, &gateway)
        };
        config.yaml().replace("deadline_margin", &settings)
    };
    let gaps = RunningFunction::start(&yaml("gaps")).await;
    let mut reports = Vec::new();
    for _ in 0..3 {
        let report = gaps.tick("{}", SHORT).await;
        assert_balanced(&report);
        let scrapes = report["scrapes"].as_array().unwrap();
        assert!(!scrapes.is_empty(), "{report}");
        assert!(
            scrapes.iter().all(|scrape| scrape["up"] == true),
            "{report}"
        );
        reports.push(report);
        // Two slots pass, so that there is a gap to be read.
        let missed_ms = now_ms() + 2_500;
        wait_for("two slots are missed", AMPLE, || async {
            now_ms() > missed_ms
        })
        .await
        .unwrap();
    }
    let stored = gateway.stats().stored;
    assert!(stored > 10, "{stored} {reports:?}");
    assert_eq!(incidents(&reports, "read_unsupported"), 1, "{reports:?}");
    assert!(reports[1].to_string().contains(hint), "{}", reports[1]);

    let always = RunningFunction::start(&yaml("always")).await;
    let report = first_failure(&always).await;
    assert_eq!(report["outcome"], "failed", "{report}");
    assert_eq!(
        incidents(std::slice::from_ref(&report), "read_unsupported"),
        1,
        "{report}"
    );
    assert!(report.to_string().contains(hint), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_passes_only_federation() {
    let target = targets::counting("counts", 20).await;
    let home = home(V3_5, vec![job("counting", &target, "300ms")], "", &[]).await;
    let proxy = passing(&home, is_federation).await;
    only_federation_works(
        &proxy.address().to_string(),
        "set forwarder.remote_read.path",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victoria_metrics_as_the_home() {
    let exporter = NodeExporter::start().await.unwrap();
    let home = VictoriaMetrics::start(&[exporter.address()]).await.unwrap();
    wait_for("it has scraped", AMPLE, || async {
        home.querier()
            .value("up")
            .await
            .is_ok_and(|up| up == Some(1.0))
    })
    .await
    .unwrap();
    let address = home.url().trim_start_matches("http://").to_owned();
    only_federation_works(&address, "set forwarder.remote_read.path").await;
}
