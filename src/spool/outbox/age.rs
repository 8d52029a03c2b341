//! `sample_age_limit`: what is too old to be sent leaves the queue, whatever state the remote is in.

use super::{HeadError, Outbox};
use crate::batch::Batch;
use crate::spool::name::Folder;

impl Outbox {
    /// Moves batches whose newest sample is before `oldest_ms` to `expired/`, from the head on until one is young enough. Adds their samples to
    /// `expired`, in case of an error as well: they are there.
    ///
    /// # Errors
    /// [`HeadError`]. Called again, it goes on where it was.
    pub async fn expire(&self, oldest_ms: i64, expired: &mut u64) -> Result<(), HeadError> {
        while !self.is_empty() {
            let Some(head) = self.head().await? else { continue };
            let (old, young): (Vec<_>, Vec<_>) = head.batches.into_iter().partition(|(_, batch)| batch.max_ms < oldest_ms);
            if !old.is_empty() {
                let (places, batches): (Vec<u32>, Vec<Batch>) = old.into_iter().unzip();
                self.keep(Folder::Expired, head.name.scrape(), &batches, None).await?;
                places.into_iter().for_each(|place| self.answered(head.name, place));
                *expired += super::samples(&batches);
            }
            if !young.is_empty() {
                break;
            }
            self.finish(head.name).await?;
        }
        Ok(())
    }
}
