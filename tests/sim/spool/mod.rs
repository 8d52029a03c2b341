//! Runs one seed with a spool: two processes share a store. They are killed, frozen and run
//! concurrently, everything has outages, and the checks run after each tick and at the end.

mod backlog;
mod checks;
pub(crate) mod disorder;
mod drain;
mod draw;
mod lease;
mod setting;

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use amp_forwarder::report::Outcome as TickOutcome;
use amp_forwarder::send::Remote;
use amp_forwarder::spool::name::{Folder, RemoteDir};
use amp_forwarder::spool::segment;
use amp_forwarder::spool::state::{KEY, SpoolState};
use amp_forwarder::spool::store::Op;
use amp_forwarder::spool::store::memory::MemoryStore;
use amp_forwarder::tick::{self, Forwarder, Plan};
use amp_forwarder::time::Clock as _;
use fastrand::Rng;
use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep};

use self::draw::{Kind, Tick};
use self::lease::released;
use self::setting::Setting;
use crate::events::{Event, Hits};
use crate::home::{HomeHandle, HomeModel};
use crate::memory::Memory;
use crate::planted::Bug;
use crate::receiver::{PostSpan, Receiver};
use crate::run::{Outcome, polled, targets};
use crate::store::{Process, Shared, SimStore, StoreClock, WatchedRemote, faults};
use crate::world::{Key, SimClock, SimWorld, lock};

/// Runs a seed with a spool.
pub(crate) fn seed(seed: u64, hits: &Arc<Hits>, tells: bool, bug: Option<Bug>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut rng = Rng::with_seed(seed ^ 0x5b00_1e57);
        let setting = setting::draw(&mut rng);
        let run = Run::new(setting, rng, hits, tells, bug);
        run.tell(&format!("seed {seed} with a spool"));
        run.plant(seed);
        run.all().await
    })
}

struct Seat {
    process: Arc<Process>,
    forwarder: Forwarder,
}

struct Run {
    world: Arc<SimWorld>,
    setting: Setting,
    /// Index of the configuration that both processes have.
    configuration: usize,
    home: Arc<HomeModel>,
    receivers: Vec<Arc<Receiver>>,
    dirs: Vec<RemoteDir>,
    shared: Arc<Shared>,
    rng: Rng,
    /// Index of the process that had the lease last.
    last: usize,
    /// Whether a process went on without the store although the other had worked since its last
    /// tick.
    concurrent_without_store: bool,
    /// For each remote, the backlog of the last report, unless something has changed it since.
    owed: Option<Vec<u64>>,
    /// For each remote, the samples that a report has accounted for.
    claimed: Vec<HashSet<(Key, i64)>>,
    /// For each remote, the samples lost by its reports.
    lost: Vec<u64>,
    /// For each remote, the samples that it refused for good in ticks without the store.
    unkept: Vec<u64>,
    /// End of the last tick of each process by the forwarder's clock.
    ended_ms: [Option<i64>; 2],
    /// Whether the forwarder's clock was moved.
    skewed: bool,
    memory: Memory,
    /// Whether the tick has ended in which the process may still be frozen.
    tick_over: Arc<AtomicBool>,
}

