//! Windows that are read from a home whose answers a test writes down.

mod failures;
mod home;
mod pass;
mod shapes;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use self::home::{Answer, ScriptedHome};
use super::request::TimeRange;
use super::{NamePart, ReadSource, WindowOutcome, WindowReader, WindowRequest, WindowShape};
use crate::batch::stage::BatchLimits;
use crate::batch::{WindowStart, Writer, decode};
use crate::config::Config;
use crate::home::{Target, targets};
use crate::intake::RemoteCommit;
use crate::prompb::messages::{Histogram, Label, Sample, TimeSeries};
use crate::time::{Clock as _, TokioClock};

/// Start of each test, by both clocks: a whole second, on the grid.
pub(in crate::read) const NOW_MS: i64 = 1_795_176_000_000;

const LIMITS: BatchLimits = BatchLimits {
    samples: 1_000,
    bytes: 1_000_000,
};

/// A program with one job and one remote, and the home that it reads from.
struct Bench {
    config: Config,
    target: Target,
    source: ReadSource,
    home: ScriptedHome,
    clock: TokioClock,
    writers: Vec<RefCell<Writer>>,
    /// Bytes that a window may stage.
    room: usize,
    range: TimeRange,
    shape: WindowShape,
    reports: bool,
    part: NamePart,
    /// The most that was staged.
    staged: Cell<usize>,
}

impl Bench {
    /// `job` are further keys of the job, in flow style, each with a comma before it.
    fn new(selectors: &str, job: &str) -> Self {
        let text = format!(
            "scrape_configs:\n- {{job_name: j, metrics_path: /federate, honor_labels: true, \
             params: {{'match[]': [{selectors}]}}, static_configs: [{{targets: ['h:1']}}]{job}}}\n\
             remote_write:\n- {{url: http://a/, send_native_histograms: true}}\n"
        );
        let config = Config::load(&text, &|_| None, "test")
            .unwrap_or_else(|errors| panic!("{errors}"))
            .config;
        let target = targets(&config.scrape_configs).unwrap().remove(0);
        let source = ReadSource::new(&target, None).unwrap();
        Self {
            config,
            target,
            source,
            home: ScriptedHome::default(),
            clock: TokioClock::starting_at(NOW_MS),
            writers: vec![RefCell::new(
                Writer::new(LIMITS).with_native_histograms(true),
            )],
            room: usize::MAX,
            range: TimeRange {
                start_ms: NOW_MS - 75_000,
                end_ms: NOW_MS - 15_000,
            },
            shape: WindowShape::Raw { resolution_ms: 0 },
            reports: false,
            part: NamePart::WHOLE,
            staged: Cell::new(0),
        }
    }

    fn reader<'a>(&'a self, fits: &'a dyn Fn(usize) -> bool) -> WindowReader<'a> {
        WindowReader {
            home: &self.home,
            clock: &self.clock,
            external_labels: &self.config.global.external_labels,
            remotes: &self.config.remote_write,
            writers: &self.writers,
            fits,
        }
    }

    /// Reads the window, which is answered like this.
    async fn read(&self, answers: impl IntoIterator<Item = Answer>) -> Read {
        self.home.answers.lock().unwrap().extend(answers);
        let fits = |staged: usize| {
            self.staged.set(self.staged.get().max(staged));
            staged <= self.room
        };
        let outcome = self
            .reader(&fits)
            .read(&WindowRequest {
                job: &self.config.scrape_configs[0],
                target: &self.target,
                source: &self.source,
                part: self.part,
                range: self.range,
                settle: Duration::from_secs(15),
                timeout: Duration::from_secs(20),
                shape: self.shape,
                max_samples: 1_000,
                starts: &[WindowStart {
                    watermark_ms: self.range.start_ms,
                    complete: true,
                    ..WindowStart::default()
                }],
                reports: self.reports,
            })
            .await;
        assert_eq!(outcome.commits.len(), 1);
        let unused = self.home.answers.lock().unwrap().len();
        assert_eq!(unused, 0, "answers that nobody asked for");
        Read::new(outcome)
    }

    /// A good answer that is made now.
    fn good(&self, results: &[Vec<TimeSeries>]) -> Answer {
        Answer::good(self.clock.now_ms(), results)
    }
}

/// The outcome of a window, with what the remote gets by series.
struct Read {
    outcome: WindowOutcome,
    /// Labels, `time=value` of floats, times of histograms.
    sent: Vec<(String, Vec<String>, Vec<i64>)>,
}

impl Read {
    fn new(outcome: WindowOutcome) -> Self {
        let sent = sent(&outcome.commits[0]);
        Self { outcome, sent }
    }

    /// The error, which must be there, with its kind.
    fn error(&self) -> (super::ReadErrorKind, String) {
        let error = self.outcome.error.as_ref().unwrap();
        assert_eq!(self.outcome.end_ms, None, "{error}");
        (error.kind(), error.to_string())
    }

    fn end_ms(&self) -> Option<i64> {
        assert_eq!(self.outcome.error, None);
        self.outcome.end_ms.map(since)
    }
}

/// Milliseconds from now on.
fn since(timestamp_ms: i64) -> i64 {
    timestamp_ms - NOW_MS
}

fn shown(value: f64) -> String {
    if value.to_bits() == crate::prompb::STALE_NAN {
        "stale".to_owned()
    } else {
        value.to_string()
    }
}

/// A series of this name with floats at times from now on.
fn floats(name: &str, samples: &[(i64, f64)]) -> TimeSeries {
    let label = |name: &str, value: &str| Label {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    TimeSeries {
        labels: vec![
            label("__name__", name),
            label("instance", "i"),
            label("job", "x"),
        ],
        samples: samples
            .iter()
            .map(|&(at, value)| Sample {
                value,
                timestamp: NOW_MS + at,
            })
            .collect(),
        histograms: Vec::new(),
    }
}

/// A series of this name with native histograms at times from now on.
fn histograms(name: &str, times: &[i64]) -> TimeSeries {
    TimeSeries {
        histograms: times
            .iter()
            .map(|&at| Histogram {
                count: Some(crate::prompb::messages::Count::Int(0)),
                zero_count: Some(crate::prompb::messages::ZeroCount::Int(0)),
                timestamp: NOW_MS + at,
                ..Histogram::default()
            })
            .collect(),
        ..floats(name, &[])
    }
}

/// What a remote gets, by series: labels, `time=value` of floats, times of histograms.
fn sent(commit: &RemoteCommit) -> Vec<(String, Vec<String>, Vec<i64>)> {
    let batches = commit.scrapes.iter().flatten();
    let mut sent: Vec<_> = batches
        .flat_map(|batch| decode(batch).unwrap().timeseries)
        .map(|series| {
            let labels = series
                .labels
                .iter()
                .map(|label| format!("{}={}", label.name, label.value));
            let floats = series
                .samples
                .iter()
                .map(|sample| format!("{}={}", since(sample.timestamp), shown(sample.value)));
            let histograms = series
                .histograms
                .iter()
                .map(|histogram| since(histogram.timestamp));
            (
                labels.collect::<Vec<_>>().join(","),
                floats.collect(),
                histograms.collect(),
            )
        })
        .collect();
    sent.sort();
    sent
}
