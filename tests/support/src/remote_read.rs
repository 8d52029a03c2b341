//! Raw samples by remote read: in contrast to the query API it shows stale markers, to the bit.

use anyhow::{Context, Result, ensure};
use prost::Message;

use crate::gateway::wire::TimeSeries;
use crate::http::Client;

#[derive(Clone, PartialEq, Message)]
struct ReadRequest {
    #[prost(message, repeated, tag = "1")]
    queries: Vec<Query>,
}

#[derive(Clone, PartialEq, Message)]
struct Query {
    #[prost(int64, tag = "1")]
    start_ms: i64,
    #[prost(int64, tag = "2")]
    end_ms: i64,
    #[prost(message, repeated, tag = "3")]
    matchers: Vec<Matcher>,
}

#[derive(Clone, PartialEq, Message)]
struct Matcher {
    /// `LabelMatcher.Type`: 1 is `!=`.
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct ReadResponse {
    #[prost(message, repeated, tag = "1")]
    results: Vec<QueryResult>,
}

#[derive(Clone, PartialEq, Message)]
struct QueryResult {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

/// All series of the Prometheus at `url` that have the label, with their samples from `start_ms` to `end_ms`.
///
/// # Errors
/// When it does not answer, or refuses.
pub async fn series_with(url: &str, label: &str, start_ms: i64, end_ms: i64) -> Result<Vec<TimeSeries>> {
    let matcher = Matcher { kind: 1, name: label.to_owned(), value: String::new() };
    let request = ReadRequest { queries: vec![Query { start_ms, end_ms, matchers: vec![matcher] }] };
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec())?;
    let request = http::Request::post(format!("{url}/api/v1/read"))
        .header("content-encoding", "snappy")
        .header("content-type", "application/x-protobuf")
        .header("x-prometheus-remote-read-version", "0.1.0")
        .body(http_body_util::Full::from(body))?;
    let response = Client::default().send(request).await?;
    ensure!(response.status() == 200, "remote read: {}: {}", response.status(), String::from_utf8_lossy(response.body()));
    let body = snap::raw::Decoder::new().decompress_vec(response.body()).context("decompress remote read")?;
    Ok(ReadResponse::decode(&*body)?.results.into_iter().flat_map(|result| result.timeseries).collect())
}
