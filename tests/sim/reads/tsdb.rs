//! A model of the home's database: every raw sample, and from when on it can be seen.
//!
//! Two clocks matter. Timestamps are the home's, which may be off and may jump. When a sample is
//! committed, and so visible, is a matter of true time.

use std::collections::BTreeMap;

use amp_forwarder::prompb::STALE_NAN;
use amp_forwarder::prompb::messages::{
    BucketSpan, Count, Histogram, Label, Sample, TimeSeries, ZeroCount,
};

/// Value of a raw sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoredValue {
    /// Bits of a float; a stale marker is one of them.
    Float(u64),
    /// A native histogram with this number of observations.
    Histogram(u64),
    /// The stale marker of a series that was a histogram (`tsdb/head_append.go` `Append`).
    StaleHistogram,
}

impl StoredValue {
    pub(crate) const STALE: Self = Self::Float(STALE_NAN);

    pub(crate) fn is_stale(self) -> bool {
        matches!(self, Self::Float(STALE_NAN) | Self::StaleHistogram)
    }

    /// Number that stands for the value where values are compared.
    pub(crate) fn bits(self) -> u64 {
        match self {
            Self::Float(bits) => bits,
            Self::Histogram(observations) => HISTOGRAM ^ observations,
            Self::StaleHistogram => STALE_NAN,
        }
    }
}

/// Marks the bits that stand for a histogram. As a float they would be a NaN that no home draws.
const HISTOGRAM: u64 = 0x7ff9_0000_0000_0000;

/// Number that stands for a histogram as a receiver got it. See [`StoredValue::bits`].
pub(crate) fn histogram_bits(histogram: &Histogram) -> u64 {
    if histogram.sum.to_bits() == STALE_NAN {
        return STALE_NAN;
    }
    match histogram.count {
        Some(Count::Int(observations))
            if *histogram == of_observations(observations, histogram.timestamp) =>
        {
            HISTOGRAM ^ observations
        }
        _ => u64::MAX,
    }
}

fn of_observations(observations: u64, timestamp: i64) -> Histogram {
    Histogram {
        count: Some(Count::Int(observations)),
        sum: observations as f64 / 4.0,
        schema: 3,
        zero_threshold: 1e-128,
        zero_count: Some(ZeroCount::Int(0)),
        positive_spans: vec![BucketSpan {
            offset: 2,
            length: 1,
        }],
        positive_deltas: vec![observations as i64],
        timestamp,
        ..Histogram::default()
    }
}

/// A raw sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawSample {
    /// Milliseconds since 1970 by the home's clock.
    pub(crate) timestamp_ms: i64,
    pub(crate) value: StoredValue,
    /// True time from which on it is visible.
    pub(crate) visible_ms: i64,
    /// Whether the home took it behind the newest sample of its series.
    pub(crate) out_of_order: bool,
}

/// A series of the home.
#[derive(Debug, Clone, Default)]
pub(crate) struct HomeSeries {
    /// Labels with `__name__`, without the home's external labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Samples in the order of their timestamps.
    samples: Vec<RawSample>,
}

