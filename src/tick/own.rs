//! The forwarder's own series: what ticks have done, kept in `state.json`, and sent like a scrape.
//!
//! A tick sends the sums as the last release has left them, because its own are known only when
//! nothing more can be sent.

use tokio::time::Instant;

use super::Forwarder;
use super::own_rules::own_rules;
use super::remote::{Lane, LaneSummary};
use super::report::TickRecord;
use super::round::ScrapeRound;
use crate::home::Target;
use crate::intake::{IntakeTransaction, Refusal, RemoteCommit};
use crate::queue::ScrapeTraits;
use crate::report::{OwnSeries, RemoteCounters, TickCounts};
use crate::scrape::text::TextParser;
use crate::time::Clock;

/// Counts what a tick has done until its release.
pub(super) fn counts(
    record: &TickRecord,
    lanes: &[Lane],
    sent: &[LaneSummary],
    clock: &dyn Clock,
    started: Instant,
) -> TickCounts {
    let busy = started.elapsed().as_millis();
    let remotes = lanes.iter().zip(sent).map(|(lane, sent)| {
        let counts = RemoteCounters {
            ledger: sent.ledger,
            requests: sent.requests,
            newest_ms: sent.newest_ms,
        };
        (lane.id.clone(), counts)
    });
    TickCounts {
        start_ms: clock.now_ms() - i64::try_from(busy).unwrap_or_default(),
        busy_ms: u64::try_from(busy).unwrap_or_default(),
        scrapes: record.scrapes.len() as u64,
        failed_scrapes: record.scrapes.iter().filter(|scrape| !scrape.up).count() as u64,
        remotes: remotes.collect(),
    }
}

impl Forwarder {
    /// Puts the forwarder's own series into the queues, as one more scrape. It fails only for want
    /// of memory for a batch, and then nothing is sent.
    pub(super) fn queue_own_series(&self, round: &ScrapeRound<'_>) {
        let (Some(target), Some(held)) = (&self.own_target, round.held) else {
            return;
        };
        let state = held.released_state();
        let Some(counters) = state.counters.as_ref().filter(|_| !round.plan.drain_only) else {
            return;
        };
        let backlog = state.backlog();
        let now_ms = self.clock.now_ms();
        let series = OwnSeries {
            counters,
            backlog_segments: backlog.segments,
            backlog_bytes: backlog.bytes,
            backlog_oldest_ms: backlog.oldest_ms,
            failing_targets: self.jobs.iter().map(|job| job.failing.len() as u64).sum(),
            now_ms,
        };
        match self.commit_own_series(target, &series.exposition(), now_ms) {
            Ok(commits) => {
                let mut record = round.record.borrow_mut();
                let lanes = self.lanes.iter().zip(&mut record.ledgers);
                for ((lane, ledger), committed) in lanes.zip(commits) {
                    ledger.add(&committed.ledger());
                    for batches in committed.scrapes {
                        lane.queue.push(batches, ScrapeTraits::default());
                    }
                }
            }
            Err(refusal) => tracing::warn!("the forwarder's own series are not sent: {refusal}"),
        }
    }

    fn commit_own_series(
        &self,
        target: &Target,
        exposition: &str,
        now_ms: i64,
    ) -> Result<Vec<RemoteCommit>, Refusal> {
        let rules = own_rules(target, &self.config, now_ms);
        let mut transaction = IntakeTransaction::begin(&self.writers, rules);
        let parsed =
            TextParser::default().parse(exposition.as_bytes(), true, &mut transaction.intake());
        let committed = match parsed {
            Ok(_) => transaction.mark_stale().and_then(|()| transaction.commit()),
            Err(error) => Err(Refusal(error.to_string())),
        };
        if committed.is_err() {
            transaction.abandon();
        }
        committed
    }
}
