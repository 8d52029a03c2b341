//! Takes the samples of one scrape into the batches of each remote, by the rules of Prometheus'
//! scrape loop (`scrape/scrape.go` `append`, `mutateSampleLabels`).

use std::borrow::Cow;
use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;

pub mod histogram_limits;
mod label_limits;
mod sink;

pub use self::histogram_limits::HistogramLimits;
use self::histogram_limits::validate;
pub use self::sink::{Exposed, Refused, Sink};
use crate::batch::{Staged, Writer};
use crate::config::{NameValidation, RemoteWrite, ScrapeLimits};
use crate::home::Target;
use crate::prompb::Value;
use crate::relabel::{self, Rule};
use crate::series::cache::{Key, Seen};
use crate::series::labels::NAME;
use crate::series::{ExposedLabel, Labels, SeriesId};

/// Samples further ahead of the clock than this are dropped (`scrape/scrape.go` `maxAheadTime`).
const MAX_AHEAD_MS: i64 = 10 * 60 * 1000;

/// What one scrape must know of its job.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Where it comes from.
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
    /// What native histograms are coarsened to.
    pub histogram_limits: HistogramLimits,
    /// `external_labels`.
    pub external_labels: &'a BTreeMap<String, String>,
    /// Their `write_relabel_configs`, in the order of the writers.
    pub remotes: &'a [RemoteWrite],
    /// When the scrape started, milliseconds since 1970.
    pub start_ms: i64,
}

/// What Prometheus reports of a scrape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Samples exposed.
    pub scraped: u64,
    /// Of these, those left by `metric_relabel_configs`.
    pub post_relabel: u64,
    /// Series that the scrape before did not show.
    pub series_added: u64,
    /// Samples that `sample_limit` counts: those that were not dropped before it was looked at.
    pub limited: u64,
    /// A native histogram has more buckets than `native_histogram_bucket_limit`, however coarse.
    pub over_buckets: bool,
}

/// The scrape's side of all remotes.
pub struct Intake<'a> {
    rules: Rules<'a>,
    writers: Vec<RefMut<'a, Writer>>,
    staged: &'a mut [Staged],
    tally: &'a mut Tally,
    /// Where the sample's series stands in each writer's cache.
    found: Vec<SeriesId>,
}

impl<'a> Intake<'a> {
    /// Borrows the writers for as long as one block is parsed.
    pub fn new(
        rules: Rules<'a>,
        writers: &'a [RefCell<Writer>],
        staged: &'a mut [Staged],
        tally: &'a mut Tally,
    ) -> Self {
        let writers = writers.iter().map(RefCell::borrow_mut).collect::<Vec<_>>();
        let found = Vec::with_capacity(writers.len());
        Self {
            rules,
            writers,
            staged,
            tally,
            found,
        }
    }

    fn find(&mut self, key: Key) -> bool {
        self.found.clear();
        for writer in &mut self.writers {
            match writer.find(key) {
                Some(series) => self.found.push(series),
                None => return false,
            }
        }
        true
    }

    /// Counts a sample, and gives its timestamp unless it is dropped. `again`: its series was in
    /// this scrape before. `over_buckets`: it is a native histogram above its limit.
    fn admit(&mut self, sample: &Exposed<'_>, again: bool, over_buckets: bool) -> Option<i64> {
        self.tally.scraped += 1;
        self.tally.post_relabel += 1;
        let explicit = sample.timestamp_ms.filter(|_| self.rules.honor_timestamps);
        if again && explicit.is_none() {
            // A duplicate whatever came before, and it does not even count for the limit
            // (scrape/scrape.go append).
            return None;
        }
        // Before sample_limit counts it (scrape/scrape.go appender).
        if over_buckets {
            self.tally.over_buckets = true;
            return None;
        }
        let timestamp_ms = explicit.unwrap_or(self.rules.start_ms);
        // Only floats are limited, in number and in time: limitAppender and timeLimitAppender
        // (scrape/target.go) have no AppendHistogram.
        if matches!(sample.value, Value::Histogram(_)) {
            return Some(timestamp_ms);
        }
        self.tally.limited += 1;
        if self.rules.limits.samples > 0 && self.tally.limited > self.rules.limits.samples {
            return None;
        }
        (timestamp_ms <= self.rules.start_ms.saturating_add(MAX_AHEAD_MS)).then_some(timestamp_ms)
    }

    /// Whether the series is to get a stale marker when it is shown no more.
    #[inline]
    fn is_tracked(&self, sample: &Exposed<'_>) -> bool {
        sample.timestamp_ms.is_none()
            || !self.rules.honor_timestamps
            || self.rules.track_timestamps_staleness
    }

