//! Rules that must hold after each tick with a spool, and at the end of a run.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use amp_forwarder::batch::{Batch, decode};
use amp_forwarder::report::{IncidentKind, Ledger, Outcome as TickOutcome, Report};
use amp_forwarder::spool::name::{Folder, RemoteDir, SegmentName};
use amp_forwarder::spool::segment;
use amp_forwarder::spool::state::{KEY, SpoolState};
use amp_forwarder::time::Clock as _;
use tokio::time::{Instant, sleep};

use super::draw::{Kind, Tick};
use super::{Run, Seat};
use crate::events::Event;
use crate::home::{OWN, Shown};
use crate::memory::has;
use crate::receiver::{Answered, PostSpan};
use crate::store::Process;
use crate::strangers::{is_stranger, refusal};
use crate::world::{Key, SimClock, identity, lock};

impl Run {
    /// Checks the rules that concern a single report.
    pub(super) fn report(&mut self, report: &Report, process: &Process) {
        self.world.tell(|| format!("report: {report:?}"));
        let found = |rule: &str, what: String| self.world.found(rule, what);
        let mut total = Ledger::default();
        let degraded = is_degraded(report, process) || report.outcome == TickOutcome::Degraded;
        for ((remote, lost), unkept) in report
            .remotes
            .iter()
            .zip(&mut self.lost)
            .zip(&mut self.unkept)
        {
            total.add(&remote.ledger);
            // Without the store there is no place to keep them.
            *unkept += if degraded { remote.ledger.rejected } else { 0 };
            *lost += remote.ledger.lost;
            *lost += if degraded { remote.ledger.expired } else { 0 };
            if has(report, IncidentKind::BatchNotKept) {
                // The store was down: the samples are counted, but not kept.
                *lost += remote.ledger.rejected + remote.ledger.expired;
            }
            if self.skewed || self.setting.is_disorderly {
                // The clock was moved, so the forwarder's own timestamps may go back; or the home
                // shows what is older than what was sent.
                *lost += remote.ledger.filtered;
            }
            if !remote.ledger.balances() {
                found(
                    "ledger",
                    format!("{} does not balance: {:?}", remote.remote, remote.ledger),
                );
            }
        }
        if total != report.ledger {
            found(
                "ledger",
                format!("the total is {:?}, its parts are {total:?}", report.ledger),
            );
        }
        self.memory.check(&self.world, report);
        let touched = !report.scrapes.is_empty()
            || report.ledger != Ledger::default()
            || report.remotes.iter().any(|remote| remote.requests > 0);
        let no_scrape =
            report.scrapes.is_empty() && report.outcome == TickOutcome::Failed && !touched;
        let event = match report.outcome {
            TickOutcome::Busy => Event::Busy,
            TickOutcome::Degraded => Event::Degraded,
            TickOutcome::Failed if no_scrape => Event::StoreDown,
            _ if report.ledger.owed_before > report.ledger.owed_after => Event::BacklogDrained,
            _ => Event::WarmTick,
        };
        self.world.hit(event);
        self.count_events(report);
        if matches!(report.outcome, TickOutcome::Busy) && touched {
            found(
                "busy",
                format!("it says that it is busy, and did something: {report:?}"),
            );
        }
        if !degraded {
            for wrong in lock(&process.wrongs).drain(..) {
                found("fence", wrong);
            }
        }
        if report.outcome != TickOutcome::Ok && report.errors.is_empty() {
            found(
                "errors",
                format!("{:?}, and nothing tells why", report.outcome),
            );
        }
    }

    /// Counts the events that a report shows.
    fn count_events(&self, report: &Report) {
        if report.ledger.owed_after > 0 {
            self.world.hit(Event::Overflowed);
        }
        if has(report, IncidentKind::BacklogEvicted) {
            self.world.hit(Event::GivenUp);
        }
        if has(report, IncidentKind::MemoryLimit) {
            self.world.hit(Event::SpoolMemoryLimit);
        }
        if report.previous.is_some() {
            self.world.hit(Event::AfterAKill);
        }
        if !released(report) {
            self.world.hit(Event::NotReleased);
        }
    }

