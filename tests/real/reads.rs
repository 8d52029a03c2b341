//! Remote read is no stable API: what a window takes is compared with what each version of
//! Prometheus holds, by its query API and by a read that is decoded as a whole.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use amp_forwarder::batch::stage::BatchLimits;
use amp_forwarder::batch::{WindowStart, Writer, decode};
use amp_forwarder::config::Config;
use amp_forwarder::home::targets;
use amp_forwarder::prompb::STALE_NAN;
use amp_forwarder::read::request::TimeRange;
use amp_forwarder::read::{
    NamePart, ReadErrorKind, ReadSource, WindowOutcome, WindowReader, WindowRequest, WindowShape,
};
use amp_forwarder::setup;
use amp_forwarder::time::SystemClock;
use amp_forwarder_support::families::{
    CONTENT_TYPE, Histogram, Metric, MetricType, delimited, family, labelled, spans,
};
use amp_forwarder_support::home::{Page, ScriptedHome};
use amp_forwarder_support::process::{
    Job, Prometheus, PrometheusOptions, V2_42, V2_53, V3_5, VictoriaMetrics,
};
use amp_forwarder_support::query::value_bits;
use amp_forwarder_support::{Labels, now_ms, wait_for};

use crate::common::AMPLE;
use crate::held::Held;

/// Values that a float has few others of.
const FLOATS: &str = "count 1\ncount{kind=\"\u{e9}\"} NaN\nedge{kind=\"inf\"} -Inf\n\
                      edge{kind=\"small\"} 5e-324\nedge{kind=\"zero\"} -0\n";

fn histogram_page() -> Page {
    let latency = Metric {
        histogram: Some(Histogram {
            sample_count: Some(15),
            sample_sum: Some(18.5),
            schema: Some(1),
            zero_threshold: Some(0.001),
            zero_count: Some(2),
            positive_span: spans(&[(0, 2), (3, 1)]),
            positive_delta: vec![3, 2, -4],
            negative_span: spans(&[(-3, 1)]),
            negative_delta: vec![4],
            ..Histogram::default()
        }),
        ..labelled(&[("path", "/a")])
    };
    let body = delimited(&[family("latency", MetricType::Histogram, vec![latency])]);
    Page::text(body).content_type(Some(CONTENT_TYPE))
}

/// A job that federates everything from this address.
fn config(address: &str) -> Config {
    let text = format!(
        "scrape_configs:\n- job_name: federate\n  honor_labels: true\n  metrics_path: /federate\n  \
         params: {{'match[]': ['{{job=~\".+\"}}', '{{__name__=~\"up|count\"}}']}}\n  \
         static_configs: [{{targets: ['{address}']}}]\n\
         remote_write:\n- {{url: 'http://127.0.0.1:1/', send_native_histograms: true}}\n"
    );
    Config::load(&text, &|_| None, "test")
        .unwrap_or_else(|errors| panic!("{errors}"))
        .config
}

/// Reads a window from a home.
async fn window(address: &str, part: NamePart, range: TimeRange) -> WindowOutcome {
    let config = config(address);
    let target = targets(&config.scrape_configs).unwrap().remove(0);
    let source = ReadSource::new(&target, None).unwrap();
    let limits = BatchLimits {
        samples: 2_000,
        bytes: 1 << 20,
    };
    let writers = [RefCell::new(
        Writer::new(limits).with_native_histograms(true),
    )];
    let home = setup::home(&config, Duration::from_secs(1));
    let reader = WindowReader {
        home: &home,
        clock: &SystemClock,
        external_labels: &config.global.external_labels,
        remotes: &config.remote_write,
        writers: &writers,
        fits: &|_| true,
    };
    reader
        .read(&WindowRequest {
            job: &config.scrape_configs[0],
            target: &target,
            source: &source,
            part,
            range,
            settle: Duration::from_secs(1),
            timeout: AMPLE,
            shape: WindowShape::Raw { resolution_ms: 0 },
            max_samples: 1_000_000,
            starts: &[WindowStart::default()],
            reports: false,
        })
        .await
}

