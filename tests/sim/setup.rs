//! What the simulations set up alike: a paused clock, receivers, a store that processes share, and
//! the processes.

use std::future::Future;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use amp_forwarder::config::Config;
use amp_forwarder::home::Home;
use amp_forwarder::report::Report;
use amp_forwarder::send::Remote;
use amp_forwarder::spool::name::RemoteDir;
use amp_forwarder::spool::store::memory::MemoryStore;
use amp_forwarder::tick::{self, Forwarder, Plan};
use fastrand::Rng;

use crate::planted::Bug;
use crate::receiver::{self, Receiver};
use crate::run::polled;
use crate::store::{self, KillAt, Process, Shared, SimStore, StoreClock, WatchedRemote, faults};
use crate::world::{SimClock, SimWorld};

/// Runs a simulation on a clock of its own, which moves only when every task waits.
///
/// The clock belongs to the runtime, so `run` makes everything inside of it.
pub(crate) fn on_paused_clock<F: Future>(run: impl FnOnce() -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async { run().await })
}

/// The receivers of a configuration.
pub(crate) fn receivers(
    world: &Arc<SimWorld>,
    config: &Config,
    traits: &[receiver::Traits],
    rng: &mut Rng,
    bug: Option<Bug>,
) -> Vec<Arc<Receiver>> {
    let named = config.remote_write.iter().zip(traits);
    named
        .map(|(entry, traits)| {
            let (world, rng) = (Arc::clone(world), rng.fork());
            Receiver::new(world, entry.id(), traits.clone(), rng, bug)
        })
        .collect()
}

/// Names of the remotes in the spool.
pub(crate) fn remote_dirs(config: &Config) -> Vec<RemoteDir> {
    let entries = config.remote_write.iter();
    entries.map(|entry| RemoteDir::new(&entry.id())).collect()
}

/// A store with faults, in which `plant` puts what is there from the beginning.
pub(crate) fn shared_store(
    world: &Arc<SimWorld>,
    traits: store::Traits,
    rng: &mut Rng,
    bug: Option<Bug>,
    plant: impl FnOnce(&MemoryStore),
) -> Arc<Shared> {
    let off_ms = traits.off_ms;
    let objects = MemoryStore::new(Arc::new(StoreClock {
        world: Arc::clone(world),
        off_ms,
    }));
    plant(&objects);
    let counter = Arc::new(AtomicU64::new(0));
    let (world, counted) = (Arc::clone(world), Arc::clone(&counter));
    objects.set_faults(faults(Arc::clone(&world), traits, counted, rng.fork()));
    Arc::new(Shared {
        world,
        objects,
        off_ms,
        faults: counter,
        bug,
        unkept: Mutex::default(),
        not_yet_kept: AtomicU64::new(0),
    })
}

/// Where a process is killed in a tick.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kill {
    AfterPolls(u32),
    After(Duration),
    InCall(KillAt),
}

/// A process that shares a store with others.
pub(crate) struct Seat {
    pub(crate) process: Arc<Process>,
    pub(crate) forwarder: Forwarder,
}

impl Seat {
    /// Starts a process without any memory of earlier ticks. It has as many remotes as there are
    /// receivers.
    pub(crate) fn new(
        config: &Config,
        home: Box<dyn Home>,
        receivers: &[Arc<Receiver>],
        shared: &Arc<Shared>,
        rng: Rng,
        memory_limit: u64,
    ) -> Self {
        let process = Arc::new(Process::default());
        let remotes = receivers.iter().map(|receiver| {
            Box::new(WatchedRemote::new(receiver, shared, &process)) as Box<dyn Remote>
        });
        let dependencies = tick::Dependencies {
            home,
            remotes: remotes.collect(),
            clock: Arc::new(SimClock(Arc::clone(&shared.world))),
            rng,
            store: Some(Arc::new(SimStore {
                shared: Arc::clone(shared),
                process: Arc::clone(&process),
            })),
        };
        let forwarder = Forwarder::new(config.clone(), dependencies, memory_limit)
            .expect("the targets are valid");
        Self { process, forwarder }
    }

    /// Runs a tick. There is no report if it was killed; `in_call` runs when a kill comes in a call
    /// of the store, before the tick is dropped.
    pub(crate) async fn tick(
        &mut self,
        plan: &Plan,
        kill: Option<Kill>,
        in_call: impl FnOnce(),
    ) -> Option<Report> {
        self.process.begin(match kill {
            Some(Kill::InCall(at)) => Some(at),
            _ => None,
        });
        let process = Arc::clone(&self.process);
        let ticking = self.forwarder.tick(plan);
        let ticking = async {
            match kill {
                Some(Kill::AfterPolls(polls)) => polled(ticking, polls).await,
                Some(Kill::After(after)) => tokio::time::timeout(after, ticking).await.ok(),
                Some(Kill::InCall(_)) | None => Some(ticking.await),
            }
        };
        let mut ticking = std::pin::pin!(ticking);
        tokio::select! {
            biased;
            report = &mut ticking => report,
            () = process.killed.notified() => {
                in_call();
                None
            }
        }
    }
}
