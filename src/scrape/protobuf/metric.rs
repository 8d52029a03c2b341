//! One `Metric`, and the series that it holds.

use std::borrow::Cow;

use prost::Message as _;

use super::formats::HistogramFormats;
use super::message::{self, Field, MetricType, Summary, WireFault, bytes, field, number};
use crate::intake::histogram_limits::compact;
use crate::intake::{ExposedSample, Refusal, Sink};
use crate::prompb::Value;
use crate::prompb::messages::{self, Count, ZeroCount};
use crate::prompb::wire::read_varint;
use crate::series::float;
use crate::series::labels::NAME;
use crate::series::{ExposedLabel, LabelSpan};

/// The byte that ends a name in the raw bytes of a series. It occurs in no UTF-8.
const END_OF_NAME: u8 = 0xff;

/// The byte before a bound in the raw bytes of a series. No label pair starts with it.
const BOUND: u8 = 0xfe;

/// `Histogram.ResetHint` of a gauge.
const GAUGE: i32 = 3;

/// Why a metric gives no sample, or no further one.
pub(super) enum MetricFault {
    /// The block ends within the metric: more bytes may complete it.
    Incomplete,
    Malformed(String),
    Refusal(Refusal),
}

impl From<WireFault> for MetricFault {
    fn from(broken: WireFault) -> Self {
        match broken {
            WireFault::Incomplete => Self::Incomplete,
            WireFault::Malformed(message) => Self::Malformed(message),
        }
    }
}

impl From<Refusal> for MetricFault {
    fn from(refused: Refusal) -> Self {
        Self::Refusal(refused)
    }
}

/// Reads one metric after the other. It keeps its buffers from one to the next.
#[derive(Debug, Default)]
pub(super) struct MetricReader {
    /// The encoded fields of the label pairs, in order.
    labels: Vec<u8>,
    timestamp_ms: i64,
    counter: f64,
    gauge: f64,
    untyped: f64,
    /// Whether the last metric had a summary or a histogram, which must be cleared.
    has_message: bool,
    summary: Summary,
    pub(super) histogram: message::ExposedHistogram,
    /// A native histogram as it is sent.
    native: messages::Histogram,
    /// Raw bytes of a series.
    raw: Vec<u8>,
}

/// The label by which the series of one metric differ: `le` or `quantile`.
#[derive(Clone, Copy)]
struct BoundLabel {
    name: &'static str,
    value: f64,
}

