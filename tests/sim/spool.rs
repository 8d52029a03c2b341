//! One seed with a spool: two processes on one store, killed, thawed and at once; outages of everything; and what must hold after each tick and in the end.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use amp_forwarder::batch::decode;
use amp_forwarder::report::{Ledger, Outcome as TickOutcome, Report};
use amp_forwarder::send::Remote;
use amp_forwarder::spool::name::{Folder, RemoteDir, SegmentName};
use amp_forwarder::spool::segment;
use amp_forwarder::spool::state::{KEY, State};
use amp_forwarder::spool::store::Op;
use amp_forwarder::spool::store::memory::MemoryStore;
use amp_forwarder::tick::{self, Forwarder, Plan};
use fastrand::Rng;
use tokio::time::{Instant, sleep};

use crate::events::{Event, Hits};
use crate::home::{HomeHandle, HomeModel, OWN, Shown};
use crate::planted::Bug;
use crate::receiver::{Answered, FAULTS, Fault, Receiver};
use crate::run::{Outcome, polled, targets};
use crate::scenario::{Scenario, draw};
use crate::store::{KillAt, Process, Shared, SimStore, StoreClock, Traits, WatchedRemote, faults};
use crate::world::{Key, SimClock, World, identity, lock};

/// What a tick is.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Whole,
    Once,
    DrainOnly,
    KilledAfterPolls(u32),
    KilledInCall(KillAt),
    KilledAfter(Duration),
    /// Both processes at once, the second so much later.
    Two(Duration),
}

#[derive(Debug, Clone, Copy)]
struct Tick {
    wait: Duration,
    timeout: Duration,
    kind: Kind,
    process: usize,
    freeze_ms: i64,
}

/// Runs a seed.
pub(crate) fn seed(seed: u64, hits: &Arc<Hits>, tells: bool, bug: Option<Bug>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async { Run::new(seed, hits, tells, bug).all().await })
}

struct Seat {
    process: Arc<Process>,
    forwarder: Forwarder,
}

struct Run {
    world: Arc<World>,
    scenario: Scenario,
    home: Arc<HomeModel>,
    receivers: Vec<Arc<Receiver>>,
    dirs: Vec<RemoteDir>,
    shared: Arc<Shared>,
    ticks: Vec<Tick>,
    rng: Rng,
    /// Who had the lease last.
    last: usize,
    /// A process went on without the store though another one had been at work since its last tick.
    beside_another: bool,
    /// For each remote: what the last report said is owed, unless something came between.
    owed: Option<Vec<u64>>,
    /// Samples that a report has accounted for.
    claimed: HashSet<(Key, i64)>,
    /// For each remote, by its reports.
    lost: Vec<u64>,
}

fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(0..of.len())]
}

/// A run of the other simulation, with less room and an orderly home.
fn scenario(rng: &mut Rng) -> Scenario {
    let mut scenario = draw(rng);
    scenario.home.lag_ms = None;
    scenario.home.clock_off_ms = 0;
    scenario.home.twice = 0.0;
    scenario.home.shared = false;
    scenario.home.odd_times = false;
    scenario.memory_limit = 64 << 20;
    let spool = &mut scenario.config.forwarder.spool;
    spool.overflow_after = Duration::from_millis(pick(rng, &[0, 0, 500, 5_000]));
    spool.segment_bytes = rng.usize(200..4_000);
    spool.drain_samples_per_second = pick(rng, &[50, 1_000, 50_000]);
    for (entry, traits) in scenario.config.remote_write.iter_mut().zip(&mut scenario.receivers) {
        entry.queue.capacity = if rng.bool() { rng.usize(4..60) } else { 1_000 };
        traits.max_samples = entry.queue.max_samples_per_send.min(entry.queue.capacity);
        traits.forgetful = false;
        // What is owed may stand in a fresh scrape as well, once a process has forgotten what it sent.
        traits.no_repeats = false;
        if rng.u32(0..3) == 0 {
            // An outage over several ticks.
            let from = scenario.start_ms + rng.i64(0..120_000);
            let fault = pick(rng, FAULTS).0;
            if fault != Fault::Slow {
                traits.outages.push((from, from + rng.i64(60_000..600_000), fault));
            }
        }
    }
    scenario
}

