//! A model of the home Prometheus. Its series come and go, its answers may have faults, and it
//! records exactly what each scrape was shown.

mod faults;
mod noted;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use url::Url;

pub(crate) use self::faults::HomeHandle;
pub(crate) use self::noted::Shown;
use crate::events::Event;
use crate::series::{Labelling, Series, TargetLabels, final_labels};
use crate::world::{Key, SimWorld, identity, lock};

/// Names of the series that the forwarder adds to each scrape.
pub(crate) const OWN: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

/// Largest time by which a sample may be ahead of the forwarder's clock.
const MAX_AHEAD_MS: i64 = 600_000;

/// Traits of a home.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traits {
    pub(crate) series: usize,
    /// Probability that a scrape meets a fault.
    pub(crate) faults: f64,
    /// Lag of the second of two replicas behind one address, in milliseconds.
    pub(crate) lag_ms: Option<i64>,
    pub(crate) clock_off_ms: i64,
    /// True times, in milliseconds, from which on its clock is off by as much as stands beside
    /// them, in place of `clock_off_ms`.
    pub(crate) clock_steps: Vec<(i64, i64)>,
    /// Probability that a series is shown twice.
    pub(crate) twice: f64,
    /// Whether all targets show the same series.
    pub(crate) shared: bool,
    /// Whether the order of labels changes with each exposition.
    pub(crate) other_order: bool,
    /// Whether some series are ahead of time, or have no timestamps.
    pub(crate) odd_times: bool,
    /// Spans of whole minutes in which nothing answers.
    pub(crate) away: Vec<(i64, i64)>,
}

/// A target that the forwarder scrapes.
pub(crate) struct Target {
    pub(crate) job: String,
    pub(crate) instance: String,
    pub(crate) labels: TargetLabels,
    pub(crate) honor_timestamps: bool,
    pub(crate) sample_limit: u64,
    pub(crate) body_limit: u64,
}

impl Target {
    /// Whether the limits of samples fail a scrape of these lines and this many more.
    fn is_over_limit(&self, lines: &[Line], more: usize) -> bool {
        let limited = lines.iter().filter(|line| line.limited).count() + more;
        self.sample_limit > 0 && limited as u64 > self.sample_limit
    }
}

/// A sample that was shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    pub(crate) key: Key,
    pub(crate) timestamp_ms: i64,
    pub(crate) bits: u64,
    /// Whether its timestamp is further ahead than Prometheus accepts.
    pub(crate) too_far_ahead: bool,
    /// Whether the sample has no timestamp of its own, so that the series gets a stale marker when
    /// it is gone.
    pub(crate) tracked: bool,
    /// Whether `sample_limit` counts the sample. A repeated series without a timestamp is dropped
    /// before it is counted.
    limited: bool,
}

/// A sample that may be left to another scrape.
struct Left {
    key: Key,
    timestamp_ms: i64,
    /// When the last scrape ended that may have had it, as `start_ms` of a scrape.
    ended_ms: i64,
}

struct State {
    rng: Rng,
    series: Vec<Series>,
    shown: Vec<Shown>,
    expositions: u64,
    /// For each target, the series that it ever showed without a timestamp.
    tracked: Vec<HashSet<Key>>,
    /// Samples of whole scrapes that another scrape may take along, because it was under way and
    /// shows their series.
    left: Vec<Left>,
    /// Samples of scrapes that were dropped.
    dropped: HashSet<(Key, i64)>,
}

/// The model of the home.
pub(crate) struct HomeModel {
    world: Arc<SimWorld>,
    traits: Traits,
    labelling: Mutex<Labelling>,
    pub(crate) targets: Vec<Target>,
    state: Mutex<State>,
    /// Planted bug: a body that was cut looks like a whole one.
    pub(crate) hides_cuts: bool,
    /// Planted bug: samples of a scrape that was dropped count as sent.
    pub(crate) hides_dropped: bool,
    /// Whether the `memory_limit` is small enough to be reached.
    pub(crate) tight_memory: bool,
}

impl HomeModel {
    pub(crate) fn new(
        world: Arc<SimWorld>,
        traits: Traits,
        external: BTreeMap<String, String>,
        targets: Vec<Target>,
        mut rng: Rng,
    ) -> Self {
        let mut series: Vec<_> = (0..traits.series as u64)
            .map(|id| Series::draw(&mut rng, id, targets.len(), traits.shared))
            .collect();
        if traits.odd_times {
            for series in &mut series {
                match rng.u32(0..6) {
                    0 => series.has_timestamp = false,
                    1 => series.ahead_ms = rng.i64(0..MAX_AHEAD_MS * 2),
                    _ => {}
                }
            }
        }
        let state = State {
            rng,
            series,
            shown: Vec::new(),
            expositions: 0,
            left: Vec::new(),
            tracked: Vec::new(),
            dropped: HashSet::new(),
        };
        Self {
            world,
            traits,
            labelling: Mutex::new(Labelling {
                external,
                set: None,
            }),
            targets,
            state: Mutex::new(state),
            hides_cuts: false,
            hides_dropped: false,
            tight_memory: false,
        }
    }

