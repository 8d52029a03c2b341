//! Runs one seed with remote read: two processes share a store, everything has faults, and in the
//! end all faults stop and everything must arrive.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use amp_forwarder::report::{IncidentKind, Report};
use amp_forwarder::send::Remote;
use amp_forwarder::spool::name::{Folder, RemoteDir};
use amp_forwarder::spool::segment;
use amp_forwarder::spool::store::memory::MemoryStore;
use amp_forwarder::tick::{self, Forwarder, Plan};
use fastrand::Rng;
use tokio::time::{Instant, sleep};

use super::history;
use super::home::{ReadHome, ReadHomeHandle};
use super::scenario::{AFTERWARDS, Kind, Scenario, Tick, draw};
use super::tsdb::{HomeSeries, with_external};
use crate::events::{Event, Hits};
use crate::home::OWN;
use crate::memory::has;
use crate::planted::Bug;
use crate::receiver::Receiver;
use crate::run::{Outcome, polled};
use crate::scenario::ROOMY;
use crate::series::{TargetLabels, final_labels};
use crate::store::{Process, Shared, SimStore, StoreClock, WatchedRemote, faults};
use crate::strangers::{plant_state, plant_strangers};
use crate::world::{Key, SimClock, SimWorld, identity};

/// Runs a seed.
pub(crate) fn seed(seed: u64, hits: &Arc<Hits>, tells: bool, bug: Option<Bug>) -> Outcome {
    let mut rng = Rng::with_seed(seed ^ 0x4ead_0000_1dea_0001);
    let scenario = draw(&mut rng, bug);
    run(scenario, rng, hits, tells, bug)
}

/// Runs a scenario.
pub(super) fn run(
    scenario: Scenario,
    rng: Rng,
    hits: &Arc<Hits>,
    tells: bool,
    bug: Option<Bug>,
) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async { Run::new(scenario, rng, hits, tells, bug).all().await })
}

pub(super) struct Seat {
    pub(super) process: Arc<Process>,
    forwarder: Forwarder,
}

pub(super) struct Run {
    pub(super) world: Arc<SimWorld>,
    pub(super) scenario: Scenario,
    pub(super) home: Arc<ReadHome>,
    /// Key of each series of the home as the receivers see it.
    pub(super) keys: HashMap<BTreeMap<String, String>, Key>,
    pub(super) receivers: Vec<Arc<Receiver>>,
    pub(super) dirs: Vec<RemoteDir>,
    pub(super) shared: Arc<Shared>,
    rng: Rng,
    /// Process that had the lease last.
    last: usize,
    /// True times of the scrapes so far.
    pub(super) scrapes: Vec<i64>,
    /// Watermark of each remote when it was first seen, or the time up to which samples were given
    /// up, as a report said; in the home's time.
    pub(super) first_ms: Vec<Option<i64>>,
    /// Time up to which what the watermark of each remote promises was checked.
    pub(super) checked_ms: Vec<i64>,
    /// Whether a process went on without the store: then two may be at work at once.
    without_store: bool,
}

