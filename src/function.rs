//! The Lambda function: it takes an event and answers with the report of a tick.

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
use crate::time::{Clock, SystemClock, millis};
use crate::verify::{SampleVerifier, VerifyError, VerifyRequest};

/// Age from which samples are compared: what is younger may still be on its way.
const VERIFY_SETTLED: Duration = Duration::from_secs(5 * 60);

/// Time that is left for the last window of a verification, besides `deadline_margin`.
const VERIFY_MARGIN: Duration = Duration::from_secs(15);

/// Time for which a verification keeps an unused connection to the home.
const VERIFY_IDLE: Duration = Duration::from_secs(50);

/// The function between its invocations. The first invocation reads the configuration: network
/// calls do not belong in the initialisation, which has ten seconds.
#[derive(Default)]
pub struct Function {
    ready: Option<Ready>,
}

/// The state that the first invocation makes and that later ones use again.
struct Ready {
    config: Config,
    warnings: Vec<Problem>,
    forwarder: Forwarder,
}

/// An error of the function. Its type in the answer is stable, so that alarms and callers can
/// distinguish the errors.
#[derive(Debug, thiserror::Error)]
pub enum FunctionError {
    /// The configuration, or something that it names, is not usable.
    #[error("{0}")]
    Setup(#[from] SetupError),
    /// The event is not valid.
    #[error("{0}")]
    Event(#[from] EventError),
    /// The event names a job that the configuration does not have. The second field lists the jobs
    /// that it has.
    #[error("unknown job {0}; the configuration has: {1}")]
    UnknownJob(String, String),
    /// The spool cannot be read.
    #[error(transparent)]
    Spool(#[from] LookError),
    /// The home and the remotes could not be compared.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The tick failed. The text is its report in JSON.
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
            FunctionError::Verify(_) => "VerifyFailed",
            FunctionError::Tick(_) => "TickFailed",
        };
        Self {
            error_type: error_type.to_owned(),
            error_message: error.to_string(),
        }
    }
}

impl Function {
    /// Serves one invocation and returns its answer in JSON.
    ///
    /// # Errors
    /// Fails when the event or the configuration is not valid, when the spool cannot be read for a
    /// status, and when the tick failed. Lambda counts each of these as an error of the function.
    pub async fn handle(&mut self, event: LambdaEvent<Value>) -> Result<Value, FunctionError> {
        let arrived = Instant::now();
        let deadline = arrived + left(event.context.deadline, SystemClock.now_ms());
        let request = Event::parse(&event.payload)?;
        let mut ready = self
            .take_ready()
            .await
            .inspect_err(|error| tracing::error!("{error}"))?;
        let function = &event.context.env_config.function_name;
        let answer = ready.serve(request, deadline, function).await;
        self.ready = Some(ready);
        answer
    }

    /// Takes the state of the process, and makes it if there is none. The caller puts it back when
    /// the invocation has ended. A panic, which the runtime catches, leaves none behind: what it
    /// left half done must not be used by the next invocation. After a failure to make the state,
    /// the next invocation tries again.
    async fn take_ready(&mut self) -> Result<Ready, SetupError> {
        if let Some(ready) = self.ready.take() {
            return Ok(ready);
        }
        let loaded = setup::load(None).await?;
        for warning in &loaded.warnings {
            tracing::warn!("configuration: {warning}");
        }
        let forwarder = setup::forwarder(loaded.config.clone()).await?;
        Ok(Ready {
            config: loaded.config,
            warnings: loaded.warnings,
            forwarder,
        })
    }
}

impl Ready {
    /// Serves one invocation that ends at `deadline`.
    async fn serve(
        &mut self,
        request: Event,
        deadline: Instant,
        function: &str,
    ) -> Result<Value, FunctionError> {
        if let Some(unknown) = request
            .jobs
            .as_ref()
            .and_then(|jobs| self.forwarder.unknown_jobs(jobs).into_iter().next())
        {
            let known: Vec<_> = self
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
            EventAction::Check => self.check().await,
            EventAction::Status => self.status().await,
            EventAction::Verify => self.verify(&plan, request.last, function).await,
            EventAction::Forward | EventAction::Drain if request.dry_run => {
                self.answer(&self.forwarder.dry_run(&plan).await)
            }
            EventAction::Forward | EventAction::Drain => {
                let report = self.forwarder.tick(&plan).await;
                self.publish(&report, function);
                self.answer(&report)
            }
        }
    }

    /// Checks the configuration, the homes and the remotes.
    async fn check(&self) -> Result<Value, FunctionError> {
        let mut findings = check::warnings(&self.warnings);
        findings.extend(setup::check_online(&self.config).await?);
        let ok = findings.iter().all(|finding| finding.ok);
        Ok(json!({"ok": ok, "findings": findings}))
    }

    /// Reads the status from the spool rather than from this process, because another process may
    /// have run since.
    async fn status(&self) -> Result<Value, FunctionError> {
        let store = setup::store(&self.config).await?;
        Ok(json!(
            Status::look(&self.config, &*store, SystemClock.now_ms()).await?
        ))
    }

