//! The messages of remote read (`prompb/remote.proto`, `prompb/types.proto`).

use super::messages::TimeSeries;

/// `prometheus.ReadRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadRequest {
    /// The queries. The answer has one result for each, in their order.
    #[prost(message, repeated, tag = "1")]
    pub queries: Vec<Query>,
    /// `ReadRequest.ResponseType`: 0 is SAMPLES, 1 is STREAMED_XOR_CHUNKS.
    #[prost(int32, repeated, tag = "2")]
    pub accepted_response_types: Vec<i32>,
}

/// `prometheus.Query`. Both ends of its range are included.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Query {
    /// Oldest timestamp, milliseconds since 1970.
    #[prost(int64, tag = "1")]
    pub start_timestamp_ms: i64,
    /// Newest timestamp, milliseconds since 1970.
    #[prost(int64, tag = "2")]
    pub end_timestamp_ms: i64,
    /// A series must fulfil all of them.
    #[prost(message, repeated, tag = "3")]
    pub matchers: Vec<LabelMatcher>,
}

/// `prometheus.LabelMatcher`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LabelMatcher {
    /// `LabelMatcher.Type`: 0 `=`, 1 `!=`, 2 `=~`, 3 `!~`.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// Name of the label.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The value or the regular expression.
    #[prost(string, tag = "3")]
    pub value: String,
}

/// `prometheus.ReadResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadResponse {
    /// One result for each query, in their order.
    #[prost(message, repeated, tag = "1")]
    pub results: Vec<QueryResult>,
}

/// `prometheus.QueryResult`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct QueryResult {
    /// The series in no particular order; samples in the order of time.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}
