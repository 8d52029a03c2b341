//! Minutes of outages, throttling, resets and kills, against a real home of 20,000 series and a
//! real receiver.
//!
//! All samples that a tick's report claims as delivered or as in the spool must be at the receiver
//! in the end. Samples that a killed tick had in memory may be there or not.

mod kill;
mod summary;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use amp_forwarder_support::compare::compare;
use amp_forwarder_support::gateway::Gateway;
use amp_forwarder_support::gateway::faults::{Fault, FaultAction};
use amp_forwarder_support::gateway::options::{GatewayOptions, JournalOptions};
use amp_forwarder_support::home::Recorder;
use amp_forwarder_support::http::{self as server, Server};
use amp_forwarder_support::now_ms;
use amp_forwarder_support::process::{Job, Prometheus, PrometheusOptions, V3_5};
use amp_forwarder_support::query::Samples;
use serde_json::Value;
use tempfile::TempDir;

use self::kill::{Kill, KillWatch, SpoolContent};
use self::summary::Summary;
use crate::common::{RunningFunction, TestConfig, assert_balanced, exposed, spooling};

const METRIC: &str = "soak";
const INTERVAL: Duration = Duration::from_secs(5);

/// The length and the troubles of a soak.
#[derive(Debug, Clone, Copy)]
struct SoakPlan {
    series: usize,
    /// The function's time-out.
    tick: Duration,
    cycles: u32,
    /// Number of kills of each kind in each cycle.
    kills: usize,
    /// Shortest time of each trouble in a cycle.
    away: Duration,
    throttled: Duration,
    reset: Duration,
    /// Shortest time of the whole soak.
    lasts: Duration,
}

impl SoakPlan {
    /// Makes a plan. A short soak has one cycle of short ticks.
    fn of(seconds: u64) -> Self {
        let series = std::env::var("SOAK_SERIES")
            .ok()
            .and_then(|series| series.parse().ok())
            .unwrap_or(20_000);
        let lasts = Duration::from_secs(seconds);
        if seconds < 300 {
            let part = lasts / 8;
            return Self {
                series,
                tick: Duration::from_secs(7),
                cycles: 1,
                kills: 1,
                away: lasts / 4,
                throttled: part,
                reset: part,
                lasts,
            };
        }
        let cycle = lasts / 3;
        Self {
            series,
            tick: Duration::from_secs(20),
            cycles: 3,
            kills: 1,
            away: cycle / 4,
            throttled: cycle / 6,
            reset: cycle / 6,
            lasts,
        }
    }
}

/// The trouble of the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReceiverTrouble {
    None,
    Away,
    Throttles,
    Resets,
}

struct Soak {
    plan: SoakPlan,
    target: Server,
    home: Prometheus,
    recorder: Recorder,
    gateway: Gateway,
    receiver: Prometheus,
    folder: TempDir,
    yaml: String,
    running: RunningFunction,
    all: Samples,
    claimed: Samples,
    summary: Summary,
    started: Instant,
    started_ms: i64,
    trouble: ReceiverTrouble,
    /// Samples in the spool by the last report; `None` after a kill.
    owed: Option<u64>,
    /// What a kill left in the spool; `None` after a tick that was not killed.
    spooled: Option<SpoolContent>,
}

/// An exposition whose values are different for each series and each scrape.
fn page(series: usize, round: u64) -> String {
    let mut text = format!("# TYPE {METRIC} untyped\n");
    for index in 0..series {
        text.push_str(&format!(
            "{METRIC}{{i=\"{index}\",shelf=\"{}\"}} {}.25\n",
            index % 7,
            round * 100_000 + index as u64
        ));
    }
    text
}

/// A target that exposes other values at each scrape.
async fn target(series: usize) -> Server {
    let rounds = AtomicU64::new(0);
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let target = Server::start(listen, move |_, _| {
        let round = rounds.fetch_add(1, Ordering::Relaxed);
        let mut answer = server::respond(200, page(series, round));
        answer.headers_mut().insert(
            "content-type",
            http::HeaderValue::from_static("text/plain; version=0.0.4"),
        );
        async { Ok(answer) }
    });
    target.await.unwrap()
}

