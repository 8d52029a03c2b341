//! Homes and the proxies in front of them: what a proxy answers in the place of a home, what it says
//! of the time, and what a home says of itself.

use std::sync::Arc;
use std::time::Duration;

use amp_forwarder::config::{Config, RemoteReadMode};
use fastrand::Rng;

use super::home::Fault;
use super::run::run;
use super::scenario::{Scenario, Tick};
use super::scripted::{scripted, tick};
use super::tsdb::HomeClock;
use crate::events::{Event, Hits};

/// Ticks that are `waits_s` seconds apart and end well.
fn scenario(mode: RemoteReadMode, waits_s: &[u64]) -> Scenario {
    let tick = |&wait_s: &u64| Tick {
        timeout: Duration::from_secs(50),
        ..tick(wait_s, None, 0)
    };
    scripted(mode, "15s", waits_s.iter().map(tick).collect())
}

fn runs_clean(scenario: impl Fn() -> Scenario, event: Event) {
    let hits = Arc::new(Hits::default());
    for seed in 0..10 {
        let outcome = run(scenario(), Rng::with_seed(seed), &hits, false, None);
        if !outcome.findings.is_empty() {
            let again = run(scenario(), Rng::with_seed(seed), &hits, true, None);
            panic!("seed {seed}\n{}", again.story.join("\n"));
        }
    }
    assert!(hits.has_met(event), "{event:?} never happened");
}

#[test]
fn a_login_page_for_a_moment_costs_no_slot() {
    let mode = RemoteReadMode::Gaps;
    // The first gap shows that the home has remote read. In the second one a login page is shown in
    // its place for two minutes.
    let with_login = || {
        let mut scenario = scenario(mode, &[5, 120, 10, 10, 10, 10, 60]);
        let from_ms = scenario.start_ms + 180_000;
        let login = (from_ms, from_ms + 120_000, Fault::LoginPage);
        scenario.home.outages = vec![login];
        scenario
    };
    runs_clean(with_login, Event::ReadBackfilled);
}

#[test]
fn the_date_of_a_proxy_moves_no_watermark_beyond_the_homes_clock() {
    for behind_ms in [45_000, 120_000, 240_000] {
        let with_own_date = || {
            let mut scenario = scenario(RemoteReadMode::Always, &[5, 30, 30, 200, 30, 30]);
            scenario.history.clock = HomeClock {
                steps: vec![(0, -behind_ms)],
            };
            scenario.home.date_off_ms = behind_ms;
            scenario
        };
        runs_clean(with_own_date, Event::ReadWindow);
    }
}

#[test]
fn what_the_homes_configuration_implies_is_read_again() {
    // Samples become visible up to 90 s late, and overlap: auto is 30 s until a late one was seen.
    let late = || {
        let mut scenario = scenario(RemoteReadMode::Always, &[5, 30, 30, 30, 30, 30]);
        scenario.history.lateness_ms = 90_000;
        scenario.yaml = scenario.yaml.replace("overlap: 40s", "overlap: auto");
        scenario.config = Config::load(&scenario.yaml, &|_| None, "late")
            .unwrap_or_else(|error| panic!("{error}"))
            .config;
        scenario.home.config = Some("scrape_configs: [{job_name: slow, scrape_interval: 85s}]");
        scenario
    };
    runs_clean(late, Event::ReadWindow);
}
