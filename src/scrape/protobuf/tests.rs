//! What the parser makes of families, however the bytes are cut and whatever the sink knows.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::intake::{ExposedSample, Refusal};
use crate::prompb::Value;
use crate::series::ExposedLabel;
use crate::series::float;

/// The messages as their encoder sees them.
#[derive(Clone, PartialEq, prost::Message)]
struct FamilyMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    help: String,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metrics: Vec<MetricMessage>,
    #[prost(string, tag = "5")]
    unit: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MetricMessage {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Pair>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Single>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Single>,
    #[prost(message, optional, tag = "4")]
    summary: Option<message::Summary>,
    #[prost(message, optional, tag = "5")]
    untyped: Option<Single>,
    #[prost(int64, tag = "6")]
    timestamp_ms: i64,
    #[prost(message, optional, tag = "7")]
    histogram: Option<message::ExposedHistogram>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// With its value even when it is zero, as Go writes it.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Single {
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
}

fn single(value: f64) -> Option<Single> {
    Some(Single { value: Some(value) })
}

fn labelled(labels: &[(&str, &str)]) -> MetricMessage {
    let labels = labels
        .iter()
        .map(|(name, value)| Pair {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        })
        .collect();
    MetricMessage {
        labels,
        ..MetricMessage::default()
    }
}

fn family(name: &str, kind: MetricType, metrics: Vec<MetricMessage>) -> FamilyMessage {
    FamilyMessage {
        name: name.to_owned(),
        kind: kind as i32,
        metrics,
        ..FamilyMessage::default()
    }
}

fn body(families: &[FamilyMessage]) -> Vec<u8> {
    families
        .iter()
        .flat_map(prost::Message::encode_length_delimited_to_vec)
        .collect()
}

/// A series with its value as a short text.
fn shown(labels: &[(String, String)], sample: &ExposedSample<'_>) -> String {
    let labels: Vec<_> = labels
        .iter()
        .map(|(name, value)| format!("{}={value}", if name == "__name__" { "" } else { name }))
        .collect();
    let value = match sample.value {
        Value::Float(value) => float::json(value),
        Value::Histogram(histogram) => format!(
            "{:?}/{:?} schema {} + {:?}{:?}{:?} - {:?}{:?}{:?} hint {}",
            histogram.count.unwrap(),
            histogram.zero_count.unwrap(),
            histogram.schema,
            histogram
                .positive_spans
                .iter()
                .map(|span| (span.offset, span.length))
                .collect::<Vec<_>>(),
            histogram.positive_deltas,
            histogram.positive_counts,
            histogram
                .negative_spans
                .iter()
                .map(|span| (span.offset, span.length))
                .collect::<Vec<_>>(),
            histogram.negative_deltas,
            histogram.negative_counts,
            histogram.reset_hint,
        ),
    };
    format!(
        "{} {value}{}",
        labels.join(" "),
        sample
            .timestamp_ms
            .map(|at| format!(" @{at}"))
            .unwrap_or_default()
    )
}

/// Remembers the series it has seen, as a cache does.
#[derive(Debug, Default, Clone)]
struct Memory {
    series: BTreeMap<Vec<u8>, Vec<(String, String)>>,
    given: Vec<String>,
    resolved: usize,
}

impl Sink for Memory {
    fn known(&mut self, sample: &ExposedSample<'_>) -> Result<bool, Refusal> {
        let known = self
            .series
            .get(sample.series)
            .map(|labels| shown(labels, sample));
        let is_known = known.is_some();
        self.given.extend(known);
        Ok(is_known)
    }

