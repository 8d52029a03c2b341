//! Sending of the backlog and of new scrapes, in the order of their numbers: the lowest number goes
//! first, whether it is in memory or in the spool.

use std::ops::ControlFlow;
use std::time::Duration;

use futures_util::future;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{BatchOrigin, Lane, LaneContext, LaneSummary};
use crate::batch::Batch;
use crate::queue::Front;
use crate::report::{Fate, IncidentKind, counted};
use crate::send::{
    BatchHistory, DeliverContext, Delivery, UndeliveredBatches, UndeliveredReason, deliver,
};
use crate::spool::outbox::{BatchTrial, Head, HeadError, Outbox};
use crate::time::millis;

/// The next thing to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NextToSend {
    /// The scrape of this number is next, and it is in memory.
    Scrape(u64),
    /// The oldest segment of the spool is next.
    Segment,
    /// Nothing may be sent before the queue changes.
    Wait,
    /// The queue is closed, and nothing is owed.
    Done,
}

/// A batch of the segment at the head, after its delivery has ended.
struct AnsweredBatch<'a> {
    delivery: Delivery,
    /// Place of the batch in its segment.
    place: u32,
    batch: &'a Batch,
    /// Moment of its first post.
    posted: Instant,
}

impl Lane {
    /// Sends scrape after scrape. Sending ends when the queue is closed and nothing is owed, when
    /// the remote refuses us, or when the time is up.
    pub(in crate::tick) async fn drain(&self, context: &LaneContext<'_>) -> LaneSummary {
        let mut sent = LaneSummary::default();
        self.age(context, &mut sent).await;
        while self.queue.is_sending() {
            // The wait is created before the queue is read, so that no change in between is
            // missed.
            let changed = self.queue.changed();
            let next = self.next(context);
            if matches!(next, NextToSend::Wait | NextToSend::Done) {
                self.is_idle.set(true);
                context.rest.changed();
            }
            let (flow, took) = match next {
                NextToSend::Scrape(number) => {
                    self.timed(self.send_scrape(number, context, &mut sent))
                        .await
                }
                // The next tick goes on with the backlog, and nothing newer may overtake it.
                NextToSend::Segment if context.is_over() => {
                    (ControlFlow::Break(()), Duration::ZERO)
                }
                NextToSend::Segment => match context.outbox {
                    Some(outbox) => {
                        self.timed(self.send_segment(outbox, context, &mut sent))
                            .await
                    }
                    None => (ControlFlow::Break(()), Duration::ZERO),
                },
                NextToSend::Wait
                    if timeout_at(self.sending_ends(context), changed)
                        .await
                        .is_ok() =>
                {
                    (ControlFlow::Continue(()), Duration::ZERO)
                }
                NextToSend::Wait | NextToSend::Done => (ControlFlow::Break(()), Duration::ZERO),
            };
            self.is_idle.set(false);
            sent.busy += took;
            if flow.is_break() {
                break;
            }
        }
        self.queue.stop_sending();
        self.is_idle.set(true);
        context.rest.changed();
        // Scrapes that still run put their samples into the queue. The flush takes them to the
        // spool together with those that were not sent.
        self.queue.all_scraped().await;
        self.queue.end();
        sent
    }

    /// Moves samples that are too old out of the backlog. It does so even if the remote is down.
    async fn age(&self, context: &LaneContext<'_>, sent: &mut LaneSummary) {
        let (Some(outbox), Some(limit)) = (
            context.outbox.filter(|outbox| !outbox.is_empty()),
            self.age_limit(),
        ) else {
            return;
        };
        let oldest_ms = context.clock.now_ms().saturating_sub(millis(limit));
        let mut samples = 0;
        let done = outbox.expire(oldest_ms, &mut samples).await;
        if samples > 0 {
            sent.ledger.record(Fate::Expired, samples);
            let old = counted(samples, "sample", ["is", "are"]);
            let text = format!(
                "spool: {}: {old} older than sample_age_limit, and in expired/ now",
                self.id
            );
            sent.incidents.push(
                self.incident(IncidentKind::SamplesExpired, text)
                    .with_samples(samples),
            );
        }
        sent.incidents.extend(
            done.err()
                .map(|error| self.incident(IncidentKind::SpoolUnavailable, error.to_string())),
        );
    }