    /// Takes the sample of the series in `found`.
    fn take(&mut self, sample: &Exposed<'_>, tracked: bool) -> Result<(), Refused> {
        let (mut again, mut new) = (false, false);
        for ((writer, staged), &series) in
            self.writers.iter_mut().zip(&*self.staged).zip(&self.found)
        {
            let seen = writer.touch(staged, series);
            again |= seen == Seen::Already;
            new |= seen == Seen::Not;
        }
        let coarser = match sample.value {
            Value::Float(_) => Ok(None),
            Value::Histogram(histogram) => self.rules.histogram_limits.apply(histogram),
        };
        let Some(timestamp_ms) = self.admit(sample, again, coarser.is_err()) else {
            self.staged.iter_mut().for_each(Staged::refuse);
            return Ok(());
        };
        let value = match &coarser {
            Ok(Some(coarser)) => Value::Histogram(coarser),
            _ => sample.value,
        };
        if let Value::Histogram(histogram) = value
            && let Err(cause) = validate(histogram)
        {
            // The TSDB refuses it, and that ends the scrape (scrape/scrape.go checkAddError).
            self.tally.post_relabel -= 1;
            return Err(Refused(format!("invalid native histogram: {cause}")));
        }
        for ((writer, staged), &series) in self
            .writers
            .iter_mut()
            .zip(&mut *self.staged)
            .zip(&self.found)
        {
            let sampled = (value, timestamp_ms);
            new &= writer
                .write(staged, series, sample.series, sampled, tracked)
                .map_err(|error| Refused(format!("compress: {error}")))?;
        }
        self.tally.series_added += u64::from(new && !self.tally.over_buckets);
        Ok(())
    }

    fn key(&self, raw: &[u8]) -> Key {
        Key::new(self.rules.target.id, raw)
    }

    /// Takes a sample of our own: its labels are the target's alone (`scrape/scrape.go`
    /// `mutateReportSampleLabels`).
    ///
    /// # Errors
    /// As [`Sink::resolved`].
    pub fn own(&mut self, name: &'static str, value: f64) -> Result<(), Refused> {
        // No exposition holds this byte, so these are never taken for series of the target.
        let raw = [b"\xff", name.as_bytes()].concat();
        let key = self.key(&raw);
        if !self.find(key) {
            let mut labels = Labels::default();
            labels.set(NAME, name);
            let target = self.rules.target;
            for (name, value) in &target.labels {
                labels.set(name.as_str(), value.as_str());
            }
            self.add(key, labels, false)?;
        }
        // Reports are no part of what they report.
        let tally = *self.tally;
        let limit = std::mem::replace(&mut self.rules.limits.samples, 0);
        let taken = self.take(
            &Exposed {
                series: &raw,
                value: value.into(),
                timestamp_ms: None,
            },
            false,
        );
        self.rules.limits.samples = limit;
        *self.tally = tally;
        taken
    }

