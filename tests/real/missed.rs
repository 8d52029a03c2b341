//! What scrapes miss is read from the home's TSDB: outages, kills and a cut link, with each mode
//! beside the others on the same home.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use amp_forwarder_support::gateway::Gateway;
use amp_forwarder_support::gateway::faults::Fault;
use amp_forwarder_support::gateway::tenant::SampleValue;
use amp_forwarder_support::home::Link;
use amp_forwarder_support::http::Server;
use amp_forwarder_support::process::{Job, Prometheus, PrometheusOptions, V3_5};
use amp_forwarder_support::query::Samples;
use amp_forwarder_support::{now_ms, read, wait_for};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{
    RunningFunction, TestConfig, assert_balanced, assert_in_order, gateway, spooling,
};
use crate::targets;

/// The bits of a stale marker (`model/value/value.go`).
const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;
const SERIES: usize = 30;
const TICK: Duration = Duration::from_secs(5);
const INTERVAL_MS: i64 = 1_000;
/// Interval of the home, milliseconds.
const HOME_INTERVAL_MS: i64 = 500;
/// Age from which a sample of the home is visible for certain, milliseconds.
const VISIBLE_MS: i64 = 100;
/// How far a scrape of the home may come too early, milliseconds.
const EARLY_MS: i64 = 20;
/// When the target that goes is scraped after a slot, milliseconds.
const MARKED_MS: Range<i64> = EARLY_MS..150;

/// What happens to a side between its start and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    ReceiverAway,
    Kills,
    LinkCut,
}

/// A forwarder in one mode, with a receiver of its own.
struct Side {
    mode: &'static str,
    gateway: Gateway,
    folder: TempDir,
    yaml: String,
    running: RunningFunction,
    reports: Vec<Value>,
}

/// A home that scrapes the targets twice a second and has scraped each of them.
async fn home(targets: &[&Server]) -> Prometheus {
    let jobs = targets
        .iter()
        .enumerate()
        .map(|(number, target)| {
            let address = target.address().to_string();
            Job::new(&format!("target{number}"), &[&address]).every("500ms")
        })
        .collect();
    let home = Prometheus::start(PrometheusOptions {
        scrape_itself: false,
        ..PrometheusOptions::home(V3_5, jobs)
    })
    .await
    .unwrap();
    let querier = home.querier();
    let wanted = (SERIES * targets.len()) as f64;
    wait_for("the home has scraped", Duration::from_secs(30), || async {
        let count = querier.value("count(missed)").await;
        count.is_ok_and(|count| count == Some(wanted))
    })
    .await
    .unwrap();
    home
}

/// The job that federates, and when its slots are.
struct Federation {
    job: String,
    /// Time of the slots after each full second, milliseconds.
    offset_ms: i64,
}

impl Federation {
    /// Chooses the slots by the name of their job, as `SlotGrid` of the program does: each sample
    /// of the home is [`VISIBLE_MS`] old by then, and the target that goes is scraped
    /// [`MARKED_MS`] after a slot.
    ///
    /// A scrape has the timestamp of its start, and `/federate` shows it once it is committed. So a
    /// sample that is a few milliseconds older than a slot may or may not be shown there. Where its
    /// series goes away before the next slot, the database alone cannot tell which it was.
    ///
    /// A target that goes before a slot has its stale markers soon after it. So a scrape that comes
    /// later than its slot no longer shows what the slot did.
    async fn between_the_scrapes_of(home: &Prometheus, goes: &str) -> Self {
        let held = read::samples(&home.url(), "job", 0, now_ms())
            .await
            .unwrap();
        let is_between = |offset_ms: i64| {
            held.iter().all(|(labels, samples)| {
                let ages = if labels["job"] == goes {
                    HOME_INTERVAL_MS - MARKED_MS.end..HOME_INTERVAL_MS - MARKED_MS.start
                } else {
                    VISIBLE_MS..HOME_INTERVAL_MS - EARLY_MS
                };
                let age_ms = |at_ms: &i64| (offset_ms - at_ms).rem_euclid(HOME_INTERVAL_MS);
                samples
                    .keys()
                    .map(age_ms)
                    .all(|age_ms| ages.contains(&age_ms))
            })
        };
        (0..100_000)
            .map(|number| {
                let job = format!("federate{number}");
                let hash = xxhash_rust::xxh3::xxh3_64(job.as_bytes());
                let offset_ms = (hash % INTERVAL_MS as u64) as i64;
                Self { job, offset_ms }
            })
            .find(|federation| is_between(federation.offset_ms))
            .expect("a name whose slots are between the scrapes")
    }

