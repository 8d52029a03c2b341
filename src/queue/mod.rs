//! The part of a remote's queue that is in memory: committed scrapes in the order of their numbers.
//!
//! Order comes from the scrape: one scrape holds at most one sample of a series, so its batches may
//! be sent in any order and at once, and those of the next scrape only after all of them were
//! answered. What exceeds the capacity leaves for the spool and keeps its number: the smaller
//! number goes first, in memory or in the spool. The newest leaves first, because the oldest is
//! sent next. Only scrapes of which the home keeps the samples leave in their order: after a kill
//! what was in memory is read again, and must not be older than what lies in the spool.
//!
//! A batch that was taken out still counts until it is answered: it is in flight, and takes memory.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};

use tokio::sync::Notify;

use crate::batch::{Batch, samples};

/// What must be known of a scrape's samples besides their batches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScrapeTraits {
    /// Whether the home keeps the samples, so that they can be read again: what is neither sent nor
    /// spooled is then not lost.
    pub at_home: bool,
    /// Whether a tick that was killed may have sent some of the samples, so that a refusal proves
    /// nothing.
    pub repeated: bool,
}

/// The batches of one scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedScrape {
    /// Its place in the order of this remote and tick, from 1.
    pub number: u64,
    /// What is known of its samples.
    pub traits: ScrapeTraits,
    /// Batches of the scrape; at least one.
    pub batches: VecDeque<Batch>,
}

impl CommittedScrape {
    /// Number of samples in the scrape.
    #[must_use]
    pub fn samples(&self) -> u64 {
        samples(&self.batches)
    }
}

/// A queue of scrapes, first in and first out, for one remote.
///
/// ```
/// use amp_forwarder::batch::Batch;
/// use amp_forwarder::queue::{Front, Queue, ScrapeTraits};
///
/// let queue = Queue::default();
/// queue.begin();
/// let batch = Batch {
///     body: vec![0; 9].into(),
///     samples: 7,
///     raw_len: 9,
///     min_ms: 0,
///     max_ms: 0,
/// };
/// queue.push(vec![batch], ScrapeTraits::default());
/// assert_eq!(queue.front(), Front::Scrape(1));
///
/// let batch = queue.take(1).unwrap();
/// assert!(queue.exceeds(6)); // It is in flight, and still counts.
/// queue.answered(&batch);
/// assert!(!queue.exceeds(0));
/// ```
#[derive(Debug, Default)]
pub struct Queue {
    scrapes: RefCell<VecDeque<CommittedScrape>>,
    last_number: Cell<u64>,
    /// Traits of this tick's scrapes, of those that have any.
    traits: RefCell<BTreeMap<u64, ScrapeTraits>>,
    /// The scrape of which batches are in flight, and how many.
    in_flight: Cell<Option<(u64, usize)>>,
    /// Samples that wait or are in flight.
    samples: Cell<u64>,
    /// Size of the batches that wait or are in flight, in bytes.
    bytes: Cell<usize>,
    /// The scrape whose batches are on their way to the spool: nothing newer may be sent before
    /// they are there.
    spilling: Cell<Option<u64>>,
    /// Whether nothing is sent from memory for now, because what is there leaves in its order.
    is_leaving: Cell<bool>,
    /// Whether no more scrapes come in this tick.
    closed: Cell<bool>,
    /// Whether batches are still sent in this tick, so that room may come.
    sending: Cell<bool>,
    /// Whether nothing is sent or comes any more in this tick.
    ended: Cell<bool>,
    /// Wakes those who wait for any change.
    changed: Notify,
}

/// What comes next in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// The scrape of this number.
    Scrape(u64),
    /// Nothing is here now.
    Empty,
    /// Nothing is here, and nothing will come in this tick.
    Closed,
}

impl Queue {
    /// Starts a tick. Numbers start again from 1, because each tick has a new epoch.
    pub fn begin(&self) {
        self.last_number.set(0);
        self.traits.borrow_mut().clear();
        self.in_flight.set(None);
        self.is_leaving.set(false);
        self.closed.set(false);
        self.sending.set(true);
        self.ended.set(false);
    }

    /// Appends a scrape and numbers it. Without batches, nothing is appended.
    pub fn push(&self, batches: Vec<Batch>, traits: ScrapeTraits) {
        if batches.is_empty() {
            return;
        }
        let number = self.last_number.get() + 1;
        self.last_number.set(number);
        if traits != ScrapeTraits::default() {
            self.traits.borrow_mut().insert(number, traits);
        }
        self.hold(&batches);
        self.scrapes.borrow_mut().push_back(CommittedScrape {
            number,
            traits,
            batches: batches.into(),
        });
        self.changed.notify_waiters();
    }