    /// Checks that the counts of all reports match the receivers' answers.
    pub(super) fn together(&self, reports: &[&Report], answered: &[Answered], faults: u64) {
        for (index, answered) in answered.iter().enumerate() {
            let mut ledger = Ledger::default();
            let mut requests = 0;
            for remote in reports
                .iter()
                .filter_map(|report| report.remotes.get(index))
            {
                ledger.add(&remote.ledger);
                requests += remote.requests;
            }
            let mut told = (
                requests,
                ledger.written,
                ledger.deduplicated,
                ledger.rejected + ledger.repeated,
            );
            if ledger.repeated > answered.known {
                let name = &self.receivers[index].name;
                self.world.found(
                    "repeated",
                    format!(
                        "{name}: {} samples, the receiver had {} before",
                        ledger.repeated, answered.known
                    ),
                );
            }
            // The forwarder rejects what was throttled for a quarter of an hour, though the
            // receiver has not refused it for good.
            let more = told
                .3
                .saturating_sub(answered.rejected)
                .min(answered.throttled);
            if more > 0
                && reports
                    .iter()
                    .any(|report| has(report, IncidentKind::BatchThrottled))
            {
                self.world.hit(Event::ThrottledForGood);
                told.3 -= more;
            }
            // What `rejected/` did not take stays owed.
            let unkept = answered.rejected.saturating_sub(told.3);
            if unkept > 0 && self.shared.not_yet_kept.load(Ordering::Relaxed) > 0 {
                self.world.hit(Event::RefusedNotYetKept);
                told.3 += unkept;
            }
            let given = (
                answered.posts,
                answered.written,
                answered.deduplicated,
                answered.rejected,
            );
            if told != given {
                let name = &self.receivers[index].name;
                self.world.found(
                    "written",
                    format!(
                        "{name}: requests, written, deduplicated, rejected: {told:?}, \
                         answered: {given:?}"
                    ),
                );
            }
            let calm = self.shared.faults.load(Ordering::Relaxed) == faults;
            let gave_up = reports
                .iter()
                .any(|report| has(report, IncidentKind::BacklogEvicted));
            if ledger.lost > 0 && calm && !gave_up {
                self.world.found(
                    "lost",
                    format!(
                        "{}: {} samples though the store had no fault",
                        self.receivers[index].name, ledger.lost
                    ),
                );
            }
        }
    }

    /// Checks that a tick of a schedule ends when nothing more can be done: soon after its minute,
    /// and soon after its last slot when no remote answers.
    pub(super) fn cost(
        &self,
        report: &Report,
        posts: &[Vec<PostSpan>],
        (shown, start_ms): (&[Shown], i64),
        started: Instant,
        calm: bool,
    ) {
        // A slow store takes its time, and without it samples are sent as long as there is time.
        if !calm || !began(report) || matches!(report.outcome, TickOutcome::Degraded) {
            return;
        }
        let moment = |ms: i64| {
            started + Duration::from_millis(u64::try_from(ms - start_ms).unwrap_or_default())
        };
        let scraped = shown.iter().map(|shown| moment(shown.ended_ms)).max();
        let last_call = scraped.unwrap_or(started);
        let by_minute = last_call.max(started + Duration::from_secs(60)) + Duration::from_secs(5);
        let posts = || posts.iter().flatten();
        let is_silent = posts().next().is_some() && !posts().any(|post| post.is_final);
        let first = posts().map(|post| post.from).max().unwrap_or(last_call);
        let silent = last_call.max(first + Duration::from_secs(30));
        let ends = if is_silent {
            by_minute.min(silent)
        } else {
            by_minute
        };
        if is_silent {
            self.world.hit(Event::SilentRemote);
        }
        // Calls of the store take up to 30 ms each, and many may be needed.
        let ended = Instant::now();
        if ended > ends + Duration::from_secs(6) {
            self.world.found(
                "cost",
                format!(
                    "it ended {:?} after it had nothing to wait for, silent: {is_silent}",
                    ended - ends
                ),
            );
        }
    }

