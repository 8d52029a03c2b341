//! Runs one seed with remote read: two processes share a store, everything has faults, and in the
//! end all faults stop and everything must arrive.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use amp_forwarder::report::{IncidentKind, RemoteReport, Report};
use amp_forwarder::spool::name::RemoteDir;
use amp_forwarder::spool::store::memory::MemoryStore;
use amp_forwarder::tick::Plan;
use fastrand::Rng;
use tokio::time::{Instant, sleep};

use super::again::labels_hash;
use super::history;
use super::home::{ReadHome, ReadHomeHandle};
use super::scenario::{AFTERWARDS, Scenario, Tick, draw};
use super::tsdb::{HomeSeries, with_external};
use crate::events::{Event, Hits};
use crate::home::OWN;
use crate::memory::has;
use crate::planted::Bug;
use crate::receiver::Receiver;
use crate::run::Outcome;
use crate::scenario::ROOMY;
use crate::series::{TargetLabels, final_labels};
use crate::setup::{self, Seat, on_paused_clock};
use crate::store::Shared;
use crate::strangers::{plant_state, plant_strangers};
use crate::world::{Key, SimWorld, identity};

/// Ticks without progress after which a gap is given up (`tick::reads::gaps`).
const PATIENCE: u64 = 3;

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
    on_paused_clock(|| Run::new(scenario, rng, hits, tells, bug).all())
}

pub(super) struct Run {
    pub(super) world: Arc<SimWorld>,
    pub(super) scenario: Scenario,
    pub(super) home: Arc<ReadHome>,
    /// Key of each series of the home as the receivers see it.
    pub(super) keys: HashMap<BTreeMap<String, String>, Key>,
    /// Hash of the label set of each key, as the tables of last timestamps have it.
    pub(super) hashes: HashMap<Key, u64>,
    pub(super) receivers: Vec<Arc<Receiver>>,
    pub(super) dirs: Vec<RemoteDir>,
    pub(super) shared: Arc<Shared>,
    rng: Rng,
    /// Process that had the lease last.
    last: usize,
    /// True times of the scrapes so far.
    pub(super) scrapes: Vec<i64>,
    /// Those of the second half of a tick, which is not for reads.
    pub(super) late_scrapes: Vec<i64>,
    /// True times of the reads so far that the home has answered.
    pub(super) answered_reads: Vec<i64>,
    /// Watermark of each remote when it was first seen, or the time up to which samples were given
    /// up, as a report said; in the home's time.
    pub(super) first_ms: Vec<Option<i64>>,
    /// Where the reads of ticks that were killed have begun, in the home's time.
    pub(super) killed_from_ms: Option<i64>,
    /// Time up to which what the watermark of each remote promises was checked.
    pub(super) checked_ms: Vec<i64>,
    /// Whether the last tick was killed or not released, or left samples that are read again.
    pub(super) reads_again: bool,
    /// Whether a process went on without the store, which no report says of a tick that was killed:
    /// then two may be at work at once.
    without_store: bool,
}

