//! Values as texts that are different for different values.

use std::collections::BTreeMap;

use amp_forwarder_support::Labels;
use amp_forwarder_support::gateway::wire::{
    BucketSpan, Histogram, HistogramCount, HistogramZeroCount, TimeSeries,
};
use serde_json::Value;

/// Prometheus' stale marker.
pub(super) const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

/// Its samples as texts.
pub(super) fn texts(series: TimeSeries) -> (Labels, BTreeMap<i64, String>) {
    let labels = series
        .labels
        .into_iter()
        .map(|label| (label.name, label.value))
        .collect();
    let floats = series
        .samples
        .iter()
        .map(|sample| (sample.timestamp, float(sample.value)));
    let histograms = series
        .histograms
        .iter()
        .map(|histogram| (histogram.timestamp, self::histogram(histogram)));
    (labels, floats.chain(histograms).collect())
}

/// Formats a value as a text, bit by bit with two exceptions. Of the kinds of NaN only the stale
/// marker matters. The sign of −0 is lost in Prometheus' remote read, by which it is asked.
pub(super) fn float(value: f64) -> String {
    if value.to_bits() == STALE_NAN {
        "stale".to_owned()
    } else {
        (value + 0.0).to_string()
    }
}

/// A native histogram, as `preview` prints it.
fn histogram(histogram: &Histogram) -> String {
    // The TSDB keeps no more of a stale marker than that it is one.
    if histogram.sum.to_bits() == STALE_NAN {
        return float(histogram.sum);
    }
    let json = amp_forwarder::series::float::json;
    let (count, is_float) = match histogram.count {
        Some(HistogramCount::Float(count)) => (json(count), true),
        Some(HistogramCount::Int(count)) => (count.to_string(), false),
        None => panic!("{histogram:?}"),
    };
    let zero_count = match histogram.zero_count {
        Some(HistogramZeroCount::Float(count)) => json(count),
        Some(HistogramZeroCount::Int(count)) => count.to_string(),
        None => panic!("{histogram:?}"),
    };
    assert!(histogram.custom_values.is_empty(), "{histogram:?}");
    let positive = buckets(
        &histogram.positive_spans,
        &histogram.positive_deltas,
        &histogram.positive_counts,
    );
    let negative = buckets(
        &histogram.negative_spans,
        &histogram.negative_deltas,
        &histogram.negative_counts,
    );
    let shown = serde_json::json!({
        "count": count,
        "sum": json(histogram.sum),
        "schema": histogram.schema,
        "zero_threshold": json(histogram.zero_threshold),
        "zero_count": zero_count,
        "float": is_float,
        "gauge": histogram.reset_hint == 3,
        "positive": positive,
        "negative": negative,
    });
    shown.to_string()
}

fn buckets(spans: &[BucketSpan], deltas: &[i64], counts: &[f64]) -> Value {
    let indices = spans.iter().scan(0_i32, |next, span| {
        let first = *next + span.offset;
        *next = first + i32::try_from(span.length).unwrap();
        Some(first..*next)
    });
    let totals = deltas.iter().scan(0, |total, delta| {
        *total += delta;
        Some(total.to_string())
    });
    let counts = totals.chain(
        counts
            .iter()
            .map(|count| amp_forwarder::series::float::json(*count)),
    );
    indices
        .flatten()
        .zip(counts)
        .map(|(index, count)| serde_json::json!([index, count]))
        .collect()
}
