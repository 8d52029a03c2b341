//! Sending: what has the smallest number goes first, from memory or from the spool.

use std::time::Duration;

use futures_util::future;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Bench, Lane, Sent};
use crate::batch::Batch;
use crate::queue::Front;
use crate::report::{Fate, IncidentKind};
use crate::send::{DeliverContext, deliver};
use crate::spool::outbox::{Head, HeadError, Outbox};
use crate::time::millis;

/// What is to be sent next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Scrape(u64),
    Segment,
    Wait,
    Done,
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
    pub(in crate::tick) async fn drain(&self, bench: &Bench<'_>) -> Sent {
        let mut sent = Sent::default();
        self.age(bench, &mut sent).await;
        while self.queue.is_sending() {
            // Before looking, so that no change is missed.
            let changed = self.queue.changed();
            let going = match self.next(bench) {
                Next::Scrape(number) => {
                    self.timed(self.send_scrape(number, bench, &mut sent)).await
                }
                Next::Segment => match bench.outbox {
                    Some(outbox) => {
                        self.timed(self.send_segment(outbox, bench, &mut sent))
                            .await
                    }
                    None => (Going::Over, Duration::ZERO),
                },
                Next::Wait if timeout_at(self.sending_ends(bench), changed).await.is_ok() => {
                    (Going::On, Duration::ZERO)
                }
                Next::Wait | Next::Done => (Going::Over, Duration::ZERO),
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

    /// What is too old leaves the spool, whatever state the remote is in.
    async fn age(&self, bench: &Bench<'_>, sent: &mut Sent) {
        let (Some(outbox), Some(limit)) = (
            bench.outbox.filter(|outbox| !outbox.is_empty()),
            self.age_limit(),
        ) else {
            return;
        };
        let oldest_ms = bench.clock.now_ms().saturating_sub(millis(limit));
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

    fn next(&self, bench: &Bench<'_>) -> Next {
        let spooled = bench
            .outbox
            .and_then(Outbox::front)
            .map(|name| (name.epoch(), name.scrape()));
        let memory = match self.queue.front() {
            Front::Scrape(number) => Some((bench.epoch, number)),
            Front::Empty | Front::Closed => None,
        };
        let (next, number) = match (spooled, memory) {
            (None, None) if self.queue.front() == Front::Closed => return Next::Done,
            (None, None) => return Next::Wait,
            (Some(spooled), memory) if memory.is_none_or(|memory| spooled <= memory) => {
                (Next::Segment, spooled)
            }
            (_, Some(memory)) => (Next::Scrape(memory.1), memory),
            (Some(spooled), None) => (Next::Segment, spooled),
        };
        // What is on its way to the spool is of this epoch.
        if number.0 == bench.epoch && self.queue.is_spilling_before(number.1) {
            Next::Wait
        } else {
            next
        }
    }

    /// Sends the batches of one scrape that are in memory, several at once. Returns when none is in
    /// flight.
    async fn send_scrape(&self, number: u64, bench: &Bench<'_>, sent: &mut Sent) -> Going {
        let shards = self.shards(self.queue.waiting(number));
        self.shards_in_use.set(shards);
        let mut in_flight = FuturesUnordered::new();
        let mut going = Going::On;
        loop {
            while going == Going::On && in_flight.len() < shards {
                let Some(batch) = self.queue.take(number) else {
                    break;
                };
                let context = self.context(bench);
                in_flight.push(async move {
                    (deliver(self.remote.as_ref(), &batch, &context).await, batch)
                });
            }
            let Some((mut delivery, batch)) = in_flight.next().await else {
                self.shards_in_use.set(0);
                return going;
            };
            self.settle(&mut delivery, &batch, bench, (number, false), sent)
                .await;
            match delivery.undelivered.take() {
                None => self.queue.answered(&batch),
                Some(undelivered) => {
                    if let (Some(outbox), Some(since_ms)) = (bench.outbox, delivery.throttled_ms) {
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
    async fn send_segment(&self, outbox: &Outbox, bench: &Bench<'_>, sent: &mut Sent) -> Going {
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
            self.send_batches(&head, outbox, bench, sent),
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

    async fn send_batches(
        &self,
        head: &Head,
        outbox: &Outbox,
        bench: &Bench<'_>,
        sent: &mut Sent,
    ) -> Going {
        let shards = self.shards(head.batches.len());
        let mut waiting = head.batches.iter().peekable();
        let mut in_flight = FuturesUnordered::new();
        let mut split: Vec<(u32, Vec<Batch>)> = Vec::new();
        let mut going = Going::On;
        let mut out_of_time = false;
        loop {
            // Whoever has a turn takes it by the rate as it is then.
            let next_turn = match waiting.peek() {
                Some((place, batch)) if going == Going::On && in_flight.len() < shards => {
                    match self.pace.next_turn(bench.drain_rate) {
                        Some(turn) if !out_of_time && turn > Instant::now() => Some(turn),
                        _ => {
                            waiting.next();
                            self.pace.takes_turn(batch.samples, bench.drain_rate);
                            let posted = Instant::now();
                            let last_429 = outbox.is_throttled_for_good(
                                head.name,
                                *place,
                                bench.clock.now_ms(),
                            );
                            let context = DeliverContext {
                                last_429,
                                ..self.context(bench)
                            };
                            in_flight.push(async move {
                                (
                                    deliver(self.remote.as_ref(), batch, &context).await,
                                    *place,
                                    batch,
                                    posted,
                                )
                            });
                            continue;
                        }
                    }
                }
                _ => None,
            };
            let (mut delivery, place, batch, posted) = tokio::select! {
                biased;
                Some(delivered) = in_flight.next() => delivered,
                () = sleep_until(next_turn.unwrap_or_else(Instant::now)), if next_turn.is_some() => continue,
                // The next delivery finds that there is no time, and says so.
                () = self.state.sending_ended(bench.deadlines.work_ends()), if next_turn.is_some() => {
                    out_of_time = true;
                    continue;
                }
                else => break,
            };
            self.pace
                .answered(posted, delivery.throttled_ms.is_some(), bench.drain_rate);
            self.settle(
                &mut delivery,
                batch,
                bench,
                (head.name.scrape(), head.repeated),
                sent,
            )
            .await;
            match delivery.undelivered {
                None => outbox.answered(head.name, place),
                Some(undelivered) => {
                    if undelivered.batches.len() != 1 || undelivered.batches[0].body != batch.body {
                        split.push((place, undelivered.batches));
                    } else if let Some(since_ms) = delivery.throttled_ms {
                        outbox.throttled(head.name, place, since_ms);
                    }
                    going = Going::Over;
                }
            }
        }
        if !split.is_empty() {
            self.replace(head, split, outbox, sent).await;
        }
        going
    }

    /// A batch was split, and a part of it was answered: what is left takes the segment's place.
    async fn replace(
        &self,
        head: &Head,
        split: Vec<(u32, Vec<Batch>)>,
        outbox: &Outbox,
        sent: &mut Sent,
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