/// What a tick keeps of its time for its end, at most.
const MARGINS: Duration = Duration::from_secs(4);

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
        let receivers =
            setup::receivers(&world, &scenario.config, &scenario.receivers, &mut rng, bug);
        let dirs = setup::remote_dirs(&scenario.config);
        // A generator of its own, so that the other draws of a seed stay what they are.
        let mut strangers = rng.clone();
        let plant = |objects: &MemoryStore| {
            if strangers.u8(0..4) == 0 {
                plant_strangers(&world, objects, dirs[0].as_str(), &mut strangers);
            }
            if strangers.u8(0..6) == 0 {
                let dirs: Vec<_> = dirs.iter().map(RemoteDir::as_str).collect();
                plant_state(&world, objects, "home", &dirs);
            }
        };
        let shared = setup::shared_store(&world, scenario.store.clone(), &mut rng, bug, plant);
        let mut run = Self {
            keys: HashMap::new(),
            hashes: HashMap::new(),
            first_ms: vec![None; dirs.len()],
            killed_from_ms: None,
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
            late_scrapes: Vec::new(),
            answered_reads: Vec::new(),
            reads_again: false,
            without_store: false,
        };
        run.expose();
        let overtaken = run.overtaken();
        run.receivers
            .iter()
            .for_each(|receiver| receiver.excuse(overtaken.iter().copied()));
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
        let hashes = &mut self.hashes;
        let mut key = |labels: &BTreeMap<String, String>, target: &TargetLabels| {
            let pairs = labels
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()));
            let labels = final_labels(pairs, target, external);
            let pairs = labels
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()));
            let key = self.world.key(&identity(pairs.clone()));
            hashes.insert(key, labels_hash(pairs));
            key
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
        Seat::new(
            &self.scenario.config,
            Box::new(ReadHomeHandle(Arc::clone(&self.home))),
            &self.receivers,
            &self.shared,
            self.rng.fork(),
            ROOMY,
        )
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

    pub(super) async fn tick(&mut self, seats: &mut [Seat; 2], tick: Tick) -> Option<Report> {
        self.world.tell(|| format!("tick: {tick:?}"));
        let (started, start_ms) = (Instant::now(), self.world.now_ms());
        let may_give_up = self
            .target_reads()
            .is_some_and(|reads| reads.stuck >= PATIENCE);
        let plan = Plan {
            deadline: Some(started + tick.timeout),
            ..Plan::default()
        };
        if tick.process != self.last {
            self.world.hit(Event::ReadOtherProcess);
        }
        let report = seats[tick.process].tick(&plan, tick.kill, || {}).await;
        self.last = tick.process;
        let scrapes = self.home.take_scrapes();
        let for_reads = tick.timeout.saturating_sub(MARGINS) / 2;
        let half_way_ms = start_ms + for_reads.as_millis() as i64;
        let late = scrapes.iter().filter(|at_ms| **at_ms >= half_way_ms);
        self.late_scrapes.extend(late);
        self.scrapes.extend(scrapes);
        let from_ms = self.reads(start_ms);
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
            self.reads_again = true;
            // Nobody knows that it had read a gap, so the slot that is due is scraped live.
            self.answered_reads.clear();
            self.killed_from_ms = self.killed_from_ms.into_iter().chain(from_ms).min();
            if may_give_up {
                // The kill may have come after the release, so that no report says it.
                self.gave_up();
            }
            self.without_store |= seats[tick.process].process.acts_without_lease();
            seats[tick.process] = self.seat();
        }
        self.durable();
        self.allow_repeats();
        report
    }

    /// Checks a report, and takes over what it excuses.
    fn reported(&mut self, report: &Report) {
        self.failing(report);
        let returned = |remote: &RemoteReport| remote.ledger.rolled_back + remote.ledger.lost > 0;
        self.reads_again =
            has(report, IncidentKind::LeaseNotReleased) || report.remotes.iter().any(returned);
        let answered = self.target_reads().is_some_and(|reads| reads.answered);
        for remote in &report.remotes {
            let ledger = &remote.ledger;
            if !ledger.balances() {
                self.world.found(
                    "ledger",
                    format!("{} does not balance: {ledger:?}", remote.remote),
                );
            }
            // Nothing that the home has is lost. What the forwarder says of a read that failed is
            // nowhere else.
            let failed = report.reads.iter().filter(|read| read.failed > 0).count();
            // A home that has answered no read yet may not keep anything: what is lost then is read
            // again if it does, which `checks.rs` sees.
            if answered && ledger.lost > (OWN.len() * failed) as u64 {
                self.world
                    .found("lost", format!("{}: {ledger:?}", remote.remote));
            }
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
            self.gave_up();
        }
        if report.reads.iter().any(|read| read.late > 0) {
            self.world.hit(Event::ReadLate);
        }
        if report.ledger.backfilled > 0 {
            self.world.hit(Event::ReadBackfilled);
        }
    }

    /// Nothing is promised of what is older than now.
    fn gave_up(&mut self) {
        let now_ms = self.home.now_ms();
        self.world.tell(|| format!("given up before {now_ms}"));
        self.first_ms
            .iter_mut()
            .for_each(|first_ms| *first_ms = Some(now_ms));
        self.checked_ms
            .iter_mut()
            .for_each(|checked_ms| *checked_ms = now_ms.max(*checked_ms));
    }

    /// Checks the remote reads of a tick as the home saw them. Returns where those begin that were
    /// answered.
    fn reads(&mut self, start_ms: i64) -> Option<i64> {
        let reads = self.home.take_reads();
        let answered = || reads.iter().filter(|read| read.fault.is_none());
        self.answered_reads
            .extend(answered().map(|read| read.at_ms));
        let from_ms = answered().map(|read| read.range.0).min();
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
        from_ms
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
                kill: None,
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
