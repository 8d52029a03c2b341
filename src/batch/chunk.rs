//! A piece of a batch in its compressed form, with the places of its samples: when the same series
//! come again in the same order, only values and timestamps are written into it, and nothing is
//! encoded or compressed.
//!
//! Snappy's elements refer backwards by distance, so pieces compressed one by one and put together
//! are a block. Where a sample's bytes stand must not be part of any copy: they are compressed as
//! noise, which no copy can meet, and written over afterwards. So the compressed bytes of a piece
//! depend on its series and samples alone, whether it was made anew or patched.

use std::ops::Deref;

use bytes::{Bytes, BytesMut};

use crate::prompb::{Value, wire};
use crate::series::{SeriesId, TargetId};

/// Uncompressed bytes that a piece may have: snappy looks back no further, and places fit into 16
/// bits.
pub(super) const CHUNK_BYTES: usize = 65_535;

/// Samples that a piece may have: the number of each fits into a byte.
pub(super) const CHUNK_SAMPLES: usize = 256;

/// Bytes of a timestamp as a varint, from 1971 to 2109.
const TIME: usize = 6;
/// Bytes from the value to the end of the timestamp: value, tag, timestamp.
const VALUED: usize = 8 + 1 + TIME;

/// The changing bytes of a sample.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patch {
    /// None is zero, which is not written.
    value: Option<[u8; 8]>,
    time: [u8; TIME],
}

impl Patch {
    /// None for what has another form: a histogram, or a timestamp of another age.
    #[inline]
    pub(super) fn new(value: Value<'_>, timestamp_ms: i64) -> Option<Self> {
        let Value::Float(value) = value else {
            return None;
        };
        let timestamp = u64::try_from(timestamp_ms).ok()?;
        if wire::varint_len(timestamp) != TIME {
            return None;
        }
        let mut time = [0x80; TIME];
        for (at, byte) in time.iter_mut().enumerate() {
            *byte |= (timestamp >> (7 * at)) as u8 & 0x7f;
        }
        time[TIME - 1] &= 0x7f;
        Some(Self {
            value: (value != 0.0).then(|| value.to_bits().to_le_bytes()),
            time,
        })
    }
}

/// One sample of a piece.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// Its series' place in the cache; the highest bit says that the value is zero.
    series: u32,
    /// The end of its entry in the uncompressed piece: also that of its timestamp.
    end: u16,
    /// The end of its timestamp in the compressed one.
    at: u16,
}

const ZERO: u32 = 1 << 31;

impl Slot {
    /// For a sample that was just encoded.
    pub(super) fn new(series: SeriesId, patch: &Patch, end: usize) -> Option<Self> {
        let zero = if patch.value.is_none() { ZERO } else { 0 };
        let series = Some(series.0).filter(|series| series & ZERO == 0)?;
        Some(Self {
            series: series | zero,
            end: u16::try_from(end).ok()?,
            at: 0,
        })
    }

    fn start(self) -> usize {
        usize::from(self.end)
            - if self.series & ZERO == 0 {
                VALUED
            } else {
                TIME
            }
    }
}

/// A piece: one that batches may share, or one that is being patched and nobody else has.
#[derive(Debug)]
pub(super) struct Chunk<Elements = Bytes> {
    elements: Elements,
    slots: Box<[Slot]>,
    /// Scrapes of its target when it was last used.
    pub(super) used: u32,
    /// The target.
    pub(super) target: TargetId,
}

