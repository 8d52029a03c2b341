//! What Prometheus' scrape loop makes of a sample (`scrape/scrape.go` `append`,
//! `mutateSampleLabels`): labels, limits and timestamps. Nothing here knows a remote.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::histogram_limits::HistogramLimits;
use super::sink::{ExposedSample, Refusal};
use crate::config::{NameValidation, RemoteWrite, ScrapeConfig, ScrapeLimits};
use crate::home::Target;
use crate::prompb::Value;
use crate::relabel::{self, Rule};
use crate::series::Labels;

/// Samples further ahead of the clock than this are dropped (`scrape/scrape.go` `maxAheadTime`).
pub const MAX_AHEAD_MS: i64 = 10 * 60 * 1000;

/// What the intake of one scrape must know of its job and of the remotes.
#[derive(Debug, Clone, Copy)]
pub struct IntakeRules<'a> {
    /// The target that is scraped.
    pub target: &'a Target,
    /// `honor_labels`.
    pub honor_labels: bool,
    /// `honor_timestamps`.
    pub honor_timestamps: bool,
    /// `track_timestamps_staleness`.
    pub track_timestamps_staleness: bool,
    /// `sample_limit`, `label_limit` and the like.
    pub limits: ScrapeLimits,
    /// `metric_name_validation_scheme`.
    pub validation: NameValidation,
    /// `metric_relabel_configs`.
    pub metric_relabel: &'a [Rule],
    /// The limits that native histograms are reduced to (`native_histogram_bucket_limit`,
    /// `native_histogram_min_bucket_factor`).
    pub histogram_limits: HistogramLimits,
    /// `external_labels`.
    pub external_labels: &'a BTreeMap<String, String>,
    /// The remotes in the order of the writers; their `write_relabel_configs` apply.
    pub remotes: &'a [RemoteWrite],
    /// Start of the scrape, milliseconds since 1970: the timestamp of samples that have none.
    pub start_ms: i64,
}

impl<'a> IntakeRules<'a> {
    /// What the configuration says of a target's samples, for a scrape that starts at `start_ms`.
    #[must_use]
    pub fn new(
        job: &'a ScrapeConfig,
        target: &'a Target,
        external_labels: &'a BTreeMap<String, String>,
        remotes: &'a [RemoteWrite],
        start_ms: i64,
    ) -> Self {
        Self {
            target,
            honor_labels: job.honor_labels,
            honor_timestamps: job.honor_timestamps,
            track_timestamps_staleness: job.track_timestamps_staleness,
            limits: job.limits,
            validation: job.naming.validation,
            metric_relabel: &job.metric_relabel_configs,
            histogram_limits: HistogramLimits::new(
                job.histograms.bucket_limit,
                job.histograms.min_bucket_factor,
            ),
            external_labels,
            remotes,
            start_ms,
        }
    }
}

/// What Prometheus reports about a scrape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Samples in the exposition.
    pub scraped: u64,
    /// Samples that `metric_relabel_configs` have left.
    pub post_relabel: u64,
    /// Series that the previous scrape did not show.
    pub series_added: u64,
    /// Samples that `sample_limit` counts: those that no earlier check has dropped.
    pub limited: u64,
    /// Whether a native histogram has more buckets than `native_histogram_bucket_limit` even at the
    /// coarsest resolution.
    pub over_buckets: bool,
    /// Samples that are further ahead of the clock than [`MAX_AHEAD_MS`]. None of them is taken.
    pub too_far_ahead: u64,
    /// Samples of a series that this scrape has shown before, without timestamps of their own.
    pub repeated: u64,
    /// Newest of the taken timestamps that are the source's own, milliseconds since 1970.
    pub newest_ms: Option<i64>,
}

/// Decides which samples of a scrape are taken, and counts them.
pub(super) struct Admission<'a> {
    pub(super) rules: IntakeRules<'a>,
    pub(super) tally: &'a mut Tally,
}

