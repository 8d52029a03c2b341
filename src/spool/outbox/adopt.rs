//! Taking over the backlog of another remote.

use super::inventory::parts::ScrapeId;
use super::{Fallback, HeadError, Outbox};
use crate::batch;
use crate::spool::segment;

impl Outbox {
    /// Moves the backlog of another outbox into this one, segment by segment, oldest first. Each
    /// is written here before it is deleted there, so that a kill in between repeats one and loses
    /// none. `keeps_names`: both are of one spool, and the names of its segments say the order;
    /// otherwise what is moved comes after all that is here. Adds the samples that were moved to
    /// `moved`, after an error as well.
    ///
    /// # Errors
    /// A segment cannot be read or moved. A later call goes on where this one was.
    pub async fn adopt(
        &self,
        other: &Self,
        keeps_names: bool,
        moved: &mut u64,
    ) -> Result<(), HeadError> {
        let mut number = 0;
        while !other.is_empty() {
            let Some(head) = other.head().await? else {
                continue;
            };
            number += 1;
            let scrape = if keeps_names {
                head.name.into()
            } else {
                ScrapeId {
                    epoch: self.access.epoch,
                    scrape: number,
                }
            };
            let (places, batches): (Vec<u32>, Vec<_>) = head.batches.into_iter().unzip();
            let samples = batch::samples(&batches);
            for part in segment::parts(batches, self.limits.segment_bytes) {
                self.put_part(scrape, &part, Fallback::Memory).await?;
            }
            places
                .into_iter()
                .for_each(|place| other.answered(head.name, place));
            *moved += samples;
            other.finish(head.name).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::open;
    use super::super::tests::{LIMITS, amp, batch, drain, outbox, tick, world};
    use crate::spool::name::RemoteDir;
    use crate::spool::segment;
    use crate::spool::state::{RemoteRecord, SpoolState};
    use crate::spool::store::memory::StoreFault;
    use crate::spool::store::{FailureKind, Op};

    #[tokio::test(start_paused = true)]
    async fn the_backlog_of_another_remote_comes_into_its_place_in_the_order() {
        let store = world();
        let plant = |remote: &str, scrape: u64, samples: u32| {
            let key = format!("segments/{remote}/0000000001-{scrape:08}-0000.seg");
            store.plant(&key, segment::write(&[batch(samples, 100)], None));
        };
        plant("old", 1, 1);
        plant("amp", 2, 2);
        plant("old", 2, 4);
        plant("old", 3, 8);
        let remotes = [(amp(), LIMITS), (RemoteDir::new("old"), LIMITS)];
        let access = tick(&store, 2, true);
        let opened = open(&access, &SpoolState::default(), &remotes).await;
        let [to, from] = <[_; 2]>::try_from(opened.unwrap().outboxes).ok().unwrap();
        let mut moved = 0;
        // What was moved before a failure stays moved.
        store.set_faults(|op, key, _| StoreFault {
            refuse: (op == Op::PutIfAbsent && key.contains("-00000003-"))
                .then_some(FailureKind::Denied),
            ..StoreFault::default()
        });
        to.adopt(&from, true, &mut moved).await.unwrap_err();
        assert_eq!(moved, 5);
        store.heal();
        to.adopt(&from, true, &mut moved).await.unwrap();
        assert_eq!((moved, from.backlog().segments), (13, 0));
        assert_eq!(to.backlog().samples, 15);
        assert_eq!(drain(&to).await, [1, 2, 4, 8]);
        assert!(store.keys().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_from_another_spool_comes_last() {
        let (store, elsewhere) = (world(), world());
        let name = "segments/old/0000009999-00000001-0000.seg";
        elsewhere.plant(name, segment::write(&[batch(1, 100)], None));
        store.plant(
            "segments/amp/0000000001-00000001-0000.seg",
            segment::write(&[batch(2, 100)], None),
        );
        let to = outbox(&store, 7, None).await;
        let access = tick(&elsewhere, 10_000, true);
        let old = [(RemoteDir::new("old"), LIMITS)];
        let opened = open(&access, &SpoolState::default(), &old).await;
        let from = opened.unwrap().outboxes.remove(0);
        let mut moved = 0;
        to.adopt(&from, false, &mut moved).await.unwrap();
        assert_eq!((moved, elsewhere.keys().len()), (1, 0));
        let summary: RemoteRecord = to.summary().await;
        assert_eq!(
            drain(&outbox(&store, 8, Some(&summary)).await).await,
            [2, 1]
        );
    }
}