    /// Waits until the last scrapes before a slot are done.
    async fn before_a_slot(&self) {
        let left_ms = (self.offset_ms - VISIBLE_MS - now_ms()).rem_euclid(INTERVAL_MS);
        tokio::time::sleep(Duration::from_millis(left_ms.unsigned_abs())).await;
    }

    /// The first slot after a moment, milliseconds since 1970.
    fn slot_after(&self, at_ms: i64) -> i64 {
        at_ms + INTERVAL_MS - (at_ms - self.offset_ms).rem_euclid(INTERVAL_MS)
    }
}

impl Side {
    async fn start(mode: &'static str, federation: &Federation, link: &Link) -> Self {
        let (gateway, folder) = (gateway().await, TempDir::new().unwrap());
        let config = TestConfig {
            interval: "1s",
            queue: "max_samples_per_send: 100, max_shards: 8, capacity: 2500, min_backoff: 50ms, \
                    max_backoff: 500ms",
            ..TestConfig::new(&link.address(), &gateway)
        };
        let reads = format!("remote_read: {{mode: {mode}, settle: 2s}}, deadline_margin");
        let job = format!("job_name: {}", federation.job);
        let yaml = config.yaml().replace("job_name: federate", &job);
        let yaml = yaml.replace("deadline_margin", &reads);
        let yaml = spooling(&yaml, folder.path());
        let running = RunningFunction::start(&yaml).await;
        Self {
            mode,
            gateway,
            folder,
            yaml,
            running,
            reports: Vec::new(),
        }
    }

    async fn tick(&mut self) {
        let report = self.running.tick("{}", TICK).await;
        assert_balanced(&report);
        if report["outcome"] == "busy" {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        self.reports.push(report);
    }

    /// Ticks until `end`, and then until everything up to it is delivered. With `kills`, the
    /// function is killed in the middle of a tick that often, and started again at once.
    async fn run(&mut self, end: Instant, mut kills: usize) {
        let end_ms = now_ms() + end.saturating_duration_since(Instant::now()).as_millis() as i64;
        let mut next_kill = Instant::now() + Duration::from_secs(3);
        loop {
            if kills > 0 && Instant::now() >= next_kill {
                kills -= 1;
                let tick = self.running.tick("{}", TICK);
                let _ = tokio::time::timeout(Duration::from_millis(1_700), tick).await;
                self.running.function.kill();
                self.running = RunningFunction::start(&self.yaml).await;
                next_kill = Instant::now() + Duration::from_secs(3);
                continue;
            }
            self.tick().await;
            let last = self.reports.last().unwrap();
            let is_drained = last["ledger"]["owed_after"] == 0 && last["outcome"] != "busy";
            let gathered_ms = if self.mode == "always" {
                last["reads"][0]["safe_ms"].as_i64()
            } else {
                let scrapes = last["scrapes"].as_array().unwrap().iter();
                let live = scrapes.filter(|scrape| scrape["up"] == true);
                live.map(|scrape| scrape["start_ms"].as_i64().unwrap())
                    .max()
            };
            if is_drained && gathered_ms.is_some_and(|gathered_ms| gathered_ms >= end_ms) {
                return;
            }
            assert!(
                Instant::now() < end + Duration::from_secs(60),
                "{} does not catch up: {last}\n{}",
                self.mode,
                self.running.function.log()
            );
        }
    }

    /// What arrived, without the forwarder's own series and the labels that it adds.
    fn received(&self) -> Samples {
        let mut samples = Samples::new();
        for stored in self.gateway.stored() {
            let mut labels = stored.labels;
            labels.remove("site");
            let SampleValue::Float(bits) = stored.value else {
                panic!("a histogram: {labels:?}");
            };
            if labels
                .get("job")
                .is_some_and(|job| !job.starts_with("federate"))
            {
                samples
                    .entry(labels)
                    .or_default()
                    .insert(stored.timestamp, bits);
            }
        }
        samples
    }

    fn sum(&self, count: &str) -> u64 {
        let counts = self
            .reports
            .iter()
            .map(|report| report["ledger"][count].as_u64());
        counts.map(Option::unwrap).sum()
    }
}

/// Samples of the home between the first that arrived and `until_ms` that never arrived.
fn missing(held: &Samples, received: &Samples, from_ms: i64, until_ms: i64) -> usize {
    let mut missing = 0;
    for (labels, samples) in held {
        let arrived = received.get(labels);
        for (at_ms, bits) in samples.range(from_ms..=until_ms) {
            match arrived.and_then(|arrived| arrived.get(at_ms)) {
                Some(found) => assert_eq!(found, bits, "{labels:?} {at_ms}"),
                None => missing += 1,
            }
        }
    }
    missing
}

/// Slots of series that never arrived: nothing at the receiver is as new as what `/federate` would
/// have shown then, and not newer than the next slot.
fn missing_slots(
    held: &Samples,
    received: &Samples,
    federation: &Federation,
    (from_ms, until_ms): (i64, i64),
) -> usize {
    let mut missing = 0;
    let first_ms = federation.slot_after(from_ms);
    for (labels, samples) in held {
        let mut slot_ms = first_ms;
        while slot_ms <= until_ms {
            let shown = samples.range(..=slot_ms).next_back();
            let is_marker = shown.is_some_and(|(_, bits)| *bits == STALE_NAN);
            if let Some((shown_ms, _)) = shown.filter(|_| !is_marker) {
                let arrived = received.get(labels).is_some_and(|arrived| {
                    arrived
                        .range(*shown_ms..slot_ms + INTERVAL_MS)
                        .next()
                        .is_some()
                });
                missing += usize::from(!arrived);
            }
            slot_ms += INTERVAL_MS;
        }
    }
    missing
}

/// Runs the three modes beside each other through the trouble, and returns for each mode what is
/// missing: samples, and slots.
async fn run(trouble: Trouble) -> BTreeMap<&'static str, (usize, usize)> {
    let stays = targets::counting("missed", SERIES).await;
    let goes = targets::counting("missed", SERIES).await;
    let home = home(&[&stays, &goes]).await;
    let federation = Federation::between_the_scrapes_of(&home, "target1").await;
    let link = Link::start(&home.address()).await.unwrap();
    let started_ms = now_ms();
    let mut sides = Vec::new();
    for mode in ["off", "gaps", "always"] {
        sides.push(Side::start(mode, &federation, &link).await);
    }
    let end = Instant::now() + Duration::from_secs(24);
    let away = Duration::from_secs(8);
    if trouble != Trouble::Kills {
        for side in &sides {
            let fault = Fault::lasting(Fault::status(503, "away"), away);
            side.gateway.faults().add(Fault { skip: 6, ..fault });
        }
    }
    let kills = if trouble == Trouble::Kills { 5 } else { 0 };
    let troubles = async {
        if trouble == Trouble::LinkCut {
            tokio::time::sleep(Duration::from_secs(5)).await;
            link.cut();
            tokio::time::sleep(away).await;
            federation.before_a_slot().await;
            link.mend();
        }
        drop(goes);
    };
    let running = futures_util::future::join_all(sides.iter_mut().map(|side| side.run(end, kills)));
    tokio::join!(running, troubles);