    /// Measures how long `sending` takes.
    async fn timed(
        &self,
        sending: impl Future<Output = ControlFlow<()>>,
    ) -> (ControlFlow<()>, Duration) {
        let started = Instant::now();
        (sending.await, started.elapsed())
    }

    /// Finds what must be sent next, so that samples leave in the order in which they were scraped.
    fn next(&self, context: &LaneContext<'_>) -> NextToSend {
        let spooled = context
            .outbox
            .and_then(Outbox::front)
            .map(|name| (name.epoch(), name.scrape()));
        let memory = match self.queue.front() {
            Front::Scrape(number) => Some((context.epoch, number)),
            Front::Empty | Front::Closed => None,
        };
        // The smaller (epoch, scrape) goes first, in memory or in the spool. If parts of one scrape
        // are in both places, the part in the spool goes first.
        let (next, number) = match (spooled, memory) {
            (None, None) if self.queue.front() == Front::Closed => return NextToSend::Done,
            (None, None) => return NextToSend::Wait,
            (Some(spooled), memory) if memory.is_none_or(|memory| spooled <= memory) => {
                (NextToSend::Segment, spooled)
            }
            (_, Some(memory)) => (NextToSend::Scrape(memory.1), memory),
            (Some(spooled), None) => (NextToSend::Segment, spooled),
        };
        // While batches of an older scrape are on their way to the spool, they are in neither
        // place. Nothing newer of this epoch may overtake them.
        let is_spilling = number.0 == context.epoch && self.queue.is_spilling_before(number.1);
        if is_spilling || (self.queue.is_leaving() && matches!(next, NextToSend::Scrape(_))) {
            NextToSend::Wait
        } else {
            next
        }
    }

    /// Sends the batches of one scrape that are in memory, several at once. Returns when none is in
    /// flight, so that the next scrape cannot overtake this one.
    async fn send_scrape(
        &self,
        number: u64,
        context: &LaneContext<'_>,
        sent: &mut LaneSummary,
    ) -> ControlFlow<()> {
        let shards = self.shards(self.queue.waiting(number));
        self.shards_in_use.set(shards);
        let mut in_flight = FuturesUnordered::new();
        let mut is_recalled = false;
        let mut flow = ControlFlow::Continue(());
        loop {
            // Keep all shards busy, unless a batch could not be delivered.
            while flow.is_continue() && !is_recalled && in_flight.len() < shards {
                let Some(batch) = self.queue.take(number) else {
                    break;
                };
                let mut context = self.deliver_context(context);
                // A batch in memory was not sent before this delivery, unless it was read from the
                // home again after a kill.
                context.history.in_doubt = self.queue.traits(number).repeated;
                in_flight.push(async move {
                    (deliver(self.remote.as_ref(), &batch, &context).await, batch)
                });
            }
            let answered = tokio::select! {
                biased;
                answered = in_flight.next() => answered,
                // The deliveries end now, each with what was answered of its batch.
                () = self.queue.leaving(), if !is_recalled => {
                    self.state.recall();
                    is_recalled = true;
                    continue;
                }
            };
            let Some((mut delivery, batch)) = answered else {
                self.state.resume();
                self.shards_in_use.set(0);
                return flow;
            };
            let origin = BatchOrigin {
                scrape: number,
                repeated: self.queue.traits(number).repeated,
            };
            self.settle(&mut delivery, &batch, context, origin, sent)
                .await;
            match delivery.undelivered.take() {
                None => self.queue.answered(&batch),
                // The batch goes back into its place in the queue. Batches in flight are still
                // answered, but no other is posted.
                Some(undelivered) => {
                    if let Some(outbox) = context.outbox {
                        let (trial, undelivered) = (trial(&delivery), &undelivered);
                        remember(outbox, &trial, undelivered);
                    }
                    self.queue.give_back(number, &batch, undelivered.batches);
                    if undelivered.reason != UndeliveredReason::Recalled {
                        flow = ControlFlow::Break(());
                    }
                }
            }
        }
    }

