//! The way from memory to the spool, for samples that exceed the capacity and, at the end of the
//! tick, for all samples that are left.

use tokio::time::Instant;

use super::{Lane, LaneContext, LaneSummary};
use crate::batch;
use crate::queue::CommittedScrape;
use crate::report::{Fate, Incident, IncidentKind, counted};
use crate::spool::outbox::{Fallback, Outbox, PutError};

impl Lane {
    /// Spools samples that exceed the capacity, after they have waited for room. After the end of
    /// sending it spools all samples. It ends with the scrapes. Returns how many samples were
    /// spooled because sending had ended, and the incident that stopped it early, if there was one.
    pub(in crate::tick) async fn overflow(
        &self,
        outbox: &Outbox,
        context: &LaneContext<'_>,
    ) -> (u64, Option<Incident>) {
        let mut left_over = 0;
        while self.queue.overflowing(|| self.room()).await {
            // A short burst needs no write: answers make room soon.
            if self.waits_for_room(context) {
                let _ =
                    tokio::time::timeout(context.overflow_after, self.queue.room(|| self.room()))
                        .await;
                if !self.queue.exceeds(self.room()) {
                    continue;
                }
            }
            self.queue.land().await;
            // While batches are sent, the newest ones leave memory, because the oldest ones are
            // sent next. If all batches are in flight already, the answers make room.
            let Some(scrape) = self.queue.spill(self.room()) else {
                tokio::task::yield_now().await;
                continue;
            };
            // This is read before the write: sending may end while the write takes place.
            let over = !self.queue.is_sending();
            match self.put(outbox, &scrape, Fallback::Memory).await {
                Ok(()) => {
                    left_over += if over { scrape.samples() } else { 0 };
                    self.queue.spilled(&scrape, Vec::new());
                    context.rest.changed();
                }
                // The batches return to their place in the queue, so that the order is kept. The
                // flush at the end of the tick tries again.
                Err(PutError { left, error }) => {
                    self.queue.spilled(&scrape, left);
                    self.can_spool.set(false);
                    self.queue.stay();
                    context.rest.changed();
                    tracing::warn!("{error}: what exceeds the capacity stays in memory");
                    let kind = IncidentKind::SpoolUnavailable;
                    return (left_over, Some(self.incident(kind, error.to_string())));
                }
            }
        }
        (left_over, None)
    }

    /// Returns whether an overflow waits for room first. It does not wait while the remote backs
    /// off for longer than the wait, or after sending has ended.
    fn waits_for_room(&self, context: &LaneContext<'_>) -> bool {
        let room_by = Instant::now() + context.overflow_after;
        !context.overflow_after.is_zero()
            && self.queue.is_sending()
            && self
                .state
                .back_off_until()
                .is_none_or(|until| until <= room_by)
    }

    /// Writes one scrape to the spool, and learns from it how slow the store is.
    async fn put(
        &self,
        outbox: &Outbox,
        scrape: &CommittedScrape,
        fallback: Fallback,
    ) -> Result<(), PutError> {
        let bytes = scrape.batches.iter().map(|batch| batch.body.len()).sum();
        let started = Instant::now();
        let objects = outbox
            .put(
                scrape.number,
                scrape.batches.iter().cloned().collect(),
                fallback,
            )
            .await?;
        self.wrote(bytes, objects, started.elapsed());
        Ok(())
    }

    /// Reports samples that could neither be sent nor spooled, and that the home keeps: they are
    /// read again.
    fn report_returned(&self, samples: u64, why: &str, sent: &mut LaneSummary) {
        if samples == 0 {
            return;
        }
        sent.ledger.rolled_back += samples;
        sent.must_read_again = true;
        let left = counted(samples, "sample", ["was", "were"]);
        let text = format!(
            "queue: {}: {left} neither sent nor spooled: {why}; the home keeps what it has \
             sampled, and the next tick reads it again",
            self.id
        );
        tracing::warn!("{text}");
        sent.incidents.push(
            self.incident(IncidentKind::SamplesReturned, text)
                .with_samples(samples),
        );
    }

    /// Puts all that memory still holds into the spool. Samples that cannot be put there are lost,
    /// unless the home keeps them.
    pub(in crate::tick) async fn flush(&self, context: &LaneContext<'_>, sent: &mut LaneSummary) {
        let (mut lost, mut returned, mut spooled) = (0, 0, sent.left_over);
        let mut why =
            "they could not be sent before the tick ended, and there is no spool".to_owned();
        let mut is_returned = false;
        for scrape in self.queue.drain() {
            let at_home = scrape.traits.at_home;
            let left = match context.outbox {
                None => scrape.batches.into(),
                // What is read again comes after the spool, so nothing newer may go there.
                Some(_) if at_home && is_returned => scrape.batches.into(),
                Some(outbox) => match self.put(outbox, &scrape, fallback(&scrape)).await {
                    Ok(()) => {
                        spooled += scrape.samples();
                        continue;
                    }
                    Err(PutError { left, error }) => {
                        why = error.to_string();
                        left
                    }
                },
            };
            let samples = batch::samples(&left);
            if at_home {
                is_returned = true;
                returned += samples;
            } else {
                lost += samples;
            }
        }
        self.report_returned(returned, &why, sent);
        if spooled > 0 && sent.incidents.is_empty() {
            // Without this one, no incident would say why the tick is only a partial success.
            let waiting = counted(spooled, "sample", ["waits", "wait"]);
            let text = format!(
                "send: out of time for {}: {waiting} in the spool, and the next tick sends from \
                 there first",
                self.id
            );
            sent.incidents.push(
                self.incident(IncidentKind::OutOfTime, text)
                    .with_samples(spooled),
            );
        }
        if lost > 0 {
            // The home may keep them after all: the next tick asks it.
            sent.must_read_again = true;
            sent.ledger.record(Fate::Lost, lost);
            tracing::error!(samples = lost, "samples are lost: {why}");
            let gone = counted(lost, "sample", ["is", "are"]);
            let text = format!("queue: {}: {gone} lost: {why}", self.id);
            sent.incidents.push(
                self.incident(IncidentKind::SamplesLost, text)
                    .with_samples(lost),
            );
        }
    }
}

/// What becomes of a scrape that cannot be put into the spool at the end of a tick. One that is
/// read again must never be sent from a segment that turns up later.
fn fallback(scrape: &CommittedScrape) -> Fallback {
    if scrape.traits.at_home {
        Fallback::Memory
    } else {
        Fallback::Loss
    }
}
