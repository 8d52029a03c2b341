//! Exact mode against real programs: the home's database and the receiver's are the same, sample by
//! sample and bit by bit, whatever the home scrapes and however it is late.
//!
//! What outages, kills and a link that is cut cost in each mode is in `missed`.

mod kinds;
mod large;
mod late;
mod pair;
mod thinned;
mod twin;
mod ways;

use std::time::{Duration, Instant};

use amp_forwarder_support::gateway::Gateway;
use amp_forwarder_support::process::{Job, Prometheus, PrometheusOptions, V3_5};
use amp_forwarder_support::{Labels, now_ms, wait_for};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{
    AMPLE, RunningFunction, TestConfig, assert_balanced, assert_in_order, gateway_to, spooling,
};
use crate::held::Held;

/// The function's time-out.
const TICK: Duration = Duration::from_secs(10);
const NATIVE: &str = "--enable-feature=native-histograms";

/// Which process serves the next tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sandboxes {
    /// The same one for all ticks.
    One,
    /// A new one for each tick.
    Cold,
    /// Two in turn.
    Two,
}

/// A forwarder with a gateway and a receiver of its own.
struct Ends {
    sandboxes: Sandboxes,
    gateway: Gateway,
    receiver: Prometheus,
    _folder: TempDir,
    yaml: String,
    running: Vec<RunningFunction>,
    reports: Vec<Value>,
}

impl Ends {
    /// Starts with `remote_read: {mode: always}` and the settings, which follow `mode`. `change`
    /// changes the rest of the configuration.
    async fn start(
        home: &str,
        settings: &str,
        sandboxes: Sandboxes,
        change: impl FnOnce(String) -> String,
    ) -> Self {
        let receiver = Prometheus::start(PrometheusOptions {
            flags: vec![NATIVE.to_owned()],
            ..PrometheusOptions::receiver(V3_5)
        })
        .await
        .unwrap();
        let gateway = gateway_to(&receiver).await;
        let folder = TempDir::new().unwrap();
        let config = TestConfig {
            interval: "1s",
            queue: "max_samples_per_send: 500, max_shards: 8, capacity: 5000, min_backoff: 50ms, \
                    max_backoff: 500ms",
            ..TestConfig::new(home, &gateway)
        };
        let reads = format!("remote_read: {{mode: {settings}}}, deadline_margin");
        let yaml = config
            .yaml()
            .replace("deadline_margin", &reads)
            .replace("    sigv4:", "    send_native_histograms: true\n    sigv4:");
        let yaml = change(spooling(&yaml, folder.path()));
        let mut running = vec![RunningFunction::start(&yaml).await];
        if sandboxes == Sandboxes::Two {
            running.push(RunningFunction::start(&yaml).await);
        }
        Self {
            sandboxes,
            gateway,
            receiver,
            _folder: folder,
            yaml,
            running,
            reports: Vec::new(),
        }
    }

    /// Invokes the function once.
    async fn tick(&mut self) -> &Value {
        if self.sandboxes == Sandboxes::Cold {
            self.running = vec![RunningFunction::start(&self.yaml).await];
        }
        let at = self.reports.len() % self.running.len();
        let report = self.running[at].tick("{}", TICK).await;
        assert_balanced(&report);
        for count in ["lost", "rejected", "expired"] {
            assert_eq!(report["ledger"][count], 0, "{report}");
        }
        self.reports.push(report);
        self.reports.last().unwrap()
    }

    /// Time up to which everything is safe, as the last report has it.
    fn safe_ms(&self) -> Option<i64> {
        self.reports.last()?["reads"][0]["safe_ms"].as_i64()
    }

    /// Ticks twice a second, as a schedule would, until everything up to this time is delivered.
    async fn run_until(&mut self, until_ms: i64) {
        let patience = Instant::now() + AMPLE * 2;
        let mut schedule = tokio::time::interval(Duration::from_millis(500));
        loop {
            schedule.tick().await;
            let owed = self.tick().await["ledger"]["owed_after"].clone();
            if owed == 0 && self.safe_ms().is_some_and(|safe_ms| safe_ms >= until_ms) {
                return;
            }
            let last = self.reports.last();
            assert!(
                Instant::now() < patience,
                "{last:?}\n{}",
                self.running[0].function.log()
            );
        }
    }