    /// Sends the oldest segment, several batches at once, and deletes it when all were answered.
    /// The next segment is read meanwhile.
    async fn send_segment(
        &self,
        outbox: &Outbox,
        context: &LaneContext<'_>,
        sent: &mut LaneSummary,
    ) -> ControlFlow<()> {
        let head = match outbox.head().await {
            Ok(Some(head)) => head,
            // The segment is gone, and the next thing to send may be in memory.
            Ok(None) => return ControlFlow::Continue(()),
            Err(error) => {
                tracing::error!("{error}");
                let kind = match error {
                    HeadError::Blocked { .. } => IncidentKind::RemoteBlocked,
                    HeadError::Store(_) => IncidentKind::SpoolUnavailable,
                };
                sent.incidents.push(self.incident(kind, error.to_string()));
                return ControlFlow::Break(());
            }
        };
        let (flow, ()) = future::join(
            self.send_batches(&head, outbox, context, sent),
            outbox.prefetch(),
        )
        .await;
        if flow.is_break() {
            return flow;
        }
        match outbox.finish(head.name).await {
            Ok(()) => ControlFlow::Continue(()),
            // The segment is still in the store and would be sent again after a kill. Nothing newer
            // may be posted before it is gone, or those samples would then be out of order.
            Err(error) => {
                let text = error.to_string();
                sent.incidents
                    .push(self.incident(IncidentKind::SpoolUnavailable, text));
                ControlFlow::Break(())
            }
        }
    }

    /// Sends the batches of the segment at the head, several at once. The pace decides when each of
    /// them may be posted.
    async fn send_batches(
        &self,
        head: &Head,
        outbox: &Outbox,
        context: &LaneContext<'_>,
        sent: &mut LaneSummary,
    ) -> ControlFlow<()> {
        let shards = self.shards(head.batches.len());
        let mut waiting = head.batches.iter().peekable();
        let mut in_flight = FuturesUnordered::new();
        let mut split: Vec<(u32, Vec<Batch>)> = Vec::new();
        let mut flow = ControlFlow::Continue(());
        let mut out_of_time = false;
        loop {
            if waiting.peek().is_some() && context.is_over() {
                flow = ControlFlow::Break(());
            }
            // Post as many batches as shards and pace allow. The turn of the next one is computed
            // again each time: answers change the rate meanwhile.
            let mut next_turn = None;
            while let Some((place, batch)) = waiting.peek()
                && flow.is_continue()
                && in_flight.len() < shards
            {
                let turn = self.pace.next_turn(context.drain_rate);
                next_turn = turn.filter(|turn| !out_of_time && *turn > Instant::now());
                if next_turn.is_some() {
                    break;
                }
                in_flight.push(self.post_at_turn(head, *place, batch, outbox, context));
                waiting.next();
            }
            // Wait for an answer, for the next turn, or for the end of sending.
            let mut answered = tokio::select! {
                biased;
                Some(answered) = in_flight.next() => answered,
                () = sleep_until(context.turn_or_end(next_turn)),
                    if next_turn.is_some() => continue,
                // The next batch is posted without waiting for its turn. Its delivery finds that no
                // time is left, and reports that.
                () = self.state.sending_ended(context.deadlines.planned_work_ends()),
                    if next_turn.is_some() =>
                {
                    out_of_time = true;
                    continue;
                }
                else => break,
            };
            self.settle_answer(&mut answered, head, context, sent).await;
            let (delivery, place) = (answered.delivery, answered.place);
            let trial = trial(&delivery);
            let Some(undelivered) = delivery.undelivered else {
                outbox.answered(head.name, place);
                continue;
            };
            // Batches in flight are still answered, but nothing new is posted.
            flow = ControlFlow::Break(());
            // A batch that was split, and partly answered, must not be repeated as a whole: its
            // parts take its place below. A whole one may have met a 429, whose time is remembered.
            if undelivered.batches.len() != 1 || undelivered.batches[0].body != answered.batch.body
            {
                remember(outbox, &trial, &undelivered);
                split.push((place, undelivered.batches));
            } else {
                let in_doubt = !undelivered.in_doubt.is_empty();
                outbox.tried(head.name, place, &BatchTrial { in_doubt, ..trial });
            }
        }
        if !split.is_empty() {
            self.replace(head, split, outbox, sent).await;
        }
        flow
    }

