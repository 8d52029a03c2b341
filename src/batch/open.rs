//! A batch that still takes samples, and its piece in progress.

use bytes::{Bytes, BytesMut};

use super::compressor::Compressor;
use super::piece::{Piece, PieceWriter, SamplePatch};
use crate::prompb::TimedValue;
use crate::series::SeriesId;

/// What the samples of a batch have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchKey {
    /// Number of samples that the scrape gave of the same series before: mostly 0.
    pub nth: u16,
    /// The group of their series: samples of different groups never share a batch.
    pub group: u32,
}

/// A batch that still takes samples: compressed pieces, and one that is not complete.
#[derive(Debug)]
pub(super) struct OpenBatch {
    pub(super) key: BatchKey,
    /// Compressed bytes of the complete pieces, in order.
    pub(super) pieces: Vec<Bytes>,
    /// Uncompressed bytes of the complete pieces.
    pub(super) raw_len: usize,
    pub(super) piece: OpenPiece,
    pub(super) samples: u32,
    pub(super) min_ms: i64,
    pub(super) max_ms: i64,
    /// Timestamp of the last sample of the piece, if it has one that a piece can be patched with.
    /// Otherwise [`NO_TIME`].
    pub(super) last_ms: i64,
}

/// No timestamp that a piece can be patched with.
pub(super) const NO_TIME: i64 = i64::MIN;

impl OpenBatch {
    /// The patch of the next sample. None for one whose form cannot be patched.
    #[inline]
    pub(super) fn patch(&self, series: SeriesId, sample: TimedValue<'_>) -> Option<SamplePatch> {
        let same_time = self.last_ms == sample.timestamp_ms;
        SamplePatch::new(series, sample, same_time)
    }
}

/// The piece in progress.
#[derive(Debug)]
pub(super) enum OpenPiece {
    /// A piece of an earlier batch, so far with the same series, and how many of its samples are
    /// already patched.
    Again(Piece<BytesMut>, usize),
    /// A piece that is written entry by entry.
    New(PieceWriter),
    /// A piece with entries of windows, uncompressed. It is never patched.
    Raw(Vec<u8>),
}

impl OpenPiece {
    /// Uncompressed bytes so far.
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Again(piece, samples) => piece.raw_len(*samples),
            Self::New(writer) => writer.raw_len(),
            Self::Raw(raw) => raw.len(),
        }
    }

    /// Number of samples, as far as the piece can be patched. Otherwise the number does not matter.
    pub(super) fn samples(&self) -> usize {
        match self {
            Self::Again(_, samples) => *samples,
            Self::New(writer) => writer.samples(),
            Self::Raw(_) => 0,
        }
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Again(piece, _) => piece.memory(),
            Self::New(writer) => writer.memory(),
            Self::Raw(raw) => raw.capacity(),
        }
    }

    /// Turns a piece that is being patched into one that is written, with the samples patched so
    /// far.
    pub(super) fn rewrite(&mut self, compressor: &mut Compressor) {
        if !matches!(self, Self::Again(..)) {
            return;
        }
        let mut writer = compressor.writer();
        if let Self::Again(piece, samples) = std::mem::replace(self, Self::Raw(Vec::new())) {
            writer.resume(piece, samples);
        }
        *self = Self::New(writer);
    }
}
