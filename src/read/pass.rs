//! One pass over an answer: from its series to the intake.
//!
//! A label set can come more than once. One that an earlier query of the request gave is dropped:
//! the selectors of a federation may overlap, too. One that comes twice in one result is two series
//! at home, which the external labels have made the same (`storage/remote/codec.go` `MergeLabels`).
//! Their samples must be merged by time, before any of them is taken. The answer is a stream, so
//! such a label set is known only when it comes again. Then the window is read once more, and the
//! pass is told beforehand which label sets to hold back.

use std::borrow::Cow;
use std::hash::BuildHasherDefault;
use std::ops::Range;

use hashbrown::{HashMap, HashTable};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

use super::classic::classic_series;
use super::reduce::SlotHistograms;
use super::request::TimeRange;
use super::response::{MalformedResponse, ReadLabel, ReadSeries, read_labels};
use super::samples::SeriesSamples;
use super::shape::WindowShape;
use crate::config::NameEscaping;
use crate::intake::{Refusal, SeriesWindow, WindowSink};
use crate::prompb::messages::Histogram;
use crate::series::labels::NAME;
use crate::series::{ExposedLabel, LabelSpan};

/// Label sets that may come more than once in an answer, at most.
pub(super) const MAX_REPEATED: usize = 10_000;

/// Bytes of a held sample and of the administration of a held series, roughly.
const HELD_BYTES: usize = 64;

/// The label that federation adds where it is missing.
const INSTANCE: &str = "instance";

/// Hashes the labels of held series in the same way in each process.
type FixedState = BuildHasherDefault<Xxh3Default>;

/// A label set that is held back, with the samples that came of it so far.
#[derive(Debug, Default)]
struct HeldSeries {
    /// Where in the answer it was last.
    offset: u64,
    samples: SeriesSamples,
}

/// Label sets that come more than once in a result.
#[derive(Debug, Default)]
pub(super) struct RepeatedKeys(HashTable<u128>);

impl RepeatedKeys {
    /// Remembers a label set. Says whether it is new.
    fn insert(&mut self, key: u128) -> bool {
        insert(&mut self.0, key)
    }

    pub(super) fn extend(&mut self, others: Self) {
        for key in others.0 {
            self.insert(key);
        }
    }

    fn contains(&self, key: u128) -> bool {
        self.0.find(key as u64, |&known| known == key).is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Says whether the key is new.
fn insert(keys: &mut HashTable<u128>, key: u128) -> bool {
    let hash = |key: &u128| *key as u64;
    let entry = keys.entry(hash(&key), |&known| known == key, hash);
    let is_new = matches!(entry, hashbrown::hash_table::Entry::Vacant(_));
    entry.or_insert(key);
    is_new
}

/// What a pass makes of samples.
#[derive(Debug, Clone, Copy)]
pub(super) struct PassRules {
    /// Samples outside of it are not taken.
    pub(super) range: TimeRange,
    pub(super) shape: WindowShape,
    /// Whether a sample at a slot keeps its own timestamp.
    pub(super) own_timestamps: bool,
    /// How native histograms are shown at a slot.
    pub(super) histograms: SlotHistograms,
    /// Whether native histograms are taken as they are: `scrape_native_histograms`.
    pub(super) takes_native: bool,
    /// How names are written that are not legacy ones, as in an exposition of the home.
    pub(super) escaping: NameEscaping,
    /// Samples of an answer at most.
    pub(super) max_samples: u64,
}

/// What an answer held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PassCounts {
    /// Series, each as often as it came.
    pub(super) series: u64,
    /// Samples in the answer.
    pub(super) samples: u64,
    /// Series without a name, or with a name or a value that is not UTF-8.
    pub(super) skipped: u64,
    /// Time of the newest sample that was in range, milliseconds since 1970.
    pub(super) newest_ms: Option<i64>,
}

impl PassCounts {
    fn saw(&mut self, timestamp_ms: i64) {
        self.newest_ms = self.newest_ms.max(Some(timestamp_ms));
    }
}

/// Why a pass ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum PassError {
    #[error(transparent)]
    Malformed(#[from] MalformedResponse),
    #[error(transparent)]
    Refusal(#[from] Refusal),
    #[error("more samples than are taken")]
    TooManySamples,
    #[error("more repeated label sets than are taken")]
    TooManyRepeated,
}

/// One pass over an answer.
pub(super) struct Pass<'a> {
    rules: PassRules,
    pub(super) counts: PassCounts,
    /// The query whose result is being read.
    query: usize,
    /// Label sets of earlier results, and of this one.
    earlier: HashTable<u128>,
    current: HashTable<u128>,
    /// Label sets that are held back until their result has ended.
    hold: &'a RepeatedKeys,
    held: HashMap<Box<[u8]>, HeldSeries, FixedState>,
    held_bytes: usize,
    /// Label sets that came again although nobody held them back.
    pub(super) repeated: RepeatedKeys,
    samples: SeriesSamples,
}

impl<'a> Pass<'a> {
    pub(super) fn new(rules: PassRules, hold: &'a RepeatedKeys) -> Self {
        Self {
            rules,
            counts: PassCounts::default(),
            query: 0,
            earlier: HashTable::new(),
            current: HashTable::new(),
            hold,
            held: HashMap::default(),
            held_bytes: 0,
            repeated: RepeatedKeys::default(),
            samples: SeriesSamples::default(),
        }
    }

