//! Batches as OpenMetrics, which `promtool tsdb create-blocks-from openmetrics` turns into blocks.
//!
//! OpenMetrics wants the samples of a family together, and those of a series in the order of time;
//! a spool has them by scrape. So they are sorted: in memory up to a bound, and from there on in
//! sorted runs in a temporary file, which are merged at the end. A batch holds no metadata, so that
//! all families are `unknown`: each name is a family of its own, those of a histogram's parts, too.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, btree_map};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

use crate::batch::{Batch, SplitError, decode};
use crate::prompb::STALE_NAN;
use crate::series::{float, text};

/// What a series takes in memory beside its text.
const SERIES: usize = 200;

/// What a sample takes: half of a list that has just grown is empty.
const SAMPLE: usize = 32;

/// Orders families, series and, with the timestamp behind it, samples.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    name: String,
    line: String,
}

/// Milliseconds since 1970, and the bits of the value.
type Sample = (i64, u64);

/// Sorts batches.
pub struct Export {
    memory: usize,
    held: usize,
    sorting: BTreeMap<Series, Vec<Sample>>,
    runs: Option<Runs>,
    left_out: LeftOut,
}

/// What OpenMetrics cannot say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct LeftOut {
    /// Stale markers.
    pub stale: u64,
    /// Native histograms.
    pub histograms: u64,
    /// The same series at the same time once more, as after a kill.
    pub repeated: u64,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Written {
    /// Lines with a value.
    pub samples: u64,
    /// Different ones.
    pub series: u64,
    /// What was not.
    pub left_out: LeftOut,
}

/// A batch that could not be added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// It does not hold what it should.
    #[error(transparent)]
    Batch(#[from] SplitError),
    /// No room for the runs.
    #[error(
        "spool: cannot write a temporary file: {0}; make room in the system's temporary directory, or name another one in TMPDIR"
    )]
    Temporary(#[from] io::Error),
}

impl Export {
    /// Sorts in about so many bytes of memory, the decoding of one batch aside.
    #[must_use]
    pub fn new(memory: usize) -> Self {
        Self {
            memory,
            held: 0,
            sorting: BTreeMap::new(),
            runs: None,
            left_out: LeftOut::default(),
        }
    }

    /// Adds the samples of a batch.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn add(&mut self, batch: &Batch) -> Result<(), AddError> {
        for series in decode(batch)?.timeseries {
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
            let samples = match self.sorting.entry(key) {
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
                samples.push((sample.timestamp, sample.value.to_bits()));
                self.held += SAMPLE;
            }
        }
        if self.held > self.memory {
            self.spill()?;
        }
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        let runs = match &mut self.runs {
            Some(runs) => runs,
            None => self.runs.insert(Runs {
                file: tempfile::tempfile()?,
                ends: Vec::new(),
            }),
        };
        self.held = 0;
        runs.write(sorted(std::mem::take(&mut self.sorting)))
    }

    /// Writes all that was added.
    ///
    /// # Errors
    /// `out`, or the temporary file. What was written then lacks its last line, and promtool
    /// refuses it.
    pub fn finish(mut self, out: &mut impl Write) -> io::Result<Written> {
        let mut written = Written {
            left_out: self.left_out,
            ..Written::default()
        };
        let memory: Source<'_> =
            Box::new(points(sorted(std::mem::take(&mut self.sorting))).map(Ok));
        let runs = self.runs.as_ref().map(Runs::read).unwrap_or_default();
        // In the order in which they were added: of what is repeated, the first one stays.
        let sources = runs
            .into_iter()
            .map(|run| Box::new(run) as Source<'_>)
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
                    .is_some_and(|last| last.sample.0 == point.sample.0)
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
            let (ms, value) = (point.sample.0, f64::from_bits(point.sample.1));
            writeln!(
                out,
                "{} {} {}",
                point.series.line,
                float::json(value),
                seconds(ms)
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

fn sorted(sorting: BTreeMap<Series, Vec<Sample>>) -> impl Iterator<Item = (Series, Vec<Sample>)> {
    sorting.into_iter().map(|(series, mut samples)| {
        // Stable: of what is repeated, the first one stays first.
        samples.sort_by_key(|(ms, _)| *ms);
        (series, samples)
    })
}

fn points(sorted: impl Iterator<Item = (Series, Vec<Sample>)>) -> impl Iterator<Item = Point> {
    sorted.flat_map(|(series, samples)| {
        let series = Rc::new(series);
        samples.into_iter().map(move |sample| Point {
            series: Rc::clone(&series),
            sample,
        })
    })
}

struct Point {
    series: Rc<Series>,
    sample: Sample,
}

/// Sorted runs, one behind the other.
struct Runs {
    file: File,
    ends: Vec<u64>,
}

impl Runs {
    fn write(&mut self, run: impl Iterator<Item = (Series, Vec<Sample>)>) -> io::Result<()> {
        let mut out = BufWriter::new(&self.file);
        for (Series { name, line }, samples) in run {
            for length in [name.len(), line.len(), samples.len()] {
                out.write_all(&(length as u64).to_le_bytes())?;
            }
            out.write_all(name.as_bytes())?;
            out.write_all(line.as_bytes())?;
            for (ms, bits) in samples {
                out.write_all(&ms.to_le_bytes())?;
                out.write_all(&bits.to_le_bytes())?;
            }
        }
        let end = out.stream_position()?;
        out.flush()?;
        drop(out);
        self.ends.push(end);
        Ok(())
    }

    fn read(&self) -> Vec<Run<'_>> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        let ranges = starts.zip(&self.ends).map(|(at, end)| Part {
            file: &self.file,
            at,
            end: *end,
        });
        ranges
            .map(|part| Run {
                bytes: BufReader::new(part),
                series: None,
                left: 0,
            })
            .collect()
    }
}