    /// Lets the forwarder's configuration give other labels to all series from now on.
    pub(crate) fn relabel(&self, labelling: Labelling) {
        *lock(&self.labelling) = labelling;
        let mut state = lock(&self.state);
        state.series.iter_mut().for_each(Series::forget_keys);
    }

    /// Returns the key of a series that the forwarder adds to the scrapes of a target.
    pub(crate) fn own_key(&self, target: usize, name: &str) -> Key {
        let target = &self.targets[target].labels;
        let labels = TargetLabels {
            labels: target.labels.clone(),
            honor: true,
        };
        let external = &lock(&self.labelling).external;
        let labels = final_labels([("__name__", name)].into_iter(), &labels, external);
        self.world.key(&identity(
            labels
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        ))
    }

    fn place(&self, url: &Url) -> usize {
        let instance = format!(
            "{}:{}",
            url.host_str().unwrap_or_default(),
            url.port().unwrap_or_default()
        );
        self.targets
            .iter()
            .position(|target| target.instance == instance)
            .expect("only known targets are scraped")
    }

    /// By how much the home's clock is ahead of the true time now, milliseconds.
    fn clock_off_ms(&self) -> i64 {
        let now_ms = self.world.now_ms();
        let mut steps = self.traits.clock_steps.iter();
        let past = steps.rfind(|(from_ms, _)| *from_ms <= now_ms);
        past.map_or(self.traits.clock_off_ms, |(_, off_ms)| *off_ms)
    }

    /// Builds the exposition of a target at this moment.
    fn exposition(&self, at: usize, start_ms: i64) -> (Vec<Line>, Vec<String>) {
        let target = &self.targets[at];
        let labelling = lock(&self.labelling).clone();
        let mut state = lock(&self.state);
        let State {
            rng,
            series,
            dropped,
            ..
        } = &mut *state;
        let off_ms = self.clock_off_ms();
        let mut now_ms = self.world.now_ms() + off_ms;
        if off_ms != 0 {
            self.world.hit(Event::HomeClockOff);
        }
        if let Some(lag_ms) = self.traits.lag_ms.filter(|_| rng.bool()) {
            now_ms -= lag_ms;
            self.world.hit(Event::HomeGoesBack);
        }
        let (mut lines, mut texts) = (Vec::new(), Vec::new());
        for series in series.iter_mut().filter(|series| series.targets[at]) {
            if self.traits.shared && series.targets.len() > 1 {
                self.world.hit(Event::HomeSharedSeries);
            }
            if series.is_over(now_ms) {
                self.world.hit(Event::HomeSeriesEnds);
            }
            let Some(newest) = series.newest(now_ms) else {
                continue;
            };
            let key = series.key(&self.world, at, &target.labels, &labelling);
            let honored = series.has_timestamp && target.honor_timestamps;
            if !honored {
                self.world.hit(Event::HomeNoTimestamp);
                self.world.clocked(key);
            }
            let rotated = if self.traits.other_order {
                rng.usize(0..8)
            } else {
                0
            };
            if rotated > 0 {
                self.world.hit(Event::HomeOtherOrder);
            }
            let mut again = false;
            let mut show = |timestamp_ms: i64, value: f64| {
                let taken = if honored { timestamp_ms } else { start_ms };
                let too_far_ahead = taken > start_ms + MAX_AHEAD_MS;
                if too_far_ahead {
                    self.world.hit(Event::HomeTooFarAhead);
                }
                let limited = honored || !std::mem::replace(&mut again, true);
                let bits = value.to_bits();
                lines.push(Line {
                    key,
                    timestamp_ms: taken,
                    bits,
                    too_far_ahead,
                    tracked: !honored,
                    limited,
                });
                texts.push(series.line(
                    value,
                    series.has_timestamp.then_some(timestamp_ms),
                    rotated,
                ));
            };
            let at_time =
                |timestamp_ms: i64| series.value(if honored { timestamp_ms } else { start_ms });
            if self.world.exposed(key, newest).is_some() {
                self.world.hit(Event::HomeUnchanged);
            }
            if rng.f64() < self.traits.twice {
                self.world.hit(Event::HomeSeriesTwice);
                match rng.u32(0..3) {
                    0 => {
                        show(newest - 7, at_time(newest - 7));
                        show(newest, at_time(newest));
                    }
                    1 => {
                        show(newest, at_time(newest));
                        show(newest - 7, at_time(newest - 7));
                    }
                    _ => {
                        self.world.hit(Event::HomeSameTimeTwice);
                        show(newest, at_time(newest));
                        show(newest, 4242.0);
                    }
                }
            } else {
                show(newest, at_time(newest));
            }
        }
        if self.hides_dropped {
            for (_, text) in lines
                .iter()
                .zip(&mut texts)
                .filter(|(line, _)| dropped.contains(&(line.key, line.timestamp_ms)))
            {
                text.clear();
            }
        }
        (lines, texts)
    }
}
