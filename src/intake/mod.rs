//! From a sample to the batches of each remote: what every source of samples ends in.
//!
//! A source (`scrape`) shows samples to a [`Sink`]. [`Intake`] is that sink. It works in two steps,
//! each in a file of its own:
//!
//! 1. `rules`: what Prometheus' scrape loop makes of a sample (`scrape/scrape.go` `append`,
//!    `mutateSampleLabels`): the target's labels, `metric_relabel_configs`, limits, timestamps.
//! 2. `fan_out`: what each remote makes of it: external labels, `write_relabel_configs`, the
//!    remote's cache of series and its writer.
//!
//! A source of windows shows all samples of a series at once, to a [`WindowSink`]: see `window`.
//!
//! [`IntakeTransaction`] holds both for one scrape: all of its samples are committed, or none.

mod fan_out;
pub mod histogram_limits;
mod label_limits;
mod label_sets;
mod report;
mod rules;
mod sink;
mod trace;
mod transaction;
mod window;

use std::cell::RefCell;

use self::fan_out::{FanOut, FoundSeries};
pub use self::histogram_limits::HistogramLimits;
use self::histogram_limits::validate;
pub use self::label_sets::{label_sets, report_label_sets};
pub use self::report::SourceReport;
use self::rules::{Admission, relabelled};
pub use self::rules::{IntakeRules, MAX_AHEAD_MS, Tally};
pub use self::sink::{ExposedSample, Refusal, Sink};
pub use self::trace::{RemoteTrace, SeriesTrace, TraceEnd, trace_series};
pub use self::transaction::{IntakeTransaction, RemoteCommit};
pub use self::window::WindowSink;
pub use crate::batch::SeriesWindow;
use crate::batch::{StagedScrape, Writer};
use crate::prompb::{TimedValue, Value};
use crate::series::cache::SeriesKey;
use crate::series::labels::NAME;
use crate::series::{ExposedLabel, Labels};

/// Takes the samples of one scrape into the batches of all remotes.
pub struct Intake<'a> {
    admission: Admission<'a>,
    fan_out: FanOut<'a>,
}

impl<'a> Intake<'a> {
    /// Borrows the writers for as long as one block is parsed. `staged` and the rules' remotes are
    /// in the order of the writers.
    pub fn new(
        rules: IntakeRules<'a>,
        writers: &'a [RefCell<Writer>],
        staged: &'a mut [StagedScrape],
        tally: &'a mut Tally,
    ) -> Self {
        Self {
            admission: Admission { rules, tally },
            fan_out: FanOut::new(writers, staged, rules.remotes),
        }
    }

    fn key(&self, raw: &[u8]) -> SeriesKey {
        SeriesKey::new(self.admission.rules.target.id, raw)
    }

    /// Takes a sample that reports on the scrape itself, such as `up`. Its labels are the target's
    /// alone (`scrape/scrape.go` `mutateReportSampleLabels`), and the tally does not count it.
    ///
    /// # Errors
    /// [`Refusal`] when relabelling made the series too large; the scrape is then rolled back.
    pub fn report(&mut self, name: &'static str, value: f64) -> Result<(), Refusal> {
        // No exposition holds this byte, so a report is never taken for a series of the target.
        let raw = [b"\xff", name.as_bytes()].concat();
        let key = self.key(&raw);
        if self.fan_out.find(key).is_none() {
            let mut labels = Labels::default();
            labels.set(NAME, name);
            for (name, value) in &self.admission.rules.target.labels {
                labels.set(name.as_str(), value.as_str());
            }
            let external_labels = self.admission.rules.external_labels;
            self.fan_out.insert(key, labels, external_labels, false)?;
        }
        let Some(series) = self.fan_out.find(key) else {
            return Ok(());
        };
        let mut uncounted = *self.admission.tally;
        let mut admission = Admission {
            rules: self.admission.rules,
            tally: &mut uncounted,
        };
        admission.rules.limits.samples = 0;
        let sample = ExposedSample {
            series: &raw,
            value: value.into(),
            timestamp_ms: None,
        };
        take(&mut admission, series, &sample, false)
    }
}

