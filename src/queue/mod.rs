//! The part of a remote's queue that is in memory: committed scrapes in the order of their numbers.
//!
//! Order comes from the scrape: one scrape holds at most one sample of a series, so its batches may
//! be sent in any order and at once, and the next scrape's only after all of them were answered.
//! What exceeds the capacity leaves for the spool, newest first, and keeps its number: whatever has
//! the smaller number goes first, wherever it is.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use tokio::sync::Notify;

use crate::batch::{Batch, samples};

/// The batches of one scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedScrape {
    /// Its place in the order of this remote and tick, from 1.
    pub number: u64,
    /// At least one.
    pub batches: VecDeque<Batch>,
}

impl CommittedScrape {
    /// Samples in it.
    #[must_use]
    pub fn samples(&self) -> u64 {
        samples(&self.batches)
    }
}

/// First in, first out.
#[derive(Debug, Default)]
pub struct Queue {
    scrapes: RefCell<VecDeque<CommittedScrape>>,
    last_number: Cell<u64>,
    /// Waiting and in flight.
    samples: Cell<u64>,
    bytes: Cell<usize>,
    /// The scrape whose batches are on their way to the spool: nothing newer may be sent before
    /// they are there.
    spilling: Cell<Option<u64>>,
    closed: Cell<bool>,
    sending: Cell<bool>,
    ended: Cell<bool>,
    changed: Notify,
}

/// What is to be sent next, as far as memory knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// This scrape.
    Scrape(u64),
    /// Nothing now.
    Empty,
    /// Nothing, and nothing will come in this tick.
    Closed,
}

impl Queue {
    /// Starts a tick: numbers begin anew, as the epoch of their names is a new one.
    pub fn begin(&self) {
        self.last_number.set(0);
        self.closed.set(false);
        self.sending.set(true);
        self.ended.set(false);
    }

    /// Appends a scrape, and numbers it. One without batches is none.
    pub fn push(&self, batches: Vec<Batch>) {
        if batches.is_empty() {
            return;
        }
        let number = self.last_number.get() + 1;
        self.last_number.set(number);
        self.hold(&batches);
        self.scrapes.borrow_mut().push_back(CommittedScrape {
            number,
            batches: batches.into(),
        });
        self.changed.notify_waiters();
    }

