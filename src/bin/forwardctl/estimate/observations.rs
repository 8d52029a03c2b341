//! What the scrapes showed of the series: how many there are, and how many samples are new from one
//! scrape to the next.

use std::collections::HashMap;
use std::time::Duration;

use amp_forwarder::batch::{Batch, SplitError, decode};
use amp_forwarder::prompb::messages::TimeSeries;
use xxhash_rust::xxh3::xxh3_64;

/// Scrape intervals that are compared, in seconds.
pub(super) const INTERVALS: [u64; 3] = [15, 30, 60];

/// Seconds between two steps: the shortest interval, which divides the others.
pub(super) const STEP: u64 = INTERVALS[0];

/// A count for each of [`INTERVALS`].
pub(super) type IntervalCounts = [u64; INTERVALS.len()];

/// What all scrapes showed. They are steps that are [`STEP`] seconds apart.
#[derive(Default)]
pub(super) struct Observations {
    /// For each series, by the hash of its labels: its newest timestamp at the last scrape of each
    /// interval.
    newest_ms: HashMap<u64, [i64; INTERVALS.len()]>,
    metrics: HashMap<String, MetricObservations>,
    /// Scrapes that were compared with an earlier one.
    pub(super) rounds: IntervalCounts,
    /// Compressed bytes of all samples, as they would be posted.
    pub(super) bytes: u64,
    /// Samples of all steps, new or not.
    pub(super) samples: u64,
    /// Steps so far.
    pub(super) steps: u64,
    /// Duration of the slowest scrape, network included.
    pub(super) slowest_scrape: Duration,
}

/// What the scrapes showed of the series that share one name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct MetricObservations {
    /// Distinct series.
    pub(super) series: u64,
    /// New samples over all rounds.
    pub(super) fresh: IntervalCounts,
    /// Whether a series has the label `le` and so is a bucket of a classic histogram.
    pub(super) buckets: bool,
}

/// What identifies a series.
struct SeriesIdentity {
    /// Hash of all labels.
    hash: u64,
    name: String,
    /// Whether the series has the label `le`.
    is_bucket: bool,
}

impl SeriesIdentity {
    fn new(series: &TimeSeries) -> Self {
        let mut text = Vec::new();
        let (mut name, mut is_bucket) = (String::new(), false);
        for label in &series.labels {
            for part in [&label.name, &label.value] {
                text.extend_from_slice(part.as_bytes());
                // No UTF-8 text has this byte, so two label sets never give the same text.
                text.push(0xff);
            }
            match label.name.as_str() {
                "__name__" => name.clone_from(&label.value),
                "le" => is_bucket = true,
                _ => {}
            }
        }
        Self {
            hash: xxh3_64(&text),
            name,
            is_bucket,
        }
    }
}

/// The newest timestamp of a series' samples and histograms.
fn newest_timestamp(series: &TimeSeries) -> Option<i64> {
    let samples = series.samples.iter().map(|sample| sample.timestamp);
    let histograms = series
        .histograms
        .iter()
        .map(|histogram| histogram.timestamp);
    samples.chain(histograms).max()
}

impl Observations {
    /// Adds the batches of one step.
    ///
    /// # Errors
    /// When a batch cannot be decoded.
    pub(super) fn add_step(&mut self, batches: &[&Batch]) -> Result<(), SplitError> {
        // Each step is a scrape of the shortest interval, each second one of the next, and so on.
        let second = self.steps * STEP;
        let due = INTERVALS.map(|interval| second.is_multiple_of(interval));
        for batch in batches {
            self.bytes += batch.body.len() as u64;
            self.samples += u64::from(batch.samples);
            for series in decode(batch)?.timeseries {
                self.add_series(&series, due);
            }
        }
        // The first step has nothing to be compared with.
        if self.steps > 0 {
            for (rounds, due) in self.rounds.iter_mut().zip(due) {
                *rounds += u64::from(due);
            }
        }
        self.steps += 1;
        Ok(())
    }

    fn add_series(&mut self, series: &TimeSeries, due: [bool; INTERVALS.len()]) {
        let Some(newest) = newest_timestamp(series) else {
            return;
        };
        let SeriesIdentity {
            hash,
            name,
            is_bucket,
        } = SeriesIdentity::new(series);
        let known = self.newest_ms.contains_key(&hash);
        let last = self
            .newest_ms
            .entry(hash)
            .or_insert([i64::MIN; INTERVALS.len()]);
        let metric = self.metrics.entry(name).or_default();
        metric.buckets |= is_bucket;
        metric.series += u64::from(!known);
        // A sample is new to an interval when the interval's own last scrape did not show it.
        for index in 0..INTERVALS.len() {
            if due[index] && newest > last[index] {
                last[index] = newest;
                metric.fresh[index] += u64::from(self.steps > 0);
            }
        }
    }