    fn resolved(
        &mut self,
        sample: &ExposedSample<'_>,
        labels: &[ExposedLabel<'_>],
    ) -> Result<(), Refusal> {
        for ExposedLabel { name, value, span } in labels {
            let Some(span) = span else { continue };
            assert_eq!(
                &sample.series[span.value as usize..][..value.len()],
                value.as_bytes()
            );
            assert!(
                name == "__name__"
                    || &sample.series[span.name as usize..][..name.len()] == name.as_bytes()
            );
        }
        let labels: Vec<_> = labels
            .iter()
            .map(|label| (label.name.to_string(), label.value.to_string()))
            .collect();
        self.resolved += 1;
        self.given.push(shown(&labels, sample));
        self.series.insert(sample.series.to_vec(), labels);
        Ok(())
    }
}

fn parse(
    body: &[u8],
    ends: impl IntoIterator<Item = usize>,
    histograms: HistogramFormats,
    sink: &mut Memory,
) -> Result<(), ExpositionError> {
    let mut parser = ProtobufParser::new(histograms);
    let mut done = 0;
    for end in ends
        .into_iter()
        .map(|end| end.min(body.len()))
        .chain([body.len()])
    {
        done += parser.parse(&body[done..end.max(done)], false, sink)?;
    }
    done += parser.parse(&body[done..], true, sink)?;
    assert_eq!(done, body.len());
    Ok(())
}

/// The one result of a body: in one block, in every two, byte by byte, and by a sink that knows it
/// all.
fn parsed_as(
    body: &[u8],
    histograms: HistogramFormats,
) -> (Vec<String>, Result<(), ExpositionError>) {
    let mut whole = Memory::default();
    let ended = parse(body, [], histograms, &mut whole);
    let splits = (0..=body.len())
        .map(|at| vec![at])
        .chain([(0..=body.len()).collect()]);
    for ends in splits {
        let mut cut = Memory::default();
        assert_eq!(
            parse(body, ends.clone(), histograms, &mut cut),
            ended,
            "cut at {ends:?}"
        );
        assert_eq!(cut.given, whole.given, "cut at {ends:?}");
        let mut warm = Memory {
            series: whole.series.clone(),
            ..Memory::default()
        };
        assert_eq!(parse(body, ends, histograms, &mut warm), ended);
        assert_eq!((&warm.given, warm.resolved), (&whole.given, 0));
    }
    (whole.given, ended)
}

fn parsed(families: &[FamilyMessage]) -> Vec<String> {
    let (given, ended) = parsed_as(&body(families), HistogramFormats::default());
    assert_eq!(ended, Ok(()));
    given
}

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

fn bucket(upper_bound: f64, count: u64) -> message::ClassicBucket {
    let bytes = [
        vec![0x08],
        varint_bytes(count),
        vec![0x11],
        upper_bound.to_le_bytes().to_vec(),
    ]
    .concat();
    message::ClassicBucket::decode(&*bytes).unwrap()
}

fn varint_bytes(value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    crate::prompb::wire::varint(&mut bytes, value);
    bytes
}

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

#[test]
fn what_is_refused() {
    let metric = || {
        vec![MetricMessage {
            gauge: single(1.0),
            ..labelled(&[])
        }]
    };
    let good = family("g", MetricType::Gauge, metric());
    let bytes = body(std::slice::from_ref(&good));
    let message = good.encode_to_vec();
    // prost would order the fields.
    let late_name = [&message[3..], &message[..3]].concat();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (bytes[..bytes.len() - 1].to_vec(), "ends within a message"),
        ([&bytes[..], &[0x80]].concat(), "ends within a message"),
        (
            [&bytes[..], &[0x80, 0x80, 0x80, 0x80, 0x80, 0x01]].concat(),
            "no varint of 32 bits",
        ),
        (
            [&bytes[..], &[0x02, 0x22, 0x05, 0, 0, 0, 0, 0]].concat(),
            "a family ends within a field",
        ),
        ([&bytes[..], &[0x02, 0x0b, 0x0c]].concat(), "wire type 3"),
        (
            [&bytes[..], &[0x02, 0x08, 0x01]].concat(),
            "wrong wire type for field Name",
        ),
        (
            [&bytes[..], &[0x02, 0x00, 0x01]].concat(),
            "illegal field number 0",
        ),
        (
            body(&[family("", MetricType::Gauge, metric())]),
            "invalid metric name",
        ),
        (
            body(&[FamilyMessage {
                kind: 6,
                ..family("g", MetricType::Gauge, metric())
            }]),
            "unknown metric type for metric \"g\"",
        ),
        (
            body(&[FamilyMessage {
                unit: "s".to_owned(),
                ..family("g", MetricType::Gauge, metric())
            }]),
            "unit \"s\" not a suffix of metric \"g\"",
        ),
        (
            body(&[family("g", MetricType::Gauge, vec![labelled(&[("", "x")])])]),
            "",
        ),
        (
            [varint_bytes(late_name.len() as u64), late_name].concat(),
            "invalid metric name",
        ),
        (
            [&[0x05, 0x0a, 0x01, 0xff, 0x22, 0x00][..]].concat(),
            "invalid metric name: it is not valid UTF-8",
        ),
        (
            [&[0x08, 0x12, 0x01, 0xff, 0x0a, 0x01, b'g', 0x22, 0x00][..]].concat(),
            "invalid help",
        ),
        (
            vec![0x09, 0x0a, 0x01, b'g', 0x22, 0x04, 0x0a, 0x02, 0x0a, 0x00],
            "invalid label name",
        ),
        (
            vec![
                0x0a, 0x0a, 0x01, b'g', 0x22, 0x05, 0x0a, 0x03, 0x12, 0x01, 0xff,
            ],
            "not valid UTF-8",
        ),
        (
            vec![0x07, 0x0a, 0x01, b'g', 0x22, 0x02, 0x0a, 0x05],
            "ends within a field",
        ),
    ];
    for (body, expected) in cases {
        let (_, ended) = parsed_as(&body, HistogramFormats::default());
        if expected.is_empty() {
            // An absent name is the sink's to refuse.
            assert_eq!(ended, Ok(()));
            continue;
        }
        let text = ended.expect_err(expected).to_string();
        assert!(
            text.contains(expected) && text.starts_with("byte "),
            "{expected}: {text}"
        );
    }
    // Units that fit, and a family that nobody looks at.
    let of = |name: &str, unit: &str, kind, metrics| FamilyMessage {
        unit: unit.to_owned(),
        ..family(name, kind, metrics)
    };
    let fitting = [
        of("g_s", "s", MetricType::Gauge, metric()),
        of("c_s_total", "s", MetricType::Counter, metric()),
        of("g", "s", MetricType::Gauge, vec![]),
    ];
    assert_eq!(parsed(&fitting), ["=g_s 1", "=c_s_total 0"]);
}

