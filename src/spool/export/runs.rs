//! What memory does not hold: sorted runs in a temporary file.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

use super::point::{ExportedValue, Point, Series};

/// Sorted runs in a temporary file, one behind the other.
pub(super) struct Runs {
    file: File,
    /// Where each run ends.
    ends: Vec<u64>,
}

impl Runs {
    /// An empty file, which the system removes with the process.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            file: tempfile::tempfile()?,
            ends: Vec::new(),
        })
    }

    /// Appends a run.
    pub(super) fn write(
        &mut self,
        run: impl Iterator<Item = (Series, Vec<ExportedValue>)>,
    ) -> io::Result<()> {
        let mut out = BufWriter::new(&self.file);
        for (Series { name, line }, values) in run {
            for length in [name.len(), line.len(), values.len()] {
                out.write_all(&(length as u64).to_le_bytes())?;
            }
            out.write_all(name.as_bytes())?;
            out.write_all(line.as_bytes())?;
            for value in values {
                out.write_all(&value.ms.to_le_bytes())?;
                out.write_all(&value.bits.to_le_bytes())?;
            }
        }
        let end = out.stream_position()?;
        out.flush()?;
        drop(out);
        self.ends.push(end);
        Ok(())
    }

    /// The runs, in the order in which they were written.
    pub(super) fn read(&self) -> Vec<Run<'_>> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        let ranges = starts.zip(&self.ends).map(|(at, end)| FileRange {
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

/// A part of a file that several readers share.
struct FileRange<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for FileRange<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = self.file.read_at(&mut buffer[..left], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// A run as it is read.
pub(super) struct Run<'a> {
    bytes: BufReader<FileRange<'a>>,
    /// The series that is being read.
    series: Option<Rc<Series>>,
    /// Values of that series that are not read yet.
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
        let value = ExportedValue {
            ms: self.number()? as i64,
            bits: self.number()?,
        };
        Ok(Some(Point { series, value }))
    }
}

impl Iterator for Run<'_> {
    type Item = io::Result<Point>;

    fn next(&mut self) -> Option<Self::Item> {
        self.point().transpose()
    }
}