    /// What arrived, without the forwarder's own series and the label that it adds.
    async fn received(&self) -> Held {
        let mut received = Held::read(&self.receiver.url(), "site", 0, now_ms()).await;
        strip(&mut received.floats);
        strip(&mut received.histograms);
        received
    }

    /// Asserts that each sample of the home, from the first that arrived to `until_ms`, arrived as
    /// it is, and that nothing else did. `rename` changes the labels as the forwarder is to do.
    /// Returns the number of samples.
    async fn assert_equal(
        &self,
        home: &Prometheus,
        until_ms: i64,
        rename: impl Fn(&mut Labels),
    ) -> usize {
        self.compare(&home.url(), until_ms, rename, |_, _| false)
            .await
    }

    /// Asserts the same, but floats that `may_lack` names, by metric and value, may be missing.
    async fn assert_equal_but(
        &self,
        home: &Prometheus,
        until_ms: i64,
        may_lack: impl Fn(&str, f64) -> bool,
    ) -> usize {
        self.compare(&home.url(), until_ms, |_| {}, may_lack).await
    }

    async fn compare(
        &self,
        home: &str,
        until_ms: i64,
        rename: impl Fn(&mut Labels),
        may_lack: impl Fn(&str, f64) -> bool,
    ) -> usize {
        let received = self.received().await.by_time();
        let from_ms = received.keys().map(|(_, at_ms)| *at_ms).min().unwrap();
        let held = Held::read(home, "__name__", from_ms, now_ms()).await;
        let held: Vec<_> = held.by_time().into_iter().collect();
        let held = held.into_iter().map(|((mut labels, at_ms), value)| {
            rename(&mut labels);
            ((labels, at_ms), value)
        });
        let held: std::collections::BTreeMap<_, _> = held.collect();
        let wanted = held.iter().filter(|((_, at_ms), _)| *at_ms <= until_ms);
        let missing: Vec<_> = wanted
            .clone()
            .filter(|(sample, value)| received.get(*sample) != Some(value))
            .filter(|(sample, value)| {
                let bits = u64::from_str_radix(value.trim_start_matches("0x"), 16);
                let float = f64::from_bits(bits.unwrap_or_default());
                received.contains_key(*sample) || !may_lack(&sample.0["__name__"], float)
            })
            .map(|(sample, value)| (sample, value, received.get(sample)))
            .collect();
        let foreign: Vec<_> = received
            .iter()
            .filter(|(sample, _)| !held.contains_key(*sample))
            .collect();
        assert!(
            missing.is_empty() && foreign.is_empty(),
            "{} missing or different, such as {:?}; {} foreign, such as {:?}\n{:#?}",
            missing.len(),
            missing.first(),
            foreign.len(),
            foreign.first(),
            self.reports
        );
        assert_in_order(&self.gateway.stats());
        wanted.count()
    }
}

/// Takes off what the forwarder adds.
fn strip<T>(series: &mut std::collections::BTreeMap<Labels, T>) {
    let all = std::mem::take(series);
    series.extend(all.into_iter().filter_map(|(mut labels, samples)| {
        labels.remove("site");
        let is_own = labels.get("job").is_some_and(|job| job == "federate");
        (!is_own).then_some((labels, samples))
    }));
}

/// A home with these jobs, once all of its targets are up.
async fn home(version: &str, jobs: Vec<Job>, extra: &str, flags: &[&str]) -> Prometheus {
    let targets: usize = jobs.iter().map(|job| job.targets.len()).sum();
    let home = Prometheus::start(PrometheusOptions {
        scrape_itself: false,
        flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
        extra: extra.to_owned(),
        ..PrometheusOptions::home(version, jobs)
    })
    .await
    .unwrap();
    let all_up = format!("count(up) == {targets}");
    has(&home, &all_up).await;
    home
}

/// Waits until an expression has a value at this Prometheus.
async fn has(prometheus: &Prometheus, expression: &str) {
    let querier = prometheus.querier();
    wait_for(expression, AMPLE, || async {
        querier
            .value(expression)
            .await
            .is_ok_and(|value| value.is_some())
    })
    .await
    .unwrap_or_else(|error| panic!("{error}\n{}", prometheus.log()));
}

/// A job with the address of a server as its only target.
fn job(name: &str, target: &amp_forwarder_support::http::Server, every: &str) -> Job {
    Job::new(name, &[&target.address().to_string()]).every(every)
}
