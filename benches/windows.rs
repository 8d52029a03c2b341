//! Windows of synthetic series, from the intake to compressed batches: what a remote read costs
//! behind its decoder.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]
#![allow(dead_code, reason = "two programs use different parts")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use amp_forwarder::batch::stage::BatchLimits;
use amp_forwarder::batch::{WindowStart, Writer};
use amp_forwarder::config::{NameValidation, ScrapeLimits};
use amp_forwarder::home::{JobId, Target};
use amp_forwarder::intake::{
    ExposedSample, HistogramLimits, IntakeRules, IntakeTransaction, Refusal, RemoteCommit,
    SeriesWindow, Sink, WindowSink,
};
use amp_forwarder::prompb::{TimedFloat, wire};
use amp_forwarder::scrape::text::TextParser;
use amp_forwarder::series::{ExposedLabel, LabelSpan, TargetId};
use amp_forwarder_support::bench::body::{Shape, SyntheticBody};

/// Samples of a series in each window: a minute at 15 s.
pub(crate) const SAMPLES: usize = 4;
const STEP_MS: i64 = 15_000;

/// A series as remote read shows it.
struct WireSeries {
    /// The fields `TimeSeries.labels`.
    raw: Vec<u8>,
    labels: Vec<WireLabel>,
}

struct WireLabel {
    name: String,
    value: String,
    span: LabelSpan,
}

/// Learns the label sets of an exposition.
struct Learner(Vec<WireSeries>);

impl Sink for Learner {
    fn known(&mut self, _: &ExposedSample<'_>) -> Result<bool, Refusal> {
        Ok(false)
    }

    fn resolved(
        &mut self,
        _: &ExposedSample<'_>,
        labels: &[ExposedLabel<'_>],
    ) -> Result<(), Refusal> {
        let (mut raw, mut placed) = (Vec::new(), Vec::new());
        for label in labels {
            let (name, value) = (label.name.to_string(), label.value.to_string());
            let len = wire::field_len(name.len()) + wire::field_len(value.len());
            raw.push(wire::LABEL);
            wire::varint(&mut raw, len as u64);
            wire::field(&mut raw, wire::LABEL_NAME, name.as_bytes());
            let name_at = raw.len() - name.len();
            wire::field(&mut raw, wire::LABEL_VALUE, value.as_bytes());
            let span = LabelSpan {
                name: name_at as u32,
                value: (raw.len() - value.len()) as u32,
            };
            placed.push(WireLabel { name, value, span });
        }
        self.0.push(WireSeries {
            raw,
            labels: placed,
        });
        Ok(())
    }
}

/// A process that reads windows of a home.
pub(crate) struct Windows {
    series: Vec<WireSeries>,
    writers: [RefCell<Writer>; 1],
    target: Target,
    external_labels: BTreeMap<String, String>,
}

impl Windows {
    /// A process that has seen nothing, and the series of its home.
    pub(crate) fn new(series: usize) -> Self {
        let shape = Shape {
            series,
            protobuf: false,
            gzip: false,
            half_unchanged: false,
        };
        let body = SyntheticBody::new(shape, 0);
        let mut learner = Learner(Vec::with_capacity(series));
        TextParser::default()
            .parse(&body.encoded(), true, &mut learner)
            .unwrap();
        let limits = BatchLimits {
            samples: 2000,
            bytes: 1_000_000,
        };
        Self {
            series: learner.0,
            writers: [RefCell::new(Writer::new(limits))],
            target: Target {
                id: TargetId(0),
                job: JobId(0),
                url: Ok("http://home:9090/federate".parse().unwrap()),
                labels: vec![("job".to_owned(), "federate".to_owned())],
                scrape_timeout: Duration::from_secs(10),
                siblings: 1,
            },
            external_labels: BTreeMap::from([("cluster".to_owned(), "bench".to_owned())]),
        }
    }

    /// Forgets everything: the next window is a process' first.
    pub(crate) fn forget(&mut self) {
        let cold = self.writers[0].borrow().cold();
        self.writers = [RefCell::new(cold)];
    }

    /// Reads a window with [`SAMPLES`] new samples of each series up to `end_ms`, and one that was
    /// sent before.
    pub(crate) fn read(&mut self, end_ms: i64) -> RemoteCommit {
        let rules = IntakeRules {
            target: &self.target,
            honor_labels: true,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            limits: ScrapeLimits::default(),
            validation: NameValidation::Utf8,
            metric_relabel: &[],
            histogram_limits: HistogramLimits::default(),
            external_labels: &self.external_labels,
            remotes: &[],
            start_ms: end_ms,
        };
        let start = WindowStart {
            watermark_ms: end_ms - SAMPLES as i64 * STEP_MS,
            complete: false,
            ..WindowStart::default()
        };
        let mut transaction = IntakeTransaction::begin_window(&self.writers, rules, &[start]);
        let mut intake = transaction.intake();
        for (number, series) in self.series.iter().enumerate() {
            let floats: [_; SAMPLES + 1] = std::array::from_fn(|at| TimedFloat {
                value: value(number, end_ms, at),
                timestamp_ms: end_ms - (SAMPLES - at) as i64 * STEP_MS - (number % 15_000) as i64,
            });
            let window = SeriesWindow {
                series: &series.raw,
                floats: &floats,
                histograms: &[],
            };
            if !intake.known_window(&window).unwrap() {
                let labels: Vec<_> = series
                    .labels
                    .iter()
                    .map(|label| ExposedLabel {
                        name: (&*label.name).into(),
                        value: (&*label.value).into(),
                        span: Some(label.span),
                    })
                    .collect();
                intake.resolved_window(&window, &labels).unwrap();
            }
        }
        drop(intake);
        transaction.commit().unwrap().remove(0)
    }
}

/// Values as counters and gauges have them: every fourth one is constant, every other one grows by
/// whole numbers.
fn value(series: usize, end_ms: i64, at: usize) -> f64 {
    let turn = (end_ms / STEP_MS) as f64 + at as f64;
    match series % 4 {
        0 => 1.0,
        1 | 2 => 1000.0 * series as f64 + turn * (series % 90) as f64,
        _ => (series as f64 * 0.37 + turn * 0.013).sin(),
    }
}
