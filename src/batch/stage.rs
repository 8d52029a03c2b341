//! The batches of one scrape, until it commits.

use bytes::Bytes;

use super::Batch;
use super::compressor::{Compressor, PieceOwner};
use super::entry::FittingEntry;
use super::open::{BatchKey, NO_TIME, OpenBatch, OpenPiece};
use super::piece::{PIECE_BYTES, PIECE_SAMPLES, Piece, SamplePatch};
use crate::prompb::{TimedValue, wire};
use crate::series::{SeriesId, TargetId};

/// When a batch closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Largest number of samples in a batch.
    pub samples: usize,
    /// Largest batch in uncompressed bytes. A single larger sample makes a batch of its own.
    pub bytes: usize,
}

/// Encodes the labels of a sample's series.
pub trait EncodeLabels {
    /// The series' place in the cache: the same labels for as long as `Compressor::forget` was
    /// not called.
    fn series(&self) -> SeriesId;
    /// Whether a piece may end before this series, whatever comes before it: of one series in some
    /// hundred, so that pieces are the same again behind a series that came or went.
    fn starts_piece(&self) -> bool;
    /// Bytes that [`EncodeLabels::encode`] appends.
    fn encoded_len(&self) -> usize;
    /// Appends the field `TimeSeries.labels`.
    fn encode(&self, out: &mut Vec<u8>);
}

/// The batches of one scrape. Samples of different groups never share a batch; the `nth` samples of
/// their series, for each n, make a scrape of their own.
#[derive(Debug)]
pub struct Stage {
    limits: BatchLimits,
    target: TargetId,
    /// The compressor's generation when the scrape began.
    generation: u32,
    open: Vec<OpenBatch>,
    closed: Vec<Vec<Batch>>,
    /// Bytes that only these batches hold.
    bytes: usize,
    /// Bytes that the compressor holds, too, unless it has forgotten its pieces since.
    shared: usize,
}

impl Stage {
    /// An empty stage.
    #[must_use]
    pub fn new(limits: BatchLimits, target: TargetId, compressor: &Compressor) -> Self {
        Self {
            limits,
            target,
            generation: compressor.generation,
            open: Vec::new(),
            closed: Vec::new(),
            bytes: 0,
            shared: 0,
        }
    }

    /// When its batches close.
    pub(super) fn limits(&self) -> BatchLimits {
        self.limits
    }

    fn owner(&self) -> PieceOwner {
        PieceOwner {
            generation: self.generation,
            target: self.target,
        }
    }

    /// Adds a sample.
    ///
    /// # Errors
    /// When a full batch cannot be compressed: only when it is larger than snappy's 4 GiB.
    #[inline]
    pub fn push(
        &mut self,
        compressor: &mut Compressor,
        key: BatchKey,
        sample: TimedValue<'_>,
        labels: &impl EncodeLabels,
    ) -> Result<(), snap::Error> {
        let at = self.open_batch(compressor, key);
        // The fast way: the series is the next one in a piece of the last scrape, and only the
        // changing bytes are written. All else is encoded.
        let patch = self.open[at].patch(labels.series(), sample);
        if self.generation != compressor.generation || !self.again(at, patch.as_ref()) {
            self.encode(compressor, at, sample, labels)?;
        }
        let open = &mut self.open[at];
        open.last_ms = patch.map_or(NO_TIME, |_| sample.timestamp_ms);
        open.samples += 1;
        open.min_ms = open.min_ms.min(sample.timestamp_ms);
        open.max_ms = open.max_ms.max(sample.timestamp_ms);
        if open.samples as usize >= self.limits.samples {
            self.close(compressor, at)?;
        }
        Ok(())
    }