/// What a remote gets of a window.
fn sent(outcome: &WindowOutcome) -> Held {
    assert_eq!(outcome.error, None);
    let mut held = Held::default();
    for batch in outcome.commits[0].scrapes.iter().flatten() {
        for series in decode(batch).unwrap().timeseries {
            held.add(&series);
        }
    }
    held
}

/// A home with floats, a target that goes away, and native histograms if it has them; and the time
/// at which the target had gone.
async fn home(version: &str, histograms: bool) -> (Prometheus, [ScriptedHome; 3], i64) {
    let pages = [
        Page::text(FLOATS),
        Page::text("leaving 1\n"),
        histogram_page(),
    ];
    let [floats, leaving, native] = pages.map(ScriptedHome::start);
    let targets = [
        floats.await.unwrap(),
        leaving.await.unwrap(),
        native.await.unwrap(),
    ];
    let job = |name, at: usize| Job::new(name, &[&targets[at].address()]).every("250ms");
    let mut jobs = vec![job("floats", 0), job("leaving", 1)];
    let mut flags = Vec::new();
    if histograms {
        jobs.push(job("native", 2));
        flags.push("--enable-feature=native-histograms".to_owned());
    }
    let home = Prometheus::start(PrometheusOptions {
        flags,
        external_labels: vec![("room".to_owned(), "cellar".to_owned())],
        ..PrometheusOptions::home(version, jobs)
    })
    .await
    .unwrap();
    let all_up = format!(
        "count_over_time(leaving[1m]) > 8 and on() sum(up) == {}",
        3 + usize::from(histograms)
    );
    has(&home, &all_up).await;
    targets[1].serve(Page::text(""));
    has(&home, "absent(leaving)").await;
    let gone_ms = now_ms();
    // The window ends behind that, and lets it settle.
    let passed = format!("vector(time()) > {}", gone_ms / 1_000 + 8);
    has(&home, &passed).await;
    (home, targets, gone_ms)
}

async fn has(home: &Prometheus, expression: &str) {
    wait_for(expression, AMPLE, || async {
        home.querier()
            .value(expression)
            .await
            .is_ok_and(|value| value.is_some())
    })
    .await
    .unwrap_or_else(|error| panic!("{error}\n{}", home.log()));
}

