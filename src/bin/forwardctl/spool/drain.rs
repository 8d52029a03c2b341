//! `forwardctl spool drain`: ticks that send the backlog and scrape nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use amp_forwarder::report::{Ledger, Outcome, Report};
use amp_forwarder::setup;
use amp_forwarder::spool::inspect;
use amp_forwarder::tick::{Forwarder, Plan, TickProgress};
use indicatif::ProgressBar;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::format::{bar, many};
use crate::load::load;
use crate::outcome::{CommandError, CommandOutcome};
use crate::terminal::{say, say_json, tell};

/// How long one slice holds the lease. The schedule's ticks cannot work during a slice, but between
/// two.
const SLICE: Duration = Duration::from_secs(20);

/// How long the drain waits for ticks of the schedule, which take a minute each, to release the
/// lease.
const PATIENCE: Duration = Duration::from_secs(180);

/// How long the drain waits before it asks for the lease again.
const POLL: Duration = Duration::from_secs(1);

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum DrainOutcome {
    /// The backlog is empty.
    Drained,
    /// The last slice did not make the backlog smaller.
    Stuck,
    /// Other ticks held the lease all the time.
    Busy,
    /// A signal stopped the drain.
    Stopped,
    /// The spool could not be used.
    Failed,
}

/// The result of all slices together.
struct DrainRun {
    ended: DrainOutcome,
    /// Slices that held the lease.
    slices: u64,
    ledger: Ledger,
    /// The errors of the last slice.
    errors: Vec<String>,
}

