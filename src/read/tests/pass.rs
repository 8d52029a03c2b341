//! What a pass makes of an answer.

use prost::Message as _;

use super::super::pass::*;
use super::super::reduce::SlotHistograms;
use super::super::request::TimeRange;
use super::super::response::{MalformedResponse, ReadResponseDecoder};
use super::super::shape::WindowShape;
use crate::config::NameEscaping;
use crate::intake::{Refusal, SeriesWindow, WindowSink};
use crate::prompb::messages::{Histogram, Label, Sample, TimeSeries};
use crate::prompb::remote_read::{QueryResult, ReadResponse};
use crate::series::{ExposedLabel, LabelSpan};

/// Writes down the windows that it is shown. It knows the series that it has seen before.
#[derive(Default)]
struct Recorder {
    known: Vec<Vec<u8>>,
    /// Labels, times of floats, times of histograms.
    windows: Vec<(String, Vec<i64>, Vec<i64>)>,
    labels: Vec<String>,
}

impl WindowSink for Recorder {
    fn known_window(&mut self, window: &SeriesWindow<'_>) -> Result<bool, Refusal> {
        let Some(at) = self.known.iter().position(|raw| raw == window.series) else {
            return Ok(false);
        };
        self.windows.push((
            self.labels[at].clone(),
            window
                .floats
                .iter()
                .map(|float| float.timestamp_ms)
                .collect(),
            window
                .histograms
                .iter()
                .map(|histogram| histogram.timestamp)
                .collect(),
        ));
        Ok(true)
    }