fn ticks(rng: &mut Rng) -> Vec<Tick> {
    let folder = |rng: &mut Rng| match rng.u32(0..8) {
        0 => (Op::PutIfMatch, "state.json"),
        1 => (Op::List, "segments/"),
        2 => (Op::Get, "segments/"),
        3 => (Op::PutIfAbsent, "rejected/"),
        4 | 5 => (Op::PutIfAbsent, "segments/"),
        _ => (Op::Delete, "segments/"),
    };
    let draw = |rng: &mut Rng| {
        let kind = match rng.u32(0..20) {
            0 => Kind::Once,
            1 => Kind::DrainOnly,
            2 | 3 => Kind::KilledAfterPolls(1 << rng.u32(0..10)),
            4 => Kind::KilledAfter(Duration::from_millis(rng.u64(1..60_000))),
            5..=7 => {
                let (op, folder) = folder(rng);
                Kind::KilledInCall(KillAt { op, folder, skip: if rng.bool() { 0 } else { rng.u32(0..4) }, done: rng.bool() })
            }
            8 | 9 => Kind::Two(Duration::from_millis(if rng.bool() { 0 } else { rng.u64(0..40_000) })),
            _ => Kind::Whole,
        };
        Tick {
            wait: Duration::from_millis(if rng.u32(0..4) == 0 { 1 } else { rng.u64(1..60_000) }),
            timeout: Duration::from_millis(rng.u64(10_000..90_000)),
            kind,
            process: usize::from(rng.u32(0..5) == 0),
            freeze_ms: if rng.u32(0..20) == 0 { rng.i64(1_000..3 * 3_600_000) } else { 0 },
        }
    };
    (0..rng.usize(3..9)).map(|_| draw(rng)).collect()
}

