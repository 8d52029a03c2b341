//! Draws what the home has gathered: targets, rule groups and exporters with timestamps of their
//! own, each with its own way of being late.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::tsdb::{HomeClock, HomeSeries, StoredValue, Tsdb};

/// Traits of a home's history.
#[derive(Debug, Clone)]
pub(crate) struct Traits {
    /// Series without those that the home adds.
    pub(crate) series: usize,
    /// Latest that a sample becomes visible after its timestamp, in milliseconds. What comes out of
    /// order may be later.
    pub(crate) lateness_ms: i64,
    /// Whether some series are native histograms, or change to them and back.
    pub(crate) histograms: bool,
    /// Whether samples are also taken out of order.
    pub(crate) out_of_order: bool,
    /// Whether the home has an external label, which makes some label sets the same.
    pub(crate) external: bool,
    /// The home's clock.
    pub(crate) clock: HomeClock,
}

/// Something that writes samples of several series at once.
struct Source {
    interval_ms: i64,
    phase_ms: i64,
    /// Time from the timestamp to the commit: at least, and at most.
    lateness_ms: (i64, i64),
    /// Series by their place.
    series: Vec<usize>,
    /// True time from which on it is gone. Its series end with a stale marker.
    ends_ms: i64,
    /// The series `up` of a target that sometimes hangs.
    up: Option<usize>,
}

/// Kinds of values that a series has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ValueKind {
    Floats,
    Histograms,
    Both,
}

const NAMES: &[&str] = &[
    "node_load1",
    "a",
    "job:rate:5m",
    "http_requests_total",
    "b:c",
];

/// Draws a database with all samples that the home gathers from one true time to another.
pub(crate) fn draw(rng: &mut Rng, traits: &Traits, from_ms: i64, to_ms: i64) -> Tsdb {
    let mut tsdb = Tsdb {
        clock: traits.clock.clone(),
        ..Tsdb::default()
    };
    if traits.external {
        tsdb.external
            .insert("cluster".to_owned(), "home".to_owned());
    }
    let sources = sources(rng, traits, &mut tsdb, from_ms, to_ms);
    let kinds: Vec<_> = (0..tsdb.series.len())
        .map(|_| match rng.u32(0..6) {
            0 if traits.histograms => ValueKind::Histograms,
            1 if traits.histograms => ValueKind::Both,
            _ => ValueKind::Floats,
        })
        .collect();
    for source in &sources {
        gather(rng, source, &kinds, &mut tsdb, from_ms, to_ms);
    }
    if traits.out_of_order {
        backfill(rng, &mut tsdb, from_ms, to_ms);
    }
    tsdb
}

fn labels(rng: &mut Rng, id: usize, traits: &Traits) -> Vec<(String, String)> {
    let name = NAMES[rng.usize(0..NAMES.len())];
    let mut labels = BTreeMap::from([("__name__", name.to_owned()), ("id", id.to_string())]);
    let values = ["one", "ü", "q\"q", "back\\slash", "new\nline", "x=\"y\",z"];
    for label in ["job", "instance", "le", "site", "exported_job"] {
        if rng.u32(0..3) == 0 {
            labels.insert(label, values[rng.usize(0..values.len())].to_owned());
        }
    }
    if traits.external && rng.u32(0..4) == 0 {
        labels.insert("cluster", "other".to_owned());
    }
    labels
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Draws sources, and makes their series.
fn sources(
    rng: &mut Rng,
    traits: &Traits,
    tsdb: &mut Tsdb,
    from_ms: i64,
    to_ms: i64,
) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut left = traits.series;
    while left > 0 {
        let count = rng.usize(1..=left.min(6));
        left -= count;
        let first = tsdb.series.len();
        for id in first..first + count {
            let labels = labels(rng, id, traits);
            let pairs = || {
                labels
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str()))
            };
            tsdb.series.push(HomeSeries::new(pairs()));
            if traits.external && rng.u32(0..6) == 0 {
                // Under the external label this one has the same label set.
                let twin = pairs()
                    .filter(|(name, _)| *name != "cluster")
                    .chain([("cluster", "home")]);
                tsdb.series.push(HomeSeries::new(twin));
            }
        }
        let series: Vec<_> = (first..tsdb.series.len()).collect();
        let worst_ms = traits.lateness_ms;
        let lateness_ms = match rng.u32(0..5) {
            // A target that answers at once, or one that takes its time.
            0 | 1 => (0, worst_ms.min(200)),
            2 => (0, worst_ms),
            // A rule group with a query_offset, or an exporter with timestamps of its own.
            3 => (worst_ms * 3 / 4, worst_ms),
            _ => (worst_ms, worst_ms),
        };
        let up = (rng.u32(0..2) == 0).then(|| {
            let instance = format!("target{}:9100", tsdb.series.len());
            tsdb.series.push(HomeSeries::new([
                ("__name__", "up"),
                ("instance", instance.as_str()),
                ("job", "node"),
            ]));
            tsdb.series.len() - 1
        });
        let intervals: [i64; 6] = [1_000, 5_000, 7_500, 10_000, 15_000, 30_000];
        sources.push(Source {
            interval_ms: intervals[rng.usize(0..intervals.len())],
            phase_ms: rng.i64(0..60_000),
            lateness_ms,
            series,
            ends_ms: match rng.u32(0..5) {
                0 => rng.i64(from_ms..to_ms),
                _ => i64::MAX,
            },
            up,
        });
    }
    sources
}

