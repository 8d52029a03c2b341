//! The function as EventBridge drives it: an invocation each minute, one of them late, one of them
//! twice, each in a sandbox that is free. For some minutes the receiver hangs.
//!
//! Two sites run beside each other, one of them without the outage. On both, every slot of both jobs
//! is scraped and every exposed sample arrives, and the outage costs hardly more billed time.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use amp_forwarder_support::gateway::Gateway;
use amp_forwarder_support::gateway::faults::{Fault, FaultAction};
use amp_forwarder_support::home::Recorder;
use amp_forwarder_support::http::{self as server, Server};
use amp_forwarder_support::now_ms;
use amp_forwarder_support::process::Moto;
use amp_forwarder_support::query::Samples;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::common::{RunningFunction, SPOOL, TestConfig, assert_balanced, exposed, gateway};

const FORWARD: &str = include_str!("../../events/scheduler.json");
const DRAIN: &str = include_str!("../../events/drain.json");
const MINUTE: Duration = Duration::from_secs(60);
const SERIES: usize = 50;

/// Names and intervals of the jobs, milliseconds.
const JOBS: [(&str, i64); 2] = [("fast", 5_000), ("slow", 15_000)];

/// How much more an outage may cost.
const BOUND: f64 = 1.10;

/// An invocation: when it comes, and its time limit.
#[derive(Debug, Clone, Copy)]
struct Invocation {
    at: Duration,
    limit: Duration,
}

/// The invocations of a schedule, and when the receiver hangs.
struct Schedule {
    invocations: Vec<Invocation>,
    hangs: Range<Duration>,
}

impl Schedule {
    /// An invocation each minute. That of minute `late` comes three seconds late, and that of
    /// minute `twice` comes twice. The last one has little time.
    fn new(minutes: u32, late: u32, twice: u32, hangs: Range<Duration>) -> Self {
        let mut invocations = Vec::new();
        for minute in 0..minutes {
            let lateness = Duration::from_secs(if minute == late { 3 } else { 0 });
            let is_last = minute + 1 == minutes;
            let invocation = Invocation {
                at: minute * MINUTE + lateness,
                limit: Duration::from_secs(if is_last { 25 } else { 90 }),
            };
            invocations.push(invocation);
            if minute == twice {
                invocations.push(Invocation {
                    at: invocation.at + Duration::from_millis(300),
                    ..invocation
                });
            }
        }
        Self { invocations, hangs }
    }
}

/// A home, a receiver and the sandboxes of a function.
struct Site {
    name: &'static str,
    recorder: Recorder,
    _home: Server,
    gateway: Gateway,
    yaml: String,
    s3: String,
    /// Sandboxes that are free.
    free: Mutex<Vec<RunningFunction>>,
}

/// What the invocations of a site came to.
struct Bill {
    billed: Duration,
    invocations: usize,
    reports: Vec<Value>,
}

/// A home that exposes other values with each scrape, with their time.
async fn home() -> Server {
    let rounds = AtomicU64::new(0);
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    Server::start(listen, move |request: server::ServerRequest, _| {
        let round = rounds.fetch_add(1, Ordering::Relaxed);
        let (path, at_ms) = (request.uri().path().trim_start_matches('/'), now_ms());
        let lines = (0..SERIES).map(|index| {
            format!("{path}{{i=\"{index}\",job=\"j\",instance=\"\"}} {round}.25 {at_ms}\n")
        });
        let mut answer = server::respond(200, lines.collect::<String>());
        answer.headers_mut().insert(
            "content-type",
            http::HeaderValue::from_static("text/plain; version=0.0.4"),
        );
        async { Ok(answer) }
    })
    .await
    .unwrap()
}