/// The forwarder.yml of a soak with its spool in that folder.
fn config(home: &str, gateway: &Gateway, folder: &Path) -> String {
    let config = TestConfig {
        interval: "5s",
        queue: "max_samples_per_send: 1000, max_shards: 50, capacity: 10000, \
                min_backoff: 100ms, max_backoff: 2s",
        // What was exposed is compared, so nothing else may be sent: `missed` tests the reads.
        forwarder: "deadline_margin: 2s, remote_read: {mode: off}",
        ..TestConfig::new(home, gateway)
    };
    let yaml = config
        .yaml()
        .replace("scrape_timeout: 1s", "scrape_timeout: 4s")
        .replace("overflow_after: 0s", "drain_samples_per_second: 10000000");
    spooling(&yaml, folder)
}

impl Soak {
    async fn start(plan: SoakPlan) -> Self {
        let target = target(plan.series).await;
        let address = target.address().to_string();
        let job = Job::new("soak", &[&address]).every("5s");
        let home = Prometheus::start(PrometheusOptions {
            scrape_itself: false,
            ..PrometheusOptions::home(V3_5, vec![job])
        })
        .await
        .unwrap();
        let receiver = Prometheus::receiver(V3_5).await.unwrap();
        // Only the gateway's counts are needed: the receiver has the samples.
        let journal = JournalOptions {
            requests: 1000,
            samples: 0,
        };
        let gateway = Gateway::start(GatewayOptions {
            upstream: Some(receiver.remote_write_url()),
            journal,
            ..GatewayOptions::default()
        })
        .await
        .unwrap();
        let recorder = Recorder::start(&home.url()).await.unwrap();
        let folder = TempDir::new().unwrap();
        let yaml = config(&recorder.address(), &gateway, folder.path());
        let querier = home.querier();
        amp_forwarder_support::wait_for(
            "the home has scraped",
            Duration::from_secs(30),
            || async {
                querier
                    .value(&format!("count({METRIC})"))
                    .await
                    .is_ok_and(|count| count == Some(plan.series as f64))
            },
        )
        .await
        .unwrap();
        let running = RunningFunction::start(&yaml).await;
        Self {
            plan,
            target,
            home,
            recorder,
            gateway,
            receiver,
            folder,
            yaml,
            running,
            all: Samples::new(),
            claimed: Samples::new(),
            summary: Summary::default(),
            started: Instant::now(),
            started_ms: now_ms(),
            trouble: ReceiverTrouble::None,
            owed: Some(0),
            spooled: None,
        }
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    /// Invokes the function once, and kills it at the given moment. Returns whether the moment
    /// came.
    async fn tick(&mut self, kill: Option<Kill>) -> bool {
        self.make_trouble();
        let started_ms = now_ms();
        let limit = self.plan.tick;
        let mut watch = KillWatch::new(
            kill,
            &self.gateway,
            self.spool(),
            self.running.function.id(),
            self.summary.killed(Kill::Flushing),
        );
        let watching = async {
            match kill {
                Some(_) => watch.wait(&self.recorder).await,
                None => std::future::pending().await,
            }
        };
        let answer = tokio::select! {
            report = self.running.tick("{}", limit) => Some(report),
            () = watching => None,
        };
        let Some(report) = answer else {
            self.running.function.kill();
            watch.release();
            let kill = kill.unwrap_or(Kill::Draining);
            self.summary.kill(kill);
            self.line(&format!("killed while {kill}"));
            self.spooled = Some(kill::spooled(&self.spool()));
            self.owed = None;
            self.add(&self.recorder.take(), false);
            self.running = RunningFunction::start(&self.yaml).await;
            return true;
        };
        let kept_from_writing = watch.release();
        if kept_from_writing && report["ledger"]["lost"] != 0 {
            // The kill came too late, and the function could not write because of our lock. Its
            // samples are lost as if it had been killed.
            self.line("the kill came too late");
            self.spooled = Some(kill::spooled(&self.spool()));
            self.owed = None;
            self.add(&self.recorder.take(), false);
            return false;
        }
        self.judge(&report, started_ms);
        if report["outcome"] == "busy" {
            // The scheduler tries again later.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        false
    }

    fn judge(&mut self, report: &Value, started_ms: i64) {
        assert_balanced(report);
        let outcome = report["outcome"].as_str().unwrap_or_default().to_owned();
        let count = |name: &str| report["ledger"][name].as_u64().unwrap();
        self.summary
            .tick(&outcome, report["spool"]["samples"].as_u64().unwrap());
        self.check(
            self.trouble != ReceiverTrouble::Away || count("written") == 0,
            || format!("samples are written while the receiver is away: {report}"),
        );
        let (before, after) = (count("owed_before"), count("owed_after"));
        let (unchanged, rolled_back) = (count("unchanged"), count("rolled_back"));
        let kept_back = if unchanged + rolled_back > 0 {
            format!("  unchanged {unchanged}  rolled back {rolled_back}")
        } else {
            String::new()
        };
        self.line(&format!(
            "{outcome:<8} scraped {:>6}  written {:>6}  \
             backlog {before:>6} -> {after:>6}{kept_back}",
            count("scraped"),
            count("written")
        ));
        // A scrape of a killed function may be answered after its end.
        let (late, recordings): (Vec<_>, Vec<_>) = self
            .recorder
            .take()
            .into_iter()
            .partition(|recording| recording.at_ms < started_ms);
        self.add(&late, false);
        if outcome == "busy" {
            self.check(recordings.is_empty(), || {
                "a busy tick has scraped".to_owned()
            });
            return;
        }
        for what in ["lost", "rejected", "expired"] {
            self.check(count(what) == 0, || {
                format!("{} samples {what}: {report}", count(what))
            });
        }
        match (self.owed, self.spooled.take()) {
            (Some(owed), _) => self.check(before == owed, || {
                format!("the backlog was {owed} at the last release, and is {before} now")
            }),
            (None, Some(SpoolContent { samples, head })) => {
                self.check(report["previous"] == "killed", || {
                    format!("a kill went unnoticed: {report}")
                });
                // The kill may have come after the answers of the oldest segment.
                self.check((samples - head..=samples).contains(&before), || {
                    format!("{samples} samples were in the spool, the backlog is {before}")
                });
            }
            (None, None) => {}
        }
        self.owed = Some(after);
        // A failed scrape claims nothing, and the report does not say which recording it was. So
        // recordings are claimed only when all scrapes succeeded.
        let up = report["scrapes"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|scrape| scrape["up"] == true)
            .count();
        let whole = recordings
            .iter()
            .filter(|recording| recording.status == 200)
            .count();
        self.add(&recordings, up == whole);
    }

    fn add(&mut self, recordings: &[amp_forwarder_support::home::Recording], claimed: bool) {
        let whole: Vec<_> = recordings
            .iter()
            .filter(|recording| recording.status == 200)
            .cloned()
            .collect();
        for (labels, samples) in exposed(&whole) {
            if claimed {
                self.claimed
                    .entry(labels.clone())
                    .or_default()
                    .extend(&samples);
            }
            self.all.entry(labels).or_default().extend(samples);
        }
    }

    fn check(&mut self, good: bool, what: impl FnOnce() -> String) {
        if !good {
            let what = what();
            self.line(&format!("FINDING: {what}"));
            self.summary.findings.push(what);
        }
    }

    fn line(&self, what: &str) {
        println!(
            "soak: {:>5.1} s  {:<9}  {what}",
            self.started.elapsed().as_secs_f64(),
            format!("{:?}", self.trouble)
        );
    }

    fn make_trouble(&self) {
        self.gateway.faults().clear();
        let actions = match self.trouble {
            ReceiverTrouble::None | ReceiverTrouble::Away => return,
            ReceiverTrouble::Throttles => {
                vec![Fault::status(429, "ingestion rate limit (1) exceeded"); 3]
            }
            ReceiverTrouble::Resets => vec![
                FaultAction::Reset,
                FaultAction::StoreAndReset,
                FaultAction::StoreAndCut,
            ],
        };
        // A few requests pass, then some fail, and so on.
        for (turn, action) in (0..).zip(actions) {
            self.gateway.faults().add(Fault {
                skip: 5 * turn,
                ..Fault::times(action, 15)
            });
        }
    }

    /// Ticks for this time with these kills, however long the kills take.
    async fn stage(&mut self, trouble: ReceiverTrouble, lasts: Duration, kills: &[Kill]) {
        self.trouble = trouble;
        let until = Instant::now() + lasts;
        // A kill that finds no occasion must not make the stage endless.
        let patience = until + self.plan.tick * 15;
        let mut kills = kills.iter().copied().peekable();
        let mut rested = trouble == ReceiverTrouble::None;
        while Instant::now() < until || kills.peek().is_some() {
            assert!(
                Instant::now() < patience,
                "no occasion to kill while {:?}",
                kills.peek()
            );
            // A tick between two kills ends normally, so that the next kill has something to lose.
            let kill = kills
                .peek()
                .copied()
                .filter(|kill| rested && (*kill == Kill::Flushing || self.owed != Some(0)));
            if self.tick(kill).await {
                kills.next();
                rested = trouble == ReceiverTrouble::None;
            } else {
                rested = self.owed.is_some();
            }
        }
    }

    async fn cycle(&mut self) {
        let times = |kill| std::iter::repeat_n(kill, self.plan.kills);
        let flushing: Vec<_> = times(Kill::Flushing).collect();
        self.receiver.kill();
        self.stage(ReceiverTrouble::Away, self.plan.away, &flushing)
            .await;
        // A kill of a draining tick needs a backlog, which the kill before it has left.
        for kill in [Kill::Answered, Kill::Draining] {
            for _ in 0..self.plan.kills {
                while self
                    .owed
                    .is_none_or(|owed| owed < 2 * self.plan.series as u64)
                {
                    self.trouble = ReceiverTrouble::Away;
                    self.receiver.kill();
                    self.tick(None).await;
                }
                self.receiver.restart().await.unwrap();
                self.stage(ReceiverTrouble::None, Duration::ZERO, &[kill])
                    .await;
            }
        }
        self.stage(ReceiverTrouble::Throttles, self.plan.throttled, &[])
            .await;
        self.stage(ReceiverTrouble::Resets, self.plan.reset, &[])
            .await;
        self.trouble = ReceiverTrouble::None;
        self.settle().await;
    }

    /// Ticks until the spool is empty.
    async fn settle(&mut self) {
        let patience = Instant::now() + self.plan.tick * 10;
        self.tick(None).await;
        while self.owed != Some(0) {
            assert!(Instant::now() < patience, "the backlog does not drain");
            self.tick(None).await;
        }
    }

    /// Reads everything that a Prometheus has of this soak, in pieces that one query may give.
    async fn everything(&self, prometheus: &Prometheus) -> Samples {
        let (from, until) = (self.started_ms - 600_000, now_ms());
        let pieces = (0..10)
            .map(|digit| format!("{{__name__=\"{METRIC}\",i=~\".*{digit}\"}}"))
            .chain([format!("{{__name__=~\".+\",__name__!=\"{METRIC}\"}}")]);
        let mut samples = Samples::new();
        for selector in pieces {
            samples.extend(
                prometheus
                    .querier()
                    .raw(&selector, from, until)
                    .await
                    .unwrap(),
            );
        }
        samples
    }

    /// Compares both ends.
    async fn compare(&mut self) {
        let at_home = self.everything(&self.home).await;
        let mut received = self.everything(&self.receiver).await;
        let own = self.recorder.address();
        received.retain(|labels, _| labels.get("instance") != Some(&own));
        let claimed = compare(&self.claimed, &received);
        self.check(claimed.lost.is_empty(), || {
            // All samples of one scrape of the home have one timestamp.
            let times: std::collections::BTreeSet<_> = claimed
                .lost
                .iter()
                .map(|point| point.timestamp)
                .take(100_000)
                .collect();
            format!(
                "{} samples are lost, first {}, of {:?}",
                claimed.lost.len(),
                claimed.lost[0],
                times.iter().take(10).collect::<Vec<_>>()
            )
        });
        self.check(claimed.different.is_empty(), || {
            format!(
                "{} samples differ, first {}",
                claimed.different.len(),
                claimed.different[0].expected
            )
        });
        // Samples that a killed tick had scraped may have arrived. Samples that were never scraped
        // may not.
        let foreign = compare(&self.all, &received).extra;
        self.check(foreign.is_empty(), || {
            format!(
                "{} samples were never exposed, first {}",
                foreign.len(),
                foreign[0]
            )
        });
        let home: Samples = at_home
            .into_iter()
            .map(|(mut labels, samples)| {
                labels.insert("site".to_owned(), "attic".to_owned());
                (labels, samples)
            })
            .collect();
        let unlike = compare(&self.all, &home);
        self.check(unlike.different.is_empty(), || {
            "the home has values that it did not expose".to_owned()
        });
        self.summary.compared(&self.all, &received, &claimed);
        self.check_order();
        self.summary.took = self.started.elapsed();
    }

    fn check_order(&mut self) {
        let stats = self.gateway.stats();
        self.check(stats.out_of_order == 0, || {
            format!("{} samples out of order", stats.out_of_order)
        });
        self.check(stats.concurrent == 0, || {
            format!("{} series in two requests at once", stats.concurrent)
        });
        self.summary.stats = Some(stats);
    }
}

async fn soak(plan: SoakPlan) {
    let mut soak = Soak::start(plan).await;
    println!(
        "soak: {plan:?}, home {} of {}",
        soak.home.url(),
        soak.target.address()
    );
    for _ in 0..plan.cycles {
        soak.cycle().await;
    }
    while soak.started.elapsed() < plan.lasts {
        soak.tick(None).await;
    }
    soak.settle().await;
    assert!(is_empty(&soak.spool().join("segments")));
    soak.compare().await;
    println!("\n{}", soak.summary);
    let wanted = plan.kills * plan.cycles as usize;
    for kill in Kill::ALL {
        assert!(
            soak.summary.killed(kill) >= wanted,
            "killed {} times while {kill}, not {wanted}",
            soak.summary.killed(kill)
        );
    }
    assert!(
        soak.summary.agreeing
            >= soak.plan.series * (plan.lasts.as_secs() / INTERVAL.as_secs() / 4) as usize,
        "few samples were compared"
    );
    assert!(
        soak.summary.findings.is_empty(),
        "{:#?}",
        soak.summary.findings
    );
}

fn is_empty(segments: &Path) -> bool {
    std::fs::read_dir(segments)
        .into_iter()
        .flatten()
        .flatten()
        .all(|remote| {
            std::fs::read_dir(remote.path()).is_ok_and(|mut files| files.next().is_none())
        })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minute_of_outages_and_kills_loses_nothing() {
    soak(SoakPlan::of(60)).await;
}

/// The soak of `make soak`; `SOAK_SECONDS` sets its length.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a quarter of an hour: make soak"]
async fn a_quarter_of_an_hour() {
    let seconds = std::env::var("SOAK_SECONDS")
        .ok()
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(900);
    soak(SoakPlan::of(seconds)).await;
}
