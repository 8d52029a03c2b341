//! One remote in a tick: its queue in memory, its outbox in the spool, and what leaves them.

mod drain;
mod overflow;
mod pace;

use std::cell::Cell;
use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use self::pace::Pace;
use super::progress::Live;
use crate::batch::Batch;
use crate::config::RemoteWrite;
use crate::queue::Queue;
use crate::report::{Fate, Incident, IncidentKind, Ledger, RemoteReport};
use crate::send::{
    DeliverContext, DeliverSettings, Delivery, RejectedBatch, Remote, SendFailure, SendState,
    UndeliveredBatches, UndeliveredReason,
};
use crate::spool::name::{Folder, RemoteDir};
use crate::spool::outbox::Outbox;
use crate::spool::segment::Note;
use crate::spool::store::StoreError;
use crate::time::{Clock, Deadlines};

/// A write to the store is expected to be no faster than this, before any was seen.
const FIRST_WRITE_RATE: f64 = 4e6;

/// And a small one to take as long as this.
const FIRST_WRITE_TIME: f64 = 0.05;

/// Writes of fewer bytes say nothing about a rate.
const TELLING: usize = 256 << 10;

/// A remote_write entry at work. Kept for the process.
pub(super) struct Lane {
    pub(super) id: String,
    pub(super) dir: RemoteDir,
    pub(super) min_shards: usize,
    pub(super) max_shards: usize,
    /// Samples in memory, for each shard in use.
    capacity: u64,
    settings: DeliverSettings,
    pub(super) remote: Box<dyn Remote>,
    pub(super) state: SendState,
    pub(super) queue: Queue,
    /// Of the scrape that is being sent from memory.
    pub(super) shards_in_use: Cell<usize>,
    /// Bytes a second of the slowest large write to the store.
    write_rate: Cell<f64>,
    /// Seconds of the slowest small one.
    write_time: Cell<f64>,
    /// How fast the backlog leaves the spool.
    pace: Pace,
    /// When it last got metadata.
    pub(super) metadata_ms: Cell<Option<i64>>,
}

/// What a lane works with in one tick.
#[derive(Clone, Copy)]
pub(super) struct Bench<'a> {
    pub(super) clock: &'a dyn Clock,
    /// Ends of the tick's time.
    pub(super) deadlines: Deadlines,
    /// Without one, what is left in the end is lost.
    pub(super) outbox: Option<&'a Outbox>,
    /// Of the lease.
    pub(super) epoch: u64,
    /// How long an overflow waits for room.
    pub(super) overflow_after: Duration,
    /// Samples a second that may leave the spool.
    pub(super) drain_rate: f64,
    /// Of a segment.
    pub(super) segment_bytes: usize,
    /// All of them share the way to the store when the tick ends.
    pub(super) lanes: &'a [Lane],
    pub(super) live: Option<&'a Live>,
}

/// What a lane did in a tick.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) ledger: Ledger,
    batches: u64,
    requests: u64,
    bytes: u64,
    pub(super) busy: Duration,
    /// Newest timestamp that was delivered.
    pub(super) newest_ms: Option<i64>,
    pub(super) incidents: Vec<Incident>,
    /// Samples that went to the spool because sending had ended.
    pub(super) left_over: u64,
    /// The remote refuses us: nothing more was tried.
    pub(super) stopped: bool,
}

impl Lane {
    pub(super) fn new(
        config: &RemoteWrite,
        max_request_bytes: usize,
        remote: Box<dyn Remote>,
        rng: fastrand::Rng,
    ) -> Self {
        Self {
            id: config.id(),
            dir: RemoteDir::new(&config.id()),
            min_shards: config.queue.min_shards,
            max_shards: config.queue.max_shards.max(config.queue.min_shards),
            capacity: config.queue.capacity as u64,
            settings: DeliverSettings::from(config),
            remote,
            state: SendState::new(max_request_bytes, rng),
            queue: Queue::default(),
            shards_in_use: Cell::new(0),
            write_rate: Cell::new(FIRST_WRITE_RATE),
            write_time: Cell::new(FIRST_WRITE_TIME),
            pace: Pace::default(),
            metadata_ms: Cell::new(None),
        }
    }

