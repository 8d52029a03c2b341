//! The state that the first invocation of a site makes and that later ones use again, and what
//! each invocation does with it.

use std::io::Write;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::error::FunctionError;
use crate::check;
use crate::config::{Config, Problem, SiteName, process_env};
use crate::event::{Event, EventAction};
use crate::report::emf::EmfLine;
use crate::report::{Outcome, Report, logs};
use crate::setup;
use crate::status::Status;
use crate::tick::{Forwarder, Neighbours, Plan};
use crate::time::{Clock, SystemClock, millis};
use crate::verify::{SampleVerifier, VerifyRequest};

/// Age from which samples are compared: what is younger may still be on its way.
const VERIFY_SETTLED: Duration = Duration::from_secs(5 * 60);

/// Time that is left for the last window of a verification, besides `deadline_margin`.
const VERIFY_MARGIN: Duration = Duration::from_secs(15);

/// Time for which a verification keeps an unused connection to the home.
const VERIFY_IDLE: Duration = Duration::from_secs(50);

/// A site's configuration is looked at again when it is older. One home's is not: `make config`
/// starts new processes.
const REREAD_AFTER: Duration = Duration::from_secs(5 * 60);

/// A configuration and the forwarder that is made of it.
pub(super) struct Ready {
    pub(super) config: Config,
    pub(super) warnings: Vec<Problem>,
    pub(super) forwarder: Forwarder,
    /// When the configuration was read, milliseconds since 1970. A monotonic clock may not count
    /// the time during which the sandbox is frozen.
    pub(super) read_ms: i64,
}

impl Ready {
    /// Bytes that are kept between two invocations, as far as `memory_limit` counts them.
    pub(super) fn kept_bytes(&self) -> usize {
        self.forwarder.kept_bytes()
    }

    /// Returns whether the configuration of a site is so old that it may have been changed since.
    /// A person who asks has perhaps just changed it.
    pub(super) fn is_doubtful(&self, by_hand: bool, now_ms: i64) -> bool {
        let age_ms = now_ms.saturating_sub(self.read_ms);
        self.config.site.is_some() && (by_hand || age_ms >= millis(REREAD_AFTER))
    }

    /// Serves one invocation that ends at `deadline`, beside other sites that make room for it.
    pub(super) async fn serve(
        &mut self,
        request: Event,
        deadline: Instant,
        function: &str,
        neighbours: Rc<dyn Neighbours>,
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
            // These weigh their memory without the other sites', and people start them.
            EventAction::Check => {
                neighbours.give_way(0);
                self.check().await
            }
            EventAction::Status => self.status().await,
            EventAction::Verify => {
                let limit = usize::try_from(setup::memory_limit(&self.config));
                neighbours.give_way(limit.unwrap_or(usize::MAX) / 4 * 3);
                self.verify(&plan, request.last, function).await
            }
            EventAction::Forward | EventAction::Drain if request.dry_run => {
                neighbours.give_way(0);
                self.answer(&self.forwarder.dry_run(&plan).await)
            }
            EventAction::Forward | EventAction::Drain => {
                self.forwarder.live_beside(Some(neighbours));
                let report = self.forwarder.tick(&plan).await;
                self.forwarder.live_beside(None);
                self.publish(&report, function);
                self.answer(&report)
            }
        }
    }

    /// The line of metrics that the configuration wants.
    fn emf_line<'a>(&'a self, function: &'a str, level: &'a str) -> EmfLine<'a> {
        let metrics = &self.config.forwarder.metrics;
        EmfLine {
            namespace: &metrics.namespace,
            function,
            level,
            site: self.config.site.as_ref().map(SiteName::as_str),
            per_site: metrics.per_site,
            now_ms: SystemClock.now_ms(),
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
            let level = logs::level_name(&process_env);
            print(&self.emf_line(function, &level).completeness(completeness));
        }
        if !report.ok {
            tracing::warn!(report = %json!(report), "the remotes lack samples of the home");
        }
        Ok(json!(report))
    }

    /// Makes the answer of a report. The outcome `failed` becomes an error of the function, so that
    /// alarms notice it.
    fn answer(&self, report: &Report) -> Result<Value, FunctionError> {
        let mut answer = json!(report);
        if let Some(site) = &self.config.site {
            answer["site"] = json!(site.as_str());
        }
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
            let level = logs::level_name(&process_env);
            print(&self.emf_line(function, &level).tick(report));
        }
    }
}

/// Writes a line of metrics to standard output, where CloudWatch reads it. If that is closed, there
/// is no place to report it.
pub(super) fn print(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
