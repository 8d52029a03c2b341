//! Draws a run with remote read: the configuration, the home with its history, the receivers and
//! the ticks.

use std::fmt::Write as _;
use std::time::Duration;

use amp_forwarder::config::{Config, RemoteReadMode};
use amp_forwarder::spool::store::Op;
use fastrand::Rng;

use super::tsdb::HomeClock;
use super::{history, home};
use crate::planted::Bug;
use crate::receiver::{self, Fault};
use crate::setup::Kill;
use crate::store::{self, KillAt};

#[derive(Debug, Clone, Copy)]
pub(super) struct Tick {
    pub(super) wait: Duration,
    pub(super) timeout: Duration,
    pub(super) kill: Option<Kill>,
    pub(super) process: usize,
}

/// Everything that is drawn for one run.
pub(super) struct Scenario {
    pub(super) yaml: String,
    pub(super) config: Config,
    pub(super) mode: RemoteReadMode,
    pub(super) start_ms: i64,
    /// The forwarder's clock is this far ahead.
    pub(super) skew_ms: i64,
    pub(super) home: home::Traits,
    pub(super) history: history::Traits,
    pub(super) receivers: Vec<receiver::Traits>,
    pub(super) store: store::Traits,
    pub(super) ticks: Vec<Tick>,
    /// Longest span of time whose samples may be sent again after a kill, in milliseconds.
    pub(super) most_repeated_ms: i64,
}

/// Time after the last tick for which the home has a history.
pub(super) const AFTERWARDS: Duration = Duration::from_secs(35 * 60);

/// Faults of a receiver that pass: all that it refused comes again.
const PASSING: &[Fault] = &[
    Fault::Unavailable,
    Fault::RetryAfterSeconds,
    Fault::RetryAfterDate,
    Fault::Throttled,
    Fault::TimedOut,
    Fault::TimedOutStored,
    Fault::Reset,
    Fault::ResetStored,
    Fault::Stale,
    Fault::NoSts,
    Fault::Slow,
];

fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(0..of.len())]
}

fn sometimes(rng: &mut Rng, one_in: u32) -> bool {
    rng.u32(0..one_in) == 0
}

/// How late the home may be, and what the configuration allows for.
struct Lateness {
    worst_ms: i64,
    settle_s: u64,
    overlap: String,
}

fn lateness(rng: &mut Rng, mode: RemoteReadMode, bug: Option<Bug>) -> Lateness {
    let worst_ms = pick(rng, &[0, 1_000, 4_000, 14_000, 29_000, 45_000, 90_000]);
    let settle_s = pick(rng, &[0, 5, 15, 15, 30]);
    let enough = if mode == RemoteReadMode::Gaps || settle_s as i64 * 1_000 >= worst_ms {
        pick(rng, &["auto", "0s", "20s"]).to_owned()
    } else if worst_ms < 30_000 && rng.bool() {
        "auto".to_owned()
    } else {
        format!("{}s", worst_ms / 1_000 + 1)
    };
    match bug {
        // Samples come up to 14 s late, and the window goes up to the present.
        Some(Bug::UpperEndIsNow) => Lateness {
            worst_ms: 14_000,
            settle_s: 0,
            overlap: "0s".to_owned(),
        },
        Some(Bug::NoOverlap) => Lateness {
            worst_ms: 45_000,
            settle_s: 15,
            overlap: "0s".to_owned(),
        },
        Some(Bug::RangeWithoutEnd) => Lateness {
            worst_ms: 0,
            settle_s: 15,
            overlap: "0s".to_owned(),
        },
        _ => Lateness {
            worst_ms,
            settle_s,
            overlap: enough,
        },
    }
}

