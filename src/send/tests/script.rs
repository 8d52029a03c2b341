//! A remote that answers as scripted, and a fixture to deliver on.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use ::http::HeaderMap;
use ::http::header::RETRY_AFTER;
use fastrand::Rng;
use futures_util::future::BoxFuture;
use prost::Message as _;
use tokio::time::Instant;

use crate::batch::Batch;
use crate::net::aws::AwsError;
use crate::net::{NetError, Peer, Phase};
use crate::prompb::messages::{Label, Sample, TimeSeries, WriteRequest};
use crate::send::{
    BatchHistory, DeliverContext, DeliverSettings, Delivery, PostAnswer, PostError, PostRequest,
    Remote, SendState, SignError, deliver,
};
use crate::time::TokioClock;

pub(super) const START_MS: i64 = 1_795_176_000_000;
pub(super) const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub(super) enum ScriptedReply {
    Status(u16),
    Body(u16, &'static str),
    RetryAfter(u16, &'static str),
    Stale,
    TimedOut,
    NoCredentials,
    NoSts,
    /// No answer, ever.
    Hang,
    /// After a while, a status.
    Late(Duration, u16),
    /// 413 for more samples than that, else 200.
    AtMost(u32),
    /// 429 of the ingestion rate for more samples than its burst, else 200.
    Burst(u32),
    /// This status for a request that has a series of this name, else 200.
    Poison(u16, &'static str),
}

#[derive(Debug, Clone)]
pub(super) struct Post {
    pub(super) after: Duration,
    pub(super) samples: u32,
    /// Timestamp of the oldest sample.
    pub(super) oldest_ms: i64,
    pub(super) attempt: u32,
    pub(super) timeout: Duration,
    pub(super) fresh_connection: bool,
    pub(super) fresh_credentials: bool,
}

/// Answers as scripted; the last reply repeats.
pub(super) struct Script {
    pub(super) replies: Mutex<VecDeque<ScriptedReply>>,
    pub(super) posts: Mutex<Vec<Post>>,
    pub(super) start: Instant,
}

impl Script {
    pub(super) fn new(replies: impl IntoIterator<Item = ScriptedReply>) -> Self {
        Self {
            replies: Mutex::new(replies.into_iter().collect()),
            posts: Mutex::default(),
            start: Instant::now(),
        }
    }

    pub(super) fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap().clone()
    }

    fn next(&self) -> ScriptedReply {
        let mut replies = self.replies.lock().unwrap();
        if replies.len() > 1 {
            replies.pop_front().unwrap()
        } else {
            replies[0].clone()
        }
    }
}

impl Remote for Script {
    fn post<'a>(
        &'a self,
        request: PostRequest<'a>,
    ) -> BoxFuture<'a, Result<PostAnswer, PostError>> {
        let raw = snap::raw::Decoder::new().decompress_vec(&request.body.to_bytes());
        let entries = WriteRequest::decode(&*raw.unwrap())
            .unwrap_or_default()
            .timeseries;
        let samples = entries.iter().map(|entry| entry.samples.len() as u32).sum();
        let labels = entries.iter().flat_map(|entry| &entry.labels);
        let names: Vec<_> = labels.map(|label| label.value.clone()).collect();
        let times = entries.iter().flat_map(|entry| &entry.samples);
        self.posts.lock().unwrap().push(Post {
            after: self.start.elapsed(),
            samples,
            oldest_ms: times.map(|sample| sample.timestamp).min().unwrap_or(0),
            attempt: request.attempt,
            timeout: request.timeout,
            fresh_connection: request.fresh_connection,
            fresh_credentials: request.fresh_credentials,
        });
        let reply = self.next();
        let timeout = request.timeout;
        Box::pin(async move {
            let answer = |status, body: &str| {
                Ok(PostAnswer {
                    status,
                    headers: HeaderMap::new(),
                    body: body.to_owned(),
                })
            };
            let net = |stale_connection| {
                Err(PostError::Net(NetError {
                    stale_connection,
                    ..NetError::new(Phase::Http, Peer::Remote, "https://aps", "connection reset")
                }))
            };
            match reply {
                ScriptedReply::Status(status) => answer(status, ""),
                ScriptedReply::Body(status, body) => answer(status, body),
                ScriptedReply::RetryAfter(status, value) => {
                    let mut headers = HeaderMap::new();
                    headers.insert(RETRY_AFTER, value.parse().unwrap());
                    Ok(PostAnswer {
                        status,
                        headers,
                        body: String::new(),
                    })
                }
                ScriptedReply::Stale => net(true),
                ScriptedReply::TimedOut => {
                    tokio::time::sleep(timeout).await;
                    net(false)
                }
                ScriptedReply::NoCredentials => Err(PostError::Sign(SignError::Credentials(
                    AwsError::NoCredentials("none".to_owned()),
                ))),
                ScriptedReply::NoSts => Err(PostError::Sign(SignError::TimedOut(timeout))),
                ScriptedReply::Hang => std::future::pending().await,
                ScriptedReply::Late(wait, status) => {
                    tokio::time::sleep(wait).await;
                    answer(status, "")
                }
                ScriptedReply::Burst(burst) if samples > burst => {
                    let body = format!(
                        "ingestion rate limit (9) exceeded while adding {samples} samples and 0 \
                         metadata"
                    );
                    answer(429, &body)
                }
                ScriptedReply::Burst(_) => answer(200, ""),
                ScriptedReply::Poison(status, name) => answer(
                    if names.iter().any(|n| n == name) {
                        status
                    } else {
                        200
                    },
                    "",
                ),
                ScriptedReply::AtMost(most) => answer(if samples > most { 413 } else { 200 }, ""),
            }
        })
    }

    fn address(&self) -> &str {
        "https://aps"
    }

    fn hint(&self, answer: &PostAnswer) -> Option<&'static str> {
        (answer.status == 403).then_some("ask the owner")
    }
}

