//! Rules that must hold after each tick with a spool.

use std::sync::atomic::Ordering;
use std::time::Duration;

use amp_forwarder::report::{IncidentKind, Ledger, Outcome as TickOutcome, Report};
use tokio::time::Instant;

use super::Run;
use super::lease::{is_degraded, released};
use crate::events::Event;
use crate::home::Shown;
use crate::memory::has;
use crate::receiver::{Answered, PostSpan};
use crate::store::Process;
use crate::world::lock;

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
            // What is found by taking a batch apart is refused for good, though the receiver has
            // only asked for it again.
            let name = &self.receivers[index].name;
            told.3 -= given_up(reports, name).min(answered.suspects).min(told.3);
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
}

/// The number of samples that a remote was said not to take while it took others of their batch.
fn given_up(reports: &[&Report], remote: &str) -> u64 {
    let incidents = reports.iter().flat_map(|report| &report.incidents);
    incidents
        .filter(|incident| {
            incident.remote.as_deref() == Some(remote) && incident.text.contains("time after time")
        })
        .filter_map(|incident| incident.samples)
        .sum()
}

/// Whether a tick did anything. One that the store or another tick has kept from its work leaves
/// everything as it was.
pub(super) fn began(report: &Report) -> bool {
    let untouched = report.scrapes.is_empty()
        && report.ledger == Ledger::default()
        && report.remotes.iter().all(|remote| remote.requests == 0);
    match report.outcome {
        TickOutcome::Busy => false,
        TickOutcome::Failed => !untouched,
        _ => true,
    }
}
