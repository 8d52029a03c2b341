//! One remote in a tick: its queue in memory, its outbox in the spool, and what leaves them.

mod drain;
mod overflow;
mod pace;

use std::cell::Cell;
use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use self::pace::Pace;
use super::progress::TickProgress;
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

/// Expected bytes a second of a write to the store before any was seen.
const FIRST_WRITE_RATE: f64 = 4e6;

/// Expected seconds of a small write before any was seen.
const FIRST_WRITE_TIME: f64 = 0.05;

/// Writes of fewer bytes say nothing about a rate.
const LARGE_WRITE: usize = 256 << 10;

/// The way to one remote: a `remote_write` entry with its queue in memory. Kept for the process.
pub(super) struct Lane {
    pub(super) id: String,
    pub(super) dir: RemoteDir,
    pub(super) min_shards: usize,
    pub(super) max_shards: usize,
    /// Samples that memory may hold for each shard in use.
    capacity: u64,
    settings: DeliverSettings,
    pub(super) remote: Box<dyn Remote>,
    pub(super) state: SendState,
    pub(super) queue: Queue,
    /// Shards of the scrape that is being sent from memory; 0 between scrapes.
    pub(super) shards_in_use: Cell<usize>,
    /// Rate of the slowest large write to the store, bytes a second.
    write_rate: Cell<f64>,
    /// Duration of the slowest small write, seconds.
    write_time: Cell<f64>,
    /// Rate at which the backlog leaves the spool.
    pace: Pace,
    /// Time at which it last got metadata, milliseconds since 1970.
    pub(super) metadata_ms: Cell<Option<i64>>,
}

/// What a lane works with in one tick.
#[derive(Clone, Copy)]
pub(super) struct LaneContext<'a> {
    pub(super) clock: &'a dyn Clock,
    /// Ends of the tick's time.
    pub(super) deadlines: Deadlines,
    /// The backlog of the remote. Without a spool, samples that are left at the end are lost.
    pub(super) outbox: Option<&'a Outbox>,
    /// Epoch of the lease.
    pub(super) epoch: u64,
    /// Time for which an overflow waits for room.
    pub(super) overflow_after: Duration,
    /// Most samples a second that may leave the spool.
    pub(super) drain_rate: f64,
    /// Largest size of a segment, bytes.
    pub(super) segment_bytes: usize,
    /// All lanes: they share the way to the store when the tick ends.
    pub(super) lanes: &'a [Lane],
    pub(super) live: Option<&'a TickProgress>,
}

/// The result of a lane's tick.
#[derive(Debug, Default)]
pub(super) struct LaneSummary {
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
    /// Whether the remote refuses all requests, so that nothing more was tried.
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

    /// Sends and spools until the scrapes have ended, then puts what memory still holds into the
    /// spool.
    pub(super) async fn run(&self, context: &LaneContext<'_>) -> LaneSummary {
        let overflow = async {
            match context.outbox {
                Some(outbox) => self.overflow(outbox, context).await,
                None => (0, None),
            }
        };
        let sending = async { tokio::join!(self.drain(context), overflow) };
        let (mut sent, (left_over, incident)) = tokio::select! {
            biased;
            done = sending => done,
            never = self.follow_sending_ends(context) => match never {},
        };
        sent.left_over = left_over;
        sent.incidents.extend(incident);
        // Each lane flushes as soon as it can: another remote may need all the time that is left.
        self.flush(context, &mut sent).await;
        sent
    }

    /// Uncompressed bytes at which batches must close.
    pub(super) fn max_request_bytes(&self) -> usize {
        self.state.max_request_bytes()
    }

    /// Number of batches that are in flight at once, when so many wait.
    pub(super) fn shards(&self, batches: usize) -> usize {
        batches.clamp(self.min_shards, self.max_shards)
    }

    /// Samples that memory may hold. It is 0 once sending has ended: they would only wait for the end
    /// of the tick, and the last scrape may leave too little time for writing them then.
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
    pub(super) fn deliver_context<'a>(&'a self, context: &LaneContext<'a>) -> DeliverContext<'a> {
        DeliverContext {
            settings: &self.settings,
            state: &self.state,
            clock: context.clock,
            work_ends: context.deadlines.work_ends(),
            last_429: false,
        }
    }

    /// End of sending, as far as it is known now: early enough for what memory holds to be written.
    pub(super) fn sending_ends(&self, context: &LaneContext<'_>) -> Instant {
        if context.outbox.is_none() {
            return context.deadlines.work_ends();
        }
        // Each scrape is a write of its own, and the batches in flight may belong to one scrape
        // more than those that wait.
        let writes = self.queue.bytes() / context.segment_bytes.max(1) + self.queue.scrapes() + 1;
        let bytes: usize = context.lanes.iter().map(|lane| lane.queue.bytes()).sum();
        let reserve = writes as f64 * self.write_time.get() + bytes as f64 / self.write_rate.get();
        let longest = Duration::from_secs(3600).as_secs_f64();
        context
            .deadlines
            .sending_ends(Duration::from_secs_f64(reserve.min(longest)))
    }

    /// Moves the end of sending as memory fills, and ends sending then: the flush of memory must not
    /// wait for other calls to a slow store. This future is only ever dropped.
    async fn follow_sending_ends(&self, context: &LaneContext<'_>) -> Infallible {
        loop {
            let mut changed = std::pin::pin!(self.queue.changed());
            changed.as_mut().enable();
            let sending_ends = self.sending_ends(context);
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
        if bytes >= LARGE_WRITE {
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
        context: &LaneContext<'_>,
        (scrape, repeated): (u64, bool),
        sent: &mut LaneSummary,
    ) {
        self.keep_expired(delivery, scrape, context, sent).await;
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
        if let Some(outbox) = context
            .outbox
            .filter(|_| delivery.written + delivery.deduplicated > 0)
        {
            outbox.passed(context.clock.now_ms());
        }
        if let Some(live) = context.live.filter(|_| delivery.written > 0) {
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
                .keep(context, Folder::Rejected, scrape, &batches, note.as_ref())
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
        context: &LaneContext<'_>,
        sent: &mut LaneSummary,
    ) {
        if delivery.expired.is_empty() {
            return;
        }
        match self
            .keep(context, Folder::Expired, scrape, &delivery.expired, None)
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
        context: &LaneContext<'_>,
        folder: Folder,
        scrape: u64,
        batches: &[Batch],
        note: Option<&Note>,
    ) -> Option<Result<(), StoreError>> {
        Some(context.outbox?.keep(folder, scrape, batches, note).await)
    }

    fn not_kept(&self, error: &StoreError, sent: &mut LaneSummary) {
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

    pub(super) fn report(&self, sent: &LaneSummary) -> RemoteReport {
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

impl LaneSummary {
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
