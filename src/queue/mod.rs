//! The queue of one remote: committed scrapes in the order of their numbers.
//!
//! Order comes from the scrape: one scrape holds at most one sample of a series, so its batches may be sent in any order and at
//! once, and the next scrape's only after all of them were answered.

use std::collections::VecDeque;

use tokio::sync::Notify;

use crate::batch::Batch;

/// The batches of one scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedScrape {
    /// Its place in the order of this remote, from 1.
    pub number: u64,
    /// At least one.
    pub batches: Vec<Batch>,
}

impl CommittedScrape {
    /// Samples in it.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.batches.iter().map(|batch| u64::from(batch.samples)).sum()
    }
}

/// First in, first out.
#[derive(Debug, Default)]
pub struct Queue {
    scrapes: std::cell::RefCell<VecDeque<CommittedScrape>>,
    last_number: std::cell::Cell<u64>,
    bytes: std::cell::Cell<usize>,
    closed: std::cell::Cell<bool>,
    changed: Notify,
}

impl Queue {
    /// Appends a scrape, and numbers it. One without batches is none.
    pub fn push(&self, batches: Vec<Batch>) {
        if batches.is_empty() {
            return;
        }
        let number = self.last_number.get() + 1;
        self.last_number.set(number);
        self.bytes.set(self.bytes.get() + bytes(&batches));
        self.scrapes.borrow_mut().push_back(CommittedScrape { number, batches });
        self.changed.notify_waiters();
    }

    /// Takes the oldest scrape; waits for one while the queue is open. None when it is closed and empty.
    pub async fn pop(&self) -> Option<CommittedScrape> {
        loop {
            let changed = self.changed.notified();
            if let Some(scrape) = self.scrapes.borrow_mut().pop_front() {
                return Some(scrape);
            }
            if self.closed.get() {
                return None;
            }
            changed.await;
        }
    }

    /// Puts a scrape back at the head with the batches that were not answered.
    pub fn put_back(&self, scrape: CommittedScrape) {
        if !scrape.batches.is_empty() {
            self.scrapes.borrow_mut().push_front(scrape);
        }
    }

    /// Counts a batch that was taken as answered: its bytes are free.
    pub fn answered(&self, batch: &Batch) {
        self.bytes.set(self.bytes.get().saturating_sub(batch.body.len()));
    }

    /// No more scrapes come in this tick.
    pub fn close(&self) {
        self.closed.set(true);
        self.changed.notify_waiters();
    }

    /// Takes scrapes again.
    pub fn open(&self) {
        self.closed.set(false);
    }

    /// Bytes waiting or in flight.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// Takes all that waits.
    pub fn take(&self) -> Vec<CommittedScrape> {
        self.bytes.set(0);
        self.scrapes.borrow_mut().drain(..).collect()
    }
}

fn bytes(batches: &[Batch]) -> usize {
    batches.iter().map(|batch| batch.body.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn batch(samples: u32) -> Batch {
        Batch { body: Bytes::from(vec![0; samples as usize]), samples, raw_len: 0, min_ms: 0, max_ms: 0 }
    }

    #[tokio::test]
    async fn scrapes_come_out_in_order_and_numbered() {
        let queue = Queue::default();
        queue.push(vec![batch(1)]);
        queue.push(vec![]);
        queue.push(vec![batch(2), batch(3)]);
        queue.close();
        let first = queue.pop().await.unwrap();
        assert_eq!((first.number, first.samples()), (1, 1));
        let second = queue.pop().await.unwrap();
        assert_eq!((second.number, second.samples()), (2, 5));
        assert_eq!(queue.pop().await, None);
    }

    #[tokio::test]
    async fn a_waiting_reader_sees_what_is_pushed_and_the_end() {
        let queue = Queue::default();
        let (read, ()) = tokio::join!(async { (queue.pop().await, queue.pop().await) }, async {
            tokio::task::yield_now().await;
            queue.push(vec![batch(1)]);
            tokio::task::yield_now().await;
            queue.close();
        });
        assert_eq!(read.0.map(|scrape| scrape.number), Some(1));
        assert_eq!(read.1, None);
    }

    #[tokio::test]
    async fn what_is_put_back_is_the_head() {
        let queue = Queue::default();
        queue.push(vec![batch(1), batch(2)]);
        queue.push(vec![batch(4)]);
        let mut scrape = queue.pop().await.unwrap();
        let answered = scrape.batches.remove(0);
        queue.answered(&answered);
        queue.put_back(scrape);
        assert_eq!(queue.bytes(), 6);
        let left = queue.take();
        assert_eq!(left.iter().map(|scrape| scrape.number).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(queue.bytes(), 0);
    }
}
