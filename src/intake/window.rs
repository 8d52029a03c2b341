//! The intake of windows: all samples of a series at once, as a TSDB hands them out.
//!
//! Labels go the way of exposed ones. What differs is that the samples were stored before:
//!
//! - Each has a timestamp, and it counts whatever `honor_timestamps` says.
//! - Many were sent before. They are counted as overlapped, and no limit counts them.
//! - One that cannot be taken costs none of its neighbours: native histograms that are invalid or
//!   beyond their limits, and samples too far ahead, are left out one by one. Reading them again
//!   would give them again, so they do not fail the window.
//! - `sample_limit` counts each series once, as a scrape shows it once.
//! - No series is tracked for a stale marker: the home's own markers are among its samples.

use std::borrow::Cow;

use super::fan_out::FoundSeries;
use super::histogram_limits::{HistogramLimits, validate};
use super::rules::{self, Admission, MAX_AHEAD_MS, relabelled};
use super::sink::Refusal;
use super::{Intake, label_limits};
use crate::batch::SeriesWindow;
use crate::prompb::TimedFloat;
use crate::prompb::messages::Histogram;
use crate::series::cache::SeriesKey;
use crate::series::{ExposedLabel, Labels};

/// Takes the windows of one read.
pub trait WindowSink {
    /// Takes the window if its series is known. The result says whether it did.
    ///
    /// # Errors
    /// A [`Refusal`] ends the source's work and fails the read.
    fn known_window(&mut self, window: &SeriesWindow<'_>) -> Result<bool, Refusal>;

    /// Takes the window of a series that [`WindowSink::known_window`] did not know. The metric name
    /// is the label `__name__`.
    ///
    /// # Errors
    /// A [`Refusal`] ends the source's work and fails the read.
    fn resolved_window(
        &mut self,
        window: &SeriesWindow<'_>,
        labels: &[ExposedLabel<'_>],
    ) -> Result<(), Refusal>;
}

impl WindowSink for Intake<'_> {
    fn known_window(&mut self, window: &SeriesWindow<'_>) -> Result<bool, Refusal> {
        let key = SeriesKey::new(self.admission.rules.target.id, window.series);
        let Some(series) = self.fan_out.find(key) else {
            return Ok(false);
        };
        take(&mut self.admission, series, window)?;
        Ok(true)
    }

    fn resolved_window(
        &mut self,
        window: &SeriesWindow<'_>,
        labels: &[ExposedLabel<'_>],
    ) -> Result<(), Refusal> {
        let rules = self.admission.rules;
        let key = SeriesKey::new(rules.target.id, window.series);
        let labels = Labels::exposed(labels).within(window.series);
        let labels = rules::add_target_labels(labels, rules);
        let mut series = match relabelled(rules.metric_relabel, labels)? {
            None => self.fan_out.insert_unwanted(key),
            Some(labels) => {
                label_limits::check(&labels, rules.validation, &rules.limits)?;
                if let Some(name) = labels.duplicate() {
                    return Err(Refusal(format!(
                        "label name \"{name}\" is not unique: invalid sample"
                    )));
                }
                self.fan_out
                    .insert(key, labels, rules.external_labels, false)?
            }
        };
        series.set_windowed();
        take(&mut self.admission, series, window)
    }
}

fn take(
    admission: &mut Admission<'_>,
    series: FoundSeries<'_, '_>,
    window: &SeriesWindow<'_>,
) -> Result<(), Refusal> {
    let is_unwanted = series.is_unwanted();
    let mut series = series.touch();
    let mut admitted = AdmittedWindow::new(window);
    let sent_ms = series.sent_ms(&admitted.window(window.series));
    let new = admitted.new_samples(sent_ms);
    if is_unwanted {
        admission.tally.scraped += new;
    } else if new > 0 {
        admission.admit_window(&mut admitted, sent_ms);
    }
    let is_new = series.take_window(&admitted.window(window.series), &admitted.refused)?;
    admission.tally.series_added += u64::from(is_new && !is_unwanted && new > 0);
    Ok(())
}

/// What is left of a window by the rules of the job.
struct AdmittedWindow<'a> {
    floats: Cow<'a, [TimedFloat]>,
    histograms: Cow<'a, [Histogram]>,
    /// Timestamps of the samples that were left out, milliseconds since 1970.
    refused: Vec<i64>,
}

impl<'a> AdmittedWindow<'a> {
    fn new(window: &SeriesWindow<'a>) -> Self {
        let mut admitted = Self {
            floats: Cow::Borrowed(window.floats),
            histograms: Cow::Borrowed(window.histograms),
            refused: Vec::new(),
        };
        // A home gives samples in the order of time. If one does not, the entry must all the same
        // be in order: a receiver that finds one bad timestamp drops the whole entry.
        if !window.floats.is_sorted_by_key(|float| float.timestamp_ms) {
            admitted
                .floats
                .to_mut()
                .sort_by_key(|float| float.timestamp_ms);
        }
        if !window
            .histograms
            .is_sorted_by_key(|histogram| histogram.timestamp)
        {
            let histograms = admitted.histograms.to_mut();
            histograms.sort_by_key(|histogram| histogram.timestamp);
        }
        admitted.drop_repeated();
        admitted
    }