    fn hold<'a>(&self, batches: impl IntoIterator<Item = &'a Batch> + Copy) {
        self.samples.set(self.samples.get() + samples(batches));
        self.bytes.set(self.bytes.get() + bytes(batches));
    }

    fn free<'a>(&self, batches: impl IntoIterator<Item = &'a Batch> + Copy) {
        self.samples
            .set(self.samples.get().saturating_sub(samples(batches)));
        self.bytes
            .set(self.bytes.get().saturating_sub(bytes(batches)));
    }

    /// The oldest scrape here.
    #[must_use]
    pub fn front(&self) -> Front {
        match self.scrapes.borrow().front() {
            Some(scrape) => Front::Scrape(scrape.number),
            None if self.closed.get() && self.spilling.get().is_none() => Front::Closed,
            None => Front::Empty,
        }
    }

    /// Whether batches of an older scrape than that are on their way to the spool.
    #[must_use]
    pub fn is_spilling_before(&self, number: u64) -> bool {
        self.spilling
            .get()
            .is_some_and(|spilling| spilling < number)
    }

    /// Whether more samples are here than that.
    #[must_use]
    pub fn exceeds(&self, capacity: u64) -> bool {
        self.samples.get() > capacity
    }

    /// Batches of that scrape that wait here.
    #[must_use]
    pub fn waiting(&self, number: u64) -> usize {
        self.scrapes
            .borrow()
            .front()
            .filter(|scrape| scrape.number == number)
            .map_or(0, |scrape| scrape.batches.len())
    }

    /// Takes a batch of that scrape, if it is the oldest and has one left.
    #[must_use]
    pub fn take(&self, number: u64) -> Option<Batch> {
        let mut scrapes = self.scrapes.borrow_mut();
        let scrape = scrapes
            .front_mut()
            .filter(|scrape| scrape.number == number)?;
        let batch = scrape.batches.pop_front()?;
        if scrape.batches.is_empty() {
            scrapes.pop_front();
        }
        Some(batch)
    }

    /// A batch that was taken needs no memory any more.
    pub fn answered(&self, batch: &Batch) {
        self.free([batch]);
        self.changed.notify_waiters();
    }

    /// What is left of a batch that was taken goes back to its place.
    pub fn give_back(&self, number: u64, taken: &Batch, left: Vec<Batch>) {
        self.free([taken]);
        self.hold(&left);
        self.put_back(number, left);
    }

    fn put_back(&self, number: u64, batches: Vec<Batch>) {
        if batches.is_empty() {
            return;
        }
        let mut scrapes = self.scrapes.borrow_mut();
        let at = scrapes.partition_point(|scrape| scrape.number < number);
        match scrapes.get_mut(at).filter(|scrape| scrape.number == number) {
            Some(scrape) => batches
                .into_iter()
                .rev()
                .for_each(|batch| scrape.batches.push_front(batch)),
            None => scrapes.insert(
                at,
                CommittedScrape {
                    number,
                    batches: batches.into(),
                },
            ),
        }
        self.changed.notify_waiters();
    }

    /// Waits until more samples are here than that, or until the end. Says which.
    pub async fn overflowing(&self, capacity: impl Fn() -> u64) -> bool {
        loop {
            let changed = self.changed.notified();
            if self.ended.get() {
                return false;
            }
            if self.samples.get() > capacity() && !self.scrapes.borrow().is_empty() {
                return true;
            }
            changed.await;
        }
    }

    /// Waits until no more samples are here than that, or until nobody sends any more.
    pub async fn room(&self, capacity: impl Fn() -> u64) {
        loop {
            let changed = self.changed.notified();
            if !self.sending.get() || self.samples.get() <= capacity() {
                return;
            }
            changed.await;
        }
    }

    /// Takes the newest batches of the newest scrape, until no more samples are left here than
    /// that; all of one scrape. [`Queue::spilled`] must follow.
    #[must_use]
    pub fn spill(&self, capacity: u64) -> Option<CommittedScrape> {
        let mut scrapes = self.scrapes.borrow_mut();
        let mut batches = VecDeque::new();
        let mut left = self.samples.get();
        let newest = scrapes.back_mut()?;
        let number = newest.number;
        while left > capacity
            && let Some(batch) = newest.batches.pop_back()
        {
            left -= u64::from(batch.samples);
            batches.push_front(batch);
        }
        if newest.batches.is_empty() {
            scrapes.pop_back();
        }
        if batches.is_empty() {
            return None;
        }
        self.spilling.set(Some(number));
        Some(CommittedScrape { number, batches })
    }

    /// What was taken by [`Queue::spill`] is in the spool, but for what is `left`.
    pub fn spilled(&self, scrape: &CommittedScrape, left: Vec<Batch>) {
        self.free(&scrape.batches);
        self.spilling.set(None);
        if !left.is_empty() {
            self.hold(&left);
            self.put_back(scrape.number, left);
        }
        self.changed.notify_waiters();
    }

    /// No more scrapes come in this tick.
    pub fn close(&self) {
        self.closed.set(true);
        self.changed.notify_waiters();
    }

    /// Waits until no more scrapes come in this tick.
    pub async fn all_scraped(&self) {
        loop {
            let changed = self.changed.notified();
            if self.closed.get() {
                return;
            }
            changed.await;
        }
    }

    /// Nobody sends any more in this tick, so room will not come by itself.
    pub fn stop_sending(&self) {
        self.sending.set(false);
        self.changed.notify_waiters();
    }

    /// Whether room may come by itself.
    #[must_use]
    pub fn is_sending(&self) -> bool {
        self.sending.get()
    }

    /// Nothing is sent, and nothing comes any more.
    pub fn end(&self) {
        self.ended.set(true);
        self.changed.notify_waiters();
    }

    /// Waits for a change of any kind. To be made before looking.
    pub fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// Bytes waiting or in flight.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// Scrapes that wait here.
    #[must_use]
    pub fn scrapes(&self) -> usize {
        self.scrapes.borrow().len()
    }

    /// The most batches of any scrape here.
    #[must_use]
    pub fn most_batches(&self) -> usize {
        self.scrapes
            .borrow()
            .iter()
            .map(|scrape| scrape.batches.len())
            .max()
            .unwrap_or_default()
    }

    /// Takes all that waits.
    #[must_use]
    pub fn drain(&self) -> Vec<CommittedScrape> {
        self.samples.set(0);
        self.bytes.set(0);
        self.scrapes.borrow_mut().drain(..).collect()
    }
}

