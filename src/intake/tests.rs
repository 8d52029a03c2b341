//! Windows from the intake to what a receiver makes of their batches.

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

#[test]
fn what_was_sent_is_counted_as_overlapped_and_what_comes_late_is_sent() {
    let mut process = Process::new(LIMITS, 1);
    let start = EPOCH_MS;
    let first = process.takes(start, false, "a", &at(Kind::Float, [-15, 0, 15, 30]));
    assert_eq!(
        times(&first),
        [[15, 30]],
        "a watermark without a table ends what was sent"
    );
    let counts = first.counts;
    assert_eq!(
        (counts.scraped, counts.fresh, counts.overlapped, counts.late),
        (2, 2, 2, 0)
    );
    assert_eq!(counts.series_added, 1);

    let second = process.takes(
        start + 60_000,
        true,
        "a",
        &at(Kind::Float, [30, 45, 50, 60, 75]),
    );
    assert_eq!(times(&second), [[45, 50, 60, 75]]);
    let counts = second.counts;
    assert_eq!((counts.scraped, counts.fresh, counts.overlapped), (4, 4, 1));
    assert_eq!((counts.late, counts.worst_late_ms), (3, 15_000));
    assert_eq!((process.tally.scraped, process.tally.series_added), (4, 0));

    let third = process.takes(start + 75_000, true, "a", &at(Kind::Float, [60, 75]));
    assert_eq!(
        (
            third.counts.scraped,
            third.counts.overlapped,
            times(&third).len()
        ),
        (0, 2, 0)
    );
    assert_eq!(third.ledger().scraped, 0);

    let new = process.takes(start + 75_000, true, "b", &at(Kind::Float, [60, 75, 80]));
    assert_eq!(
        times(&new),
        [[60, 75, 80]],
        "a complete table knows that nothing of it was sent"
    );
    assert_eq!((new.counts.late, new.counts.worst_late_ms), (2, 15_000));
}

#[test]
fn each_run_of_a_kind_is_an_entry_of_the_next_scrape_number() {
    let mut process = Process::new(LIMITS, 1);
    let mut samples = at(Kind::Float, [1, 2, 5]);
    samples.extend(at(Kind::Histogram, [3, 4, 6, 7]));
    samples.extend(at(Kind::Marker, [8]));
    samples.sort_unstable();
    let commit = process.takes(i64::MIN, true, "a", &samples);
    let expected: [&[i64]; 5] = [&[1, 2], &[3, 4], &[5], &[6, 7], &[8]];
    assert_eq!(times(&commit), expected);
    Receiver::default().take(&commit.scrapes);
}

#[test]
fn a_run_beyond_the_limits_of_a_batch_is_cut_in_time() {
    let entries = |samples, bytes| {
        let mut process = Process::new(BatchLimits { samples, bytes }, 1);
        let commit = process.takes(i64::MIN, true, "a", &at(Kind::Float, 1..=10));
        Receiver::default().take(&commit.scrapes);
        let sizes: Vec<_> = commit
            .scrapes
            .iter()
            .flatten()
            .map(|batch| batch.samples)
            .collect();
        let lengths = commit.scrapes.iter().flatten().map(|batch| batch.raw_len);
        (sizes, lengths.max().unwrap() as usize)
    };
    assert_eq!(entries(4, 100_000).0, [4, 4, 2]);
    assert_eq!(entries(10, 100_000).0, [10]);
    // Labels take 57 bytes, a sample 18 (9 where it is 0 with a plus): see `value`.
    let (sizes, longest) = entries(100, 150);
    assert_eq!(sizes, [4, 4, 2]);
    assert!(longest <= 150, "{longest}");
    assert_eq!(
        entries(100, 1).0,
        [1; 10],
        "a sample alone is never too large"
    );
}

