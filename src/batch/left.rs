//! Samples that a scrape leaves to another one that is under way and has shown the series as well.
//!
//! Two scrapes that run at the same time may show one series. Only the one that commits first knows
//! which of their samples is the older one, and both have their batches half written by then. So
//! the second one leaves its sample here. When the first one has ended, and the second one has
//! succeeded, the sample is looked at like any other: it is sent if it is newer than what was taken
//! of the series, as it is when the first scrape has failed.

use crate::prompb::messages::Histogram;
use crate::prompb::{TimedValue, Value};
use crate::series::cache::{SeriesKey, Transaction};

/// The samples that were left and wait, in the order in which they were shown.
#[derive(Debug, Default)]
pub(super) struct LeftSamples {
    samples: Vec<LeftSample>,
    /// Memory of their raw bytes and histograms, in bytes.
    held: usize,
}

/// A sample that waits.
#[derive(Debug)]
pub(super) struct LeftSample {
    /// The scrape that showed the sample.
    pub(super) by: Transaction,
    /// Whether that scrape has succeeded.
    pub(super) is_committed: bool,
    /// The scrape that it was left to, until that one ends.
    pub(super) to: Option<Transaction>,
    pub(super) key: SeriesKey,
    /// The raw bytes of the series.
    pub(super) raw: Box<[u8]>,
    pub(super) value: LeftValue,
    pub(super) timestamp_ms: i64,
}

/// Its value.
#[derive(Debug)]
pub(super) enum LeftValue {
    Float(f64),
    Histogram(Box<Histogram>),
}

impl LeftSample {
    /// The sample, as it was shown.
    pub(super) fn sample(&self) -> TimedValue<'_> {
        TimedValue {
            value: match &self.value {
                LeftValue::Float(float) => Value::Float(*float),
                LeftValue::Histogram(histogram) => Value::Histogram(histogram),
            },
            timestamp_ms: self.timestamp_ms,
        }
    }

    /// Memory besides the sample itself, in bytes. Buckets are estimated from the wire.
    fn held(&self) -> usize {
        let value = match &self.value {
            LeftValue::Float(_) => 0,
            LeftValue::Histogram(_) => {
                size_of::<Histogram>() + self.sample().value.field_len(self.timestamp_ms)
            }
        };
        self.raw.len() + value
    }
}

impl LeftSamples {
    /// Whether no sample waits.
    pub(super) fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Memory held, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.samples.capacity() * size_of::<LeftSample>() + self.held
    }

    /// Adds a sample.
    pub(super) fn push(&mut self, sample: LeftSample) {
        self.held += sample.held();
        self.samples.push(sample);
    }

    /// Takes all samples out.
    pub(super) fn take(&mut self) -> Vec<LeftSample> {
        self.held = 0;
        std::mem::take(&mut self.samples)
    }
}