    let held = read::samples(&home.url(), "job", started_ms, now_ms())
        .await
        .unwrap();
    let until_ms = now_ms() - Instant::now().duration_since(end).as_millis() as i64;
    let mut missed = BTreeMap::new();
    for side in &sides {
        let received = side.received();
        let from_ms = received.values().flat_map(|of| of.keys()).min().copied();
        let from_ms = from_ms.unwrap().max(started_ms) + INTERVAL_MS;
        assert!(received.len() > 2 * SERIES, "{}", side.mode);
        assert_eq!(side.sum("lost"), 0, "{}", side.mode);
        if trouble != Trouble::Kills {
            assert_in_order(&side.gateway.stats());
        }
        let counted = (
            missing(&held, &received, from_ms, until_ms),
            missing_slots(&held, &received, &federation, (from_ms, until_ms)),
        );
        println!("{trouble:?} {}: {counted:?}", side.mode);
        missed.insert(side.mode, counted);
        assert!(side.folder.path().exists());
    }
    missed
}

async fn nothing_is_missed_with_reads(trouble: Trouble) {
    let missed = run(trouble).await;
    assert_eq!(missed["always"].0, 0, "samples of always: {missed:?}");
    assert_eq!(missed["gaps"].1, 0, "slots of gaps: {missed:?}");
    assert!(
        missed["off"].0 > 0,
        "without reads, samples are missed: {missed:?}"
    );
    // A function that was killed starts again at once, because its spool is in a directory.
    if trouble == Trouble::LinkCut {
        assert!(
            missed["off"].1 > 0,
            "without reads, slots are missed: {missed:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_away_costs_nothing() {
    nothing_is_missed_with_reads(Trouble::ReceiverAway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_cost_nothing() {
    nothing_is_missed_with_reads(Trouble::Kills).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_cut_costs_nothing() {
    nothing_is_missed_with_reads(Trouble::LinkCut).await;
}