    /// Learns the pace from an answered batch of the head, and counts its samples.
    async fn settle_answer(
        &self,
        answered: &mut AnsweredBatch<'_>,
        head: &Head,
        context: &LaneContext<'_>,
        sent: &mut LaneSummary,
    ) {
        let AnsweredBatch {
            delivery,
            batch,
            posted,
            ..
        } = answered;
        let was_throttled = delivery.throttled_ms.is_some();
        self.pace
            .answered(*posted, was_throttled, context.drain_rate);
        let origin = BatchOrigin {
            scrape: head.name.scrape(),
            repeated: head.repeated,
        };
        self.settle(delivery, batch, context, origin, sent).await;
    }

    /// Takes the present turn for a batch of the head. The future that is returned delivers it.
    fn post_at_turn<'a>(
        &'a self,
        head: &Head,
        place: u32,
        batch: &'a Batch,
        outbox: &Outbox,
        context: &LaneContext<'a>,
    ) -> impl Future<Output = AnsweredBatch<'a>> + use<'a> {
        self.pace.takes_turn(batch.samples, context.drain_rate);
        let posted = Instant::now();
        let now_ms = context.clock.now_ms();
        let trial = outbox.trial(head.name, place);
        let context = DeliverContext {
            history: BatchHistory {
                in_doubt: trial.in_doubt || head.repeated,
                was_throttled: trial.throttled_ms.is_some(),
                last_429: outbox.is_throttled_for_good(head.name, place, now_ms),
                refused_for_long: outbox.is_refused_for_long(head.name, place, now_ms),
            },
            ..self.deliver_context(context)
        };
        async move {
            AnsweredBatch {
                delivery: deliver(self.remote.as_ref(), batch, &context).await,
                place,
                batch,
                posted,
            }
        }
    }

    /// Replaces the segment after a batch was split and partly answered. The new segment holds only
    /// the batches that are still owed.
    async fn replace(
        &self,
        head: &Head,
        split: Vec<(u32, Vec<Batch>)>,
        outbox: &Outbox,
        sent: &mut LaneSummary,
    ) {
        let mut left = Vec::new();
        for (place, batch) in &head.batches {
            // The order of the batches stays: the parts of a split one take its place.
            match split.iter().find(|(split, _)| split == place) {
                Some((_, parts)) => left.extend(parts.iter().cloned()),
                None if outbox.is_owed(head.name, *place) => {
                    outbox.tried_in_memory(batch, &outbox.trial(head.name, *place));
                    left.push(batch.clone());
                }
                None => {}
            }
        }
        if let Err(error) = outbox.replace(head.name, left).await {
            let text =
                format!("{error}: the answered part of a batch that was split will be repeated");
            sent.incidents
                .push(self.incident(IncidentKind::SpoolUnavailable, text));
        }
    }
}

/// What a delivery has found out about its batch, other than what may be stored of it.
fn trial(delivery: &Delivery) -> BatchTrial {
    BatchTrial {
        throttled_ms: delivery.throttled_ms,
        refused_ms: delivery.refused_ms,
        in_doubt: false,
    }
}

/// Remembers what a delivery has found out about the batches that it gives back.
fn remember(outbox: &Outbox, trial: &BatchTrial, undelivered: &UndeliveredBatches) {
    for batch in &undelivered.batches {
        let mut doubtful = undelivered.in_doubt.iter();
        let in_doubt = doubtful.any(|doubtful| doubtful.body.is_same(&batch.body));
        outbox.tried_in_memory(batch, &BatchTrial { in_doubt, ..*trial });
    }
}
