//! Rules that must hold after each tick.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use amp_forwarder::report::{IncidentKind, Ledger, Outcome, Report};
use tokio::time::Instant;

use crate::events::Event;
use crate::home::{HomeModel, Line, OWN, Shown};
use crate::memory::Memory;
use crate::memory::has;
use crate::planted::Bug;
use crate::receiver::{Answered, PostSpan, Receiver};
use crate::scenario::{Kind, Scenario, Tick};
use crate::slots::Slots;
use crate::world::{Key, SimWorld};

/// A tick that has ended.
pub(crate) struct Ticked<'a> {
    pub(crate) tick: Tick,
    pub(crate) report: &'a Report,
    pub(crate) shown: Vec<Shown>,
    pub(crate) answered: Vec<Answered>,
    /// Requests to all receivers.
    pub(crate) posts: Vec<Vec<PostSpan>>,
    /// Start of the tick by the forwarder's clock.
    pub(crate) start_ms: i64,
    pub(crate) started: Instant,
    pub(crate) live_written: u64,
}

/// State of the checks, kept from one tick to the next.
pub(crate) struct Checks {
    slots: Slots,
    margin_ms: i64,
    memory: Memory,
    tight_memory: bool,
    /// Whether the home keeps all samples in order, so that nothing may be filtered.
    orderly: bool,
    shared: bool,
    clock_moved: bool,
    /// For each remote, the samples that it does not have and whose loss was counted.
    counted: Vec<HashSet<(Key, i64)>>,
    /// Newest timestamp of each series that this process has seen.
    newest: HashMap<Key, i64>,
    /// For each remote, the series whose newest sample must be sent again when it is shown again,
    /// because a tick lost samples.
    again: Vec<HashSet<Key>>,
    /// Series without timestamps that this process has seen, by target.
    tracked: HashMap<usize, Tracked>,
    /// Newest timestamp of each series that this process may have accepted, stale markers
    /// included.
    taken: HashMap<Key, i64>,
    /// Series that two concurrent scrapes contained. Only the forwarder knows which came first, and
    /// so which sample was out of order.
    doubtful: HashSet<Key>,
}

/// Series of one target that can get a stale marker.
#[derive(Default)]
struct Tracked {
    ever: HashSet<Key>,
    /// Series of the last scrape, if it succeeded. Samples out of order are not tracked
    /// (`scrape/scrape.go` `append`).
    last: Option<HashSet<Key>>,
}

/// The stale markers of a tick.
#[derive(Default)]
struct Markers {
    /// Markers that must be sent.
    sure: Vec<(Key, i64)>,
    /// Markers that must or may be sent.
    most: Vec<(Key, i64)>,
}

impl Checks {
    pub(crate) fn new(scenario: &Scenario, bug: Option<Bug>) -> Self {
        let home = &scenario.home;
        Self {
            slots: Slots::new(&scenario.config, bug),
            margin_ms: scenario.config.forwarder.deadline_margin.as_millis() as i64,
            memory: Memory::new(scenario.memory_limit),
            tight_memory: scenario.tight_memory(),
            orderly: home.lag_ms.is_none()
                && home.twice == 0.0
                && !home.shared
                && !home.odd_times
                && home.clock_off_ms == 0,
            shared: home.shared,
            clock_moved: false,
            counted: vec![HashSet::new(); scenario.receivers.len()],
            newest: HashMap::new(),
            again: vec![HashSet::new(); scenario.receivers.len()],
            tracked: HashMap::new(),
            taken: HashMap::new(),
            doubtful: HashSet::new(),
        }
    }

    /// Forgets what a new process does not know.
    pub(crate) fn cold(&mut self) {
        self.newest.clear();
        self.again.iter_mut().for_each(HashSet::clear);
        self.tracked.clear();
        self.taken.clear();
        self.doubtful.clear();
        self.slots.cold();
    }

    pub(crate) fn clock_moved(&mut self) {
        self.clock_moved = true;
        self.slots.clock_moved();
    }

    /// Accepts the loss of all samples that a killed tick had read: no report counts them.
    pub(crate) fn killed(&mut self, shown: &[Shown]) {
        self.tracked.clear();
        for line in shown.iter().flat_map(|shown| &shown.lines) {
            self.counted.iter_mut().for_each(|counted| {
                counted.insert((line.key, line.timestamp_ms));
            });
        }
    }

