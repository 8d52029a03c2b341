//! All samples that an end holds, to the bit, as remote read hands them out.

use std::collections::BTreeMap;

use amp_forwarder::intake::histogram_limits::compact;
use amp_forwarder::prompb::messages::{Histogram, TimeSeries};
use amp_forwarder_support::{Labels, read};
use prost::Message as _;

/// `Histogram.ResetHint` of a gauge histogram.
const GAUGE: i32 = 3;

/// Floats by their bits and native histograms, by label set and time. Markers are floats.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) floats: BTreeMap<Labels, BTreeMap<i64, u64>>,
    /// Messages without their empty buckets.
    pub(crate) histograms: BTreeMap<Labels, BTreeMap<i64, Vec<u8>>>,
}

impl Held {
    /// Reads all series that have a label of this name from a Prometheus.
    pub(crate) async fn read(url: &str, label: &str, from_ms: i64, until_ms: i64) -> Self {
        let mut held = Self::default();
        for series in read::read(url, label, from_ms, until_ms).await.unwrap() {
            // The tests' own message as one of ours.
            held.add(&TimeSeries::decode(&*series.encode_to_vec()).unwrap());
        }
        held
    }

    pub(crate) fn add(&mut self, series: &TimeSeries) {
        let labels: Labels = series
            .labels
            .iter()
            .map(|label| (label.name.clone(), label.value.clone()))
            .collect();
        for sample in &series.samples {
            let of_series = self.floats.entry(labels.clone()).or_default();
            let before = of_series.insert(sample.timestamp, sample.value.to_bits());
            assert_eq!(before, None, "{labels:?} at {}", sample.timestamp);
        }
        for histogram in &series.histograms {
            // A home that meets a new bucket writes it into the older samples of the chunk, too. So
            // the same sample may have other empty buckets when it is read again.
            let mut histogram = histogram.clone();
            compact(&mut histogram);
            let of_series = self.histograms.entry(labels.clone()).or_default();
            of_series.insert(histogram.timestamp, histogram.encode_to_vec());
        }
    }

    pub(crate) fn samples(&self) -> usize {
        let floats: usize = self.floats.values().map(BTreeMap::len).sum();
        floats + self.histograms.values().map(BTreeMap::len).sum::<usize>()
    }

    /// Every sample by series and time, for two ends that are to be equal.
    ///
    /// A hint of a reset says where a chunk begins, and the chunks of two ends differ. That of a
    /// gauge stays.
    pub(crate) fn by_time(&self) -> BTreeMap<(Labels, i64), String> {
        let mut all = BTreeMap::new();
        for (labels, samples) in &self.floats {
            let of = |(at, bits): (&i64, &u64)| ((labels.clone(), *at), format!("{bits:#x}"));
            all.extend(samples.iter().map(of));
        }
        for (labels, samples) in &self.histograms {
            all.extend(samples.iter().map(|(at, message)| {
                let mut histogram = Histogram::decode(&**message).unwrap();
                if histogram.reset_hint != GAUGE {
                    histogram.reset_hint = 0;
                }
                ((labels.clone(), *at), format!("{histogram:?}"))
            }));
        }
        all
    }
}
