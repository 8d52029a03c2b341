//! What the cache holds of one series.

use super::key::SeriesKey;
use crate::prompb::ValueKind;
use crate::series::ids::TargetId;

/// No timestamp was taken yet, or it was forgotten.
pub(super) const NEVER: i64 = i64::MIN;

/// No recipe: relabelling drops the series, for this remote or for all.
pub(super) const DROPPED: u32 = u32::MAX;
/// No recipe: `metric_relabel_configs` drop it. Then it is no series at all, for none of the
/// remotes.
pub(super) const UNWANTED: u32 = u32::MAX - 1;

// A line of the processor's cache: each sample needs one.
const _: () = assert!(size_of::<SeriesEntry>() == 64);

#[derive(Debug)]
#[repr(align(64))]
pub(super) struct SeriesEntry {
    pub(super) key: SeriesKey,
    /// Of an alias: the last that was taken by it.
    pub(super) last_ms: i64,
    /// `last_ms` before `transaction`.
    pub(super) before_ms: i64,
    pub(super) transaction: u32,
    /// Or [`DROPPED`], or [`UNWANTED`].
    pub(super) recipe_at: u32,
    pub(super) group: u32,
    /// The entry that holds this label set's timestamps: mostly itself.
    pub(super) primary: u32,
    /// Scrapes of its target when it was last seen.
    pub(super) seen: u32,
    /// The transaction that saw it last.
    pub(super) seen_by: u32,
    pub(super) target: TargetId,
    pub(super) nth: u16,
    /// Of the last value taken.
    pub(super) kind: ValueKind,
    /// Its recipe needs no raw bytes.
    pub(super) portable: bool,
    /// Its raw bytes may be met before they are looked for: see [`SeriesCache::expected`].
    pub(super) expectable: bool,
    /// [`AGAIN`], [`AGAIN_BEFORE`].
    pub(super) resend: u8,
}

/// The sample at `last_ms` may not have arrived: it is to be sent again, and still nothing older.
pub(super) const AGAIN: u8 = 1;
/// The same before `transaction`.
pub(super) const AGAIN_BEFORE: u8 = 2;

impl SeriesEntry {
    pub(super) fn is_dropped(&self) -> bool {
        self.recipe_at >= UNWANTED
    }
}