impl Site {
    async fn start(name: &'static str, moto: &Moto) -> Self {
        let (home, gateway) = (home().await, gateway().await);
        let recorder = Recorder::start(&home.url()).await.unwrap();
        let config = TestConfig {
            forwarder: "deadline_margin: 3s, remote_read: {mode: off}, metadata: {enabled: false}",
            queue: "max_samples_per_send: 100, max_shards: 8, capacity: 2500",
            ..TestConfig::new(&recorder.address(), &gateway)
        };
        let yaml = config.yaml();
        let job = yaml.find("  - job_name").unwrap()..yaml.find("remote_write:").unwrap();
        let jobs: Vec<_> = JOBS
            .iter()
            .map(|(name, interval_ms)| {
                let interval = format!("{name}\n    scrape_interval: {interval_ms}ms");
                yaml[job.clone()]
                    .replacen("federate\n", &format!("{interval}\n"), 1)
                    .replace("/federate", &format!("/{name}"))
            })
            .collect();
        let spool = format!("s3://spool/{name}");
        let yaml = yaml
            .replace(&yaml[job], &jobs.concat())
            .replace(&format!("file://{SPOOL}"), &spool);
        Self {
            name,
            recorder,
            _home: home,
            gateway,
            yaml,
            s3: moto.url(),
            free: Mutex::default(),
        }
    }

    /// Invokes a sandbox that is free, or a new one. Returns the report and the billed time.
    async fn invoke(&self, event: &str, limit: Duration) -> (Value, Duration) {
        let free = self.free.lock().await.pop();
        let sandbox = match free {
            Some(sandbox) => sandbox,
            None => {
                RunningFunction::start_with(&self.yaml, &[("AWS_ENDPOINT_URL_S3", &self.s3)]).await
            }
        };
        let started = Instant::now();
        let report = sandbox.tick(event, limit).await;
        let billed = started.elapsed();
        assert_balanced(&report);
        println!(
            "schedule: {:<7} {} billed {:>5.1} s, scrapes {:>2}, owed {:>5}, written {:>5}",
            self.name,
            report["outcome"],
            billed.as_secs_f64(),
            report["scrapes"].as_array().unwrap().len(),
            report["ledger"]["owed_after"],
            report["ledger"]["written"],
        );
        self.free.lock().await.push(sandbox);
        (report, billed)
    }

    /// Follows the schedule to its end.
    async fn run(&self, schedule: &Schedule, started: tokio::time::Instant) -> Bill {
        let invocations = schedule.invocations.iter().map(|invocation| async {
            tokio::time::sleep_until(started + invocation.at).await;
            self.invoke(FORWARD, invocation.limit).await
        });
        let answers = futures_util::future::join_all(invocations).await;
        Bill {
            billed: answers.iter().map(|(_, billed)| *billed).sum(),
            invocations: answers.len(),
            reports: answers.into_iter().map(|(report, _)| report).collect(),
        }
    }

    /// Slots between the first and the last scrape of each job in which it was not scraped.
    fn missed_slots(&self) -> Vec<(&'static str, i64)> {
        let recordings = self.recorder.recordings();
        let mut missed = Vec::new();
        for (job, interval_ms) in JOBS {
            let offset_ms =
                (xxhash_rust::xxh3::xxh3_64(job.as_bytes()) % interval_ms as u64) as i64;
            let slot = |at_ms: i64| (at_ms - offset_ms).div_euclid(interval_ms);
            let of_job = recordings
                .iter()
                .filter(|recording| recording.path.contains(job));
            let mut slots: Vec<_> = of_job.map(|recording| slot(recording.at_ms)).collect();
            slots.dedup();
            assert!(slots.len() > 2, "{job}: {slots:?}");
            for pair in slots.windows(2) {
                missed.extend((pair[0] + 1..pair[1]).map(|slot| (job, slot * interval_ms)));
            }
        }
        missed
    }