    pub(crate) fn check(
        &mut self,
        world: &Arc<SimWorld>,
        home: &HomeModel,
        receivers: &[Arc<Receiver>],
        ticked: &Ticked<'_>,
    ) {
        let found = |rule: &str, what: String| world.found(rule, what);
        let Ticked { report, tick, .. } = ticked;
        let ledger = &report.ledger;
        count_events(world, report);
        let took = ticked.started.elapsed();
        if took > tick.timeout {
            found("deadline", format!("{took:?} of {:?}", tick.timeout));
        }
        if report.duration_ms != took.as_millis() as u64 {
            found(
                "deadline",
                format!(
                    "it says that it took {} ms, and took {took:?}",
                    report.duration_ms
                ),
            );
        }
        self.memory.check(world, report);
        self.scrapes(world, home, ticked);
        self.slots.check(world, home, ticked, self.margin_ms);

        let markers = self.markers(ticked);
        let mut total = Ledger::default();
        for (index, remote) in report.remotes.iter().enumerate() {
            total.add(&remote.ledger);
            if !remote.ledger.balances() {
                found(
                    "ledger",
                    format!("{} does not balance: {:?}", remote.remote, remote.ledger),
                );
            }
            self.entered(world, ticked, &markers, index);
            self.answers(world, ticked, index);
        }
        if total != *ledger {
            found(
                "ledger",
                format!("the total is {ledger:?}, its parts are {total:?}"),
            );
        }
        if tick.kind != Kind::DryRun {
            if ticked.live_written != ledger.written {
                found(
                    "written",
                    format!(
                        "{} was shown live, {} reported",
                        ticked.live_written, ledger.written
                    ),
                );
            }
            self.arrived(world, home, receivers, ticked, &markers);
        }
        outcome(world, ticked);
        for ((remote, receiver), again) in report.remotes.iter().zip(receivers).zip(&mut self.again)
        {
            // After a loss the forwarder forgets what it has sent, and sends it again.
            if remote.ledger.lost > 0 {
                receiver.forgotten(false);
                again.extend(self.newest.keys());
            }
        }
    }

    /// Works out the stale markers of a tick. A series that is gone from one successful scrape to
    /// the next must get one. What a failed scrape has read is not always known, so its markers are
    /// only possible.
    fn markers(&mut self, ticked: &Ticked<'_>) -> Markers {
        let mut markers = Markers::default();
        if ticked.tick.kind == Kind::DryRun {
            return markers;
        }
        for shown in &ticked.shown {
            let is_concurrent = |other: &&Shown| {
                other.target != shown.target
                    && other.start_ms <= shown.ended_ms
                    && shown.start_ms <= other.ended_ms
            };
            let keys = |shown: &Shown| {
                shown
                    .lines
                    .iter()
                    .map(|line| line.key)
                    .collect::<HashSet<_>>()
            };
            let others: HashSet<_> = ticked
                .shown
                .iter()
                .filter(is_concurrent)
                .flat_map(keys)
                .collect();
            self.doubtful.extend(keys(shown).intersection(&others));
        }
        for shown in &ticked.shown {
            let lines = || shown.lines.iter().filter(|line| !line.too_far_ahead);
            let in_order = |line: &&Line| {
                self.taken
                    .get(&line.key)
                    .is_none_or(|&taken_ms| taken_ms <= line.timestamp_ms)
            };
            let now: HashSet<_> = lines()
                .filter(|line| line.tracked)
                .filter(in_order)
                .map(|line| line.key)
                .collect();
            let before = self.tracked.entry(shown.target).or_default();
            let gone: Vec<_> = before
                .ever
                .iter()
                .filter(|key| !shown.whole || !now.contains(key))
                .map(|&key| (key, shown.start_ms))
                .collect();
            if let Some(last) = before
                .last
                .take()
                .filter(|_| shown.whole && !self.tight_memory)
            {
                let gone = last
                    .difference(&now)
                    .filter(|key| !self.doubtful.contains(key));
                markers.sure.extend(gone.map(|&key| (key, shown.start_ms)));
            }
            let samples = lines()
                .filter(|_| shown.whole)
                .map(|line| (line.key, line.timestamp_ms));
            for (key, timestamp_ms) in samples.chain(gone.iter().copied()) {
                let taken_ms = self.taken.entry(key).or_insert(timestamp_ms);
                *taken_ms = timestamp_ms.max(*taken_ms);
            }
            markers.most.extend(gone);
            before.ever.extend(&shown.tracked);
            before.last = shown.whole.then_some(now);
        }
        markers
    }

