//! A piece of a batch in its compressed form, with the places of its samples: when the same series
//! come again in the same order, only values and timestamps are written into it, and nothing is
//! encoded or compressed.
//!
//! Snappy's elements refer backwards by distance, so pieces compressed one by one and put together
//! are a block. Where a sample's bytes stand must not be part of any copy: they are compressed as
//! noise, which no copy can meet, and written over afterwards. So the compressed bytes of a piece
//! depend on its series and samples alone, whether it was made anew or patched.

mod locate;
mod patch;
mod press;

use std::ops::Deref;

use bytes::{Bytes, BytesMut};

pub(super) use self::patch::{SamplePatch, SampleSlot};
use self::patch::{ZERO, put};
pub(super) use self::press::{PiecePress, PressedPiece};
use crate::prompb::wire;
use crate::series::{SeriesId, TargetId};

/// Uncompressed bytes that a piece may have: snappy looks back no further, and places fit into 16
/// bits.
pub(super) const PIECE_BYTES: usize = 65_535;

/// Samples that a piece may have: the number of each fits into a byte.
pub(super) const PIECE_SAMPLES: usize = 256;

/// A piece: one that batches may share, or one that is being patched and nobody else has.
#[derive(Debug)]
pub(super) struct Piece<Elements = Bytes> {
    elements: Elements,
    slots: Box<[SampleSlot]>,
    /// Scrapes of its target when it was last used.
    pub(super) used: u32,
    /// The target.
    pub(super) target: TargetId,
}

impl Piece {
    /// To be patched. While a batch of the last scrape still has it, that keeps what it has.
    pub(super) fn open(self) -> Piece<BytesMut> {
        let Self {
            elements,
            slots,
            used,
            target,
        } = self;
        let elements = elements
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&*shared));
        Piece {
            elements,
            slots,
            used,
            target,
        }
    }

    /// Its compressed bytes, without a length before them.
    pub(super) fn elements(&self) -> Bytes {
        self.elements.clone()
    }
}

impl Piece<BytesMut> {
    /// To be shared.
    pub(super) fn close(self) -> Piece {
        let Self {
            elements,
            slots,
            used,
            target,
        } = self;
        Piece {
            elements: elements.freeze(),
            slots,
            used,
            target,
        }
    }

    /// Writes its nth sample.
    #[inline]
    pub(super) fn patch(&mut self, nth: usize, patch: &SamplePatch) {
        let Some(slot) = self.slots.get(nth) else {
            return;
        };
        put(&mut self.elements, usize::from(slot.at), patch);
    }
}

impl<Elements: Deref<Target = [u8]>> Piece<Elements> {
    /// The series that it starts with.
    pub(super) fn first(&self) -> Option<u32> {
        self.slots.first().map(|slot| slot.series & !ZERO)
    }

    /// Samples in it.
    pub(super) fn samples(&self) -> usize {
        self.slots.len()
    }

    /// Uncompressed bytes of its first samples.
    #[inline]
    pub(super) fn raw_len(&self, samples: usize) -> usize {
        samples
            .checked_sub(1)
            .and_then(|last| self.slots.get(last))
            .map_or(0, |slot| usize::from(slot.end))
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        self.elements.len() + size_of_val(&*self.slots) + size_of::<Self>() + 40
    }

    /// Whether its nth sample is of this series and has this form.
    #[inline]
    pub(super) fn takes(&self, nth: usize, series: SeriesId, patch: &SamplePatch) -> bool {
        let zero = if patch.value.is_none() { ZERO } else { 0 };
        self.slots
            .get(nth)
            .is_some_and(|slot| slot.series == series.0 | zero)
    }

    /// Takes its first samples apart again: their uncompressed bytes, and their slots.
    pub(super) fn reopen(
        self,
        samples: usize,
        raw: &mut Vec<u8>,
        slots: &mut Vec<SampleSlot>,
    ) -> Result<(), snap::Error> {
        let mut block = Vec::with_capacity(self.elements.len() + 3);
        wire::varint(&mut block, self.raw_len(self.slots.len()) as u64);
        block.extend_from_slice(&self.elements);
        raw.resize(self.raw_len(self.slots.len()), 0);
        snap::raw::Decoder::new().decompress(&block, raw)?;
        raw.truncate(self.raw_len(samples));
        slots.extend_from_slice(&self.slots[..samples]);
        Ok(())
    }
}
