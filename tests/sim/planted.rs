//! Bugs that are planted on purpose: each must be found by a rule that is meant for it.

use std::sync::Arc;
use std::time::Duration;

use amp_forwarder::prompb::RequestBody;
use amp_forwarder::prompb::messages::WriteRequest;
use amp_forwarder::report::{Outcome, Report};
use amp_forwarder::send::{PostAnswer, PostError, PostRequest};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use prost::Message as _;

use crate::events::Hits;
use crate::receiver::{Receiver, decoded};
use crate::scenario::ROOMY;
use crate::{reads, run, spool};

/// A bug of the forwarder, or of what it relies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A batch is answered 200 and not stored.
    SwallowedBatch,
    /// A request is refused as out of order, though nothing of it is there.
    RefusedForNothing,
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
    /// A tick waits until its deadline for a remote that does not answer.
    WaitsForTheSilent,
    /// Batches that were refused are not kept.
    RefusedNotKept,
    /// A tick that is still at work after its minute does not scrape.
    IdleAfterItsMinute,
    UpThoughDown,
    /// A segment is deleted when it is read, before the remote has answered.
    DeletedBeforeTheAnswer,
    /// The store does not list segments in the order of their names.
    NotListedInOrder,
    /// The end of the lease is not respected.
    NoFence,
    /// Samples of a scrape that was dropped count as sent.
    DroppedTimestampsKept,
    /// A configuration with other labels and relabelling is taken for the one before.
    OldLabels,
    /// A 412 after a write of our own whose answer was lost is taken for another process's write.
    ChangedTakenForBusy,
    /// `memory_limit` is not respected.
    NoMemoryLimit,
    /// A watermark is stored before its samples were answered or spooled.
    WatermarkTooEarly,
    /// A window is read up to the present, though the home commits some samples late.
    UpperEndIsNow,
    /// The next window begins where the last one ended, though some samples come later.
    NoOverlap,
    /// A range of time is taken without its end.
    RangeWithoutEnd,
    /// The samples of a gap are sent after those of the live scrape.
    GapAfterLive,
    /// Both halves of a split entry are posted at once.
    HalvesAtOnce,
}

/// The simulation that must find a bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sim {
    Direct,
    Spool,
    Disorder,
    Reads,
}

const BUGS: &[(Bug, Sim, &[&str])] = &[
    (Bug::SwallowedBatch, Sim::Direct, &["missing"]),
    (Bug::RefusedForNothing, Sim::Direct, &["repeated"]),
    (Bug::RefusedForNothing, Sim::Spool, &["repeated"]),
    (Bug::EarlyAnswer, Sim::Direct, &["in flight", "scrape"]),
    (Bug::SentTwice, Sim::Direct, &["again"]),
    (
        Bug::FailureTakenForSuccess,
        Sim::Direct,
        &["written", "missing"],
    ),
    (Bug::MixedReplicas, Sim::Direct, &["replica"]),
    (Bug::LabelsUnsorted, Sim::Direct, &["labels"]),
    (Bug::ValueChanged, Sim::Direct, &["value"]),
    (Bug::MoreShards, Sim::Direct, &["shards"]),
    (Bug::LargerBatches, Sim::Direct, &["batch"]),
    (Bug::CutTakenForWhole, Sim::Direct, &["unexposed", "up"]),
    (Bug::LostSample, Sim::Direct, &["ledger"]),
    (Bug::WrittenTooHigh, Sim::Direct, &["written"]),
    (Bug::ScrapedTooHigh, Sim::Direct, &["scraped"]),
    (Bug::OutcomeTooGood, Sim::Direct, &["outcome"]),
    (Bug::LateTick, Sim::Direct, &["deadline"]),
    (Bug::SkippedSlots, Sim::Direct, &["slots"]),
    (Bug::IdleAfterItsMinute, Sim::Direct, &["slots"]),
    (Bug::UpThoughDown, Sim::Direct, &["up"]),
    (Bug::DeletedBeforeTheAnswer, Sim::Spool, &["missing"]),
    (Bug::NotListedInOrder, Sim::Spool, &["order"]),
    (Bug::NoFence, Sim::Spool, &["fence"]),
    (
        Bug::EarlyAnswer,
        Sim::Spool,
        &["in flight", "scrape", "order"],
    ),
    (Bug::SwallowedBatch, Sim::Spool, &["missing"]),
    (Bug::WaitsForTheSilent, Sim::Spool, &["cost"]),
    (Bug::RefusedNotKept, Sim::Spool, &["kept"]),
    (Bug::DroppedTimestampsKept, Sim::Spool, &["missing"]),
    (Bug::ChangedTakenForBusy, Sim::Spool, &["busy"]),
    (Bug::OldLabels, Sim::Disorder, &["unexposed"]),
    (Bug::NoMemoryLimit, Sim::Direct, &["memory"]),
    (Bug::NoMemoryLimit, Sim::Spool, &["memory"]),
    (Bug::WatermarkTooEarly, Sim::Reads, &["watermark"]),
    (Bug::UpperEndIsNow, Sim::Reads, &["missing", "watermark"]),
    (Bug::NoOverlap, Sim::Reads, &["missing", "watermark"]),
    (Bug::RangeWithoutEnd, Sim::Reads, &["missing", "watermark"]),
    (Bug::GapAfterLive, Sim::Reads, &["order", "in flight"]),
    (Bug::HalvesAtOnce, Sim::Reads, &["in flight", "order"]),
    (Bug::SwallowedBatch, Sim::Reads, &["missing", "watermark"]),
    (Bug::SentTwice, Sim::Reads, &["again"]),
];