    /// Checks that each scrape is reported as the home saw it.
    fn scrapes(&self, world: &SimWorld, home: &HomeModel, ticked: &Ticked<'_>) {
        let report = ticked.report;
        if report.scrapes.len() != ticked.shown.len() {
            world.found(
                "scrapes",
                format!(
                    "{} were reported, the home saw {}",
                    report.scrapes.len(),
                    ticked.shown.len()
                ),
            );
        }
        for shown in &ticked.shown {
            let target = &home.targets[shown.target];
            let of = |told: &&amp_forwarder::report::ScrapeReport| {
                told.instance == target.instance
                    && told.job == target.job
                    && told.start_ms == shown.start_ms
            };
            let Some(told) = report.scrapes.iter().find(of) else {
                world.found(
                    "scrapes",
                    format!(
                        "that of {} from {} is not reported",
                        target.instance, shown.start_ms
                    ),
                );
                continue;
            };
            if told.up != shown.whole {
                world.found(
                    "up",
                    format!(
                        "{} from {}: reported {}, whole {}",
                        target.instance, shown.start_ms, told.up, shown.whole
                    ),
                );
            }
            if shown.faultless && !told.up && !self.tight_memory {
                world.found(
                    "up",
                    format!(
                        "{} from {} failed for no reason",
                        target.instance, shown.start_ms
                    ),
                );
            }
            if told.up && told.samples != shown.lines.len() as u64 {
                world.found(
                    "scraped",
                    format!("{} samples reported of {}", told.samples, shown.lines.len()),
                );
            }
        }
    }

    /// Checks that the ledger counts the samples that the home showed, and that new ones were
    /// accepted.
    fn entered(&self, world: &SimWorld, ticked: &Ticked<'_>, markers: &Markers, index: usize) {
        let ledger = &ticked.report.remotes[index].ledger;
        let own = (ticked.shown.len() * OWN.len()) as u64;
        let lines = |whole: bool| {
            ticked
                .shown
                .iter()
                .filter(|shown| shown.whole == whole)
                .map(|shown| shown.lines.len() as u64)
                .sum::<u64>()
        };
        let exact = !self.tight_memory && ticked.shown.iter().all(|shown| shown.exact);
        if exact && ledger.rolled_back != lines(false) {
            world.found(
                "scraped",
                format!("shown: {} in failed expositions; {ledger:?}", lines(false)),
            );
        }
        let sure = markers.sure.len() as u64;
        let marked = (ledger.scraped - ledger.rolled_back).checked_sub(lines(true) + own);
        let most = markers.most.len() as u64;
        // With shared series it is not known which target came first, and so which samples were out
        // of order.
        if marked.is_none_or(|marked| marked < sure || (marked > most && !self.shared)) {
            world.found(
                "scraped",
                format!(
                    "{} were shown, {own} are our own, {sure} to {most} stale markers: {ledger:?}",
                    lines(true)
                ),
            );
        }
        if (ledger.owed_before, ledger.backfilled) != (0, 0)
            || (ledger.owed_after != 0 && ticked.tick.kind != Kind::DryRun)
        {
            world.found("owed", format!("{ledger:?}"));
        }
        if self.orderly && !self.clock_moved && ledger.filtered > 0 {
            world.found("filtered", format!("{ledger:?}"));
        }
        let mut newest = self.newest.clone();
        let mut again = if ticked.tick.kind == Kind::DryRun {
            HashSet::new()
        } else {
            self.again[index].clone()
        };
        let mut fresh = 0;
        for line in ticked
            .shown
            .iter()
            .filter(|shown| shown.whole)
            .flat_map(|shown| &shown.lines)
            .filter(|line| !line.too_far_ahead)
        {
            let before = newest.entry(line.key).or_insert(i64::MIN);
            let repeats = again.remove(&line.key) && line.timestamp_ms == *before;
            fresh += u64::from(line.timestamp_ms > *before || repeats);
            *before = line.timestamp_ms.max(*before);
        }
        let taken = ledger.scraped - ledger.rolled_back - ledger.filtered - ledger.unchanged;
        if !self.shared && !self.clock_moved && taken < fresh + own + sure {
            world.found(
                "fresh",
                format!(
                    "{fresh} new samples, {own} of our own and {sure} stale markers, \
                 {taken} taken: {ledger:?}"
                ),
            );
        }
    }