impl Run {
    fn new(seed: u64, hits: &Arc<Hits>, tells: bool, bug: Option<Bug>) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x5b00_1e57);
        let scenario = scenario(&mut rng);
        let ticks = ticks(&mut rng);
        let world = World::new(scenario.start_ms, Arc::clone(hits), tells);
        let bad = rng.u32(0..3);
        let from = scenario.start_ms + rng.i64(0..200_000);
        let traits = Traits {
            faults: [0.0, 0.05, 0.3][bad as usize],
            outages: if bad > 0 && rng.u32(0..3) == 0 { vec![(from, from + rng.i64(1_000..120_000))] } else { vec![] },
            off_ms: if rng.bool() { 0 } else { rng.i64(-4_000_000..4_000_000) },
        };
        world.tell(|| format!("seed {seed} with a spool\n{}{:#?}\n{:?}\n{traits:?}", scenario.yaml, scenario.home, scenario.receivers));
        world.tell(|| format!("{:?}", scenario.config.forwarder.spool));
        world.tell(|| format!("capacities: {:?}", scenario.config.remote_write.iter().map(|entry| entry.queue.capacity).collect::<Vec<_>>()));
        let home =
            HomeModel::new(Arc::clone(&world), scenario.home.clone(), scenario.config.global.external_labels.clone(), targets(&scenario), rng.fork());
        let named = scenario.config.remote_write.iter().zip(&scenario.receivers);
        let receivers: Vec<_> = named.map(|(entry, traits)| Receiver::new(Arc::clone(&world), entry.id(), traits.clone(), rng.fork(), bug)).collect();
        let dirs: Vec<_> = scenario.config.remote_write.iter().map(|entry| RemoteDir::new(&entry.id())).collect();
        let objects = MemoryStore::new(Arc::new(StoreClock { world: Arc::clone(&world), off_ms: traits.off_ms }));
        let counter = Arc::new(AtomicU64::new(0));
        let off_ms = traits.off_ms;
        objects.set_faults(faults(Arc::clone(&world), traits, Arc::clone(&counter), rng.fork()));
        let shared = Arc::new(Shared { world: Arc::clone(&world), objects, off_ms, faults: counter, bug });
        let lost = vec![0; receivers.len()];
        Self {
            world,
            scenario,
            home: Arc::new(home),
            receivers,
            dirs,
            shared,
            ticks,
            rng,
            last: 0,
            beside_another: false,
            owed: Some(lost.clone()),
            claimed: HashSet::new(),
            lost,
        }
    }

    /// A cold process.
    fn seat(&mut self) -> Seat {
        let process = Arc::new(Process::default());
        let remotes = self.receivers.iter().map(|receiver| Box::new(WatchedRemote::new(receiver, &self.shared, &process)) as Box<dyn Remote>);
        let world = tick::World {
            home: Box::new(HomeHandle(Arc::clone(&self.home))),
            remotes: remotes.collect(),
            clock: Arc::new(SimClock(Arc::clone(&self.world))),
            rng: self.rng.fork(),
            store: Some(Arc::new(SimStore { shared: Arc::clone(&self.shared), process: Arc::clone(&process) })),
        };
        let forwarder = Forwarder::new(self.scenario.config.clone(), world, self.scenario.memory_limit).expect("the targets are valid");
        Seat { process, forwarder }
    }

    /// What was sent may be sent again, as the newest of its series.
    fn forget(&self) {
        self.receivers.iter().for_each(|receiver| receiver.forgotten(false));
    }

    async fn all(mut self) -> Outcome {
        let mut seats = [self.seat(), self.seat()];
        for tick in self.ticks.clone() {
            if tick.freeze_ms > 0 {
                self.world.hit(Event::Thawed);
                self.world.freeze(tick.freeze_ms);
            }
            sleep(tick.wait).await;
            self.tick(&mut seats, tick).await;
            if self.beside_another {
                // Without the store, a process cannot know that another one is at work, or has left a backlog (DESIGN: the store is down).
                self.world.hit(Event::DegradedBesideAnother);
                self.world.pardon();
                return Outcome { findings: vec![], story: self.world.story() };
            }
            if !self.world.findings().is_empty() {
                break;
            }
        }
        if self.world.findings().is_empty() {
            self.end(&mut seats).await;
        }
        Outcome { findings: self.world.findings(), story: self.world.story() }
    }

    async fn tick(&mut self, seats: &mut [Seat; 2], tick: Tick) {
        self.world.tell(|| format!("tick: {tick:?}"));
        let faults = self.shared.faults.load(Ordering::Relaxed);
        let started = Instant::now();
        let plan = Plan {
            deadline: Some(started + tick.timeout),
            once: matches!(tick.kind, Kind::Once),
            drain_only: matches!(tick.kind, Kind::DrainOnly),
            ..Plan::default()
        };
        if tick.process != self.last {
            self.world.hit(Event::OtherProcess);
            self.forget();
        }
        let kill = if let Kind::KilledInCall(at) = tick.kind { Some(at) } else { None };
        if let Kind::Two(after) = tick.kind {
            self.world.hit(Event::TwoTicks);
            self.forget();
            seats.iter().for_each(|seat| seat.process.begin(None));
            let [first, second] = seats;
            let later = Plan { deadline: Some(started + after + tick.timeout), ..Plan::default() };
            let (first, second) = tokio::join!(first.forwarder.tick(&plan), async {
                sleep(after).await;
                second.forwarder.tick(&later).await
            });
            let answered: Vec<_> = self.receivers.iter().map(|receiver| receiver.take_answered()).collect();
            let shown = self.home.take_shown();
            // Between them, each counts its own; together they count everything.
            self.owed = None;
            for (report, seat) in [&first, &second].into_iter().zip(seats.iter()) {
                self.report(report, &seat.process);
            }
            self.together(&[&first, &second], &answered, faults);
            self.beside_another |= [&first, &second].into_iter().zip(seats.iter()).any(|(report, seat)| is_degraded(report, &seat.process));
            self.claim(&shown);
            self.forget();
            self.last = 2;
            return;
        }
        let seat = &mut seats[tick.process];
        seat.process.begin(kill);
        let killed = Arc::clone(&seat.process);
        let report = {
            let ticking = seat.forwarder.tick(&plan);
            let ticking = async {
                match tick.kind {
                    Kind::KilledAfterPolls(polls) => polled(ticking, polls).await,
                    Kind::KilledAfter(after) => tokio::time::timeout(after, ticking).await.ok(),
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
        let shown = self.home.take_shown();
        let answered: Vec<_> = self.receivers.iter().map(|receiver| receiver.take_answered()).collect();
        let Some(report) = report else {
            if !matches!(tick.kind, Kind::KilledInCall(_)) {
                self.killed_at(&killed);
            }
            self.world.tell(|| "killed".to_owned());
            if killed.held.load(Ordering::Relaxed) {
                for wrong in lock(&killed.wrongs).drain(..) {
                    self.world.found("fence", wrong);
                }
            }
            *seat = self.seat();
            self.forget();
            self.owed = None;
            self.last = tick.process;
            return;
        };
        let took = started.elapsed();
        if took > tick.timeout {
            self.world.found("deadline", format!("{took:?} of {:?}", tick.timeout));
        }
        let process = Arc::clone(&seat.process);
        self.report(&report, &process);
        self.beside_another |= is_degraded(&report, &process) && self.last != tick.process;
        self.together(&[&report], &answered, faults);
        let calm = self.shared.faults.load(Ordering::Relaxed) == faults;
        self.owed(&report, calm);
        if !matches!(report.outcome, TickOutcome::Busy) {
            self.claim(&shown);
            self.last = tick.process;
        }
        if !released(&report) || report.ledger.lost > 0 {
            self.forget();
        }
    }

    /// Where it was killed, by what was under way.
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
            Some((Op::PutIfAbsent, key)) if self.shared.objects.peek(&key).is_some() => Event::KilledSpooled,
            Some((Op::PutIfAbsent | Op::PutIfMatch, _)) => Event::KilledSpooling,
            Some((Op::Delete, key)) if self.shared.objects.peek(&key).is_none() => Event::KilledDeleted,
            Some((Op::Delete, _)) => Event::KilledDeleting,
            Some((Op::List, _)) => Event::KilledListing,
            Some((Op::Get, _)) => Event::KilledReading,
            None => Event::KilledElsewhere,
        };
        self.world.hit(event);
        self.world.tell(|| format!("{event:?}"));
    }

    /// What must hold of one report by itself.
    fn report(&mut self, report: &Report, process: &Process) {
        self.world.tell(|| format!("report: {report:?}"));
        let found = |rule: &str, what: String| self.world.found(rule, what);
        let mut total = Ledger::default();
        for (remote, lost) in report.remotes.iter().zip(&mut self.lost) {
            total.add(&remote.ledger);
            *lost += remote.ledger.lost;
            if report.errors.iter().any(|error| error.contains("are not kept")) {
                // The store was down: they are counted, and that is all.
                *lost += remote.ledger.rejected + remote.ledger.expired;
            }
            if !remote.ledger.balances() {
                found("ledger", format!("{} does not balance: {:?}", remote.remote, remote.ledger));
            }
        }
        if total != report.ledger {
            found("ledger", format!("the total is {:?}, its parts are {total:?}", report.ledger));
        }
        let touched = !report.scrapes.is_empty() || report.ledger != Ledger::default() || report.remotes.iter().any(|remote| remote.requests > 0);
        let degraded = is_degraded(report, process);
        let no_scrape = report.scrapes.is_empty() && report.outcome == TickOutcome::Failed && !touched;
        let event = match report.outcome {
            TickOutcome::Busy => Event::Busy,
            TickOutcome::Degraded => Event::Degraded,
            TickOutcome::Failed if no_scrape => Event::StoreDown,
            _ if report.ledger.owed_before > report.ledger.owed_after => Event::BacklogDrained,
            _ => Event::WarmTick,
        };
        self.world.hit(event);
        if report.ledger.owed_after > 0 {
            self.world.hit(Event::Overflowed);
        }
        if report.previous.is_some() {
            self.world.hit(Event::AfterAKill);
        }
        if !released(report) {
            self.world.hit(Event::NotReleased);
        }
        if matches!(report.outcome, TickOutcome::Busy) && touched {
            found("busy", format!("it says that it is busy, and did something: {report:?}"));
        }
        if !degraded && report.outcome != TickOutcome::Degraded {
            for wrong in lock(&process.wrongs).drain(..) {
                found("fence", wrong);
            }
        }
        if report.outcome != TickOutcome::Ok && report.errors.is_empty() {
            found("errors", format!("{:?}, and nothing tells why", report.outcome));
        }
    }

    /// The counts are those of the answers.
    fn together(&self, reports: &[&Report], answered: &[Answered], faults: u64) {
        for (index, answered) in answered.iter().enumerate() {
            let mut ledger = Ledger::default();
            let mut requests = 0;
            for remote in reports.iter().map(|report| &report.remotes[index]) {
                ledger.add(&remote.ledger);
                requests += remote.requests;
            }
            let told = (requests, ledger.written, ledger.deduplicated, ledger.rejected);
            let given = (answered.posts, answered.written, answered.deduplicated, answered.rejected);
            if told != given {
                let name = &self.receivers[index].name;
                self.world.found("written", format!("{name}: requests, written, deduplicated, rejected: {told:?}, answered: {given:?}"));
            }
            let calm = self.shared.faults.load(Ordering::Relaxed) == faults;
            if ledger.lost > 0 && calm {
                self.world.found("lost", format!("{}: {} samples though the store had no fault", self.receivers[index].name, ledger.lost));
            }
        }
    }

    /// What is owed goes from one report to the next, and is what lies in the store.
    fn owed(&mut self, report: &Report, calm: bool) {
        let known = self.owed.take();
        if !matches!(report.outcome, TickOutcome::Busy) && report.spool.segments == 0 && report.ledger == Ledger::default() {
            return;
        }
        if matches!(report.outcome, TickOutcome::Busy | TickOutcome::Degraded) {
            return;
        }
        let before: Vec<_> = report.remotes.iter().map(|remote| remote.ledger.owed_before).collect();
        if let Some(known) = known.filter(|known| calm && *known != before) {
            self.world.found("owed", format!("{known:?} when the last tick ended, {before:?} when this one began"));
        }
        if !released(report) || report.ledger.lost > 0 {
            return;
        }
        let after: Vec<_> = report.remotes.iter().map(|remote| remote.ledger.owed_after).collect();
        let state = self.shared.objects.peek(KEY).and_then(|bytes| State::read(&bytes).ok()).unwrap_or_default();
        for (dir, owed) in self.dirs.iter().zip(&after) {
            let head = state.remotes.get(dir).and_then(|remote| remote.head.clone());
            let stored: u64 = self
                .objects(dir, Folder::Segments)
                .into_iter()
                .map(|(name, batches)| {
                    let answered = head.as_ref().filter(|head| head.segment == name).map(|head| head.answered.clone()).unwrap_or_default();
                    let open = (0_u32..).zip(&batches).filter(|(place, _)| !answered.contains(place));
                    open.map(|(_, batch)| u64::from(batch.samples)).sum::<u64>()
                })
                .sum();
            if stored != *owed && state.lease.is_none() {
                self.world.found("owed", format!("{} has {stored} samples in the store, the report says {owed}", dir.as_str()));
            }
        }
        self.owed = Some(after);
    }

    fn objects(&self, dir: &RemoteDir, folder: Folder) -> Vec<(SegmentName, Vec<amp_forwarder::batch::Batch>)> {
        let prefix = dir.prefix(folder);
        let of = |key: String| {
            let name = SegmentName::parse(key.strip_prefix(&prefix)?)?;
            let segment = segment::read(&self.shared.objects.peek(&key)?).ok()?;
            Some((name, segment.batches))
        };
        self.shared.objects.keys().into_iter().filter_map(of).collect()
    }

    /// The tick has told what became of these, or keeps them.
    fn claim(&mut self, shown: &[Shown]) {
        for shown in shown {
            self.claimed.extend(OWN.map(|name| (self.home.own_key(shown.target, name), shown.start_ms)));
            let lines = shown.lines.iter().filter(|line| shown.whole && !line.too_far_ahead);
            self.claimed.extend(lines.map(|line| (line.key, line.timestamp_ms)));
        }
    }

    /// All faults end: everything owed arrives.
    async fn end(&mut self, seats: &mut [Seat; 2]) {
        self.world.tell(|| "all faults end".to_owned());
        self.world.heal();
        self.shared.objects.heal();
        for _ in 0..8 {
            sleep(Duration::from_secs(100)).await;
            let tick = Tick { wait: Duration::ZERO, timeout: Duration::from_secs(90), kind: Kind::DrainOnly, process: 0, freeze_ms: 0 };
            self.tick(seats, tick).await;
            if !self.world.findings().is_empty() || self.owed.as_ref().is_some_and(|owed| owed.iter().all(|owed| *owed == 0)) {
                break;
            }
        }
        let left = self.shared.objects.keys().into_iter().filter(|key| key.starts_with("segments/")).count();
        if left > 0 && self.world.findings().is_empty() {
            self.world.found("drain", format!("{left} segments are left though all faults have ended"));
        }
        let kept = self.kept();
        for ((receiver, kept), lost) in self.receivers.iter().zip(&kept).zip(&self.lost) {
            let is_missing = |sample: &&(Key, i64)| {
                let (key, timestamp_ms) = **sample;
                receiver.stored(key, timestamp_ms).is_none() && !receiver.is_answered(key, timestamp_ms) && !kept.contains(*sample)
            };
            let missing: Vec<_> = self.claimed.iter().filter(is_missing).collect();
            if missing.len() as u64 > *lost {
                let mut names: Vec<_> = missing.iter().map(|(key, timestamp_ms)| format!("{} at {timestamp_ms}", self.world.name(*key))).collect();
                names.sort();
                self.world
                    .found("missing", format!("{}: {} samples, {lost} were counted as lost; {:?}", receiver.name, missing.len(), names.first()));
            }
        }
    }

    /// For each remote, what was refused or too old, and is kept.
    fn kept(&self) -> Vec<HashSet<(Key, i64)>> {
        let of = |dir: &RemoteDir| {
            let mut kept = HashSet::new();
            for (folder, event) in [(Folder::Rejected, Event::SpoolRejected), (Folder::Expired, Event::SpoolExpired)] {
                for batch in self.objects(dir, folder).into_iter().flat_map(|(_, batches)| batches) {
                    self.world.hit(event);
                    for series in decode(&batch).unwrap_or_default().timeseries {
                        let labels: HashMap<_, _> = series.labels.iter().map(|label| (label.name.as_str(), label.value.as_str())).collect();
                        let mut sorted: Vec<_> = labels.into_iter().collect();
                        sorted.sort_unstable();
                        let key = self.world.key(&identity(sorted));
                        kept.extend(series.samples.iter().map(|sample| (key, sample.timestamp)));
                    }
                }
            }
            kept
        };
        self.dirs.iter().map(of).collect()
    }
}

/// Whether it scraped or sent without the lease.
fn is_degraded(report: &Report, process: &Process) -> bool {
    let touched = !report.scrapes.is_empty() || report.remotes.iter().any(|remote| remote.requests > 0);
    let told = report.outcome == TickOutcome::Degraded || report.errors.first().is_some_and(|error| error.starts_with("spool: "));
    touched && told && !process.held.load(Ordering::Relaxed)
}

fn released(report: &Report) -> bool {
    !report.errors.iter().any(|error| error.contains("the next tick waits for the lease to end"))
}