    /// The traits of a scrape of this tick.
    #[must_use]
    pub fn traits(&self, number: u64) -> ScrapeTraits {
        self.traits
            .borrow()
            .get(&number)
            .copied()
            .unwrap_or_default()
    }

    /// Waits until every sample that was pushed so far is answered or in the spool. Returns false
    /// when the tick ends first.
    pub async fn settled(&self) -> bool {
        let newest = self.last_number.get();
        loop {
            let changed = self.changed.notified();
            if self.oldest_unsettled().is_none_or(|oldest| oldest > newest) {
                return true;
            }
            if self.ended.get() {
                return false;
            }
            changed.await;
        }
    }

    /// The oldest scrape of which a batch waits, is in flight, or is on its way to the spool.
    fn oldest_unsettled(&self) -> Option<u64> {
        let waiting = self.scrapes.borrow().front().map(|scrape| scrape.number);
        let in_flight = self.in_flight.get().map(|(number, _)| number);
        [waiting, in_flight, self.spilling.get()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Counts a batch of a scrape that is no longer in flight.
    fn lands(&self) {
        self.in_flight.set(
            self.in_flight
                .get()
                .map(|(number, batches)| (number, batches.saturating_sub(1)))
                .filter(|(_, batches)| *batches > 0),
        );
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

    /// The oldest scrape in memory.
    #[must_use]
    pub fn front(&self) -> Front {
        match self.scrapes.borrow().front() {
            Some(scrape) => Front::Scrape(scrape.number),
            None if self.closed.get() && self.spilling.get().is_none() => Front::Closed,
            None => Front::Empty,
        }
    }

    /// Whether batches of a scrape older than `number` are on their way to the spool.
    #[must_use]
    pub fn is_spilling_before(&self, number: u64) -> bool {
        self.spilling
            .get()
            .is_some_and(|spilling| spilling < number)
    }

    /// Whether more than `capacity` samples wait or are in flight.
    #[must_use]
    pub fn exceeds(&self, capacity: u64) -> bool {
        self.samples.get() > capacity
    }

    /// Number of batches of the scrape that wait, if it is the oldest.
    #[must_use]
    pub fn waiting(&self, number: u64) -> usize {
        self.scrapes
            .borrow()
            .front()
            .filter(|scrape| scrape.number == number)
            .map_or(0, |scrape| scrape.batches.len())
    }

    /// Takes a batch of the scrape, if it is the oldest and has one left.
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
        // Batches of one scrape only are in flight at a time.
        let flying = self.in_flight.get().map_or(0, |(_, batches)| batches);
        self.in_flight.set(Some((number, flying + 1)));
        Some(batch)
    }

    /// Records that a batch that was taken is answered, and takes no more memory.
    pub fn answered(&self, batch: &Batch) {
        self.free([batch]);
        self.lands();
        self.changed.notify_waiters();
    }

    /// Puts what is left of a batch that was taken back in its place in the order.
    pub fn give_back(&self, number: u64, taken: &Batch, left: Vec<Batch>) {
        self.free([taken]);
        self.hold(&left);
        self.lands();
        self.put_back(number, left);
        self.changed.notify_waiters();
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
                    traits: self.traits(number),
                    batches: batches.into(),
                },
            ),
        }
        self.changed.notify_waiters();
    }

    /// Waits until more than `capacity` samples wait or are in flight, and returns true; returns
    /// false when the tick ends first. Once sending has ended it also waits for the batches in
    /// flight, which are the oldest: what was not answered of them comes back and leaves first.
    pub async fn overflowing(&self, capacity: impl Fn() -> u64) -> bool {
        loop {
            let changed = self.changed.notified();
            if self.ended.get() {
                return false;
            }
            let is_settled = self.sending.get() || self.in_flight.get().is_none();
            let may_spill = is_settled && !self.scrapes.borrow().is_empty();
            let is_over = self.samples.get() > capacity();
            if may_spill && is_over {
                return true;
            }
            if !is_over {
                self.stay();
            }
            changed.await;
        }
    }

    /// Waits until at most `capacity` samples wait or are in flight, or until sending has stopped.
    pub async fn room(&self, capacity: impl Fn() -> u64) {
        loop {
            let changed = self.changed.notified();
            if !self.sending.get() || self.samples.get() <= capacity() {
                return;
            }
            changed.await;
        }
    }

    /// Whether memory has scrapes of different numbers whose samples the home keeps.
    fn leaves_in_order(&self) -> bool {
        let scrapes = self.scrapes.borrow();
        let (Some(oldest), Some(newest)) = (scrapes.front(), scrapes.back()) else {
            return false;
        };
        let in_flight = self.in_flight.get().map(|(number, _)| number);
        let oldest = in_flight.unwrap_or(oldest.number).min(oldest.number);
        newest.traits.at_home && oldest < newest.number
    }

    /// Asks for the batches in flight, which are the oldest, and waits until they are back, if what
    /// is to leave memory must leave in its order. Nothing is sent from memory from then on, until
    /// it is below its capacity again.
    pub async fn land(&self) {
        if !self.leaves_in_order() {
            return;
        }
        self.is_leaving.set(true);
        self.changed.notify_waiters();
        loop {
            let changed = self.changed.notified();
            if self.in_flight.get().is_none() || !self.sending.get() {
                return;
            }
            changed.await;
        }
    }

    /// Whether nothing is sent from memory for now.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.is_leaving.get()
    }

    /// Waits until the batches in flight are asked for.
    pub async fn leaving(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_leaving.get() {
                return;
            }
            changed.await;
        }
    }

    /// Lets batches be sent from memory again.
    pub fn stay(&self) {
        if self.is_leaving.replace(false) {
            self.changed.notify_waiters();
        }
    }

    /// Takes what is to leave memory for the spool. [`Queue::spilled`] must follow.
    ///
    /// While batches are sent, these are the newest batches of the newest scrape, until at most
    /// `capacity` samples are left or the scrape has no more. Once sending has ended, or after
    /// [`Queue::land`] has found that order matters, it is the oldest scrape: a tick that is killed
    /// in the middle then leaves the older part in the spool, and what is read again in its place
    /// comes after it.
    #[must_use]
    pub fn spill(&self, capacity: u64) -> Option<CommittedScrape> {
        if !self.sending.get() || self.is_leaving.get() {
            if self.in_flight.get().is_some() {
                return None;
            }
            let oldest = self.scrapes.borrow_mut().pop_front()?;
            self.spilling.set(Some(oldest.number));
            return Some(oldest);
        }
        let mut scrapes = self.scrapes.borrow_mut();
        let mut batches = VecDeque::new();
        // Batches in flight count, too, although they cannot be taken.
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
        Some(CommittedScrape {
            number,
            traits: self.traits(number),
            batches,
        })
    }

    /// Records that what [`Queue::spill`] took is in the spool, except for the batches in `left`.
    pub fn spilled(&self, scrape: &CommittedScrape, left: Vec<Batch>) {
        self.free(&scrape.batches);
        self.spilling.set(None);
        if !left.is_empty() {
            self.hold(&left);
            self.put_back(scrape.number, left);
        }
        self.changed.notify_waiters();
    }

    /// Records that no more scrapes come in this tick.
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

    /// Records that nothing is sent any more in this tick, so that room will not come.
    pub fn stop_sending(&self) {
        self.sending.set(false);
        self.changed.notify_waiters();
    }

    /// Whether batches are still sent, so that room may come.
    #[must_use]
    pub fn is_sending(&self) -> bool {
        self.sending.get()
    }

    /// Records that nothing is sent or comes any more in this tick.
    pub fn end(&self) {
        self.ended.set(true);
        self.changed.notify_waiters();
    }

    /// Wakes those who wait for a change of any kind: something that they look at has changed.
    pub fn touch(&self) {
        self.changed.notify_waiters();
    }

    /// Whether nothing waits, is in flight or is on its way to the spool.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples.get() == 0
    }

    /// Waits for a change of any kind. Call it before looking at the queue: a change between the
    /// two would otherwise be missed.
    pub fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// Size of the batches that wait or are in flight, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// Number of scrapes that wait.
    #[must_use]
    pub fn scrapes(&self) -> usize {
        self.scrapes.borrow().len()
    }

    /// Largest number of batches of any scrape that waits.
    #[must_use]
    pub fn most_batches(&self) -> usize {
        self.scrapes
            .borrow()
            .iter()
            .map(|scrape| scrape.batches.len())
            .max()
            .unwrap_or_default()
    }

    /// Takes everything that waits.
    #[must_use]
    pub fn drain(&self) -> Vec<CommittedScrape> {
        self.samples.set(0);
        self.bytes.set(0);
        self.in_flight.set(None);
        self.scrapes.borrow_mut().drain(..).collect()
    }
}

fn bytes<'a>(batches: impl IntoIterator<Item = &'a Batch>) -> usize {
    batches.into_iter().map(|batch| batch.body.len()).sum()
}

#[cfg(test)]
mod tests;
