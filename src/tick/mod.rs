//! One invocation, in reading order: `lease → (drain ∥ scrapes) → flush to the spool → release →
//! report`.
//!
//! A tick runs as one future: no task outlives it, and its state needs no lock.

mod forwarder;
mod job;
mod last_minute;
mod lease;
mod memory;
mod metadata;
mod neighbours;
mod own;
mod own_rules;
mod plan;
mod preview;
mod progress;
mod reads;
mod remote;
mod report;
mod rest;
mod round;
mod scrapes;
mod suspension;

use std::cell::RefCell;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use tracing::Instrument as _;

pub use self::forwarder::{Dependencies, Forwarder, ForwarderError};
use self::job::Job;
pub(crate) use self::job::newest_slot_ms;
use self::lease::{LeaseOutcome, LeasedSpool};
pub use self::neighbours::Neighbours;
pub(crate) use self::own_rules::show_own_label_sets;
pub use self::plan::Plan;
pub use self::preview::Preview;
pub use self::progress::TickProgress;
use self::remote::{Lane, LaneContext, LaneSummary};
use self::report::TickRecord;
use self::rest::TickRest;
use self::round::ScrapeRound;
use crate::config::{Config, ScrapeConfig};
use crate::report::{
    Fate, Incident, IncidentKind, Ledger, Outcome, Report, SpoolReport, counted, spans,
};
use crate::spool::state::JobState;
use crate::time::Deadlines;

/// Time between the starts of two ticks of a schedule.
const MINUTE: Duration = Duration::from_secs(60);

/// Length of a lease that is renewed. It bounds the wait after a kill, and the time for which a
/// store may be down that holds the spool of `forwardctl run`: half of it, less the margins.
const LEASE_TERM: Duration = Duration::from_secs(30);

impl Forwarder {
    /// Runs one tick. It always ends with a report, before the plan's deadline.
    ///
    /// A tick of a schedule serves the slots of the minute that begins now. It ends when they are
    /// served and no remote that answers has anything left to take; until then it goes on with the
    /// slots that come. The next tick starts a minute after this one.
    pub async fn tick(&mut self, plan: &Plan) -> Report {
        let (started, start_ms) = (Instant::now(), self.clock.now_ms());
        self.most_held.set(0);
        let deadline_margin = self.config.forwarder.deadline_margin;
        let mut planned = Deadlines::new(started, plan.deadline, deadline_margin);
        if plan.is_scheduled() {
            planned = planned.with_minute_end(started + MINUTE);
        }
        if plan.renews_lease {
            planned = planned.with_lease_term(LEASE_TERM);
        }
        let begun = match &mut self.holder {
            Some(holder) => holder.begin(plan, &planned, &self.lanes).await,
            None => LeaseOutcome::Without { degraded: None },
        };
        let (held, degraded) = match begun {
            LeaseOutcome::Leased(held) => (Some(*held), None),
            LeaseOutcome::Without { degraded } => (None, degraded),
            LeaseOutcome::Busy(incident) => {
                return self.untouched(Outcome::Busy, incident, started);
            }
            LeaseOutcome::Down(incident) => {
                return self.untouched(Outcome::Failed, incident, started);
            }
        };
        let mut record = TickRecord {
            ledgers: vec![Ledger::default(); self.lanes.len()],
            ..TickRecord::default()
        };
        record.incidents.extend(degraded.iter().cloned());
        self.remember(held.as_ref(), &mut record);
        self.begin_reads(held.as_ref()).await;

        let deadlines = match &held {
            Some(held) => held.deadlines().clone(),
            None => planned.without_lease(),
        };
        let span = spans::tick(held.as_ref().map_or(0, LeasedSpool::epoch));
        let (mut sent, mut record) = self
            .work(plan, held.as_ref(), &deadlines, start_ms, record)
            .instrument(span.clone())
            .await;
        let metadata_incidents = self
            .send_metadata(plan, deadlines.work_ends())
            .instrument(span.clone())
            .await;
        record.incidents.extend(metadata_incidents);
        self.finish(
            held,
            sent.as_mut_slice(),
            record,
            degraded.is_some(),
            started,
        )
        .instrument(span)
        .await
    }

