//! The forwarder between its ticks: what a process keeps, and what it is made of.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::job::{EXPECTED_AT_FIRST, Job, SlotGrid};
use super::lease::TickSpool;
use super::neighbours::Neighbours;
use super::own_rules::own_target;
use super::reads::{ReadCursor, cold_cursors};
use super::remote::Lane;
use crate::batch::Writer;
use crate::batch::stage::BatchLimits;
use crate::config::{Config, RemoteWrite};
use crate::home::{Home, Target, targets};
use crate::send::Remote;
use crate::spool::store::Store;
use crate::time::Clock;

/// The dependencies of a forwarder on the outside world.
pub struct Dependencies {
    /// The home Prometheus.
    pub home: Box<dyn Home>,
    /// Remotes, one for each `remote_write`, in their order.
    pub remotes: Vec<Box<dyn Remote>>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Source of randomness for back-offs and for the name of the process in the lease.
    pub rng: fastrand::Rng,
    /// Store of the spool. Without one, samples that a tick cannot send are lost.
    pub store: Option<Arc<dyn Store>>,
}

/// The forwarder. It is kept for the process, so that a warm tick knows its series.
pub struct Forwarder {
    pub(super) config: Config,
    pub(super) home: Box<dyn Home>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) jobs: Vec<Job>,
    pub(super) lanes: Vec<Lane>,
    pub(super) writers: Vec<RefCell<Writer>>,
    pub(super) holder: Option<TickSpool>,
    /// Targets whose samples are read from the home's TSDB.
    pub(super) cursors: Vec<ReadCursor>,
    /// One lock for each home: reads of it wait for each other.
    pub(super) home_turns: Vec<Mutex<()>>,
    /// What the forwarder's own series belong to, if they are sent.
    pub(super) own_target: Option<Target>,
    pub(super) memory_limit: usize,
    /// The forwarders of other sites, which `memory_limit` bounds together with this one.
    pub(super) neighbours: Option<Rc<dyn Neighbours>>,
    /// Bytes staged by the scrapes in progress.
    pub(super) staged: Cell<usize>,
    /// The most bytes of all that `memory_limit` bounds, in this tick.
    pub(super) most_held: Cell<usize>,
}

/// Shortest time between two reads of a job, milliseconds.
const READ_EVERY_MS: i64 = 60_000;

/// The reason why no forwarder can be made of a configuration.
#[derive(Debug, thiserror::Error)]
#[error("configuration: {0}")]
pub struct ForwarderError(String);

impl Forwarder {
    /// Makes a cold forwarder, which knows no series yet. `memory_limit` is in bytes.
    ///
    /// # Errors
    /// Fails when a target of the configuration does not form a URL.
    pub fn new(
        config: Config,
        world: Dependencies,
        memory_limit: u64,
    ) -> Result<Self, ForwarderError> {
        let jobs = cold_jobs(&config)?;
        let targets = jobs.iter().map(|job| job.targets.len()).sum();
        let memory_limit = usize::try_from(memory_limit).unwrap_or(usize::MAX);
        let (cursors, homes) = cold_cursors(&config, &jobs, memory_limit);
        let Dependencies {
            home,
            remotes,
            clock,
            mut rng,
            store,
        } = world;
        let holder =
            store.map(|store| TickSpool::new(store, Arc::clone(&clock), &config, &mut rng));
        let lanes: Vec<_> = config
            .remote_write
            .iter()
            .zip(remotes)
            .map(|(entry, remote)| {
                Lane::new(
                    entry,
                    config.forwarder.max_request_bytes,
                    remote,
                    rng.fork(),
                )
            })
            .collect();
        let writers = config
            .remote_write
            .iter()
            .map(|entry| RefCell::new(cold_writer(entry, config.forwarder.max_request_bytes)))
            .collect();
        Ok(Self {
            home,
            clock,
            jobs,
            lanes,
            writers,
            holder,
            cursors,
            home_turns: (0..homes).map(|_| Mutex::default()).collect(),
            own_target: own_target(&config.forwarder.own_series, targets),
            memory_limit,
            neighbours: None,
            staged: Cell::new(0),
            most_held: Cell::new(0),
            config,
        })
    }

    /// Returns those of the names in `jobs` that the configuration does not have.
    #[must_use]
    pub fn unknown_jobs(&self, jobs: &[String]) -> Vec<String> {
        let known = |name: &&String| {
            self.config
                .scrape_configs
                .iter()
                .any(|job| job.job_name == **name)
        };
        jobs.iter().filter(|name| !known(name)).cloned().collect()
    }

    /// Returns when the next slot of any job is due, milliseconds since 1970.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<i64> {
        let now_ms = self.clock.now_ms();
        self.jobs
            .iter()
            .map(|job| {
                if let Some(read_ms) = job.read_ms.get() {
                    // Between two reads of a minute each, nothing is missed.
                    return read_ms + job.grid.interval_ms().max(READ_EVERY_MS);
                }
                job.grid
                    .due(now_ms, job.served_ms.get())
                    .unwrap_or_else(|| job.grid.after(now_ms))
            })
            .min()
    }
}

/// Makes the jobs of a process that has scraped nothing yet.
fn cold_jobs(config: &Config) -> Result<Vec<Job>, ForwarderError> {
    let mut by_job: Vec<Vec<Target>> = config.scrape_configs.iter().map(|_| Vec::new()).collect();
    for target in targets(&config.scrape_configs).map_err(ForwarderError)? {
        by_job[target.job.index()].push(target);
    }
    let jobs = config
        .scrape_configs
        .iter()
        .zip(by_job)
        .map(|(job, targets)| Job {
            grid: SlotGrid::new(&job.job_name, job.scrape_interval),
            targets,
            served_ms: Cell::default(),
            read_ms: Cell::default(),
            expected: Cell::new(EXPECTED_AT_FIRST),
            scraped_ms: Cell::default(),
            failing: BTreeSet::new(),
        });
    Ok(jobs.collect())
}

/// Makes the writer of a remote, which knows no series yet.
fn cold_writer(entry: &RemoteWrite, max_request_bytes: usize) -> Writer {
    // No batch exceeds the capacity of the queue.
    let samples = entry
        .queue
        .max_samples_per_send
        .min(entry.queue.capacity)
        .max(1);
    let limits = BatchLimits {
        samples,
        bytes: max_request_bytes,
    };
    Writer::new(limits).with_native_histograms(entry.send_native_histograms)
}
