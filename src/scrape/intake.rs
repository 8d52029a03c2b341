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

    /// Takes the sample of the series in `found`.
    fn take(&mut self, sample: &Exposed<'_>) -> Result<(), Refused> {
        self.tally.scraped += 1;
        let explicit = sample.timestamp_ms.filter(|_| self.rules.honor_timestamps);
        let timestamp_ms = explicit.unwrap_or(self.rules.start_ms);
        self.tally.post_relabel += 1;
        let limited = self.rules.sample_limit > 0 && self.tally.post_relabel > self.rules.sample_limit;
        let refused = limited || timestamp_ms > self.rules.start_ms.saturating_add(MAX_AHEAD_MS);
        for ((writer, staged), &series) in self.writers.iter_mut().zip(&mut *self.staged).zip(&self.found) {
            if refused {
                writer.refuse(staged, series);
            } else {
                writer.write(staged, series, sample.series, sample.value, timestamp_ms).map_err(|error| Refused(format!("compress: {error}")))?;
            }
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
        let (scraped, post_relabel, series_added) = (self.tally.scraped, self.tally.post_relabel, self.tally.series_added);
        let limit = std::mem::replace(&mut self.rules.sample_limit, 0);
        let taken = self.take(&Exposed { series: &raw, value, timestamp_ms: None });
        self.rules.sample_limit = limit;
        *self.tally = Tally { scraped, post_relabel, series_added };
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
        self.take(sample)?;
        Ok(true)
    }

    fn resolved(&mut self, sample: &Exposed<'_>, labels: &[ExposedLabel<'_>]) -> Result<(), Refused> {
        let rules = self.rules;
        let labels = checked(add_target_labels(Labels::exposed(labels), rules)).inspect_err(|_| self.tally.scraped += 1)?;
        self.tally.series_added += 1;
        self.add(self.key(sample.series), labels);
        self.take(sample)
    }
}

/// `scrape/scrape.go` `mutateSampleLabels`, `resolveConflictingExposedLabels`.
fn add_target_labels<'a>(mut labels: Labels<'a>, rules: Rules<'a>) -> Labels<'a> {
    if rules.honor_labels {
        for (name, value) in &rules.target.labels {
            // An exposed empty label counts as present, and is gone in the end.
            if labels.find(name).is_none() {
                labels.set(name.as_str(), value.as_str());
            }
        }
        return labels;
    }
    let mut exported = Vec::new();
    for (name, value) in &rules.target.labels {
        exported.extend(labels.find(name).filter(|label| !label.value.is_empty()).cloned());
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

/// What makes a scrape fail, in Prometheus' order: no name, an invalid name, a label twice.
fn checked(mut labels: Labels<'_>) -> Result<Labels<'_>, Refused> {
    labels.finish();
    if labels.get(NAME).is_empty() {
        return Err(Refused("missing metric name (__name__ label)".to_owned()));
    }
    if labels.iter().any(|label| label.name.is_empty()) {
        return Err(Refused("invalid metric name or label names: a label's name is empty".to_owned()));
    }
    match labels.duplicate() {
        Some(name) => Err(Refused(format!("label name \"{name}\" is not unique: invalid sample"))),
        None => Ok(labels),
    }
}
