//! Many scrapes of changing expositions, against a model that remembers the last timestamp of each
//! label set and nothing else.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::exposition::ExpositionError;
use super::protobuf::ProtobufParser;
use super::text::TextParser;
use crate::batch::stage::BatchLimits;
use crate::batch::{Batch, SampleCounts, StagedScrape, Writer, decode};
use crate::config::{NameValidation, ScrapeLimits};
use crate::home::{JobId, Target};
use crate::intake::HistogramLimits;
use crate::intake::{Intake, IntakeRules, Tally};
use crate::series::TargetId;

/// `series::cache` forgets what more committed scrapes than that did not show.
const KEEP_UNSEEN: u32 = 10;

/// When the scrapes begin: a time of day, so that timestamps have the form that they mostly have.
const EPOCH_MS: i64 = 1_795_176_000_000;

const LIMITS: BatchLimits = BatchLimits {
    samples: 3,
    bytes: 400,
};

/// One line of an exposition.
#[derive(Debug, Clone)]
struct Line {
    series: u8,
    /// How it is written.
    style: u8,
    value: f64,
    timestamp_ms: Option<i64>,
}

impl Line {
    /// Everything of a line but value and timestamp.
    fn raw(&self) -> String {
        let Self { series, style, .. } = self;
        let cluster = series % 2;
        match style {
            0 => format!("foo{{cluster=\"{cluster}\",n=\"{series}\\n\"}}"),
            1 => format!("foo{{n=\"{series}\\n\", cluster=\"{cluster}\"}}"),
            _ => format!("{{\"foo\",n=\"{series}\n\",cluster=\"{cluster}\",job=\"\"}}"),
        }
    }

    fn text(&self) -> String {
        let timestamp = self
            .timestamp_ms
            .map(|at| format!(" {at}"))
            .unwrap_or_default();
        format!("{} {}{timestamp}\n", self.raw(), self.value)
    }
}

fn target() -> Target {
    let labels = vec![
        ("instance".to_owned(), "h:1".to_owned()),
        ("job".to_owned(), "j".to_owned()),
    ];
    Target {
        id: TargetId(0),
        job: JobId(0),
        url: Ok("http://h:1/".parse().unwrap()),
        labels,
        scrape_timeout: Duration::from_secs(10),
        siblings: 1,
    }
}

/// What is staged of a text, and how its parse ended.
fn staged(
    writer: &RefCell<Writer>,
    text: &str,
    start_ms: i64,
) -> (StagedScrape, Tally, Result<usize, ExpositionError>) {
    let (target, external_labels) = (
        target(),
        BTreeMap::from([("site".to_owned(), "home".to_owned())]),
    );
    let rules = IntakeRules {
        target: &target,
        honor_labels: false,
        honor_timestamps: true,
        track_timestamps_staleness: false,
        limits: ScrapeLimits::default(),
        validation: NameValidation::Utf8,
        metric_relabel: &[],
        histogram_limits: HistogramLimits::default(),
        external_labels: &external_labels,
        remotes: &[],
        start_ms,
    };
    let mut staged = vec![writer.borrow_mut().begin(TargetId(0))];
    let mut tally = Tally::default();
    let mut intake = Intake::new(rules, std::slice::from_ref(writer), &mut staged, &mut tally);
    let ended = TextParser::default().parse(text.as_bytes(), true, &mut intake);
    drop(intake);
    (staged.remove(0), tally, ended)
}

/// One scrape: its counts, and its batches when it commits.
fn scrape(
    writer: &RefCell<Writer>,
    lines: &[Line],
    start_ms: i64,
    commit: bool,
) -> (SampleCounts, Vec<Vec<Batch>>) {
    let text: String = lines.iter().map(Line::text).collect();
    let (staged, tally, ended) = staged(writer, &text, start_ms);
    ended.unwrap();
    assert_eq!(tally.scraped, lines.len() as u64);
    let counts = staged.counts;
    assert_eq!(
        counts.scraped,
        counts.filtered + counts.unchanged + counts.fresh
    );
    if commit {
        (counts, writer.borrow_mut().commit(staged).unwrap())
    } else {
        writer.borrow_mut().rollback(staged);
        (counts, Vec::new())
    }
}