    /// Takes over what another process may have changed since this one had the lease.
    fn remember(&mut self, held: Option<&LeasedSpool>, record: &mut TickRecord) {
        if let Some(held) = held {
            record.after_a_kill = held.after_a_kill();
            record.has_orphans = held.has_orphans();
            record.orphans_lost = held.orphans_lost;
            record.incidents.extend(held.orphans());
            if !held.continued() {
                // Another process may have sent newer samples and served newer slots.
                self.writers
                    .iter()
                    .for_each(|writer| writer.borrow_mut().forget_timestamps());
                self.lanes
                    .iter()
                    .for_each(|lane| lane.metadata_ms.set(held.metadata_ms(lane)));
                for (job, config) in self.jobs.iter_mut().zip(&self.config.scrape_configs) {
                    job.take_over(&held.job(&config.job_name));
                }
            }
        }
        // A tick whose future was dropped midway has left its staged bytes.
        self.staged.set(0);
        for (lane, writer) in self.lanes.iter().zip(&self.writers) {
            lane.begin_tick(self.clock.now_ms());
            let mut writer = writer.borrow_mut();
            writer.limit_bytes(lane.max_request_bytes());
            writer.limit_samples(lane.max_request_samples());
        }
    }

    /// Scrapes and sends at the same time, then puts the samples that are left into the spool.
    async fn work(
        &self,
        plan: &Plan,
        held: Option<&LeasedSpool>,
        deadlines: &Deadlines,
        start_ms: i64,
        record: TickRecord,
    ) -> (Vec<LaneSummary>, TickRecord) {
        let rest = TickRest::new(self.jobs.len());
        let contexts: Vec<_> = (0..self.lanes.len())
            .map(|index| self.lane_context(index, plan, held, deadlines, &rest))
            .collect();
        let record = RefCell::new(record);
        let round = ScrapeRound {
            plan,
            held,
            start_ms,
            started: Instant::now(),
            deadlines,
            rest: &rest,
            record: &record,
        };
        self.queue_own_series(&round);
        let scrapes = async {
            join_all(self.jobs.iter().enumerate().map(|(index, job)| {
                let span = spans::job(&self.config.scrape_configs[index].job_name);
                self.serve(index, job, &round).instrument(span)
            }))
            .await;
            self.lanes.iter().for_each(|lane| lane.queue.close());
        };
        let lanes = self.lanes.iter().zip(&contexts);
        let sending = join_all(lanes.map(|(lane, context)| {
            let span = spans::remote(&lane.id);
            lane.run(context).instrument(span)
        }));
        let working = async { tokio::join!(scrapes, sending) };
        let ((), sent) = tokio::select! {
            biased;
            done = self.fenced(self.weighed(working, held), held) => done,
            never = self.keep_lease(held) => match never {},
            never = self.end_sending_when_stopped(plan) => match never {},
        };
        (sent, record.into_inner())
    }

