//! A piece of a batch in its compressed form, with the places of its samples: when the same series
//! come again in the same order, only values and timestamps are written into it. Nothing is encoded
//! or compressed.
//!
//! Snappy's elements refer backwards by distance, so pieces compressed one by one and put together
//! are a block. The changing bytes of a sample must not be part of any copy. They are compressed as
//! noise ([`press`]), found in the elements ([`locate`]) and written over ([`patch`]). So the
//! compressed bytes of a piece depend on its series and samples alone, whether the piece was
//! compressed or patched.

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

/// Largest piece in uncompressed bytes: snappy looks back no further, and places fit into 16 bits.
pub(super) const PIECE_BYTES: usize = 65_535;

/// Largest number of samples in a piece: the number of each fits into a byte.
pub(super) const PIECE_SAMPLES: usize = 256;

/// A piece of a batch in its compressed form. With `Bytes` batches may share it; with `BytesMut` it
/// is being patched and belongs to one batch alone.
#[derive(Debug)]
pub(super) struct Piece<Elements = Bytes> {
    elements: Elements,
    slots: Box<[SampleSlot]>,
    /// Number of its target's committed scrapes when the piece was last used.
    pub(super) used: u32,
    /// The target whose series the piece holds.
    pub(super) target: TargetId,
}

impl Piece {
    /// Opens the piece for patches. The bytes are copied while a batch of an earlier scrape still
    /// waits with them: that batch must not change.
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

    /// The compressed bytes, without a length before them.
    pub(super) fn elements(&self) -> Bytes {
        self.elements.clone()
    }
}

impl Piece<BytesMut> {
    /// Ends patching, so that batches may share the piece.
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

    /// Writes the changing bytes of the nth sample.
    #[inline]
    pub(super) fn patch(&mut self, nth: usize, patch: &SamplePatch) {
        let Some(slot) = self.slots.get(nth) else {
            return;
        };
        put(&mut self.elements, usize::from(slot.at), patch);
    }
}

impl<Elements: Deref<Target = [u8]>> Piece<Elements> {
    /// The series of the first sample.
    pub(super) fn first(&self) -> Option<u32> {
        self.slots.first().map(|slot| slot.series & !ZERO)
    }

    /// Number of samples.
    pub(super) fn samples(&self) -> usize {
        self.slots.len()
    }

    /// Uncompressed bytes of the first `samples` samples.
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

    /// Whether the nth sample is one of this series and has this form: zero or not.
    #[inline]
    pub(super) fn takes(&self, nth: usize, series: SeriesId, patch: &SamplePatch) -> bool {
        let zero = if patch.value.is_none() { ZERO } else { 0 };
        self.slots
            .get(nth)
            .is_some_and(|slot| slot.series == series.0 | zero)
    }

    /// Decompresses the first samples: appends their slots, and leaves their bytes in `raw`.
    pub(super) fn reopen(
        self,
        samples: usize,
        raw: &mut Vec<u8>,
        slots: &mut Vec<SampleSlot>,
    ) -> Result<(), snap::Error> {
        // The elements become a block of their own by a length before them.
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
