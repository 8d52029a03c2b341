//! One remote in a tick: its queue in memory, its outbox in the spool, and the sending from both.

mod drain;
mod keep;
mod overflow;
mod pace;
mod table;

use std::cell::Cell;
use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use self::pace::Pace;
use self::table::RemoteTable;
use super::progress::TickProgress;
use super::rest::TickRest;
use crate::batch::Batch;
use crate::config::RemoteWrite;
use crate::queue::Queue;
use crate::report::{Fate, Incident, IncidentKind, Ledger, RemoteReport};
use crate::send::{
    BatchHistory, DeliverContext, DeliverSettings, Delivery, Remote, SendState, UndeliveredReason,
};
use crate::spool::name::RemoteDir;
use crate::spool::outbox::Outbox;
use crate::time::{Clock, Deadlines};

/// Expected rate of a large write to the store before the first one, bytes a second.
const FIRST_WRITE_RATE: f64 = 4e6;

/// Expected duration of a small write to the store before the first one, seconds.
const FIRST_WRITE_TIME: f64 = 0.05;

/// Size from which a write counts for the rate, bytes. Latency dominates smaller writes.
const LARGE_WRITE: usize = 256 << 10;

/// The way to one remote: a `remote_write` entry with its queue in memory. It is kept for the
/// process.
pub(super) struct Lane {
    /// Name of the remote for people.
    pub(super) id: String,
    /// Folder of the remote in the spool.
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
    /// Time at which the remote last got metadata, milliseconds since 1970.
    pub(super) metadata_ms: Cell<Option<i64>>,
    /// The last timestamps of its series, as the spool has them.
    pub(super) table: RemoteTable,
    /// When the last slot of the tick's minute was served.
    last_call: Cell<Option<Instant>>,
    /// Whether nothing is sent now, and nothing is left to be sent.
    is_idle: Cell<bool>,
    /// Whether memory can still go to the spool in this tick.
    can_spool: Cell<bool>,
    /// Whether samples of the last tick were neither sent nor spooled, so that the home is asked
    /// for them again.
    pub(super) must_read_again: Cell<bool>,
}

/// The context that a lane needs in one tick.
#[derive(Clone, Copy)]
pub(super) struct LaneContext<'a> {
    pub(super) clock: &'a dyn Clock,
    /// Ends of the tick's time.
    pub(super) deadlines: &'a Deadlines,
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
    /// All lanes. They share the way to the store when the tick ends.
    pub(super) lanes: &'a [Lane],
    /// Counters that others watch during the tick.
    pub(super) live: Option<&'a TickProgress>,
    /// What the tick waits for before it ends.
    pub(super) rest: &'a TickRest,
}

impl LaneContext<'_> {
    /// Returns whether the next tick is due, so that this one sends nothing more of the backlog.
    fn is_over(&self) -> bool {
        let minute_ends = self.deadlines.minute_ends();
        minute_ends.is_some_and(|ends| ends <= Instant::now())
    }

    /// Returns when a batch that waits for its turn is looked at again.
    fn turn_or_end(&self, turn: Option<Instant>) -> Instant {
        let turn = turn.unwrap_or_else(Instant::now);
        let minute_ends = self.deadlines.minute_ends();
        minute_ends.map_or(turn, |ends| ends.min(turn))
    }
}

/// The origin of a batch that is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchOrigin {
    /// Number of the scrape that the batch belongs to.
    scrape: u64,
    /// Whether a part of the batch may have been sent before a kill, so that a refusal
    /// proves nothing.
    repeated: bool,
}

/// The result of a lane's tick.
#[derive(Debug, Default)]
pub(super) struct LaneSummary {
    /// Counts of the remote's samples.
    pub(super) ledger: Ledger,
    /// Number of batches that were answered.
    batches: u64,
    /// Number of requests that were made.
    pub(super) requests: u64,
    /// Compressed size of the batches that were answered, bytes.
    bytes: u64,
    /// Time that sending took, without the waits for scrapes.
    pub(super) busy: Duration,
    /// Newest timestamp that was delivered.
    pub(super) newest_ms: Option<i64>,
    /// Incidents of the remote.
    pub(super) incidents: Vec<Incident>,
    /// Samples that went to the spool because sending had ended.
    pub(super) left_over: u64,
    /// Whether the remote refuses all requests, so that nothing more was tried.
    pub(super) stopped: bool,
    /// Whether samples that were read or scraped must be read from the home again.
    pub(super) must_read_again: bool,
}

