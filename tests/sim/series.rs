//! The series of the home, and the labels that Prometheus' rules give them. The rules are
//! implemented a second time here, so that the forwarder's code is not compared with itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fastrand::Rng;

use crate::world::{Key, SimWorld, identity};

/// A series as its home exposes it.
pub(crate) struct Series {
    id: u64,
    /// Labels in the order of the exposition, without `__name__`. Values may be empty.
    labels: Vec<(String, String)>,
    name: String,
    /// Whether each target shows the series.
    pub(crate) targets: Vec<bool>,
    interval_ms: i64,
    phase_ms: i64,
    /// The series exists for `alive_ms` of each `cycle_ms`.
    cycle_ms: i64,
    alive_ms: i64,
    /// Whether the series is shown for five minutes after its end, as without a stale marker.
    lingers: bool,
    pub(crate) has_timestamp: bool,
    /// Milliseconds by which its timestamps are ahead of the home's clock.
    pub(crate) ahead_ms: i64,
    keys: Vec<Option<Key>>,
}

const NAMES: &[&str] = &[
    "up",
    "node_cpu_seconds_total",
    "a",
    "job:rate:5m",
    "http_bucket",
    "go_goroutines",
    "bad_series",
    "scrape_duration_seconds",
];
const LABELS: &[&str] = &[
    "job",
    "instance",
    "cluster",
    "__replica__",
    "le",
    "zone",
    "exported_job",
    "exported_instance",
    "a",
    "Z",
    "_",
    "site",
];
const VALUES: &[&str] = &[
    "",
    "one",
    "two",
    "0.5",
    "+Inf",
    "ü",
    "sp ace",
    "a\\b",
    "q\"q",
    "new\nline",
    "x=\"y\",z",
    "}",
    "#",
    "home",
    "longer than the others, by far",
];

impl Series {
    pub(crate) fn draw(rng: &mut Rng, id: u64, targets: usize, shared: bool) -> Self {
        let mut labels: Vec<(String, String)> = Vec::new();
        let mut names = LABELS.to_vec();
        rng.shuffle(&mut names);
        for name in names.iter().take(rng.usize(0..6)) {
            labels.push((
                (*name).to_owned(),
                VALUES[rng.usize(0..VALUES.len())].to_owned(),
            ));
        }
        let mut shown = vec![shared; targets];
        if shared {
            // All targets give it the same labels.
            labels.retain(|(name, _)| name != "job" && name != "instance");
            labels.extend([
                ("job".to_owned(), "shared".to_owned()),
                ("instance".to_owned(), "i".to_owned()),
            ]);
        } else {
            shown[rng.usize(0..targets)] = true;
        }
        labels.push(("id".to_owned(), id.to_string()));
        rng.shuffle(&mut labels);
        let cycle_ms = rng.i64(30_000..600_000);
        let lives_on = rng.u32(0..3) > 0;
        Self {
            id,
            labels,
            name: NAMES[rng.usize(0..NAMES.len())].to_owned(),
            targets: shown,
            interval_ms: [1_000, 5_000, 10_000, 15_000, 30_000, 60_000][rng.usize(0..6)],
            phase_ms: rng.i64(0..60_000),
            cycle_ms,
            alive_ms: if lives_on {
                cycle_ms
            } else {
                rng.i64(10_000..cycle_ms)
            },
            lingers: rng.bool(),
            has_timestamp: true,
            ahead_ms: 0,
            keys: vec![None; targets],
        }
    }

    /// Returns the timestamp of its newest sample, if it is shown.
    pub(crate) fn newest(&self, now_ms: i64) -> Option<i64> {
        let alive = |t: i64| (t + self.phase_ms).rem_euclid(self.cycle_ms) < self.alive_ms;
        let shown_for = if self.lingers { 300_000 } else { 0 };
        if !self.lingers && !alive(now_ms) {
            return None;
        }
        let mut t = (now_ms - self.phase_ms).div_euclid(self.interval_ms) * self.interval_ms
            + self.phase_ms;
        let oldest = now_ms - shown_for.max(self.interval_ms);
        while !alive(t) {
            t -= self.interval_ms;
            if t < oldest {
                return None;
            }
        }
        Some(t + self.ahead_ms)
    }