/// A part of a file that several read.
struct Part<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = self.file.read_at(&mut buffer[..left], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

struct Run<'a> {
    bytes: BufReader<Part<'a>>,
    series: Option<Rc<Series>>,
    left: u64,
}

impl Run<'_> {
    fn number(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.bytes.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn text(&mut self, length: u64) -> io::Result<String> {
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.bytes.read_exact(&mut bytes)?;
        String::from_utf8(bytes).map_err(io::Error::other)
    }

    fn point(&mut self) -> io::Result<Option<Point>> {
        while self.left == 0 {
            let part = self.bytes.get_ref();
            if part.at == part.end && self.bytes.buffer().is_empty() {
                return Ok(None);
            }
            let (name, line) = (self.number()?, self.number()?);
            self.left = self.number()?;
            self.series = Some(Rc::new(Series {
                name: self.text(name)?,
                line: self.text(line)?,
            }));
        }
        let Some(series) = self.series.clone() else {
            return Ok(None);
        };
        self.left -= 1;
        let (ms, bits) = (self.number()? as i64, self.number()?);
        Ok(Some(Point {
            series,
            sample: (ms, bits),
        }))
    }
}

impl Iterator for Run<'_> {
    type Item = io::Result<Point>;

    fn next(&mut self) -> Option<Self::Item> {
        self.point().transpose()
    }
}

/// Points in order.
type Source<'a> = Box<dyn Iterator<Item = io::Result<Point>> + 'a>;

/// Series, timestamp, source and value: the order of the merge.
type Next = (Rc<Series>, i64, usize, u64);

/// Sorted sources, merged.
struct Merge<'a> {
    sources: Vec<Source<'a>>,
    /// The next one of each.
    next: BinaryHeap<Reverse<Next>>,
}

impl<'a> Merge<'a> {
    fn new(sources: Vec<Source<'a>>) -> io::Result<Self> {
        let mut merge = Self {
            next: BinaryHeap::with_capacity(sources.len()),
            sources,
        };
        (0..merge.sources.len()).try_for_each(|source| merge.pull(source))?;
        Ok(merge)
    }

    fn pull(&mut self, source: usize) -> io::Result<()> {
        if let Some(point) = self.sources[source].next() {
            let Point {
                series,
                sample: (ms, bits),
            } = point?;
            self.next.push(Reverse((series, ms, source, bits)));
        }
        Ok(())
    }
}

impl Iterator for Merge<'_> {
    type Item = io::Result<Point>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((series, ms, source, bits)) = self.next.pop()?;
        Some(self.pull(source).map(|()| Point {
            series,
            sample: (ms, bits),
        }))
    }
}

/// A timestamp that Prometheus reads back as it is: it multiplies the float by 1000 and cuts what
/// is behind the point (`model/textparse/openmetricsparse.go` `parseSeriesEndOfLine`), which makes
/// 1000 of 1.001 s.
fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let size = ms.unsigned_abs();
    let plain = if size.is_multiple_of(1000) {
        format!("{sign}{}", size / 1000)
    } else {
        format!("{sign}{}.{:03}", size / 1000, size % 1000)
    };
    let read_back = |text: &str| {
        text.parse::<f64>()
            .is_ok_and(|seconds| (seconds * 1000.0) as i64 == ms)
    };
    if read_back(&plain) {
        return plain;
    }
    let nudged = (1..10).map(|nudge| format!("{sign}{}.{:03}000{nudge}", size / 1000, size % 1000));
    nudged
        .into_iter()
        .find(|text| read_back(text))
        .unwrap_or(plain)
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

    fn exported(batches: &[Batch], memory: usize) -> (String, Written) {
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
        let left_out = LeftOut {
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
                    Written {
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
        fn runs_make_no_difference(points in proptest::collection::vec((0_u8..6, 0_i64..40, 0_i64..5), 1..120), each in 1_usize..20, memory in 0_usize..3_000) {
            let name = |series: u8| if series < 3 { "m" } else { "m_x" };
            let batches: Vec<_> = points
                .chunks(each)
                .map(|chunk| batch(chunk.iter().map(|(s, ms, v)| series(&[("__name__", name(*s)), ("s", &s.to_string())], &[(*ms, *v as f64)])).collect()))
                .collect();
            prop_assert_eq!(exported(&batches, memory), exported(&batches, usize::MAX));
        }

        #[test]
        fn prometheus_reads_the_timestamps_that_were_meant(ms in prop_oneof![0_i64..5_000_000_000_000, -100_000_i64..100_000]) {
            prop_assert_eq!((seconds(ms).parse::<f64>().unwrap() * 1000.0) as i64, ms);
        }
    }
}