    pub(super) fn begin_tick(&self) {
        self.state.begin_tick();
        self.queue.begin();
        self.pace.begin();
        // One slow write must not shorten all ticks of this process.
        self.write_rate
            .set((self.write_rate.get() * 2.0).min(FIRST_WRITE_RATE));
        self.write_time
            .set((self.write_time.get() / 2.0).max(FIRST_WRITE_TIME));
    }

    /// Uncompressed bytes at which batches must close.
    pub(super) fn max_request_bytes(&self) -> usize {
        self.state.max_request_bytes()
    }

    /// How many batches of these many are in flight at once.
    pub(super) fn shards(&self, batches: usize) -> usize {
        batches.clamp(self.min_shards, self.max_shards)
    }

    /// Samples that memory may hold. None once nobody sends any more: they would only wait for the
    /// end of the tick, which the last scrape may leave too little time for.
    pub(super) fn room(&self) -> u64 {
        if !self.queue.is_sending() {
            return 0;
        }
        let shards = self
            .shards(self.queue.most_batches())
            .max(self.shards_in_use.get());
        self.capacity.saturating_mul(shards as u64)
    }

    /// For one batch: sending ends early enough for what memory holds to be written.
    pub(super) fn context<'a>(&'a self, bench: &Bench<'a>) -> DeliverContext<'a> {
        DeliverContext {
            settings: &self.settings,
            state: &self.state,
            clock: bench.clock,
            work_ends: bench.deadlines.work_ends(),
            last_429: false,
        }
    }

    /// End of sending, as far as it is known now: early enough for what memory holds to be written.
    pub(super) fn sending_ends(&self, bench: &Bench<'_>) -> Instant {
        if bench.outbox.is_none() {
            return bench.deadlines.work_ends();
        }
        // Those in flight may be of one more scrape than those that wait.
        let writes = self.queue.bytes() / bench.segment_bytes.max(1) + self.queue.scrapes() + 1;
        let bytes: usize = bench.lanes.iter().map(|lane| lane.queue.bytes()).sum();
        let reserve = writes as f64 * self.write_time.get() + bytes as f64 / self.write_rate.get();
        let longest = Duration::from_secs(3600).as_secs_f64();
        bench
            .deadlines
            .sending_ends(Duration::from_secs_f64(reserve.min(longest)))
    }

    /// Tells the deliveries when they must end, as memory fills, and ends sending then: memory is
    /// not to wait for what a slow store is asked besides. Never ends by itself.
    pub(super) async fn follow_sending_ends(&self, bench: &Bench<'_>) -> Infallible {
        loop {
            let mut changed = std::pin::pin!(self.queue.changed());
            changed.as_mut().enable();
            let sending_ends = self.sending_ends(bench);
            self.state.set_sending_ends(sending_ends);
            if timeout_at(sending_ends, changed).await.is_err() {
                self.queue.stop_sending();
                return std::future::pending().await;
            }
        }
    }

    /// Samples older than this are not sent.
    pub(super) fn age_limit(&self) -> Option<Duration> {
        self.settings.sample_age_limit
    }

    /// Learns how slow the store is.
    pub(super) fn wrote(&self, bytes: usize, objects: usize, took: Duration) {
        if bytes >= TELLING {
            self.write_rate.set(
                self.write_rate
                    .get()
                    .min(bytes as f64 / took.as_secs_f64().max(1e-3)),
            );
        } else if objects > 0 {
            self.write_time.set(
                self.write_time
                    .get()
                    .max(took.as_secs_f64() / objects as f64),
            );
        }
    }

