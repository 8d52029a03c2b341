//! The identity of a series within one remote.

use crate::series::ids::TargetId;

/// Identity of a series within one remote: a hash of its raw bytes and its target, and the length
/// of those bytes.
///
/// 128 bits: a collision would encode one series' bytes by another's recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesKey(u64, u64);

impl SeriesKey {
    /// The key of raw bytes exposed by a target.
    #[inline]
    #[must_use]
    pub fn new(target: TargetId, raw: &[u8]) -> Self {
        // The target is mixed in afterwards, not given as a seed: xxh3 derives a secret from a seed
        // at each call for long input.
        let hash = xxhash_rust::xxh3::xxh3_128(raw)
            ^ u128::from(target.0).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let length = u16::try_from(raw.len()).unwrap_or(u16::MAX);
        Self(
            ((hash >> 64) as u64 & (LENGTH - 1)) | (u64::from(length) << LENGTH.trailing_zeros()),
            hash as u64,
        )
    }

    /// Length of the raw bytes. None when it is too long for the key.
    #[inline]
    pub(super) fn raw_len(self) -> Option<u16> {
        Some((self.0 >> LENGTH.trailing_zeros()) as u16).filter(|&length| length < u16::MAX)
    }

    /// The half of the hash by which the cache's table finds the series.
    #[inline]
    pub(super) fn table_hash(self) -> u64 {
        self.1
    }

    /// Whether the series is a landmark: one in some hundred, chosen by its hash alone.
    #[inline]
    pub(super) fn is_landmark(self) -> bool {
        self.0.is_multiple_of(128)
    }
}

/// From this bit on, the first half of a key is a length.
const LENGTH: u64 = 1 << 48;
