//! Windows from the intake to what a receiver makes of their batches.

mod memory;
mod properties;
mod windows;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{
    ExposedSample, HistogramLimits, IntakeRules, IntakeTransaction, RemoteCommit, SeriesWindow,
    Sink, Tally, WindowSink,
};
use crate::batch::stage::BatchLimits;
use crate::batch::{Batch, EarlierSamples, SampleCounts, WindowStart, Writer, decode};
use crate::config::{NameValidation, ScrapeLimits};
use crate::home::{JobId, Target};
use crate::prompb::messages::{Count, Histogram, Label, ZeroCount};
use crate::prompb::{STALE_NAN, TimedFloat};
use crate::relabel::{Action, Rule, RuleSpec};
use crate::series::{ExposedLabel, LastTimestamps, TargetId};

/// When the windows begin: a time of day, so that timestamps have the form that they mostly have.
const EPOCH_MS: i64 = 1_795_176_000_000;

const LIMITS: BatchLimits = BatchLimits {
    samples: 100,
    bytes: 100_000,
};

/// A sample of a simulated home. Its value follows from its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Float,
    Marker,
    Histogram,
}

/// The samples of a series, in the order of time.
type Samples = Vec<(i64, Kind)>;

fn value(at: i64, kind: Kind) -> f64 {
    match kind {
        Kind::Marker => f64::from_bits(STALE_NAN),
        _ if at % 5 == 0 => -0.0,
        _ => at as f64 / 4.0,
    }
}

fn histogram(at: i64) -> Histogram {
    Histogram {
        count: Some(Count::Int(3)),
        zero_count: Some(ZeroCount::Int(3)),
        sum: value(at, Kind::Histogram),
        timestamp: at,
        ..Histogram::default()
    }
}

fn target() -> Target {
    Target {
        id: TargetId(0),
        job: JobId(0),
        url: Ok("http://h:1/".parse().unwrap()),
        labels: vec![("job".to_owned(), "home".to_owned())],
        scrape_timeout: Duration::from_secs(10),
        siblings: 1,
    }
}

/// One process with its remotes.
struct Process {
    writers: Vec<RefCell<Writer>>,
    target: Target,
    external_labels: BTreeMap<String, String>,
    metric_relabel: Vec<Rule>,
    limits: ScrapeLimits,
    histogram_limits: HistogramLimits,
    tally: Tally,
}

impl Process {
    fn new(limits: BatchLimits, remotes: usize) -> Self {
        let writer = || RefCell::new(Writer::new(limits).with_native_histograms(true));
        Self {
            writers: (0..remotes).map(|_| writer()).collect(),
            target: target(),
            external_labels: BTreeMap::from([("site".to_owned(), "attic".to_owned())]),
            metric_relabel: Vec::new(),
            limits: ScrapeLimits::default(),
            histogram_limits: HistogramLimits::default(),
            tally: Tally::default(),
        }
    }

    fn rules(&self, now_ms: i64) -> IntakeRules<'_> {
        IntakeRules {
            target: &self.target,
            honor_labels: true,
            honor_timestamps: false,
            track_timestamps_staleness: true,
            limits: self.limits,
            validation: NameValidation::Utf8,
            metric_relabel: &self.metric_relabel,
            histogram_limits: self.histogram_limits,
            external_labels: &self.external_labels,
            remotes: &[],
            start_ms: now_ms,
        }
    }

    /// Reads a window of these series.
    fn read(
        &mut self,
        starts: &[WindowStart],
        series: &BTreeMap<&str, Samples>,
        commits: bool,
    ) -> Vec<RemoteCommit> {
        let rules = self.rules(EPOCH_MS + 3_600_000);
        let mut transaction = IntakeTransaction::begin_window(&self.writers, rules, starts);
        let mut intake = transaction.intake();
        for (name, samples) in series {
            show(&mut intake, name, samples);
        }
        drop(intake);
        let tally = transaction.tally();
        if !commits {
            transaction.roll_back();
        }
        let commits = transaction.commit().unwrap();
        self.tally = tally;
        for commit in &commits {
            assert_balance(commit.counts);
            assert_eq!(commit.counts.fresh, fresh(commit));
        }
        commits
    }

    /// Reads a window for one remote that commits.
    fn takes(
        &mut self,
        watermark_ms: i64,
        complete: bool,
        name: &str,
        samples: &Samples,
    ) -> RemoteCommit {
        let start = WindowStart {
            watermark_ms,
            complete,
            ..WindowStart::default()
        };
        let series = BTreeMap::from([(name, samples.clone())]);
        self.read(&[start], &series, true).remove(0)
    }

    /// A cold process that begins with this one's table.
    fn successor(&self, not_before_ms: i64) -> Self {
        let mut successor = Self::new(LIMITS, 0);
        for writer in &self.writers {
            let writer = writer.borrow();
            let encoded = writer.last_timestamps(|_| true, not_before_ms).encode();
            let mut cold = writer.cold();
            cold.restore(&LastTimestamps::decode(&encoded).unwrap(), |_| true);
            successor.writers.push(RefCell::new(cold));
        }
        successor
    }
}