    /// Counts what became of a batch, and keeps what was refused or is too old. What cannot be kept
    /// for now is undelivered: the next tick moves it. `repeated`: some of it was sent before a
    /// kill, so that a refusal tells nothing.
    pub(super) async fn settle(
        &self,
        delivery: &mut Delivery,
        batch: &Batch,
        bench: &Bench<'_>,
        (scrape, repeated): (u64, bool),
        sent: &mut Sent,
    ) {
        self.keep_expired(delivery, scrape, bench, sent).await;
        sent.requests += u64::from(delivery.attempts);
        for (fate, samples) in [
            (Fate::Written, delivery.written),
            (Fate::Deduplicated, delivery.deduplicated),
            (Fate::Rejected, delivery.rejected_samples()),
            (Fate::Expired, delivery.expired_samples()),
        ] {
            sent.ledger.record(fate, samples);
        }
        if delivery.undelivered.is_none() {
            sent.batches += 1;
            sent.bytes += batch.body.len() as u64;
            if delivery.written + delivery.deduplicated > 0 {
                sent.newest_ms = sent.newest_ms.max(Some(batch.max_ms));
            }
        }
        if let Some(outbox) = bench
            .outbox
            .filter(|_| delivery.written + delivery.deduplicated > 0)
        {
            outbox.passed(bench.clock.now_ms());
        }
        if let Some(live) = bench.live.filter(|_| delivery.written > 0) {
            live.written(delivery.written, batch.max_ms);
        }
        for rejected in &delivery.rejected {
            sent.incidents.push(rejected.incident(&self.id, repeated));
        }
        for refused in delivery.rejected.chunk_by(RejectedBatch::has_same_answer) {
            let note = refused.first().map(|refused| Note {
                status: refused.status,
                message: refused.message.clone(),
            });
            let batches: Vec<_> = refused
                .iter()
                .map(|refused| refused.batch.clone())
                .collect();
            if let Some(Err(error)) = self
                .keep(bench, Folder::Rejected, scrape, &batches, note.as_ref())
                .await
            {
                self.not_kept(&error, sent);
            }
        }
        if let Some(undelivered) = &delivery.undelivered {
            sent.note_undelivered(
                &self.id,
                &undelivered.reason,
                delivery.undelivered_samples(),
            );
        }
    }

    async fn keep_expired(
        &self,
        delivery: &mut Delivery,
        scrape: u64,
        bench: &Bench<'_>,
        sent: &mut Sent,
    ) {
        if delivery.expired.is_empty() {
            return;
        }
        match self
            .keep(bench, Folder::Expired, scrape, &delivery.expired, None)
            .await
        {
            Some(Err(error)) if error.kind.is_passing() => {
                let message = format!(
                    "{error}: what is older than sample_age_limit stays owed until it can be kept"
                );
                let reason =
                    UndeliveredReason::Deadline(Some(SendFailure::without_answer(message)));
                let samples = delivery.expired_samples();
                let expired = std::mem::take(&mut delivery.expired);
                match &mut delivery.undelivered {
                    // Why the rest of it was not sent is another matter: the remote may have
                    // stopped us.
                    Some(undelivered) => {
                        undelivered.batches.splice(..0, expired);
                        sent.note_undelivered(&self.id, &reason, samples);
                    }
                    None => {
                        delivery.undelivered = Some(UndeliveredBatches {
                            batches: expired,
                            reason,
                        })
                    }
                }
                return;
            }
            // Else they would be in the way of all that is newer for as long as the store refuses
            // them.
            Some(Err(error)) => self.not_kept(&error, sent),
            Some(Ok(())) | None => {}
        }
        let text = format!(
            "send: samples for {} are older than sample_age_limit: they were not sent",
            self.id
        );
        sent.incidents.push(
            self.incident(IncidentKind::SamplesExpired, text)
                .with_samples(delivery.expired_samples()),
        );
    }

    /// None without a spool.
    async fn keep(
        &self,
        bench: &Bench<'_>,
        folder: Folder,
        scrape: u64,
        batches: &[Batch],
        note: Option<&Note>,
    ) -> Option<Result<(), StoreError>> {
        Some(bench.outbox?.keep(folder, scrape, batches, note).await)
    }

    fn not_kept(&self, error: &StoreError, sent: &mut Sent) {
        let error = format!(
            "{error}: batches for {} that were refused or too old are not kept",
            self.id
        );
        // At once: a kill would take the report along, and they are gone.
        tracing::warn!("{error}");
        sent.incidents
            .push(self.incident(IncidentKind::BatchNotKept, error));
    }

    /// An incident of this remote.
    fn incident(&self, kind: IncidentKind, text: String) -> Incident {
        Incident::new(kind, text).for_remote(&self.id)
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
        Self {
            ledger,
            ..Self::default()
        }
    }

    fn note_undelivered(&mut self, remote: &str, reason: &UndeliveredReason, samples: u64) {
        self.stopped |= matches!(reason, UndeliveredReason::Stopped(_));
        let incident = reason.incident(remote, samples);
        if !self
            .incidents
            .iter()
            .any(|known| known.text == incident.text)
        {
            tracing::warn!("{}", incident.text);
        }
        self.incidents.push(incident);
    }
}