    /// Bytes that the pass holds until it ends.
    pub(super) fn memory(&self) -> usize {
        let keys = self.earlier.capacity() + self.current.capacity();
        keys * (size_of::<u128>() + 1) + self.held_bytes
    }

    /// Takes a series of the answer.
    pub(super) fn take(
        &mut self,
        series: &ReadSeries<'_>,
        sink: &mut impl WindowSink,
    ) -> Result<(), PassError> {
        if series.query != self.query {
            self.end_result(sink)?;
            self.query = series.query;
        }
        self.counts.series += 1;
        let key = xxh3_128(series.labels);
        if self
            .earlier
            .find(key as u64, |&known| known == key)
            .is_some()
        {
            return Ok(());
        }
        let is_new = insert(&mut self.current, key);
        if self.hold.contains(key) {
            return self.hold_back(series);
        }
        if !is_new {
            if self.repeated.insert(key) && self.repeated.len() > MAX_REPEATED {
                return Err(PassError::TooManyRepeated);
            }
            return Ok(());
        }
        if self.repeated.len() > 0 {
            // Nothing of this pass will be taken.
            return Ok(());
        }
        let mut samples = std::mem::take(&mut self.samples);
        samples.clear();
        let taken = self
            .read(series, &mut samples)
            .and_then(|()| self.show(series.offset, series.labels, &mut samples, sink));
        self.samples = samples;
        taken
    }

    /// Ends the answer: its last result has ended.
    pub(super) fn finish(&mut self, sink: &mut impl WindowSink) -> Result<(), PassError> {
        self.show_held(sink)
    }

    /// Ends a result that another one follows: its label sets must not be taken again.
    fn end_result(&mut self, sink: &mut impl WindowSink) -> Result<(), PassError> {
        self.show_held(sink)?;
        if self.earlier.is_empty() {
            std::mem::swap(&mut self.earlier, &mut self.current);
        } else {
            for key in self.current.drain() {
                insert(&mut self.earlier, key);
            }
        }
        Ok(())
    }

    /// Shows what was held back.
    fn show_held(&mut self, sink: &mut impl WindowSink) -> Result<(), PassError> {
        for (labels, mut held) in std::mem::take(&mut self.held) {
            self.show(held.offset, &labels, &mut held.samples, sink)?;
        }
        self.held_bytes = 0;
        Ok(())
    }

    fn hold_back(&mut self, series: &ReadSeries<'_>) -> Result<(), PassError> {
        let (labels, mut held) = self
            .held
            .remove_entry(series.labels)
            .unwrap_or_else(|| (series.labels.into(), HeldSeries::default()));
        held.offset = series.offset;
        let before = held.samples.len();
        self.read(series, &mut held.samples)?;
        self.held_bytes += labels.len() + (held.samples.len() - before + 1) * HELD_BYTES;
        self.held.insert(labels, held);
        Ok(())
    }

    /// Appends the samples that are in range.
    fn read(
        &mut self,
        series: &ReadSeries<'_>,
        samples: &mut SeriesSamples,
    ) -> Result<(), PassError> {
        let range = self.rules.range;
        for float in series.samples() {
            let float = float?;
            self.counts.samples += 1;
            if range.contains(float.timestamp_ms) {
                self.counts.saw(float.timestamp_ms);
                samples.floats.push(float);
            }
        }
        for histogram in series.histograms() {
            let histogram = histogram?;
            self.counts.samples += 1;
            if range.contains(histogram.timestamp) {
                self.counts.saw(histogram.timestamp);
                samples.histograms.push(histogram);
            }
        }
        if self.counts.samples > self.rules.max_samples {
            return Err(PassError::TooManySamples);
        }
        Ok(())
    }

