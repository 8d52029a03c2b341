//! `forwardctl run`: the function's work in the foreground, tick after tick.

use std::convert::Infallible;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use amp_forwarder::report::{IncidentKind, Ledger, Outcome, Report};
use amp_forwarder::setup;
use amp_forwarder::tick::{Forwarder, Plan, TickProgress};
use amp_forwarder::time::{Clock, SystemClock, millis};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::format::{count, many};
use crate::listen::{self, RunView};
use crate::load::load;
use crate::outcome::{CommandError, CommandOutcome, duration};
use crate::terminal::{say_json, tell};

/// How long a tick may take. It serves a minute's slots, and the rest is for their sends.
const TICK: Duration = Duration::from_secs(75);

/// How long the only tick of `--once` may take: half a minute shows whether the remote takes the
/// samples.
const ONCE: Duration = Duration::from_secs(30);

/// How long a tick may take to end after a signal. Requests in flight have five seconds, and all
/// other samples go to the spool.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(clap::Args)]
pub(super) struct RunArguments {
    /// Scrape each job once, then stop
    #[arg(long)]
    once: bool,
    /// Stop after this time, written as Prometheus does: 90s, 5m, 1h30m
    #[arg(long = "for", value_name = "D", value_parser = duration, conflicts_with = "once")]
    duration: Option<Duration>,
    /// Answer /metrics, /-/healthy, /-/ready and a status page at this address: 127.0.0.1:9464.
    /// Whoever reaches it may read it
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address, conflicts_with = "once")]
    listen: Option<SocketAddr>,
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse()
        .map_err(|_| "not an address with a port: write 127.0.0.1:9464")
}

pub(super) async fn run(
    arguments: &RunArguments,
    config: Option<&str>,
    json: bool,
) -> Result<CommandOutcome, CommandError> {
    let loaded = load(config).await?;
    for warning in &loaded.warnings {
        tracing::warn!("configuration: {warning}");
    }
    let live = Arc::new(TickProgress::default());
    let jobs = loaded.config.scrape_configs.iter();
    let intervals: Vec<_> = jobs.map(|job| millis(job.scrape_interval)).collect();
    let view = RunView::new(SystemClock.now_ms(), &intervals, Arc::clone(&live));
    let view = Arc::new(view);
    let listener = match arguments.listen {
        Some(address) => Some(listen::bind(address).await?),
        None => None,
    };
    let mut forwarder = setup::forwarder(loaded.config).await?;
    let (stop, stopping) = watch::channel(false);
    let plan = Plan {
        once: arguments.once,
        stop: Some(stopping.clone()),
        live: Some(Arc::clone(&live)),
        renews_lease: true,
        ..Plan::default()
    };
    let bar = status_line(json);
    let work = ticks(&mut forwarder, arguments, &plan, &view, json);
    let report = tokio::select! {
        report = work => report,
        () = watch_signals(arguments.duration, stop) => {
            let progress = progress(&live);
            let message = format!("stopped before everything was sent: {progress}");
            return Err(CommandError::Failed(message));
        }
        never = redraw(&bar, &live) => match never {},
        never = serve(listener, &view) => match never {},
    };
    bar.finish_and_clear();
    let (ledger, failed) = report;
    if !json {
        tell(progress(&live));
        tell(summary(&ledger));
    }
    Ok(if failed {
        CommandOutcome::Failure
    } else {
        CommandOutcome::Success
    })
}

/// Answers requests if there is a port. It never ends by itself.
async fn serve(listener: Option<TcpListener>, view: &Arc<RunView>) -> Infallible {
    match listener {
        Some(listener) => listen::serve(listener, Arc::clone(view)).await,
        None => std::future::pending().await,
    }
}

/// Runs tick after tick until the plan says stop. Returns the ledger of all ticks together, and
/// whether the last one failed or any sample was lost.
async fn ticks(
    forwarder: &mut Forwarder,
    arguments: &RunArguments,
    plan: &Plan,
    view: &RunView,
    json: bool,
) -> (Ledger, bool) {
    let mut ledger = Ledger::default();
    let mut told_orphans = json;
    let mut pause = Duration::ZERO;
    loop {
        let report = forwarder
            .tick(&Plan {
                deadline: Some(Instant::now() + if arguments.once { ONCE } else { TICK }),
                ..plan.clone()
            })
            .await;
        ledger.follow(&report.ledger);
        view.tick(&report, SystemClock.now_ms());
        // A failed tick no longer counts once a later one succeeds, but lost samples always do.
        let failed = report.outcome == Outcome::Failed
            || (arguments.once && report.outcome == Outcome::Busy && !plan.is_stopping())
            || ledger.lost > 0;
        if !told_orphans {
            told_orphans = tell_orphans(&report);
        }
        print_report(&report, json);
        if arguments.once || plan.is_stopping() {
            return (ledger, failed);
        }
        pause = pause_after(&report, pause);
        let wait_ms = forwarder.next_due_ms().unwrap_or_default() - SystemClock.now_ms();
        let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or_default());
        plan.sleep(wait.max(pause)).await;
    }
}

