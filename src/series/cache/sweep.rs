//! Forgetting series, and packing what is left.

use hashbrown::HashTable;

use super::SeriesCache;
use super::entry::{KEEP_UNSEEN, NEVER, RawForm, SeriesEntry};
use crate::series::ids::TargetId;
use crate::series::recipe::{self, LiteralPool};

/// Age of the last sample, behind the watermark, at which a series of windows is forgotten,
/// milliseconds. A window begins at most five minutes behind its watermark, so one that forgets
/// series earlier would take samples once more.
const KEEP_WINDOWED_MS: i64 = 10 * 60 * 1000;

impl SeriesCache {
    /// Forgets the series that the last scrapes did not show, and packs the rest. Returns whether
    /// series have moved to other places.
    pub(super) fn sweep(&mut self) -> bool {
        let keep = self
            .entries
            .iter()
            .map(|entry| entry.seen + KEEP_UNSEEN >= self.scrapes[entry.target.index()])
            .collect();
        self.keep_only(keep)
    }

    /// Forgets the series that came in windows of a target and have had no sample for a while
    /// before the watermark. It is done once in each half of that while. Returns whether series
    /// have moved to other places.
    pub(super) fn sweep_windowed(&mut self, target: TargetId, watermark_ms: i64) -> bool {
        let swept_ms = &mut self.swept_ms[target.index()];
        if watermark_ms.abs_diff(*swept_ms) < KEEP_WINDOWED_MS.unsigned_abs() / 2 {
            return false;
        }
        *swept_ms = watermark_ms;
        let oldest_ms = watermark_ms.saturating_sub(KEEP_WINDOWED_MS);
        let is_old = |entry: &SeriesEntry| {
            entry.form == RawForm::Window && entry.target == target && entry.last_ms < oldest_ms
        };
        let keep = self.entries.iter().map(|entry| !is_old(entry)).collect();
        self.keep_only(keep)
    }

    /// Forgets series because memory is short. Returns whether series have moved to other places.
    ///
    /// Series of which no sample was ever taken go: a scrape brought them that was rolled back
    /// because they do not fit. Series that the last scrapes did not show go, too: scrapes that
    /// fail do not count as missed, so series that come and go would fill the memory for good.
    pub fn forget_untaken(&mut self) -> bool {
        let missed = |entry: &SeriesEntry| entry.seen + 1 < self.scrapes[entry.target.index()];
        let keep = self
            .entries
            .iter()
            .map(|entry| entry.last_ms != NEVER && !entry.is_dropped() && !missed(entry))
            .collect();
        self.keep_only(keep)
    }

    fn keep_only(&mut self, mut keep: Vec<bool>) -> bool {
        if keep.iter().all(|&keep| keep) {
            return false;
        }
        // An alias keeps its primary, which may be of a target with another interval.
        for index in 0..keep.len() {
            if keep[index] {
                keep[self.entries[index].primary as usize] = true;
            }
        }
        // Recipes and literals are copied to new stores, so that only what is in use remains.
        // `moved` maps old places to new ones.
        let mut recipes = Vec::with_capacity(self.recipes.len());
        let mut literals = LiteralPool::default();
        let mut moved = vec![u32::MAX; self.entries.len()];
        let mut kept: u32 = 0;
        for (index, entry) in self.entries.iter_mut().enumerate() {
            if !keep[index] {
                continue;
            }
            moved[index] = kept;
            kept += 1;
            if !entry.is_dropped() {
                let old = recipe::at(&self.recipes, entry.recipe_at as usize);
                entry.recipe_at = recipes.len() as u32;
                recipe::copy(old, &self.literals, &mut literals, &mut recipes);
            }
        }
        // Everything that is indexed by places is thinned out in the same order.
        self.tracker.keep_only(&keep);
        let mut kept = keep.iter();
        self.entries
            .retain(|_| kept.next().copied().unwrap_or(false));
        let mut kept = keep.iter();
        self.labels
            .retain(|_| kept.next().copied().unwrap_or(false));
        self.entries.shrink_to_fit();
        self.labels.shrink_to_fit();
        recipes.shrink_to_fit();
        self.recipes = recipes;
        self.literals = literals;
        // Tables and primaries name places, so they are rebuilt with the new ones.
        self.by_key = HashTable::with_capacity(self.entries.len());
        self.by_labels = HashTable::with_capacity(self.entries.len());
        for entry in &mut self.entries {
            entry.primary = moved[entry.primary as usize];
        }
        let (entries, labels) = (&self.entries, &self.labels);
        for ((index, entry), hash) in (0..).zip(entries).zip(labels) {
            self.by_key
                .insert_unique(entry.key.table_hash(), index, |&index| {
                    entries[index as usize].key.table_hash()
                });
            if entry.primary == index && !entry.is_dropped() {
                self.by_labels
                    .insert_unique(*hash, index, |&index| labels[index as usize]);
            }
        }
        self.cursor = 0;
        true
    }
}