impl HomeSeries {
    pub(crate) fn new<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self {
            labels: labels
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            samples: Vec::new(),
        }
    }

    pub(crate) fn samples(&self) -> &[RawSample] {
        &self.samples
    }

    /// Appends a sample that is committed at this true time. One that is not newer than the newest
    /// is refused, as by a home without an out-of-order window.
    ///
    /// What is visible of a series is always a prefix in time (`tsdb/isolation.go`): a sample shows
    /// no earlier than those before it.
    pub(crate) fn append(&mut self, timestamp_ms: i64, value: StoredValue, commit_ms: i64) {
        let newest = self.samples.last();
        if newest.is_some_and(|newest| newest.timestamp_ms >= timestamp_ms) {
            return;
        }
        let before_ms = self
            .samples
            .iter()
            .rev()
            .find(|sample| !sample.out_of_order)
            .map_or(i64::MIN, |sample| sample.visible_ms);
        self.samples.push(RawSample {
            timestamp_ms,
            value,
            visible_ms: commit_ms.max(before_ms),
            out_of_order: false,
        });
    }

    /// Inserts a sample behind the newest one. It becomes visible whatever comes after it, but not
    /// before the sample that it comes too late for.
    pub(crate) fn insert(&mut self, timestamp_ms: i64, value: StoredValue, commit_ms: i64) {
        let place = self
            .samples
            .partition_point(|sample| sample.timestamp_ms < timestamp_ms);
        match self.samples.get(place) {
            Some(next) if next.timestamp_ms > timestamp_ms => {
                let visible_ms = commit_ms.max(next.visible_ms);
                self.samples.insert(
                    place,
                    RawSample {
                        timestamp_ms,
                        value,
                        visible_ms,
                        out_of_order: true,
                    },
                );
            }
            _ => {}
        }
    }

    /// Samples of a range, both ends included, that are visible at this true time.
    pub(crate) fn range(
        &self,
        start_ms: i64,
        end_ms: i64,
        now_ms: i64,
    ) -> impl Iterator<Item = &RawSample> {
        let from = self
            .samples
            .partition_point(|sample| sample.timestamp_ms < start_ms);
        self.samples[from..]
            .iter()
            .take_while(move |sample| sample.timestamp_ms <= end_ms)
            .filter(move |sample| sample.visible_ms <= now_ms)
    }

    /// The newest sample in the look-back before a time of the home, as an instant query sees it at
    /// this true time (`web/federate.go`). A stale marker hides what is before it.
    pub(crate) fn instant(&self, at_ms: i64, look_back_ms: i64, now_ms: i64) -> Option<&RawSample> {
        self.range(at_ms - look_back_ms, at_ms, now_ms)
            .last()
            .filter(|sample| !sample.value.is_stale())
    }

    /// The message of a range as remote read has it, or nothing if it has no sample.
    pub(crate) fn message(
        &self,
        external: &BTreeMap<String, String>,
        start_ms: i64,
        end_ms: i64,
        now_ms: i64,
    ) -> Option<TimeSeries> {
        let mut series = TimeSeries::default();
        for sample in self.range(start_ms, end_ms, now_ms) {
            let timestamp = sample.timestamp_ms;
            match sample.value {
                StoredValue::Float(bits) => series.samples.push(Sample {
                    value: f64::from_bits(bits),
                    timestamp,
                }),
                StoredValue::Histogram(observations) => {
                    series
                        .histograms
                        .push(of_observations(observations, timestamp));
                }
                StoredValue::StaleHistogram => series.histograms.push(Histogram {
                    sum: f64::from_bits(STALE_NAN),
                    timestamp,
                    ..Histogram::default()
                }),
            }
        }
        if series.samples.is_empty() && series.histograms.is_empty() {
            return None;
        }
        series.labels = with_external(&self.labels, external)
            .into_iter()
            .map(|(name, value)| Label { name, value })
            .collect();
        Some(series)
    }
}

/// Labels of a series as the home's API shows them: its external labels are added to the series that
/// have no label of that name (`storage/remote/codec.go` `MergeLabels`).
pub(crate) fn with_external(
    labels: &BTreeMap<String, String>,
    external: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut merged = external.clone();
    merged.extend(labels.clone());
    merged
}

/// The home's clock: by how much it is ahead of true time, from which true time on.
#[derive(Debug, Clone, Default)]
pub(crate) struct HomeClock {
    /// Steps in the order of time.
    pub(crate) steps: Vec<(i64, i64)>,
}

impl HomeClock {
    /// The home's time at a true time.
    pub(crate) fn at(&self, true_ms: i64) -> i64 {
        let off_ms = self
            .steps
            .iter()
            .rev()
            .find(|(from_ms, _)| *from_ms <= true_ms)
            .map_or(0, |(_, off_ms)| *off_ms);
        true_ms + off_ms
    }
}

impl HomeClock {
    /// The largest time that the clock has shown up to a true time.
    pub(crate) fn highest(&self, true_ms: i64) -> i64 {
        let before = self.steps.iter().map(|(from_ms, _)| from_ms - 1);
        before
            .filter(|step_ms| (0..true_ms).contains(step_ms))
            .map(|step_ms| self.at(step_ms))
            .max()
            .map_or(self.at(true_ms), |highest| highest.max(self.at(true_ms)))
    }
}