    /// Adds an entry with several samples. It is encoded anew each time: a window has other samples
    /// than the last one, and other numbers of them.
    ///
    /// # Errors
    /// As [`Stage::push`].
    pub(super) fn push_entry(
        &mut self,
        compressor: &mut Compressor,
        key: BatchKey,
        entry: FittingEntry<'_>,
        labels: &impl EncodeLabels,
    ) -> Result<(), snap::Error> {
        let Some((min_ms, max_ms)) = entry.samples.span_ms() else {
            return Ok(());
        };
        let at = self.open_batch(compressor, key);
        // First make room, as for a single sample. Pieces end only at their limits: they are not
        // kept, so there is nothing that landmarks could save.
        let length = wire::field_len(entry.len);
        let open = &self.open[at];
        let piece = open.piece.len();
        let is_full = open.samples as usize + entry.samples.len() > self.limits.samples
            || open.raw_len + piece + length > self.limits.bytes;
        if open.samples > 0 && is_full {
            self.close(compressor, at)?;
        } else if piece > 0 && piece + length > PIECE_BYTES {
            self.complete(compressor, at)?;
        }
        if !matches!(self.open[at].piece, OpenPiece::Raw(_)) {
            self.complete(compressor, at)?;
            let raw = OpenPiece::Raw(compressor.buffer());
            let unused = std::mem::replace(&mut self.open[at].piece, raw);
            self.give_back(compressor, unused);
        }
        let open = &mut self.open[at];
        let OpenPiece::Raw(raw) = &mut open.piece else {
            return Ok(());
        };
        raw.reserve(length);
        raw.push(wire::TIME_SERIES);
        wire::varint(raw, entry.len as u64);
        labels.encode(raw);
        entry.samples.encode(raw);
        open.samples += entry.samples.len() as u32;
        open.min_ms = open.min_ms.min(min_ms);
        open.max_ms = open.max_ms.max(max_ms);
        if open.samples as usize >= self.limits.samples {
            self.close(compressor, at)?;
        }
        Ok(())
    }

    /// The place of the open batch with this key.
    #[inline]
    fn open_batch(&mut self, compressor: &mut Compressor, key: BatchKey) -> usize {
        if let Some(at) = self.open.iter().position(|open| open.key == key) {
            return at;
        }
        let piece = OpenPiece::New(compressor.writer());
        self.open.push(OpenBatch {
            key,
            pieces: Vec::new(),
            raw_len: 0,
            piece,
            samples: 0,
            min_ms: i64::MAX,
            max_ms: i64::MIN,
            last_ms: NO_TIME,
        });
        self.open.len() - 1
    }

    /// Writes the sample into the piece that was sent before, if it is the one that comes next
    /// there.
    #[inline]
    fn again(&mut self, at: usize, patch: Option<&SamplePatch>) -> bool {
        let open = &mut self.open[at];
        let (OpenPiece::Again(piece, samples), Some(patch)) = (&mut open.piece, patch) else {
            return false;
        };
        let fits = open.raw_len + piece.raw_len(*samples + 1) <= self.limits.bytes;
        if !fits || !piece.patch(*samples, patch) {
            return false;
        }
        *samples += 1;
        true
    }

    fn encode(
        &mut self,
        compressor: &mut Compressor,
        at: usize,
        sample: TimedValue<'_>,
        labels: &impl EncodeLabels,
    ) -> Result<(), snap::Error> {
        // First make room: close the batch when the entry does not fit, or else end the piece at a
        // landmark or at its limits.
        let entry_len = labels.encoded_len() + sample.value.field_len(sample.timestamp_ms);
        let length = wire::field_len(entry_len);
        let open = &self.open[at];
        let piece = open.piece.len();
        if open.samples > 0 && open.raw_len + piece + length > self.limits.bytes {
            self.close(compressor, at)?;
        } else if piece > 0
            && (labels.starts_piece()
                || piece + length > PIECE_BYTES
                || open.piece.samples() >= PIECE_SAMPLES)
        {
            self.complete(compressor, at)?;
        }
        let series = labels.series();
        let encode = |out: &mut Vec<u8>| {
            out.push(wire::TIME_SERIES);
            wire::varint(out, entry_len as u64);
            labels.encode(out);
            let labels_end = out.len();
            sample.value.encode(sample.timestamp_ms, out);
            labels_end
        };
        let open = &mut self.open[at];
        if let OpenPiece::Raw(raw) = &mut open.piece {
            encode(raw);
            return Ok(());
        }
        // The first sample of a piece has none before it, so its patch may be another one now.
        let patch = open.patch(series, sample);
        // At the start of a piece, go on with the kept piece that starts with this series. Only
        // first samples (`nth` 0) do so: later ones would take the pieces of the first ones.
        if open.piece.len() == 0
            && open.key.nth == 0
            && let Some(piece) = compressor.take(self.generation, series)
        {
            let unused = std::mem::replace(&mut open.piece, OpenPiece::Again(piece, 0));
            self.give_back(compressor, unused);
            if self.again(at, patch.as_ref()) {
                return Ok(());
            }
        }
        // Another series than in the last scrape ends the patching. From here on entries are
        // written one by one.
        let open = &mut self.open[at];
        open.piece.rewrite(compressor);
        let OpenPiece::New(writer) = &mut open.piece else {
            return Ok(());
        };
        if self.generation != compressor.generation {
            writer.forget();
        } else if patch.is_some_and(|patch| writer.take_over(&patch)) {
            return Ok(());
        } else if open.key.nth == 0
            && !writer.awaits(series)
            && let Some(piece) = compressor.take(self.generation, series)
        {
            // The series was the first one of another piece, whose others probably follow.
            writer.adopt(piece, 0);
        }
        writer.write(series, patch.as_ref(), encode)
    }

