//! The changing bytes of a sample, and their place in a piece.

use super::elements::copy_len;
use crate::prompb::{TimedValue, Value, wire};
use crate::series::SeriesId;

/// Bytes of a timestamp as a varint, from 1971 to 2109.
const TIME: usize = 6;

/// Bytes of a timestamp and its tag.
pub(super) const TIME_FIELD: usize = 1 + TIME;

/// Bytes of a value.
const VALUE: usize = 8;

/// The bytes of a sample that change from scrape to scrape: its value and its timestamp.
#[derive(Debug, Clone, Copy)]
pub(in crate::batch) struct SamplePatch {
    /// The value's bytes on the wire. None for zero, which protobuf leaves out.
    value: Option<[u8; VALUE]>,
    time: [u8; TIME],
    key: u32,
}

/// The bit of [`SampleSlot::key`] for a value of zero.
const ZERO: u32 = 1 << 31;

/// The bit of [`SampleSlot::key`] for a timestamp that is a copy of the one before it.
const SAME_TIME: u32 = 1 << 30;

impl SamplePatch {
    /// The patch of a series' sample. `same_time`: the sample before it in the piece has the same
    /// timestamp. None for a sample of another form: a histogram, or a timestamp whose varint has
    /// another length.
    #[inline]
    pub(in crate::batch) fn new(
        series: SeriesId,
        sample: TimedValue<'_>,
        same_time: bool,
    ) -> Option<Self> {
        let Value::Float(value) = sample.value else {
            return None;
        };
        let timestamp = u64::try_from(sample.timestamp_ms).ok()?;
        if wire::varint_len(timestamp) != TIME || series.0 >= SAME_TIME {
            return None;
        }
        // A varint has seven bits a byte, the lowest first, and marks all bytes but the last.
        let mut time = [0x80; TIME];
        for (at, byte) in time.iter_mut().enumerate() {
            *byte |= (timestamp >> (7 * at)) as u8 & 0x7f;
        }
        time[TIME - 1] &= 0x7f;
        let value = (!wire::is_left_out(value)).then(|| value.to_bits().to_le_bytes());
        let zero = if value.is_none() { ZERO } else { 0 };
        let same = if same_time { SAME_TIME } else { 0 };
        Some(Self {
            value,
            time,
            key: series.0 | zero | same,
        })
    }

    /// Whether the timestamp is a copy of the one before it.
    pub(super) fn has_same_time(&self) -> bool {
        self.key & SAME_TIME != 0
    }

    /// Bytes at the end of an entry that change from scrape to scrape, with the timestamp's tag.
    pub(super) fn changing(&self) -> usize {
        TIME_FIELD + self.value.map_or(0, |value| value.len())
    }
}

/// One sample of a piece.
#[derive(Debug, Clone, Copy)]
pub(in crate::batch) struct SampleSlot {
    /// The series' place in the cache, and the form of the sample in the two highest bits: [`ZERO`]
    /// when the value is zero and therefore not written, [`SAME_TIME`].
    key: u32,
    /// The end of the sample's entry in the uncompressed piece. The timestamp ends there, too.
    pub(super) end: u16,
    /// The end of the entry's elements in the compressed piece.
    pub(super) at: u16,
}

impl SampleSlot {
    /// The slot of a sample that ends at these offsets of the uncompressed and of the compressed
    /// piece. None when they are too large.
    pub(super) fn new(patch: &SamplePatch, end: usize, at: usize) -> Option<Self> {
        Some(Self {
            key: patch.key,
            end: u16::try_from(end).ok()?,
            at: u16::try_from(at).ok()?,
        })
    }

    /// The sample's series.
    pub(super) fn series(self) -> SeriesId {
        SeriesId(self.key & !(ZERO | SAME_TIME))
    }

    /// Whether the patch is one of a sample of this series and this form.
    #[inline]
    pub(super) fn takes(self, patch: &SamplePatch) -> bool {
        self.key == patch.key
    }

    /// Whether both slots are of one series, and their entries have the same head.
    pub(super) fn has_head_of(self, other: Self) -> bool {
        (self.key ^ other.key) & !SAME_TIME == 0
    }

    /// Bytes at the end of the entry that change from scrape to scrape, with the timestamp's tag.
    pub(super) fn changing(self) -> usize {
        TIME_FIELD + if self.key & ZERO == 0 { VALUE } else { 0 }
    }

    /// Writes a patch that the slot takes into the piece's compressed bytes. `start` is the start
    /// of the entry in the uncompressed piece.
    #[inline]
    pub(super) fn put(self, elements: &mut [u8], start: usize, patch: &SamplePatch) {
        // The elements end here, so the checks never fail.
        let Some(elements) = elements.get_mut(..usize::from(self.at)) else {
            return;
        };
        let time = if self.key & SAME_TIME != 0 {
            copy_len(TIME_FIELD, usize::from(self.end).saturating_sub(start))
        } else {
            if let Some(time) = elements.last_chunk_mut() {
                *time = patch.time;
            }
            TIME_FIELD
        };
        if let Some(value) = patch.value
            && let Some(before) = elements.len().checked_sub(time)
            && let Some(place) = elements[..before].last_chunk_mut()
        {
            *place = value;
        }
    }
}