    /// Adds external labels, relabels for each remote, and lets its writer remember the series.
    fn add<'b>(&mut self, key: Key, mut labels: Labels<'b>, tracked: bool) -> Result<(), Refused>
    where
        'a: 'b,
    {
        let Rules {
            external_labels,
            remotes,
            ..
        } = self.rules;
        labels.finish();
        // A series' own label wins (`storage/remote/queue_manager.go` `processExternalLabels`).
        for (name, value) in external_labels {
            if labels.find(name).is_none() {
                labels.set(name.as_str(), value.as_str());
            }
        }
        // The order of labels counts for `labelmap`, so relabelling takes them before they are
        // sorted.
        let unsorted = remotes
            .iter()
            .any(|remote| !remote.write_relabel_configs.is_empty())
            .then(|| labels.clone());
        labels.finish();
        self.found.clear();
        for (place, (writer, staged)) in self.writers.iter_mut().zip(&mut *self.staged).enumerate()
        {
            let known = writer.find(key);
            if let Some(series) = known.filter(|&series| !tracked || writer.is_trackable(series)) {
                self.found.push(series);
                continue;
            }
            let rules = remotes
                .get(place)
                .map_or(&[][..], |remote| &remote.write_relabel_configs);
            let relabelled = match &unsorted {
                Some(unsorted) if !rules.is_empty() => {
                    relabelled(rules, unsorted.clone())?.map(Cow::Owned)
                }
                _ => Some(Cow::Borrowed(&labels)),
            };
            let series = match (known, &relabelled) {
                (None, relabelled) => writer.insert(staged, key, relabelled.as_deref(), tracked),
                (Some(series), Some(labels)) => {
                    writer.make_trackable(series, labels);
                    series
                }
                (Some(series), None) => series,
            };
            self.found.push(series);
        }
        Ok(())
    }

    /// Remembers a series that `metric_relabel_configs` drop, and counts its sample.
    fn add_unwanted(&mut self, key: Key) {
        self.found.clear();
        for (writer, staged) in self.writers.iter_mut().zip(&*self.staged) {
            let series = writer
                .find(key)
                .unwrap_or_else(|| writer.insert_unwanted(staged, key));
            self.found.push(series);
        }
        self.pass_over();
    }

    /// Prometheus takes newlines in the values of labels. Where a line ends must then be looked
    /// for, or nobody could tell an error's line.
    fn expect_lines_only(&mut self, sample: &Exposed<'_>) {
        if memchr::memchr(b'\n', sample.series).is_some() {
            self.writers
                .iter_mut()
                .zip(&self.found)
                .for_each(|(writer, &series)| writer.never_expect(series));
        }
    }

    /// Counts a sample of the unwanted series in `found`. No limit counts it (scrape/scrape.go
    /// append).
    fn pass_over(&mut self) {
        self.tally.scraped += 1;
        for ((writer, staged), &series) in self
            .writers
            .iter_mut()
            .zip(&mut *self.staged)
            .zip(&self.found)
        {
            writer.touch(staged, series);
            staged.refuse();
        }
    }
}

/// The labels that relabelling leaves, if it leaves any.
fn relabelled<'a>(rules: &[Rule], mut labels: Labels<'a>) -> Result<Option<Labels<'a>>, Refused> {
    let stays = relabel::apply(rules, &mut labels).map_err(|error| Refused(error.to_string()))?;
    labels.finish();
    Ok((stays && !labels.is_empty()).then_some(labels))
}

impl Sink for Intake<'_> {
    #[inline]
    fn expected(&self) -> Option<usize> {
        self.writers.first()?.expected()
    }

    #[inline]
    fn known(&mut self, sample: &Exposed<'_>) -> Result<bool, Refused> {
        let key = self.key(sample.series);
        if !self.find(key) {
            return Ok(false);
        }
        if self
            .writers
            .first()
            .zip(self.found.first())
            .is_some_and(|(writer, &series)| writer.is_unwanted(series))
        {
            self.pass_over();
            return Ok(true);
        }
        let tracked = self.is_tracked(sample);
        if tracked
            && !self
                .writers
                .iter()
                .zip(&self.found)
                .all(|(writer, &series)| writer.is_trackable(series))
        {
            return Ok(false);
        }
        self.take(sample, tracked)?;
        Ok(true)
    }

    fn resolved(
        &mut self,
        sample: &Exposed<'_>,
        labels: &[ExposedLabel<'_>],
    ) -> Result<(), Refused> {
        let rules = self.rules;
        let labels = add_target_labels(Labels::exposed(labels), rules);
        let Some(labels) =
            relabelled(rules.metric_relabel, labels).inspect_err(|_| self.tally.scraped += 1)?
        else {
            self.add_unwanted(self.key(sample.series));
            self.expect_lines_only(sample);
            return Ok(());
        };
        label_limits::check(&labels, rules.validation, &rules.limits)
            .inspect_err(|_| self.tally.scraped += 1)?;
        if let Some(name) = labels.duplicate() {
            // Found only when the sample is stored: what was dropped before is not looked at
            // (scrape/target.go limitAppender, timeLimitAppender).
            if self.admit(sample, false, false).is_some() {
                self.tally.post_relabel -= 1;
                return Err(Refused(format!(
                    "label name \"{name}\" is not unique: invalid sample"
                )));
            }
            self.staged.iter_mut().for_each(Staged::refuse);
            return Ok(());
        }
        let tracked = self.is_tracked(sample);
        self.add(self.key(sample.series), labels, tracked)?;
        self.expect_lines_only(sample);
        self.take(sample, tracked)
    }

    fn unreadable(&mut self) {
        self.tally.scraped += 1;
    }
}

/// `scrape/scrape.go` `mutateSampleLabels`, `resolveConflictingExposedLabels`.
fn add_target_labels<'a>(mut labels: Labels<'a>, rules: Rules<'a>) -> Labels<'a> {
    let target = &rules.target.labels;
    if rules.honor_labels {
        // An exposed empty label counts as present, and is gone in the end.
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
