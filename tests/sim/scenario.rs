//! Draws a configuration, the traits of home and receivers, and the ticks of a seed.

use std::fmt::Write as _;
use std::time::Duration;

use amp_forwarder::config::Config;
use fastrand::Rng;

use crate::home;
use crate::receiver::{self, FAULTS, Fault};

/// Everything that is drawn for one run.
pub(crate) struct Scenario {
    pub(crate) yaml: String,
    pub(crate) config: Config,
    pub(crate) memory_limit: u64,
    pub(crate) start_ms: i64,
    pub(crate) home: home::Traits,
    pub(crate) receivers: Vec<receiver::Traits>,
    pub(crate) ticks: Vec<Tick>,
}

/// Kind of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Schedule,
    Once,
    SomeJobs,
    DrainOnly,
    DryRun,
    /// The tick is asked to stop after this time.
    Stopped(Duration),
    /// The process is killed after this number of polls.
    Killed(u32),
}

/// Event that befalls the process before a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    Nothing,
    Restart,
    /// This time in milliseconds passes, which tokio's clock does not count.
    Freeze(i64),
    /// The forwarder's clock is this far ahead, in milliseconds, from now on.
    Skew(i64),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Tick {
    /// Milliseconds after the start of the run. The tick starts later if the previous one is
    /// still at work.
    pub(crate) at_ms: i64,
    pub(crate) timeout: Duration,
    pub(crate) kind: Kind,
    pub(crate) before: Before,
}

fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(0..of.len())]
}

fn sometimes(rng: &mut Rng, one_in: u32) -> bool {
    rng.u32(0..one_in) == 0
}

/// A `memory_limit` that no run reaches.
pub(crate) const ROOMY: u64 = 64 << 20;

impl Scenario {
    /// Whether the `memory_limit` is small enough to be reached.
    pub(crate) fn tight_memory(&self) -> bool {
        self.memory_limit < ROOMY
    }
}

/// Draws a run. One in eight is calm: it has no faults, and everything must arrive.
pub(crate) fn draw(rng: &mut Rng) -> Scenario {
    let calm = sometimes(rng, 8);
    let start_ms = 1_795_176_000_000 + rng.i64(0..600_000);
    let yaml = configuration(rng);
    let config = Config::load(&yaml, &|_| None, "seed")
        .unwrap_or_else(|error| panic!("{error}\n{yaml}"))
        .config;
    let ticks = ticks(rng, calm);
    let lag_ms = sometimes(rng, 6).then(|| rng.i64(1_000..40_000));
    let moved_clock = ticks
        .iter()
        .any(|tick| matches!(tick.before, Before::Skew(_)));
    let home = home_traits(rng, calm, start_ms, lag_ms);
    let mut receivers: Vec<_> = config
        .remote_write
        .iter()
        .map(|remote| {
            let faults = match rng.u32(0..4) {
                _ if calm => 0.0,
                0 => 0.0,
                1 => 0.05,
                2 => 0.3,
                _ => 0.7 * rng.f64(),
            };
            let kinds = (0..rng.usize(1..5)).map(|_| pick(rng, FAULTS).0).collect();
            let outages = if calm || !sometimes(rng, 3) {
                vec![]
            } else {
                let from = start_ms + rng.i64(0..180_000);
                vec![(from, from + rng.i64(1_000..120_000), pick(rng, FAULTS).0)]
            };
            receiver::Traits {
                faults,
                kinds,
                outages: outages
                    .into_iter()
                    .filter(|(_, _, fault): &(_, _, Fault)| *fault != Fault::Slow)
                    .collect(),
                max_raw: if calm || !sometimes(rng, 6) {
                    usize::MAX
                } else {
                    rng.usize(80..2_000)
                },
                max_samples: remote.queue.max_samples_per_send.min(remote.queue.capacity),
                max_request_bytes: config.forwarder.max_request_bytes,
                max_in_flight: remote.queue.max_shards.max(remote.queue.min_shards),
                retries_429: remote.queue.retry_on_http_429,
                any_order: false,
                tight_memory: false,
                no_repeats: true,
                windows: false,
                forgetful: home.lag_ms.is_some()
                    || home.twice > 0.0
                    || moved_clock
                    || home.odd_times
                    || home.shared,
            }
        })
        .collect();
    let memory_limit = if calm || !sometimes(rng, 15) {
        ROOMY
    } else {
        rng.u64(4_000..40_000)
    };
    // A full memory forgets series that the last scrapes did not show, and sends their last samples
    // again when they return.
    let tight_memory = memory_limit != ROOMY;
    receivers.iter_mut().for_each(|receiver| {
        (receiver.tight_memory, receiver.no_repeats) = (tight_memory, !tight_memory);
    });
    Scenario {
        yaml,
        config,
        memory_limit,
        start_ms,
        home,
        receivers,
        ticks,
    }
}

/// Draws the traits of the home. The lag has been drawn before.
fn home_traits(rng: &mut Rng, calm: bool, start_ms: i64, lag_ms: Option<i64>) -> home::Traits {
    home::Traits {
        series: if sometimes(rng, 10) {
            rng.usize(0..3)
        } else {
            rng.usize(3..40)
        },
        faults: if calm || sometimes(rng, 3) {
            0.0
        } else {
            0.4 * rng.f64()
        },
        lag_ms: lag_ms.filter(|_| !calm),
        clock_steps: vec![],
        clock_off_ms: if calm || !sometimes(rng, 12) {
            0
        } else {
            pick(
                rng,
                &[-7_200_000, -3_480_000, -200_000, 45_000, 300_000, 700_000],
            )
        },
        twice: if calm || !sometimes(rng, 5) { 0.0 } else { 0.3 },
        shared: !calm && sometimes(rng, 6),
        other_order: sometimes(rng, 5),
        odd_times: !calm && sometimes(rng, 5),
        away: if calm || !sometimes(rng, 8) {
            vec![]
        } else {
            vec![(start_ms / 60_000 + 1, start_ms / 60_000 + rng.i64(2..5))]
        },
    }
}