impl MetricReader {
    /// Reads a `Metric`.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), MetricFault> {
        self.labels.clear();
        self.timestamp_ms = 0;
        (self.counter, self.gauge, self.untyped) = (0.0, 0.0, 0.0);
        if std::mem::take(&mut self.has_message) {
            self.summary.clear();
            self.histogram.clear();
        }
        // The metric is complete, so one that ends within a field is malformed.
        self.fields(bytes)
            .map_err(|broken| MetricFault::Malformed(broken.text()))
    }

    fn fields(&mut self, message: &[u8]) -> Result<(), WireFault> {
        let mut at = 0;
        while at < message.len() {
            // The fast way: all label pairs at once.
            let pairs = message::short_labels(&message[at..]);
            if !pairs.is_empty() {
                self.labels.extend_from_slice(pairs);
                at += pairs.len();
                continue;
            }
            // Likewise the fields behind them, which are the same in nearly all metrics.
            if let Some((field_number, float)) = message::short_value(&message[at..]) {
                match field_number {
                    2 => self.gauge = float,
                    3 => self.counter = float,
                    _ => self.untyped = float,
                }
                at += message::SHORT_VALUE;
                continue;
            }
            let mut end = at + 1;
            if message[at] == message::TIMESTAMP_MS
                && let Some(timestamp_ms) = read_varint(message, &mut end)
            {
                self.timestamp_ms = timestamp_ms as i64;
                at = end;
                continue;
            }
            let start = at;
            let (field_number, value) = field(message, &mut at)?;
            match field_number {
                1 => {
                    bytes("Label", value)?;
                    self.labels.extend_from_slice(&message[start..at]);
                }
                2 => self.gauge = message::single(bytes("Gauge", value)?)?,
                3 => self.counter = message::single(bytes("Counter", value)?)?,
                4 => {
                    self.has_message = true;
                    self.summary.merge(bytes("Summary", value)?)?;
                }
                5 => self.untyped = message::single(bytes("Untyped", value)?)?,
                6 => self.timestamp_ms = number("TimestampMs", value)? as i64,
                7 => {
                    self.has_message = true;
                    self.histogram.merge(bytes("Histogram", value)?)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Shows the series of the metric to the sink. `native` says whether the family's histograms
    /// are native ones.
    pub(super) fn give<S: Sink>(
        &mut self,
        name: &str,
        kind: MetricType,
        native: &mut bool,
        histograms: HistogramFormats,
        sink: &mut S,
    ) -> Result<(), MetricFault> {
        match kind {
            MetricType::Counter => self.float(name, "", None, self.counter, sink),
            MetricType::Gauge => self.float(name, "", None, self.gauge, sink),
            MetricType::Untyped => self.float(name, "", None, self.untyped, sink),
            MetricType::Summary => self.summary(name, sink),
            MetricType::Histogram | MetricType::GaugeHistogram => {
                if *native {
                    self.native(name, kind == MetricType::GaugeHistogram, sink)?;
                    if !histograms.always_classic || self.histogram.buckets.is_empty() {
                        return Ok(());
                    }
                }
                self.classic(name, sink)?;
                // protobufparse.go Next: a histogram that was taken as a classic one decides how
                // the next one is taken.
                *native = histograms.native && self.histogram.is_native();
                Ok(())
            }
        }
    }

    fn summary<S: Sink>(&mut self, name: &str, sink: &mut S) -> Result<(), MetricFault> {
        self.float(name, "_count", None, self.summary.count as f64, sink)?;
        self.float(name, "_sum", None, self.summary.sum, sink)?;
        for at in 0..self.summary.quantiles.len() {
            let message::SummaryQuantile { quantile, value } = self.summary.quantiles[at];
            self.float(
                name,
                "",
                Some(BoundLabel {
                    name: "quantile",
                    value: quantile,
                }),
                value,
                sink,
            )?;
        }
        Ok(())
    }

    fn classic<S: Sink>(&mut self, name: &str, sink: &mut S) -> Result<(), MetricFault> {
        let observations = self.histogram.observations();
        self.float(name, "_count", None, observations, sink)?;
        self.float(name, "_sum", None, self.histogram.sum, sink)?;
        for at in 0..self.histogram.buckets.len() {
            let bucket = self.histogram.buckets[at];
            self.float(
                name,
                "_bucket",
                Some(BoundLabel {
                    name: "le",
                    value: bucket.upper_bound,
                }),
                bucket.observations(),
                sink,
            )?;
            if bucket.upper_bound == f64::INFINITY {
                return Ok(());
            }
        }
        self.float(
            name,
            "_bucket",
            Some(BoundLabel {
                name: "le",
                value: f64::INFINITY,
            }),
            observations,
            sink,
        )
    }

    fn native<S: Sink>(
        &mut self,
        name: &str,
        gauge: bool,
        sink: &mut S,
    ) -> Result<(), MetricFault> {
        let from = &mut self.histogram;
        let is_float = from.count_float > 0.0 || from.zero_count_float > 0.0;
        let mut native = std::mem::take(&mut self.native);
        native.sum = from.sum;
        native.schema = from.schema;
        native.zero_threshold = from.zero_threshold;
        native.reset_hint = if gauge { GAUGE } else { 0 };
        for (spans, exposed) in [
            (&mut native.positive_spans, &from.positive_spans),
            (&mut native.negative_spans, &from.negative_spans),
        ] {
            spans.clone_from(exposed);
        }
        for counts in [&mut native.positive_counts, &mut native.negative_counts] {
            counts.clear();
        }
        for deltas in [&mut native.positive_deltas, &mut native.negative_deltas] {
            deltas.clear();
        }
        if is_float {
            native.count = Some(Count::Float(from.count_float));
            native.zero_count = Some(ZeroCount::Float(from.zero_count_float));
            native.positive_counts.clone_from(&from.positive_counts);
            native.negative_counts.clone_from(&from.negative_counts);
        } else {
            native.count = Some(Count::Int(from.count));
            native.zero_count = Some(ZeroCount::Int(from.zero_count));
            native.positive_deltas.clone_from(&from.positive_deltas);
            native.negative_deltas.clone_from(&from.negative_deltas);
        }
        compact(&mut native);
        let given = self.sample(name, "", None, Value::Histogram(&native), sink);
        self.native = native;
        given
    }

    fn float<S: Sink>(
        &mut self,
        name: &str,
        suffix: &str,
        bound: Option<BoundLabel>,
        value: f64,
        sink: &mut S,
    ) -> Result<(), MetricFault> {
        self.sample(name, suffix, bound, Value::Float(value), sink)
    }

    #[inline]
    fn sample<S: Sink>(
        &mut self,
        name: &str,
        suffix: &str,
        bound: Option<BoundLabel>,
        value: Value<'_>,
        sink: &mut S,
    ) -> Result<(), MetricFault> {
        let Self {
            raw,
            labels,
            timestamp_ms,
            ..
        } = self;
        // The raw bytes identify the series: name, end mark, label pairs, and a bound if there is
        // one. A known series needs no more than these.
        raw.clear();
        raw.extend_from_slice(name.as_bytes());
        raw.extend_from_slice(suffix.as_bytes());
        raw.push(END_OF_NAME);
        raw.extend_from_slice(labels);
        if let Some(bound) = bound {
            raw.push(BOUND);
            raw.extend_from_slice(&bound.value.to_bits().to_le_bytes());
        }
        // No timestamp and one of zero are one thing to Prometheus (protobufparse.go Series).
        let timestamp_ms = (*timestamp_ms != 0).then_some(*timestamp_ms);
        let exposed = ExposedSample {
            series: raw,
            value,
            timestamp_ms,
        };
        if sink.known(&exposed)? {
            return Ok(());
        }
        // A new series: its labels are taken from the raw bytes, so that their places are known.
        let name_len = name.len() + suffix.len();
        let resolved = resolve(raw, name_len, labels.len(), bound)
            .map_err(|broken| MetricFault::Malformed(broken.text()))?;
        sink.resolved(&exposed, &resolved)?;
        Ok(())
    }
}

/// The labels of a series from its raw bytes.
fn resolve(
    raw: &[u8],
    name_len: usize,
    labels_len: usize,
    bound: Option<BoundLabel>,
) -> Result<Vec<ExposedLabel<'_>>, WireFault> {
    let text = |bytes| {
        str::from_utf8(bytes).map_err(|_| {
            WireFault::Malformed("invalid label name or value: not valid UTF-8".to_owned())
        })
    };
    let mut labels = Vec::new();
    let name = text(&raw[..name_len])?;
    labels.push(ExposedLabel {
        name: Cow::Borrowed(NAME),
        value: Cow::Borrowed(name),
        span: Some(LabelSpan { name: 0, value: 0 }),
    });
    // The label pairs are the fields between the end mark and the bound.
    let end = name_len + 1 + labels_len;
    let mut at = name_len + 1;
    while at < end {
        let (_, value) = field(&raw[..end], &mut at)?;
        let Field::Bytes(pair) = value else { continue };
        let (name, value) = message::label(pair)?;
        let pair_at = at - pair.len();
        let span = match (
            u32::try_from(pair_at + name.start),
            u32::try_from(pair_at + value.start),
        ) {
            (Ok(name), Ok(value)) => Some(LabelSpan { name, value }),
            _ => None,
        };
        labels.push(ExposedLabel {
            name: Cow::Borrowed(text(&pair[name])?),
            value: Cow::Borrowed(text(&pair[value])?),
            span,
        });
    }
    if let Some(BoundLabel { name, value }) = bound {
        labels.push(ExposedLabel {
            name: Cow::Borrowed(name),
            value: Cow::Owned(float::open_metrics(value)),
            span: None,
        });
    }
    Ok(labels)
}
