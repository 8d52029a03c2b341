//! What the parser makes of families, however the bytes are cut and whatever the sink knows.

mod floats;
mod histograms;
mod properties;
mod refusals;

use std::collections::BTreeMap;

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