/// Takes a sample of a series that every remote knows. `tracked`: the series gets a stale marker
/// when its target no longer shows it.
fn take(
    admission: &mut Admission<'_>,
    series: FoundSeries<'_, '_>,
    sample: &ExposedSample<'_>,
    tracked: bool,
) -> Result<(), Refusal> {
    let series = series.touch();
    let coarser = match sample.value {
        Value::Float(_) => Ok(None),
        Value::Histogram(histogram) => admission.rules.histogram_limits.apply(histogram),
    };
    let Some(timestamp_ms) = admission.admit(sample, series.is_repeated(), coarser.is_err()) else {
        series.refuse();
        return Ok(());
    };
    let value = match &coarser {
        Ok(Some(coarser)) => Value::Histogram(coarser),
        _ => sample.value,
    };
    if let Value::Histogram(histogram) = value
        && let Err(cause) = validate(histogram)
    {
        // The TSDB refuses the histogram, and that ends the scrape (scrape/scrape.go
        // checkAddError).
        admission.tally.post_relabel -= 1;
        return Err(Refusal(format!("invalid native histogram: {cause}")));
    }
    let new = series.take(
        sample.series,
        TimedValue {
            value,
            timestamp_ms,
        },
        tracked,
    )?;
    admission.tally.series_added += u64::from(new && !admission.tally.over_buckets);
    Ok(())
}

/// Whether the raw bytes of a series hold a newline. Prometheus takes newlines in label values, but
/// such a series must never be expected: its line's end has to be searched for, or nobody could say
/// on which line an error is.
fn has_newline(sample: &ExposedSample<'_>) -> bool {
    memchr::memchr(b'\n', sample.series).is_some()
}

impl Sink for Intake<'_> {
    #[inline]
    fn expected(&self) -> Option<usize> {
        self.fan_out.expected()
    }

    #[inline]
    fn known(&mut self, sample: &ExposedSample<'_>) -> Result<bool, Refusal> {
        let key = self.key(sample.series);
        let Some(series) = self.fan_out.find(key) else {
            return Ok(false);
        };
        if series.is_unwanted() {
            self.admission.pass_over();
            series.touch().refuse();
            return Ok(true);
        }
        let tracked = self.admission.is_tracked(sample);
        if tracked && !series.is_trackable() {
            return Ok(false);
        }
        take(&mut self.admission, series, sample, tracked)?;
        Ok(true)
    }

    fn resolved(
        &mut self,
        sample: &ExposedSample<'_>,
        labels: &[ExposedLabel<'_>],
    ) -> Result<(), Refusal> {
        let rules = self.admission.rules;
        let key = self.key(sample.series);
        let labels = Labels::exposed(labels).within(sample.series);
        let labels = rules::add_target_labels(labels, rules);
        let Some(labels) = relabelled(rules.metric_relabel, labels)
            .inspect_err(|_| self.admission.tally.scraped += 1)?
        else {
            self.admission.pass_over();
            let mut series = self.fan_out.insert_unwanted(key);
            if has_newline(sample) {
                series.never_expect();
            }
            series.touch().refuse();
            return Ok(());
        };
        label_limits::check(&labels, rules.validation, &rules.limits)
            .inspect_err(|_| self.admission.tally.scraped += 1)?;
        if let Some(name) = labels.duplicate() {
            // Prometheus finds a duplicate only when it stores the sample, so a sample that was
            // dropped before is no error (scrape/target.go limitAppender, timeLimitAppender).
            if self.admission.admit(sample, false, false).is_some() {
                self.admission.tally.post_relabel -= 1;
                return Err(Refusal(format!(
                    "label name \"{name}\" is not unique: invalid sample"
                )));
            }
            self.fan_out.refuse();
            return Ok(());
        }
        let tracked = self.admission.is_tracked(sample);
        let mut series = self
            .fan_out
            .insert(key, labels, rules.external_labels, tracked)?;
        if has_newline(sample) {
            series.never_expect();
        }
        take(&mut self.admission, series, sample, tracked)
    }

    fn unreadable(&mut self) {
        self.admission.tally.scraped += 1;
    }
}

#[cfg(test)]
mod tests;
