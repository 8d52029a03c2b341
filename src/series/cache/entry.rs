//! What the cache holds of one series.

use super::key::SeriesKey;
use crate::prompb::ValueKind;
use crate::series::ids::TargetId;

/// Committed scrapes of its target that a series may miss before it is forgotten: `/federate` shows
/// a series for 5 minutes after its last sample, so one that comes back later has a new sample.
pub(super) const KEEP_UNSEEN: u32 = 10;

/// The timestamp of a series of which no sample was taken yet.
pub(super) const NEVER: i64 = i64::MIN;

/// In the place of a recipe: relabelling drops the series, for this remote or for all.
pub(super) const DROPPED: u32 = u32::MAX;
/// In the place of a recipe: `metric_relabel_configs` drop the series, for all remotes.
pub(super) const UNWANTED: u32 = u32::MAX - 1;

// An entry is one line of the processor's cache, so that each sample loads a single line.
const _: () = assert!(size_of::<SeriesEntry>() == 64);

/// What is remembered of a series under one form of raw bytes.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct SeriesEntry {
    pub(super) key: SeriesKey,
    /// Timestamp of the last sample that was taken, milliseconds since 1970. An alias has the last
    /// one that was taken under its own raw bytes.
    pub(super) last_ms: i64,
    /// The value of `last_ms` before `transaction`, for a rollback.
    pub(super) before_ms: i64,
    /// Number of the transaction that took the last sample, 0 for none.
    pub(super) transaction: u32,
    /// Place of the recipe, or [`DROPPED`], or [`UNWANTED`].
    pub(super) recipe_at: u32,
    /// The group of series with which the series may share a batch.
    pub(super) group: u32,
    /// Place of the entry that holds the timestamps of this label set: mostly this one.
    pub(super) primary: u32,
    /// Number of its target's scrapes when the series was last seen.
    pub(super) seen: u32,
    /// Number of the transaction that saw the series last.
    pub(super) seen_by: u32,
    pub(super) target: TargetId,
    /// Number of samples that `transaction` took of the label set before the last one.
    pub(super) nth: u16,
    /// Kind of the last value that was taken.
    pub(super) kind: ValueKind,
    /// Whether the recipe needs no raw bytes.
    pub(super) portable: bool,
    /// What the raw bytes are.
    pub(super) form: RawForm,
    /// Flags: [`AGAIN`], [`AGAIN_BEFORE`].
    pub(super) resend: u8,
}

/// What the raw bytes of a series are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RawForm {
    /// A part of a line. Its length may be given as a hint: see
    /// [`SeriesCache::expected`](super::SeriesCache::expected).
    Line,
    /// A part of an exposition that has newlines in it.
    Lines,
    /// Labels of a window. Such a series is forgotten by the time of its samples, because a short
    /// window lacks the series whose interval is longer.
    Window,
}

/// Flag: the sample at `last_ms` may not have arrived. It is sent again, but still nothing older.
pub(super) const AGAIN: u8 = 1;
/// Flag: [`AGAIN`] was set before `transaction`, for a rollback.
pub(super) const AGAIN_BEFORE: u8 = 2;

impl SeriesEntry {
    /// Saves what a rollback of the transaction restores.
    #[inline]
    pub(super) fn begin_transaction(&mut self, transaction: u32) {
        self.before_ms = self.last_ms;
        self.resend = if self.resend & AGAIN == 0 {
            0
        } else {
            AGAIN_BEFORE
        };
        self.transaction = transaction;
        self.nth = 0;
    }

    pub(super) fn is_dropped(&self) -> bool {
        self.recipe_at >= UNWANTED
    }
}
