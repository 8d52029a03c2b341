//! Runs that are written down by hand: what seeds have found once.

use std::sync::Arc;
use std::time::Duration;

use amp_forwarder::config::{Config, RemoteReadMode};
use amp_forwarder::spool::store::Op;
use fastrand::Rng;

use super::run::run;
use super::scenario::{Scenario, Tick};
use super::tsdb::HomeClock;
use super::{history, home};
use crate::bench::START_MS;
use crate::events::{Event, Hits};
use crate::receiver;
use crate::setup::Kill;
use crate::store::{self, KillAt};

const YAML: &str = "
scrape_configs:
  - {job_name: home, scrape_interval: INTERVAL, scrape_timeout: 10s, honor_labels: true,
     metrics_path: /federate, params: {'match[]': ['{__name__!=\"\"}']},
     static_configs: [{targets: ['home:9090'], labels: {site: here}}]}
remote_write:
  - {name: r0, url: 'https://r0/api/v1/remote_write', send_native_histograms: true,
     queue_config: {max_samples_per_send: 500, max_shards: 3, sample_age_limit: 55m}}
forwarder: {deadline_margin: 1s, remote_read: {mode: MODE, settle: 15s, overlap: 40s}}
";

/// A tick of 58 s that follows after a pause.
pub(super) fn tick(wait_s: u64, kill: Option<Kill>, process: usize) -> Tick {
    Tick {
        wait: Duration::from_secs(wait_s),
        timeout: Duration::from_secs(58),
        kill,
        process,
    }
}

/// A run without faults, for a test to change.
pub(super) fn scripted(mode: RemoteReadMode, interval: &str, ticks: Vec<Tick>) -> Scenario {
    let yaml = YAML
        .replace("MODE", mode.as_str())
        .replace("INTERVAL", interval);
    let config = Config::load(&yaml, &|_| None, "scripted")
        .unwrap_or_else(|error| panic!("{error}"))
        .config;
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
        any_order: false,
        tight_memory: false,
        no_repeats: true,
        windows: true,
    };
    Scenario {
        yaml,
        config,
        mode,
        start_ms: START_MS,
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
        most_repeated_ms: i64::MAX,
        ticks,
    }
}

/// Runs a scenario, which must break no rule and meet all of these events.
fn holds(scenario: Scenario, events: &[Event]) {
    let hits = Arc::new(Hits::default());
    let outcome = run(scenario, Rng::with_seed(7), &hits, true, None);
    let never: Vec<_> = events
        .iter()
        .filter(|event| !hits.has_met(**event))
        .collect();
    assert!(
        outcome.findings.is_empty() && never.is_empty(),
        "{}\nnever met: {never:?}",
        outcome.story.join("\n")
    );
}

/// Whether the home answers a scrape is asked within the tick, too.
#[test]
fn a_silent_home_does_not_make_a_tick_late() {
    let short = Tick {
        timeout: Duration::from_secs(17),
        ..tick(60, None, 0)
    };
    let ticks = vec![tick(30, None, 0), short, short];
    let mut scenario = scripted(RemoteReadMode::Always, "30s", ticks);
    let from_ms = START_MS + 80_000;
    scenario.home.outages = vec![(from_ms, from_ms + 90_000, home::Fault::Silent)];
    holds(scenario, &[Event::ReadSilent]);
}

/// Where reading begins is a guess until the home has answered once.
#[test]
fn a_home_whose_clock_is_behind_loses_nothing_when_its_first_answer_fails() {
    for fault in [home::Fault::Restarting, home::Fault::Silent] {
        let ticks = vec![tick(30, None, 0); 4];
        let mut scenario = scripted(RemoteReadMode::Always, "30s", ticks);
        scenario.history.clock.steps = vec![(0, -120_000)];
        scenario.home.outages = vec![(START_MS, START_MS + 60_000, fault)];
        holds(scenario, &[fault.event()]);
    }
}

