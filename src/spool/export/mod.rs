//! Batches as OpenMetrics, which `promtool tsdb create-blocks-from openmetrics` turns into blocks.
//!
//! OpenMetrics wants the samples of a family together, and those of a series in the order of time;
//! a spool has them by scrape. So they are sorted: in memory up to a bound, and from there on in
//! sorted runs in a temporary file, which are merged at the end. A batch holds no metadata, so that
//! all families are `unknown`: each name is a family of its own, those of a histogram's parts, too.

mod merge;
mod point;
mod runs;
mod seconds;

use std::collections::{BTreeMap, btree_map};
use std::io::{self, Write};

use self::merge::{Merge, PointSource};
use self::point::{ExportedValue, Point, Series, points, sorted};
use self::runs::Runs;
use self::seconds::seconds;
use crate::batch::{Batch, SplitError, entries};
use crate::prompb::STALE_NAN;
use crate::series::{float, text};

/// Bytes that a series takes in memory in addition to its text.
const SERIES: usize = 200;

/// Bytes that a sample takes in memory: half of a list that has just grown is empty.
const SAMPLE: usize = 32;

/// Sorts the samples of batches, and writes them as OpenMetrics.
pub struct Export {
    /// Bytes of memory to sort in.
    memory: usize,
    /// Bytes that `sorting` takes, estimated.
    held: usize,
    sorting: BTreeMap<Series, Vec<ExportedValue>>,
    /// The runs that did not fit into memory.
    runs: Option<Runs>,
    left_out: ExportOmissions,
}

/// Numbers of samples that are left out because OpenMetrics has no form for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct ExportOmissions {
    /// Stale markers.
    pub stale: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Samples of a series at a time that it already has a sample of, as after a kill.
    pub repeated: u64,
}

/// What an export has written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct ExportSummary {
    /// Number of lines with a value.
    pub samples: u64,
    /// Number of different series.
    pub series: u64,
    /// Samples that were not written.
    pub left_out: ExportOmissions,
}

/// A batch that could not be added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The body of the batch is not a write request.
    #[error(transparent)]
    Batch(#[from] SplitError),
    /// The temporary file of the runs cannot be written.
    #[error(
        "spool: cannot write a temporary file: {0}; \
         make room in the system's temporary directory, or name another one in TMPDIR"
    )]
    Temporary(#[from] io::Error),
}

impl Export {
    /// An export that sorts in about this many bytes of memory, not counting one batch and one of
    /// its series, decoded.
    #[must_use]
    pub fn new(memory: usize) -> Self {
        Self {
            memory,
            held: 0,
            sorting: BTreeMap::new(),
            runs: None,
            left_out: ExportOmissions::default(),
        }
    }

    /// Adds the samples of a batch.
    ///
    /// # Errors
    /// The batch cannot be decoded, or the temporary file cannot be written.
    pub fn add(&mut self, batch: &Batch) -> Result<(), AddError> {
        for series in entries(batch)? {
            let ended = series
                .histograms
                .iter()
                .filter(|histogram| histogram.is_stale())
                .count() as u64;
            self.left_out.stale += ended;
            self.left_out.histograms += series.histograms.len() as u64 - ended;
            let stale = series
                .samples
                .iter()
                .filter(|sample| sample.value.to_bits() == STALE_NAN)
                .count();
            self.left_out.stale += stale as u64;
            if series.samples.len() == stale {
                continue;
            }
            let labels: Vec<_> = series
                .labels
                .iter()
                .map(|label| (label.name.as_str(), label.value.as_str()))
                .collect();
            let name = labels
                .iter()
                .find(|(name, _)| *name == "__name__")
                .map_or("", |(_, value)| value);
            let key = Series {
                name: name.to_owned(),
                line: text::series(&labels),
            };
            let length = key.name.len() + key.line.len();
            let more = length + SERIES + series.samples.len() * SAMPLE;
            // Looked at before and after each series: one from elsewhere may alone be too much.
            if self.held > 0 && self.held + more > self.memory {
                self.spill()?;
            }
            let values = match self.sorting.entry(key) {
                btree_map::Entry::Occupied(known) => known.into_mut(),
                btree_map::Entry::Vacant(new) => {
                    self.held += length + SERIES;
                    new.insert(Vec::new())
                }
            };
            for sample in series
                .samples
                .iter()
                .filter(|sample| sample.value.to_bits() != STALE_NAN)
            {
                values.push(ExportedValue {
                    ms: sample.timestamp,
                    bits: sample.value.to_bits(),
                });
                self.held += SAMPLE;
            }
            if self.held > self.memory {
                self.spill()?;
            }
        }
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        let runs = match &mut self.runs {
            Some(runs) => runs,
            None => self.runs.insert(Runs::new()?),
        };
        self.held = 0;
        runs.write(sorted(std::mem::take(&mut self.sorting)))
    }