    /// Checks that the report's counts match the receiver's answers.
    fn answers(&self, world: &SimWorld, ticked: &Ticked<'_>, index: usize) {
        let (remote, answered) = (&ticked.report.remotes[index], &ticked.answered[index]);
        let ledger = &remote.ledger;
        let told = (
            remote.requests,
            ledger.written,
            ledger.deduplicated,
            ledger.rejected + ledger.repeated,
        );
        if ledger.repeated > answered.known {
            world.found(
                "repeated",
                format!(
                    "{}: {} samples, the receiver had {} before",
                    remote.remote, ledger.repeated, answered.known
                ),
            );
        }
        let given = (
            answered.posts,
            answered.written,
            answered.deduplicated,
            answered.rejected,
        );
        if told != given {
            world.found(
                "written",
                format!(
                    "{}: requests, written, deduplicated, rejected: {told:?}, answered: {given:?}",
                    remote.remote
                ),
            );
        }
        let last_ms = ticked
            .shown
            .iter()
            .map(|shown| shown.ended_ms)
            .max()
            .unwrap_or(ticked.start_ms);
        let until_ms = match ticked.tick.kind {
            // A tick that must stop has little time to send what it has scraped.
            Kind::Stopped(after) => {
                ticked.start_ms + after.min(ticked.tick.timeout).as_millis() as i64 - self.margin_ms
            }
            _ => ticked.start_ms + ticked.tick.timeout.as_millis() as i64 - self.margin_ms,
        };
        if ledger.lost > 0 && answered.faults == 0 && last_ms + 5_000 < until_ms {
            world.found(
                "lost",
                format!(
                    "{}: {} samples though nothing was wrong",
                    remote.remote, ledger.lost
                ),
            );
        }
    }

    /// Checks that every sample shown is stored at the receivers or counted as not delivered.
    fn arrived(
        &mut self,
        world: &SimWorld,
        home: &HomeModel,
        receivers: &[Arc<Receiver>],
        ticked: &Ticked<'_>,
        markers: &Markers,
    ) {
        let mut expected = markers.sure.clone();
        for shown in &ticked.shown {
            expected.extend(OWN.map(|name| (home.own_key(shown.target, name), shown.start_ms)));
            for line in shown
                .lines
                .iter()
                .filter(|line| shown.whole && !line.too_far_ahead)
            {
                expected.push((line.key, line.timestamp_ms));
                let newest = self.newest.entry(line.key).or_insert(i64::MIN);
                *newest = line.timestamp_ms.max(*newest);
                self.again.iter_mut().for_each(|again| {
                    again.remove(&line.key);
                });
            }
        }
        for ((receiver, counted), remote) in receivers
            .iter()
            .zip(&mut self.counted)
            .zip(&ticked.report.remotes)
        {
            let mut missing = Vec::new();
            for &(key, timestamp_ms) in &expected {
                if receiver.stored(key, timestamp_ms).is_none()
                    && counted.insert((key, timestamp_ms))
                {
                    missing.push((key, timestamp_ms));
                }
            }
            let Ledger {
                lost,
                rejected,
                expired,
                deduplicated,
                repeated,
                filtered,
                ..
            } = remote.ledger;
            let elsewhere = lost + rejected + expired + deduplicated + repeated + filtered;
            if missing.len() as u64 > elsewhere {
                let first = missing
                    .first()
                    .map(|(key, timestamp_ms)| format!("{} at {timestamp_ms}", world.name(*key)));
                world.found(
                    "missing",
                    format!(
                        "{}: {} samples, {first:?} for one: {:?}",
                        receiver.name,
                        missing.len(),
                        remote.ledger
                    ),
                );
            }
            // A clock that was set back can give a sample the timestamp of a marker. The forwarder
            // then takes it for a repeat.
            counted.extend(&markers.most);
        }
    }
}

/// Counts the events that a report shows.
fn count_events(world: &SimWorld, report: &Report) {
    let ledger = &report.ledger;
    for (count, event) in [
        (ledger.lost, Event::Lost),
        (ledger.rejected, Event::Rejected),
        (ledger.expired, Event::Expired),
        (ledger.filtered, Event::Filtered),
        (ledger.unchanged, Event::Unchanged),
        (ledger.rolled_back, Event::RolledBack),
    ] {
        if count > 0 {
            world.hit(event);
        }
    }
    if has(report, IncidentKind::MemoryLimit) {
        world.hit(Event::MemoryLimit);
    }
    if has(report, IncidentKind::OutOfTime) {
        world.hit(Event::OutOfTime);
    }
}

/// Checks the outcome against the documentation of the report.
fn outcome(world: &SimWorld, ticked: &Ticked<'_>) {
    let Report {
        outcome,
        ledger,
        scrapes,
        errors,
        ..
    } = ticked.report;
    let up = ticked.shown.iter().filter(|shown| shown.whole).count();
    let expected = if ledger.lost > 0 || (up == 0 && !ticked.shown.is_empty()) {
        Outcome::Failed
    } else if up < ticked.shown.len()
        || ledger.rejected + ledger.expired > 0
        || has(ticked.report, IncidentKind::SamplesAhead)
    {
        Outcome::Partial
    } else {
        Outcome::Ok
    };
    if *outcome != expected {
        world.found(
            "outcome",
            format!("{outcome:?} in place of {expected:?}: {ledger:?}, {scrapes:?}"),
        );
    }
    if *outcome != Outcome::Ok && errors.is_empty() {
        world.found("errors", format!("{outcome:?}, and nothing tells why"));
    }
}
