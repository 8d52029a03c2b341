//! Taking over the backlog of a remote that the configuration no longer names: one that was
//! renamed, or one in a place that `forwarder.spool.url` no longer names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::lease::{LeaseClient, ReleaseError, TakeError, Tenure};
use super::name::RemoteDir;
use super::outbox::{self, HeadError, Outbox, SpoolLimits};
use super::state::{RemoteRecord, SpoolState};
use super::store::{Store, StoreError};
use crate::time::{Clock, Deadlines};

/// How long one call holds the lease at most. The ticks of the schedule cannot work meanwhile.
const SLICE: Duration = Duration::from_secs(60);

/// Time that is kept free for the release.
const MARGIN: Duration = Duration::from_secs(5);

/// What is to be adopted, and by whom.
pub struct Adoption {
    /// The spool of the configuration.
    pub store: Arc<dyn Store>,
    /// The spool that holds the backlog, if it is another one.
    pub elsewhere: Option<Arc<dyn Store>>,
    /// The remote whose backlog it is.
    pub from: RemoteDir,
    /// The remote that gets it.
    pub to: RemoteDir,
    /// Limits of the spool of the configuration.
    pub limits: SpoolLimits,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
}

/// The result of [`Adoption::run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adopted {
    /// Samples that were moved.
    pub samples: u64,
    /// Samples that are still owed to the remote that is gone: no time was left for them.
    pub left: u64,
}

