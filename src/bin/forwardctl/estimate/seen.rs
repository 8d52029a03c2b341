//! What was seen of the series: how many there are, and how many samples are new from scrape to
//! scrape.

use std::collections::HashMap;

use amp_forwarder::batch::{Batch, SplitError, decode};
use xxhash_rust::xxh3::xxh3_64;

/// Seconds between scrapes that are compared side by side.
pub(super) const INTERVALS: [u64; 3] = [15, 30, 60];

/// Steps are the shortest of them.
pub(super) const STEP: u64 = INTERVALS[0];

/// A count for each of [`INTERVALS`].
pub(super) type Each = [u64; INTERVALS.len()];

/// Everything that scrapes showed, at moments that are a [`STEP`] apart.
#[derive(Default)]
pub(super) struct Seen {
    /// By hash of the labels: the newest timestamp at the last scrape of each interval.
    last: HashMap<u64, [i64; INTERVALS.len()]>,
    metrics: HashMap<String, Metric>,
    /// Scrapes compared with an earlier one.
    pub(super) rounds: Each,
    /// Compressed bytes and samples posted, if all were.
    pub(super) bytes: u64,
    pub(super) samples: u64,
    /// Moments taken.
    pub(super) steps: u64,
}

/// The series of one name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Metric {
    pub(super) series: u64,
    /// New samples, over all rounds.
    pub(super) fresh: Each,
    /// Those of them that are parts of a classic histogram.
    pub(super) buckets: bool,
}

impl Seen {
    /// Takes one moment's batches.
    pub(super) fn scraped(&mut self, batches: &[&Batch]) -> Result<(), SplitError> {
        let second = self.steps * STEP;
        let due = INTERVALS.map(|interval| second.is_multiple_of(interval));
        for batch in batches {
            self.bytes += batch.body.len() as u64;
            self.samples += u64::from(batch.samples);
            for series in decode(batch)?.timeseries {
                let mut text = Vec::new();
                let (mut name, mut bucket) = (String::new(), false);
                for label in series.labels {
                    for part in [&label.name, &label.value] {
                        text.extend_from_slice(part.as_bytes());
                        text.push(0xff);
                    }
                    match label.name.as_str() {
                        "__name__" => name = label.value,
                        "le" => bucket = true,
                        _ => {}
                    }
                }
                let timestamps = series.samples.iter().map(|sample| sample.timestamp).chain(
                    series
                        .histograms
                        .iter()
                        .map(|histogram| histogram.timestamp),
                );
                let Some(newest) = timestamps.max() else {
                    continue;
                };
                let known = self.last.entry(xxh3_64(&text));
                let metric = self.metrics.entry(name).or_default();
                metric.buckets |= bucket;
                if matches!(known, std::collections::hash_map::Entry::Vacant(_)) {
                    metric.series += 1;
                }
                let last = known.or_insert([i64::MIN; INTERVALS.len()]);
                for index in 0..INTERVALS.len() {
                    if due[index] && newest > last[index] {
                        last[index] = newest;
                        metric.fresh[index] += u64::from(self.steps > 0);
                    }
                }
            }
        }
        if self.steps > 0 {
            for (rounds, due) in self.rounds.iter_mut().zip(due) {
                *rounds += u64::from(due);
            }
        }
        self.steps += 1;
        Ok(())
    }

    /// Series seen.
    pub(super) fn series(&self) -> u64 {
        self.last.len() as u64
    }

    /// New samples of a metric at each scrape; without a second scrape, all of them.
    pub(super) fn per_scrape(&self, metric: &Metric) -> [f64; INTERVALS.len()] {
        std::array::from_fn(|index| match self.rounds[index] {
            0 => metric.series as f64,
            rounds => metric.fresh[index] as f64 / rounds as f64,
        })
    }

    /// The metrics by name.
    pub(super) fn metrics(&self) -> impl Iterator<Item = (&str, &Metric)> {
        self.metrics
            .iter()
            .map(|(name, metric)| (name.as_str(), metric))
    }

    /// Series and names of classic histograms: `_bucket` with `le`, and its `_sum` and `_count`.
    pub(super) fn histograms(&self) -> impl Iterator<Item = (&str, &Metric)> {
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
    fn a_home_that_samples_each_half_minute_gives_half_of_the_scrapes_nothing_new() {
        let mut seen = Seen::default();
        for second in [0, 15, 30, 45, 60] {
            seen.scraped(&[&batch(&[
                ("up", None, second),
                ("slow", None, second / 30 * 30),
            ])])
            .unwrap();
        }
        assert_eq!((seen.rounds, seen.series()), ([4, 2, 1], 2));
        let metric = |name| seen.metrics().find(|metric| metric.0 == name).unwrap().1;
        assert_eq!(seen.per_scrape(metric("up")), [1.0, 1.0, 1.0]);
        assert_eq!(seen.per_scrape(metric("slow")), [0.5, 1.0, 1.0]);
    }

    #[test]
    fn one_look_takes_all_for_new_and_knows_histograms() {
        let mut seen = Seen::default();
        let samples = [
            ("h_bucket", Some("1")),
            ("h_bucket", Some("+Inf")),
            ("h_sum", None),
            ("h_count", None),
            ("not_bucket", None),
            ("x", Some("1")),
        ];
        seen.scraped(&[&batch(&samples.map(|(name, le)| (name, le, 1)))])
            .unwrap();
        let mut parts: Vec<_> = seen
            .histograms()
            .map(|(name, metric)| (name, metric.series))
            .collect();
        parts.sort_unstable();
        assert_eq!(parts, [("h_bucket", 2), ("h_count", 1), ("h_sum", 1)]);
        let bucket = seen
            .metrics()
            .find(|metric| metric.0 == "h_bucket")
            .unwrap()
            .1;
        assert_eq!(seen.per_scrape(bucket), [2.0, 2.0, 2.0]);
    }
}
