//! Floats, labels, summaries and classic histograms.

use super::*;

#[test]
fn floats_of_each_type() {
    let minus_zero = MetricMessage {
        untyped: single(-0.0),
        timestamp_ms: 5,
        ..labelled(&[("b", "2"), ("a", "1")])
    };
    let families = [
        family(
            "c",
            MetricType::Counter,
            vec![MetricMessage {
                counter: single(1.5),
                ..labelled(&[])
            }],
        ),
        family(
            "g.é",
            MetricType::Gauge,
            vec![MetricMessage {
                gauge: single(f64::INFINITY),
                timestamp_ms: -7,
                ..labelled(&[("x y", "\"\n\\")])
            }],
        ),
        family(
            "u",
            MetricType::Untyped,
            vec![
                minus_zero,
                MetricMessage {
                    untyped: single(f64::NAN),
                    ..labelled(&[("a", "")])
                },
            ],
        ),
        // A value of another type, and none at all.
        family(
            "m",
            MetricType::Gauge,
            vec![
                MetricMessage {
                    counter: single(1.5),
                    ..labelled(&[])
                },
                labelled(&[("a", "1")]),
            ],
        ),
        family("none", MetricType::Gauge, vec![]),
    ];
    assert_eq!(
        parsed(&families),
        [
            "=c 1.5",
            "=g.é x y=\"\n\\ +Inf @-7",
            "=u b=2 a=1 -0 @5",
            "=u a= NaN",
            "=m 0",
            "=m a=1 0"
        ]
    );
}

/// Encoders write the labels first, but any order is protobuf.
#[test]
fn labels_are_taken_wherever_they_are_and_however_long() {
    let long = "x".repeat(200);
    let encoded = |metric: MetricMessage| metric.encode_to_vec();
    let gauge = MetricMessage {
        gauge: single(5.0),
        ..MetricMessage::default()
    };
    let metric = [
        encoded(labelled(&[("a", "1"), ("b", &long), ("c", "2")])),
        encoded(gauge),
        encoded(labelled(&[("d", "3"), ("e", &long)])),
    ]
    .concat();
    let exposition = |metric: &[u8]| {
        let mut bytes = family("g", MetricType::Gauge, Vec::new()).encode_to_vec();
        bytes.push(0x22);
        bytes.extend(varint_bytes(metric.len() as u64));
        bytes.extend_from_slice(metric);
        [varint_bytes(bytes.len() as u64), bytes].concat()
    };
    let read = |metric: &[u8]| {
        let mut memory = Memory::default();
        ProtobufParser::default()
            .parse(&exposition(metric), true, &mut memory)
            .map(|_| memory.given)
            .map_err(|error| error.to_string())
    };
    assert_eq!(
        read(&metric),
        Ok(vec![format!("=g a=1 b={long} c=2 d=3 e={long} 5")])
    );
    // The last pair is cut: the metric ends within it.
    let short = encoded(labelled(&[("a", "1"), ("b", "2")]));
    for cut in 1..short.len() / 2 {
        let error = read(&short[..short.len() - cut]).expect_err("a metric that is cut");
        assert!(error.contains("ends within a field"), "{cut}: {error}");
    }
}

#[test]
fn summaries_and_classic_histograms() {
    let quantiles = vec![
        message::SummaryQuantile {
            quantile: 0.5,
            value: 2.0,
        },
        message::SummaryQuantile {
            quantile: 1.0,
            value: 3.0,
        },
    ];
    let summary = MetricMessage {
        summary: Some(message::Summary {
            count: 3,
            sum: 4.5,
            quantiles,
        }),
        ..labelled(&[("a", "1")])
    };
    assert_eq!(
        parsed(&[family(
            "s",
            MetricType::Summary,
            vec![summary, labelled(&[])]
        )]),
        [
            "=s_count a=1 3",
            "=s_sum a=1 4.5",
            "=s a=1 quantile=0.5 2",
            "=s a=1 quantile=1.0 3",
            "=s_count 0",
            "=s_sum 0"
        ]
    );
    let buckets = |bounds: &[f64]| {
        bounds
            .iter()
            .map(|bound| bucket(*bound, *bound as u64))
            .collect()
    };
    let histogram = message::ExposedHistogram {
        count: 9,
        sum: 1.0,
        buckets: buckets(&[1.0, 2.5]),
        ..Default::default()
    };
    let infinite = message::ExposedHistogram {
        count: 9,
        buckets: buckets(&[f64::INFINITY, 7.0]),
        ..Default::default()
    };
    let floats = message::ExposedHistogram {
        count: 9,
        count_float: 9.5,
        ..Default::default()
    };
    let metrics = [histogram, infinite, floats]
        .into_iter()
        .map(|histogram| MetricMessage {
            histogram: Some(histogram),
            ..labelled(&[])
        })
        .collect();
    assert_eq!(
        parsed(&[family("h", MetricType::Histogram, metrics)]),
        [
            "=h_count 9",
            "=h_sum 1",
            "=h_bucket le=1.0 1",
            "=h_bucket le=2.5 2",
            "=h_bucket le=+Inf 9",
            "=h_count 9",
            "=h_sum 0",
            &format!("=h_bucket le=+Inf {}", u64::MAX as f64),
            "=h_count 9.5",
            "=h_sum 0",
            "=h_bucket le=+Inf 9.5",
        ]
    );
}