    /// Whether the series has ended; it may come back.
    pub(crate) fn is_over(&self, now_ms: i64) -> bool {
        (now_ms + self.phase_ms).rem_euclid(self.cycle_ms) >= self.alive_ms
    }

    /// Returns its value at a time, which depends on nothing else.
    pub(crate) fn value(&self, timestamp_ms: i64) -> f64 {
        let mixed =
            Rng::with_seed(self.id.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ timestamp_ms as u64)
                .u64(..);
        match mixed % 40 {
            0 => f64::from_bits(0x7ff8_0000_0000_0001),
            1 => f64::INFINITY,
            2 => f64::NEG_INFINITY,
            3 => -0.0,
            4 => 0.0,
            5 => 1e300,
            _ => (mixed >> 20) as f64 / 8.0,
        }
    }

    /// Writes a line of the exposition.
    pub(crate) fn line(&self, value: f64, timestamp_ms: Option<i64>, rotated: usize) -> String {
        let mut line = String::with_capacity(96);
        line.push_str(&self.name);
        line.push('{');
        for index in 0..self.labels.len() {
            let (name, text) = &self.labels[(index + rotated) % self.labels.len()];
            let _ = write!(line, "{}{name}=\"", if index > 0 { "," } else { "" });
            for c in text.chars() {
                match c {
                    '\\' => line.push_str("\\\\"),
                    '"' => line.push_str("\\\""),
                    '\n' => line.push_str("\\n"),
                    c => line.push(c),
                }
            }
            line.push('"');
        }
        line.push_str("} ");
        if value.is_infinite() {
            line.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
        } else {
            let _ = write!(line, "{value}");
        }
        if let Some(timestamp_ms) = timestamp_ms {
            let _ = write!(line, " {timestamp_ms}");
        }
        line.push('\n');
        line
    }

    /// Works out the keys anew: the configuration gives other labels from now on.
    pub(crate) fn forget_keys(&mut self) {
        self.keys.fill(None);
    }

    /// Returns the key of the series as the receiver sees it.
    pub(crate) fn key(
        &mut self,
        world: &SimWorld,
        at: usize,
        target: &TargetLabels,
        labelling: &Labelling,
    ) -> Key {
        let (name, labels) = (&self.name, &self.labels);
        *self.keys[at].get_or_insert_with(|| {
            let exposed = labels
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .chain([("__name__", name.as_str())]);
            let mut labels = final_labels(exposed, target, &labelling.external);
            labels.extend(labelling.set.clone());
            world.key(&identity(
                labels
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str())),
            ))
        })
    }
}

/// Labels that a configuration gives to the series of all targets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Labelling {
    pub(crate) external: BTreeMap<String, String>,
    /// What `metric_relabel_configs` set, whatever the home shows. It is no external label.
    pub(crate) set: Option<(String, String)>,
}

/// Labels that a target adds.
pub(crate) struct TargetLabels {
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) honor: bool,
}

/// Applies Prometheus' label rules for `honor_labels`, and then adds the external labels.
pub(crate) fn final_labels<'a>(
    exposed: impl Iterator<Item = (&'a str, &'a str)>,
    target: &TargetLabels,
    external: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let exposed: BTreeMap<&str, &str> = exposed.collect();
    let mut labels: BTreeMap<String, String> = exposed
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let mut own: Vec<_> = target.labels.iter().collect();
    own.sort_by_key(|(name, _)| name.len());
    let mut moved = Vec::new();
    for (name, value) in own {
        if target.honor {
            if !exposed.contains_key(name.as_str()) {
                labels.insert(name.clone(), value.clone());
            }
        } else if let Some(conflicting) = labels.insert(name.clone(), value.clone()) {
            moved.push((name, conflicting));
        }
    }
    for (name, value) in moved {
        let mut name = format!("exported_{name}");
        while labels.contains_key(&name) {
            name.insert_str(0, "exported_");
        }
        labels.insert(name, value);
    }
    for (name, value) in external {
        labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    labels
}