impl Chunk {
    /// To be patched. While a batch of the last scrape still has it, that keeps what it has.
    pub(super) fn open(self) -> Chunk<BytesMut> {
        let Self {
            elements,
            slots,
            used,
            target,
        } = self;
        let elements = elements
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&*shared));
        Chunk {
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

impl Chunk<BytesMut> {
    /// To be shared.
    pub(super) fn close(self) -> Chunk {
        let Self {
            elements,
            slots,
            used,
            target,
        } = self;
        Chunk {
            elements: elements.freeze(),
            slots,
            used,
            target,
        }
    }

    /// Writes its nth sample.
    #[inline]
    pub(super) fn patch(&mut self, nth: usize, patch: &Patch) {
        let Some(slot) = self.slots.get(nth) else {
            return;
        };
        put(&mut self.elements, usize::from(slot.at), patch);
    }
}

impl<Elements: Deref<Target = [u8]>> Chunk<Elements> {
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
    pub(super) fn takes(&self, nth: usize, series: SeriesId, patch: &Patch) -> bool {
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
        slots: &mut Vec<Slot>,
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

#[inline]
fn put(bytes: &mut [u8], end: usize, patch: &Patch) {
    // Places were found in these bytes.
    let Some((time, before)) = end
        .checked_sub(TIME)
        .and_then(|start| Some((start, bytes.get_mut(..end)?)))
    else {
        return;
    };
    before[time..].copy_from_slice(&patch.time);
    if let Some(value) = patch.value
        && let Some(start) = end.checked_sub(VALUED)
    {
        before[start..start + 8].copy_from_slice(&value);
    }
}

/// What was compressed.
pub(super) enum Pressed {
    /// Can be patched for the next scrape.
    Again(Chunk),
    /// Has a sample of another form.
    Once(Bytes),
}

/// Compresses pieces; its buffers are kept.
#[derive(Debug)]
pub(super) struct Press {
    encoder: snap::raw::Encoder,
    noisy: Vec<u8>,
    out: Vec<u8>,
}

impl Default for Press {
    fn default() -> Self {
        Self {
            encoder: snap::raw::Encoder::new(),
            noisy: Vec::new(),
            out: Vec::new(),
        }
    }
}

impl Press {
    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        self.noisy.capacity() + self.out.capacity()
    }

    /// The compressed form of a piece. With slots for all its samples it can be used again.
    ///
    /// # Errors
    /// When it is larger than snappy's 4 GiB.
    pub(super) fn compress(
        &mut self,
        raw: &[u8],
        slots: Option<&mut [Slot]>,
    ) -> Result<Pressed, snap::Error> {
        let Some(slots) = slots else {
            return self.plain(raw);
        };
        self.noisy.clear();
        self.noisy.extend_from_slice(raw);
        for (number, slot) in (1..).zip(&*slots) {
            put(
                &mut self.noisy,
                usize::from(slot.end),
                &noise(number, *slot),
            );
        }
        let noisy = std::mem::take(&mut self.noisy);
        let pressed = self.press(&noisy);
        self.noisy = noisy;
        let (from, to) = pressed?;
        let pressed = &mut self.out[from..to];
        if !locate(pressed, slots) {
            return self.plain(raw);
        }
        for slot in &*slots {
            let (start, end, at) = (slot.start(), usize::from(slot.end), usize::from(slot.at));
            pressed[at - (end - start)..at].copy_from_slice(&raw[start..end]);
        }
        Ok(Pressed::Again(Chunk {
            elements: Bytes::copy_from_slice(pressed),
            slots: Box::from(&*slots),
            used: 0,
            target: TargetId(0),
        }))
    }

    fn plain(&mut self, raw: &[u8]) -> Result<Pressed, snap::Error> {
        let (from, to) = self.press(raw)?;
        Ok(Pressed::Once(Bytes::copy_from_slice(&self.out[from..to])))
    }

    /// Where in `out` the elements stand, behind the length.
    fn press(&mut self, raw: &[u8]) -> Result<(usize, usize), snap::Error> {
        let bound = snap::raw::max_compress_len(raw.len());
        if self.out.len() < bound {
            self.out.resize(bound, 0);
        }
        let to = self.encoder.compress(raw, &mut self.out)?;
        Ok((wire::varint_len(raw.len() as u64), to))
    }
}

/// Bytes that nothing else in a piece looks like: by number, so that the same samples always give
/// the same bytes (splitmix64). The first and the last are the number itself: a copy of what stands
/// before or behind another sample ends there.
fn noise(number: u64, slot: Slot) -> Patch {
    let mix = |number: u64| {
        let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).to_le_bytes()
    };
    let [a, b, c, d, e, ..] = mix(2 * number);
    let ([_, value @ ..], edge) = (mix(2 * number + 1), number as u8);
    let [p, q, r, s, t, u, v] = value;
    if slot.series & ZERO == 0 {
        Patch {
            value: Some([edge, p, q, r, s, t, u, v]),
            time: [e, a, b, c, d, edge],
        }
    } else {
        Patch {
            value: None,
            time: [edge, a, b, c, d, edge],
        }
    }
}

/// Finds each slot's bytes in snappy's elements. False when one of them does not stand there as it
/// is, or is copied from.
fn locate(elements: &[u8], slots: &mut [Slot]) -> bool {
    let (mut at, mut raw, mut next) = (0, 0, 0);
    let little_endian = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    while let Some(&tag) = elements.get(at) {
        let (header, length, distance) = match (tag & 3, usize::from(tag >> 2)) {
            (0, short @ 0..60) => (1, short + 1, 0),
            (0, long) => (1 + long - 59, 1, 0),
            (1, bits) => (2, 4 + (bits & 7), (bits >> 3) << 8),
            (2, short) => (3, short + 1, 0),
            (_, short) => (5, short + 1, 0),
        };
        let Some(more) = elements.get(at + 1..at + header) else {
            return false;
        };
        let more = little_endian(more);
        at += header;
        if tag & 3 == 0 {
            let length = length + if header > 1 { more } else { 0 };
            while let Some(slot) = slots
                .get_mut(next)
                .filter(|slot| slot.start() < raw + length)
            {
                let end = usize::from(slot.end);
                let Ok(place) = u16::try_from(at + end - raw) else {
                    return false;
                };
                if slot.start() < raw || end > raw + length {
                    return false;
                }
                slot.at = place;
                next += 1;
            }
            (at, raw) = (at + length, raw + length);
            continue;
        }
        let distance = distance + more;
        let Some(source) = raw.checked_sub(distance) else {
            return false;
        };
        let source = source..source + length.min(distance);
        let copied = slots.partition_point(|slot| usize::from(slot.end) <= source.start);
        if slots
            .get(copied)
            .is_some_and(|slot| slot.start() < source.end)
            || slots
                .get(next)
                .is_some_and(|slot| slot.start() < raw + length)
        {
            return false;
        }
        raw += length;
    }
    next == slots.len()
}