impl Admission<'_> {
    /// Counts a sample, and gives its timestamp unless the sample is dropped. `repeated`: this
    /// scrape has shown its series before. `over_buckets`: it is a native histogram above its
    /// limit.
    pub(super) fn admit(
        &mut self,
        sample: &ExposedSample<'_>,
        repeated: bool,
        over_buckets: bool,
    ) -> Option<i64> {
        self.tally.scraped += 1;
        self.tally.post_relabel += 1;
        let explicit = sample.timestamp_ms.filter(|_| self.rules.honor_timestamps);
        if repeated && explicit.is_none() {
            // It is a duplicate whatever came before, and not even the limit counts it
            // (scrape/scrape.go append).
            self.tally.repeated += 1;
            return None;
        }
        // Prometheus looks at the buckets before sample_limit counts (scrape/scrape.go appender).
        if over_buckets {
            self.tally.over_buckets = true;
            return None;
        }
        let timestamp_ms = explicit.unwrap_or(self.rules.start_ms);
        // Only floats are limited in number: limitAppender (scrape/target.go) has no
        // AppendHistogram.
        if matches!(sample.value, Value::Float(_)) {
            self.tally.limited += 1;
            if self.rules.limits.samples > 0 && self.tally.limited > self.rules.limits.samples {
                return None;
            }
        }
        // timeLimitAppender (scrape/target.go) has no AppendHistogram, either. A histogram of the
        // far future would shut out all later samples of its series, so it is kept out here.
        if timestamp_ms > self.rules.start_ms.saturating_add(MAX_AHEAD_MS) {
            self.tally.too_far_ahead += 1;
            return None;
        }
        self.tally.newest_ms = self.tally.newest_ms.max(explicit);
        Some(timestamp_ms)
    }

    /// Counts a sample of a series that `metric_relabel_configs` drop. No limit counts it
    /// (`scrape/scrape.go` `append`).
    pub(super) fn pass_over(&mut self) {
        self.tally.scraped += 1;
    }

    /// Whether the series gets a stale marker when its target no longer shows it.
    #[inline]
    pub(super) fn is_tracked(&self, sample: &ExposedSample<'_>) -> bool {
        sample.timestamp_ms.is_none()
            || !self.rules.honor_timestamps
            || self.rules.track_timestamps_staleness
    }
}

/// The label set that relabelling leaves, unless it drops the series.
///
/// # Errors
/// [`Refusal`] when the rules made the label set too large.
pub(super) fn relabelled<'a>(
    rules: &[Rule],
    mut labels: Labels<'a>,
) -> Result<Option<Labels<'a>>, Refusal> {
    let stays = relabel::apply(rules, &mut labels).map_err(|error| Refusal(error.to_string()))?;
    labels.finish();
    Ok((stays && !labels.is_empty()).then_some(labels))
}

/// Adds the target's labels, and resolves conflicts with exposed ones as `honor_labels` says
/// (`scrape/scrape.go` `mutateSampleLabels`, `resolveConflictingExposedLabels`).
pub(super) fn add_target_labels<'a>(mut labels: Labels<'a>, rules: IntakeRules<'a>) -> Labels<'a> {
    let target = &rules.target.labels;
    if rules.honor_labels {
        // An exposed label that is empty counts as present here, although it is dropped afterwards.
        let absent: Vec<_> = target
            .iter()
            .filter(|(name, _)| labels.find(name).is_none())
            .collect();
        labels.drop_emptied();
        for (name, value) in absent {
            labels.set(name.as_str(), value.as_str());
        }
        return labels;
    }
    let mut exported: Vec<_> = target
        .iter()
        .filter_map(|(name, _)| labels.find(name))
        .filter(|label| !label.value.is_empty())
        .cloned()
        .collect();
    labels.drop_emptied();
    for (name, value) in target {
        labels.set(name.as_str(), value.as_str());
    }
    exported.sort_by_key(|label| label.name.len());
    for label in exported {
        let mut name = format!("exported_{}", label.name);
        while !labels.get(&name).is_empty() {
            name.insert_str(0, "exported_");
        }
        labels.set_moved(Cow::Owned(name), label);
    }
    labels
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::home::JobId;
    use crate::prompb::messages::Histogram;
    use crate::series::TargetId;

    #[test]
    fn what_is_too_far_ahead_is_counted_and_never_taken() {
        const NOW_MS: i64 = 1_795_176_000_000;
        let target = Target {
            id: TargetId(0),
            job: JobId(0),
            url: Ok("http://h:1/".parse().unwrap()),
            labels: Vec::new(),
            scrape_timeout: Duration::from_secs(10),
            siblings: 1,
        };
        let rules = IntakeRules {
            target: &target,
            honor_labels: true,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            limits: ScrapeLimits::default(),
            validation: NameValidation::Utf8,
            metric_relabel: &[],
            histogram_limits: HistogramLimits::default(),
            external_labels: &BTreeMap::new(),
            remotes: &[],
            start_ms: NOW_MS,
        };
        let mut tally = Tally::default();
        let mut admission = Admission {
            rules,
            tally: &mut tally,
        };
        let histogram = Histogram::default();
        let latest_ms = NOW_MS + MAX_AHEAD_MS;
        for (value, timestamp_ms, taken) in [
            (Value::Float(1.0), None, Some(NOW_MS)),
            (Value::Float(1.0), Some(latest_ms + 1), None),
            // A histogram that is taken would shut out all that come after it.
            (Value::Histogram(&histogram), Some(latest_ms + 1), None),
            (
                Value::Histogram(&histogram),
                Some(NOW_MS - 7),
                Some(NOW_MS - 7),
            ),
            (Value::Float(1.0), Some(NOW_MS - 9), Some(NOW_MS - 9)),
        ] {
            let sample = ExposedSample {
                series: b"a",
                value,
                timestamp_ms,
            };
            assert_eq!(
                admission.admit(&sample, false, false),
                taken,
                "{timestamp_ms:?}"
            );
        }
        assert_eq!(tally.too_far_ahead, 2);
        assert_eq!(
            tally.newest_ms,
            Some(NOW_MS - 7),
            "our own time says nothing"
        );
    }
}