    /// Shows the samples of a series to the intake, in the shape that is asked for.
    fn show(
        &mut self,
        offset: u64,
        labels: &[u8],
        samples: &mut SeriesSamples,
        sink: &mut impl WindowSink,
    ) -> Result<(), PassError> {
        samples.sort();
        let PassRules {
            shape,
            own_timestamps,
            histograms,
            takes_native,
            ..
        } = self.rules;
        if !takes_native && matches!(shape, WindowShape::Raw { .. }) {
            samples.histograms.clear();
        }
        shape.apply(samples, own_timestamps, histograms);
        if matches!(shape, WindowShape::Slots(_)) && samples.has_custom_buckets() {
            self.give_classic(offset, labels, &samples.take_custom_buckets(), sink)?;
        }
        let window = SeriesWindow {
            series: labels,
            floats: &samples.floats,
            histograms: &samples.histograms,
        };
        self.give(offset, &window, sink)
    }

    /// Gives histograms with custom buckets as the series that federation makes of them.
    #[cold]
    fn give_classic(
        &mut self,
        offset: u64,
        labels: &[u8],
        histograms: &[Histogram],
        sink: &mut impl WindowSink,
    ) -> Result<(), PassError> {
        let places = read_labels(labels).ok_or(bad_label(offset))?;
        let text = |place: &Range<usize>| std::str::from_utf8(&labels[place.clone()]).ok();
        let pairs: Option<Vec<_>> = places
            .iter()
            .map(|label| Some((text(&label.name)?, text(&label.value)?)))
            .collect();
        let Some(pairs) = pairs else {
            self.counts.skipped += 1;
            return Ok(());
        };
        for (labels, floats) in classic_series(&pairs, histograms) {
            let window = SeriesWindow {
                series: &labels,
                floats: &floats,
                histograms: &[],
            };
            self.give(offset, &window, sink)?;
        }
        Ok(())
    }

    fn give(
        &mut self,
        offset: u64,
        window: &SeriesWindow<'_>,
        sink: &mut impl WindowSink,
    ) -> Result<(), PassError> {
        if window.is_empty() || sink.known_window(window)? {
            return Ok(());
        }
        let labels = read_labels(window.series).ok_or(bad_label(offset))?;
        match exposed(window.series, &labels) {
            Some(mut exposed) => {
                self.rules.escaping.escape(&mut exposed);
                sink.resolved_window(window, &exposed)?;
            }
            None => self.counts.skipped += 1,
        }
        Ok(())
    }
}

fn bad_label(offset: u64) -> MalformedResponse {
    let cause = "a label is no Label message";
    MalformedResponse { offset, cause }
}

/// The labels as `/federate` shows them: every series has the label `instance` there, if only an
/// empty one (`web/federate.go`), which `honor_labels` takes for present. `None` for a series that
/// no federation shows, because it has no name, or that no exposition could hold.
fn exposed<'a>(raw: &'a [u8], labels: &[ReadLabel]) -> Option<Vec<ExposedLabel<'a>>> {
    let mut exposed = Vec::with_capacity(labels.len() + 1);
    for ReadLabel { name, value } in labels {
        exposed.push(ExposedLabel {
            name: Cow::Borrowed(std::str::from_utf8(&raw[name.clone()]).ok()?),
            value: Cow::Borrowed(std::str::from_utf8(&raw[value.clone()]).ok()?),
            span: Some(LabelSpan {
                name: u32::try_from(name.start).ok()?,
                value: u32::try_from(value.start).ok()?,
            }),
        });
    }
    let has = |name: &str| exposed.iter().any(|label| label.name == name);
    if exposed
        .iter()
        .all(|label| label.name != NAME || label.value.is_empty())
    {
        return None;
    }
    if !has(INSTANCE) {
        exposed.push(ExposedLabel {
            name: Cow::Borrowed(INSTANCE),
            value: Cow::Borrowed(""),
            span: None,
        });
    }
    Some(exposed)
}
