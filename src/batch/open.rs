//! A batch that still takes samples, and its piece in progress.

use bytes::{Bytes, BytesMut};

use super::compressor::Compressor;
use super::piece::{Piece, SampleSlot};

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
}

/// The piece in progress.
#[derive(Debug)]
pub(super) enum OpenPiece {
    /// A piece of an earlier batch, so far with the same series, and how many of its samples are
    /// already patched.
    Again(Piece<BytesMut>, usize),
    /// A piece that is encoded sample by sample.
    New {
        raw: Vec<u8>,
        /// The slots of all samples. None once a sample has another form.
        slots: Option<Vec<SampleSlot>>,
    },
}

impl OpenPiece {
    pub(super) fn new(raw: Vec<u8>) -> Self {
        Self::New {
            raw,
            slots: Some(Vec::new()),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Again(piece, samples) => piece.raw_len(*samples),
            Self::New { raw, .. } => raw.len(),
        }
    }

    /// Number of samples, as far as the piece can be patched. Otherwise the number does not matter.
    pub(super) fn samples(&self) -> usize {
        match self {
            Self::Again(_, samples) => *samples,
            Self::New { slots, .. } => slots.as_ref().map_or(0, Vec::len),
        }
    }

    /// Turns a piece that is being patched into one that is encoded, with the samples patched so
    /// far.
    pub(super) fn reopen(&mut self, compressor: &mut Compressor) -> Result<(), snap::Error> {
        if !matches!(self, Self::Again(..)) {
            return Ok(());
        }
        let (mut raw, mut slots) = (compressor.buffer(), Vec::new());
        if let Self::Again(piece, samples) = std::mem::replace(self, Self::new(Vec::new())) {
            piece.reopen(samples, &mut raw, &mut slots)?;
        }
        *self = Self::New {
            raw,
            slots: Some(slots),
        };
        Ok(())
    }
}