    /// Samples that a scrape showed and that never arrived.
    fn missing_samples(&self) -> usize {
        let mut received = Samples::new();
        for stored in self.gateway.stored() {
            let amp_forwarder_support::gateway::tenant::SampleValue::Float(bits) = stored.value
            else {
                panic!("a histogram: {:?}", stored.labels);
            };
            received
                .entry(stored.labels)
                .or_default()
                .insert(stored.timestamp, bits);
        }
        let shown = exposed(&self.recorder.recordings());
        assert!(shown.len() >= 2 * SERIES, "{} series", shown.len());
        let arrived = |labels, at_ms: &i64, bits: &u64| {
            let of_series: Option<&std::collections::BTreeMap<i64, u64>> = received.get(labels);
            of_series.and_then(|of_series| of_series.get(at_ms)) == Some(bits)
        };
        shown
            .iter()
            .flat_map(|(labels, samples)| samples.iter().map(move |sample| (labels, sample)))
            .filter(|(labels, (at_ms, bits))| !arrived(*labels, at_ms, bits))
            .count()
    }

    /// Invokes the function until nothing is owed.
    async fn drain(&self) {
        let until = Instant::now() + 2 * MINUTE;
        loop {
            let (report, _) = self.invoke(DRAIN, Duration::from_secs(20)).await;
            if report["ledger"]["owed_after"] == 0 && report["outcome"] != "busy" {
                return;
            }
            assert!(Instant::now() < until, "{report}");
        }
    }
}

async fn an_outage_costs_no_slot_no_sample_and_no_money(schedule: Schedule) {
    let moto = Moto::start(&[]).await.unwrap();
    moto.create_bucket("spool").await.unwrap();
    let calm = Site::start("calm", &moto).await;
    let outage = Arc::new(Site::start("outage", &moto).await);
    let started = tokio::time::Instant::now() + Duration::from_secs(1);
    let troubles = async {
        tokio::time::sleep_until(started + schedule.hangs.start).await;
        outage
            .gateway
            .faults()
            .add(Fault::always(FaultAction::Hang));
        tokio::time::sleep_until(started + schedule.hangs.end).await;
        outage.gateway.faults().clear();
    };
    let (without, with, ()) = tokio::join!(
        calm.run(&schedule, started),
        outage.run(&schedule, started),
        troubles
    );
    let missed = [calm.missed_slots(), outage.missed_slots()];
    tokio::join!(calm.drain(), outage.drain());
    for (site, bill) in [(&calm, &without), (&*outage, &with)] {
        println!(
            "schedule: {:<7} {:.1} s billed for {} invocations",
            site.name,
            bill.billed.as_secs_f64(),
            bill.invocations,
        );
        assert_eq!(site.missing_samples(), 0, "{}", site.name);
        for report in &bill.reports {
            for count in ["lost", "rejected", "expired"] {
                assert_eq!(report["ledger"][count], 0, "{report}");
            }
        }
    }
    assert_eq!(
        missed,
        [[], []],
        "slots of the calm site and of the other one"
    );
    // The second one of two finds that the first one serves its minute.
    let is_busy = |bill: &Bill| {
        bill.reports
            .iter()
            .any(|report| report["outcome"] == "busy")
    };
    assert!(is_busy(&with) && is_busy(&without));
    let owed = with
        .reports
        .iter()
        .any(|report| report["ledger"]["owed_after"] != 0);
    assert!(owed, "the receiver was not away");
    let ratio = with.billed.as_secs_f64() / without.billed.as_secs_f64();
    println!("schedule: the outage costs {ratio:.3} times as much");
    assert!(ratio <= BOUND, "{ratio}");
}

/// The last seconds of a minute in which the receiver hangs, and the first ones of the next minute,
/// whose invocation is late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_across_two_minutes() {
    let hangs = Duration::from_secs(35)..Duration::from_secs(70);
    an_outage_costs_no_slot_no_sample_and_no_money(Schedule::new(2, 1, 0, hangs)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes ten minutes: make soak"]
async fn an_outage_of_six_minutes_in_ten() {
    let hangs = 2 * MINUTE..8 * MINUTE;
    an_outage_costs_no_slot_no_sample_and_no_money(Schedule::new(10, 4, 6, hangs)).await;
}