    /// Notes the duration of a scrape.
    pub(super) fn add_duration(&mut self, duration: Duration) {
        self.slowest_scrape = self.slowest_scrape.max(duration);
    }

    /// Number of distinct series.
    pub(super) fn series(&self) -> u64 {
        self.newest_ms.len() as u64
    }

    /// New samples of a metric in each scrape. Without a second scrape, all samples count as new.
    pub(super) fn per_scrape(&self, metric: &MetricObservations) -> [f64; INTERVALS.len()] {
        std::array::from_fn(|index| match self.rounds[index] {
            0 => metric.series as f64,
            rounds => metric.fresh[index] as f64 / rounds as f64,
        })
    }

    /// The metrics with their names, in no order.
    pub(super) fn metrics(&self) -> impl Iterator<Item = (&str, &MetricObservations)> {
        self.metrics
            .iter()
            .map(|(name, metric)| (name.as_str(), metric))
    }

    /// The metrics that belong to classic histograms: `_bucket` with the label `le`, and the `_sum`
    /// and `_count` of the same family.
    pub(super) fn histograms(&self) -> impl Iterator<Item = (&str, &MetricObservations)> {
        let families = self
            .metrics
            .iter()
            .filter(|(_, metric)| metric.buckets)
            .filter_map(|(name, _)| name.strip_suffix("_bucket"));
        families
            .flat_map(move |family| {
                ["_bucket", "_sum", "_count"]
                    .into_iter()
                    .filter_map(move |part| self.metrics.get_key_value(&format!("{family}{part}")))
            })
            .map(|(name, metric)| (name.as_str(), metric))
    }
}

#[cfg(test)]
mod tests {
    use amp_forwarder::prompb::messages::{Label, Sample, TimeSeries, WriteRequest};
    use prost::Message as _;

    use super::*;

    fn batch(samples: &[(&str, Option<&str>, i64)]) -> Batch {
        let label = |name: &str, value: &str| Label {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        let timeseries = samples
            .iter()
            .map(|&(name, le, timestamp)| TimeSeries {
                labels: [label("__name__", name)]
                    .into_iter()
                    .chain(le.map(|le| label("le", le)))
                    .collect(),
                samples: vec![Sample {
                    value: 1.0,
                    timestamp,
                }],
                ..TimeSeries::default()
            })
            .collect::<Vec<_>>();
        let raw = WriteRequest { timeseries }.encode_to_vec();
        let body = snap::raw::Encoder::new().compress_vec(&raw).unwrap();
        Batch {
            body: body.into(),
            samples: samples.len() as u32,
            raw_len: raw.len() as u32,
            min_ms: 0,
            max_ms: 0,
        }
    }

    #[test]
    fn a_home_that_samples_each_half_minute_has_nothing_new_for_half_of_the_scrapes() {
        let mut observations = Observations::default();
        for second in [0, 15, 30, 45, 60] {
            observations
                .add_step(&[&batch(&[
                    ("up", None, second),
                    ("slow", None, second / 30 * 30),
                ])])
                .unwrap();
        }
        assert_eq!((observations.rounds, observations.series()), ([4, 2, 1], 2));
        let metric = |name| {
            observations
                .metrics()
                .find(|metric| metric.0 == name)
                .unwrap()
                .1
        };
        assert_eq!(observations.per_scrape(metric("up")), [1.0, 1.0, 1.0]);
        assert_eq!(observations.per_scrape(metric("slow")), [0.5, 1.0, 1.0]);
    }

    #[test]
    fn one_scrape_counts_all_samples_as_new_and_finds_histograms() {
        let mut observations = Observations::default();
        let samples = [
            ("h_bucket", Some("1")),
            ("h_bucket", Some("+Inf")),
            ("h_sum", None),
            ("h_count", None),
            ("not_bucket", None),
            ("x", Some("1")),
        ];
        observations
            .add_step(&[&batch(&samples.map(|(name, le)| (name, le, 1)))])
            .unwrap();
        let mut parts: Vec<_> = observations
            .histograms()
            .map(|(name, metric)| (name, metric.series))
            .collect();
        parts.sort_unstable();
        assert_eq!(parts, [("h_bucket", 2), ("h_count", 1), ("h_sum", 1)]);
        let bucket = observations
            .metrics()
            .find(|metric| metric.0 == "h_bucket")
            .unwrap()
            .1;
        assert_eq!(observations.per_scrape(bucket), [2.0, 2.0, 2.0]);
    }
}