impl Run {
    fn new(
        setting: Setting,
        mut rng: Rng,
        hits: &Arc<Hits>,
        tells: bool,
        bug: Option<Bug>,
    ) -> Self {
        let scenario = &setting.scenario;
        let world = SimWorld::new(scenario.start_ms, Arc::clone(hits), tells);
        let mut home = HomeModel::new(
            Arc::clone(&world),
            scenario.home.clone(),
            scenario.config.global.external_labels.clone(),
            targets(&setting.configurations),
            rng.fork(),
        );
        home.tight_memory = scenario.tight_memory();
        home.hides_dropped = bug == Some(Bug::DroppedTimestampsKept);
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
        let off_ms = setting.store.off_ms;
        let objects = MemoryStore::new(Arc::new(StoreClock {
            world: Arc::clone(&world),
            off_ms,
        }));
        let counter = Arc::new(AtomicU64::new(0));
        objects.set_faults(faults(
            Arc::clone(&world),
            setting.store.clone(),
            Arc::clone(&counter),
            rng.fork(),
        ));
        let shared = Arc::new(Shared {
            world: Arc::clone(&world),
            objects,
            off_ms,
            faults: counter,
            bug,
            unkept: Mutex::default(),
            not_yet_kept: AtomicU64::new(0),
        });
        let (lost, memory_limit) = (vec![0; receivers.len()], scenario.memory_limit);
        Self {
            world,
            setting,
            configuration: 0,
            home: Arc::new(home),
            receivers,
            dirs,
            shared,
            rng,
            last: 0,
            concurrent_without_store: false,
            owed: Some(lost.clone()),
            claimed: vec![HashSet::new(); lost.len()],
            unkept: lost.clone(),
            lost,
            ended_ms: [None; 2],
            skewed: false,
            memory: Memory::new(memory_limit),
            tick_over: Arc::default(),
        }
    }

    /// Begins the story with what was drawn.
    fn tell(&self, what: &str) {
        let Setting {
            scenario, store, ..
        } = &self.setting;
        self.world.tell(|| {
            format!(
                "{what}\n{}{:#?}\n{:?}\n{store:?}",
                scenario.yaml, scenario.home, scenario.receivers
            )
        });
        self.world.tell(|| {
            format!(
                "memory limit {}, {:?}",
                scenario.memory_limit, scenario.config.forwarder.spool
            )
        });
        let remotes = scenario.config.remote_write.iter();
        let capacities = remotes.map(|entry| entry.queue.capacity);
        self.world
            .tell(|| format!("capacities: {:?}", capacities.collect::<Vec<_>>()));
    }

    /// Starts a process without any memory of earlier ticks.
    fn seat(&mut self) -> Seat {
        let process = Arc::new(Process::default());
        let mut config = self.setting.configurations[self.configuration].clone();
        if self.shared.bug == Some(Bug::OldLabels) {
            let before = &self.setting.configurations[0];
            config.global.clone_from(&before.global);
            let jobs = config.scrape_configs.iter_mut().zip(&before.scrape_configs);
            jobs.for_each(|(job, before)| {
                job.metric_relabel_configs
                    .clone_from(&before.metric_relabel_configs);
            });
        }
        let named = self.receivers.iter().take(config.remote_write.len());
        let remotes = named.map(|receiver| {
            Box::new(WatchedRemote::new(receiver, &self.shared, &process)) as Box<dyn Remote>
        });
        let dependencies = tick::Dependencies {
            home: Box::new(HomeHandle(Arc::clone(&self.home))),
            remotes: remotes.collect(),
            clock: Arc::new(SimClock(Arc::clone(&self.world))),
            rng: self.rng.fork(),
            store: Some(Arc::new(SimStore {
                shared: Arc::clone(&self.shared),
                process: Arc::clone(&process),
            })),
        };
        let memory_limit = Bug::memory_limit(self.shared.bug, self.setting.scenario.memory_limit);
        let forwarder =
            Forwarder::new(config, dependencies, memory_limit).expect("the targets are valid");
        Seat { process, forwarder }
    }

    /// Allows samples to be sent again, as the newest of their series.
    fn forget(&self) {
        self.receivers
            .iter()
            .for_each(|receiver| receiver.forgotten(false));
    }

