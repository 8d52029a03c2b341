//! What a warm process remembers of each series of one remote: the recipe of its labels, and the
//! last timestamp that was taken of it.
//!
//! A known series costs one hash, one look-up and two numbers. Series are found by the hash of
//! their raw bytes; because different bytes may mean the same labels (another order, a relabelling
//! that drops a label), timestamps belong to the first entry of a label set, and later ones are
//! aliases of it.
//!
//! Timestamps are taken within a transaction, which is one scrape. [`SeriesCache::rollback`]
//! restores them. Entries stay, so that a slow cold start makes progress.

mod entry;
mod key;
mod observe;
mod seeds;
mod sweep;
mod table;
mod window;

use std::collections::HashSet;

use hashbrown::HashTable;

use self::entry::{DROPPED, KEEP_UNSEEN, NEVER, RawForm, SeriesEntry, UNWANTED};
pub use self::key::SeriesKey;
pub use self::observe::{Observation, Sighting};
use self::seeds::Seeds;
pub use self::window::{EarlierSamples, WindowCut, WindowStart};
use super::ids::{SeriesId, TargetId};
use super::labels::Labels;
use super::recipe::{self, LiteralPool};
use super::staleness::StalenessTracker;
use crate::prompb::ValueKind;

/// A scrape in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transaction {
    id: u32,
    target: TargetId,
    /// Whether the commit counts as a scrape that the series it did not see have missed.
    ages: bool,
}

impl Transaction {
    /// The target that is scraped.
    #[inline]
    #[must_use]
    pub fn target(self) -> TargetId {
        self.target
    }
}

/// The series of one remote.
///
/// ```
/// use amp_forwarder::series::cache::{Observation, SeriesKey};
/// use amp_forwarder::series::{Labels, SeriesCache, TargetId};
///
/// let mut labels = Labels::default();
/// labels.set("__name__", "up");
/// labels.finish();
///
/// let mut cache = SeriesCache::default();
/// let scrape = cache.begin(TargetId(0));
/// let key = SeriesKey::new(TargetId(0), b"up");
/// let series = cache.insert(scrape, key, Some((&labels, 0)), false);
/// assert_eq!(cache.observe(scrape, series, 1000), Observation::Fresh { nth: 0 });
/// cache.commit(scrape);
///
/// // The next scrape finds the series by its raw bytes. The same sample is not sent again.
/// let scrape = cache.begin(TargetId(0));
/// assert_eq!(cache.find(key), Some(series));
/// assert_eq!(cache.observe(scrape, series, 1000), Observation::Unchanged);
/// ```
#[derive(Debug, Default)]
pub struct SeriesCache {
    entries: Vec<SeriesEntry>,
    /// Hash of each entry's label set, in the order of the entries.
    labels: Vec<u64>,
    by_key: HashTable<u32>,
    by_labels: HashTable<u32>,
    recipes: Vec<u8>,
    literals: LiteralPool,
    /// Number of committed scrapes of each target.
    scrapes: Vec<u32>,
    /// Number of the last committed transaction of each target.
    committed: Vec<u32>,
    open: Vec<Transaction>,
    /// Transactions and hashes of the label sets that each leaves to another one: it takes no
    /// further sample of them.
    yielded: HashSet<(u32, u64)>,
    next_transaction: u32,
    tracker: StalenessTracker,
    /// Last timestamps of series that are not met yet.
    seeds: Seeds,
    /// For each target the watermark at which its old series were last forgotten, milliseconds.
    swept_ms: Vec<i64>,
    /// Expositions keep their order: the entry after the last one found is most likely the next.
    cursor: usize,
}

impl SeriesCache {
    /// Starts a scrape of a target.
    pub fn begin(&mut self, target: TargetId) -> Transaction {
        self.open(target, true)
    }

    /// Starts the reports of a scrape that failed (`up` 0 and the like). They make no series older:
    /// series survive any number of failed scrapes.
    pub fn begin_reports(&mut self, target: TargetId) -> Transaction {
        self.open(target, false)
    }

    fn open(&mut self, target: TargetId, ages: bool) -> Transaction {
        if self.scrapes.len() <= target.index() {
            self.scrapes.resize(target.index() + 1, 0);
            self.committed.resize(target.index() + 1, 0);
            self.swept_ms.resize(target.index() + 1, i64::MIN);
        }
        self.next_transaction += 1;
        let transaction = Transaction {
            id: self.next_transaction,
            target,
            ages,
        };
        self.open.push(transaction);
        transaction
    }