#[test]
fn one_bad_sample_costs_no_other() {
    let mut process = Process::new(LIMITS, 1);
    process.histogram_limits = HistogramLimits::new(2, 0.0);
    let now = EPOCH_MS + 3_600_000;
    let plain = |timestamp_ms| TimedFloat {
        value: 1.0,
        timestamp_ms,
    };
    let far = now + 600_001;
    let floats = [plain(now), plain(far - 1), plain(far)];
    let broken = Histogram {
        count: Some(Count::Int(1)),
        ..histogram(now - 30)
    };
    let too_many = Histogram {
        count: Some(Count::Int(3)),
        zero_count: Some(ZeroCount::Int(0)),
        schema: -53,
        custom_values: vec![1.0, 2.0, 3.0],
        positive_spans: vec![crate::prompb::messages::BucketSpan {
            offset: 0,
            length: 3,
        }],
        positive_deltas: vec![1, 0, 0],
        ..histogram(now - 20)
    };
    let mut stale = Histogram::stale(crate::prompb::ValueKind::Histogram);
    stale.timestamp = now - 5;
    let histograms = [
        histogram(now - 40),
        broken,
        too_many,
        histogram(now - 10),
        stale,
    ];
    let rules = process.rules(now);
    let mut transaction = IntakeTransaction::begin_window(&process.writers, rules, &[]);
    let window = SeriesWindow {
        series: b"\na",
        floats: &floats,
        histograms: &histograms,
    };
    let labels = [exposed("__name__", "a")];
    transaction
        .intake()
        .resolved_window(&window, &labels)
        .unwrap();
    let tally = transaction.tally();
    let commit = transaction.commit().unwrap().remove(0);
    assert_balance(commit.counts);
    let sent: Vec<Vec<i64>> = times(&commit);
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [3, 2]);
    assert_eq!((commit.counts.fresh, commit.counts.filtered), (5, 3));
    assert_eq!(
        (tally.scraped, tally.post_relabel, tally.limited),
        (8, 5, 1)
    );
    assert!(tally.over_buckets);

    // The one that is too far ahead moves nothing: what comes before it is still taken.
    let window = SeriesWindow {
        series: b"\na",
        floats: &[plain(far - 1), plain(far)],
        histograms: &[],
    };
    let rules = process.rules(now + 1);
    let mut transaction = IntakeTransaction::begin_window(&process.writers, rules, &[]);
    assert_eq!(transaction.intake().known_window(&window), Ok(true));
    let commit = transaction.commit().unwrap().remove(0);
    assert_eq!((commit.counts.fresh, commit.counts.overlapped), (1, 1));
}

#[test]
fn samples_out_of_order_or_twice_are_put_in_order_and_sent_once() {
    let mut process = Process::new(LIMITS, 1);
    let mut samples = at(Kind::Float, [3, 1, 2, 2]);
    samples.extend(at(Kind::Histogram, [2, 9, 8, 9]));
    let commit = process.takes(i64::MIN, true, "a", &samples);
    // Of a float and a histogram at one time the float counts, and ends its run.
    let expected: [&[i64]; 3] = [&[1, 2], &[3], &[8, 9]];
    assert_eq!(times(&commit), expected);
    assert_eq!((commit.counts.fresh, commit.counts.filtered), (5, 3));
}

#[test]
fn a_series_that_relabelling_drops_is_counted_once() {
    let mut process = Process::new(LIMITS, 1);
    process.metric_relabel = vec![
        Rule::new(RuleSpec {
            source_labels: Some(vec!["__name__".to_owned()]),
            regex: Some("dropped".to_owned()),
            action: Action::Drop,
            ..RuleSpec::default()
        })
        .unwrap(),
    ];
    let first = process.takes(EPOCH_MS, true, "dropped", &at(Kind::Float, [-1, 1, 2]));
    assert_eq!((first.counts.filtered, first.counts.overlapped), (2, 1));
    assert_eq!((process.tally.scraped, process.tally.post_relabel), (2, 0));
    let second = process.takes(
        EPOCH_MS + 2000,
        true,
        "dropped",
        &at(Kind::Float, [1, 2, 3]),
    );
    assert_eq!((second.counts.filtered, second.counts.overlapped), (1, 2));
    assert_eq!(fresh(&second), 0);
    assert_eq!(process.tally.scraped, 1);
}

#[test]
fn histograms_that_a_remote_does_not_take_are_counted_once() {
    let mut process = Process::new(LIMITS, 0);
    process.writers.push(RefCell::new(Writer::new(LIMITS)));
    let mut samples = at(Kind::Float, [1]);
    samples.extend(at(Kind::Histogram, [2, 3]));
    let first = process.takes(i64::MIN, true, "a", &samples);
    assert_eq!((first.counts.fresh, first.counts.filtered), (1, 2));
    let again = process.takes(i64::MIN, true, "a", &samples);
    assert_eq!((again.counts.scraped, again.counts.overlapped), (0, 3));
}