    /// Makes the context that a lane needs in this tick.
    fn lane_context<'a>(
        &'a self,
        index: usize,
        plan: &'a Plan,
        held: Option<&'a LeasedSpool>,
        deadlines: &'a Deadlines,
        rest: &'a TickRest,
    ) -> LaneContext<'a> {
        let spool = &self.config.forwarder.spool;
        LaneContext {
            clock: &*self.clock,
            deadlines,
            outbox: held.map(|held| &held.outboxes[index]),
            epoch: held.map_or(0, LeasedSpool::epoch),
            overflow_after: spool.overflow_after,
            drain_rate: spool.drain_samples_per_second as f64,
            segment_bytes: spool.segment_bytes,
            lanes: &self.lanes,
            live: plan.live.as_deref(),
            rest,
        }
    }

    /// Renews a short lease in time. If that fails for too long, the tick's time ends with the
    /// lease. This future never completes: it is dropped.
    async fn keep_lease(&self, held: Option<&LeasedSpool>) -> std::convert::Infallible {
        if let (Some(holder), Some(held)) = (&self.holder, held) {
            while holder.renew(held).await {
                self.lanes.iter().for_each(Lane::deadlines_moved);
            }
        }
        std::future::pending().await
    }

    /// Waits for the signal to stop, and then leaves requests in flight only a little time. This
    /// future never completes: it is dropped.
    async fn end_sending_when_stopped(&self, plan: &Plan) -> std::convert::Infallible {
        if let Some(mut stop) = plan.stop.clone()
            && stop.wait_for(|stop| *stop).await.is_ok()
        {
            let grace_ends = Deadlines::stop_grace_ends(Instant::now());
            self.lanes
                .iter()
                .for_each(|lane| lane.state.stop_by(grace_ends));
        }
        std::future::pending().await
    }

    /// Adds up the ledgers, releases the lease and makes the report.
    async fn finish(
        &mut self,
        held: Option<LeasedSpool>,
        sent: &mut [LaneSummary],
        mut record: TickRecord,
        degraded: bool,
        started: Instant,
    ) -> Report {
        for (index, (sent, scraped)) in sent.iter_mut().zip(&record.ledgers).enumerate() {
            sent.ledger.add(scraped);
            if let Some(held) = &held {
                let outbox = &held.outboxes[index];
                outbox.count_uncounted().await;
                let remote = &self.lanes[index].id;
                let owed = outbox.backlog().samples;
                sent.ledger
                    .record_backlog(held.owed_before[index] + outbox.take_found(), owed);
                sent.ledger.record(Fate::Lost, outbox.take_lost());
                let incidents = outbox.take_incidents().into_iter();
                sent.incidents
                    .extend(incidents.map(|incident| incident.for_remote(remote)));
                if owed > 0 && sent.incidents.is_empty() {
                    // Writing them took until the end of the tick, or the drain rate held them
                    // back. Without this one, no incident would report them.
                    let waiting = counted(owed, "sample", ["waits", "wait"]);
                    let text = format!(
                        "send: {waiting} in the spool for {remote}: the next tick sends from \
                         there first"
                    );
                    sent.incidents.push(
                        Incident::new(IncidentKind::BacklogLeft, text)
                            .for_remote(remote)
                            .with_samples(owed),
                    );
                }
            }
            record.incidents.append(&mut sent.incidents);
            if sent.ledger.lost > 0 {
                // Forgotten timestamps let the next scrape send the lost samples again, if the home
                // still exposes them.
                self.writers[index].borrow_mut().forget_timestamps();
            }
        }
        self.note_failing(&record);
        self.settle_reads(held.as_ref(), sent).await;
        let mut spool = SpoolReport::default();
        let mut reads = self.reads_by_job();
        if let (Some(holder), Some(held)) = (&mut self.holder, held) {
            let mut jobs = job_states(&self.config, &self.jobs, &self.lanes, &held, sent);
            for (name, job) in &mut jobs {
                // Without reads, federation moves on alone, and old watermarks would be wrong
                // later.
                if self.cursors.is_empty() {
                    job.reads.clear();
                }
                job.reads.extend(reads.remove(name).unwrap_or_default());
            }
            let counts = own::counts(&record, &self.lanes, sent, &*self.clock, started);
            let (report, incident) = holder.release(held, jobs, &counts, &self.lanes).await;
            spool = report;
            if let Some(incident) = incident {
                tracing::error!("{}", incident.text);
                record.incidents.push(incident);
            }
        }
        if let Some(holder) = self.holder.as_mut().filter(|_| degraded) {
            holder.went_without();
        }
        record.degraded |= degraded;
        self.report(sent, record, spool, false, started)
    }

    /// Notes which targets' last scrape or read has failed.
    fn note_failing(&mut self, record: &TickRecord) {
        for (job, config) in self.jobs.iter_mut().zip(&self.config.scrape_configs) {
            job.note_failing(|instance| record.has_failed(&config.job_name, instance));
        }
    }

    /// Reports a tick that could not begin.
    fn untouched(&self, outcome: Outcome, incident: Incident, started: Instant) -> Report {
        tracing::warn!("{}", incident.text);
        let sent: Vec<_> = self.lanes.iter().map(|_| LaneSummary::default()).collect();
        let report = self.report(
            &sent,
            TickRecord {
                incidents: vec![incident],
                ..TickRecord::default()
            },
            SpoolReport::default(),
            false,
            started,
        );
        Report { outcome, ..report }
    }
}

/// Makes the state of the jobs for the next tick. A watermark moves only when the remote lost
/// nothing.
fn job_states(
    config: &Config,
    jobs: &[Job],
    lanes: &[Lane],
    held: &LeasedSpool,
    sent: &[LaneSummary],
) -> std::collections::BTreeMap<String, JobState> {
    let state = |(config, job): (&ScrapeConfig, &Job)| {
        let mut state = held.job(&config.job_name);
        state.last_slot_ms = job.served_ms.get().or(state.last_slot_ms);
        state.failing.clone_from(&job.failing);
        for (lane, sent) in lanes.iter().zip(sent) {
            let is_whole = sent.ledger.lost == 0 && !sent.must_read_again;
            if let Some(scraped_ms) = job.scraped_ms.get().filter(|_| is_whole) {
                state.watermarks.insert(lane.dir.clone(), scraped_ms);
            }
        }
        (config.job_name.clone(), state)
    };
    config.scrape_configs.iter().zip(jobs).map(state).collect()
}