    async fn all(mut self) -> Outcome {
        let mut seats = [self.seat(), self.seat()];
        for tick in self.setting.ticks.clone() {
            if tick.freeze_ms > 0 {
                self.world.hit(Event::Thawed);
                self.world.freeze(tick.freeze_ms);
            }
            if let Some(skew_ms) = tick.skew_ms {
                self.world.hit(if skew_ms < 0 {
                    Event::SpoolClockBack
                } else {
                    Event::SpoolClockForward
                });
                self.world.set_skew(skew_ms);
                self.skewed = true;
            }
            if let Some(configuration) = tick
                .configuration
                .filter(|configuration| *configuration != self.configuration)
            {
                self.reconfigure(configuration, &mut seats);
            }
            sleep(tick.wait).await;
            self.tick(&mut seats, tick).await;
            if self.concurrent_without_store {
                // Without the store, a process cannot know that another one is at work, or has left
                // a backlog. What the checks found from then on is expected.
                self.world.hit(Event::DegradedBesideAnother);
                self.world.pardon();
                return Outcome {
                    findings: vec![],
                    story: self.world.story(),
                };
            }
            if !self.world.findings().is_empty() {
                break;
            }
        }
        if self.world.findings().is_empty() {
            self.end(&mut seats).await;
        }
        Outcome {
            findings: self.world.findings(),
            story: self.world.story(),
        }
    }