#[test]
fn sample_limit_counts_a_series_once() {
    let mut process = Process::new(LIMITS, 1);
    process.limits.samples = 1;
    let samples = at(Kind::Float, 1..5);
    let one = process.takes(i64::MIN, true, "a", &samples);
    assert_eq!((one.counts.fresh, process.tally.limited), (4, 1));
    let later = at(Kind::Float, 5..9);
    let series = BTreeMap::from([("a", later.clone()), ("b", later)]);
    let two = process.read(&[], &series, true).remove(0);
    assert_eq!(
        (two.counts.fresh, two.counts.filtered, process.tally.limited),
        (4, 4, 2)
    );
}

#[test]
fn each_remote_takes_what_is_new_to_it() {
    let mut process = Process::new(LIMITS, 2);
    let start = |second: i64| WindowStart {
        watermark_ms: EPOCH_MS + second * 1000,
        complete: false,
        ..WindowStart::default()
    };
    let series = BTreeMap::from([("a", at(Kind::Float, [10, 20, 30]))]);
    let commits = process.read(&[start(20), start(5)], &series, true);
    assert_eq!(times(&commits[0]), [[30]]);
    assert_eq!(times(&commits[1]), [[10, 20, 30]]);
    assert_eq!(
        (commits[0].counts.overlapped, commits[1].counts.overlapped),
        (2, 0)
    );
    assert_eq!(
        process.tally.scraped, 3,
        "the source gave three new samples"
    );
}

#[test]
fn a_remote_that_is_further_than_another_one_gets_no_slot_twice() {
    let mut process = Process::new(LIMITS, 3);
    let start = |second: i64, earlier| WindowStart {
        watermark_ms: EPOCH_MS + second * 1000,
        complete: true,
        earlier,
    };
    let starts = [
        start(0, EarlierSamples::Newest),
        start(25, EarlierSamples::Newest),
        start(30, EarlierSamples::None),
    ];
    let series = BTreeMap::from([("a", at(Kind::Float, [10, 20, 30]))]);
    let commits = process.read(&starts, &series, true);
    assert_eq!(times(&commits[0]), [[10, 20, 30]]);
    assert_eq!(times(&commits[1]), [[20, 30]], "the next slot may show 20");
    assert_eq!(fresh(&commits[2]), 0);
    let overlapped = [0, 1, 2].map(|remote: usize| commits[remote].counts.overlapped);
    assert_eq!(overlapped, [0, 1, 3]);
    // The next window begins at the watermarks of before, too.
    let series = BTreeMap::from([("a", at(Kind::Float, [30, 40]))]);
    let commits = process.read(&starts, &series, true);
    assert_eq!(times(&commits[1]), [[40]], "30 was sent");
    assert_eq!(times(&commits[2]), [[40]]);
}

#[test]
fn a_window_that_is_rolled_back_is_new_again() {
    let mut process = Process::new(LIMITS, 1);
    let first = at(Kind::Float, [1, 2]);
    process.takes(i64::MIN, true, "a", &first);
    let series = BTreeMap::from([("a", at(Kind::Float, [1, 2, 3, 4]))]);
    let lost = process.read(&[], &series, false).remove(0);
    assert_eq!((lost.rolled_back, fresh(&lost)), (2, 0));
    let again = process.read(&[], &series, true).remove(0);
    assert_eq!(times(&again), [[3, 4]]);
}

#[test]
fn a_federated_sample_and_a_read_one_share_their_last_timestamp() {
    let federates = |process: &Process, second: i64| {
        let rules = IntakeRules {
            honor_timestamps: true,
            ..process.rules(EPOCH_MS + second * 1000)
        };
        let mut transaction = IntakeTransaction::begin(&process.writers, rules);
        let sample = ExposedSample {
            series: b"a{cluster=\"a\"}",
            value: 1.0.into(),
            timestamp_ms: Some(EPOCH_MS + second * 1000),
        };
        let mut intake = transaction.intake();
        if !intake.known(&sample).unwrap() {
            let labels = [exposed("__name__", "a"), exposed("cluster", "a")];
            intake.resolved(&sample, &labels).unwrap();
        }
        assert_eq!(
            intake.expected(),
            None,
            "a series of a window is never expected"
        );
        drop(intake);
        transaction.commit().unwrap().remove(0).counts
    };
    for read_first in [false, true] {
        let mut process = Process::new(LIMITS, 1);
        if read_first {
            process.takes(i64::MIN, true, "a", &at(Kind::Float, [1]));
        }
        assert_eq!(federates(&process, 10).fresh, 1);
        let commit = process.takes(i64::MIN, true, "a", &at(Kind::Float, [5, 10, 15]));
        assert_eq!(times(&commit), [[15]], "read first: {read_first}");
        assert_eq!(federates(&process, 15).unchanged, 1);
        assert_eq!(
            process.writers[0]
                .borrow()
                .last_timestamps(|_| true, 0)
                .len(),
            1
        );
    }
}