/// What is remembered of a label set.
#[derive(Debug, Clone, Default)]
struct Last {
    timestamp_ms: Option<i64>,
    /// When each way to write it was last seen.
    seen: BTreeMap<u8, u32>,
}

#[derive(Debug, Default)]
struct Model {
    series: BTreeMap<u8, Last>,
    scrapes: u32,
}

impl Model {
    /// The fresh lines, by how many fresh ones of their series the scrape gave before, and the
    /// lines already sent.
    fn scrape(&mut self, lines: &[Line], start_ms: i64, commit: bool) -> (Vec<Vec<Line>>, u64) {
        let before: BTreeMap<u8, Option<i64>> = self
            .series
            .iter()
            .map(|(series, last)| (*series, last.timestamp_ms))
            .collect();
        let (mut fresh, mut unchanged) = (Vec::<Vec<Line>>::new(), 0);
        let (mut given, mut written) = (BTreeMap::<u8, usize>::new(), BTreeSet::new());
        for line in lines {
            let last = self.series.entry(line.series).or_default();
            last.seen
                .insert(line.style, self.scrapes + u32::from(commit));
            if !written.insert(line.raw()) && line.timestamp_ms.is_none() {
                continue;
            }
            let timestamp_ms = line.timestamp_ms.unwrap_or(start_ms);
            let nth = given.get(&line.series).copied();
            if last.timestamp_ms.is_some_and(|last| timestamp_ms <= last) {
                unchanged += u64::from(nth.is_none() && last.timestamp_ms == Some(timestamp_ms));
                continue;
            }
            last.timestamp_ms = Some(timestamp_ms);
            let nth = nth.unwrap_or(0);
            given.insert(line.series, nth + 1);
            fresh.resize_with(fresh.len().max(nth + 1), Vec::new);
            fresh[nth].push(Line {
                timestamp_ms: Some(timestamp_ms),
                ..line.clone()
            });
        }
        if commit {
            self.scrapes += 1;
        } else {
            for (series, last) in &mut self.series {
                last.timestamp_ms = before.get(series).copied().flatten();
            }
        }
        let scrapes = self.scrapes;
        if commit && scrapes.is_multiple_of(KEEP_UNSEEN) {
            self.series
                .retain(|_, last| last.seen.values().any(|seen| seen + KEEP_UNSEEN >= scrapes));
        }
        (fresh, unchanged)
    }
}

/// Labels, value's bits, timestamp.
type Sample = (Vec<(String, String)>, u64, i64);

/// Samples of batches, sorted.
fn samples(batches: &[Batch]) -> Vec<Sample> {
    let mut samples = Vec::new();
    for batch in batches {
        let request = decode(batch).unwrap();
        assert_eq!(request.timeseries.len(), batch.samples as usize);
        assert!(
            batch.samples as usize <= LIMITS.samples
                && (batch.raw_len as usize <= LIMITS.bytes || batch.samples == 1)
        );
        let clusters: BTreeSet<_> = request
            .timeseries
            .iter()
            .flat_map(|entry| {
                entry
                    .labels
                    .iter()
                    .find(|label| label.name == "cluster")
                    .map(|label| &label.value)
            })
            .collect();
        assert_eq!(clusters.len(), 1, "a batch mixes clusters");
        for entry in &request.timeseries {
            assert!(entry.labels.is_sorted_by(|a, b| a.name < b.name));
            let [sample] = &entry.samples[..] else {
                panic!("one sample an entry")
            };
            let labels = entry
                .labels
                .iter()
                .map(|label| (label.name.clone(), label.value.clone()))
                .collect();
            assert!((batch.min_ms..=batch.max_ms).contains(&sample.timestamp));
            samples.push((labels, sample.value.to_bits(), sample.timestamp));
        }
    }
    samples.sort();
    samples
}

fn expected(line: &Line) -> Sample {
    let labels = [
        ("__name__", "foo".to_owned()),
        ("cluster", (line.series % 2).to_string()),
        ("instance", "h:1".to_owned()),
        ("job", "j".to_owned()),
        ("n", format!("{}\n", line.series)),
        ("site", "home".to_owned()),
    ];
    (
        labels
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec(),
        line.value.to_bits(),
        line.timestamp_ms.unwrap(),
    )
}