impl Lane {
    pub(super) fn new(
        config: &RemoteWrite,
        max_request_bytes: usize,
        remote: Box<dyn Remote>,
        rng: fastrand::Rng,
    ) -> Self {
        Self {
            id: config.label.clone(),
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
            table: RemoteTable::default(),
            last_call: Cell::default(),
            is_idle: Cell::new(false),
            can_spool: Cell::new(false),
            must_read_again: Cell::new(false),
        }
    }

    /// Forgets what holds for one tick only, and trusts the store a little more again.
    pub(super) fn begin_tick(&self, now_ms: i64) {
        self.state.begin_tick(now_ms);
        self.queue.begin();
        self.pace.begin();
        self.last_call.set(None);
        self.is_idle.set(false);
        // One slow write must not shorten all ticks of this process.
        self.write_rate
            .set((self.write_rate.get() * 2.0).min(FIRST_WRITE_RATE));
        self.write_time
            .set((self.write_time.get() / 2.0).max(FIRST_WRITE_TIME));
    }

    /// Sends and spools until the scrapes have ended, then puts what memory still holds into the
    /// spool.
    pub(super) async fn run(&self, context: &LaneContext<'_>) -> LaneSummary {
        self.can_spool.set(context.outbox.is_some());
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
        // Each lane flushes as soon as it can, because another remote may need all the time that is
        // left.
        self.flush(context, &mut sent).await;
        sent
    }

    /// Records that the slots of the tick's minute were served.
    pub(super) fn last_call(&self) {
        self.last_call.set(Some(Instant::now()));
        self.queue.touch();
    }

    /// Wakes who waits for a moment that has moved.
    pub(super) fn deadlines_moved(&self) {
        self.queue.touch();
    }

    /// Returns whether the tick need not go on for this remote: nothing is being sent, and memory
    /// is empty or must wait for the end of the tick.
    pub(super) fn is_at_rest(&self) -> bool {
        let is_stuck = !self.queue.is_sending() && !self.can_spool.get();
        self.is_idle.get() && (self.queue.is_empty() || is_stuck)
    }

    /// Returns the uncompressed size at which batches must close, bytes.
    pub(super) fn max_request_bytes(&self) -> usize {
        self.state.max_request_bytes()
    }

    /// Returns how many samples a request may have, as far as is known of the remote.
    pub(super) fn max_request_samples(&self) -> usize {
        self.state.max_request_samples() as usize
    }

    /// Returns how many batches may be in flight at once when `batches` of them wait.
    pub(super) fn shards(&self, batches: usize) -> usize {
        batches.clamp(self.min_shards, self.max_shards)
    }

    /// Returns how many samples memory may hold. After the end of sending it is 0, so that samples
    /// are spooled at once: the last scrape may leave too little time to write them at the end of
    /// the tick.
    pub(super) fn room(&self) -> u64 {
        if !self.queue.is_sending() {
            return 0;
        }
        let shards = self
            .shards(self.queue.most_batches())
            .max(self.shards_in_use.get());
        self.capacity.saturating_mul(shards as u64)
    }

    /// Makes the context in which one batch is delivered.
    pub(super) fn deliver_context<'a>(&'a self, context: &LaneContext<'a>) -> DeliverContext<'a> {
        DeliverContext {
            settings: &self.settings,
            state: &self.state,
            clock: context.clock,
            // The state knows when sending ends as long as the lease is not renewed.
            work_ends: context.deadlines.planned_work_ends(),
            history: BatchHistory::default(),
        }
    }

    /// Returns the end of sending as it is known now. It leaves enough time to write all samples in
    /// memory to the spool.
    pub(super) fn sending_ends(&self, context: &LaneContext<'_>) -> Instant {
        if context.outbox.is_none() {
            return context.deadlines.work_ends();
        }
        // The reserve is the time of all writes plus the time of all bytes. Each scrape is a write
        // of its own, and each full segment another. One is added because the batches in flight may
        // belong to a scrape of which none wait. The bytes are those of all lanes, because all
        // write at the same time through the same network.
        let writes = self.queue.bytes() / context.segment_bytes.max(1) + self.queue.scrapes() + 1;
        let bytes: usize = context.lanes.iter().map(|lane| lane.queue.bytes()).sum();
        let reserve = writes as f64 * self.write_time.get() + bytes as f64 / self.write_rate.get();
        let longest = Duration::from_secs(3600).as_secs_f64();
        let sending_ends = context
            .deadlines
            .sending_ends(Duration::from_secs_f64(reserve.min(longest)));
        // Once the slots of its minute are served, a tick of a schedule costs money only for a
        // remote that answers, and the next tick must not wait for this one.
        match self.last_call.get() {
            Some(last_call) if context.deadlines.minute_ends().is_some() => sending_ends
                .min(context.deadlines.hands_over(last_call))
                .min(self.state.gives_up_at().unwrap_or(sending_ends)),
            _ => sending_ends,
        }
    }