/// A read that was given up runs on at home, so the other jobs there wait for its end as well.
#[test]
fn a_home_that_is_busy_is_not_asked_for_another_job() {
    let ticks = vec![tick(30, None, 0); 6];
    let mut scenario = scripted(RemoteReadMode::Always, "30s", ticks);
    // It has no series but those that report on it, which the oracle does not know.
    scenario.yaml = scenario.yaml.replace(
        "remote_write:\n  - {",
        "  - {job_name: other, scrape_interval: 30s, scrape_timeout: 10s, metrics_path: /federate, \
         params: {'match[]': [none]}, static_configs: [{targets: ['home:9090']}]}\n\
         remote_write:\n  - {write_relabel_configs: [{source_labels: [job], regex: other, \
         action: drop}], ",
    );
    scenario.config = Config::load(&scenario.yaml, &|_| None, "scripted")
        .unwrap()
        .config;
    let from_ms = START_MS + 80_000;
    scenario.home.outages = vec![(from_ms, from_ms + 12_000, home::Fault::Silent)];
    let outcome = run(scenario, Rng::with_seed(7), &Arc::default(), true, None);
    let story = outcome.story.join("\n");
    assert!(outcome.findings.is_empty(), "{story}");
    let reads = outcome.story.iter().filter_map(|line| {
        let (at, read) = line.split_once(" home: read of ")?;
        Some((at.trim().parse::<f64>().unwrap(), read.contains("Silent")))
    });
    let given_up_at = reads.clone().find(|(_, is_silent)| *is_silent).unwrap().0;
    let next_at = reads.map(|(at, _)| at).find(|at| *at > given_up_at);
    // It is given up after ten seconds, and may run for as long again.
    assert!(next_at.unwrap() >= given_up_at + 19.9, "{story}");
}

/// A home whose reads fail is federated in each tick until they work again, not in one of them.
#[test]
fn while_reads_fail_federation_goes_on_tick_after_tick() {
    let ticks = vec![tick(30, None, 0); 14];
    let mut scenario = scripted(RemoteReadMode::Always, "30s", ticks);
    let from_ms = START_MS + 100_000;
    scenario.home.outages = vec![(from_ms, from_ms + 600_000, home::Fault::Truncated)];
    let hits = Arc::new(Hits::default());
    let outcome = run(scenario, Rng::with_seed(7), &hits, true, None);
    let story = outcome.story.join("\n");
    assert!(outcome.findings.is_empty(), "{story}");
    let reports: Vec<_> = outcome
        .story
        .iter()
        .filter(|line| line.contains("report: "))
        .map(|line| line.contains("scraped in its place"))
        .collect();
    let first = reports.iter().position(|fell_back| *fell_back);
    let last = reports.iter().rposition(|fell_back| *fell_back);
    let (Some(first), Some(last)) = (first, last) else {
        panic!("it was never federated\n{story}");
    };
    assert!(last - first >= 4, "{reports:?}\n{story}");
    let all = reports[first..=last].iter().all(|fell_back| *fell_back);
    assert!(all, "{reports:?}\n{story}");
}

/// At the end of a tick what is in flight goes to the spool before what is newer.
#[test]
fn what_is_read_again_after_a_kill_in_the_flush_comes_in_its_order() {
    let kill = Kill::InCall(KillAt {
        op: Op::PutIfAbsent,
        folder: "segments/",
        skip: 1,
        done: false,
    });
    let ticks = vec![tick(5, None, 0), tick(60, Some(kill), 0)];
    let mut scenario = scripted(RemoteReadMode::Gaps, "10s", ticks);
    let from_ms = START_MS + 110_000;
    scenario.receivers[0].outages = vec![(from_ms, from_ms + 75_000, receiver::Fault::Reset)];
    holds(scenario, &[Event::ReadKilled, Event::ReadBackfilled]);
}

/// Ticks in which no slot is due do not count as progress.
#[test]
fn a_gap_that_can_never_be_read_is_given_up_though_most_ticks_have_no_slot() {
    let mut ticks = vec![tick(30, None, 0), tick(400, None, 0)];
    ticks.extend(vec![tick(60, None, 0); 12]);
    let mut scenario = scripted(RemoteReadMode::Gaps, "120s", ticks);
    scenario.home.sample_limit = 1;
    holds(scenario, &[Event::ReadGivenUp]);
}