/// The home's database.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tsdb {
    pub(crate) external: BTreeMap<String, String>,
    pub(crate) clock: HomeClock,
    pub(crate) series: Vec<HomeSeries>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(series: &HomeSeries, start_ms: i64, end_ms: i64, now_ms: i64) -> Vec<i64> {
        series
            .range(start_ms, end_ms, now_ms)
            .map(|sample| sample.timestamp_ms)
            .collect()
    }

    #[test]
    fn what_is_visible_is_a_prefix_but_for_what_came_out_of_order() {
        let mut series = HomeSeries::default();
        series.append(10, StoredValue::Float(1), 100);
        series.append(20, StoredValue::Float(2), 50);
        series.append(20, StoredValue::Float(3), 50);
        series.append(30, StoredValue::Float(4), 130);
        series.insert(15, StoredValue::Float(5), 200);
        series.insert(40, StoredValue::Float(6), 200);
        series.insert(25, StoredValue::Float(7), 110);
        assert_eq!(floats(&series, 0, 100, 99), Vec::<i64>::new());
        assert_eq!(floats(&series, 0, 100, 100), [10, 20]);
        assert_eq!(floats(&series, 0, 100, 129), [10, 20]);
        assert_eq!(floats(&series, 0, 100, 130), [10, 20, 25, 30]);
        assert_eq!(floats(&series, 0, 100, 200), [10, 15, 20, 25, 30]);
        assert_eq!(
            floats(&series, 15, 20, 200),
            [15, 20],
            "both ends are included"
        );
    }

    #[test]
    fn an_instant_looks_back_and_a_marker_hides() {
        let mut series = HomeSeries::default();
        series.append(1_000, StoredValue::Float(7), 1_000);
        series.append(2_000, StoredValue::STALE, 2_500);
        let at = |at_ms, now_ms| {
            series
                .instant(at_ms, 300_000, now_ms)
                .map(|sample| sample.timestamp_ms)
        };
        assert_eq!(at(999, 9_999), None);
        assert_eq!(at(1_000, 9_999), Some(1_000));
        assert_eq!(
            at(2_100, 2_499),
            Some(1_000),
            "the marker is not committed yet"
        );
        assert_eq!(at(2_100, 2_500), None);
        assert_eq!(
            at(301_000, 2_499),
            Some(1_000),
            "the look-back has its start"
        );
        assert_eq!(at(301_001, 2_499), None);
    }

    #[test]
    fn a_message_has_floats_histograms_and_external_labels() {
        let mut series = HomeSeries::new([("__name__", "m"), ("site", "own")]);
        series.append(1, StoredValue::Float(2.5_f64.to_bits()), 1);
        series.append(2, StoredValue::Histogram(8), 2);
        series.append(3, StoredValue::StaleHistogram, 3);
        let external = BTreeMap::from([
            ("site".to_owned(), "home".to_owned()),
            ("zone".to_owned(), "z".to_owned()),
        ]);
        let message = series.message(&external, 0, 9, 9).expect("it has samples");
        let labels: Vec<_> = message
            .labels
            .iter()
            .map(|label| format!("{}={}", label.name, label.value))
            .collect();
        assert_eq!(labels, ["__name__=m", "site=own", "zone=z"]);
        assert_eq!(message.samples.len(), 1);
        let bits: Vec<_> = message.histograms.iter().map(histogram_bits).collect();
        let stored: Vec<_> = series.samples()[1..]
            .iter()
            .map(|sample| sample.value.bits())
            .collect();
        assert_eq!(bits, stored);
        assert_eq!(series.message(&external, 4, 9, 9), None);
        let mut changed = message.histograms[0].clone();
        changed.sum += 1.0;
        assert_eq!(
            histogram_bits(&changed),
            u64::MAX,
            "a changed histogram is another value"
        );
    }

    #[test]
    fn a_clock_that_jumps() {
        let clock = HomeClock {
            steps: vec![(100, 5), (200, -50)],
        };
        assert_eq!([99, 100, 200].map(|ms| clock.at(ms)), [99, 105, 150]);
        assert_eq!(
            [99, 100, 199, 200, 300].map(|ms| clock.highest(ms)),
            [99, 105, 204, 204, 250]
        );
    }
}