    /// Moves the end of sending as memory fills and empties, and ends sending at that time. It runs
    /// on its own so that the flush of memory need not wait for other calls to a slow store. This
    /// future never completes: it is dropped.
    async fn follow_sending_ends(&self, context: &LaneContext<'_>) -> Infallible {
        loop {
            // The wait is registered before the queue is read, so that no change in between is
            // missed.
            let mut changed = std::pin::pin!(self.queue.changed());
            changed.as_mut().enable();
            let mut progressed = std::pin::pin!(self.state.progressed());
            progressed.as_mut().enable();
            let sending_ends = self.sending_ends(context);
            self.state.set_sending_ends(sending_ends);
            tokio::select! {
                biased;
                () = changed => {}
                () = progressed => {}
                () = sleep_until(sending_ends) => {
                    self.queue.stop_sending();
                    return std::future::pending().await;
                }
            }
        }
    }

    /// Returns the age beyond which samples are not sent.
    pub(super) fn age_limit(&self) -> Option<Duration> {
        self.settings.sample_age_limit
    }

    /// Learns from a write how slow the store is. Large writes tell its rate, small ones its
    /// latency, and the slowest of each counts.
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

    /// Counts the samples of a delivered batch by their fate, and keeps those that were refused or
    /// are too old in the spool. Those that cannot be kept for now become undelivered: they stay
    /// owed, and the next tick tries again.
    pub(super) async fn settle(
        &self,
        delivery: &mut Delivery,
        batch: &Batch,
        context: &LaneContext<'_>,
        origin: BatchOrigin,
        sent: &mut LaneSummary,
    ) {
        let BatchOrigin { scrape, repeated } = origin;
        // These come first: they may turn refused and expired samples into undelivered ones, which
        // the counts below must see.
        self.keep_rejected(delivery, scrape, context, sent).await;
        self.keep_expired(delivery, scrape, context, sent).await;
        sent.requests += u64::from(delivery.attempts);
        for (fate, samples) in [
            (Fate::Written, delivery.written),
            (Fate::Deduplicated, delivery.deduplicated),
            (Fate::Repeated, delivery.repeated),
            (Fate::Rejected, delivery.rejected_samples()),
            (Fate::Expired, delivery.expired_samples()),
        ] {
            sent.ledger.record(fate, samples);
        }
        if delivery.undelivered.is_none() {
            sent.batches += 1;
            sent.bytes += batch.body.len() as u64;
            if delivery.taken() > 0 {
                sent.newest_ms = sent.newest_ms.max(Some(batch.max_ms));
            }
        }
        if let Some(outbox) = context.outbox.filter(|_| delivery.taken() > 0) {
            outbox.passed(context.clock.now_ms());
        }
        if let Some(live) = context.live.filter(|_| delivery.written > 0) {
            live.written(delivery.written, batch.max_ms);
        }
        for rejected in &delivery.rejected {
            sent.incidents.push(rejected.incident(&self.id, repeated));
        }
        if let Some(undelivered) = &delivery.undelivered {
            sent.note_undelivered(
                &self.id,
                &undelivered.reason,
                delivery.undelivered_samples(),
            );
        }
    }

    /// Makes an incident of this remote.
    fn incident(&self, kind: IncidentKind, text: String) -> Incident {
        Incident::new(kind, text).for_remote(&self.id)
    }

    /// Makes the remote's part of the report.
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
    /// Makes the summary of a lane that sent nothing.
    pub(super) fn only(ledger: Ledger) -> Self {
        Self {
            ledger,
            ..Self::default()
        }
    }

    /// Records why samples were not delivered. Each text is logged only once in a tick. Why a
    /// remote was stopped was logged when it was.
    fn note_undelivered(&mut self, remote: &str, reason: &UndeliveredReason, samples: u64) {
        let is_stop = matches!(reason, UndeliveredReason::Stopped(_));
        self.stopped |= is_stop;
        let Some(incident) = reason.incident(remote, samples) else {
            return;
        };
        let is_known = self
            .incidents
            .iter()
            .any(|known| known.text == incident.text);
        if !is_known && !is_stop {
            tracing::warn!("{}", incident.text);
        }
        self.incidents.push(incident);
    }
}