/// Draws a run. One in eight is calm: it has no faults.
pub(super) fn draw(rng: &mut Rng, bug: Option<Bug>) -> Scenario {
    let calm = sometimes(rng, 8);
    let start_ms = 1_795_176_000_000 + rng.i64(0..600_000);
    let mode = match bug {
        Some(Bug::GapAfterLive) => RemoteReadMode::Gaps,
        Some(_) => RemoteReadMode::Always,
        None => pick(rng, &[RemoteReadMode::Gaps, RemoteReadMode::Always]),
    };
    let lateness = lateness(rng, mode, bug);
    let yaml = configuration(rng, mode, &lateness);
    let config = Config::load(&yaml, &|_| None, "seed")
        .unwrap_or_else(|error| panic!("{error}\n{yaml}"))
        .config;
    let ticks = ticks(rng, calm);
    let clock = if mode == RemoteReadMode::Always && !calm && sometimes(rng, 4) {
        home_clock(rng, start_ms)
    } else {
        HomeClock::default()
    };
    let history = history::Traits {
        series: if sometimes(rng, 8) {
            1
        } else {
            rng.usize(2..16)
        },
        lateness_ms: lateness.worst_ms,
        histograms: mode == RemoteReadMode::Always && rng.bool(),
        out_of_order: sometimes(rng, 6),
        external: sometimes(rng, 4),
        clock,
    };
    let receivers = config
        .remote_write
        .iter()
        .map(|remote| receiver_traits(rng, calm, start_ms, &config, remote))
        .collect();
    Scenario {
        skew_ms: if !calm && mode == RemoteReadMode::Always && sometimes(rng, 8) {
            pick(rng, &[-90_000, -3_000, 20_000, 120_000])
        } else {
            0
        },
        home: home_traits(rng, calm, start_ms, bug),
        store: store::Traits {
            faults: if calm || !sometimes(rng, 4) {
                0.0
            } else {
                0.03
            },
            outages: vec![],
            off_ms: if rng.bool() {
                0
            } else {
                rng.i64(-100_000..100_000)
            },
        },
        yaml,
        config,
        mode,
        start_ms,
        history,
        receivers,
        ticks,
        most_repeated_ms: i64::MAX,
    }
}

/// A clock that is off, or jumps.
fn home_clock(rng: &mut Rng, start_ms: i64) -> HomeClock {
    let off_ms = pick(rng, &[0, -120_000, 120_000, -600_000, 3_000]);
    let mut steps = vec![(0, off_ms)];
    if rng.bool() {
        let jump_ms = pick(rng, &[-120_000, -7_000, 2_000, 120_000]);
        steps.push((start_ms + rng.i64(0..400_000), off_ms + jump_ms));
    }
    HomeClock { steps }
}

fn home_traits(rng: &mut Rng, calm: bool, start_ms: i64, bug: Option<Bug>) -> home::Traits {
    let kinds = (0..rng.usize(1..4))
        .map(|_| pick(rng, home::FAULTS))
        // It tells a process that the home has no remote read, and gaps stay open from then on.
        .filter(|fault| *fault != home::Fault::LoginPage)
        .collect();
    let outage = (!calm && sometimes(rng, 3)).then(|| {
        let from_ms = start_ms + rng.i64(60_000..400_000);
        let fault = pick(
            rng,
            &[
                home::Fault::Refused,
                home::Fault::Silent,
                home::Fault::Restarting,
            ],
        );
        (from_ms, from_ms + rng.i64(5_000..300_000), fault)
    });
    home::Traits {
        read_faults: if calm || sometimes(rng, 2) {
            0.0
        } else {
            0.5 * rng.f64()
        },
        federate_faults: if calm || !sometimes(rng, 4) { 0.0 } else { 0.2 },
        kinds,
        outages: outage.into_iter().collect(),
        sample_limit: if calm || !sometimes(rng, 8) {
            0
        } else {
            rng.usize(200..2_000)
        },
        no_remote_read: None,
        date_off_ms: 0,
        config: None,
        leaves_out_the_end: bug == Some(Bug::RangeWithoutEnd),
    }
}

fn receiver_traits(
    rng: &mut Rng,
    calm: bool,
    start_ms: i64,
    config: &Config,
    remote: &amp_forwarder::config::RemoteWrite,
) -> receiver::Traits {
    let faults = match rng.u32(0..3) {
        _ if calm => 0.0,
        0 => 0.0,
        1 => 0.1,
        _ => 0.5 * rng.f64(),
    };
    let outage = (!calm && sometimes(rng, 3)).then(|| {
        let from_ms = start_ms + rng.i64(60_000..300_000);
        let fault = pick(rng, &[Fault::Unavailable, Fault::TimedOut, Fault::Reset]);
        (from_ms, from_ms + rng.i64(1_000..400_000), fault)
    });
    receiver::Traits {
        faults,
        kinds: (0..rng.usize(1..4)).map(|_| pick(rng, PASSING)).collect(),
        outages: outage.into_iter().collect(),
        max_raw: if calm || !sometimes(rng, 3) {
            usize::MAX
        } else {
            rng.usize(2_000..8_000)
        },
        max_samples: remote.queue.max_samples_per_send.min(remote.queue.capacity),
        max_request_bytes: config.forwarder.max_request_bytes,
        max_in_flight: remote.queue.max_shards.max(remote.queue.min_shards),
        retries_429: true,
        forgetful: true,
        any_order: false,
        tight_memory: false,
        no_repeats: true,
        windows: true,
    }
}