fn exposed<'a>(name: &'a str, value: &'a str) -> ExposedLabel<'a> {
    ExposedLabel {
        name: name.into(),
        value: value.into(),
        span: None,
    }
}

fn show(intake: &mut impl WindowSink, name: &str, samples: &[(i64, Kind)]) {
    let (floats, histograms): (Vec<_>, Vec<_>) = samples
        .iter()
        .copied()
        .partition(|(_, kind)| *kind != Kind::Histogram);
    let floats: Vec<_> = floats
        .into_iter()
        .map(|(timestamp_ms, kind)| TimedFloat {
            value: value(timestamp_ms, kind),
            timestamp_ms,
        })
        .collect();
    let histograms: Vec<_> = histograms
        .into_iter()
        .map(|(at, _)| histogram(at))
        .collect();
    let raw = format!("\n{name}");
    let window = SeriesWindow {
        series: raw.as_bytes(),
        floats: &floats,
        histograms: &histograms,
    };
    if !intake.known_window(&window).unwrap() {
        let labels = [exposed("__name__", name), exposed("cluster", &name[..1])];
        intake.resolved_window(&window, &labels).unwrap();
    }
}

#[track_caller]
fn assert_balance(counts: SampleCounts) {
    assert_eq!(
        counts.scraped,
        counts.filtered + counts.unchanged + counts.fresh,
        "{counts:?}"
    );
}

fn fresh(commit: &RemoteCommit) -> u64 {
    crate::batch::samples(commit.scrapes.iter().flatten())
}

/// What a receiver has stored: bits of values by series and time.
#[derive(Debug, Default, PartialEq, Eq)]
struct Receiver(BTreeMap<String, BTreeMap<i64, (Kind, u64)>>);

impl Receiver {
    /// Takes what a window gave, as Cortex would, and checks what must hold of every entry.
    fn take(&mut self, scrapes: &[Vec<Batch>]) {
        for batches in scrapes {
            let mut names = BTreeSet::new();
            for batch in batches {
                self.take_batch(batch, &mut names);
            }
        }
    }

    fn take_batch(&mut self, batch: &Batch, names: &mut BTreeSet<String>) {
        let request = decode(batch).unwrap();
        let mut times = Vec::new();
        let mut groups = BTreeSet::new();
        for entry in request.timeseries {
            let label = |name: &str| {
                let found = entry.labels.iter().find(|label| label.name == name);
                found
                    .map(|Label { value, .. }| value.clone())
                    .unwrap_or_default()
            };
            let name = label("__name__");
            groups.insert(label("cluster"));
            assert_eq!((&*label("job"), &*label("site")), ("home", "attic"));
            assert!(
                names.insert(name.clone()),
                "{name} comes twice in one scrape number"
            );
            assert!(
                entry.samples.is_empty() != entry.histograms.is_empty(),
                "an entry is of one kind: {entry:?}"
            );
            let floats = entry.samples.iter().map(|sample| {
                let bits = sample.value.to_bits();
                let kind = if bits == STALE_NAN {
                    Kind::Marker
                } else {
                    Kind::Float
                };
                (sample.timestamp, kind, bits)
            });
            let histograms = entry.histograms.iter().map(|histogram| {
                (
                    histogram.timestamp,
                    Kind::Histogram,
                    histogram.sum.to_bits(),
                )
            });
            let stored = self.0.entry(name.clone()).or_default();
            for (at, kind, bits) in floats.chain(histograms) {
                let newest = stored.last_key_value().map(|(at, _)| *at);
                assert!(newest < Some(at), "{name}: {at} is not after {newest:?}");
                stored.insert(at, (kind, bits));
                times.push(at);
            }
        }
        assert_eq!(groups.len(), 1, "the values of HA labels are not mixed");
        assert_eq!(times.len(), batch.samples as usize);
        assert_eq!(times.iter().min(), Some(&batch.min_ms));
        assert_eq!(times.iter().max(), Some(&batch.max_ms));
        let raw = snap::raw::decompress_len(&batch.body.to_bytes()).unwrap();
        assert_eq!(raw, batch.raw_len as usize);
    }
}

/// Samples of this kind at these seconds.
fn at(kind: Kind, seconds: impl IntoIterator<Item = i64>) -> Samples {
    let seconds = seconds.into_iter();
    seconds
        .map(|second| (EPOCH_MS + second * 1000, kind))
        .collect()
}

fn times(commit: &RemoteCommit) -> Vec<Vec<i64>> {
    let of_scrape = |batches: &Vec<Batch>| {
        let mut times = Vec::new();
        for entry in batches
            .iter()
            .flat_map(|batch| decode(batch).unwrap().timeseries)
        {
            times.extend(entry.samples.iter().map(|sample| sample.timestamp));
            times.extend(entry.histograms.iter().map(|histogram| histogram.timestamp));
        }
        times.iter().map(|at| (at - EPOCH_MS) / 1000).collect()
    };
    commit.scrapes.iter().map(of_scrape).collect()
}
