//! Sending: what has the smallest number goes first, from memory or from the spool.

use std::time::Duration;

use futures_util::future;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Lane, LaneContext, LaneSummary};
use crate::batch::Batch;
use crate::queue::Front;
use crate::report::{Fate, IncidentKind};
use crate::send::{DeliverContext, Delivery, deliver};
use crate::spool::outbox::{Head, HeadError, Outbox};
use crate::time::millis;

/// The next thing to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NextToSend {
    Scrape(u64),
    Segment,
    Wait,
    Done,
}

/// A batch of the segment at the head, when its delivery has ended.
struct Posted<'a> {
    delivery: Delivery,
    /// Place of the batch in its segment.
    place: u32,
    batch: &'a Batch,
    /// Moment of its first post.
    posted: Instant,
}

/// Whether sending goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Going {
    On,
    Over,
}

impl Lane {
    /// Sends scrape after scrape until the queue is closed and nothing is owed, the remote refuses
    /// us, or the time is up.
    pub(in crate::tick) async fn drain(&self, context: &LaneContext<'_>) -> LaneSummary {
        let mut sent = LaneSummary::default();
        self.age(context, &mut sent).await;
        while self.queue.is_sending() {
            // Made before looking, so that no change is missed in between.
            let changed = self.queue.changed();
            let going = match self.next(context) {
                NextToSend::Scrape(number) => {
                    self.timed(self.send_scrape(number, context, &mut sent))
                        .await
                }
                NextToSend::Segment => match context.outbox {
                    Some(outbox) => {
                        self.timed(self.send_segment(outbox, context, &mut sent))
                            .await
                    }
                    None => (Going::Over, Duration::ZERO),
                },
                NextToSend::Wait
                    if timeout_at(self.sending_ends(context), changed)
                        .await
                        .is_ok() =>
                {
                    (Going::On, Duration::ZERO)
                }
                NextToSend::Wait | NextToSend::Done => (Going::Over, Duration::ZERO),
            };
            sent.busy += going.1;
            if going.0 == Going::Over {
                break;
            }
        }
        self.queue.stop_sending();
        // What is still scraped goes to the spool, with what is left.
        self.queue.all_scraped().await;
        self.queue.end();
        sent
    }

