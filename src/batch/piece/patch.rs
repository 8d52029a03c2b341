//! The changing bytes of a sample, and their place in a piece.

use crate::prompb::{Value, wire};
use crate::series::SeriesId;

/// Bytes of a timestamp as a varint, from 1971 to 2109.
const TIME: usize = 6;
/// Bytes from the value to the end of the timestamp: value, tag, timestamp.
const VALUED: usize = 8 + 1 + TIME;

/// The changing bytes of a sample.
#[derive(Debug, Clone, Copy)]
pub(in crate::batch) struct SamplePatch {
    /// None is zero, which is not written.
    pub(super) value: Option<[u8; 8]>,
    pub(super) time: [u8; TIME],
}

impl SamplePatch {
    /// None for what has another form: a histogram, or a timestamp of another age.
    #[inline]
    pub(in crate::batch) fn new(value: Value<'_>, timestamp_ms: i64) -> Option<Self> {
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
pub(in crate::batch) struct SampleSlot {
    /// Its series' place in the cache; the highest bit says that the value is zero.
    pub(super) series: u32,
    /// The end of its entry in the uncompressed piece: also that of its timestamp.
    pub(super) end: u16,
    /// The end of its timestamp in the compressed one.
    pub(super) at: u16,
}

pub(super) const ZERO: u32 = 1 << 31;

impl SampleSlot {
    /// For a sample that was just encoded.
    pub(in crate::batch) fn new(series: SeriesId, patch: &SamplePatch, end: usize) -> Option<Self> {
        let zero = if patch.value.is_none() { ZERO } else { 0 };
        let series = Some(series.0).filter(|series| series & ZERO == 0)?;
        Some(Self {
            series: series | zero,
            end: u16::try_from(end).ok()?,
            at: 0,
        })
    }

    pub(super) fn start(self) -> usize {
        usize::from(self.end)
            - if self.series & ZERO == 0 {
                VALUED
            } else {
                TIME
            }
    }
}

#[inline]
pub(super) fn put(bytes: &mut [u8], end: usize, patch: &SamplePatch) {
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
