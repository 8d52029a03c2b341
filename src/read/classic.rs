//! Native histograms with custom buckets as the classic series that `/federate` shows.
//!
//! Since Prometheus 3.9 a federation shows such a histogram as a classic one in every format
//! (`web/federate.go` `makeClassicHistogram`): `_bucket`, `_count` and `_sum`, floats each.

use std::collections::BTreeMap;

use prost::Message as _;

use crate::prompb::TimedFloat;
use crate::prompb::messages::{Count, Histogram, Label, TimeSeries};
use crate::series::float;
use crate::series::labels::NAME;

/// The classic series of some histograms of one series: each with the fields `TimeSeries.labels`,
/// by which it is known as any other, and its samples. The histograms are sorted by time.
///
/// `labels` are those of the histograms' series, decoded. A histogram without bounds gives none: a
/// home before 3.10 does not say them.
pub(super) fn classic_series(
    labels: &[(&str, &str)],
    histograms: &[Histogram],
) -> Vec<(Vec<u8>, Vec<TimedFloat>)> {
    // By suffix and bound. Bounds may change from one histogram to the next.
    let mut series: BTreeMap<(&str, Option<String>), Vec<TimedFloat>> = BTreeMap::new();
    for histogram in histograms {
        if histogram.custom_values.is_empty() {
            continue;
        }
        let mut add = |suffix, bound: Option<f64>, value| {
            let key = (suffix, bound.map(float::open_metrics));
            series.entry(key).or_default().push(TimedFloat {
                value,
                timestamp_ms: histogram.timestamp,
            });
        };
        let count = match histogram.count {
            Some(Count::Int(count)) => count as f64,
            Some(Count::Float(count)) => count,
            None => 0.0,
        };
        add("_count", None, count);
        add("_sum", None, histogram.sum);
        let counts = bucket_counts(histogram);
        let mut cumulative = 0.0;
        for (index, &bound) in (0_i64..).zip(&histogram.custom_values) {
            cumulative += counts.get(&index).copied().unwrap_or_default();
            add("_bucket", Some(bound), cumulative);
        }
        // The formats add the last bucket, with all observations.
        if histogram.custom_values.last() != Some(&f64::INFINITY) {
            add("_bucket", Some(f64::INFINITY), count);
        }
    }
    series
        .into_iter()
        .map(|((suffix, bound), floats)| (encoded(labels, suffix, bound), floats))
        .collect()
}

/// Observations of each bucket that has some, by the bucket's index.
fn bucket_counts(histogram: &Histogram) -> BTreeMap<i64, f64> {
    let mut running = 0_i64;
    let deltas = histogram.positive_deltas.iter().map(|delta| {
        running = running.wrapping_add(*delta);
        running as f64
    });
    let mut counts = deltas.chain(histogram.positive_counts.iter().copied());
    let (mut index, mut found) = (0_i64, BTreeMap::new());
    for span in &histogram.positive_spans {
        index = index.saturating_add(i64::from(span.offset));
        for _ in 0..span.length {
            // A span that is longer than the buckets ends with them.
            let Some(count) = counts.next() else {
                return found;
            };
            found.insert(index, count);
            index = index.saturating_add(1);
        }
    }
    found
}

/// The fields `TimeSeries.labels`, sorted by name.
fn encoded(labels: &[(&str, &str)], suffix: &str, bound: Option<String>) -> Vec<u8> {
    let mut labels: Vec<_> = labels
        .iter()
        .filter(|(name, _)| bound.is_none() || *name != "le")
        .map(|&(name, value)| Label {
            name: name.to_owned(),
            value: match name {
                NAME => format!("{value}{suffix}"),
                _ => value.to_owned(),
            },
        })
        .collect();
    labels.extend(bound.map(|value| Label {
        name: "le".to_owned(),
        value,
    }));
    labels.sort_by(|a, b| a.name.cmp(&b.name));
    TimeSeries {
        labels,
        ..TimeSeries::default()
    }
    .encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompb::messages::BucketSpan;

    fn shown(histograms: &[Histogram]) -> Vec<(String, Vec<(i64, f64)>)> {
        classic_series(
            &[("__name__", "h"), ("job", "x"), ("zone", "z")],
            histograms,
        )
        .into_iter()
        .map(|(labels, floats)| {
            let labels = TimeSeries::decode(&*labels).unwrap().labels;
            let labels = labels
                .iter()
                .map(|label| format!("{}={}", label.name, label.value));
            let floats = floats.iter().map(|float| (float.timestamp_ms, float.value));
            (labels.collect::<Vec<_>>().join(","), floats.collect())
        })
        .collect()
    }

    #[test]
    fn custom_buckets_are_classic_ones() {
        let span = |offset, length| BucketSpan { offset, length };
        let ints = Histogram {
            schema: -53,
            count: Some(Count::Int(9)),
            sum: 4.5,
            positive_spans: vec![span(0, 1), span(1, 2)],
            // 3 in the first, none in the second, 1 in the third, 5 beyond the last bound.
            positive_deltas: vec![3, -2, 4],
            custom_values: vec![0.5, 1.0, 10.0],
            timestamp: 7,
            ..Histogram::default()
        };
        let floats = Histogram {
            count: Some(Count::Float(2.5)),
            positive_spans: vec![span(1, 1)],
            positive_deltas: vec![],
            positive_counts: vec![2.5],
            timestamp: 8,
            ..ints.clone()
        };
        let unbounded = Histogram {
            custom_values: vec![],
            timestamp: 9,
            ..ints.clone()
        };
        let labels = |name: &str, le: &str| format!("__name__={name},job=x{le},zone=z");
        assert_eq!(
            shown(&[ints, floats, unbounded]),
            [
                (labels("h_bucket", ",le=+Inf"), vec![(7, 9.0), (8, 2.5)]),
                (labels("h_bucket", ",le=0.5"), vec![(7, 3.0), (8, 0.0)]),
                (labels("h_bucket", ",le=1.0"), vec![(7, 3.0), (8, 2.5)]),
                (labels("h_bucket", ",le=10.0"), vec![(7, 4.0), (8, 2.5)]),
                (labels("h_count", ""), vec![(7, 9.0), (8, 2.5)]),
                (labels("h_sum", ""), vec![(7, 4.5), (8, 4.5)]),
            ]
        );
    }
}