/// A line of the series that are about at a time; they come and go in the course of the scrapes.
fn line(at: i64) -> impl Strategy<Value = Line> {
    let about = u8::try_from(at / 9).unwrap();
    let timestamp_ms = prop_oneof![2 => Just(None), 3 => (0..30_i64).prop_map(move |back| Some(EPOCH_MS + at * 10 - back))];
    (about..about + 4, 0..3_u8, any::<u8>(), timestamp_ms).prop_map(
        |(series, style, value, timestamp_ms)| Line {
            series,
            style,
            value: f64::from(value),
            timestamp_ms,
        },
    )
}

fn scrapes() -> impl Strategy<Value = Vec<(Vec<Line>, bool)>> {
    (0..60_i64)
        .map(|at| (vec(line(at), 0..8), prop::bool::weighted(0.8)).boxed())
        .collect::<Vec<_>>()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_warm_writer_sends_what_is_new_as_a_cold_one_would(scrapes in scrapes()) {
        let warm = RefCell::new(Writer::new(LIMITS));
        let mut model = Model::default();
        for (at, (lines, commit)) in (0..).zip(scrapes) {
            let start_ms = EPOCH_MS + at * 10 + 5;
            let (counts, batches) = scrape(&warm, &lines, start_ms, commit);
            let (fresh, unchanged) = model.scrape(&lines, start_ms, commit);
            prop_assert_eq!(counts.unchanged, unchanged, "scrape {}", at);
            prop_assert_eq!(counts.fresh, fresh.iter().map(|lines| lines.len() as u64).sum::<u64>(), "scrape {}", at);
            if !commit {
                continue;
            }
            prop_assert_eq!(batches.len(), fresh.len());
            for (batches, lines) in batches.iter().zip(&fresh) {
                let mut wanted: Vec<_> = lines.iter().map(expected).collect();
                wanted.sort();
                prop_assert_eq!(samples(batches), wanted);
                // Cold, one that sees only these lines: the same bytes.
                let cold = RefCell::new(Writer::new(LIMITS));
                let (_, cold) = scrape(&cold, lines, start_ms, true);
                prop_assert_eq!(&cold[..], std::slice::from_ref(batches));
            }
        }
        prop_assert!(warm.borrow().series() <= 3 * 4 * 4, "{} series are remembered", warm.borrow().series());
    }
}

#[test]
fn forgotten_timestamps_are_sent_again() {
    let writer = RefCell::new(Writer::new(LIMITS));
    let lines = [Line {
        series: 1,
        style: 0,
        value: 1.0,
        timestamp_ms: Some(7),
    }];
    assert_eq!(scrape(&writer, &lines, 10, true).0.fresh, 1);
    assert_eq!(scrape(&writer, &lines, 20, true).0.unchanged, 1);
    writer.borrow_mut().forget_timestamps();
    assert_eq!(scrape(&writer, &lines, 30, true).0.fresh, 1);
}

/// A series of a protobuf exposition: which one, the order of its labels, and what it is worth.
#[derive(Debug, Clone)]
struct Exposed {
    series: u8,
    swapped: bool,
    /// Untyped, a native histogram of integers, one of floats, a classic one.
    kind: u8,
    value: u8,
}

impl Exposed {
    fn family(&self) -> Vec<u8> {
        let Self {
            series,
            swapped,
            kind,
            value,
        } = self;
        let field = |tag: u8, bytes: &[u8]| {
            [
                &[tag << 3 | 2, u8::try_from(bytes.len()).unwrap()][..],
                bytes,
            ]
            .concat()
        };
        let pair = |name: &str, value: String| {
            field(
                1,
                &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat(),
            )
        };
        let mut labels = [
            pair("n", series.to_string()),
            pair("cluster", (series % 2).to_string()),
        ];
        if *swapped {
            labels.reverse();
        }
        let double =
            |tag: u8, value: u8| [&[tag << 3 | 1][..], &f64::from(value).to_le_bytes()].concat();
        let span = |tag: u8| field(tag, &[0x08, 0x04, 0x10, 0x01]);
        let worth = match kind {
            0 => field(5, &double(1, *value)),
            // An empty bucket of floats would not be one of floats.
            1 => field(
                7,
                &[
                    &[0x08, *value % 64][..],
                    &double(2, 1),
                    &span(12),
                    &[13 << 3, *value % 64 * 2],
                ]
                .concat(),
            ),
            2 => field(
                7,
                &[double(4, *value | 1), span(9), double(11, *value | 1)].concat(),
            ),
            _ => field(
                7,
                &[&[0x08, *value % 64][..], &field(3, &double(2, 1))].concat(),
            ),
        };
        let metric = field(4, &[labels.concat(), worth].concat());
        let name = format!("m{kind}");
        let family = [
            &field(1, name.as_bytes())[..],
            &[0x18, if *kind == 0 { 3 } else { 4 }],
            &metric,
        ]
        .concat();
        [&[u8::try_from(family.len()).unwrap()][..], &family].concat()
    }
}