    /// Leaves out second samples with one timestamp.
    fn drop_repeated(&mut self) {
        let is_twice = |pair: &[TimedFloat]| pair[0].timestamp_ms == pair[1].timestamp_ms;
        if self.floats.windows(2).any(is_twice) {
            let mut last_ms = None;
            retain(&mut self.floats, &mut self.refused, |float| {
                let at = float.timestamp_ms;
                (last_ms.replace(at) != Some(at), at)
            });
        }
        let is_twice = |pair: &[Histogram]| pair[0].timestamp == pair[1].timestamp;
        if self.histograms.windows(2).any(is_twice) {
            let mut last_ms = None;
            retain(&mut self.histograms, &mut self.refused, |histogram| {
                let at = histogram.timestamp;
                (last_ms.replace(at) != Some(at), at)
            });
        }
    }

    fn window<'w>(&'w self, series: &'w [u8]) -> SeriesWindow<'w> {
        SeriesWindow {
            series,
            floats: &self.floats,
            histograms: &self.histograms,
        }
    }

    /// Number of samples after this time, those that were left out included.
    fn new_samples(&self, sent_ms: i64) -> u64 {
        let refused = self.refused.iter().filter(|&&at| at > sent_ms).count();
        (self.window(&[]).after(sent_ms).len() + refused) as u64
    }
}

/// Leaves samples out. `stays` gives with its answer the sample's timestamp.
fn retain<T: Clone>(
    samples: &mut Cow<'_, [T]>,
    refused: &mut Vec<i64>,
    mut stays: impl FnMut(&T) -> (bool, i64),
) {
    samples.to_mut().retain(|sample| {
        let (stays, at) = stays(sample);
        if !stays {
            refused.push(at);
        }
        stays
    });
}

impl Admission<'_> {
    /// Leaves out what the job's rules do not admit of a window, and counts what is after
    /// `sent_ms`.
    fn admit_window(&mut self, admitted: &mut AdmittedWindow<'_>, sent_ms: i64) {
        self.tally.scraped += admitted.new_samples(sent_ms);
        let limits = self.rules.histogram_limits;
        let new = admitted.window(&[]).after(sent_ms);
        let has_floats = !new.floats.is_empty();
        let is_plain =
            |histogram| limits.apply(histogram) == Ok(None) && validate(histogram).is_ok();
        if !new.histograms.iter().all(is_plain) {
            self.admit_histograms(admitted, limits);
        }
        // Only floats are limited in number: limitAppender (scrape/target.go) has no
        // AppendHistogram.
        self.tally.limited += u64::from(has_floats);
        let most = self.rules.limits.samples;
        if has_floats && most > 0 && self.tally.limited > most {
            retain(&mut admitted.floats, &mut admitted.refused, |float| {
                (false, float.timestamp_ms)
            });
        }
        let refused_before = admitted.refused.len();
        let latest_ms = self.rules.start_ms.saturating_add(MAX_AHEAD_MS);
        let is_ahead = |newest_ms: Option<i64>| newest_ms.is_some_and(|at| at > latest_ms);
        if is_ahead(admitted.floats.last().map(|float| float.timestamp_ms)) {
            retain(&mut admitted.floats, &mut admitted.refused, |float| {
                (float.timestamp_ms <= latest_ms, float.timestamp_ms)
            });
        }
        if is_ahead(admitted.histograms.last().map(|last| last.timestamp)) {
            retain(
                &mut admitted.histograms,
                &mut admitted.refused,
                |histogram| (histogram.timestamp <= latest_ms, histogram.timestamp),
            );
        }
        self.tally.too_far_ahead += (admitted.refused.len() - refused_before) as u64;
        self.tally.post_relabel += admitted.window(&[]).after(sent_ms).len() as u64;
    }

    /// Brings histograms to the resolution that the limits leave, and leaves out those that cannot
    /// be brought to it, and those that a TSDB would refuse.
    fn admit_histograms(&mut self, admitted: &mut AdmittedWindow<'_>, limits: HistogramLimits) {
        for histogram in admitted.histograms.to_mut() {
            if let Ok(Some(coarser)) = limits.apply(histogram) {
                *histogram = coarser;
            }
        }
        let over_buckets = &mut self.tally.over_buckets;
        retain(
            &mut admitted.histograms,
            &mut admitted.refused,
            |histogram| {
                let is_over = limits.apply(histogram).is_err();
                *over_buckets |= is_over;
                (!is_over && validate(histogram).is_ok(), histogram.timestamp)
            },
        );
    }
}
