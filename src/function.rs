//! The Lambda function: an event in, the tick's report out.

use std::io::Write;
use std::time::Duration;

use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::check;
use crate::config::{Config, Problem, process_env};
use crate::event::{Event, EventAction, EventError};
use crate::report::{Outcome, Report, emf, logs};
use crate::setup::{self, SetupError};
use crate::spool::lease::LookError;
use crate::status::Status;
use crate::tick::{Forwarder, Plan};
use crate::time::{Clock, SystemClock};

/// The function between its invocations. The configuration is read by the first one: no network
/// belongs into the initialisation, which has ten seconds.
#[derive(Default)]
pub struct Function {
    ready: Option<Ready>,
}

struct Ready {
    config: Config,
    warnings: Vec<Problem>,
    forwarder: Forwarder,
}

/// A function error: its type is stable, so that alarms and callers can tell them apart.
#[derive(Debug, thiserror::Error)]
pub enum FunctionError {
    /// The configuration, or what it names, is not usable.
    #[error("{0}")]
    Setup(#[from] SetupError),
    /// The event is not understood.
    #[error("{0}")]
    Event(#[from] EventError),
    /// A job that the configuration does not have.
    #[error("unknown job {0}; the configuration has: {1}")]
    UnknownJob(String, String),
    /// The spool cannot be looked into.
    #[error(transparent)]
    Spool(#[from] LookError),
    /// The tick failed: its report.
    #[error("{0}")]
    Tick(String),
}

impl From<FunctionError> for Diagnostic {
    fn from(error: FunctionError) -> Self {
        let error_type = match &error {
            FunctionError::Setup(
                SetupError::Config(_)
                | SetupError::Source(_)
                | SetupError::S3(_)
                | SetupError::Spool(_),
            ) => "ConfigurationError",
            FunctionError::Setup(_) => "SetupError",
            FunctionError::Event(_) | FunctionError::UnknownJob(..) => "EventError",
            FunctionError::Spool(_) => "SpoolError",
            FunctionError::Tick(_) => "TickFailed",
        };
        Self {
            error_type: error_type.to_owned(),
            error_message: error.to_string(),
        }
    }
}

impl Function {
    /// Serves one invocation.
    ///
    /// # Errors
    /// [`FunctionError`] is a function error.
    pub async fn handle(&mut self, event: LambdaEvent<Value>) -> Result<Value, FunctionError> {
        let arrived = Instant::now();
        let deadline = arrived + left(event.context.deadline, SystemClock.now_ms());
        let request = Event::parse(&event.payload)?;
        let ready = self
            .ready()
            .await
            .inspect_err(|error| tracing::error!("{error}"))?;
        if let Some(unknown) = request
            .jobs
            .as_ref()
            .and_then(|jobs| ready.forwarder.unknown_jobs(jobs).into_iter().next())
        {
            let known: Vec<_> = ready
                .config
                .scrape_configs
                .iter()
                .map(|job| job.job_name.as_str())
                .collect();
            return Err(FunctionError::UnknownJob(unknown, known.join(", ")));
        }
        let plan = Plan {
            deadline: Some(deadline),
            once: request.by_hand,
            jobs: request.jobs,
            drain_only: request.action == EventAction::Drain,
            ..Plan::default()
        };
        match request.action {
            EventAction::Check => ready.check().await,
            EventAction::Status => ready.status().await,
            EventAction::Forward | EventAction::Drain if request.dry_run => {
                ready.answer(&ready.forwarder.dry_run(&plan).await)
            }
            EventAction::Forward | EventAction::Drain => {
                let report = ready.forwarder.tick(&plan).await;
                ready.publish(&report, &event.context.env_config.function_name);
                ready.answer(&report)
            }
        }
    }

    async fn ready(&mut self) -> Result<&mut Ready, SetupError> {
        let ready = match self.ready.take() {
            Some(ready) => ready,
            None => {
                let loaded = setup::load(None).await?;
                for warning in &loaded.warnings {
                    tracing::warn!("configuration: {warning}");
                }
                let forwarder = setup::forwarder(loaded.config.clone()).await?;
                Ready {
                    config: loaded.config,
                    warnings: loaded.warnings,
                    forwarder,
                }
            }
        };
        Ok(self.ready.insert(ready))
    }
}

impl Ready {
    async fn check(&self) -> Result<Value, FunctionError> {
        let mut findings = check::warnings(&self.warnings);
        findings.extend(setup::check_online(&self.config).await?);
        let ok = findings.iter().all(|finding| finding.ok);
        Ok(json!({"ok": ok, "findings": findings}))
    }

    /// What the spool tells is newer than what a process remembers: another one may have been at
    /// work.
    async fn status(&self) -> Result<Value, FunctionError> {
        let store = setup::store(&self.config).await?;
        Ok(json!(
            Status::look(&self.config, &*store, SystemClock.now_ms()).await?
        ))
    }

    /// `failed` is a function error, so that alarms see it.
    fn answer(&self, report: &Report) -> Result<Value, FunctionError> {
        let told = json!(report);
        if report.outcome == Outcome::Failed {
            Err(FunctionError::Tick(told.to_string()))
        } else {
            Ok(told)
        }
    }

    fn publish(&self, report: &Report, function: &str) {
        if !report.ledger.balances() {
            tracing::error!(ledger = ?report.ledger, "the ledger does not balance: this is a bug");
        }
        let ledger = &report.ledger;
        tracing::info!(
            outcome = ?report.outcome,
            scrapes = report.scrapes.len(),
            scraped = ledger.scraped,
            written = ledger.written,
            unchanged = ledger.unchanged,
            rejected = ledger.rejected,
            expired = ledger.expired,
            lost = ledger.lost,
            owed = ledger.owed_after,
            send_ms = report.remotes.iter().map(|remote| remote.send_ms).max(),
            duration_ms = report.duration_ms,
            "tick"
        );
        let metrics = &self.config.forwarder.metrics;
        // A busy tick did nothing: as a data point without a failure it would hide that nobody
        // does.
        if metrics.enabled && report.outcome != Outcome::Busy {
            let line = emf::line(
                report,
                &metrics.namespace,
                function,
                &logs::level_name(&process_env),
                SystemClock.now_ms(),
            );
            // CloudWatch takes the line from standard output; there is nobody to tell if that is
            // closed.
            let _ = writeln!(std::io::stdout().lock(), "{line}");
        }
    }
}

/// What is left until a deadline, milliseconds since 1970. cargo-lambda's emulator gives the time
/// limit itself in its place (`lambda-runtime-deadline-ms: 600000`).
fn left(deadline_ms: u64, now_ms: i64) -> Duration {
    const YEAR_2001_MS: u64 = 1_000_000_000_000;
    let now_ms = u64::try_from(now_ms).unwrap_or_default();
    Duration::from_millis(if deadline_ms < YEAR_2001_MS {
        deadline_ms
    } else {
        deadline_ms.saturating_sub(now_ms)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_a_moment_or_the_emulators_limit() {
        let now_ms = 1_795_364_845_808;
        assert_eq!(
            left(now_ms as u64 + 1_500, now_ms),
            Duration::from_millis(1_500)
        );
        assert_eq!(left(now_ms as u64 - 1, now_ms), Duration::ZERO);
        assert_eq!(left(600_000, now_ms), Duration::from_secs(600));
    }
}