fn value(rng: &mut Rng, kind: ValueKind) -> StoredValue {
    let histogram = match kind {
        ValueKind::Floats => false,
        ValueKind::Histograms => true,
        ValueKind::Both => rng.u32(0..4) == 0,
    };
    if histogram {
        return StoredValue::Histogram(rng.u64(1..1_000_000));
    }
    let float = match rng.u32(0..40) {
        // The one that a text means (`model/value/value.go` `NormalNaN`).
        0 => f64::from_bits(0x7ff8_0000_0000_0001),
        1 => f64::INFINITY,
        2 => f64::NEG_INFINITY,
        // −0 is a zero for protobuf in Go, so that a read does not show it.
        3 => 0.0,
        _ => rng.u32(..) as f64 / 8.0,
    };
    StoredValue::Float(float.to_bits())
}

/// Writes all samples of a source.
fn gather(
    rng: &mut Rng,
    source: &Source,
    kinds: &[ValueKind],
    tsdb: &mut Tsdb,
    from_ms: i64,
    to_ms: i64,
) {
    let clock = tsdb.clock.clone();
    let mut last = vec![None; tsdb.series.len()];
    let (least_ms, most_ms) = source.lateness_ms;
    let mut true_ms = (from_ms - source.phase_ms).div_euclid(source.interval_ms)
        * source.interval_ms
        + source.phase_ms;
    while true_ms < to_ms {
        true_ms += source.interval_ms;
        let timestamp_ms = clock.at(true_ms);
        let gone = true_ms >= source.ends_ms;
        let hangs = source.up.is_some() && rng.u32(0..12) == 0;
        // A target that hangs is known to be down when its time-out has passed.
        let commit_ms = true_ms
            + if hangs || gone {
                most_ms
            } else {
                rng.i64(least_ms..=most_ms)
            };
        let mut append = |series: usize, value| {
            tsdb.series[series].append(timestamp_ms, value, commit_ms);
        };
        for &series in &source.series {
            let shown = !gone && !hangs && rng.u32(0..20) > 0;
            match (shown, last[series]) {
                (true, _) => {
                    let value = value(rng, kinds[series]);
                    append(series, value);
                    last[series] = Some(value);
                }
                (false, Some(StoredValue::Float(_))) => {
                    append(series, StoredValue::STALE);
                    last[series] = None;
                }
                (false, Some(_)) => {
                    append(series, StoredValue::StaleHistogram);
                    last[series] = None;
                }
                (false, None) => {}
            }
        }
        if let Some(up) = source.up {
            let value = if gone {
                StoredValue::STALE
            } else {
                StoredValue::Float(f64::from(u8::from(!hangs)).to_bits())
            };
            append(up, value);
        }
        if gone {
            return;
        }
    }
}

/// Adds samples behind the newest one of their series, long after their time.
fn backfill(rng: &mut Rng, tsdb: &mut Tsdb, from_ms: i64, to_ms: i64) {
    for _ in 0..rng.usize(1..20) {
        let series = rng.usize(0..tsdb.series.len());
        let timestamp_ms = rng.i64(from_ms..to_ms);
        let commit_ms = timestamp_ms + rng.i64(0..200_000);
        tsdb.series[series].insert(timestamp_ms, StoredValue::Float(77), commit_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traits(rng: &mut Rng) -> Traits {
        Traits {
            series: rng.usize(1..20),
            lateness_ms: rng.i64(0..60_000),
            histograms: rng.bool(),
            out_of_order: rng.bool(),
            external: rng.bool(),
            clock: HomeClock {
                steps: vec![(0, rng.i64(-100_000..100_000)), (300_000, 0)],
            },
        }
    }

    #[test]
    fn no_sample_is_later_than_the_traits_say() {
        let (mut all, mut late) = (0, 0);
        for seed in 0..200 {
            let mut rng = Rng::with_seed(seed);
            let traits = traits(&mut rng);
            let tsdb = draw(&mut rng, &traits, 0, 600_000);
            let samples: Vec<_> = tsdb.series.iter().flat_map(HomeSeries::samples).collect();
            all += samples.len();
            for series in &tsdb.series {
                let times: Vec<_> = series.samples().iter().map(|s| s.timestamp_ms).collect();
                assert!(times.is_sorted(), "seed {seed}: {times:?}");
            }
            for sample in samples.into_iter().filter(|sample| !sample.out_of_order) {
                let lateness_ms = traits.clock.at(sample.visible_ms) - sample.timestamp_ms;
                let jump = sample.visible_ms >= 300_000
                    && sample.visible_ms < 300_000 + traits.lateness_ms;
                assert!(
                    jump || lateness_ms <= traits.lateness_ms,
                    "seed {seed}: {sample:?}"
                );
                late += u32::from(lateness_ms > 30_000);
            }
        }
        assert!(all > 100_000 && late > 1_000, "{late} of {all}");
    }
}
