//! A piece of a batch in its compressed form, with the places of its samples: when the same series
//! come again in the same order, only values and timestamps are written into it. Nothing is encoded
//! or compressed.
//!
//! Snappy's elements refer backwards by distance, so pieces compressed one by one and put together
//! are a block. The changing bytes of a sample must not be part of any copy, unless it copies a
//! whole timestamp. So the elements are chosen here and not by a general encoder: an entry is
//! written as what differs from the entry before it ([`delta`]), and its value and timestamp are
//! written over later ([`patch`]).
//!
//! That no copy reaches further back makes it cheap when a series comes or goes: only its entry and
//! the one behind it are written anew, and all others are taken over ([`writer`]). The compressed
//! bytes of a piece depend on its series and samples alone, whichever way they were made.

mod delta;
mod elements;
mod patch;
mod writer;

use std::ops::Deref;

use bytes::{Bytes, BytesMut};

pub(super) use self::patch::{SamplePatch, SampleSlot};
pub(super) use self::writer::PieceWriter;
use crate::prompb::wire;
use crate::series::TargetId;

/// Largest piece in uncompressed bytes: snappy looks back no further, and places fit into 16 bits.
pub(super) const PIECE_BYTES: usize = 65_535;

/// Largest number of samples in a piece.
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

    /// Writes the changing bytes of the nth sample, if it is one of this series and has this form.
    #[inline]
    pub(super) fn patch(&mut self, nth: usize, patch: &SamplePatch) -> bool {
        let Some(slot) = self.slots.get(nth).filter(|slot| slot.takes(patch)) else {
            return false;
        };
        let start = self.raw_len(nth);
        slot.put(&mut self.elements, start, patch);
        true
    }
}

impl<Elements: Deref<Target = [u8]>> Piece<Elements> {
    /// The series of the first sample.
    pub(super) fn first(&self) -> Option<u32> {
        self.slots.first().map(|slot| slot.series().0)
    }

    /// Number of samples.
    pub(super) fn samples(&self) -> usize {
        self.slots.len()
    }

    /// Uncompressed bytes of the first `samples` samples.
    #[inline]
    pub(super) fn raw_len(&self, samples: usize) -> usize {
        self.end_of(samples).map_or(0, |slot| usize::from(slot.end))
    }

    /// Compressed bytes of the first `samples` samples.
    fn elements_len(&self, samples: usize) -> usize {
        self.end_of(samples).map_or(0, |slot| usize::from(slot.at))
    }

    #[inline]
    fn end_of(&self, samples: usize) -> Option<&SampleSlot> {
        samples.checked_sub(1).and_then(|last| self.slots.get(last))
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        self.elements.len() + size_of_val(&*self.slots) + size_of::<Self>() + 40
    }
}

/// Decompresses elements, which have a length before them in a block and here have none. `raw` only
/// grows: clearing it would cost as much as decompressing.
fn decompress(elements: &[u8], raw_len: usize, raw: &mut Vec<u8>) -> Result<(), snap::Error> {
    let mut block = Vec::with_capacity(elements.len() + 3);
    wire::varint(&mut block, raw_len as u64);
    block.extend_from_slice(elements);
    if raw.len() < raw_len {
        raw.resize(raw_len, 0);
    }
    snap::raw::Decoder::new().decompress(&block, raw)?;
    Ok(())
}
