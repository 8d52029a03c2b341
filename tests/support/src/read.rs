//! Reads samples by remote read: all that a Prometheus holds to the last bit, with stale markers
//! and native histograms. −0 comes as 0: the server's encoder leaves it out as if it were 0.

use anyhow::{Context, Result, ensure};
use prost::Message;

use crate::gateway::wire::TimeSeries;
use crate::http::Client;
use crate::query::Samples;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReadRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) queries: Vec<Query>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Query {
    #[prost(int64, tag = "1")]
    pub(crate) start_timestamp_ms: i64,
    #[prost(int64, tag = "2")]
    pub(crate) end_timestamp_ms: i64,
    #[prost(message, repeated, tag = "3")]
    pub(crate) matchers: Vec<Matcher>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Matcher {
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(string, tag = "3")]
    pub(crate) value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReadResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) results: Vec<QueryResult>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct QueryResult {
    #[prost(message, repeated, tag = "1")]
    pub(crate) timeseries: Vec<TimeSeries>,
}

/// `LabelMatcher.Type.NEQ`.
const NOT_EQUAL: i32 = 1;

/// Reads all samples of the series that have a label of this name, with `from_ms <= timestamp <=
/// to_ms`. `url` is the server's, e.g. `http://127.0.0.1:9090`.
///
/// # Errors
/// Fails when the server does not answer, or refuses.
pub async fn read(url: &str, label: &str, from_ms: i64, to_ms: i64) -> Result<Vec<TimeSeries>> {
    let matchers = vec![Matcher {
        kind: NOT_EQUAL,
        name: label.to_owned(),
        value: String::new(),
    }];
    let request = ReadRequest {
        queries: vec![Query {
            start_timestamp_ms: from_ms,
            end_timestamp_ms: to_ms,
            matchers,
        }],
    };
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec())?;
    let response = Client::default()
        .post(
            &format!("{url}/api/v1/read"),
            "application/x-protobuf",
            body,
        )
        .await?;
    ensure!(
        response.status() == 200,
        "{url}: {}",
        String::from_utf8_lossy(response.body())
    );
    let plain = snap::raw::Decoder::new()
        .decompress_vec(response.body())
        .context("decompress the answer")?;
    let answer = ReadResponse::decode(&*plain)?;
    Ok(answer
        .results
        .into_iter()
        .flat_map(|result| result.timeseries)
        .collect())
}

/// Reads as [`read`] does, and returns the floats with their bits, markers included.
///
/// # Errors
/// Fails as [`read`] does.
pub async fn samples(url: &str, label: &str, from_ms: i64, to_ms: i64) -> Result<Samples> {
    let mut samples = Samples::new();
    for series in read(url, label, from_ms, to_ms).await? {
        let labels = series
            .labels
            .into_iter()
            .map(|label| (label.name, label.value))
            .collect();
        let floats = series.samples.into_iter();
        samples
            .entry(labels)
            .or_default()
            .extend(floats.map(|sample| (sample.timestamp, sample.value.to_bits())));
    }
    Ok(samples)
}
