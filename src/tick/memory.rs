//! The measure of the memory that `memory_limit` bounds.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;

use super::Forwarder;
use super::lease::LeasedSpool;
use super::neighbours::Neighbours;
use crate::report::MemoryReport;

impl Forwarder {
    /// Names those that `memory_limit` bounds together with this forwarder. This one may have all
    /// of it while it runs.
    pub fn live_beside(&mut self, neighbours: Option<Rc<dyn Neighbours>>) {
        self.neighbours = neighbours;
    }

    /// The bytes that the forwarder keeps between two ticks.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.weigh(None)
    }

    /// Adds up the bytes of the caches, the scrapes in progress, the queues, the loaded
    /// segments and the tables of last timestamps. Remembers the largest sum of the tick.
    pub(super) fn weigh(&self, held: Option<&LeasedSpool>) -> usize {
        // A writer that a scrape is writing to at this moment cannot be read and counts as empty.
        let writers: usize = self
            .writers
            .iter()
            .map(|writer| writer.try_borrow().map_or(0, |writer| writer.memory()))
            .sum();
        let queues: usize = self.lanes.iter().map(|lane| lane.queue.bytes()).sum();
        let spooled: usize = held
            .iter()
            .flat_map(|held| &held.outboxes)
            .map(|outbox| outbox.memory())
            .sum();
        let tables: usize = self.lanes.iter().map(|lane| lane.table.memory()).sum();
        let bytes = writers + queues + spooled + tables + self.staged.get();
        self.most_held.set(self.most_held.get().max(bytes));
        if let Some(neighbours) = &self.neighbours {
            neighbours.give_way(self.memory_limit.saturating_sub(bytes));
        }
        bytes
    }

    /// Runs `work` and measures whenever it waits for something.
    pub(super) async fn weighed<T>(
        &self,
        work: impl Future<Output = T>,
        held: Option<&LeasedSpool>,
    ) -> T {
        let mut work = pin!(work);
        std::future::poll_fn(|context| {
            let polled = work.as_mut().poll(context);
            self.weigh(held);
            polled
        })
        .await
    }

    /// Reports the peak of the tick, and what the process keeps after it.
    pub(super) fn memory(&self) -> MemoryReport {
        let kept = self.weigh(None);
        MemoryReport {
            peak_bytes: self.most_held.get() as u64,
            kept_bytes: kept as u64,
            limit_bytes: self.memory_limit as u64,
        }
    }
}
