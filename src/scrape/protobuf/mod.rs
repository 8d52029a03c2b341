//! The protobuf exposition, delimited `MetricFamily` messages, taken as Prometheus takes them
//! (`model/textparse/protobufparse.go`, `prompb/io/prometheus/client/decoder.go`).
//!
//! A family may be larger than any block: its fields are read as they come, one metric at a time.
//! So its name and type must stand before its metrics, where every encoder that writes fields by
//! their numbers puts them.
//!
//! A series' identity is `name, suffix, 0xff, label pairs as they stand` and, for a bucket or a
//! quantile, its bound. The label pairs of a known series are not even looked at.

mod formats;
mod message;
mod metric;

pub use self::formats::HistogramFormats;
use self::message::{
    Field, HELP, METRIC, MetricType, NAME, TYPE, UNIT, WireFault, bytes, field, number, varint,
};
use self::metric::{MetricFault, MetricReader};
use super::exposition::{ExpositionError, ParseError, ParsePosition};
use crate::intake::Sink;

/// Longest varint before a family (Go's `binary.MaxVarintLen32`).
const LENGTH_BYTES: usize = 5;

/// A parser for one exposition.
#[derive(Debug, Default)]
pub struct ProtobufParser {
    histograms: HistogramFormats,
    /// Number of bytes taken so far.
    offset: u64,
    /// The family whose end is still to come.
    family: Option<Family>,
    metric: MetricReader,
}

/// A family in progress.
#[derive(Debug, Default)]
struct Family {
    /// Number of its bytes that are still to come.
    left: u64,
    name: String,
    kind: MetricType,
    /// The family's fault. It is an error only when the family has a metric.
    fault: Option<String>,
    unit: String,
    metrics: u64,
    /// Whether the histograms are native: the first one decides for all.
    native: bool,
}

impl ProtobufParser {
    /// A parser that takes histograms this way.
    #[must_use]
    pub fn new(histograms: HistogramFormats) -> Self {
        Self {
            histograms,
            ..Self::default()
        }
    }

    /// Parses the whole fields at the start of `block`, and returns how many bytes they took. The
    /// caller gives the rest again, with more behind it.
    ///
    /// # Errors
    /// [`ExpositionError`] ends the scrape; nothing after it may be parsed.
    pub fn parse<S: Sink>(
        &mut self,
        block: &[u8],
        last: bool,
        sink: &mut S,
    ) -> Result<usize, ExpositionError> {
        let mut taken = 0;
        loop {
            match self.step(&block[taken..], sink) {
                Ok(0) => break,
                Ok(length) => {
                    taken += length;
                    self.offset += length as u64;
                }
                Err(MetricFault::Incomplete) if !last => break,
                Err(MetricFault::Incomplete) => {
                    return Err(self.error("the exposition ends within a message"));
                }
                Err(MetricFault::Malformed(message)) => return Err(self.error(&message)),
                Err(MetricFault::Refusal(refused)) => return Err(refused.into()),
            }
        }
        if last && self.family.is_some() {
            return Err(self.error("the exposition ends within a message"));
        }
        Ok(taken)
    }

    fn error(&self, message: &str) -> ExpositionError {
        ParseError {
            place: ParsePosition::Byte(self.offset),
            message: message.to_owned(),
        }
        .into()
    }

    /// The start of a family, one field of it, or its end. 0 when there is nothing.
    fn step<S: Sink>(&mut self, rest: &[u8], sink: &mut S) -> Result<usize, MetricFault> {
        let Some(family) = &mut self.family else {
            if rest.is_empty() {
                return Ok(0);
            }
            let mut at = 0;
            let left = varint(rest, &mut at)?;
            if at > LENGTH_BYTES {
                return Err(MetricFault::Malformed(
                    "a family's length is no varint of 32 bits".to_owned(),
                ));
            }
            self.family = Some(Family {
                left,
                ..Family::default()
            });
            self.end_family()?;
            return Ok(at);
        };
        // Bytes behind the family belong to the next one.
        let left = usize::try_from(family.left).unwrap_or(usize::MAX);
        let own = &rest[..rest.len().min(left)];
        let mut at = 0;
        let (field_number, value) = match field(own, &mut at) {
            Ok(field) => field,
            Err(WireFault::Incomplete) if own.len() == left => {
                return Err(MetricFault::Malformed(
                    "a family ends within a field".to_owned(),
                ));
            }
            Err(broken) => return Err(broken.into()),
        };
        if field_number == METRIC {
            family.begin_metric()?;
            self.metric.read(bytes("Metric", value)?)?;
            if family.metrics == 1 {
                family.native = self.histograms.native && self.metric.histogram.is_native();
            }
            self.metric.give(
                &family.name,
                family.kind,
                &mut family.native,
                self.histograms,
                sink,
            )?;
        } else {
            family.set(field_number, value)?;
        }
        family.left -= at as u64;
        self.end_family()?;
        Ok(at)
    }

    fn end_family(&mut self) -> Result<(), MetricFault> {
        match &self.family {
            Some(Family { left: 0, .. }) => {}
            _ => return Ok(()),
        }
        self.family
            .take()
            .map_or(Ok(()), |family| family.check_unit())
    }
}

impl Family {
    /// Takes a field other than a metric.
    fn set(&mut self, field_number: u64, value: Field<'_>) -> Result<(), MetricFault> {
        if matches!(field_number, NAME | HELP | TYPE) && self.metrics > 0 {
            return Err(MetricFault::Malformed(
                "a family's name, help or type stands behind its metrics".to_owned(),
            ));
        }
        match field_number {
            NAME => match str::from_utf8(bytes("Name", value)?) {
                Ok(name) => name.clone_into(&mut self.name),
                Err(_) => {
                    self.fault = Some("invalid metric name: it is not valid UTF-8".to_owned());
                }
            },
            HELP if str::from_utf8(bytes("Help", value)?).is_err() => {
                self.fault = Some(format!(
                    "invalid help for metric \"{}\": it is not valid UTF-8",
                    self.name.escape_debug()
                ));
            }
            TYPE => match MetricType::of(number("Type", value)?) {
                Some(kind) => self.kind = kind,
                None => {
                    self.fault = Some(format!(
                        "unknown metric type for metric \"{}\"",
                        self.name.escape_debug()
                    ));
                }
            },
            UNIT => self.unit = String::from_utf8_lossy(bytes("Unit", value)?).into_owned(),
            _ => {}
        }
        Ok(())
    }

    /// Checks what Prometheus checks when a family has a metric.
    fn begin_metric(&mut self) -> Result<(), MetricFault> {
        self.metrics += 1;
        if self.metrics > 1 {
            return Ok(());
        }
        if let Some(fault) = self.fault.take() {
            return Err(MetricFault::Malformed(fault));
        }
        if self.name.is_empty() {
            return Err(MetricFault::Malformed(
                "invalid metric name: it is empty".to_owned(),
            ));
        }
        Ok(())
    }

    fn check_unit(&self) -> Result<(), MetricFault> {
        let (name, unit) = (self.name.as_str(), self.unit.as_str());
        let base = if self.kind == MetricType::Counter {
            name.strip_suffix("_total").unwrap_or(name)
        } else {
            name
        };
        let fits = unit.is_empty()
            || base
                .strip_suffix(unit)
                .is_some_and(|base| base.ends_with('_'));
        if fits || self.metrics == 0 {
            return Ok(());
        }
        Err(MetricFault::Malformed(format!(
            "unit \"{}\" not a suffix of metric \"{}\"",
            unit.escape_debug(),
            name.escape_debug()
        )))
    }
}

#[cfg(test)]
mod tests;