/// How long to wait at least after a tick. One that fails before it has asked a home, because its
/// spool cannot be used, leaves its slots due, so the next one would follow at once. `before`: the
/// wait after the tick before it.
fn pause_after(report: &Report, before: Duration) -> Duration {
    let did_nothing = report.scrapes.is_empty() && report.reads.is_empty();
    if report.outcome == Outcome::Failed && did_nothing {
        (before * 2).clamp(Duration::from_secs(1), Duration::from_secs(60))
    } else {
        Duration::ZERO
    }
}

/// Asks the ticks to stop after `duration` or at a signal. Returns when their time to stop is over,
/// or at a second signal.
async fn watch_signals(duration: Option<Duration>, stop: watch::Sender<bool>) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = tokio::time::sleep(duration.unwrap_or(Duration::MAX)) => {}
    }
    // Sending fails only when the ticks have ended.
    let _ = stop.send(true);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = tokio::time::sleep(STOP_TIMEOUT) => {}
    }
}

/// A status line that changes. It is hidden with `json` and without a terminal.
fn status_line(json: bool) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::new_spinner().with_style(style)
}

/// Redraws the status line until it is dropped.
async fn redraw(bar: &ProgressBar, live: &TickProgress) -> Infallible {
    let mut often = tokio::time::interval(Duration::from_millis(500));
    loop {
        often.tick().await;
        bar.set_message(progress(live));
        bar.tick();
    }
}

/// What the ticks have done so far, in one line.
fn progress(live: &TickProgress) -> String {
    let ((scrapes, failed), (scraped, written)) = (live.scrapes(), live.samples());
    let failed = if failed > 0 {
        format!(" ({failed} failed)")
    } else {
        String::new()
    };
    let lag = live
        .newest_ms()
        .map(|newest| {
            format!(
                ", lag {:.1} s",
                SystemClock.now_ms().saturating_sub(newest) as f64 / 1000.0
            )
        })
        .unwrap_or_default();
    let scrapes = many(scrapes, "scrape");
    let (scraped, written) = (count(scraped), count(written));
    format!("{scrapes}{failed}, {scraped} samples scraped, {written} written{lag}")
}

/// Says which backlogs belong to no remote of the configuration: they make each tick partial, and
/// nothing else would say why. Returns whether there are some.
fn tell_orphans(report: &Report) -> bool {
    let orphans = report
        .incidents
        .iter()
        .filter(|incident| incident.kind == IncidentKind::BacklogOrphaned);
    let told = orphans.map(|orphan| tracing::warn!("{}", orphan.text));
    told.count() > 0
}

/// Prints a tick's report as JSON, or logs it in one line.
fn print_report(report: &Report, json: bool) {
    if json {
        say_json(serde_json::json!(report));
        return;
    }
    let (written, unchanged) = (report.ledger.written, report.ledger.unchanged);
    tracing::info!(
        outcome = ?report.outcome,
        scrapes = report.scrapes.len(),
        written,
        unchanged,
        owed = report.ledger.owed_after,
        "tick"
    );
}

/// The ledger in one line, without the counts that are zero.
fn summary(ledger: &Ledger) -> String {
    let counts = [
        ("written", ledger.written),
        ("unchanged", ledger.unchanged),
        ("filtered", ledger.filtered),
        ("rolled back", ledger.rolled_back),
        ("deduplicated", ledger.deduplicated),
        ("repeated", ledger.repeated),
        ("rejected", ledger.rejected),
        ("expired", ledger.expired),
        ("lost", ledger.lost),
        (
            "still owed (in the spool: the next run sends them first)",
            ledger.owed_after,
        ),
    ];
    let counts: Vec<_> = counts
        .iter()
        .filter(|(_, number)| *number > 0)
        .map(|(name, number)| format!("{} {name}", count(*number)))
        .collect();
    let balance = if ledger.balances() {
        ""
    } else {
        " (the ledger does not balance: this is a bug)"
    };
    let samples = many(ledger.entered(), "sample");
    if counts.is_empty() {
        return format!("{samples}{balance}");
    }
    format!("{samples}: {}{balance}", counts.join(", "))
}
