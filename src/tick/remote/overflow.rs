//! What leaves memory for the spool: what exceeds the capacity, and in the end everything.

use tokio::time::Instant;

use super::{Bench, Lane, Sent};
use crate::queue::CommittedScrape;
use crate::report::{Fate, Incident, IncidentKind};
use crate::spool::outbox::{Fallback, Outbox, PutError};

impl Lane {
    /// Spools what exceeds the capacity, once it has waited for room, and everything once sending
    /// has ended. Ends with the scrapes. Says how many samples the end of sending left, and why it
    /// stopped early.
    pub(in crate::tick) async fn overflow(
        &self,
        outbox: &Outbox,
        bench: &Bench<'_>,
    ) -> (u64, Option<Incident>) {
        let mut left_over = 0;
        while self.queue.overflowing(|| self.room()).await {
            if self.waits_for_room(bench) {
                let _ = tokio::time::timeout(bench.overflow_after, self.queue.room(|| self.room()))
                    .await;
                if !self.queue.exceeds(self.room()) {
                    continue;
                }
            }
            let Some(scrape) = self.queue.spill(self.room()) else {
                tokio::task::yield_now().await;
                continue;
            };
            let over = !self.queue.is_sending();
            match self.put(outbox, &scrape, Fallback::Memory).await {
                Ok(()) => {
                    left_over += if over { scrape.samples() } else { 0 };
                    self.queue.spilled(&scrape, Vec::new());
                }
                Err(PutError { left, error }) => {
                    self.queue.spilled(&scrape, left);
                    tracing::warn!(
                        remote = self.id,
                        "{error}: what exceeds the capacity stays in memory"
                    );
                    let kind = IncidentKind::SpoolUnavailable;
                    return (left_over, Some(self.incident(kind, error.to_string())));
                }
            }
        }
        (left_over, None)
    }

    /// Not at all while the remote backs off for longer than that, or gets nothing any more.
    fn waits_for_room(&self, bench: &Bench<'_>) -> bool {
        let room_by = Instant::now() + bench.overflow_after;
        !bench.overflow_after.is_zero()
            && self.queue.is_sending()
            && self
                .state
                .back_off_until()
                .is_none_or(|until| until <= room_by)
    }

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

    /// Puts all that memory still holds into the spool. What cannot be put there is lost.
    pub(in crate::tick) async fn flush(&self, bench: &Bench<'_>, sent: &mut Sent) {
        let (mut lost, mut spooled) = (0, sent.left_over);
        let mut why =
            "they could not be sent before the tick ended, and there is no spool".to_owned();
        for scrape in self.queue.drain() {
            let left = match bench.outbox {
                None => scrape.batches.into(),
                Some(outbox) => match self.put(outbox, &scrape, Fallback::Loss).await {
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
            lost += left
                .iter()
                .map(|batch| u64::from(batch.samples))
                .sum::<u64>();
        }
        if spooled > 0 && sent.incidents.is_empty() {
            // Nothing else tells why the tick is no whole success.
            let text = format!(
                "send: out of time for {}: {spooled} samples are in the spool, \
                 and the next tick sends them first",
                self.id
            );
            sent.incidents.push(
                self.incident(IncidentKind::OutOfTime, text)
                    .with_samples(spooled),
            );
        }
        if lost > 0 {
            sent.ledger.record(Fate::Lost, lost);
            tracing::error!(remote = self.id, samples = lost, "samples are lost: {why}");
            let text = format!("queue: {lost} samples for {} are lost: {why}", self.id);
            sent.incidents.push(
                self.incident(IncidentKind::SamplesLost, text)
                    .with_samples(lost),
            );
        }
    }
}