impl Run {
    fn new(
        scenario: Scenario,
        mut rng: Rng,
        hits: &Arc<Hits>,
        tells: bool,
        bug: Option<Bug>,
    ) -> Self {
        let world = SimWorld::new(scenario.start_ms, Arc::clone(hits), tells);
        world.set_skew(scenario.skew_ms);
        world.tell(|| {
            format!(
                "{}{:#?}\n{:#?}\n{:#?}\n{:?}, skew {}",
                scenario.yaml,
                scenario.home,
                scenario.history,
                scenario.receivers,
                scenario.store,
                scenario.skew_ms
            )
        });
        let waits: Duration = scenario
            .ticks
            .iter()
            .map(|tick| tick.wait + tick.timeout)
            .sum();
        let ends_ms = scenario.start_ms + (waits + AFTERWARDS).as_millis() as i64;
        let tsdb = history::draw(
            &mut rng,
            &scenario.history,
            scenario.start_ms - 420_000,
            ends_ms,
        );
        let home = ReadHome::new(Arc::clone(&world), tsdb, scenario.home.clone(), rng.fork());
        let named = scenario.config.remote_write.iter().zip(&scenario.receivers);
        let receivers: Vec<_> = named
            .map(|(entry, traits)| {
                Receiver::new(
                    Arc::clone(&world),
                    entry.id(),
                    traits.clone(),
                    rng.fork(),
                    bug,
                )
            })
            .collect();
        let dirs: Vec<_> = scenario
            .config
            .remote_write
            .iter()
            .map(|entry| RemoteDir::new(&entry.id()))
            .collect();
        let objects = MemoryStore::new(Arc::new(StoreClock {
            world: Arc::clone(&world),
            off_ms: scenario.store.off_ms,
        }));
        // A generator of its own, so that the other draws of a seed stay what they are.
        let mut strangers = rng.clone();
        if strangers.u8(0..4) == 0 {
            plant_strangers(&world, &objects, dirs[0].as_str(), &mut strangers);
        }
        if strangers.u8(0..6) == 0 {
            let dirs: Vec<_> = dirs.iter().map(RemoteDir::as_str).collect();
            plant_state(&world, &objects, "home", &dirs);
        }
        let counter = Arc::new(AtomicU64::new(0));
        objects.set_faults(faults(
            Arc::clone(&world),
            scenario.store.clone(),
            Arc::clone(&counter),
            rng.fork(),
        ));
        let shared = Arc::new(Shared {
            world: Arc::clone(&world),
            objects,
            off_ms: scenario.store.off_ms,
            faults: counter,
            bug,
            unkept: Mutex::default(),
            not_yet_kept: AtomicU64::new(0),
        });
        let mut run = Self {
            keys: HashMap::new(),
            first_ms: vec![None; dirs.len()],
            checked_ms: vec![i64::MIN; dirs.len()],
            world,
            scenario,
            home,
            receivers,
            dirs,
            shared,
            rng,
            last: 0,
            scrapes: Vec::new(),
            without_store: false,
        };
        run.expose();
        run
    }

