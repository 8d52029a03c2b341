//! Native histograms as JSON. The fields are those of remote write, floats are strings, and buckets
//! have counts instead of differences.

use amp_forwarder::prompb::messages::{BucketSpan, Count, Histogram, ZeroCount};
use amp_forwarder::series::float;
use serde_json::{Value, json};

/// A histogram as `{"count":"3","sum":"1.5","schema":0,…}`, with `"float":true` when its counts are
/// floats.
pub(super) fn json(histogram: &Histogram) -> Value {
    let count = match histogram.count {
        Some(Count::Float(count)) => float::json(count),
        Some(Count::Int(count)) => count.to_string(),
        None => "0".to_owned(),
    };
    let zero_count = match histogram.zero_count {
        Some(ZeroCount::Float(count)) => float::json(count),
        Some(ZeroCount::Int(count)) => count.to_string(),
        None => "0".to_owned(),
    };
    let mut out = json!({
        "count": count,
        "sum": float::json(histogram.sum),
        "schema": histogram.schema,
        "zero_threshold": float::json(histogram.zero_threshold),
        "zero_count": zero_count,
        "float": matches!(histogram.count, Some(Count::Float(_))),
        "gauge": histogram.reset_hint == 3,
        "positive": buckets(
            &histogram.positive_spans,
            &histogram.positive_deltas,
            &histogram.positive_counts,
        ),
        "negative": buckets(
            &histogram.negative_spans,
            &histogram.negative_deltas,
            &histogram.negative_counts,
        ),
    });
    if !histogram.custom_values.is_empty() {
        out["custom_values"] = histogram
            .custom_values
            .iter()
            .map(|bound| Value::from(float::json(*bound)))
            .collect();
    }
    out
}

/// The buckets as `[[index, "count"], …]`. A histogram has either deltas of integer counts or float
/// counts, so the two are simply chained.
fn buckets(spans: &[BucketSpan], deltas: &[i64], counts: &[f64]) -> Value {
    let mut total = 0_i64;
    let absolute = deltas.iter().map(|delta| {
        total = total.wrapping_add(*delta);
        total.to_string()
    });
    let mut counts = absolute.chain(counts.iter().map(|count| float::json(*count)));
    // A span's offset is the gap to the end of the span before it.
    let mut index = 0_i64;
    let mut out = Vec::new();
    for span in spans {
        index += i64::from(span.offset);
        for _ in 0..span.length {
            let Some(count) = counts.next() else { break };
            out.push(json!([index, count]));
            index += 1;
        }
    }
    Value::from(out)
}
