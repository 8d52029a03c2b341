//! Takes the samples of one scrape into the batches of each remote, by the rules of Prometheus' scrape loop
//! (`scrape/scrape.go` `append`, `mutateSampleLabels`).

use std::borrow::Cow;
use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;

use super::exposition::{Exposed, ExposedLabel, Refused, Sink};
use super::target::Target;
use crate::batch::{Staged, Writer};
use crate::series::Labels;
use crate::series::cache::Key;
use crate::series::labels::NAME;

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
    /// `sample_limit`; 0 is none.
    pub sample_limit: u64,
    /// `external_labels`.
    pub external_labels: &'a BTreeMap<String, String>,
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
    /// Series not seen before.
    pub series_added: u64,
    /// Samples that `sample_limit` counts: those that were not dropped before it was looked at.
    pub limited: u64,
}

/// The scrape's side of all remotes.
pub struct Intake<'a> {
    rules: Rules<'a>,
    writers: Vec<RefMut<'a, Writer>>,
    staged: &'a mut [Staged],
    tally: &'a mut Tally,
    /// Where the sample's series stands in each writer's cache.
    found: Vec<usize>,
}

impl<'a> Intake<'a> {
    /// Borrows the writers for as long as one block is parsed.
    pub fn new(rules: Rules<'a>, writers: &'a [RefCell<Writer>], staged: &'a mut [Staged], tally: &'a mut Tally) -> Self {
        let writers = writers.iter().map(RefCell::borrow_mut).collect::<Vec<_>>();
        let found = Vec::with_capacity(writers.len());
        Self { rules, writers, staged, tally, found }
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

    /// Counts a sample, and gives its timestamp unless it is dropped. `again`: its series was in this scrape before.
    fn admit(&mut self, sample: &Exposed<'_>, again: bool) -> Option<i64> {
        self.tally.scraped += 1;
        self.tally.post_relabel += 1;
        let explicit = sample.timestamp_ms.filter(|_| self.rules.honor_timestamps);
        if again && explicit.is_none() {
            // A duplicate whatever came before, and it does not even count for the limit (scrape/scrape.go append).
            return None;
        }
        self.tally.limited += 1;
        if self.rules.sample_limit > 0 && self.tally.limited > self.rules.sample_limit {
            return None;
        }
        let timestamp_ms = explicit.unwrap_or(self.rules.start_ms);
        (timestamp_ms <= self.rules.start_ms.saturating_add(MAX_AHEAD_MS)).then_some(timestamp_ms)
    }

    /// Takes the sample of the series in `found`.
    fn take(&mut self, sample: &Exposed<'_>, new: bool) -> Result<(), Refused> {
        let mut again = false;
        for ((writer, staged), &series) in self.writers.iter_mut().zip(&*self.staged).zip(&self.found) {
            again |= writer.touch(staged, series);
        }
        let Some(timestamp_ms) = self.admit(sample, again) else {
            self.staged.iter_mut().for_each(Staged::refuse);
            return Ok(());
        };
        self.tally.series_added += u64::from(new);
        for ((writer, staged), &series) in self.writers.iter_mut().zip(&mut *self.staged).zip(&self.found) {
            writer.write(staged, series, sample.series, sample.value, timestamp_ms).map_err(|error| Refused(format!("compress: {error}")))?;
        }
        Ok(())
    }

    fn key(&self, raw: &[u8]) -> Key {
        Key::new(self.rules.target.index, raw)
    }

    /// Takes a sample of our own: its labels are the target's alone (`scrape/scrape.go` `mutateReportSampleLabels`).
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
            self.add(key, labels);
        }
        // Reports are no part of what they report.
        let tally = *self.tally;
        let limit = std::mem::replace(&mut self.rules.sample_limit, 0);
        let taken = self.take(&Exposed { series: &raw, value: value.into(), timestamp_ms: None }, false);
        self.rules.sample_limit = limit;
        *self.tally = tally;
        taken
    }

    /// Adds external labels and lets each writer remember the series.
    fn add<'b>(&mut self, key: Key, mut labels: Labels<'b>)
    where
        'a: 'b,
    {
        let external_labels = self.rules.external_labels;
        // A series' own label wins (`storage/remote/queue_manager.go` `processExternalLabels`).
        for (name, value) in external_labels {
            if labels.find(name).is_none() {
                labels.set(name.as_str(), value.as_str());
            }
        }
        labels.finish();
        self.found.clear();
        for (writer, staged) in self.writers.iter_mut().zip(&mut *self.staged) {
            let series = match writer.find(key) {
                Some(series) => series,
                None => writer.insert(staged, key, Some(&labels)),
            };
            self.found.push(series);
        }
    }
}

impl Sink for Intake<'_> {
    #[inline]
    fn known(&mut self, sample: &Exposed<'_>) -> Result<bool, Refused> {
        let key = self.key(sample.series);
        if !self.find(key) {
            return Ok(false);
        }
        self.take(sample, false)?;
        Ok(true)
    }

    fn resolved(&mut self, sample: &Exposed<'_>, labels: &[ExposedLabel<'_>]) -> Result<(), Refused> {
        let rules = self.rules;
        let labels = named(add_target_labels(Labels::exposed(labels), rules)).inspect_err(|_| self.tally.scraped += 1)?;
        if let Some(name) = labels.duplicate() {
            // Found only when the sample is stored: what was dropped before is not looked at (scrape/target.go limitAppender, timeLimitAppender).
            if self.admit(sample, false).is_some() {
                self.tally.post_relabel -= 1;
                return Err(Refused(format!("label name \"{name}\" is not unique: invalid sample")));
            }
            self.staged.iter_mut().for_each(Staged::refuse);
            return Ok(());
        }
        self.add(self.key(sample.series), labels);
        self.take(sample, true)
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
        let absent: Vec<_> = target.iter().filter(|(name, _)| labels.find(name).is_none()).collect();
        labels.drop_emptied();
        for (name, value) in absent {
            labels.set(name.as_str(), value.as_str());
        }
        return labels;
    }
    let mut exported: Vec<_> = target.iter().filter_map(|(name, _)| labels.find(name)).filter(|label| !label.value.is_empty()).cloned().collect();
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

/// Finishes labels that have names as they must: else the scrape fails.
fn named(mut labels: Labels<'_>) -> Result<Labels<'_>, Refused> {
    labels.finish();
    if labels.get(NAME).is_empty() {
        return Err(Refused("missing metric name (__name__ label)".to_owned()));
    }
    if labels.iter().any(|label| label.name.is_empty()) {
        return Err(Refused("invalid metric name or label names: a label's name is empty".to_owned()));
    }
    Ok(labels)
}
