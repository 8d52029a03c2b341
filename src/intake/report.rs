//! The series that report on a scrape, such as `up`.

use std::time::Duration;

use super::Refusal;
use super::transaction::IntakeTransaction;
use crate::config::ScrapeConfig;

/// What a source says of itself, beside its tally.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SourceReport {
    /// Whether the answer was taken.
    pub is_up: bool,
    /// Time from the request to the end of the answer.
    pub duration: Duration,
    /// Uncompressed bytes of the answer; −1 when they were too many.
    pub body_bytes: f64,
}

impl IntakeTransaction<'_> {
    /// Writes the series that report on a scrape or a window (`scrape/scrape.go` `report`): the
    /// last samples of the transaction.
    ///
    /// # Errors
    /// [`Refusal`] when a batch could not be compressed.
    pub fn report(&mut self, job: &ScrapeConfig, report: &SourceReport) -> Result<(), Refusal> {
        let tally = self.tally();
        let mut intake = self.intake();
        intake.report("up", f64::from(u8::from(report.is_up)))?;
        intake.report("scrape_duration_seconds", report.duration.as_secs_f64())?;
        intake.report("scrape_samples_scraped", tally.scraped as f64)?;
        intake.report(
            "scrape_samples_post_metric_relabeling",
            tally.post_relabel as f64,
        )?;
        intake.report("scrape_series_added", tally.series_added as f64)?;
        if job.extra_scrape_metrics {
            let timeout = job.scrape_timeout.as_secs_f64();
            intake.report("scrape_timeout_seconds", timeout)?;
            intake.report("scrape_sample_limit", job.limits.samples as f64)?;
            intake.report("scrape_body_size_bytes", report.body_bytes)?;
        }
        Ok(())
    }
}