fn configuration(rng: &mut Rng) -> String {
    let mut yaml = String::new();
    let external = pick(
        rng,
        &[
            "{}",
            "{site: home}",
            "{cluster: c1, __replica__: r1}",
            "{job: external, zone: z}",
        ],
    );
    let _ = writeln!(
        yaml,
        "global: {{external_labels: {external}}}\nscrape_configs:"
    );
    draw_jobs(rng, &mut yaml);
    yaml.push_str("remote_write:\n");
    for remote in 0..pick(rng, &[1, 1, 1, 2, 3]) {
        let max_shards = rng.u32(1..8);
        let min_shards = rng.u32(1..=max_shards);
        let (samples, capacity) = (rng.u32(1..60), rng.u32(20..1_000));
        let timeout = pick(rng, &[1, 5, 30]);
        let (min_backoff, max_backoff) = pick(rng, &[(30, 5_000), (100, 1_000), (1_000, 10_000)]);
        let retries = !sometimes(rng, 4);
        let age = pick(rng, &["0s", "55m", "55m"]);
        let _ = writeln!(
            yaml,
            "  - {{name: r{remote}, url: 'https://r{remote}/api/v1/remote_write', \
             remote_timeout: {timeout}s, queue_config: {{max_samples_per_send: {samples}, \
             capacity: {capacity}, max_shards: {max_shards}, min_shards: {min_shards}, \
             min_backoff: {min_backoff}ms, max_backoff: {max_backoff}ms, \
             retry_on_http_429: {retries}, sample_age_limit: {age}}}}}"
        );
    }
    let margin = pick(rng, &["500ms", "1s", "3s", "3s", "5s"]);
    let bytes = if sometimes(rng, 4) {
        rng.u32(200..3_000)
    } else {
        1_000_000
    };
    let _ = writeln!(
        yaml,
        "forwarder: {{deadline_margin: {margin}, max_request_bytes: {bytes}, \
         remote_read: {{mode: off}}}}"
    );
    yaml
}

/// Draws the scrape jobs.
fn draw_jobs(rng: &mut Rng, yaml: &mut String) {
    for job in 0..pick(rng, &[1, 1, 1, 1, 2, 3]) {
        let interval = pick(rng, &[5, 10, 15, 15, 20, 30, 60, 60, 90]);
        let timeout = rng.u64(1..=interval.min(10));
        let (honor_labels, compression) = (rng.bool(), rng.bool());
        let honor_timestamps = !sometimes(rng, 8);
        let _ = write!(
            yaml,
            "  - {{job_name: job{job}, scrape_interval: {interval}s, \
             scrape_timeout: {timeout}s, honor_labels: {honor_labels}, \
             honor_timestamps: {honor_timestamps}, enable_compression: {compression}, \
             metrics_path: /federate"
        );
        if sometimes(rng, 10) {
            let _ = write!(yaml, ", sample_limit: {}", rng.u32(1..60));
        }
        if sometimes(rng, 12) {
            let _ = write!(yaml, ", body_size_limit: {}", rng.u32(100..6_000));
        }
        let targets = if sometimes(rng, 3) { 2 } else { 1 };
        let list: Vec<_> = (0..targets)
            .map(|target| format!("home{job}{target}:9090"))
            .collect();
        let _ = writeln!(
            yaml,
            ", static_configs: [{{targets: [{}], labels: {{site: here}}}}]}}",
            list.join(", ")
        );
    }
}

fn ticks(rng: &mut Rng, calm: bool) -> Vec<Tick> {
    let steady = rng.bool();
    let usual = rng.i64(0..60_000);
    let mut minute = 0;
    (0..rng.usize(2..7))
        .map(|index| {
            minute += 1;
            let at_ms = minute * 60_000 + if steady { usual } else { rng.i64(0..60_000) };
            if sometimes(rng, 15) {
                // EventBridge delivers twice.
                minute -= 1;
            }
            let kind = match rng.u32(0..24) {
                0 => Kind::Once,
                1 => Kind::SomeJobs,
                2 => Kind::DrainOnly,
                3 => Kind::DryRun,
                4 => Kind::Stopped(Duration::from_millis(rng.u64(0..40_000))),
                5 | 6 if !calm => Kind::Killed(rng.u32(1..120)),
                _ => Kind::Schedule,
            };
            let before = match rng.u32(0..20) {
                _ if calm || index == 0 => Before::Nothing,
                0 => Before::Restart,
                1 => Before::Freeze(rng.i64(1_000..4 * 3_600_000)),
                2 => Before::Skew(pick(
                    rng,
                    &[-3_700_000, -90_000, -5_000, 0, 20_000, 120_000, 900_000],
                )),
                _ => Before::Nothing,
            };
            Tick {
                at_ms,
                timeout: Duration::from_millis(rng.u64(10_000..90_000)),
                kind,
                before,
            }
        })
        .collect()
}