fn metrics() -> impl Strategy<Value = Vec<MetricMessage>> {
    let text = || prop_oneof!["[a-z]{1,4}", "[^\0]{1,5}"];
    let metric = (
        vec((text(), prop_oneof![Just(String::new()), text()]), 0..4),
        any::<f64>(),
        any::<i64>(),
    );
    let metric = metric.prop_map(|(labels, value, timestamp_ms)| {
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        MetricMessage {
            untyped: single(value),
            gauge: single(value),
            timestamp_ms,
            ..labelled(&labels)
        }
    });
    vec(metric, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(families in vec(("[^\0]{1,6}", metrics()), 0..4), mut ends in vec(0usize..200, 0..6)) {
        ends.sort_unstable();
        let families: Vec<_> = families.into_iter().map(|(name, metrics)| family(&name, MetricType::Untyped, metrics)).collect();
        let body = body(&families);
        let mut memory = Memory::default();
        prop_assert_eq!(parse(&body, ends, HistogramFormats::default(), &mut memory), Ok(()));
        let mut expected = Vec::new();
        for family in &families {
            for metric in &family.metrics {
                let labels = metric.labels.iter().map(|pair| (pair.name.clone(), pair.value.clone()));
                let labels: Vec<_> = [("__name__".to_owned(), family.name.clone())].into_iter().chain(labels).collect();
                let value = Value::Float(metric.untyped.unwrap().value.unwrap());
                let timestamp_ms = (metric.timestamp_ms != 0).then_some(metric.timestamp_ms);
                expected.push(shown(&labels, &ExposedSample { series: b"", value, timestamp_ms }));
            }
        }
        prop_assert_eq!(memory.given, expected);
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in vec(any::<u8>(), 0..64), at in 0usize..64) {
        if let Some(first) = bytes.first_mut() {
            *first %= 64;
        }
        let mut whole = Memory::default();
        let ended = parse(&bytes, [], HistogramFormats::default(), &mut whole);
        let mut cut = Memory::default();
        prop_assert_eq!(parse(&bytes, [at], HistogramFormats::default(), &mut cut), ended);
        prop_assert_eq!(cut.given, whole.given);
    }
}
