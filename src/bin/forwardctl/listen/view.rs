//! What the pages of `run --listen` show: sums of the ticks, the last one, and what went wrong.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use amp_forwarder::report::{
    Ledger, MemoryReport, Outcome, OwnCounters, RemoteCounters, Report, ScrapeReport, SpoolReport,
    TickCounts,
};
use amp_forwarder::tick::TickProgress;

/// Ticks that the page draws: two hours at one a minute.
const TICKS: usize = 120;

/// Problems that the page lists.
const PROBLEMS: usize = 20;

/// Without the end of a tick for so long, the forwarder is stuck: a tick takes 75 s at most, and
/// the next one begins when a slot is due.
const STUCK_MS: i64 = 180_000;

/// The state of a run, shared by the ticks and the server.
pub(in super::super) struct RunView {
    shown: Mutex<ShownRun>,
}

/// What is shown.
pub(super) struct ShownRun {
    /// Start of the process, milliseconds since 1970.
    pub(super) started_ms: i64,
    /// Longest interval of a job, milliseconds: so long a tick may wait for its slot.
    longest_interval_ms: i64,
    /// Sums of the ticks of this process.
    pub(super) counters: OwnCounters,
    /// The last scrape of each target, by job and instance.
    pub(super) scrapes: BTreeMap<(String, String), ScrapeReport>,
    /// The last tick; none before the first one has ended.
    pub(super) last: Option<LastTick>,
    /// The last ticks, the newest one last.
    pub(super) ticks: VecDeque<TickMark>,
    /// The last problems, the newest one first.
    pub(super) problems: VecDeque<ShownProblem>,
    /// Counters of the tick that runs.
    pub(super) live: Arc<TickProgress>,
}

/// The last tick.
pub(super) struct LastTick {
    pub(super) outcome: Outcome,
    /// Its end, milliseconds since 1970.
    pub(super) ended_ms: i64,
    /// Targets whose last scrape or read failed.
    pub(super) failing: u64,
    pub(super) spool: SpoolReport,
    pub(super) memory: MemoryReport,
}

/// One tick in the drawing.
pub(super) struct TickMark {
    pub(super) outcome: Outcome,
    pub(super) ended_ms: i64,
    pub(super) written: u64,
}

/// A problem that was reported, and is shown until newer ones take its place.
pub(super) struct ShownProblem {
    pub(super) at_ms: i64,
    pub(super) text: String,
}

impl RunView {
    /// A view before the first tick. `intervals_ms` are those of the jobs, in milliseconds.
    pub(in super::super) fn new(
        started_ms: i64,
        intervals_ms: &[i64],
        live: Arc<TickProgress>,
    ) -> Self {
        Self {
            shown: Mutex::new(ShownRun {
                started_ms,
                longest_interval_ms: intervals_ms.iter().copied().max().unwrap_or_default(),
                counters: OwnCounters::default(),
                scrapes: BTreeMap::new(),
                last: None,
                ticks: VecDeque::with_capacity(TICKS),
                problems: VecDeque::with_capacity(PROBLEMS),
                live,
            }),
        }
    }

    /// Takes the report of a tick that ended now.
    pub(in super::super) fn tick(&self, report: &Report, ended_ms: i64) {
        let mut shown = self.shown();
        shown.counters.add(&counts(report, ended_ms));
        for scrape in &report.scrapes {
            let key = (scrape.job.clone(), scrape.instance.clone());
            shown.scrapes.insert(key, scrape.clone());
        }
        if shown.ticks.len() == TICKS {
            shown.ticks.pop_front();
        }
        shown.ticks.push_back(TickMark {
            outcome: report.outcome,
            ended_ms,
            written: report.ledger.written,
        });
        for text in report.errors.iter().rev() {
            shown.problems.push_front(ShownProblem {
                at_ms: ended_ms,
                text: text.clone(),
            });
        }
        shown.problems.truncate(PROBLEMS);
        let known = shown.last.as_ref().map(|last| last.spool.clone());
        shown.last = Some(LastTick {
            outcome: report.outcome,
            ended_ms,
            failing: report.failing,
            // A tick that touched nothing knows nothing of the spool.
            spool: known
                .filter(|_| is_untouched(report))
                .unwrap_or_else(|| report.spool.clone()),
            memory: report.memory,
        });
    }

