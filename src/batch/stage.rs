//! The batches of one scrape, until it commits.

use bytes::Bytes;

use super::{Batch, Value, wire};

/// When a batch closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// At that many samples.
    pub samples: usize,
    /// Before its uncompressed bytes would pass this. A single larger sample makes a batch of its own.
    pub bytes: usize,
}

/// Compresses batches; its buffers are kept between scrapes.
#[derive(Debug)]
pub struct Compressor {
    encoder: snap::raw::Encoder,
    out: Vec<u8>,
    spare: Vec<Vec<u8>>,
}

impl Default for Compressor {
    fn default() -> Self {
        Self { encoder: snap::raw::Encoder::new(), out: Vec::new(), spare: Vec::new() }
    }
}

/// Buffers kept between scrapes: one for each open batch of the scrape before, mostly a single one.
const SPARE_BUFFERS: usize = 4;

impl Compressor {
    /// Snappy's block format, as remote write 1.0 asks for.
    fn compress(&mut self, raw: &[u8]) -> Result<Bytes, snap::Error> {
        let bound = snap::raw::max_compress_len(raw.len());
        if self.out.len() < bound {
            self.out.resize(bound, 0);
        }
        let length = self.encoder.compress(raw, &mut self.out)?;
        Ok(Bytes::copy_from_slice(&self.out[..length]))
    }

    /// Bytes held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.out.capacity() + self.spare.iter().map(Vec::capacity).sum::<usize>()
    }
}

/// A batch that still takes samples.
#[derive(Debug)]
struct Open {
    nth: u16,
    group: u32,
    raw: Vec<u8>,
    samples: u32,
    min_ms: i64,
    max_ms: i64,
}

/// The batches of one scrape. Samples of different groups never share a batch; the `nth` samples of their series, for each n,
/// make a scrape of their own.
#[derive(Debug)]
pub struct Stage {
    limits: Limits,
    open: Vec<Open>,
    closed: Vec<Vec<Batch>>,
    bytes: usize,
}

impl Stage {
    /// An empty stage.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, open: Vec::new(), closed: Vec::new(), bytes: 0 }
    }

    /// Adds a sample. `labels_len` is the number of bytes that `encode_labels` appends.
    ///
    /// # Errors
    /// When a full batch cannot be compressed: only when it is larger than snappy's 4 GiB.
    #[inline]
    pub fn push(
        &mut self,
        compressor: &mut Compressor,
        (nth, group): (u16, u32),
        labels_len: usize,
        (value, timestamp_ms): (Value<'_>, i64),
        encode_labels: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), snap::Error> {
        let entry_len = labels_len + value.field_len(timestamp_ms);
        let length = wire::field_len(entry_len);
        let at = match self.open.iter().position(|open| open.group == group && open.nth == nth) {
            Some(at) => at,
            None => {
                let raw = compressor.spare.pop().unwrap_or_default();
                self.open.push(Open { nth, group, raw, samples: 0, min_ms: i64::MAX, max_ms: i64::MIN });
                self.open.len() - 1
            }
        };
        if !self.open[at].raw.is_empty() && self.open[at].raw.len() + length > self.limits.bytes {
            self.close(compressor, at)?;
        }
        let open = &mut self.open[at];
        open.raw.push(wire::TIME_SERIES);
        wire::varint(&mut open.raw, entry_len as u64);
        encode_labels(&mut open.raw);
        value.encode(timestamp_ms, &mut open.raw);
        open.samples += 1;
        open.min_ms = open.min_ms.min(timestamp_ms);
        open.max_ms = open.max_ms.max(timestamp_ms);
        if open.samples as usize >= self.limits.samples {
            self.close(compressor, at)?;
        }
        Ok(())
    }

    fn close(&mut self, compressor: &mut Compressor, at: usize) -> Result<(), snap::Error> {
        let open = &mut self.open[at];
        if open.samples == 0 {
            return Ok(());
        }
        let body = compressor.compress(&open.raw)?;
        self.bytes += body.len();
        let batch = Batch { body, samples: open.samples, raw_len: open.raw.len() as u32, min_ms: open.min_ms, max_ms: open.max_ms };
        let nth = usize::from(open.nth);
        if self.closed.len() <= nth {
            self.closed.resize_with(nth + 1, Vec::new);
        }
        self.closed[nth].push(batch);
        open.raw.clear();
        (open.samples, open.min_ms, open.max_ms) = (0, i64::MAX, i64::MIN);
        Ok(())
    }

    /// Bytes held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.bytes + self.open.iter().map(|open| open.raw.capacity()).sum::<usize>()
    }

    /// Closes what is open: the batches of each scrape, in order.
    ///
    /// # Errors
    /// As [`Stage::push`].
    pub fn finish(mut self, compressor: &mut Compressor) -> Result<Vec<Vec<Batch>>, snap::Error> {
        for at in 0..self.open.len() {
            self.close(compressor, at)?;
        }
        let closed = std::mem::take(&mut self.closed);
        self.discard(compressor);
        Ok(closed.into_iter().filter(|batches| !batches.is_empty()).collect())
    }

    /// Drops everything but the buffers.
    pub fn discard(self, compressor: &mut Compressor) {
        for mut open in self.open {
            if compressor.spare.len() < SPARE_BUFFERS {
                open.raw.clear();
                compressor.spare.push(open.raw);
            }
        }
    }
}
