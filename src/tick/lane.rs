//! One remote in a tick: its queue, and the shards that empty it.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use super::live::Live;
use crate::batch::Batch;
use crate::config::RemoteWrite;
use crate::queue::{CommittedScrape, Queue};
use crate::report::{Ledger, RemoteReport};
use crate::send::{DeliverContext, DeliverSettings, Delivery, Remote, RemoteState, Why, deliver};
use crate::time::Clock;

/// A remote_write entry at work. Kept for the process.
pub(super) struct Lane {
    pub(super) id: String,
    min_shards: usize,
    max_shards: usize,
    settings: DeliverSettings,
    remote: Box<dyn Remote>,
    state: RemoteState,
    pub(super) queue: Queue,
}

/// What a lane did in a tick.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) ledger: Ledger,
    batches: u64,
    requests: u64,
    bytes: u64,
    busy: Duration,
    /// Newest timestamp that was delivered.
    pub(super) newest_ms: Option<i64>,
    pub(super) errors: Vec<String>,
    /// The remote refuses us: nothing more was tried.
    pub(super) stopped: bool,
}

impl Lane {
    pub(super) fn new(config: &RemoteWrite, max_request_bytes: usize, remote: Box<dyn Remote>, rng: fastrand::Rng) -> Self {
        Self {
            id: config.id(),
            min_shards: config.queue.min_shards,
            max_shards: config.queue.max_shards,
            settings: DeliverSettings::from(config),
            remote,
            state: RemoteState::new(max_request_bytes, rng),
            queue: Queue::default(),
        }
    }

    pub(super) fn begin_tick(&self) {
        self.state.begin_tick();
        self.queue.open();
    }

    /// Uncompressed bytes at which batches must close.
    pub(super) fn max_request_bytes(&self) -> usize {
        self.state.max_request_bytes()
    }

    /// Sends scrape after scrape until the queue is closed and empty, the remote refuses us, or the deadline has come.
    pub(super) async fn drain(&self, clock: &dyn Clock, deadline: Instant, live: Option<&Live>) -> Sent {
        let mut sent = Sent::default();
        let context = DeliverContext { settings: &self.settings, state: &self.state, clock, deadline };
        loop {
            let popped = tokio::time::timeout_at(deadline, self.queue.pop()).await;
            let Ok(Some(scrape)) = popped else { break };
            let started = Instant::now();
            let owed = self.send(scrape, &context, &mut sent, live).await;
            sent.busy += started.elapsed();
            if let Some(owed) = owed {
                self.queue.put_back(owed);
                break;
            }
        }
        sent
    }

    /// Sends the batches of one scrape, several at once. Returns only when none is in flight: with those still owed, if any.
    async fn send(&self, scrape: CommittedScrape, context: &DeliverContext<'_>, sent: &mut Sent, live: Option<&Live>) -> Option<CommittedScrape> {
        let shards = scrape.batches.len().clamp(self.min_shards, self.max_shards.max(self.min_shards));
        let number = scrape.number;
        let mut waiting = scrape.batches.into_iter();
        let mut in_flight = FuturesUnordered::new();
        let mut owed = Vec::new();
        loop {
            while owed.is_empty() && in_flight.len() < shards {
                let Some(batch) = waiting.next() else { break };
                in_flight.push(async move { (deliver(self.remote.as_ref(), &batch, context).await, batch) });
            }
            let Some((delivery, batch)) = in_flight.next().await else { break };
            self.count(&delivery, &batch, sent);
            if let Some(live) = live.filter(|_| delivery.written > 0) {
                live.written(delivery.written, batch.max_ms);
            }
            if let Some(undelivered) = delivery.undelivered {
                owed.extend(undelivered.batches);
                sent.note(undelivered.why);
            } else {
                self.queue.answered(&batch);
            }
        }
        owed.extend(waiting);
        (!owed.is_empty()).then_some(CommittedScrape { number, batches: owed })
    }

    fn count(&self, delivery: &Delivery, batch: &Batch, sent: &mut Sent) {
        sent.requests += u64::from(delivery.attempts);
        sent.ledger.written += delivery.written;
        sent.ledger.deduplicated += delivery.deduplicated;
        sent.ledger.rejected += delivery.rejected_samples();
        sent.ledger.expired += delivery.expired_samples();
        for rejected in &delivery.rejected {
            sent.errors.push(format!("send: {} refused a batch for good: {}", self.id, rejected.message));
        }
        if !delivery.expired.is_empty() {
            sent.errors.push(format!("send: samples for {} are older than sample_age_limit: they were not sent", self.id));
        }
        if delivery.undelivered.is_none() {
            sent.batches += 1;
            sent.bytes += batch.body.len() as u64;
            if delivery.written + delivery.deduplicated > 0 {
                sent.newest_ms = sent.newest_ms.max(Some(batch.max_ms));
            }
        }
    }

    pub(super) fn report(&self, sent: &Sent) -> RemoteReport {
        RemoteReport {
            remote: self.id.clone(),
            ledger: sent.ledger,
            batches: sent.batches,
            requests: sent.requests,
            bytes: sent.bytes,
            send_ms: sent.busy.as_millis() as u64,
        }
    }
}

impl Sent {
    /// Nothing was sent; these counts are all there is.
    pub(super) fn only(ledger: Ledger) -> Self {
        Self { ledger, ..Self::default() }
    }

    fn note(&mut self, why: Why) {
        let error = match why {
            Why::Stopped(stop) => {
                self.stopped = true;
                stop.failure().to_string()
            }
            Why::Deadline(Some(failure)) => format!("out of time; the last try: {failure}"),
            Why::Deadline(None) => "send: out of time: give the function a longer time-out".to_owned(),
        };
        if !self.errors.contains(&error) {
            tracing::warn!("{error}");
        }
        self.errors.push(error);
    }
}