#[test]
fn a_window_marks_no_series_as_stale() {
    let process = Process::new(LIMITS, 1);
    let rules = process.rules(EPOCH_MS);
    // `honor_timestamps` is off, so federated series are tracked.
    let mut scrape = IntakeTransaction::begin(&process.writers, rules);
    let sample = ExposedSample {
        series: b"a",
        value: 1.0.into(),
        timestamp_ms: None,
    };
    let labels = [exposed("__name__", "a")];
    scrape.intake().resolved(&sample, &labels).unwrap();
    scrape.mark_stale().unwrap();
    scrape.commit().unwrap();

    let rules = process.rules(EPOCH_MS + 1);
    for fails in [false, true] {
        let mut window = IntakeTransaction::begin_window(&process.writers, rules, &[]);
        if fails {
            window.roll_back();
        }
        window.mark_stale().unwrap();
        let commit = window.commit().unwrap().remove(0);
        assert_eq!(commit.counts.fresh, 0, "fails: {fails}");
    }
    let mut scrape = IntakeTransaction::begin(&process.writers, rules);
    scrape.mark_stale().unwrap();
    let commit = scrape.commit().unwrap().remove(0);
    assert_eq!(commit.counts.fresh, 1, "the next scrape marks it");
}

#[test]
fn series_are_forgotten_by_the_time_of_their_samples() {
    let mut process = Process::new(LIMITS, 1);
    process.takes(EPOCH_MS, true, "slow", &at(Kind::Float, [1]));
    for second in 2..300 {
        let watermark_ms = EPOCH_MS + second * 1000;
        process.takes(watermark_ms, true, "fast", &at(Kind::Float, [second]));
    }
    let series = |process: &Process| process.writers[0].borrow().series();
    assert_eq!(series(&process), 2, "windows that are short forget nothing");
    let hour = EPOCH_MS + 1_000_000;
    process.takes(hour, true, "fast", &at(Kind::Float, [1_000]));
    assert_eq!(series(&process), 1);
    let again = process.takes(hour, true, "slow", &at(Kind::Float, [990]));
    assert_eq!(times(&again), [[990]]);
}

#[test]
fn what_was_lost_after_a_time_is_taken_again() {
    let mut process = Process::new(LIMITS, 1);
    process.takes(i64::MIN, true, "a", &at(Kind::Float, [1, 2, 3]));
    let mut cold = process.successor(0);
    for process in [&mut process, &mut cold] {
        process.writers[0]
            .borrow_mut()
            .rewind(EPOCH_MS + 1500, |_| true);
        let commit = process.takes(i64::MIN, true, "a", &at(Kind::Float, [1, 2, 3]));
        assert_eq!(times(&commit), [[2, 3]]);
    }
}

#[test]
fn a_table_replaces_what_a_process_knew() {
    let mut process = Process::new(LIMITS, 1);
    let mut other = process.successor(0);
    process.takes(i64::MIN, true, "a", &at(Kind::Float, [1, 2, 3]));
    process.takes(i64::MIN, true, "b", &at(Kind::Float, [1]));
    other.takes(i64::MIN, true, "a", &at(Kind::Float, [1]));
    other.takes(i64::MIN, true, "c", &at(Kind::Float, [7]));
    let table = other.writers[0].borrow().last_timestamps(|_| true, 0);
    process.writers[0].borrow_mut().restore(&table, |_| true);
    let rows: [(&str, &[i64], &[i64]); 3] = [
        ("a", &[1, 2, 3], &[2, 3]),
        ("b", &[1], &[1]),
        ("c", &[7, 8], &[8]),
    ];
    for (name, shown, sent) in rows {
        let commit = process.takes(
            i64::MIN,
            true,
            name,
            &at(Kind::Float, shown.iter().copied()),
        );
        assert_eq!(times(&commit), [sent], "{name}");
    }
}