fn bytes<'a>(batches: impl IntoIterator<Item = &'a Batch>) -> usize {
    batches.into_iter().map(|batch| batch.body.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(samples: u32) -> Batch {
        Batch {
            body: vec![0; samples as usize].into(),
            samples,
            raw_len: 0,
            min_ms: 0,
            max_ms: 0,
        }
    }

    #[test]
    fn scrapes_come_out_in_order_and_numbered() {
        let queue = Queue::default();
        queue.push(vec![batch(1)]);
        queue.push(vec![]);
        queue.push(vec![batch(2), batch(3)]);
        assert_eq!(queue.front(), Front::Scrape(1));
        assert_eq!(queue.take(2), None, "the oldest goes first");
        let first = queue.take(1).unwrap();
        assert_eq!(queue.front(), Front::Scrape(2));
        queue.answered(&first);
        assert_eq!(
            (
                queue.take(2).unwrap().samples,
                queue.take(2).unwrap().samples,
                queue.take(2)
            ),
            (2, 3, None)
        );
        assert_eq!(queue.front(), Front::Empty);
        queue.close();
        assert_eq!(queue.front(), Front::Closed);
        assert_eq!(queue.bytes(), 5, "in flight counts");
    }

    #[test]
    fn what_is_put_back_finds_its_place() {
        let queue = Queue::default();
        queue.push(vec![batch(1), batch(2)]);
        queue.push(vec![batch(4)]);
        let (first, second) = (queue.take(1).unwrap(), queue.take(1).unwrap());
        assert_eq!(queue.front(), Front::Scrape(2));
        queue.give_back(1, &second, vec![batch(2)]);
        queue.give_back(1, &first, vec![batch(1)]);
        let left = queue.drain();
        assert_eq!(
            left.iter()
                .map(|scrape| (scrape.number, scrape.samples()))
                .collect::<Vec<_>>(),
            [(1, 3), (2, 4)]
        );
        assert_eq!(left[0].batches[0].samples, 1);
        assert_eq!(queue.bytes(), 0);
    }

    /// The example of the design: 130 samples, a capacity of 100.
    #[test]
    fn exactly_what_exceeds_the_capacity_leaves() {
        let queue = Queue::default();
        queue.push(vec![batch(50), batch(50), batch(30)]);
        let spilled = queue.spill(100).unwrap();
        assert_eq!((spilled.number, spilled.samples()), (1, 30));
        assert!(queue.is_spilling_before(2) && !queue.is_spilling_before(1));
        queue.spilled(&spilled, Vec::new());
        assert_eq!(queue.spill(100), None);
        assert!(!queue.is_spilling_before(2));
        assert_eq!(queue.bytes(), 100);
    }

    #[test]
    fn the_newest_leaves_first_and_comes_back_when_the_store_is_down() {
        let queue = Queue::default();
        queue.push(vec![batch(10)]);
        queue.push(vec![batch(20), batch(30)]);
        let spilled = queue.spill(5).unwrap();
        assert_eq!(
            (spilled.number, spilled.samples()),
            (2, 50),
            "one scrape at a time"
        );
        queue.close();
        queue.spilled(&spilled, vec![batch(30)]);
        assert_eq!(
            queue
                .drain()
                .iter()
                .map(CommittedScrape::samples)
                .collect::<Vec<_>>(),
            [10, 30]
        );
    }

    #[tokio::test]
    async fn an_overflow_is_noticed_and_so_is_the_end() {
        let queue = Queue::default();
        let (noticed, ()) = tokio::join!(
            async {
                (
                    queue.overflowing(|| 5).await,
                    queue.overflowing(|| 100).await,
                )
            },
            async {
                queue.push(vec![batch(3)]);
                tokio::task::yield_now().await;
                queue.push(vec![batch(3)]);
                tokio::task::yield_now().await;
                queue.end();
            }
        );
        assert_eq!(noticed, (true, false));
    }
}
