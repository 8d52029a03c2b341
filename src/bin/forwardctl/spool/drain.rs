//! `forwardctl spool drain`

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use amp_forwarder::report::{Ledger, Outcome, Report};
use amp_forwarder::setup;
use amp_forwarder::spool::inspect;
use amp_forwarder::tick::{Forwarder, Live, Plan};
use indicatif::ProgressBar;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::super::format::{bar, many};
use super::{CommandError, CommandOutcome, load};

/// The lease is held for so long at once: the schedule's ticks wait meanwhile.
const SLICE: Duration = Duration::from_secs(20);

/// How long other ticks are waited for: the schedule's last a minute.
const PATIENCE: Duration = Duration::from_secs(180);

const POLL: Duration = Duration::from_secs(1);

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum DrainOutcome {
    /// Nothing is owed.
    Drained,
    /// What is owed does not get less.
    Stuck,
    /// Other ticks are at work.
    Busy,
    /// By a signal.
    Stopped,
    /// The spool cannot be used.
    Failed,
}

/// All slices together.
struct DrainRun {
    ended: DrainOutcome,
    slices: u64,
    ledger: Ledger,
    /// Of the last slice.
    errors: Vec<String>,
}

pub(super) async fn run(config: Option<&str>, json: bool) -> Result<CommandOutcome, CommandError> {
    let config = load(config).await?.config;
    let store = setup::store(&config).await?;
    let looked = inspect::state(&*store).await?;
    let owed = looked
        .state
        .map(|state| state.backlog().samples)
        .unwrap_or_default();
    let mut forwarder = setup::forwarder(config).await?;
    let live = Arc::new(Live::default());
    let plan = Plan {
        drain_only: true,
        live: Some(Arc::clone(&live)),
        ..Plan::default()
    };
    let bar = bar(owed, "samples", json);
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return Err(CommandError::Failed("cannot listen for signals".to_owned()));
    };
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let plan = Plan {
        stop: Some(stopping),
        ..plan
    };
    let signals = async {
        for _ in 0..2 {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            // Nobody listens only when all is over.
            let _ = stop.send(true);
            bar.set_message("(stops after this slice; once more: at once)");
        }
    };
    let drained = tokio::select! {
        drained = drain(&mut forwarder, &plan, &bar) => drained,
        () = signals => return Err(CommandError::Failed("stopped in the middle of a slice: its lease ends by itself, and the next tick counts the backlog anew".to_owned())),
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
        println!(
            "{}",
            json!({"outcome": ended, "slices": slices, "ledger": ledger, "errors": errors})
        );
    } else {
        drained.errors.iter().for_each(|error| eprintln!("{error}"));
        println!("{}", told(&drained));
    }
    Ok(
        if drained.ended == DrainOutcome::Drained && drained.ledger.lost == 0 {
            CommandOutcome::Success
        } else {
            CommandOutcome::Failure
        },
    )
}

/// Slice after slice, until it is over one way or another.
async fn drain(forwarder: &mut Forwarder, plan: &Plan, bar: &ProgressBar) -> DrainRun {
    let mut drained = DrainRun {
        ended: DrainOutcome::Drained,
        slices: 0,
        ledger: Ledger::default(),
        errors: Vec::new(),
    };
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
            bar.set_message("(waits for another tick)");
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

/// None: once more.
fn verdict(report: &Report, stopping: bool) -> Option<DrainOutcome> {
    let (before, after) = (report.ledger.owed_before, report.ledger.owed_after);
    match report.outcome {
        // It could not begin.
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

async fn redraw(bar: &ProgressBar, live: &Live) -> Infallible {
    let mut often = tokio::time::interval(Duration::from_millis(250));
    loop {
        often.tick().await;
        let written = live.samples().1;
        bar.set_position(written.min(bar.length().unwrap_or(written)));
    }
}

fn told(drained: &DrainRun) -> String {
    let Ledger {
        written,
        deduplicated,
        rejected,
        expired,
        lost,
        owed_after,
        ..
    } = drained.ledger;
    let counts = [
        ("written", written),
        ("deduplicated", deduplicated),
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
            "{counts}; {owed} still owed, and the remote takes none: see why above, then try again"
        ),
        DrainOutcome::Busy => format!(
            "{counts}; other ticks hold the lease all the time: try again, or let them drain"
        ),
        DrainOutcome::Stopped => format!("{counts}; stopped, {owed} still owed"),
        DrainOutcome::Failed => "the spool cannot be drained: see why above".to_owned(),
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
    fn it_goes_on_while_it_gets_less() {
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