/// A series of a simulated home, and how much of it is visible at each read: a prefix in time.
fn arbitrary_series() -> impl Strategy<Value = (Samples, Vec<u8>)> {
    let sample = (
        1..8_000_i64,
        prop_oneof![
            6 => Just(Kind::Float),
            1 => Just(Kind::Marker),
            2 => Just(Kind::Histogram),
        ],
    );
    (vec(sample, 0..25), vec(0..4_u8, 12)).prop_map(|(steps, lateness)| {
        let mut now = EPOCH_MS;
        let samples = steps.into_iter().map(|(step, kind)| {
            now += step;
            (now, kind)
        });
        (samples.collect(), lateness)
    })
}

/// What a process does between two reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    Nothing,
    /// Another process goes on.
    Cold,
    /// The read fails, and comes again.
    Fails,
}

proptest! {
    /// However the samples are cut into windows, whatever becomes visible late, and whoever reads:
    /// the receiver has each sample once, and a cold process sends what a warm one does.
    #[test]
    fn the_receiver_has_what_the_home_has(
        series in vec(arbitrary_series(), 1..6),
        windows in vec((1_000..40_000_i64, prop_oneof![
            Just(Between::Nothing),
            Just(Between::Cold),
            Just(Between::Fails),
        ]), 12),
        samples in 1..12_usize,
        bytes in prop_oneof![60..500_usize, Just(100_000)],
    ) {
        const NAMES: [&str; 6] = ["a", "a2", "b", "b2", "b3", "c"];
        let late_ms = 5_000;
        let overlap_ms = 3 * late_ms;
        let limits = BatchLimits { samples, bytes };
        let (mut warm, mut cold) = (Process::new(limits, 1), Process::new(limits, 1));
        let mut receiver = Receiver::default();
        let mut watermark_ms = EPOCH_MS;
        let mut complete = false;
        let last = series.iter().filter_map(|(samples, _)| samples.last()).map(|last| last.0).max();
        let end = (last.unwrap_or(EPOCH_MS) + overlap_ms, Between::Nothing, true);
        let mut until_ms = EPOCH_MS;
        let windows = windows.into_iter().map(|(step, between)| {
            until_ms += step;
            (until_ms, between, false)
        });
        let reads: Vec<_> = windows.take_while(|window| window.0 < end.0).chain([end]).collect();
        for (number, (until_ms, between, is_last)) in reads.into_iter().enumerate() {
            let shown: BTreeMap<_, _> = NAMES.iter().copied().zip(&series).map(|(name, (all, lateness))| {
                let late_ms = if is_last { 0 } else { i64::from(lateness[number % 12]) * late_ms };
                let visible = all.iter().filter(|(at, _)| {
                    *at >= watermark_ms - overlap_ms && *at <= until_ms - late_ms
                });
                (name, visible.copied().collect::<Samples>())
            }).filter(|(_, shown)| !shown.is_empty()).collect();
            let starts = [WindowStart { watermark_ms, complete, ..WindowStart::default() }];
            if between == Between::Fails {
                let lost = warm.read(&starts, &shown, false);
                prop_assert_eq!(fresh(&lost[0]), 0);
            }
            if between == Between::Cold {
                cold = cold.successor(watermark_ms - overlap_ms);
            }
            let commits = warm.read(&starts, &shown, true);
            prop_assert_eq!(&cold.read(&starts, &shown, true)[0].scrapes, &commits[0].scrapes);
            receiver.take(&commits[0].scrapes);
            // A prefix may be shorter than the one that an earlier read saw only in this model.
            (watermark_ms, complete) = (until_ms, true);
        }
        for (name, (all, _)) in NAMES.iter().zip(&series) {
            let expected: BTreeMap<i64, (Kind, u64)> = all
                .iter()
                .map(|&(at, kind)| (at, (kind, value(at, kind).to_bits())))
                .collect();
            let stored = receiver.0.get(*name).cloned().unwrap_or_default();
            prop_assert_eq!(stored, expected, "{}", name);
        }
    }
}