    /// Ends the piece in progress.
    fn complete(&mut self, compressor: &mut Compressor, at: usize) -> Result<(), snap::Error> {
        let open = &mut self.open[at];
        let length = open.piece.len();
        if length == 0 {
            return Ok(());
        }
        open.raw_len += length;
        open.last_ms = NO_TIME;
        // A piece that ends early loses its last samples.
        if matches!(&open.piece, OpenPiece::Again(piece, samples) if *samples < piece.samples()) {
            open.piece.rewrite(compressor);
        }
        let piece = match &mut open.piece {
            OpenPiece::New(writer) => {
                let (elements, piece) = writer.finish();
                open.pieces.push(elements);
                let piece = piece.filter(|_| open.key.nth == 0);
                self.keep(compressor, at, piece);
                return Ok(());
            }
            again_or_raw => std::mem::replace(again_or_raw, OpenPiece::New(compressor.writer())),
        };
        match piece {
            OpenPiece::Again(piece, _) => {
                let piece = piece.close();
                open.pieces.push(piece.elements());
                self.keep(compressor, at, Some(piece));
            }
            OpenPiece::Raw(raw) => {
                open.pieces.push(compressor.compress(&raw)?);
                compressor.give_back(raw);
                self.keep(compressor, at, None);
            }
            OpenPiece::New(writer) => compressor.give_back_writer(writer),
        }
        Ok(())
    }

    /// Keeps a complete piece, which is the last one of its batch, for the next scrape. None is one
    /// that cannot be patched.
    fn keep(&mut self, compressor: &mut Compressor, at: usize, piece: Option<Piece>) {
        match piece {
            Some(piece) => {
                self.shared += piece.memory();
                compressor.keep(self.owner(), piece);
            }
            None => self.bytes += self.open[at].pieces.last().map_or(0, Bytes::len),
        }
    }

    /// Gives back what a piece in progress was to be written with.
    fn give_back(&self, compressor: &mut Compressor, piece: OpenPiece) {
        match piece {
            OpenPiece::New(writer) => compressor.give_back_writer(writer),
            OpenPiece::Again(piece, _) => compressor.keep(self.owner(), piece.close()),
            OpenPiece::Raw(raw) => compressor.give_back(raw),
        }
    }

    fn close(&mut self, compressor: &mut Compressor, at: usize) -> Result<(), snap::Error> {
        self.complete(compressor, at)?;
        let open = &mut self.open[at];
        if open.samples == 0 {
            return Ok(());
        }
        // The block's length comes first: now it is known. The pieces follow as they are.
        let mut length = Vec::with_capacity(wire::varint_len(open.raw_len as u64));
        wire::varint(&mut length, open.raw_len as u64);
        open.pieces.insert(0, length.into());
        let body = open.pieces.drain(..).collect();
        let batch = Batch {
            body,
            samples: open.samples,
            raw_len: open.raw_len as u32,
            min_ms: open.min_ms,
            max_ms: open.max_ms,
        };
        self.bytes += size_of::<Batch>() + (batch.body.pieces().len() + 1) * size_of::<Bytes>();
        let nth = usize::from(open.key.nth);
        if self.closed.len() <= nth {
            self.closed.resize_with(nth + 1, Vec::new);
        }
        self.closed[nth].push(batch);
        (open.raw_len, open.samples, open.min_ms, open.max_ms) = (0, 0, i64::MAX, i64::MIN);
        Ok(())
    }

    /// Bytes held, without the pieces that the compressor keeps, too.
    #[must_use]
    pub fn memory(&self, compressor: &Compressor) -> usize {
        let open = self.open.iter().map(|open| open.piece.memory());
        let shared = if self.generation == compressor.generation {
            0
        } else {
            self.shared
        };
        self.bytes + shared + open.sum::<usize>()
    }

    /// Closes what is open: the batches of each scrape, in order.
    ///
    /// # Errors
    /// As [`Stage::push`].
    pub fn finish(mut self, compressor: &mut Compressor) -> Result<Vec<Vec<Batch>>, snap::Error> {
        for at in 0..self.open.len() {
            self.close(compressor, at)?;
        }
        compressor.age(self.target);
        let closed = std::mem::take(&mut self.closed);
        self.discard(compressor);
        Ok(closed
            .into_iter()
            .filter(|batches| !batches.is_empty())
            .collect())
    }

    /// Drops everything but the buffers.
    pub fn discard(mut self, compressor: &mut Compressor) {
        for open in std::mem::take(&mut self.open) {
            self.give_back(compressor, open.piece);
        }
    }
}