    /// Declares which samples a receiver may get: those of the home, and the reports on scrapes.
    fn expose(&mut self) {
        let job = &self.scenario.config.scrape_configs[0];
        let target = TargetLabels {
            labels: [("instance", "home:9090"), ("job", "home"), ("site", "here")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            honor: job.honor_labels,
        };
        let external = &self.scenario.config.global.external_labels;
        let key = |labels: &BTreeMap<String, String>, target: &TargetLabels| {
            let pairs = labels
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()));
            let labels = final_labels(pairs, target, external);
            self.world.key(&identity(
                labels
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str())),
            ))
        };
        for series in &self.home.tsdb.series {
            let mut labels = with_external(&series.labels, &self.home.tsdb.external);
            // As federate shows it.
            labels.entry("instance".to_owned()).or_default();
            let key = key(&labels, &target);
            self.keys.insert(series.labels.clone(), key);
            for sample in series.samples() {
                let bits = Some(sample.value.bits());
                self.world.expose_any(key, sample.timestamp_ms, bits);
            }
        }
        let honored = TargetLabels {
            honor: true,
            ..target
        };
        for name in OWN {
            let labels = [("__name__".to_owned(), name.to_owned())];
            self.world.own(key(&labels.into_iter().collect(), &honored));
        }
    }

    /// Key of a series as the receivers see it.
    pub(super) fn key(&self, series: &HomeSeries) -> Option<Key> {
        self.keys.get(&series.labels).copied()
    }

    /// Starts a process without any memory of earlier ticks.
    fn seat(&mut self) -> Seat {
        let process = Arc::new(Process::default());
        let remotes = self.receivers.iter().map(|receiver| {
            Box::new(WatchedRemote::new(receiver, &self.shared, &process)) as Box<dyn Remote>
        });
        let dependencies = tick::Dependencies {
            home: Box::new(ReadHomeHandle(Arc::clone(&self.home))),
            remotes: remotes.collect(),
            clock: Arc::new(SimClock(Arc::clone(&self.world))),
            rng: self.rng.fork(),
            store: Some(Arc::new(SimStore {
                shared: Arc::clone(&self.shared),
                process: Arc::clone(&process),
            })),
        };
        let forwarder = Forwarder::new(self.scenario.config.clone(), dependencies, ROOMY)
            .expect("the targets are valid");
        Seat { process, forwarder }
    }

    async fn all(mut self) -> Outcome {
        let mut seats = [self.seat(), self.seat()];
        for tick in self.scenario.ticks.clone() {
            sleep(tick.wait).await;
            self.tick(&mut seats, tick).await;
            if self.is_over() {
                break;
            }
        }
        if !self.is_over() {
            self.end(&mut seats).await;
        }
        if self.without_store {
            // Without the store a process cannot know how far another one has read.
            self.world.hit(Event::ReadWithoutStore);
            self.world.pardon();
        }
        Outcome {
            findings: self.world.findings(),
            story: self.world.story(),
        }
    }

    fn is_over(&self) -> bool {
        self.without_store || !self.world.findings().is_empty()
    }

    /// Allows samples to be sent again, in the order of a catch-up that starts anew.
    fn forget(&self) {
        for (receiver, dir) in self.receivers.iter().zip(&self.dirs) {
            receiver.forgotten(true);
            let prefix = dir.prefix(Folder::Segments);
            let keys = self.shared.objects.keys().into_iter();
            for key in keys.filter(|key| key.starts_with(&prefix)) {
                let object = self.shared.objects.peek(&key).unwrap_or_default();
                let batches = segment::read(&object).map(|segment| segment.batches);
                batches
                    .iter()
                    .flatten()
                    .for_each(|batch| receiver.doubt(&batch.body.to_bytes()));
            }
        }
    }

    pub(super) async fn tick(&mut self, seats: &mut [Seat; 2], tick: Tick) -> Option<Report> {
        self.world.tell(|| format!("tick: {tick:?}"));
        let (started, start_ms) = (Instant::now(), self.world.now_ms());
        let plan = Plan {
            deadline: Some(started + tick.timeout),
            ..Plan::default()
        };
        if tick.process != self.last {
            self.world.hit(Event::ReadOtherProcess);
            if self.scenario.mode != amp_forwarder::config::RemoteReadMode::Always {
                // Which samples the last scrape showed is not stored.
                self.receivers
                    .iter()
                    .for_each(|receiver| receiver.forgotten(false));
            }
        }
        let kill = match tick.kind {
            Kind::KilledInCall(at) => Some(at),
            _ => None,
        };
        let seat = &mut seats[tick.process];
        seat.process.begin(kill);
        let process = Arc::clone(&seat.process);
        let report = {
            let ticking = seat.forwarder.tick(&plan);
            let ticking = async {
                match tick.kind {
                    Kind::KilledAfterPolls(polls) => polled(ticking, polls).await,
                    Kind::KilledAfter(after) => tokio::time::timeout(after, ticking).await.ok(),
                    _ => Some(ticking.await),
                }
            };
            tokio::select! {
                biased;
                report = ticking => report,
                () = process.killed.notified() => None,
            }
        };
        self.last = tick.process;
        self.scrapes.extend(self.home.take_scrapes());
        self.reads(start_ms);
        if let Some(report) = &report {
            self.world.tell(|| format!("report: {report:?}"));
            if started.elapsed() > tick.timeout {
                let took = started.elapsed();
                self.world
                    .found("deadline", format!("{took:?} of {:?}", tick.timeout));
            }
            self.reported(report);
        } else {
            self.world.hit(Event::ReadKilled);
            self.world.tell(|| "killed".to_owned());
            seats[tick.process] = self.seat();
            self.forget();
        }
        self.durable();
        report
    }

    /// Checks a report, and takes over what it excuses.
    fn reported(&mut self, report: &Report) {
        self.failing(report);
        let mut again = has(report, IncidentKind::LeaseNotReleased);
        for remote in &report.remotes {
            let ledger = &remote.ledger;
            if !ledger.balances() {
                self.world.found(
                    "ledger",
                    format!("{} does not balance: {ledger:?}", remote.remote),
                );
            }
            again |= ledger.rolled_back > 0 || ledger.lost > 0;
            if ledger.lost > 0 {
                self.world
                    .found("lost", format!("{}: {ledger:?}", remote.remote));
            }
        }
        if again {
            self.forget();
        }
        if has(report, IncidentKind::WithoutSpool) {
            self.without_store = true;
        }
        for (kind, event) in [
            (IncidentKind::GapGivenUp, Event::ReadGivenUp),
            (IncidentKind::GapTooOld, Event::ReadTooOld),
            (IncidentKind::ReadFailed, Event::ReadFailed),
        ] {
            if has(report, kind) {
                self.world.hit(event);
            }
        }
        if has(report, IncidentKind::GapGivenUp) || has(report, IncidentKind::GapTooOld) {
            let now_ms = self.home.now_ms();
            self.world.tell(|| format!("given up before {now_ms}"));
            self.first_ms
                .iter_mut()
                .for_each(|first_ms| *first_ms = Some(now_ms));
        }
        if report.ledger.backfilled > 0 {
            self.world.hit(Event::ReadBackfilled);
        }
    }

    /// Checks the remote reads of a tick as the home saw them.
    fn reads(&self, start_ms: i64) {
        let reads = self.home.take_reads();
        if reads.len() > 3 {
            self.world.hit(Event::ReadCatchUp);
        }
        for read in &reads {
            if read.together > 1 {
                self.world
                    .found("home", format!("{} reads at once: {read:?}", read.together));
            }
            let (from_ms, to_ms) = read.range;
            if to_ms - from_ms > 120_000 + 300_000 + 5_000 {
                self.world
                    .found("window", format!("{} ms at once", to_ms - from_ms));
            }
            self.world.hit(Event::ReadWindow);
            if let Some(fault) = read.fault {
                self.world.hit(fault.event());
            }
        }
        let given_up = reads.iter().filter(|read| {
            matches!(
                read.fault,
                Some(super::home::Fault::Silent | super::home::Fault::Stalls)
            )
        });
        if given_up.count() > 1 {
            self.world.found(
                "home",
                format!("a read that timed out was repeated in the tick from {start_ms}"),
            );
        }
    }

    /// Ends all faults, and lets ticks run until everything has arrived.
    async fn end(&mut self, seats: &mut [Seat; 2]) {
        self.world.tell(|| "all faults end".to_owned());
        self.world.heal();
        self.shared.objects.heal();
        let mut calm = 0;
        for _ in 0..20 {
            sleep(Duration::from_secs(40)).await;
            let tick = Tick {
                wait: Duration::ZERO,
                timeout: Duration::from_secs(58),
                kind: Kind::Whole,
                process: 0,
            };
            let Some(report) = self.tick(seats, tick).await else {
                return;
            };
            if self.is_over() {
                return;
            }
            calm = if report.ledger.owed_after == 0 && self.is_caught_up() {
                calm + 1
            } else {
                0
            };
            if calm == 2 {
                break;
            }
        }
        if calm < 2 {
            self.world
                .found("drain", "it has not caught up though all faults have ended");
        }
        self.arrived();
        for receiver in &self.receivers {
            if let Some((from_ms, to_ms)) = receiver.repeated()
                && to_ms - from_ms > self.scenario.most_repeated_ms
            {
                self.world.found(
                    "repeats",
                    format!("samples of {} ms were sent again", to_ms - from_ms),
                );
            }
        }
    }
}