    fn resolved_window(
        &mut self,
        window: &SeriesWindow<'_>,
        labels: &[ExposedLabel<'_>],
    ) -> Result<(), Refusal> {
        let pairs = labels.iter().map(|label| {
            if let Some(LabelSpan { name, value }) = label.span {
                let at = |start: u32, text: &str| {
                    &window.series[start as usize..][..text.len()] == text.as_bytes()
                };
                assert!(at(name, &label.name) && at(value, &label.value));
            }
            format!("{}={}", label.name, label.value)
        });
        self.labels.push(pairs.collect::<Vec<_>>().join(","));
        self.known.push(window.series.to_vec());
        self.known_window(window).map(|_| ())
    }
}

fn series(labels: &[(&str, &str)], floats: &[i64], histograms: &[i64]) -> TimeSeries {
    TimeSeries {
        labels: labels
            .iter()
            .map(|&(name, value)| Label {
                name: name.to_owned(),
                value: value.to_owned(),
            })
            .collect(),
        samples: floats
            .iter()
            .map(|&timestamp| Sample {
                value: 1.0,
                timestamp,
            })
            .collect(),
        histograms: histograms
            .iter()
            .map(|&timestamp| Histogram {
                timestamp,
                ..Histogram::default()
            })
            .collect(),
    }
}

const RULES: PassRules = PassRules {
    range: TimeRange {
        start_ms: 10,
        end_ms: 50,
    },
    shape: WindowShape::Raw { resolution_ms: 0 },
    own_timestamps: true,
    histograms: SlotHistograms::Floats,
    takes_native: true,
    escaping: NameEscaping::AllowUtf8,
    max_samples: 20,
};

/// One pass over these results. Gives its counts and the label sets that came again.
fn pass(
    rules: PassRules,
    hold: &RepeatedKeys,
    results: &[&[TimeSeries]],
    sink: &mut Recorder,
) -> Result<(PassCounts, RepeatedKeys), PassError> {
    let results = results.iter().map(|series| QueryResult {
        timeseries: series.to_vec(),
    });
    let answer = ReadResponse {
        results: results.collect(),
    }
    .encode_to_vec();
    let mut decoder = ReadResponseDecoder::default();
    let mut pass = Pass::new(rules, hold);
    let done = decoder.decode(&answer, |series| pass.take(series, sink))?;
    decoder.finish(answer.len() - done, decoder.results())?;
    pass.finish(sink)?;
    Ok((pass.counts, pass.repeated))
}

/// Labels of a window, and the times of its floats and of its histograms.
type ShownWindow = (String, Vec<i64>, Vec<i64>);

fn windows(results: &[&[TimeSeries]]) -> (Vec<ShownWindow>, PassCounts) {
    let (mut sink, none) = (Recorder::default(), RepeatedKeys::default());
    let (counts, repeated) = pass(RULES, &none, results, &mut sink).unwrap();
    assert_eq!(repeated.len(), 0);
    (sink.windows, counts)
}

#[test]
fn a_job_without_native_histograms_reads_none() {
    let latency = series(&[("__name__", "x"), ("instance", "")], &[20], &[30, 40]);
    let (mut sink, none) = (Recorder::default(), RepeatedKeys::default());
    let rules = PassRules {
        takes_native: false,
        ..RULES
    };
    pass(rules, &none, &[&[latency]], &mut sink).unwrap();
    let expected = ("__name__=x,instance=".to_owned(), vec![20], vec![]);
    assert_eq!(sink.windows, [expected]);
}

#[test]
fn a_series_comes_with_its_samples_in_range() {
    let up = series(
        &[("__name__", "up"), ("instance", "a")],
        &[9, 10, 50, 51],
        &[],
    );
    let latency = series(&[("__name__", "x"), ("job", "b")], &[20], &[30, 60]);
    let late = series(&[("__name__", "z")], &[51], &[]);
    let (shown, counts) = windows(&[&[up, latency, late]]);
    assert_eq!(
        shown,
        [
            ("__name__=up,instance=a".to_owned(), vec![10, 50], vec![]),
            // Federation shows an empty instance where there is none.
            ("__name__=x,job=b,instance=".to_owned(), vec![20], vec![30]),
        ]
    );
    assert_eq!(
        counts,
        PassCounts {
            series: 3,
            samples: 8,
            skipped: 0,
            newest_ms: Some(50),
        }
    );
}

#[test]
fn a_series_without_a_name_is_passed_over() {
    let nameless = series(&[("job", "a")], &[20], &[]);
    let empty = series(&[("__name__", ""), ("job", "a")], &[20], &[]);
    let up = series(&[("__name__", "up")], &[20], &[]);
    let (shown, counts) = windows(&[&[nameless, empty, up]]);
    assert_eq!(shown.len(), 1);
    assert_eq!(counts.skipped, 2);
}

#[test]
fn names_that_are_not_legacy_ones_are_written_as_federation_writes_them() {
    let dotted = series(&[("__name__", "a.b"), ("c d", "e.f")], &[20], &[]);
    let (mut sink, none) = (Recorder::default(), RepeatedKeys::default());
    let rules = PassRules {
        escaping: NameEscaping::Underscores,
        ..RULES
    };
    pass(rules, &none, &[&[dotted]], &mut sink).unwrap();
    assert_eq!(
        sink.windows,
        [(
            "__name__=a_b,c_d=e.f,instance=".to_owned(),
            vec![20],
            vec![]
        )]
    );
}

#[test]
fn what_an_earlier_query_gave_is_dropped() {
    let up = series(&[("__name__", "up")], &[20, 30], &[]);
    let other = series(&[("__name__", "other")], &[20], &[]);
    let both = [other, up.clone()];
    let results: [&[TimeSeries]; 3] = [std::slice::from_ref(&up), &[], &both];
    let (shown, counts) = windows(&results);
    let names: Vec<_> = shown.iter().map(|(labels, ..)| &**labels).collect();
    assert_eq!(names, ["__name__=up,instance=", "__name__=other,instance="]);
    assert_eq!(counts.series, 3);
}

#[test]
fn a_label_set_that_comes_twice_is_merged_in_a_second_pass() {
    let first = series(&[("__name__", "up")], &[20, 40], &[]);
    let between = series(&[("__name__", "x")], &[20], &[]);
    let again = series(&[("__name__", "up")], &[15, 30, 40], &[25]);
    let results: [&[TimeSeries]; 2] = [&[first.clone(), between, again], &[first]];
    let none = RepeatedKeys::default();
    let mut sink = Recorder::default();
    let (_, repeated) = pass(RULES, &none, &results, &mut sink).unwrap();
    assert_eq!(repeated.len(), 1);
    let mut sink = Recorder::default();
    let (counts, still) = pass(RULES, &repeated, &results, &mut sink).unwrap();
    assert_eq!(still.len(), 0);
    assert_eq!(counts.samples, 7, "{counts:?}");
    sink.windows.sort();
    assert_eq!(
        sink.windows,
        [
            (
                "__name__=up,instance=".to_owned(),
                vec![15, 20, 30, 40],
                vec![25]
            ),
            ("__name__=x,instance=".to_owned(), vec![20], vec![]),
        ]
    );
}

#[test]
fn a_window_has_a_number_of_samples_that_it_may_hold() {
    let up = series(&[("__name__", "up")], &[20; 21], &[]);
    let none = RepeatedKeys::default();
    let error = pass(RULES, &none, &[&[up]], &mut Recorder::default()).unwrap_err();
    assert!(matches!(error, PassError::TooManySamples), "{error}");
}

#[test]
fn labels_that_are_no_utf8_are_passed_over_and_those_that_are_no_labels_end_the_pass() {
    let bytes = |label: &[u8]| {
        let series = [label, &[0x12, 2, 0x10, 20]].concat();
        let len = series.len() as u8;
        [&[0x0a, len + 2, 0x0a, len][..], &series].concat()
    };
    let take = |answer: &[u8]| {
        let hold = RepeatedKeys::default();
        let mut pass = Pass::new(RULES, &hold);
        let mut sink = Recorder::default();
        ReadResponseDecoder::default()
            .decode(answer, |series| pass.take(series, &mut sink))
            .map(|_| (sink.windows.len(), pass.counts.skipped))
    };
    let name = [b"\x0a\x0e\x0a\x08__name__\x12\x02".as_slice(), b"up"].concat();
    assert_eq!(take(&bytes(&name)).unwrap(), (1, 0));
    let not_utf8 = [b"\x0a\x0e\x0a\x08__name__\x12\x02".as_slice(), b"\xff\xfe"].concat();
    assert_eq!(take(&bytes(&not_utf8)).unwrap(), (0, 1));
    let no_label = b"\x0a\x03\x0a\x05a";
    let error = take(&bytes(no_label)).unwrap_err();
    assert!(
        matches!(
            error,
            PassError::Malformed(MalformedResponse { offset: 4, .. })
        ),
        "{error}"
    );
}