    pub(super) fn shown(&self) -> MutexGuard<'_, ShownRun> {
        // Nothing that panics leaves it half changed in a way that a page could not show.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ShownRun {
    /// Whether the forwarder does its work.
    ///
    /// # Errors
    /// The text says what keeps it from that.
    pub(super) fn ready(&self, now_ms: i64) -> Result<(), String> {
        let Some(last) = &self.last else {
            return Err("the first tick has not ended yet".to_owned());
        };
        let silent_ms = now_ms.saturating_sub(last.ended_ms);
        if silent_ms > STUCK_MS.max(2 * self.longest_interval_ms) {
            return Err(format!("no tick has ended for {} s", silent_ms / 1000));
        }
        if last.outcome == Outcome::Failed {
            let why = self.problems.front();
            let why = why.map_or("", |problem| problem.text.as_str());
            return Err(format!("the last tick failed: {why}"));
        }
        Ok(())
    }
}

/// Whether the tick could not begin.
fn is_untouched(report: &Report) -> bool {
    let is_empty = report.scrapes.is_empty() && report.ledger == Ledger::default();
    report.outcome == Outcome::Busy || (report.outcome == Outcome::Failed && is_empty)
}

fn counts(report: &Report, ended_ms: i64) -> TickCounts {
    let busy_ms = report.duration_ms;
    let newest_ms = report.lag_ms.map(|lag_ms| ended_ms - lag_ms);
    TickCounts {
        start_ms: ended_ms - i64::try_from(busy_ms).unwrap_or_default(),
        busy_ms,
        scrapes: report.scrapes.len() as u64,
        failed_scrapes: report.scrapes.iter().filter(|scrape| !scrape.up).count() as u64,
        remotes: report
            .remotes
            .iter()
            .filter(|_| !is_untouched(report))
            .map(|remote| {
                let counts = RemoteCounters {
                    ledger: remote.ledger,
                    requests: remote.requests,
                    newest_ms: newest_ms.filter(|_| remote.ledger.written > 0),
                };
                (remote.remote.clone(), counts)
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcome: Outcome) -> Report {
        Report {
            outcome,
            dry_run: false,
            previous: None,
            scrapes: Vec::new(),
            reads: Vec::new(),
            given_up_ms: 0,
            failing: 0,
            ledger: Ledger::default(),
            remotes: Vec::new(),
            spool: SpoolReport::default(),
            memory: MemoryReport::default(),
            lag_ms: None,
            duration_ms: 40,
            errors: vec!["send: amp: HTTP 403".to_owned()],
            incidents: Vec::new(),
        }
    }

    #[test]
    fn it_is_ready_while_ticks_end_and_do_not_fail() {
        let view = RunView::new(0, &[15_000], Arc::default());
        let ready = |now_ms: i64| view.shown().ready(now_ms);
        assert!(ready(0).unwrap_err().contains("first tick"));
        view.tick(&report(Outcome::Partial), 60_000);
        assert_eq!(ready(60_000 + STUCK_MS), Ok(()));
        let stuck = ready(60_000 + STUCK_MS + 1_000).unwrap_err();
        assert_eq!(stuck, "no tick has ended for 181 s");
        view.tick(&report(Outcome::Failed), 120_000);
        let failed = ready(120_000).unwrap_err();
        assert_eq!(failed, "the last tick failed: send: amp: HTTP 403");
    }

    #[test]
    fn only_so_much_is_kept() {
        let view = RunView::new(0, &[], Arc::default());
        for minute in 0..500 {
            view.tick(&report(Outcome::Ok), minute * 60_000);
        }
        let shown = view.shown();
        assert_eq!((shown.ticks.len(), shown.problems.len()), (TICKS, PROBLEMS));
        assert_eq!(shown.counters.ticks, 500);
    }
}
