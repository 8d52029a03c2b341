//! The request of a remote read: which series, and which range of time.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use prost::Message as _;

use crate::prompb::remote_read::{Query, ReadRequest};
use crate::selector::{Matcher, Selector};

/// `ReadRequest.ResponseType` SAMPLES. The other one, STREAMED_XOR_CHUNKS, costs more on every
/// side: it is not compressed, it crashes Prometheus 2.52.0 to 2.53.1, and its chunks change with
/// versions.
const SAMPLES: i32 = 0;

/// A range of time in the home's clock, milliseconds since 1970. Both ends are included, as in the
/// protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// Oldest timestamp that is asked for.
    pub start_ms: i64,
    /// Newest timestamp that is asked for.
    pub end_ms: i64,
}

/// The headers of a remote-read request (`storage/remote/client.go` `Read`).
#[must_use]
pub fn headers() -> [(HeaderName, HeaderValue); 3] {
    [
        (
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        ),
        (CONTENT_ENCODING, HeaderValue::from_static("snappy")),
        (
            HeaderName::from_static("x-prometheus-remote-read-version"),
            HeaderValue::from_static("0.1.0"),
        ),
    ]
}

/// The body of a request that asks for the raw samples of each selector's series in a range: a
/// `ReadRequest` with one query for each selector, compressed.
///
/// # Errors
/// The selectors are longer than snappy's 4 GiB.
pub fn body(selectors: &[Selector], range: TimeRange) -> Result<Bytes, snap::Error> {
    let queries = selectors
        .iter()
        .map(|selector| Query {
            start_timestamp_ms: range.start_ms,
            end_timestamp_ms: range.end_ms,
            matchers: selector.matchers.iter().map(Matcher::to_message).collect(),
        })
        .collect();
    let request = ReadRequest {
        queries,
        accepted_response_types: vec![SAMPLES],
    };
    let plain = request.encode_to_vec();
    Ok(snap::raw::Encoder::new().compress_vec(&plain)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_a_query_for_each_selector() {
        let selectors = ["up", r#"{a!~"b"}"#].map(|text| Selector::parse(text).unwrap());
        let range = TimeRange {
            start_ms: 5,
            end_ms: 60_000,
        };
        let body = body(&selectors, range).unwrap();
        let plain = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let read = ReadRequest::decode(&*plain).unwrap();
        let asked: Vec<_> = read
            .queries
            .iter()
            .map(|query| {
                let matcher = &query.matchers[0];
                (matcher.kind, &*matcher.name, &*matcher.value)
            })
            .collect();
        assert_eq!(asked, [(0, "__name__", "up"), (3, "a", "b")]);
        assert_eq!(read.queries[1].start_timestamp_ms, 5);
        assert_eq!(read.queries[1].end_timestamp_ms, 60_000);
        assert_eq!(read.accepted_response_types, [SAMPLES]);
    }
}
