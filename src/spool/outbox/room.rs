//! `max_bytes`: the oldest give way.

use super::Outbox;
use crate::spool::name::Folder;
use crate::spool::store::StoreError;

impl Outbox {
    /// Gives up the oldest segments until there is room for `bytes` more. False when there is none even then.
    ///
    /// # Errors
    /// The store is down.
    pub(super) async fn make_room(&self, bytes: u64) -> Result<bool, StoreError> {
        loop {
            let victim = {
                let inner = self.inner.borrow();
                let held: u64 = inner.entries.iter().map(|entry| entry.bytes).sum();
                if held.saturating_add(bytes) <= self.limits.max_bytes {
                    return Ok(true);
                }
                // Not one that is being posted.
                inner.entries.iter().map(|entry| entry.name).find(|name| inner.loaded.iter().all(|loaded| loaded.name != *name))
            };
            let Some(name) = victim else { return Ok(false) };
            if self.inner.borrow().entries.iter().any(|entry| entry.name == name && entry.meta.is_none())
                && let Some(meta) = self.peek(name).await
            {
                self.inner.borrow_mut().learn(name, meta);
            }
            self.get_rid_of(name).await?;
            let key = name.key(Folder::Segments, &self.remote);
            self.forget(name, &format!("spool: {key} is given up: the backlog has come to max_bytes")).await;
        }
    }
}
