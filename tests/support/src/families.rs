//! The messages of the protobuf exposition, for tests that serve one. Values are written even when
//! they are zero, as Go's client writes them.

use prost::Message;

use crate::gateway::wire::BucketSpan;

/// `Content-Type` of delimited families.
pub const CONTENT_TYPE: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// `io.prometheus.client.MetricType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
#[allow(missing_docs, reason = "the names are Prometheus' own")]
pub enum MetricType {
    Counter = 0,
    Gauge = 1,
    Summary = 2,
    Untyped = 3,
    Histogram = 4,
    GaugeHistogram = 5,
}

/// `MetricFamily`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs, reason = "the names are Prometheus' own")]
pub struct Family {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub help: String,
    #[prost(int32, optional, tag = "3")]
    pub r#type: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    pub metric: Vec<Metric>,
    #[prost(string, tag = "5")]
    pub unit: String,
}

/// `Metric`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs, reason = "the names are Prometheus' own")]
pub struct Metric {
    #[prost(message, repeated, tag = "1")]
    pub label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    pub gauge: Option<Single>,
    #[prost(message, optional, tag = "3")]
    pub counter: Option<Single>,
    #[prost(message, optional, tag = "4")]
    pub summary: Option<Summary>,
    #[prost(message, optional, tag = "5")]
    pub untyped: Option<Single>,
    #[prost(int64, optional, tag = "6")]
    pub timestamp_ms: Option<i64>,
    #[prost(message, optional, tag = "7")]
    pub histogram: Option<Histogram>,
}

/// `LabelPair`, with bytes in the place of strings, so that a test can send invalid UTF-8.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs, reason = "the names are Prometheus' own")]
pub struct LabelPair {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub name: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub value: Option<Vec<u8>>,
}

/// `Gauge`, `Counter` and `Untyped`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs, reason = "the names are Prometheus' own")]
pub struct Single {
    #[prost(double, optional, tag = "1")]
    pub value: Option<f64>,
    /// The exemplar of a counter.
    #[prost(message, optional, tag = "2")]
    pub exemplar: Option<Exemplar>,
}

/// `Exemplar`, without its timestamp.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs, reason = "the names are Prometheus' own")]
pub struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    pub label: Vec<LabelPair>,
    #[prost(double, optional, tag = "2")]
    pub value: Option<f64>,
}

/// `Summary`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs, reason = "the names are Prometheus' own")]
pub struct Summary {
    #[prost(uint64, optional, tag = "1")]
    pub sample_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    pub sample_sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    pub quantile: Vec<Quantile>,
}

/// `Quantile`.
#[derive(Clone, Copy, PartialEq, Message)]
#[allow(missing_docs, reason = "the names are Prometheus' own")]
pub struct Quantile {
    #[prost(double, optional, tag = "1")]
    pub quantile: Option<f64>,
    #[prost(double, optional, tag = "2")]
    pub value: Option<f64>,
}

/// `Histogram`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs, reason = "the names are Prometheus' own")]
pub struct Histogram {
    #[prost(uint64, optional, tag = "1")]
    pub sample_count: Option<u64>,
    #[prost(double, optional, tag = "4")]
    pub sample_count_float: Option<f64>,
    #[prost(double, optional, tag = "2")]
    pub sample_sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    pub bucket: Vec<Bucket>,
    #[prost(sint32, optional, tag = "5")]
    pub schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    pub zero_threshold: Option<f64>,
    #[prost(uint64, optional, tag = "7")]
    pub zero_count: Option<u64>,
    #[prost(double, optional, tag = "8")]
    pub zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "9")]
    pub negative_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, packed = "false", tag = "10")]
    pub negative_delta: Vec<i64>,
    #[prost(double, repeated, packed = "false", tag = "11")]
    pub negative_count: Vec<f64>,
    #[prost(message, repeated, tag = "12")]
    pub positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, packed = "false", tag = "13")]
    pub positive_delta: Vec<i64>,
    #[prost(double, repeated, packed = "false", tag = "14")]
    pub positive_count: Vec<f64>,
}

/// `Bucket` of a classic histogram.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs, reason = "the names are Prometheus' own")]
pub struct Bucket {
    #[prost(uint64, optional, tag = "1")]
    pub cumulative_count: Option<u64>,
    #[prost(double, optional, tag = "4")]
    pub cumulative_count_float: Option<f64>,
    #[prost(double, optional, tag = "2")]
    pub upper_bound: Option<f64>,
    #[prost(message, optional, tag = "3")]
    pub exemplar: Option<Exemplar>,
}

/// Makes a family of metrics.
pub fn family(name: &str, r#type: MetricType, metric: Vec<Metric>) -> Family {
    Family {
        name: name.to_owned(),
        r#type: Some(r#type as i32),
        metric,
        ..Family::default()
    }
}

/// Makes a metric with labels and no value, for struct update.
pub fn labelled(labels: &[(&str, &str)]) -> Metric {
    let pair = |(name, value): &(&str, &str)| LabelPair {
        name: Some(name.as_bytes().to_vec()),
        value: Some(value.as_bytes().to_vec()),
    };
    Metric {
        label: labels.iter().map(pair).collect(),
        ..Metric::default()
    }
}

/// Makes a plain value.
pub fn single(value: f64) -> Option<Single> {
    Some(Single {
        value: Some(value),
        exemplar: None,
    })
}

/// Makes spans from pairs of offset and length.
pub fn spans(spans: &[(i32, u32)]) -> Vec<BucketSpan> {
    spans
        .iter()
        .map(|&(offset, length)| BucketSpan { offset, length })
        .collect()
}

/// Encodes families as the body of an answer.
pub fn delimited(families: &[Family]) -> Vec<u8> {
    families
        .iter()
        .flat_map(Message::encode_length_delimited_to_vec)
        .collect()
}
