//! Seeds with a spool that have something more: a home that is out of order or is set, other labels
//! and jobs while something is owed, a tick that panics, or hundreds of ticks.
//!
//! All of it comes from a generator of its own, so that the other seeds stay what they are.

use std::sync::Arc;

use amp_forwarder::config::Config;
use fastrand::Rng;

use super::Run;
use super::draw::{Kind, pick, ticks};
use super::setting::{self, Rules, Setting};
use crate::events::Hits;
use crate::planted::Bug;
use crate::run::Outcome;
use crate::scenario::ROOMY;
use crate::setup::on_paused_clock;

/// Number of ticks of a process that stays for hours.
const MANY: usize = 300;

/// Seeds whose processes are not both at work while the store is away: the checks would end there.
const LONG_SEEDS: [u64; 2] = [0, 1];

/// Runs a seed with a spool and something more.
pub(crate) fn seed(seed: u64, hits: &Arc<Hits>, tells: bool, bug: Option<Bug>) -> Outcome {
    run(seed, hits, tells, bug, |setting, rng| {
        disturb_home(setting, rng);
        if rng.bool() {
            change(setting, rng);
        }
        for tick in &mut setting.ticks {
            if rng.u32(0..12) == 0 && matches!(tick.kind, Kind::Whole) {
                tick.kind = Kind::PanicsAtPost(rng.u32(0..20));
            }
        }
    })
}

/// Runs a seed of hundreds of ticks.
fn long_seed(seed: u64, hits: &Arc<Hits>) -> Outcome {
    run(seed, hits, true, None, |setting, rng| {
        setting.scenario.memory_limit = ROOMY;
        while setting.ticks.len() < MANY {
            let more = ticks(rng, setting.configurations.len());
            setting.ticks.extend(more);
        }
        // The troubles of the receivers come again each hour.
        for receiver in &mut setting.scenario.receivers {
            let outages = receiver.outages.clone();
            for hour in 1..8 {
                let later_ms = hour * 3_600_000;
                let again = outages.iter();
                let again = again
                    .map(|(from_ms, to_ms, fault)| (from_ms + later_ms, to_ms + later_ms, *fault));
                receiver.outages.extend(again);
            }
        }
    })
}

fn run(
    seed: u64,
    hits: &Arc<Hits>,
    tells: bool,
    bug: Option<Bug>,
    disturb: impl FnOnce(&mut Setting, &mut Rng),
) -> Outcome {
    on_paused_clock(|| async move {
        let mut rng = Rng::with_seed(seed ^ 0xd150_4de4);
        let mut setting = setting::draw(&mut rng);
        disturb(&mut setting, &mut rng);
        let run = Run::new(setting, rng, hits, tells, bug);
        run.tell(&format!("seed {seed} with a spool and disorder"));
        run.all().await
    })
}

/// Draws what is wrong with the home: its order, its clock, or that two targets show the same.
fn disturb_home(setting: &mut Setting, rng: &mut Rng) {
    let scenario = &mut setting.scenario;
    let home = &mut scenario.home;
    setting.is_disorderly = true;
    let mut any_order = true;
    match rng.u32(0..6) {
        0 | 1 => {
            home.shared = true;
            // A target whose timestamps do not count gives the series newer ones, and another
            // process does not know of them.
            let jobs = &scenario.config.scrape_configs;
            any_order = jobs.iter().any(|job| !job.honor_timestamps);
        }
        2 => home.lag_ms = Some(rng.i64(1_000..40_000)),
        3 => home.clock_off_ms = pick(rng, &[-7_200_000, -3_480_000, -200_000, 300_000, 700_000]),
        4 => {
            let from_ms = scenario.start_ms + rng.i64(0..300_000);
            let off_ms = pick(rng, &[-600_000, -90_000, -20_000, 60_000, 500_000]);
            let until_ms = from_ms + rng.i64(60_000..600_000);
            home.clock_steps = vec![(from_ms, off_ms), (until_ms, 0)];
        }
        _ => {
            home.twice = 0.3;
            home.odd_times = true;
        }
    }
    for receiver in &mut scenario.receivers {
        receiver.any_order = any_order;
        receiver.forgetful = true;
    }
}

/// Adds a configuration with other labels and other jobs, and changes to it and back.
fn change(setting: &mut Setting, rng: &mut Rng) {
    let mut config = setting.configurations[0].clone();
    let mut rules = Rules::default();
    if rng.bool() {
        let site = pick(rng, &["elsewhere", "home"]);
        config.global.external_labels = [("site", site), ("a", "external")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    }
    if rng.bool() {
        rules.set = Some(("moved", "there"));
    }
    if rng.bool() {
        rules.dropped = Some(("id", "3"));
    }
    rules.apply(&mut config);
    if rng.bool() && config.scrape_configs.len() > 1 {
        config.scrape_configs.pop();
    }
    setting.configurations.push(config);
    setting.rules.push(rules);
    for tick in &mut setting.ticks {
        if rng.u32(0..3) == 0 {
            tick.configuration = Some(rng.usize(0..setting.configurations.len()));
        }
    }
}

impl Rules {
    /// Gives a configuration the relabelling that does the same.
    pub(super) fn apply(&self, config: &mut Config) {
        let set = self
            .set
            .map(|(label, value)| format!("{{target_label: {label}, replacement: {value}}}"));
        let dropped = self.dropped.map(|(label, value)| {
            format!("{{source_labels: [{label}], regex: '{value}', action: drop}}")
        });
        let yaml = format!(
            "scrape_configs:\n  - {{job_name: a, metric_relabel_configs: [{}], \
             static_configs: [{{targets: ['a:9090']}}]}}\n\
             remote_write:\n  - {{name: r, url: 'https://r/', write_relabel_configs: [{}]}}\n",
            set.unwrap_or_default(),
            dropped.unwrap_or_default()
        );
        let parsed = Config::load(&yaml, &|_| None, "rules")
            .unwrap_or_else(|error| panic!("{error}\n{yaml}"))
            .config;
        for job in &mut config.scrape_configs {
            job.metric_relabel_configs
                .clone_from(&parsed.scrape_configs[0].metric_relabel_configs);
        }
        for remote in &mut config.remote_write {
            remote
                .write_relabel_configs
                .clone_from(&parsed.remote_write[0].write_relabel_configs);
        }
    }
}

#[test]
fn hundreds_of_ticks_in_one_run() {
    for seed in LONG_SEEDS {
        let hits = Arc::new(Hits::default());
        let Outcome { findings, story } = long_seed(seed, &hits);
        let ticks = story.iter().filter(|line| line[10..].starts_with("tick: "));
        assert!(
            findings.is_empty() && ticks.count() >= MANY,
            "seed {seed}\n{}",
            story.join("\n")
        );
    }
}
