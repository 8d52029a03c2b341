//! Minutes of outages, throttling, resets and kills, against a real home of 20,000 series and a
//! real receiver.
//!
//! The function runs in exact mode, so that in the end the receiver has what the home has: every
//! sample up to the time that the reports call safe, and nothing else. Kills cost nothing but that
//! samples are sent again.

mod compare;
mod kill;
mod plan;
mod summary;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use amp_forwarder_support::gateway::Gateway;
use amp_forwarder_support::gateway::faults::{Fault, FaultAction};
use amp_forwarder_support::gateway::options::{GatewayOptions, JournalOptions};
use amp_forwarder_support::http::Server;
use amp_forwarder_support::now_ms;
use amp_forwarder_support::process::{Job, Prometheus, PrometheusOptions, V3_5};
use serde_json::Value;
use tempfile::TempDir;

use self::kill::{Kill, KillWatch, SpoolContent};
use self::plan::SoakPlan;
use self::summary::Summary;
use crate::common::{RunningFunction, TestConfig, assert_balanced, spooling};
use crate::targets;

const METRIC: &str = "soak";
const INTERVAL: Duration = Duration::from_secs(5);

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
    gateway: Gateway,
    receiver: Prometheus,
    folder: TempDir,
    yaml: String,
    running: RunningFunction,
    summary: Summary,
    started: Instant,
    trouble: ReceiverTrouble,
    /// Samples in the spool by the last report; `None` after a kill.
    owed: Option<u64>,
    /// What a kill left in the spool; `None` after a tick that was not killed.
    spooled: Option<SpoolContent>,
    /// Whether a kill has left samples that may be sent again: those in its segments, and those of
    /// the window that is read again. It ends with the backlog.
    repeats: bool,
    /// Time up to which everything is safe, as the last report has it.
    safe_ms: i64,
}

/// The forwarder.yml of a soak with its spool in that folder.
fn config(home: &str, gateway: &Gateway, folder: &Path) -> String {
    let config = TestConfig {
        interval: "5s",
        queue: "max_samples_per_send: 1000, max_shards: 50, capacity: 10000, \
                min_backoff: 100ms, max_backoff: 2s",
        forwarder: "deadline_margin: 2s, remote_read: {mode: always, settle: 3s}",
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
        let target = targets::counting(METRIC, plan.series).await;
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
        let folder = TempDir::new().unwrap();
        let yaml = config(&home.address(), &gateway, folder.path());
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
            gateway,
            receiver,
            folder,
            yaml,
            running,
            summary: Summary::default(),
            started: Instant::now(),
            trouble: ReceiverTrouble::None,
            owed: Some(0),
            spooled: None,
            repeats: false,
            safe_ms: 0,
        }
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    /// Invokes the function once, and kills it at the given moment. Returns whether the moment
    /// came.
    async fn tick(&mut self, kill: Option<Kill>) -> bool {
        self.make_trouble();
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
                Some(_) => watch.wait().await,
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
            self.was_killed();
            self.running = RunningFunction::start(&self.yaml).await;
            return true;
        };
        let kept_from_writing = watch.release();
        if kept_from_writing && report["ledger"]["rolled_back"] != 0 {
            // The kill came too late, and the function could not write because of our lock. What it
            // had read is read again, as if it had been killed.
            self.line("the kill came too late");
            self.was_killed();
            return false;
        }
        self.judge(&report);
        if report["outcome"] == "busy" {
            // The scheduler tries again later.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        false
    }

    /// Notes what a tick that was killed has left.
    fn was_killed(&mut self) {
        self.spooled = Some(kill::spooled(&self.spool()));
        self.owed = None;
        self.repeats = true;
    }

    /// Judges a tick by its report.
    fn judge(&mut self, report: &Value) {
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
        if outcome == "busy" {
            self.check(count("scraped") == 0, || {
                format!("a busy tick has read: {report}")
            });
            return;
        }
        for what in ["lost", "expired"] {
            self.check(count(what) == 0, || {
                format!("{} samples {what}: {report}", count(what))
            });
        }
        // An entry that is posted again begins with its oldest sample, so that only the receiver knows
        // what is out of order.
        self.check(self.repeats || count("rejected") == 0, || {
            format!("samples are rejected though nothing is read again: {report}")
        });
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
        self.repeats &= after > 0;
        let safe_ms = report["reads"][0]["safe_ms"].as_i64();
        self.safe_ms = self.safe_ms.max(safe_ms.unwrap_or_default());
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

    /// Ticks until the spool is empty, and everything up to now is safe.
    async fn settle(&mut self) {
        let patience = Instant::now() + self.plan.tick * 10;
        let until_ms = now_ms();
        while self.owed != Some(0) || self.safe_ms < until_ms {
            assert!(Instant::now() < patience, "the backlog does not drain");
            self.tick(None).await;
        }
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