    async fn tick(&mut self, seats: &mut [Seat; 2], tick: Tick) {
        self.world.tell(|| format!("tick: {tick:?}"));
        let faults = self.shared.faults.load(Ordering::Relaxed);
        self.shared.not_yet_kept.store(0, Ordering::Relaxed);
        let started = Instant::now();
        let plan = Plan {
            deadline: Some(started + tick.timeout),
            once: matches!(tick.kind, Kind::Once),
            drain_only: matches!(tick.kind, Kind::DrainOnly),
            renews_lease: tick.renews_lease,
            // A tick of some jobs is not a schedule's, and waits for a remote until its deadline.
            jobs: (self.shared.bug == Some(Bug::WaitsForTheSilent)).then(|| {
                let jobs = &self.setting.scenario.config.scrape_configs;
                jobs.iter().map(|job| job.job_name.clone()).collect()
            }),
            ..Plan::default()
        };
        if tick.process != self.last {
            self.world.hit(Event::OtherProcess);
            self.forget();
        }
        for (at, seat) in seats.iter().enumerate() {
            if at != tick.process || matches!(tick.kind, Kind::Two(_)) {
                self.excuse(&seat.process);
            }
        }
        let start_ms = SimClock(Arc::clone(&self.world)).now_ms();
        let kill = if let Kind::KilledInCall(at) = tick.kind {
            Some(at)
        } else {
            None
        };
        if let Kind::Two(after) = tick.kind {
            self.world.hit(Event::TwoTicks);
            self.forget();
            seats.iter().for_each(|seat| seat.process.begin(None));
            let [first, second] = seats;
            let later = Plan {
                deadline: Some(started + after + tick.timeout),
                ..Plan::default()
            };
            let (first, second) = tokio::join!(first.forwarder.tick(&plan), async {
                sleep(after).await;
                second.forwarder.tick(&later).await
            });
            let answered: Vec<_> = self
                .receivers
                .iter()
                .map(|receiver| receiver.take_answered())
                .collect();
            self.take_posts();
            let shown = self.home.take_shown(&[&first, &second]);
            // Each of two concurrent ticks counts its own samples; together they count all.
            self.owed = None;
            for (report, seat) in [&first, &second].into_iter().zip(seats.iter()) {
                self.report(report, &seat.process);
            }
            self.together(&[&first, &second], &answered, faults);
            for (at, report) in [&first, &second].into_iter().enumerate() {
                self.degraded(at, report, &seats[at].process, start_ms, true);
            }
            self.claim(&shown);
            self.forget();
            self.last = 2;
            return;
        }
        if let Some((after, ms)) = tick.frozen_inside {
            let world = Arc::clone(&self.world);
            let is_over = Arc::clone(&self.tick_over);
            let faults = Arc::clone(&self.shared.faults);
            is_over.store(false, Ordering::Relaxed);
            tokio::spawn(async move {
                sleep(after).await;
                if !is_over.load(Ordering::Relaxed) {
                    world.hit(Event::FrozenInside);
                    world.tell(|| format!("frozen for {ms} ms"));
                    world.freeze(ms);
                    // The lease may be over, and with it what memory holds.
                    faults.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let seat = &mut seats[tick.process];
        seat.process.begin(kill);
        if let Kind::PanicsAtPost(post) = tick.kind {
            seat.process.panic_at(post);
        }
        let killed = Arc::clone(&seat.process);
        let report = {
            let ticking = seat.forwarder.tick(&plan);
            let ticking = async {
                match tick.kind {
                    Kind::KilledAfterPolls(polls) => polled(ticking, polls).await,
                    Kind::KilledAfter(after) => tokio::time::timeout(after, ticking).await.ok(),
                    Kind::PanicsAtPost(_) => AssertUnwindSafe(ticking).catch_unwind().await.ok(),
                    _ => Some(ticking.await),
                }
            };
            let mut ticking = std::pin::pin!(ticking);
            tokio::select! {
                biased;
                report = &mut ticking => report,
                () = killed.killed.notified() => {
                    self.killed_at(&killed);
                    None
                }
            }
        };
        self.tick_over.store(true, Ordering::Relaxed);
        let posts = self.take_posts();
        let shown = self.home.take_shown(&Vec::from_iter(&report));
        let answered: Vec<_> = self
            .receivers
            .iter()
            .map(|receiver| receiver.take_answered())
            .collect();
        let Some(report) = report else {
            if !matches!(tick.kind, Kind::KilledInCall(_)) {
                self.killed_at(&killed);
            }
            self.world.tell(|| "killed".to_owned());
            if matches!(tick.kind, Kind::PanicsAtPost(_)) {
                self.world.hit(Event::Panicked);
            }
            if killed.held.load(Ordering::Relaxed) {
                for wrong in lock(&killed.wrongs).drain(..) {
                    self.world.found("fence", wrong);
                }
            }
            self.went_without(tick.process, &killed, start_ms);
            self.excuse(&killed);
            self.late(&killed);
            if self.setting.configurations[self.configuration]
                .forwarder
                .spool
                .max_bytes
                < 1 << 20
            {
                // A killed tick can no longer report what it gave up.
                self.lost
                    .iter_mut()
                    .for_each(|lost| *lost = u64::from(u32::MAX));
            }
            *seat = self.seat();
            self.ended_ms[tick.process] = None;
            self.forget();
            self.owed = None;
            self.last = tick.process;
            return;
        };
        let took = started.elapsed();
        if took > tick.timeout {
            self.world
                .found("deadline", format!("{took:?} of {:?}", tick.timeout));
        }
        if matches!(tick.kind, Kind::Whole) && tick.frozen_inside.is_none() {
            let calm = self.shared.faults.load(Ordering::Relaxed) == faults;
            self.cost(&report, &posts, (&shown, start_ms), started, calm);
        }
        let seat = &mut seats[tick.process];
        let process = Arc::clone(&seat.process);
        self.report(&report, &process);
        let concurrent = self.last != tick.process;
        self.degraded(tick.process, &report, &process, start_ms, concurrent);
        self.busy(&report, &process);
        self.together(&[&report], &answered, faults);
        let calm = self.shared.faults.load(Ordering::Relaxed) == faults;
        self.owed(&report, calm);
        if !matches!(report.outcome, TickOutcome::Busy) {
            self.claim(&shown);
        }
        if process.told.load(Ordering::Relaxed) {
            self.last = tick.process;
        } else if self.last != tick.process {
            // The process may have taken the lease without knowing it.
            self.forget();
        }
        if !released(&report) || report.ledger.lost > 0 {
            self.forget();
        }
        if released(&report) {
            lock(&process.in_doubt).clear();
        }
    }

    fn take_posts(&self) -> Vec<Vec<PostSpan>> {
        let receivers = self.receivers.iter();
        receivers.map(|receiver| receiver.take_posts()).collect()
    }

    /// Deploys another configuration: both processes are replaced.
    fn reconfigure(&mut self, configuration: usize, seats: &mut [Seat; 2]) {
        self.world.hit(Event::Reconfigured);
        self.world.tell(|| format!("configuration {configuration}"));
        self.configuration = configuration;
        self.home.relabel(self.setting.labelling(configuration));
        for (seat, ended_ms) in seats.iter_mut().zip([0, 1]) {
            self.excuse(&seat.process);
            *seat = self.seat();
            self.ended_ms[ended_ms] = None;
        }
        self.forget();
    }

    /// Excuses the segments whose writes were in doubt for a process that is gone or not at work.
    /// No other process can know that their samples were sent some other way.
    fn excuse(&self, process: &Process) {
        for key in std::mem::take(&mut *lock(&process.in_doubt)) {
            let of = |dir: &RemoteDir| key.starts_with(&dir.prefix(Folder::Segments));
            let Some(receiver) = self.dirs.iter().position(of).map(|at| &self.receivers[at]) else {
                continue;
            };
            let Some(Ok(segment)) = self
                .shared
                .objects
                .peek(&key)
                .map(|bytes| segment::read(&bytes))
            else {
                continue;
            };
            self.world.hit(Event::DoubtfulOrphan);
            self.world.tell(|| format!("an orphan: {key}"));
            segment
                .batches
                .iter()
                .for_each(|batch| receiver.excuse(self.samples(batch)));
        }
    }

    /// Lets the store carry out late what a killed process had asked for, but not after its lease.
    fn late(&mut self, killed: &Process) {
        let Some((key, body)) = lock(&killed.late).take().filter(|_| self.rng.bool()) else {
            return;
        };
        let state = self
            .shared
            .objects
            .peek(KEY)
            .and_then(|bytes| SpoolState::read(&bytes).ok())
            .unwrap_or_default();
        let now_ms = self.world.now_ms() + self.shared.off_ms;
        let Some(until_ms) = state.lease.map(|lease| lease.until_ms) else {
            return;
        };
        let Some(left_ms) = Some(until_ms - now_ms).filter(|left_ms| *left_ms > 1) else {
            return;
        };
        let after = Duration::from_millis(self.rng.u64(0..left_ms as u64 - 1));
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            sleep(after).await;
            // Time that tokio's clock did not count may have passed.
            if shared.world.now_ms() + shared.off_ms < until_ms
                && shared.objects.peek(&key).is_none()
            {
                shared.world.hit(Event::LatePut);
                shared
                    .world
                    .tell(|| format!("store: late, PutIfAbsent {key}"));
                shared.objects.plant(&key, body);
            }
        });
    }

    /// Event for the place where a process was killed, by the calls in flight.
    fn killed_at(&self, process: &Process) {
        let last = lock(&process.under_way).last().cloned();
        let had = process.held.load(Ordering::Relaxed);
        let event = match last {
            _ if self.receivers.iter().any(|receiver| receiver.is_asked()) => Event::KilledPosting,
            Some((Op::PutIfMatch | Op::PutIfAbsent, key)) if key == KEY => {
                if had {
                    Event::KilledReleasing
                } else {
                    Event::KilledTaking
                }
            }
            Some((Op::PutIfAbsent, key)) if self.shared.objects.peek(&key).is_some() => {
                Event::KilledSpooled
            }
            Some((Op::PutIfAbsent | Op::PutIfMatch, _)) => Event::KilledSpooling,
            Some((Op::Delete, key)) if self.shared.objects.peek(&key).is_none() => {
                Event::KilledDeleted
            }
            Some((Op::Delete, _)) => Event::KilledDeleting,
            Some((Op::List, _)) => Event::KilledListing,
            Some((Op::Get, _)) => Event::KilledReading,
            None => Event::KilledElsewhere,
        };
        self.world.hit(event);
        self.world.tell(|| format!("{event:?}"));
    }
}