    /// Compares the home with the remotes, as far as there is time, and writes the metric
    /// `Completeness`.
    async fn verify(
        &self,
        plan: &Plan,
        last: Duration,
        function: &str,
    ) -> Result<Value, FunctionError> {
        let config = &self.config;
        let margin = config.forwarder.deadline_margin;
        let deadline = plan.deadline.map(|deadline| {
            deadline
                .checked_sub(margin + VERIFY_MARGIN)
                .unwrap_or(deadline)
        });
        let end_ms = SystemClock.now_ms() - millis(VERIFY_SETTLED);
        let request = VerifyRequest {
            range: end_ms - millis(last) + 1..=end_ms,
            jobs: plan.jobs.clone(),
            deadline,
            examples: 0,
            max_bytes: setup::memory_limit(config) / 4,
        };
        let home = setup::home(config, VERIFY_IDLE);
        let remotes = setup::remote_ends(config, None).await?;
        let report = SampleVerifier::new(config, &home, remotes)
            .verify(&request, &mut |_| {})
            .await?;
        let metrics = &config.forwarder.metrics;
        if metrics.enabled
            && let Some(completeness) = report.completeness
        {
            let line = emf::completeness_line(
                completeness,
                &metrics.namespace,
                function,
                &logs::level_name(&process_env),
                SystemClock.now_ms(),
            );
            let _ = writeln!(std::io::stdout().lock(), "{line}");
        }
        if !report.ok {
            tracing::warn!(report = %json!(report), "the remotes lack samples of the home");
        }
        Ok(json!(report))
    }

    /// Makes the answer of a report. The outcome `failed` becomes an error of the function, so that
    /// alarms notice it.
    fn answer(&self, report: &Report) -> Result<Value, FunctionError> {
        let answer = json!(report);
        if report.outcome == Outcome::Failed {
            Err(FunctionError::Tick(answer.to_string()))
        } else {
            Ok(answer)
        }
    }

    /// Logs the report and writes its metrics.
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
        // A busy tick did nothing. Its data point would show no failure, and would hide that
        // samples no longer arrive.
        if metrics.enabled && report.outcome != Outcome::Busy {
            let line = emf::line(
                report,
                &metrics.namespace,
                function,
                &logs::level_name(&process_env),
                SystemClock.now_ms(),
            );
            // CloudWatch reads the line from standard output. If that is closed, there is no place
            // to report it.
            let _ = writeln!(std::io::stdout().lock(), "{line}");
        }
    }
}

/// Returns the time left until a deadline, which is in milliseconds since 1970. The emulator of
/// cargo-lambda sends the time limit in its place (`lambda-runtime-deadline-ms: 600000`).
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
    use std::panic::AssertUnwindSafe;
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;
    use lambda_runtime::Context;

    use super::*;
    use crate::home::{Home, HomeRequest, HomeResponse};
    use crate::net::NetError;
    use crate::tick::Dependencies;

    /// A home whose client has a bug.
    struct PanickingHome;

    impl Home for PanickingHome {
        fn send<'a>(&'a self, _: HomeRequest<'a>) -> BoxFuture<'a, Result<HomeResponse, NetError>> {
            panic!("a bug")
        }
    }

    fn ready_to_panic() -> Ready {
        let yaml = "
scrape_configs:
- {job_name: a, scrape_interval: 60s, static_configs: [{targets: ['home:9090']}]}
remote_write: [{url: 'https://amp.example/api/v1/remote_write'}]
";
        let config = Config::load(yaml, &|_| None, "test").unwrap().config;
        let dependencies = Dependencies {
            home: Box::new(PanickingHome),
            remotes: Vec::new(),
            clock: Arc::new(SystemClock),
            rng: fastrand::Rng::with_seed(1),
            store: None,
        };
        Ready {
            forwarder: Forwarder::new(config.clone(), dependencies, 1 << 20).unwrap(),
            config,
            warnings: Vec::new(),
        }
    }

    /// The runtime catches a panic and goes on with the same function. What the panic left half done
    /// must not serve the next invocation: it scraped nothing, and said that all was well.
    #[tokio::test]
    async fn a_panic_leaves_nothing_for_the_next_invocation() {
        let mut function = Function {
            ready: Some(ready_to_panic()),
        };
        let event = |payload| {
            let mut context = Context::default();
            context.deadline = 60_000;
            LambdaEvent::new(payload, context)
        };
        let unknown = function.handle(event(json!({"jobs": ["b"]}))).await;
        assert!(matches!(unknown, Err(FunctionError::UnknownJob(..))));
        assert!(function.ready.is_some(), "an error is no panic");
        let tick = AssertUnwindSafe(function.handle(event(json!({}))));
        assert!(tick.catch_unwind().await.is_err(), "the home panics");
        assert!(function.ready.is_none());
    }

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
