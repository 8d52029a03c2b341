//! `sample_age_limit`: batches that are too old to be sent leave the backlog, also while the remote
//! is down.

use super::{HeadError, Outbox};
use crate::batch::{self, Batch};
use crate::spool::name::Folder;

impl Outbox {
    /// Moves batches whose newest sample is before `oldest_ms` to `expired/`: from the head on,
    /// until a batch is young enough. Adds their samples to `expired`, after an error as well: what
    /// was moved until then stays moved.
    ///
    /// # Errors
    /// A segment cannot be read or moved. The next call goes on where this one was.
    pub async fn expire(&self, oldest_ms: i64, expired: &mut u64) -> Result<(), HeadError> {
        while !self.is_empty() {
            let Some(head) = self.head().await? else {
                continue;
            };
            let (old, young): (Vec<_>, Vec<_>) = head
                .batches
                .into_iter()
                .partition(|(_, batch)| batch.max_ms < oldest_ms);
            if !old.is_empty() {
                let (places, batches): (Vec<u32>, Vec<Batch>) = old.into_iter().unzip();
                self.keep(Folder::Expired, head.name.scrape(), &batches, None)
                    .await?;
                places
                    .into_iter()
                    .for_each(|place| self.answered(head.name, place));
                *expired += batch::samples(&batches);
            }
            if !young.is_empty() {
                break;
            }
            self.finish(head.name).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Fallback;
    use super::super::tests::{batch, drain, outbox, world};
    use crate::spool::state::RemoteRecord;
    use crate::spool::store::memory::StoreFault;
    use crate::spool::store::{FailureKind, Op};

    #[tokio::test(start_paused = true)]
    async fn what_is_too_old_leaves_from_the_head_on() {
        let store = world();
        let outbox = outbox(&store, 1, Some(&RemoteRecord::default())).await;
        outbox
            .put(1, vec![batch(1, 100), batch(2, 150)], Fallback::Memory)
            .await
            .unwrap();
        outbox
            .put(2, vec![batch(4, 180), batch(8, 300)], Fallback::Memory)
            .await
            .unwrap();
        outbox
            .put(3, vec![batch(16, 400)], Fallback::Memory)
            .await
            .unwrap();
        let mut expired = 0;
        // What came to expired/ before the store was down counts.
        store.set_faults(|op, _, _| StoreFault {
            refuse: (op == Op::Delete).then_some(FailureKind::Denied),
            ..StoreFault::default()
        });
        outbox.expire(200, &mut expired).await.unwrap_err();
        assert_eq!(expired, 3);
        store.heal();
        outbox.expire(200, &mut expired).await.unwrap();
        outbox.expire(200, &mut expired).await.unwrap();
        assert_eq!(expired, 7);
        assert_eq!(outbox.backlog().samples, 24);
        assert_eq!(
            store
                .keys()
                .iter()
                .filter(|key| key.starts_with("expired/amp/"))
                .count(),
            2
        );
        assert_eq!(drain(&outbox).await, [8, 16]);
    }
}