#[allow(clippy::too_many_lines, reason = "one answer, compared in three ways")]
async fn a_window_has_what_the_home_holds(version: &str, histograms: bool) {
    let started_ms = now_ms();
    let (home, _targets, gone_ms) = home(version, histograms).await;
    let range = TimeRange {
        start_ms: started_ms,
        end_ms: now_ms() - 1_000,
    };
    let outcome = window(&home.address(), NamePart::WHOLE, range).await;
    let end_ms = outcome.end_ms.unwrap();
    assert!(
        gone_ms < end_ms && end_ms <= range.end_ms,
        "{version}: {end_ms} {range:?}"
    );
    let held = sent(&outcome);

    // By a read that is decoded as a whole, to the last bit, with markers and histograms.
    let expected = Held::read(&home.url(), "job", range.start_ms, end_ms).await;
    for (labels, samples) in &expected.histograms {
        let found = held.histograms.get(labels);
        assert_eq!(found, Some(samples), "{version}: {labels:?}");
    }
    for (labels, samples) in &expected.floats {
        let found = held.floats.get(labels);
        assert_eq!(found, Some(samples), "{version}: {labels:?}");
    }
    assert_eq!(held.samples(), expected.samples(), "{version}");

    // By the query API, which shows neither markers nor NaNs' bits. It shows the sign of −0, which
    // remote read drops: its encoder leaves out what equals 0.
    let querier = home.querier();
    let selector = "{job=~\".+\"}";
    let queried = querier.raw(selector, range.start_ms, end_ms).await.unwrap();
    let without_sign = |bits: u64| if bits == 1 << 63 { 0 } else { bits };
    let queried: BTreeMap<Labels, BTreeMap<i64, u64>> = queried
        .into_iter()
        .map(|(labels, samples)| {
            let samples = samples
                .into_iter()
                .map(|(at, bits)| (at, without_sign(bits)));
            (labels, samples.collect())
        })
        .collect();
    let without_markers: BTreeMap<Labels, BTreeMap<i64, u64>> = held
        .floats
        .iter()
        .map(|(labels, samples)| {
            let mut labels = labels.clone();
            // The query API adds no external labels.
            labels.remove("room");
            let samples = samples.iter().filter(|&(_, &bits)| bits != STALE_NAN);
            let bits = |bits: u64| value_bits(f64::from_bits(bits));
            (labels, samples.map(|(&at, &of)| (at, bits(of))).collect())
        })
        .collect();
    for (labels, samples) in &queried {
        let found = without_markers.get(labels);
        assert_eq!(found, Some(samples), "{version}: {labels:?}");
    }
    assert_eq!(queried.len(), without_markers.len(), "{version}");
    let native = querier
        .raw_histograms(selector, range.start_ms, end_ms)
        .await
        .unwrap();
    let times = |count: usize| (histograms, count > 8);
    let of_latency: Vec<usize> = native.values().map(BTreeMap::len).collect();
    let held_latency: Vec<usize> = held.histograms.values().map(BTreeMap::len).collect();
    assert_eq!(of_latency, held_latency, "{version}");
    assert_eq!(
        times(of_latency.iter().sum()),
        (histograms, histograms),
        "{version}"
    );

    // The target that went has its marker, once and last.
    let leaving = held
        .floats
        .iter()
        .find(|(labels, _)| labels["__name__"] == "leaving");
    let values: Vec<bool> = leaving
        .unwrap()
        .1
        .values()
        .map(|&bits| bits == STALE_NAN)
        .collect();
    assert!(values.len() > 8, "{version}: {values:?}");
    let (last, before) = values.split_last().unwrap();
    assert!(
        *last && before.iter().all(|marker| !marker),
        "{version}: {values:?}"
    );

    // Its parts are disjoint, and together they are all of it.
    let mut parts = Held::default();
    for part in NamePart::all(3) {
        let Held { floats, histograms } = sent(&window(&home.address(), part, range).await);
        let before = parts.floats.len() + floats.len();
        parts.floats.extend(floats);
        assert_eq!(parts.floats.len(), before, "{version}: {part:?}");
        parts.histograms.extend(histograms);
    }
    let cut = |held: &Held| -> BTreeMap<Labels, Vec<i64>> {
        let until =
            |samples: &BTreeMap<i64, u64>| samples.range(..=end_ms).map(|(&at, _)| at).collect();
        held.floats
            .iter()
            .map(|(labels, samples)| (labels.clone(), until(samples)))
            .collect()
    };
    assert_eq!(cut(&parts), cut(&held), "{version}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_of_debian_stables_prometheus() {
    a_window_has_what_the_home_holds(V2_42, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_of_the_last_prometheus_2() {
    a_window_has_what_the_home_holds(V2_53, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_of_prometheus_3() {
    a_window_has_what_the_home_holds(V3_5, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_home_without_remote_read_says_so() {
    let home = VictoriaMetrics::start(&[]).await.unwrap();
    let now_ms = now_ms();
    let range = TimeRange {
        start_ms: now_ms - 60_000,
        end_ms: now_ms - 5_000,
    };
    let outcome = window(
        home.url().trim_start_matches("http://"),
        NamePart::WHOLE,
        range,
    )
    .await;
    let error = outcome.error.unwrap();
    assert_eq!(error.kind(), ReadErrorKind::Unsupported, "{error}");
    assert!(
        error.to_string().contains("set forwarder.remote_read.path"),
        "{error}"
    );
}