fn scrape_protobuf(
    writer: &RefCell<Writer>,
    exposed: &[Exposed],
    start_ms: i64,
) -> (SampleCounts, Vec<Vec<Batch>>) {
    let (target, external_labels) = (
        target(),
        BTreeMap::from([("site".to_owned(), "home".to_owned())]),
    );
    let rules = IntakeRules {
        target: &target,
        honor_labels: false,
        honor_timestamps: true,
        track_timestamps_staleness: false,
        limits: ScrapeLimits::default(),
        validation: NameValidation::Utf8,
        histogram_limits: HistogramLimits::default(),
        metric_relabel: &[],
        external_labels: &external_labels,
        remotes: &[],
        start_ms,
    };
    let mut staged = vec![writer.borrow_mut().begin(TargetId(0))];
    let mut tally = Tally::default();
    let body: Vec<u8> = exposed.iter().flat_map(Exposed::family).collect();
    let mut intake = Intake::new(rules, std::slice::from_ref(writer), &mut staged, &mut tally);
    ProtobufParser::default()
        .parse(&body, true, &mut intake)
        .unwrap();
    drop(intake);
    let staged = staged.remove(0);
    (staged.counts, writer.borrow_mut().commit(staged).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn protobuf_is_encoded_to_the_same_bytes_cold_and_warm(
        scrapes in vec(vec((0..6_u8, any::<bool>(), 0..4_u8, any::<u8>()), 0..10), 1..8),
        sends in any::<bool>(),
    ) {
        let new = || RefCell::new(Writer::new(LIMITS).with_native_histograms(sends));
        let warm = new();
        for (at, scrape) in (1..).zip(scrapes) {
            let exposed: Vec<_> = scrape.into_iter().map(|(series, swapped, kind, value)| Exposed { series, swapped, kind, value }).collect();
            let (counts, batches) = scrape_protobuf(&warm, &exposed, at * 10);
            let (cold_counts, cold_batches) = scrape_protobuf(&new(), &exposed, at * 10);
            prop_assert_eq!(&batches, &cold_batches);
            prop_assert_eq!((counts.fresh, counts.filtered), (cold_counts.fresh, cold_counts.filtered));
            let mut histograms = 0;
            for series in batches.iter().flatten().flat_map(|batch| decode(batch).unwrap().timeseries) {
                prop_assert_eq!(series.samples.len() + series.histograms.len(), 1);
                histograms += series.histograms.len();
            }
            prop_assert_eq!(batches.iter().flatten().map(|batch| u64::from(batch.samples)).sum::<u64>(), counts.fresh);
            let natives: BTreeSet<_> = exposed.iter().filter(|exposed| matches!(exposed.kind, 1 | 2)).map(|exposed| (exposed.kind, exposed.series)).collect();
            prop_assert_eq!(histograms, if sends { natives.len() } else { 0 });
        }
    }
}

#[test]
fn an_errors_line_is_that_of_the_text_however_well_it_is_known() {
    let writer = RefCell::new(Writer::new(LIMITS));
    for text in [
        "b 2 10\na{l=\"x\ny\"} 1 10\n",
        "b 2 1700000000000\na{l=\"x\ny\"} 1 1700000000000\nbad{ 3\n",
    ] {
        let (staged, _, ended) = staged(&writer, text, 10);
        match ended {
            Ok(_) => _ = writer.borrow_mut().commit(staged).unwrap(),
            Err(stop) => assert!(stop.to_string().starts_with("line 4, column 6: "), "{stop}"),
        }
    }
}