impl Bug {
    /// Returns the memory limit that the forwarder gets.
    pub(crate) fn memory_limit(bug: Option<Self>, limit: u64) -> u64 {
        if bug == Some(Self::NoMemoryLimit) {
            ROOMY
        } else {
            limit
        }
    }

    pub(crate) fn is_on_the_way(self) -> bool {
        matches!(
            self,
            Self::EarlyAnswer
                | Self::SentTwice
                | Self::FailureTakenForSuccess
                | Self::MixedReplicas
                | Self::LabelsUnsorted
                | Self::ValueChanged
                | Self::GapAfterLive
                | Self::HalvesAtOnce
        )
    }

    pub(crate) fn post<'a>(
        self,
        receiver: &Arc<Receiver>,
        request: PostRequest<'a>,
    ) -> BoxFuture<'a, Result<PostAnswer, PostError>> {
        let receiver = Arc::clone(receiver);
        Box::pin(async move {
            let rewritten = rewrite(self, &request.body.to_bytes()).into();
            let request = PostRequest {
                body: &rewritten,
                ..request
            };
            match self {
                Self::HalvesAtOnce => match halves(&rewritten.to_bytes()) {
                    Some([first, second]) => {
                        let (first, second): (RequestBody, RequestBody) =
                            (first.into(), second.into());
                        let post =
                            |body| Arc::clone(&receiver).post(PostRequest { body, ..request });
                        let (_, answer) = tokio::join!(post(&first), post(&second));
                        answer
                    }
                    None => receiver.post(request).await,
                },
                Self::GapAfterLive if receiver.is_fresh(&rewritten.to_bytes()) => {
                    receiver.post(request).await
                }
                Self::EarlyAnswer | Self::GapAfterLive => {
                    let body = rewritten.clone();
                    let (attempt, timeout, fresh_connection, fresh_credentials) = (
                        request.attempt,
                        request.timeout,
                        request.fresh_connection,
                        request.fresh_credentials,
                    );
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_secs(20)).await;
                        let _ = receiver
                            .post(PostRequest {
                                body: &body,
                                attempt,
                                timeout,
                                fresh_connection,
                                fresh_credentials,
                            })
                            .await;
                    });
                    Ok(PostAnswer {
                        status: 200,
                        headers: HeaderMap::new(),
                        body: String::new(),
                    })
                }
                Self::SentTwice => {
                    let _ = Arc::clone(&receiver).post(request).await;
                    receiver.post(request).await
                }
                Self::FailureTakenForSuccess => match receiver.post(request).await {
                    Ok(answer) if answer.status >= 500 => Ok(PostAnswer {
                        status: 200,
                        ..answer
                    }),
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
            Self::UpThoughDown => report
                .scrapes
                .iter_mut()
                .for_each(|scrape| scrape.up = true),
            _ => {}
        }
    }
}

fn rewrite(bug: Bug, body: &Bytes) -> Bytes {
    let Ok(mut request) = decoded(body) else {
        return body.clone();
    };
    let Some(last) = request.timeseries.last_mut() else {
        return body.clone();
    };
    match bug {
        Bug::MixedReplicas => {
            for label in last
                .labels
                .iter_mut()
                .filter(|label| label.name == "cluster")
            {
                label.value = "another".to_owned();
            }
        }
        Bug::LabelsUnsorted => last.labels.reverse(),
        Bug::ValueChanged => last
            .samples
            .iter_mut()
            .for_each(|sample| sample.value += 1.0),
        _ => return body.clone(),
    }
    snap::raw::Encoder::new()
        .compress_vec(&request.encode_to_vec())
        .expect("it is small")
        .into()
}

/// Cuts the first entry with several samples in time: two bodies, the earlier half first.
fn halves(body: &Bytes) -> Option<[Bytes; 2]> {
    let plain = snap::raw::Decoder::new().decompress_vec(body).ok()?;
    let first = WriteRequest::decode(&*plain).ok()?;
    let mut second = WriteRequest::default();
    let mut first = first;
    let entry = first
        .timeseries
        .iter_mut()
        .find(|entry| entry.samples.len() > 1)?;
    let mut later = entry.clone();
    later.samples = entry.samples.split_off(entry.samples.len() / 2);
    second.timeseries.push(later);
    Some([first, second].map(|request| {
        let compressed = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec());
        compressed.expect("it is small").into()
    }))
}

/// Each planted bug must be found, which shows that the checks can fail.
#[test]
fn planted_bugs_are_found() {
    are_found(|sim| sim != Sim::Reads);
}

#[test]
fn planted_bugs_of_remote_read_are_found() {
    are_found(|sim| sim == Sim::Reads);
}

fn are_found(wanted: impl Fn(Sim) -> bool) {
    const SEEDS: u64 = 5_000;
    for (bug, sim, rules) in BUGS.iter().filter(|(_, sim, _)| wanted(*sim)) {
        let hits = Arc::new(Hits::default());
        let found = (0..SEEDS).find(|&seed| {
            let run = match sim {
                Sim::Direct => run::seed,
                Sim::Spool => spool::seed,
                Sim::Disorder => spool::disorder::seed,
                Sim::Reads => reads::seed,
            };
            let findings = run(seed, &hits, false, Some(*bug)).findings;
            findings.iter().any(|finding| {
                rules
                    .iter()
                    .any(|rule| finding.starts_with(&format!("{rule}: ")))
            })
        });
        let Some(seed) = found else {
            panic!("{bug:?} was not found within {SEEDS} seeds by {rules:?}")
        };
        println!("{bug:?}: found by seed {seed} of {sim:?}");
    }
}