pub(super) async fn run(config: Option<&str>, json: bool) -> Result<CommandOutcome, CommandError> {
    let config = load(config).await?.config;
    let store = setup::store(&config).await?;
    let backlog = inspect::state(&*store)
        .await?
        .state
        .map(|state| state.backlog().samples)
        .unwrap_or_default();
    let mut forwarder = setup::forwarder(config).await?;
    let live = Arc::new(TickProgress::default());
    let bar = bar(backlog, "samples", json);
    let (Ok(interrupt), Ok(terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return Err(CommandError::Failed("cannot listen for signals".to_owned()));
    };
    let (stop, stopping) = watch::channel(false);
    let plan = Plan {
        drain_only: true,
        live: Some(Arc::clone(&live)),
        stop: Some(stopping),
        ..Plan::default()
    };
    let drained = tokio::select! {
        drained = drain(&mut forwarder, &plan, &bar) => drained,
        () = second_signal(interrupt, terminate, stop, &bar) => {
            return Err(CommandError::Failed(
                "stopped in the middle of a slice: its lease will expire, \
                 and the next tick counts the backlog again"
                    .to_owned(),
            ));
        }
        never = redraw(&bar, &live) => match never {},
    };
    bar.finish_and_clear();
    if json {
        let DrainRun {
            ended,
            slices,
            ledger,
            errors,
        } = &drained;
        say_json(json!({
            "outcome": ended,
            "slices": slices,
            "ledger": ledger,
            "errors": errors,
        }));
    } else {
        drained.errors.iter().for_each(tell);
        say(summary(&drained));
    }
    Ok(
        if drained.ended == DrainOutcome::Drained && drained.ledger.lost == 0 {
            CommandOutcome::Success
        } else {
            CommandOutcome::Failure
        },
    )
}

/// Asks the drain to stop at the first signal. Returns at the second.
async fn second_signal(
    mut interrupt: Signal,
    mut terminate: Signal,
    stop: watch::Sender<bool>,
    bar: &ProgressBar,
) {
    for _ in 0..2 {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        // Sending fails only when the drain has ended.
        let _ = stop.send(true);
        bar.set_message("(stops after this slice; at once with another signal)");
    }
}

/// Drains slice after slice, until a [`verdict`] or a signal ends it.
async fn drain(forwarder: &mut Forwarder, plan: &Plan, bar: &ProgressBar) -> DrainRun {
    let mut drained = DrainRun {
        ended: DrainOutcome::Drained,
        slices: 0,
        ledger: Ledger::default(),
        errors: Vec::new(),
    };
    // Each slice that gets the lease starts the wait for the next one afresh.
    let mut patient_until = Instant::now() + PATIENCE;
    loop {
        let report = forwarder
            .tick(&Plan {
                deadline: Some(Instant::now() + SLICE),
                ..plan.clone()
            })
            .await;
        if report.outcome == Outcome::Busy {
            drained.errors = report.errors;
            if plan.is_stopping() || Instant::now() >= patient_until {
                drained.ended = if plan.is_stopping() {
                    DrainOutcome::Stopped
                } else {
                    DrainOutcome::Busy
                };
                return drained;
            }
            bar.set_message("(waiting for another tick)");
            plan.sleep(POLL).await;
            continue;
        }
        patient_until = Instant::now() + PATIENCE;
        let ended = verdict(&report, plan.is_stopping());
        drained.add(report);
        let done = drained
            .ledger
            .owed_before
            .saturating_sub(drained.ledger.owed_after);
        bar.set_length(drained.ledger.owed_before);
        bar.set_position(done);
        if let Some(ended) = ended {
            drained.ended = ended;
            return drained;
        }
    }
}

/// How the drain ends after this slice, or `None` when another slice follows.
fn verdict(report: &Report, stopping: bool) -> Option<DrainOutcome> {
    let (before, after) = (report.ledger.owed_before, report.ledger.owed_after);
    match report.outcome {
        // The tick could not begin: it did not even count the backlog.
        Outcome::Failed if before == 0 && after == 0 && !report.errors.is_empty() => {
            Some(DrainOutcome::Failed)
        }
        _ if after == 0 => Some(DrainOutcome::Drained),
        _ if after >= before => Some(DrainOutcome::Stuck),
        _ if stopping => Some(DrainOutcome::Stopped),
        _ => None,
    }
}

impl DrainRun {
    fn add(&mut self, report: Report) {
        self.ledger.follow(&report.ledger);
        self.slices += 1;
        self.errors = report.errors;
    }
}

/// Moves the bar while a slice is at work, until it is dropped.
async fn redraw(bar: &ProgressBar, live: &TickProgress) -> Infallible {
    let mut often = tokio::time::interval(Duration::from_millis(250));
    loop {
        often.tick().await;
        let written = live.samples().1;
        bar.set_position(written.min(bar.length().unwrap_or(written)));
    }
}

/// The result in one line.
fn summary(drained: &DrainRun) -> String {
    let Ledger {
        written,
        deduplicated,
        repeated,
        rejected,
        expired,
        lost,
        owed_after,
        ..
    } = drained.ledger;
    let counts = [
        ("written", written),
        ("deduplicated", deduplicated),
        ("repeated", repeated),
        ("rejected", rejected),
        ("expired", expired),
        ("lost", lost),
    ];
    let counts: Vec<_> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| format!("{} {what}", many(*count, "sample")))
        .collect();
    let counts = if counts.is_empty() {
        "nothing sent".to_owned()
    } else {
        counts.join(", ")
    };
    let owed = many(owed_after, "sample");
    match drained.ended {
        DrainOutcome::Drained => format!("{counts}; nothing is owed any more"),
        DrainOutcome::Stuck => format!(
            "{counts}; {owed} still owed, and the remote takes none: \
             see the errors above, then try again"
        ),
        DrainOutcome::Busy => format!(
            "{counts}; other ticks held the lease all the time: try again, or let them drain"
        ),
        DrainOutcome::Stopped => format!("{counts}; stopped, {owed} still owed"),
        DrainOutcome::Failed => "the spool cannot be drained: see the errors above".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcome: Outcome, owed_before: u64, written: u64, errors: &[&str]) -> Report {
        let ledger = Ledger {
            owed_before,
            written,
            owed_after: owed_before - written,
            ..Ledger::default()
        };
        let errors = errors.iter().map(|error| (*error).to_owned()).collect();
        let spool = amp_forwarder::report::SpoolReport::default();
        Report {
            outcome,
            dry_run: false,
            previous: None,
            scrapes: Vec::new(),
            reads: Vec::new(),
            given_up_ms: 0,
            failing: 0,
            ledger,
            remotes: Vec::new(),
            spool,
            memory: amp_forwarder::report::MemoryReport::default(),
            lag_ms: None,
            duration_ms: 1,
            errors,
            incidents: Vec::new(),
        }
    }

    #[test]
    fn a_drain_goes_on_while_the_backlog_shrinks() {
        assert_eq!(
            verdict(&report(Outcome::Partial, 100, 30, &["429"]), false),
            None
        );
        assert_eq!(
            verdict(&report(Outcome::Partial, 100, 30, &[]), true),
            Some(DrainOutcome::Stopped)
        );
        assert_eq!(
            verdict(&report(Outcome::Partial, 100, 0, &["503"]), false),
            Some(DrainOutcome::Stuck)
        );
        assert_eq!(
            verdict(&report(Outcome::Ok, 100, 100, &[]), false),
            Some(DrainOutcome::Drained)
        );
        assert_eq!(
            verdict(&report(Outcome::Ok, 0, 0, &[]), false),
            Some(DrainOutcome::Drained)
        );
        assert_eq!(
            verdict(&report(Outcome::Failed, 0, 0, &["spool: get …"]), false),
            Some(DrainOutcome::Failed)
        );
    }
}
