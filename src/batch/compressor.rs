//! What a remote keeps between scrapes: buffers, and the compressed pieces of its last batches.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};

use super::piece::{Piece, PieceWriter};
use crate::prompb::wire;
use crate::series::{SeriesId, TargetId};

/// Scrapes of its target that a compressed piece may go unused before it is let go.
const KEEP_UNUSED: u32 = 4;

/// Compresses batches. It keeps its buffers between scrapes, and the pieces of the last batches:
/// see [`super::piece`].
#[derive(Debug, Default)]
pub struct Compressor {
    /// For entries of windows.
    encoder: Option<snap::raw::Encoder>,
    block: Vec<u8>,
    spare: Vec<Vec<u8>>,
    spare_writers: Vec<PieceWriter>,
    /// The pieces of the last batches, by their first series.
    kept: HashMap<u32, Piece>,
    kept_bytes: usize,
    /// Number of committed scrapes of each target.
    scrapes: Vec<u32>,
    /// How often [`Compressor::forget`] was called. A scrape that began in an earlier generation
    /// names series by places that are no longer theirs, so it neither takes nor keeps pieces.
    pub(super) generation: u32,
}

/// The scrape that gives a piece back.
#[derive(Debug, Clone, Copy)]
pub(super) struct PieceOwner {
    /// The compressor's generation when the scrape began.
    pub(super) generation: u32,
    /// The scraped target.
    pub(super) target: TargetId,
}

/// Buffers kept between scrapes: one for each open batch of the scrape before, mostly a single one.
const SPARE_BUFFERS: usize = 4;

impl Compressor {
    /// Bytes held.
    #[must_use]
    pub fn memory(&self) -> usize {
        let writers = self.spare_writers.iter().map(PieceWriter::memory);
        let buffers = self.spare.iter().map(Vec::capacity);
        self.block.capacity() + buffers.chain(writers).sum::<usize>() + self.kept_bytes
    }

    pub(super) fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    pub(super) fn give_back(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < SPARE_BUFFERS {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    pub(super) fn writer(&mut self) -> PieceWriter {
        self.spare_writers.pop().unwrap_or_default()
    }

    pub(super) fn give_back_writer(&mut self, mut writer: PieceWriter) {
        if self.spare_writers.len() < SPARE_BUFFERS {
            writer.clear();
            self.spare_writers.push(writer);
        }
    }

    /// Compresses a piece that is never patched: its elements, without a length before them.
    ///
    /// # Errors
    /// Fails only when the piece is larger than snappy's 4 GiB.
    pub(super) fn compress(&mut self, raw: &[u8]) -> Result<Bytes, snap::Error> {
        let bound = snap::raw::max_compress_len(raw.len());
        if self.block.len() < bound {
            self.block.resize(bound, 0);
        }
        let encoder = self.encoder.get_or_insert_with(snap::raw::Encoder::new);
        let end = encoder.compress(raw, &mut self.block)?;
        let start = wire::varint_len(raw.len() as u64);
        Ok(Bytes::copy_from_slice(&self.block[start..end]))
    }

    pub(super) fn keep(&mut self, owner: PieceOwner, mut piece: Piece) {
        let PieceOwner { generation, target } = owner;
        let used = self
            .scrapes
            .get(target.index())
            .copied()
            .unwrap_or_default();
        let Some(first) = piece.first().filter(|_| generation == self.generation) else {
            return;
        };
        (piece.used, piece.target) = (used, target);
        self.kept_bytes += piece.memory();
        if let Some(replaced) = self.kept.insert(first, piece) {
            self.kept_bytes -= replaced.memory();
        }
    }

    pub(super) fn take(&mut self, generation: u32, first: SeriesId) -> Option<Piece<BytesMut>> {
        if generation != self.generation || self.kept.is_empty() {
            return None;
        }
        let piece = self.kept.remove(&first.0)?;
        self.kept_bytes -= piece.memory();
        Some(piece.open())
    }

    /// Ends a scrape of a target: pieces that it did not use for a while are let go.
    pub(super) fn age(&mut self, target: TargetId) {
        let index = target.index();
        if self.scrapes.len() <= index {
            self.scrapes.resize(index + 1, 0);
        }
        self.scrapes[index] += 1;
        let now = self.scrapes[index];
        if now.is_multiple_of(KEEP_UNUSED) {
            self.kept
                .retain(|_, piece| piece.target != target || piece.used + KEEP_UNUSED >= now);
            self.kept_bytes = self.kept.values().map(Piece::memory).sum();
        }
    }

    /// Samples of the pieces that are kept.
    #[cfg(test)]
    pub(super) fn kept_samples(&self) -> usize {
        self.kept.values().map(Piece::samples).sum()
    }

    /// Lets all pieces go: series have other places now.
    pub fn forget(&mut self) {
        self.kept = HashMap::new();
        self.kept_bytes = 0;
        self.generation = self.generation.wrapping_add(1);
    }
}
