//! What a run with a spool is made from, drawn or written by hand.

use amp_forwarder::config::Config;
use fastrand::Rng;

use super::Run;
use super::draw::{Tick, scenario, ticks};
use crate::scenario::Scenario;
use crate::series::Labelling;
use crate::store::Traits;
use crate::strangers::{plant_state, plant_strangers};

/// What a run is made from.
pub(super) struct Setting {
    pub(super) scenario: Scenario,
    /// The configurations between which the run changes.
    pub(super) configurations: Vec<Config>,
    /// For each of them, what its relabelling does.
    pub(super) rules: Vec<Rules>,
    pub(super) store: Traits,
    pub(super) ticks: Vec<Tick>,
    /// Whether the home may show samples that are older than what was sent.
    pub(super) is_disorderly: bool,
}

/// What the relabelling of a configuration does, said a second time: the forwarder's code is not
/// compared with itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    /// Label and value that `metric_relabel_configs` set.
    pub(super) set: Option<(&'static str, &'static str)>,
    /// Label and value whose series `write_relabel_configs` drop.
    pub(super) dropped: Option<(&'static str, &'static str)>,
}

impl Rules {
    /// Whether the series of this name is not sent.
    pub(super) fn drops(&self, name: &str) -> bool {
        self.dropped.is_some_and(|(label, value)| {
            name.split('\u{1f}')
                .any(|part| part.split_once('=') == Some((label, value)))
        })
    }
}

impl Setting {
    /// The labels that a configuration gives to all series.
    pub(super) fn labelling(&self, configuration: usize) -> Labelling {
        let set = self.rules[configuration].set;
        Labelling {
            external: self.configurations[configuration]
                .global
                .external_labels
                .clone(),
            set: set.map(|(name, value)| (name.to_owned(), value.to_owned())),
        }
    }
}

/// Draws the setting of a seed.
pub(super) fn draw(rng: &mut Rng) -> Setting {
    let (scenario, configurations) = scenario(rng);
    let ticks = ticks(rng, configurations.len());
    let bad = rng.u32(0..3);
    let from = scenario.start_ms + rng.i64(0..200_000);
    let store = Traits {
        faults: [0.0, 0.05, 0.3][bad as usize],
        outages: if bad > 0 && rng.u32(0..3) == 0 {
            vec![(from, from + rng.i64(1_000..120_000))]
        } else {
            vec![]
        },
        off_ms: if rng.bool() {
            0
        } else {
            rng.i64(-4_000_000..4_000_000)
        },
    };
    Setting {
        rules: vec![Rules::default(); configurations.len()],
        scenario,
        configurations,
        store,
        ticks,
        is_disorderly: false,
    }
}

impl Run {
    /// Puts into the spool of a seed what somebody else may have put there.
    pub(super) fn plant(&self, seed: u64) {
        // A generator of its own, so that the other draws of a seed stay what they are.
        let mut strangers = Rng::with_seed(seed ^ 0x57_4a_6e);
        let (world, objects) = (&self.world, &self.shared.objects);
        if seed.is_multiple_of(3) {
            plant_strangers(world, objects, self.dirs[0].as_str(), &mut strangers);
        }
        if strangers.u8(0..6) == 0 {
            let job = &self.setting.scenario.config.scrape_configs[0].job_name;
            let dirs: Vec<_> = self.dirs.iter().map(|dir| dir.as_str()).collect();
            plant_state(world, objects, job, &dirs);
        }
    }
}