    /// Writes everything that was added.
    ///
    /// # Errors
    /// `out` cannot be written, or the temporary file cannot be read. The output then lacks its
    /// last line, so that promtool refuses it.
    pub fn finish(mut self, out: &mut impl Write) -> io::Result<ExportSummary> {
        let mut written = ExportSummary {
            left_out: self.left_out,
            ..ExportSummary::default()
        };
        let memory: PointSource<'_> =
            Box::new(points(sorted(std::mem::take(&mut self.sorting))).map(Ok));
        let runs = self.runs.as_ref().map(Runs::read).unwrap_or_default();
        // The sources are in the order in which they were added: when a sample is repeated, the
        // first one stays.
        let sources = runs
            .into_iter()
            .map(|run| Box::new(run) as PointSource<'_>)
            .chain([memory]);
        let mut last: Option<Point> = None;
        for point in Merge::new(sources.collect())? {
            let point = point?;
            let same_series = last
                .as_ref()
                .is_some_and(|last| last.series == point.series);
            if same_series
                && last
                    .as_ref()
                    .is_some_and(|last| last.value.ms == point.value.ms)
            {
                written.left_out.repeated += 1;
                continue;
            }
            if last
                .as_ref()
                .is_none_or(|last| last.series.name != point.series.name)
            {
                writeln!(out, "# TYPE {} unknown", text::name(&point.series.name))?;
            }
            writeln!(
                out,
                "{} {} {}",
                point.series.line,
                float::json(f64::from_bits(point.value.bits)),
                seconds(point.value.ms)
            )?;
            written.samples += 1;
            written.series += u64::from(!same_series);
            last = Some(point);
        }
        out.write_all(b"# EOF\n")?;
        out.flush()?;
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::prompb::ValueKind;
    use crate::prompb::messages::{self, Histogram, TimeSeries, WriteRequest};

    fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
        let labels = labels
            .iter()
            .map(|(name, value)| messages::Label {
                name: (*name).to_owned(),
                value: (*value).to_owned(),
            })
            .collect();
        let samples = samples
            .iter()
            .map(|(timestamp, value)| messages::Sample {
                value: *value,
                timestamp: *timestamp,
            })
            .collect();
        TimeSeries {
            labels,
            samples,
            histograms: Vec::new(),
        }
    }

    fn batch(timeseries: Vec<TimeSeries>) -> Batch {
        let raw = WriteRequest { timeseries }.encode_to_vec();
        let body = Bytes::from(snap::raw::Encoder::new().compress_vec(&raw).unwrap());
        Batch {
            body: body.into(),
            samples: 0,
            raw_len: raw.len() as u32,
            min_ms: 0,
            max_ms: 0,
        }
    }

    fn exported(batches: &[Batch], memory: usize) -> (String, ExportSummary) {
        let mut export = Export::new(memory);
        batches.iter().for_each(|batch| export.add(batch).unwrap());
        let mut out = Vec::new();
        let written = export.finish(&mut out).unwrap();
        (String::from_utf8(out).unwrap(), written)
    }

    #[test]
    fn families_are_together_and_series_in_the_order_of_time() {
        let first = batch(vec![
            series(&[("__name__", "m"), ("a", "2")], &[(2_000, 2.0)]),
            series(&[("__name__", "m_total")], &[(2_000, f64::INFINITY)]),
            series(&[("__name__", "m")], &[(2_000, -2.5)]),
        ]);
        let second = batch(vec![
            series(
                &[("__name__", "m"), ("a", "2")],
                &[
                    (1_500, 1e21),
                    (2_000, 2.0),
                    (2_500, f64::from_bits(STALE_NAN)),
                ],
            ),
            series(&[("__name__", "a.b")], &[(1_700_000_000_123, f64::NAN)]),
            TimeSeries {
                histograms: vec![
                    Histogram::default(),
                    Histogram::stale(ValueKind::FloatHistogram),
                ],
                ..series(&[("__name__", "h")], &[])
            },
        ]);
        let expected = "# TYPE \"a.b\" unknown\n{\"a.b\"} NaN 1700000000.123\n\
                        # TYPE m unknown\nm -2.5 2\nm{a=\"2\"} 1e+21 1.500\nm{a=\"2\"} 2 2\n\
                        # TYPE m_total unknown\nm_total +Inf 2\n# EOF\n";
        let left_out = ExportOmissions {
            stale: 2,
            histograms: 1,
            repeated: 1,
        };
        // Much memory, and a run for each batch.
        for memory in [usize::MAX, 0] {
            let told = exported(&[first.clone(), second.clone()], memory);
            assert_eq!(
                told,
                (
                    expected.to_owned(),
                    ExportSummary {
                        samples: 5,
                        series: 4,
                        left_out
                    }
                ),
                "{memory}"
            );
        }
        assert_eq!(exported(&[], 0).0, "# EOF\n");
    }

    #[test]
    fn what_is_no_batch_is_told() {
        let broken = Batch {
            body: Bytes::from_static(b"\xff\xff\xff").into(),
            samples: 1,
            raw_len: 1,
            min_ms: 0,
            max_ms: 0,
        };
        assert!(matches!(
            Export::new(0).add(&broken),
            Err(AddError::Batch(_))
        ));
    }

    proptest! {
        #[test]
        fn runs_make_no_difference(
            points in proptest::collection::vec((0_u8..6, 0_i64..40, 0_i64..5), 1..120),
            each in 1_usize..20,
            memory in 0_usize..3_000,
        ) {
            let name = |series: u8| if series < 3 { "m" } else { "m_x" };
            let one = |(s, ms, v): &(u8, i64, i64)| {
                let labels = [("__name__", name(*s)), ("s", &s.to_string())];
                series(&labels, &[(*ms, *v as f64)])
            };
            let batches: Vec<_> = points
                .chunks(each)
                .map(|chunk| batch(chunk.iter().map(one).collect()))
                .collect();
            prop_assert_eq!(exported(&batches, memory), exported(&batches, usize::MAX));
        }
    }
}