pub(super) fn decode(body: &[u8]) -> WriteRequest {
    WriteRequest::decode(&*snap::raw::Decoder::new().decompress_vec(body).unwrap()).unwrap()
}

/// A batch of this many samples, the newest at `START_MS`, each of a series of its own.
pub(super) fn batch(samples: i64) -> Batch {
    let series = |n: i64| TimeSeries {
        labels: vec![Label {
            name: "__name__".to_owned(),
            value: format!("m{n}"),
        }],
        samples: vec![Sample {
            value: 1.0,
            timestamp: START_MS - n,
        }],
        histograms: Vec::new(),
    };
    encoded((0..samples).map(series).collect(), START_MS - samples + 1)
}

/// A batch of a single entry with this many samples, one a second, the newest at `START_MS`.
pub(super) fn entry(samples: i64) -> Batch {
    let oldest_ms = START_MS - (samples - 1) * 1000;
    let sample = |n: i64| Sample {
        value: n as f64,
        timestamp: oldest_ms + n * 1000,
    };
    let series = TimeSeries {
        samples: (0..samples).map(sample).collect(),
        ..TimeSeries::default()
    };
    encoded(vec![series], oldest_ms)
}

fn encoded(timeseries: Vec<TimeSeries>, min_ms: i64) -> Batch {
    let samples = timeseries.iter().map(|entry| entry.samples.len() as u32);
    let samples = samples.sum();
    let raw = WriteRequest { timeseries }.encode_to_vec();
    Batch {
        body: snap::raw::Encoder::new().compress_vec(&raw).unwrap().into(),
        samples,
        raw_len: raw.len() as u32,
        min_ms,
        max_ms: START_MS,
    }
}

pub(super) struct Fixture {
    pub(super) settings: DeliverSettings,
    pub(super) state: SendState,
    pub(super) clock: TokioClock,
    pub(super) deadline: Instant,
    pub(super) history: BatchHistory,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self {
            settings: DeliverSettings {
                remote_timeout: 5 * SECOND,
                min_backoff: Duration::from_millis(30),
                max_backoff: 5 * SECOND,
                retry_on_http_429: true,
                sample_age_limit: None,
            },
            state: SendState::new(1_000_000, Rng::with_seed(1)),
            clock: TokioClock::starting_at(START_MS),
            deadline: Instant::now() + 40 * SECOND,
            history: BatchHistory::default(),
        }
    }

    pub(super) async fn deliver(&self, remote: &Script, batch: &Batch) -> Delivery {
        let context = DeliverContext {
            settings: &self.settings,
            state: &self.state,
            clock: &self.clock,
            work_ends: self.deadline,
            history: self.history,
        };
        let delivery = deliver(remote, batch, &context).await;
        let placed = delivery.written
            + delivery.deduplicated
            + delivery.repeated
            + delivery.rejected_samples()
            + delivery.expired_samples()
            + delivery.undelivered_samples();
        assert_eq!(
            placed,
            u64::from(batch.samples),
            "each sample is in one place: {delivery:?}"
        );
        assert!(
            Instant::now() <= self.deadline,
            "a delivery outlived its deadline"
        );
        delivery
    }

    pub(super) async fn run(
        &self,
        replies: &[ScriptedReply],
        samples: i64,
    ) -> (Delivery, Vec<Post>) {
        let remote = Script::new(replies.iter().cloned());
        let delivery = self.deliver(&remote, &batch(samples)).await;
        (delivery, remote.posts())
    }
}