    /// Whether a scrape is still under way.
    #[must_use]
    pub fn is_open(&self, transaction: Transaction) -> bool {
        self.open.contains(&transaction)
    }

    /// Finds a series.
    #[inline]
    pub fn find(&mut self, key: SeriesKey) -> Option<SeriesId> {
        // Most series come in the order of the last scrape, so the next entry is tried first.
        let index = match self.entries.get(self.cursor) {
            Some(entry) if entry.key == key => self.cursor,
            _ => *self.by_key.find(key.table_hash(), |&index| {
                self.entries[index as usize].key == key
            })? as usize,
        };
        self.cursor = index + 1;
        Some(SeriesId(index as u32))
    }

    /// The key that finds a series.
    #[must_use]
    pub fn key(&self, series: SeriesId) -> SeriesKey {
        self.entries[series.index()].key
    }

    /// Length in bytes of the series that most likely comes next: the one behind the last that was
    /// found.
    #[inline]
    #[must_use]
    pub fn expected(&self) -> Option<usize> {
        let next = self
            .entries
            .get(self.cursor)
            .filter(|entry| entry.form == RawForm::Line)?;
        next.key.raw_len().map(usize::from)
    }

    /// Excludes the series from [`SeriesCache::expected`].
    pub fn never_expect(&mut self, series: SeriesId) {
        self.entries[series.index()].form = RawForm::Lines;
    }