    /// What is owed goes from one report to the next, and is what lies in the store.
    pub(super) fn owed(&mut self, report: &Report, calm: bool) {
        let known = self.owed.take();
        if !matches!(report.outcome, TickOutcome::Busy)
            && report.spool.segments == 0
            && report.ledger == Ledger::default()
        {
            return;
        }
        if matches!(report.outcome, TickOutcome::Busy | TickOutcome::Degraded) {
            return;
        }
        let before: Vec<_> = report
            .remotes
            .iter()
            .map(|remote| remote.ledger.owed_before)
            .collect();
        if let Some(known) = known.as_ref().filter(|known| {
            calm && known
                .iter()
                .zip(&before)
                .any(|(known, before)| known != before)
        }) {
            self.world.found(
                "owed",
                format!("{known:?} when the last tick ended, {before:?} when this one began"),
            );
        }
        let uncounted = has(report, IncidentKind::BacklogUncounted);
        if !released(report) || report.ledger.lost > 0 || uncounted {
            return;
        }
        let mut after: Vec<_> = report
            .remotes
            .iter()
            .map(|remote| remote.ledger.owed_after)
            .collect();
        let state = self
            .shared
            .objects
            .peek(KEY)
            .and_then(|bytes| SpoolState::read(&bytes).ok())
            .unwrap_or_default();
        for (dir, owed) in self.dirs.iter().zip(&after) {
            let head = state
                .remotes
                .get(dir)
                .and_then(|remote| remote.head.clone());
            let unwanted = state
                .remotes
                .get(dir)
                .map(|remote| remote.tombstones.clone())
                .unwrap_or_default();
            let stored: u64 = self
                .objects(dir, Folder::Segments)
                .into_iter()
                .filter(|(name, _)| !unwanted.contains_key(name))
                .map(|(name, batches)| {
                    let answered = head
                        .as_ref()
                        .filter(|head| head.segment == name)
                        .map(|head| head.answered.clone())
                        .unwrap_or_default();
                    let open = (0_u32..)
                        .zip(&batches)
                        .filter(|(place, _)| !answered.contains(place));
                    open.map(|(_, batch)| u64::from(batch.samples)).sum::<u64>()
                })
                .sum();
            if stored != *owed && state.lease.is_none() {
                self.world.found(
                    "owed",
                    format!(
                        "{} has {stored} samples in the store, the report says {owed}",
                        dir.as_str()
                    ),
                );
            }
        }
        // The backlog of a remote that the configuration does not name must not change.
        after.extend(known.into_iter().flatten().skip(after.len()));
        self.owed = Some(after);
    }

    fn objects(&self, dir: &RemoteDir, folder: Folder) -> Vec<(SegmentName, Vec<Batch>)> {
        let prefix = dir.prefix(folder);
        let of = |key: String| {
            let name = SegmentName::parse(key.strip_prefix(&prefix)?)?;
            let segment = segment::read(&self.shared.objects.peek(&key)?).ok()?;
            Some((name, segment.batches))
        };
        self.shared
            .objects
            .keys()
            .into_iter()
            .filter_map(of)
            .collect()
    }

    /// Records the samples of a tick: its report has counted them, or it still has them.
    pub(super) fn claim(&mut self, shown: &[Shown]) {
        let remotes = self.setting.configurations[self.configuration]
            .remote_write
            .len();
        let rules = &self.setting.rules[self.configuration];
        let is_sent = |(key, _): &(Key, i64)| !rules.drops(&self.world.name(*key));
        for shown in shown {
            let own = OWN.map(|name| (self.home.own_key(shown.target, name), shown.start_ms));
            let lines = shown
                .lines
                .iter()
                .filter(|line| shown.whole && !line.too_far_ahead);
            let lines: Vec<_> = lines
                .map(|line| (line.key, line.timestamp_ms))
                .chain(own)
                .filter(is_sent)
                .collect();
            self.claimed
                .iter_mut()
                .take(remotes)
                .for_each(|claimed| claimed.extend(&lines));
        }
    }

