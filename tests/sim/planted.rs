//! Bugs put in on purpose: each must be found, by the rule that is meant for it.

use std::sync::Arc;
use std::time::Duration;

use amp_forwarder::batch::proto::WriteRequest;
use amp_forwarder::batch::{Batch, decode};
use amp_forwarder::report::{Outcome, Report};
use amp_forwarder::send::{Answer, PostError, PostRequest};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use prost::Message as _;

use crate::events::Hits;
use crate::receiver::Receiver;
use crate::{run, spool};

/// A bug of the forwarder, or of what it relies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A batch is answered 200 and not stored.
    SwallowedBatch,
    /// Requests are answered before they are stored: the next scrape follows too early.
    EarlyAnswer,
    SentTwice,
    FailureTakenForSuccess,
    MixedReplicas,
    LabelsUnsorted,
    ValueChanged,
    MoreShards,
    LargerBatches,
    CutTakenForWhole,
    LostSample,
    WrittenTooHigh,
    ScrapedTooHigh,
    OutcomeTooGood,
    LateTick,
    SkippedSlots,
    UpThoughDown,
    /// A segment is deleted when it was read.
    DeletedBeforeTheAnswer,
    /// Segments are not sorted by their names.
    NotListedInOrder,
    /// The end of the lease is not known.
    NoFence,
}

const BUGS: &[(Bug, &[&str])] = &[
    (Bug::SwallowedBatch, &["missing"]),
    (Bug::EarlyAnswer, &["in flight", "scrape"]),
    (Bug::SentTwice, &["again"]),
    (Bug::FailureTakenForSuccess, &["written", "missing"]),
    (Bug::MixedReplicas, &["replica"]),
    (Bug::LabelsUnsorted, &["labels"]),
    (Bug::ValueChanged, &["value"]),
    (Bug::MoreShards, &["shards"]),
    (Bug::LargerBatches, &["batch"]),
    (Bug::CutTakenForWhole, &["unexposed", "up"]),
    (Bug::LostSample, &["ledger"]),
    (Bug::WrittenTooHigh, &["written"]),
    (Bug::ScrapedTooHigh, &["scraped"]),
    (Bug::OutcomeTooGood, &["outcome"]),
    (Bug::LateTick, &["deadline"]),
    (Bug::SkippedSlots, &["slots"]),
    (Bug::UpThoughDown, &["up"]),
    (Bug::DeletedBeforeTheAnswer, &["missing"]),
    (Bug::NotListedInOrder, &["order"]),
    (Bug::NoFence, &["fence"]),
];

impl Bug {
    fn is_of_the_spool(self) -> bool {
        matches!(self, Self::DeletedBeforeTheAnswer | Self::NotListedInOrder | Self::NoFence)
    }

    pub(crate) fn is_on_the_way(self) -> bool {
        matches!(
            self,
            Self::EarlyAnswer | Self::SentTwice | Self::FailureTakenForSuccess | Self::MixedReplicas | Self::LabelsUnsorted | Self::ValueChanged
        )
    }

    pub(crate) fn post<'a>(self, receiver: &Arc<Receiver>, request: PostRequest<'a>) -> BoxFuture<'a, Result<Answer, PostError>> {
        let receiver = Arc::clone(receiver);
        Box::pin(async move {
            let rewritten = rewrite(self, request.body);
            let request = PostRequest { body: &rewritten, ..request };
            match self {
                Self::EarlyAnswer => {
                    let body = rewritten.clone();
                    let (attempt, timeout, fresh_connection, fresh_credentials) =
                        (request.attempt, request.timeout, request.fresh_connection, request.fresh_credentials);
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_secs(20)).await;
                        let _ = receiver.post(PostRequest { body: &body, attempt, timeout, fresh_connection, fresh_credentials }).await;
                    });
                    Ok(Answer { status: 200, headers: HeaderMap::new(), body: String::new() })
                }
                Self::SentTwice => {
                    let _ = Arc::clone(&receiver).post(request).await;
                    receiver.post(request).await
                }
                Self::FailureTakenForSuccess => match receiver.post(request).await {
                    Ok(answer) if answer.status >= 500 => Ok(Answer { status: 200, ..answer }),
                    other => other,
                },
                _ => receiver.post(request).await,
            }
        })
    }

    /// Changes what the tick tells.
    pub(crate) fn tell(self, report: &mut Report) {
        let ledger = &mut report.remotes[0].ledger;
        match self {
            Self::LostSample if ledger.written > 0 => ledger.written -= 1,
            Self::WrittenTooHigh if ledger.unchanged > 0 => {
                for ledger in [ledger, &mut report.ledger] {
                    ledger.written += 1;
                    ledger.unchanged -= 1;
                }
            }
            Self::ScrapedTooHigh => {
                for ledger in [ledger, &mut report.ledger] {
                    ledger.scraped += 1;
                    ledger.unchanged += 1;
                }
            }
            Self::OutcomeTooGood => report.outcome = Outcome::Ok,
            Self::UpThoughDown => report.scrapes.iter_mut().for_each(|scrape| scrape.up = true),
            _ => {}
        }
    }
}

fn rewrite(bug: Bug, body: &Bytes) -> Bytes {
    let batch = Batch { body: body.clone(), samples: 0, raw_len: 0, min_ms: 0, max_ms: 0 };
    let Ok(mut request): Result<WriteRequest, _> = decode(&batch) else { return body.clone() };
    let Some(last) = request.timeseries.last_mut() else { return body.clone() };
    match bug {
        Bug::MixedReplicas => {
            for label in last.labels.iter_mut().filter(|label| label.name == "cluster") {
                label.value = "another".to_owned();
            }
        }
        Bug::LabelsUnsorted => last.labels.reverse(),
        Bug::ValueChanged => last.samples.iter_mut().for_each(|sample| sample.value += 1.0),
        _ => return body.clone(),
    }
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).expect("it is small").into()
}

/// The checks can fail.
#[test]
fn planted_bugs_are_found() {
    const SEEDS: u64 = 1_000;
    for (bug, rules) in BUGS {
        let hits = Arc::new(Hits::default());
        let found = (0..SEEDS).find(|&seed| {
            let run = if bug.is_of_the_spool() { spool::seed } else { run::seed };
            let findings = run(seed, &hits, false, Some(*bug)).findings;
            findings.iter().any(|finding| rules.iter().any(|rule| finding.starts_with(&format!("{rule}: "))))
        });
        let Some(seed) = found else { panic!("{bug:?} was not found within {SEEDS} seeds by {rules:?}") };
        println!("{bug:?}: found by seed {seed}");
    }
}
