//! Kills at each await of a catch-up of ten windows: a kill neither skips a sample nor repeats more
//! than the window that was under way.

use std::sync::Arc;
use std::time::Duration;

use amp_forwarder::config::{Config, RemoteReadMode};
use fastrand::Rng;

use super::run::{run, seed};
use super::scenario::{Kind, Scenario, Tick};
use super::tsdb::HomeClock;
use super::{history, home};
use crate::events::{Event, Hits};
use crate::receiver;
use crate::store;

const YAML: &str = "
scrape_configs:
  - {job_name: home, scrape_interval: 15s, scrape_timeout: 10s, honor_labels: true,
     metrics_path: /federate, params: {'match[]': ['{__name__!=\"\"}']},
     static_configs: [{targets: ['home:9090'], labels: {site: here}}]}
remote_write:
  - {name: r0, url: 'https://r0/api/v1/remote_write', send_native_histograms: true,
     queue_config: {max_samples_per_send: 500, max_shards: 3, sample_age_limit: 55m}}
forwarder: {deadline_margin: 1s, remote_read: {mode: MODE, settle: 15s, overlap: 40s}}
";

/// A run whose second tick catches up with twenty minutes and is killed after this many polls.
pub(super) fn scenario(mode: RemoteReadMode, polls: u32) -> Scenario {
    let yaml = YAML.replace("MODE", mode.as_str());
    let config = Config::load(&yaml, &|_| None, "kills")
        .unwrap_or_else(|error| panic!("{error}"))
        .config;
    let tick = |wait_s: u64, kind, process| Tick {
        wait: Duration::from_secs(wait_s),
        timeout: Duration::from_secs(58),
        kind,
        process,
    };
    let queue = &config.remote_write[0].queue;
    let receiver = receiver::Traits {
        faults: 0.0,
        kinds: vec![],
        outages: vec![],
        max_raw: usize::MAX,
        max_samples: queue.max_samples_per_send.min(queue.capacity),
        max_request_bytes: config.forwarder.max_request_bytes,
        max_in_flight: queue.max_shards.max(queue.min_shards),
        retries_429: true,
        forgetful: true,
        tight_memory: false,
        no_repeats: true,
        windows: true,
    };
    Scenario {
        yaml,
        config,
        mode,
        start_ms: crate::bench::START_MS,
        skew_ms: 0,
        home: home::Traits::default(),
        history: history::Traits {
            series: 6,
            lateness_ms: 30_000,
            histograms: mode == RemoteReadMode::Always,
            out_of_order: false,
            external: false,
            clock: HomeClock::default(),
        },
        receivers: vec![receiver],
        store: store::Traits::default(),
        most_repeated_ms: match mode {
            // One window, and what came late to the one before.
            RemoteReadMode::Always => 120_000 + 30_000,
            // One window, and what its first slot looks back to.
            _ => 120_000 + 300_000,
        },
        ticks: vec![
            tick(5, Kind::Whole, 0),
            tick(20 * 60, Kind::KilledAfterPolls(polls), 0),
            tick(20, Kind::Whole, 1),
        ],
    }
}

/// Polls after which the tick has ended.
const MOST_POLLS: u32 = 3_000;

#[test]
fn a_catch_up_that_is_killed_anywhere_skips_and_repeats_nothing() {
    for mode in [RemoteReadMode::Always, RemoteReadMode::Gaps] {
        let hits = Arc::new(Hits::default());
        let mut polls = 1;
        while polls < MOST_POLLS {
            let outcome = run(scenario(mode, polls), Rng::with_seed(7), &hits, false, None);
            if !outcome.findings.is_empty() {
                let again = run(scenario(mode, polls), Rng::with_seed(7), &hits, true, None);
                panic!(
                    "{} killed after {polls} polls\n{}",
                    mode.as_str(),
                    again.story.join("\n")
                );
            }
            polls += 1 + polls / 50;
        }
        for event in [Event::ReadCatchUp, Event::ReadKilled] {
            assert!(hits.has_met(event), "{event:?} never happened");
        }
    }
}

/// A few seeds; `READ_SEEDS` runs more.
#[test]
fn seeds_of_remote_read() {
    let seeds = std::env::var("READ_SEEDS").map_or(30, |text| text.parse().expect("a number"));
    let hits = Arc::new(Hits::default());
    for number in 0..seeds {
        let found = seed(number, &hits, false, None).findings;
        if !found.is_empty() {
            let story = seed(number, &hits, true, None).story;
            panic!("seed {number}\n{}\n{}", story.join("\n"), found.join("\n"));
        }
    }
}
