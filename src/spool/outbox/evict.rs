//! `max_bytes`: the oldest segments make room for new ones.

use super::Outbox;
use crate::report::IncidentKind;
use crate::spool::name::Folder;
use crate::spool::store::StoreError;

impl Outbox {
    /// Deletes the oldest segments until there is room for `bytes` more. False when there is no
    /// room even then.
    ///
    /// # Errors
    /// The store is down.
    pub(super) async fn make_room(&self, bytes: u64) -> Result<bool, StoreError> {
        while !self.has_room(bytes) {
            let _turn = self.oldest.lock().await;
            // The head may have left while this waited.
            if self.has_room(bytes) {
                break;
            }
            let victim = self.inventory.borrow().next_to_evict();
            let Some(name) = victim else {
                return Ok(false);
            };
            // Nothing is evicted when the store cannot say what is in it: those samples would be
            // lost without being counted.
            let is_unknown = self.inventory.borrow().backlog.is_unknown(name);
            if is_unknown
                && let Some(contents) = self.try_to_peek(name, self.access.fence()).await?
            {
                self.inventory.borrow_mut().backlog.learn(name, contents);
            }
            self.erase_for_good(name, self.access.fence()).await?;
            let key = name.key(Folder::Segments, &self.remote);
            self.lose(
                IncidentKind::BacklogEvicted,
                name,
                &format!("spool: {key} is deleted unsent: the backlog has reached max_bytes"),
            )
            .await;
        }
        Ok(true)
    }

    fn has_room(&self, bytes: u64) -> bool {
        let held = self.inventory.borrow().backlog.bytes();
        held.saturating_add(bytes) <= self.limits.max_bytes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{LIMITS, batch, drain, outbox_with, world};
    use super::super::{Fallback, SpoolLimits};
    use crate::spool::segment;
    use crate::spool::state::RemoteRecord;
    use crate::spool::store::memory::StoreFault;
    use crate::spool::store::{FailureKind, Op};

    #[tokio::test(start_paused = true)]
    async fn max_bytes_gives_up_the_oldest_that_is_not_being_sent() {
        let store = world();
        let one = segment::size(&[batch(1, 100)]) as u64;
        let limits = SpoolLimits {
            max_bytes: 3 * one,
            ..LIMITS
        };
        let outbox = outbox_with(limits, &store, 1, Some(&RemoteRecord::default())).await;
        for scrape in 1..4 {
            outbox
                .put(scrape, vec![batch(1 << scrape, 100)], Fallback::Memory)
                .await
                .unwrap();
        }
        let head = outbox.head().await.unwrap().unwrap();
        outbox
            .put(4, vec![batch(16, 100)], Fallback::Memory)
            .await
            .unwrap();
        assert_eq!((outbox.take_lost(), outbox.backlog().segments), (4, 3));
        assert!(outbox.take_incidents()[0].text.contains("max_bytes"));
        // Larger than all of it: lost, and nothing else is given up for it in vain but what it
        // takes.
        outbox.answered(head.name, 0);
        outbox.finish(head.name).await.unwrap();
        assert_eq!(drain(&outbox).await, [8, 16]);

        // A later tick, which knows only names.
        outbox
            .put(5, vec![batch(32, 100)], Fallback::Memory)
            .await
            .unwrap();
        outbox
            .put(6, vec![batch(64, 100)], Fallback::Memory)
            .await
            .unwrap();
        let summary = outbox.summary().await;
        let later = outbox_with(
            SpoolLimits {
                max_bytes: 2 * one,
                ..LIMITS
            },
            &store,
            2,
            Some(&summary),
        )
        .await;
        later
            .put(1, vec![batch(1, 100)], Fallback::Memory)
            .await
            .unwrap();
        assert_eq!((later.take_lost(), later.backlog().samples), (32, 65));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_up_is_not_sent_and_what_is_sent_is_not_given_up() {
        let one = segment::size(&[batch(1, 100)]) as u64;
        for (slow, lost, sent) in [(Op::Delete, 2, [4, 8]), (Op::Get, 4, [2, 8])] {
            let store = world();
            let limits = SpoolLimits {
                max_bytes: 2 * one,
                ..LIMITS
            };
            let outbox = outbox_with(limits, &store, 1, Some(&RemoteRecord::default())).await;
            for scrape in 1..3 {
                outbox
                    .put(scrape, vec![batch(1 << scrape, 100)], Fallback::Memory)
                    .await
                    .unwrap();
            }
            store.set_faults(move |op, _, _| StoreFault {
                delay: Duration::from_millis(if op == slow { 100 } else { 1 }),
                ..StoreFault::default()
            });
            let put = outbox.put(3, vec![batch(8, 100)], Fallback::Memory);
            // The first of the two works on the oldest segment, and the other waits.
            let head = if slow == Op::Delete {
                tokio::join!(put, outbox.head()).1
            } else {
                tokio::join!(outbox.head(), put).0
            };
            assert_eq!(head.unwrap().is_some(), slow == Op::Get, "{slow:?}");
            assert_eq!(
                (drain(&outbox).await, outbox.take_lost()),
                (sent.to_vec(), lost),
                "{slow:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_given_up_that_cannot_be_counted() {
        let store = world();
        let one = segment::size(&[batch(1, 100)]) as u64;
        let first = outbox_with(LIMITS, &store, 1, Some(&RemoteRecord::default())).await;
        for scrape in 1..3 {
            first
                .put(scrape, vec![batch(1 << scrape, 100)], Fallback::Memory)
                .await
                .unwrap();
        }
        let limits = SpoolLimits {
            max_bytes: 2 * one,
            ..LIMITS
        };
        let second = outbox_with(limits, &store, 2, Some(&first.summary().await)).await;
        store.set_faults(|op, _, _| StoreFault {
            refuse: (op == Op::Get).then_some(FailureKind::Denied),
            ..StoreFault::default()
        });
        second
            .put(1, vec![batch(8, 100)], Fallback::Loss)
            .await
            .unwrap_err();
        store.heal();
        assert_eq!((second.take_lost(), drain(&second).await), (0, vec![2, 4]));
    }
}