    /// Ends all faults, and checks that the backlog arrives.
    pub(super) async fn end(&mut self, seats: &mut [Seat; 2]) {
        self.world.tell(|| "all faults end".to_owned());
        self.world.heal();
        // What belongs to somebody else stays closed.
        self.shared
            .objects
            .set_faults(|op, key, _| refusal(op, key).unwrap_or_default());
        if self.configuration > 0 {
            self.reconfigure(0, seats);
        }
        for _ in 0..8 {
            sleep(Duration::from_secs(100)).await;
            let tick = Tick {
                wait: Duration::ZERO,
                timeout: Duration::from_secs(90),
                kind: Kind::DrainOnly,
                process: 0,
                freeze_ms: 0,
                frozen_inside: None,
                renews_lease: false,
                skew_ms: None,
                configuration: None,
            };
            self.tick(seats, tick).await;
            if !self.world.findings().is_empty()
                || self
                    .owed
                    .as_ref()
                    .is_some_and(|owed| owed.iter().all(|owed| *owed == 0))
            {
                break;
            }
        }
        let left = self
            .shared
            .objects
            .keys()
            .into_iter()
            .filter(|key| key.starts_with("segments/") && !is_stranger(key))
            .count();
        if left > 0 && self.world.findings().is_empty() {
            self.world.found(
                "drain",
                format!("{left} segments are left though all faults have ended"),
            );
        }
        let kept = self.kept();
        for ((((receiver, kept), lost), claimed), unkept) in self
            .receivers
            .iter()
            .zip(&kept)
            .zip(&self.lost)
            .zip(&self.claimed)
            .zip(&self.unkept)
        {
            let is_missing = |sample: &&(Key, i64)| {
                let (key, timestamp_ms) = **sample;
                receiver.stored(key, timestamp_ms).is_none()
                    && !receiver.is_refused(key, timestamp_ms)
                    && !kept.contains(*sample)
            };
            let missing: Vec<_> = claimed.iter().filter(is_missing).collect();
            // A batch that was refused is kept, or still owed.
            let is_gone = |sample: &&(Key, i64)| {
                let (key, timestamp_ms) = **sample;
                receiver.is_rejected(key, timestamp_ms)
                    && receiver.stored(key, timestamp_ms).is_none()
                    && !kept.contains(*sample)
            };
            let gone = claimed.iter().filter(is_gone).count() as u64;
            if gone > *lost + *unkept {
                self.world.found(
                    "kept",
                    format!(
                        "{}: {gone} samples were refused and are not kept, {lost} were counted \
                         as lost",
                        receiver.name
                    ),
                );
            }
            if missing.len() as u64 > *lost {
                let mut names: Vec<_> = missing
                    .iter()
                    .map(|(key, timestamp_ms)| {
                        format!("{} at {timestamp_ms}", self.world.name(*key))
                    })
                    .collect();
                names.sort();
                self.world.found(
                    "missing",
                    format!(
                        "{}: {} samples, {lost} were counted as lost; {:?}",
                        receiver.name,
                        missing.len(),
                        names.first()
                    ),
                );
            }
        }
    }

    /// For each remote, what was refused or too old, and is kept, or was told to be gone.
    fn kept(&self) -> Vec<HashSet<(Key, i64)>> {
        let of = |dir: &RemoteDir| {
            let unkept: Vec<_> = lock(&self.shared.unkept)
                .iter()
                .filter_map(|bytes| segment::read(bytes).ok())
                .collect();
            let mut kept: HashSet<_> = unkept
                .iter()
                .flat_map(|segment| &segment.batches)
                .flat_map(|batch| self.samples(batch))
                .collect();
            for (folder, event) in [
                (Folder::Rejected, Event::SpoolRejected),
                (Folder::Expired, Event::SpoolExpired),
            ] {
                for batch in self
                    .objects(dir, folder)
                    .into_iter()
                    .flat_map(|(_, batches)| batches)
                {
                    self.world.hit(event);
                    kept.extend(self.samples(&batch));
                }
            }
            kept
        };
        self.dirs.iter().map(of).collect()
    }
}