/// Why a backlog could not be adopted. What was moved until then stays moved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdoptError {
    /// The lease of one of the spools could not be taken.
    #[error(transparent)]
    Lease(#[from] TakeError),
    /// A store is down.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A segment could not be moved.
    #[error(transparent)]
    Segment(#[from] HeadError),
    /// The lease could not be released.
    #[error(transparent)]
    Release(#[from] ReleaseError),
}

/// One spool under its lease.
struct Held {
    client: LeaseClient,
    tenure: Tenure,
    /// The backlogs of the remotes that were asked for, in that order.
    outboxes: Vec<Outbox>,
    /// Those of all others, which an unclean end may have changed.
    others: BTreeMap<RemoteDir, RemoteRecord>,
}

impl Held {
    async fn take(
        store: &Arc<dyn Store>,
        clock: &Arc<dyn Clock>,
        remotes: &[(RemoteDir, SpoolLimits)],
    ) -> Result<Self, AdoptError> {
        let now = Instant::now();
        let planned = Deadlines::new(now, Some(now + SLICE), MARGIN);
        let (store, clock) = (Arc::clone(store), Arc::clone(clock));
        let mut client = LeaseClient::new(store, clock, &mut fastrand::Rng::new());
        let tenure = client.take(&planned).await?;
        let opened = outbox::open(&tenure.access(&client), &tenure.state, remotes).await?;
        Ok(Self {
            client,
            tenure,
            outboxes: opened.outboxes,
            others: opened.orphans,
        })
    }

    /// Releases the lease, with the backlogs as they are now.
    async fn release(mut self, remotes: &[(RemoteDir, SpoolLimits)]) -> Result<(), AdoptError> {
        let mut state: SpoolState = self.tenure.state.clone();
        let mut records = self.others;
        for ((remote, _), outbox) in remotes.iter().zip(&self.outboxes) {
            records.insert(remote.clone(), outbox.summary().await);
        }
        for (remote, record) in records {
            let known = state.remotes.entry(remote).or_default();
            *known = RemoteRecord {
                metadata_ms: known.metadata_ms,
                table: known.table.take(),
                ..record
            };
        }
        Ok(self.client.release(self.tenure, state).await?)
    }
}

impl Adoption {
    /// Moves the backlog, under the lease of the spool, or of both spools. Waits for other holders
    /// for almost a minute.
    ///
    /// # Errors
    /// [`AdoptError`]. Another call goes on.
    pub async fn run(&self) -> Result<Adopted, AdoptError> {
        let to = (self.to.clone(), self.limits);
        // Nothing is put there, so the limits do not matter.
        let from = (self.from.clone(), SpoolLimits::default());
        match &self.elsewhere {
            None => {
                let remotes = [to, from];
                let held = Held::take(&self.store, &self.clock, &remotes).await?;
                let mut moved = 0;
                let adopted = held.outboxes[0].adopt(&held.outboxes[1], true, &mut moved);
                let result = adopted.await;
                let left = held.outboxes[1].backlog().samples;
                held.release(&remotes).await?;
                finished(result, moved, left)
            }
            Some(elsewhere) => {
                let (to, from) = ([to], [from]);
                let there = Held::take(elsewhere, &self.clock, &from).await?;
                let here = match Held::take(&self.store, &self.clock, &to).await {
                    Ok(here) => here,
                    Err(error) => {
                        there.release(&from).await?;
                        return Err(error);
                    }
                };
                let mut moved = 0;
                let adopted = here.outboxes[0].adopt(&there.outboxes[0], false, &mut moved);
                let result = adopted.await;
                let left = there.outboxes[0].backlog().samples;
                here.release(&to).await?;
                there.release(&from).await?;
                finished(result, moved, left)
            }
        }
    }
}

/// A slice that ended because its time was over has moved something all the same.
fn finished(result: Result<(), HeadError>, samples: u64, left: u64) -> Result<Adopted, AdoptError> {
    match result {
        Err(error) if samples == 0 => Err(error.into()),
        Ok(()) | Err(_) => Ok(Adopted { samples, left }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::spool::segment;
    use crate::spool::store::memory::MemoryStore;
    use crate::time::TokioClock;

    fn adoption(store: &MemoryStore, elsewhere: Option<&MemoryStore>) -> Adoption {
        Adoption {
            store: Arc::new(store.clone()),
            elsewhere: elsewhere.map(|store| Arc::new(store.clone()) as Arc<dyn Store>),
            from: RemoteDir::new("old"),
            to: RemoteDir::new("amp"),
            limits: SpoolLimits {
                segment_bytes: 1000,
                max_bytes: 100_000,
                ..SpoolLimits::default()
            },
            clock: Arc::new(TokioClock::starting_at(0)),
        }
    }

    fn plant(store: &MemoryStore, samples: u32) {
        let batch = Batch {
            body: vec![0; 60].into(),
            samples,
            raw_len: 120,
            min_ms: 5,
            max_ms: 100,
        };
        let key = "segments/old/0000000001-00000001-0000.seg";
        store.plant(key, segment::write(&[batch], None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_tick_finds_the_backlog_at_its_new_owner() {
        for other_place in [false, true] {
            let store = MemoryStore::new(Arc::new(TokioClock::starting_at(0)));
            let other = MemoryStore::new(Arc::new(TokioClock::starting_at(0)));
            let elsewhere = other_place.then_some(&other);
            plant(elsewhere.unwrap_or(&store), 7);
            let adopted = adoption(&store, elsewhere).run().await.unwrap();
            assert_eq!((adopted.samples, adopted.left), (7, 0));
            let clock = Arc::new(TokioClock::starting_at(0));
            let mut rng = fastrand::Rng::with_seed(1);
            let mut client = LeaseClient::new(Arc::new(store.clone()), clock, &mut rng);
            let deadline = Instant::now() + SLICE;
            let state = client.look(deadline).await.unwrap();
            assert_eq!(state.lease, None);
            assert_eq!(state.remotes[&RemoteDir::new("amp")].backlog.samples, 7);
            let owed = state.remotes.get(&RemoteDir::new("old"));
            assert!(owed.is_none_or(|old| !old.is_owed_anything()), "{owed:?}");
            let keys = store.keys();
            assert!(
                keys.iter().any(|key| key.starts_with("segments/amp/")),
                "{keys:?}"
            );
            let left: Vec<_> = [keys, other.keys()].concat();
            assert!(
                !left.iter().any(|key| key.starts_with("segments/old/")),
                "{left:?}"
            );
        }
    }
}
