//! The changing bytes of a sample, and their place in a piece.

use crate::prompb::{TimedValue, Value, wire};
use crate::series::SeriesId;

/// Bytes of a timestamp as a varint, from 1971 to 2109.
const TIME: usize = 6;
/// Bytes from the value to the end of the timestamp: value, tag, timestamp.
const VALUED: usize = 8 + 1 + TIME;

/// The bytes of a sample that change from scrape to scrape: its value and its timestamp.
#[derive(Debug, Clone, Copy)]
pub(in crate::batch) struct SamplePatch {
    /// The value's bytes on the wire. None for zero, which protobuf leaves out.
    pub(super) value: Option<[u8; 8]>,
    pub(super) time: [u8; TIME],
}

impl SamplePatch {
    /// None for a sample of another form: a histogram, or a timestamp whose varint has another
    /// length.
    #[inline]
    pub(in crate::batch) fn new(sample: TimedValue<'_>) -> Option<Self> {
        let Value::Float(value) = sample.value else {
            return None;
        };
        let timestamp = u64::try_from(sample.timestamp_ms).ok()?;
        if wire::varint_len(timestamp) != TIME {
            return None;
        }
        // A varint has seven bits a byte, the lowest first, and marks all bytes but the last.
        let mut time = [0x80; TIME];
        for (at, byte) in time.iter_mut().enumerate() {
            *byte |= (timestamp >> (7 * at)) as u8 & 0x7f;
        }
        time[TIME - 1] &= 0x7f;
        Some(Self {
            value: (!wire::is_left_out(value)).then(|| value.to_bits().to_le_bytes()),
            time,
        })
    }
}

/// One sample of a piece.
#[derive(Debug, Clone, Copy)]
pub(in crate::batch) struct SampleSlot {
    /// The series' place in the cache; the highest bit is set when the value is zero and therefore
    /// not written.
    pub(super) series: u32,
    /// The end of the sample's entry in the uncompressed piece. The timestamp ends there, too.
    pub(super) end: u16,
    /// The end of the timestamp in the compressed piece.
    pub(super) at: u16,
}

/// The bit of [`SampleSlot::series`] for a value of zero.
pub(super) const ZERO: u32 = 1 << 31;

impl SampleSlot {
    /// The slot of a sample that was just encoded and ends at this offset of the piece.
    pub(in crate::batch) fn new(series: SeriesId, patch: &SamplePatch, end: usize) -> Option<Self> {
        let zero = if patch.value.is_none() { ZERO } else { 0 };
        let series = Some(series.0).filter(|series| series & ZERO == 0)?;
        Some(Self {
            series: series | zero,
            end: u16::try_from(end).ok()?,
            at: 0,
        })
    }

    /// The offset of the first changing byte in the uncompressed piece.
    pub(super) fn start(self) -> usize {
        usize::from(self.end)
            - if self.series & ZERO == 0 {
                VALUED
            } else {
                TIME
            }
    }
}

/// Writes a patch so that its timestamp ends at `end`. The value's tag is between the two and never
/// changes.
#[inline]
pub(super) fn put(bytes: &mut [u8], end: usize, patch: &SamplePatch) {
    // The places were found in these very bytes, so the checks never fail.
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