    /// Moves samples that are too old out of the backlog, whatever state the remote is in.
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
            let text = format!(
                "spool: {samples} samples for {} are older than sample_age_limit: \
                 they are in expired/",
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

    async fn timed(&self, sending: impl Future<Output = Going>) -> (Going, Duration) {
        let started = Instant::now();
        (sending.await, started.elapsed())
    }

    fn next(&self, context: &LaneContext<'_>) -> NextToSend {
        let spooled = context
            .outbox
            .and_then(Outbox::front)
            .map(|name| (name.epoch(), name.scrape()));
        let memory = match self.queue.front() {
            Front::Scrape(number) => Some((context.epoch, number)),
            Front::Empty | Front::Closed => None,
        };
        // Whatever has the smaller (epoch, scrape) goes first, wherever it is. Of one scrape that is
        // in both places, the spool's part goes first.
        let (next, number) = match (spooled, memory) {
            (None, None) if self.queue.front() == Front::Closed => return NextToSend::Done,
            (None, None) => return NextToSend::Wait,
            (Some(spooled), memory) if memory.is_none_or(|memory| spooled <= memory) => {
                (NextToSend::Segment, spooled)
            }
            (_, Some(memory)) => (NextToSend::Scrape(memory.1), memory),
            (Some(spooled), None) => (NextToSend::Segment, spooled),
        };
        // Batches of an older scrape are on their way to the spool: nothing newer of this epoch may
        // pass them.
        if number.0 == context.epoch && self.queue.is_spilling_before(number.1) {
            NextToSend::Wait
        } else {
            next
        }
    }

    /// Sends the batches of one scrape that are in memory, several at once. Returns when none is in
    /// flight.
    async fn send_scrape(
        &self,
        number: u64,
        context: &LaneContext<'_>,
        sent: &mut LaneSummary,
    ) -> Going {
        let shards = self.shards(self.queue.waiting(number));
        self.shards_in_use.set(shards);
        let mut in_flight = FuturesUnordered::new();
        let mut going = Going::On;
        loop {
            while going == Going::On && in_flight.len() < shards {
                let Some(batch) = self.queue.take(number) else {
                    break;
                };
                let context = self.deliver_context(context);
                in_flight.push(async move {
                    (deliver(self.remote.as_ref(), &batch, &context).await, batch)
                });
            }
            let Some((mut delivery, batch)) = in_flight.next().await else {
                self.shards_in_use.set(0);
                return going;
            };
            self.settle(&mut delivery, &batch, context, (number, false), sent)
                .await;
            match delivery.undelivered.take() {
                None => self.queue.answered(&batch),
                Some(undelivered) => {
                    if let (Some(outbox), Some(since_ms)) = (context.outbox, delivery.throttled_ms)
                    {
                        undelivered
                            .batches
                            .iter()
                            .for_each(|batch| outbox.throttled_in_memory(batch, since_ms));
                    }
                    self.queue.give_back(number, &batch, undelivered.batches);
                    going = Going::Over;
                }
            }
        }
    }

    /// Sends the oldest segment, several batches at once, and deletes it when all were answered.
    async fn send_segment(
        &self,
        outbox: &Outbox,
        context: &LaneContext<'_>,
        sent: &mut LaneSummary,
    ) -> Going {
        let head = match outbox.head().await {
            Ok(Some(head)) => head,
            // Gone: what is next now may be in memory.
            Ok(None) => return Going::On,
            Err(error) => {
                tracing::error!(remote = self.id, "{error}");
                let kind = match error {
                    HeadError::Blocked { .. } => IncidentKind::RemoteBlocked,
                    HeadError::Store(_) => IncidentKind::SpoolUnavailable,
                };
                sent.incidents.push(self.incident(kind, error.to_string()));
                return Going::Over;
            }
        };
        let (going, ()) = future::join(
            self.send_batches(&head, outbox, context, sent),
            outbox.prefetch(),
        )
        .await;
        if going == Going::Over {
            return going;
        }
        match outbox.finish(head.name).await {
            Ok(()) => Going::On,
            // Nothing newer may be posted before it is gone.
            Err(error) => {
                let text = error.to_string();
                sent.incidents
                    .push(self.incident(IncidentKind::SpoolUnavailable, text));
                Going::Over
            }
        }
    }

    /// Sends the batches of the segment at the head, several at once, each at its turn by the pace.
    async fn send_batches(
        &self,
        head: &Head,
        outbox: &Outbox,
        context: &LaneContext<'_>,
        sent: &mut LaneSummary,
    ) -> Going {
        let shards = self.shards(head.batches.len());
        let mut waiting = head.batches.iter().peekable();
        let mut in_flight = FuturesUnordered::new();
        let mut split: Vec<(u32, Vec<Batch>)> = Vec::new();
        let mut going = Going::On;
        let mut out_of_time = false;
        loop {
            // Post as many batches as shards and pace allow. The turn of the next one is computed
            // again each time: answers change the rate meanwhile.
            let mut next_turn = None;
            while let Some((place, batch)) = waiting.peek()
                && going == Going::On
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
            let Posted {
                mut delivery,
                place,
                batch,
                posted,
            } = tokio::select! {
                biased;
                Some(answered) = in_flight.next() => answered,
                () = sleep_until(next_turn.unwrap_or_else(Instant::now)),
                    if next_turn.is_some() => continue,
                // The next delivery finds that there is no time, and says so.
                () = self.state.sending_ended(context.deadlines.work_ends()),
                    if next_turn.is_some() =>
                {
                    out_of_time = true;
                    continue;
                }
                else => break,
            };
            let was_throttled = delivery.throttled_ms.is_some();
            self.pace
                .answered(posted, was_throttled, context.drain_rate);
            let origin = (head.name.scrape(), head.repeated);
            self.settle(&mut delivery, batch, context, origin, sent)
                .await;
            let Some(undelivered) = delivery.undelivered else {
                outbox.answered(head.name, place);
                continue;
            };
            // Batches in flight are still answered, but nothing new is posted.
            going = Going::Over;
            if undelivered.batches.len() != 1 || undelivered.batches[0].body != batch.body {
                split.push((place, undelivered.batches));
            } else if let Some(since_ms) = delivery.throttled_ms {
                outbox.throttled(head.name, place, since_ms);
            }
        }
        if !split.is_empty() {
            self.replace(head, split, outbox, sent).await;
        }
        going
    }

    /// Takes the turn for a batch of the head now, and delivers it.
    fn post_at_turn<'a>(
        &'a self,
        head: &Head,
        place: u32,
        batch: &'a Batch,
        outbox: &Outbox,
        context: &LaneContext<'a>,
    ) -> impl Future<Output = Posted<'a>> + use<'a> {
        self.pace.takes_turn(batch.samples, context.drain_rate);
        let posted = Instant::now();
        let context = DeliverContext {
            last_429: outbox.is_throttled_for_good(head.name, place, context.clock.now_ms()),
            ..self.deliver_context(context)
        };
        async move {
            Posted {
                delivery: deliver(self.remote.as_ref(), batch, &context).await,
                place,
                batch,
                posted,
            }
        }
    }

    /// Replaces the segment after a batch was split and a part of it answered: only what is still
    /// owed takes its place.
    async fn replace(
        &self,
        head: &Head,
        split: Vec<(u32, Vec<Batch>)>,
        outbox: &Outbox,
        sent: &mut LaneSummary,
    ) {
        let mut left = Vec::new();
        for (place, batch) in &head.batches {
            match split.iter().find(|(split, _)| split == place) {
                Some((_, parts)) => left.extend(parts.iter().cloned()),
                None if outbox.is_owed(head.name, *place) => left.push(batch.clone()),
                None => {}
            }
        }
        if let Err(error) = outbox.replace(head.name, left).await {
            let text =
                format!("{error}: what was answered of a batch that was split will be repeated");
            sent.incidents
                .push(self.incident(IncidentKind::SpoolUnavailable, text));
        }
    }
}
