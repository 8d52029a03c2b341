//! Native histograms, and histograms with both kinds.

use super::*;

fn spans(spans: &[(i32, u32)]) -> Vec<crate::prompb::messages::BucketSpan> {
    spans
        .iter()
        .map(|&(offset, length)| crate::prompb::messages::BucketSpan { offset, length })
        .collect()
}

fn native() -> message::ExposedHistogram {
    message::ExposedHistogram {
        count: 10,
        sum: 3.0,
        schema: 2,
        zero_threshold: 0.001,
        zero_count: 2,
        // The second and the last bucket are empty, the spans touch.
        positive_spans: spans(&[(-2, 2), (0, 2), (3, 1)]),
        positive_deltas: vec![3, -3, 4, 1, -5],
        ..Default::default()
    }
}

#[test]
fn native_histograms() {
    let floats = message::ExposedHistogram {
        count_float: 7.5,
        zero_count_float: 0.5,
        zero_threshold: 1.0,
        negative_spans: spans(&[(5, 2)]),
        negative_counts: vec![3.0, 4.0],
        // Of the other kind: not looked at.
        count: 3,
        positive_deltas: vec![1],
        ..Default::default()
    };
    let nothing_yet = message::ExposedHistogram {
        positive_spans: spans(&[(0, 0)]),
        ..Default::default()
    };
    let of = |histogram: &message::ExposedHistogram, timestamp_ms| MetricMessage {
        histogram: Some(histogram.clone()),
        timestamp_ms,
        ..labelled(&[("a", "1")])
    };
    let families = [
        family(
            "h",
            MetricType::Histogram,
            vec![
                of(&native(), 5),
                of(&floats, 0),
                of(&nothing_yet, 0),
                of(&Default::default(), 0),
            ],
        ),
        family("h", MetricType::GaugeHistogram, vec![of(&native(), 6)]),
        family(
            "classic",
            MetricType::Histogram,
            vec![
                of(
                    &message::ExposedHistogram {
                        count: 1,
                        ..Default::default()
                    },
                    0,
                ),
                of(&native(), 0),
            ],
        ),
    ];
    let whole = "Int(10)/Int(2) schema 2 + [(-2, 1), (1, 2)][3, 1, 1][] - [][][]";
    assert_eq!(
        parsed(&families),
        [
            &format!("=h a=1 {whole} hint 0 @5"),
            "=h a=1 Float(7.5)/Float(0.5) schema 0 + [][][] - [(5, 2)][][3.0, 4.0] hint 0",
            "=h a=1 Int(0)/Int(0) schema 0 + [][][] - [][][] hint 0",
            // The first metric says it for the family.
            "=h a=1 Int(0)/Int(0) schema 0 + [][][] - [][][] hint 0",
            &format!("=h a=1 {whole} hint 3 @6"),
            "=classic_count a=1 1",
            "=classic_sum a=1 0",
            "=classic_bucket a=1 le=+Inf 1",
            "=classic_count a=1 10",
            "=classic_sum a=1 3",
            "=classic_bucket a=1 le=+Inf 10",
        ]
    );
}

#[test]
fn both_kinds_of_a_histogram_on_request() {
    let both = message::ExposedHistogram {
        buckets: vec![bucket(1.0, 4)],
        ..native()
    };
    let metric = MetricMessage {
        histogram: Some(both),
        ..labelled(&[])
    };
    let body = body(&[family("h", MetricType::Histogram, vec![metric])]);
    let of = |native, always_classic| {
        let (given, ended) = parsed_as(
            &body,
            HistogramFormats {
                native,
                always_classic,
            },
        );
        assert_eq!(ended, Ok(()));
        given
            .iter()
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(of(true, false), ["=h"]);
    assert_eq!(
        of(true, true),
        ["=h", "=h_count", "=h_sum", "=h_bucket", "=h_bucket"]
    );
    assert_eq!(
        of(false, false),
        ["=h_count", "=h_sum", "=h_bucket", "=h_bucket"]
    );
}
