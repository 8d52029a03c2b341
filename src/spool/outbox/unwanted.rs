//! Segments that may be there and are owed to nobody.
//!
//! A write that had no answer may have taken place, or may take place yet; what was in it has gone another way meanwhile and is counted there. To
//! send it, too, would bring old samples after newer ones. So its name is remembered in `state.json`, whoever finds it there takes it for nothing,
//! and some more ticks delete it.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::time::Instant;

use super::Outbox;
use crate::spool::name::{Folder, SegmentName};
use crate::spool::store::{Kind, StoreError};

/// Ticks that delete a name: a write that had no answer takes place within seconds or never, and a tick is mostly a minute.
pub(super) const TICKS: u8 = 5;

/// Most names; beyond these the oldest are forgotten.
const MOST: usize = 1000;

/// For one try: nobody waits for it.
const TRY: Duration = Duration::from_secs(2);

/// Deletions at once.
const AT_ONCE: usize = 16;

impl Outbox {
    /// What is in that segment went another way: if it is there, it must not be sent.
    pub(super) async fn discard(&self, name: SegmentName) {
        {
            let inner = &mut *self.inner.borrow_mut();
            inner.unwanted.insert(name, TICKS);
            while inner.unwanted.len() > MOST {
                inner.unwanted.pop_first();
            }
        }
        // Should this tick be killed, nobody would know of the name.
        self.try_to_delete(name).await;
    }

    /// Deletes a segment whose samples are counted elsewhere. In doubt, it is as good as deleted.
    pub(super) async fn get_rid_of(&self, name: SegmentName, until: Instant) -> Result<(), StoreError> {
        match self.erase(name, until).await {
            Err(error) if error.kind == Kind::NoAnswer => {
                self.discard(name).await;
                Ok(())
            }
            erased => erased,
        }
    }

    /// Deletes what earlier ticks left.
    pub(super) async fn delete_unwanted(&self) {
        let names: Vec<_> = self.inner.borrow().unwanted.keys().copied().collect();
        let deleting = stream::iter(names).map(|name| async move { (name, self.try_to_delete(name).await) });
        let deleted: Vec<_> = deleting.buffer_unordered(AT_ONCE).collect().await;
        let unwanted = &mut self.inner.borrow_mut().unwanted;
        for (name, _) in deleted.into_iter().filter(|(_, deleted)| *deleted) {
            if let Some(ticks) = unwanted.get_mut(&name) {
                *ticks = ticks.saturating_sub(1);
            }
        }
        unwanted.retain(|_, ticks| *ticks > 0);
    }

    async fn try_to_delete(&self, name: SegmentName) -> bool {
        let key = name.key(Folder::Segments, &self.remote);
        let until = self.tick.spare().min(Instant::now() + TRY);
        let deleted = self.tick.store.delete(&key, until).await;
        if let Err(error) = &deleted {
            tracing::debug!("{error}: the next tick deletes it");
        }
        deleted.is_ok()
    }
}