    /// Remembers a series: its labels and their group, or none when it is dropped. Only a
    /// `portable` series can be tracked.
    pub fn insert(
        &mut self,
        transaction: Transaction,
        key: SeriesKey,
        labels: Option<(&Labels<'_>, u32)>,
        portable: bool,
    ) -> SeriesId {
        let index = self.entries.len() as u32;
        let (mut recipe_at, mut primary) = (DROPPED, index);
        let (mut labels_hash, mut last_ms) = (0, NEVER);
        if let Some((labels, _)) = labels {
            recipe_at = self.recipes.len() as u32;
            recipe::write(labels, portable, &mut self.literals, &mut self.recipes);
            labels_hash = labels.hash();
            // The first entry of a label set holds its timestamps; later ones are aliases of it.
            let known = &self.labels;
            match self
                .by_labels
                .find(labels_hash, |&index| known[index as usize] == labels_hash)
            {
                Some(&found) => primary = found,
                None => {
                    last_ms = self.seeds.take(labels_hash).unwrap_or(NEVER);
                    self.by_labels.insert_unique(labels_hash, index, |&index| {
                        known.get(index as usize).copied().unwrap_or(labels_hash)
                    });
                }
            }
        }
        self.labels.push(labels_hash);
        self.entries.push(SeriesEntry {
            key,
            last_ms,
            before_ms: last_ms,
            transaction: 0,
            recipe_at,
            group: labels.map_or(0, |(_, group)| group),
            primary,
            seen: 0,
            seen_by: 0,
            target: transaction.target,
            nth: 0,
            kind: ValueKind::Float,
            portable: labels.is_some() && portable,
            form: RawForm::Line,
            resend: 0,
        });
        let entries = &self.entries;
        self.by_key
            .insert_unique(key.table_hash(), index, |&index| {
                entries[index as usize].key.table_hash()
            });
        self.cursor = self.entries.len();
        SeriesId(index)
    }

    /// Makes a series trackable by a new recipe. The next sweep removes the old one.
    pub fn make_portable(&mut self, series: SeriesId, labels: &Labels<'_>) {
        let recipe_at = self.recipes.len() as u32;
        recipe::write(labels, true, &mut self.literals, &mut self.recipes);
        let entry = &mut self.entries[series.index()];
        (entry.recipe_at, entry.portable) = (recipe_at, true);
    }

    /// Whether a series can be tracked: it is dropped, or its recipe needs no raw bytes.
    #[inline]
    #[must_use]
    pub fn is_trackable(&self, series: SeriesId) -> bool {
        self.is_dropped(series) || self.entries[series.index()].portable
    }

    /// Notes that the series gets a stale marker when its target no longer shows it.
    #[inline]
    pub fn track(&mut self, transaction: Transaction, series: SeriesId) {
        self.tracker.track(transaction.target, series);
    }

    /// Ends a pass of the target, and returns the series that it showed in the last pass and not in
    /// this one. A label set that is shown under other raw bytes is not gone.
    pub fn end_pass(&mut self, transaction: Transaction) -> Vec<SeriesId> {
        let target = transaction.target;
        let mut gone = Vec::new();
        if !self.tracker.is_complete(target) {
            let of = |series: SeriesId| self.entries[series.index()].target;
            let primary = |series: SeriesId| self.entries[series.index()].primary;
            let shown: HashSet<_> = self
                .tracker
                .tracked(target, true, of)
                .map(primary)
                .collect();
            gone.extend(
                self.tracker
                    .tracked(target, false, of)
                    .filter(|&series| !shown.contains(&primary(series))),
            );
        }
        self.tracker.end_pass(target);
        gone
    }

    /// Forgets the series that the present pass of the target has tracked.
    pub fn untrack(&mut self, transaction: Transaction) {
        let Self {
            tracker, entries, ..
        } = self;
        tracker.undo(transaction.target, |series| entries[series.index()].target);
    }

    /// Remembers that the series is dropped for all remotes.
    pub fn set_unwanted(&mut self, series: SeriesId) {
        self.entries[series.index()].recipe_at = UNWANTED;
    }

    /// Whether the series is dropped for all remotes.
    #[inline]
    #[must_use]
    pub fn is_unwanted(&self, series: SeriesId) -> bool {
        self.entries[series.index()].recipe_at == UNWANTED
    }

    /// Whether the series is dropped by relabelling, for all remotes or for this one.
    #[inline]
    #[must_use]
    pub fn is_dropped(&self, series: SeriesId) -> bool {
        self.entries[series.index()].is_dropped()
    }

    /// The kind of the last value that was taken of a series: its stale marker must be of the same.
    #[inline]
    #[must_use]
    pub fn kind(&self, series: SeriesId) -> ValueKind {
        self.entries[self.entries[series.index()].primary as usize].kind
    }

    /// Notes the kind of the last value that was taken.
    #[inline]
    pub fn set_kind(&mut self, series: SeriesId, kind: ValueKind) {
        let primary = self.entries[series.index()].primary as usize;
        self.entries[primary].kind = kind;
    }

    /// The group of a series that is sent.
    #[inline]
    #[must_use]
    pub fn group(&self, series: SeriesId) -> u32 {
        self.entries[series.index()].group
    }

    /// Length of a series' encoded labels in bytes.
    #[inline]
    #[must_use]
    pub fn labels_len(&self, series: SeriesId) -> usize {
        recipe::labels_len(self.recipe(series))
    }

    /// Appends a series' labels as `TimeSeries.labels`.
    #[inline]
    pub fn encode_labels(&self, series: SeriesId, raw: &[u8], out: &mut Vec<u8>) {
        recipe::encode(self.recipe(series), raw, &self.literals, out);
    }

    fn recipe(&self, series: SeriesId) -> &[u8] {
        recipe::at(
            &self.recipes,
            self.entries[series.index()].recipe_at as usize,
        )
    }

    /// Whether compressed pieces of batches may start with this series: one series in some hundred.
    #[inline]
    #[must_use]
    pub fn is_landmark(&self, series: SeriesId) -> bool {
        self.entries[series.index()].key.is_landmark()
    }

    /// Ends a scrape that succeeded: its timestamps are kept. Returns whether series have moved to
    /// other places.
    pub fn commit(&mut self, transaction: Transaction) -> bool {
        self.close(transaction);
        if !transaction.ages {
            return false;
        }
        self.committed[transaction.target.index()] = transaction.id;
        let scrapes = &mut self.scrapes[transaction.target.index()];
        *scrapes += 1;
        // Other transactions hold no indices, but keep the rare sweep away from them all the same.
        (*scrapes).is_multiple_of(KEEP_UNSEEN) && self.open.is_empty() && self.sweep()
    }

    fn close(&mut self, transaction: Transaction) {
        self.open.retain(|&open| open != transaction);
        if self.open.is_empty() {
            self.yielded = HashSet::new();
        }
    }

    /// Series remembered, those dropped and aliases included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Memory held, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<SeriesEntry>()
            + self.labels.capacity() * size_of::<u64>()
            + (self.by_key.capacity() + self.by_labels.capacity()) * 6
            + self.recipes.capacity()
            + self.literals.memory()
            + self.tracker.memory()
            + self.seeds.memory()
            + self.yielded.capacity() * size_of::<(u32, u64)>()
    }
}

#[cfg(test)]
mod tests;