fn configuration(rng: &mut Rng, mode: RemoteReadMode, lateness: &Lateness) -> String {
    let mut yaml = String::new();
    let external = pick(rng, &["{}", "{site: there}", "{replica_of: r1, zone: z}"]);
    let interval = pick(rng, &[5, 15, 15, 30, 60]);
    let selectors = pick(
        rng,
        &[
            r#"'{__name__!=""}'"#,
            r#"'{__name__=~".+"}', 'up'"#,
            r#"'{id=~".+"}', '{__name__=~"up|a"}', 'up'"#,
        ],
    );
    let _ = writeln!(
        yaml,
        "global: {{external_labels: {external}}}\nscrape_configs:\n  \
         - {{job_name: home, scrape_interval: {interval}s, scrape_timeout: {}s, \
         honor_labels: {}, metrics_path: /federate, params: {{'match[]': [{selectors}]}}, \
         static_configs: [{{targets: ['home:9090'], labels: {{site: here}}}}]}}\nremote_write:",
        interval.min(10),
        rng.bool(),
    );
    for remote in 0..pick(rng, &[1, 1, 2]) {
        let max_shards = rng.u32(1..6);
        let (samples, capacity) = (rng.u32(20..500), rng.u32(100..5_000));
        let _ = writeln!(
            yaml,
            "  - {{name: r{remote}, url: 'https://r{remote}/api/v1/remote_write', \
             send_native_histograms: true, remote_timeout: {}s, \
             queue_config: {{max_samples_per_send: {samples}, capacity: {capacity}, \
             max_shards: {max_shards}, retry_on_http_429: true, sample_age_limit: 55m}}}}",
            pick(rng, &[1, 5, 10]),
        );
    }
    let Lateness {
        settle_s, overlap, ..
    } = lateness;
    let _ = writeln!(
        yaml,
        "forwarder: {{deadline_margin: {}, remote_read: {{mode: {}, settle: {settle_s}s, \
         overlap: {overlap}}}}}",
        pick(rng, &["1s", "3s"]),
        mode.as_str(),
    );
    yaml
}

fn ticks(rng: &mut Rng, calm: bool) -> Vec<Tick> {
    let places = [
        (Op::PutIfMatch, "state.json"),
        (Op::PutIfMatch, "state.json"),
        (Op::PutIfAbsent, "segments/"),
        (Op::PutIfAbsent, "reads/"),
        (Op::Delete, ""),
        (Op::Get, ""),
    ];
    let mut long = sometimes(rng, 6);
    (0..rng.usize(3..8))
        .map(|index| {
            let kill = match rng.u32(0..10) {
                _ if calm || index == 0 => None,
                0 => Some(Kill::AfterPolls(1 << rng.u32(0..11))),
                1 => Some(Kill::After(Duration::from_millis(rng.u64(1..50_000)))),
                2 | 3 => {
                    let (op, folder) = pick(rng, &places);
                    Some(Kill::InCall(KillAt {
                        op,
                        folder,
                        skip: rng.u32(0..5),
                        done: rng.bool(),
                    }))
                }
                _ => None,
            };
            let pause_s = match rng.u32(0..6) {
                0 if std::mem::take(&mut long) => rng.u64(600..1_500),
                0 | 1 => rng.u64(60..400),
                _ => rng.u64(30..61),
            };
            Tick {
                wait: Duration::from_secs(pause_s),
                timeout: Duration::from_secs(rng.u64(20..60)),
                kill,
                process: usize::from(index > 0 && sometimes(rng, 4)),
            }
        })
        .collect()
}