impl Run {
    pub(super) fn samples(&self, batch: &Batch) -> Vec<(Key, i64)> {
        let of = |series: amp_forwarder::prompb::messages::TimeSeries| {
            let labels: HashMap<_, _> = series
                .labels
                .iter()
                .map(|label| (label.name.as_str(), label.value.as_str()))
                .collect();
            let mut sorted: Vec<_> = labels.into_iter().collect();
            sorted.sort_unstable();
            let key = self.world.key(&identity(sorted));
            series
                .samples
                .into_iter()
                .map(move |sample| (key, sample.timestamp))
                .collect::<Vec<_>>()
        };
        decode(batch)
            .unwrap_or_default()
            .timeseries
            .into_iter()
            .flat_map(of)
            .collect()
    }

    /// Checks that a tick goes on without the store only if its process was at work within the last
    /// two minutes. `concurrent`: another process has worked since, which it cannot know.
    pub(super) fn degraded(
        &mut self,
        at: usize,
        report: &Report,
        process: &Process,
        start_ms: i64,
        concurrent: bool,
    ) {
        let ended_ms = self.ended_ms[at];
        if began(report) {
            self.ended_ms[at] = Some(SimClock(std::sync::Arc::clone(&self.world)).now_ms());
        }
        if is_degraded(report, process) {
            self.without(ended_ms, start_ms, concurrent);
        }
    }

    /// Checks the same for a tick that was killed, and so has no report.
    pub(super) fn went_without(&mut self, at: usize, killed: &Process, start_ms: i64) {
        if killed.acts_without_lease() {
            self.without(self.ended_ms[at], start_ms, self.last != at);
        }
    }

    fn without(&mut self, ended_ms: Option<i64>, start_ms: i64, concurrent: bool) {
        let now_ms = SimClock(std::sync::Arc::clone(&self.world)).now_ms();
        match ended_ms {
            // The tick may wait for the lease for a while before it finds that the store is down. A
            // clock that was set back has caught up by then.
            Some(ended_ms) if start_ms - ended_ms < 120_000 && now_ms >= ended_ms => {
                self.concurrent_without_store |= concurrent;
            }
            _ => self.world.found(
                "degraded",
                format!(
                    "it went on without the store, and its last tick had ended at {ended_ms:?}"
                ),
            ),
        }
    }

    /// Checks that no process is kept out by its own lease.
    pub(super) fn busy(&self, report: &Report, process: &Process) {
        let lease = self
            .shared
            .objects
            .peek(KEY)
            .and_then(|bytes| SpoolState::read(&bytes).ok())
            .and_then(|state| state.lease);
        let own = lease.is_some_and(|lease| process.is(&lease.nonce));
        if matches!(report.outcome, TickOutcome::Busy)
            && own
            && has(report, IncidentKind::LeaseHeld)
        {
            self.world.found("busy", "with its own lease");
        }
    }
}

/// Whether a tick did anything. One that the store or another tick has kept from its work leaves
/// everything as it was.
fn began(report: &Report) -> bool {
    let untouched = report.scrapes.is_empty()
        && report.ledger == Ledger::default()
        && report.remotes.iter().all(|remote| remote.requests == 0);
    match report.outcome {
        TickOutcome::Busy => false,
        TickOutcome::Failed => !untouched,
        _ => true,
    }
}

/// Whether the tick scraped or sent without the lease.
fn is_degraded(report: &Report, process: &Process) -> bool {
    let touched =
        !report.scrapes.is_empty() || report.remotes.iter().any(|remote| remote.requests > 0);
    let told = has(report, IncidentKind::WithoutSpool);
    // A tick that has the lease may have found the store down before it posted or wrote anything.
    touched
        && told
        && !process.held.load(Ordering::Relaxed)
        && !process.told.load(Ordering::Relaxed)
}

pub(super) fn released(report: &Report) -> bool {
    !has(report, IncidentKind::LeaseNotReleased)
}
