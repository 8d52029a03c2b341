//! A home whose answers a test writes down.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message as _;

use crate::home::{Home, HomeMethod, HomeRequest, HomeResponse, ResponseBody};
use crate::net::{NetError, Peer, Phase};
use crate::prompb::messages::TimeSeries;
use crate::prompb::remote_read::{QueryResult, ReadRequest, ReadResponse};

/// One answer, or none.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    /// Bytes of the chunks that the body comes in.
    pub(super) chunk: usize,
    /// Time from the request to the headers.
    pub(super) headers_after: Duration,
    /// Whether the connection is reset at the end of the body.
    pub(super) reset: bool,
}

/// The block that a home answers with.
pub(super) fn body(results: &[Vec<TimeSeries>]) -> Vec<u8> {
    let results = results.iter().map(|series| QueryResult {
        timeseries: series.clone(),
    });
    let answer = ReadResponse {
        results: results.collect(),
    };
    snap::raw::Encoder::new()
        .compress_vec(&answer.encode_to_vec())
        .unwrap()
}

impl Answer {
    /// A good answer that was made at this time.
    pub(super) fn good(date_ms: i64, results: &[Vec<TimeSeries>]) -> Self {
        let since_1970 = Duration::from_millis(u64::try_from(date_ms).unwrap());
        let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + since_1970);
        Self {
            status: 200,
            headers: vec![
                ("content-type", "application/x-protobuf".to_owned()),
                ("content-encoding", "snappy".to_owned()),
                ("date", date),
            ],
            body: body(results),
            chunk: 7,
            headers_after: Duration::ZERO,
            reset: false,
        }
    }

    /// The answer of another status, or of another program.
    pub(super) fn other(status: u16, content_type: &str, body: &str) -> Self {
        Self {
            status,
            headers: vec![("content-type", content_type.to_owned())],
            body: body.as_bytes().to_vec(),
            chunk: 1_000,
            headers_after: Duration::ZERO,
            reset: false,
        }
    }

    pub(super) fn without(mut self, header: &str) -> Self {
        self.headers.retain(|(name, _)| *name != header);
        self
    }
}

#[derive(Default)]
pub(super) struct ScriptedHome {
    pub(super) answers: Mutex<VecDeque<Answer>>,
    /// The requests that came.
    pub(super) asked: Mutex<Vec<ReadRequest>>,
}

impl ScriptedHome {
    async fn answer(&self, request: HomeRequest<'_>) -> Result<HomeResponse, NetError> {
        let HomeMethod::Post { body, headers } = request.method else {
            panic!("a remote read is a POST");
        };
        assert!(headers.iter().any(|(name, value)| {
            name == "x-prometheus-remote-read-version" && value == "0.1.0"
        }));
        let plain = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        self.asked
            .lock()
            .unwrap()
            .push(ReadRequest::decode(&*plain).unwrap());
        let answer = self.answers.lock().unwrap().pop_front();
        let answer = answer.expect("an answer for each request");
        if answer.headers_after > request.timeout {
            tokio::time::sleep(request.timeout).await;
            return Err(NetError::timed_out(Phase::Http, Peer::Home, request.url));
        }
        tokio::time::sleep(answer.headers_after).await;
        let headers: HeaderMap = answer
            .headers
            .iter()
            .map(|(name, value)| {
                let value = HeaderValue::from_str(value).unwrap();
                (HeaderName::from_static(name), value)
            })
            .collect();
        Ok(HomeResponse {
            status: answer.status,
            headers,
            body: Box::new(ScriptedBody {
                chunks: answer
                    .body
                    .chunks(answer.chunk)
                    .map(Bytes::copy_from_slice)
                    .collect(),
                reset: answer.reset,
            }),
        })
    }
}

impl Home for ScriptedHome {
    fn send<'a>(
        &'a self,
        request: HomeRequest<'a>,
    ) -> BoxFuture<'a, Result<HomeResponse, NetError>> {
        Box::pin(self.answer(request))
    }
}

struct ScriptedBody {
    chunks: VecDeque<Bytes>,
    reset: bool,
}

impl ResponseBody for ScriptedBody {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, NetError>> {
        let next = match self.chunks.pop_front() {
            None if self.reset => Err(NetError::new(
                Phase::Body,
                Peer::Home,
                "http://h:1/api/v1/read",
                "connection reset",
            )),
            chunk => Ok(chunk),
        };
        Box::pin(std::future::ready(next))
    }
}
