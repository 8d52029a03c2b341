//! What a warm process remembers of each series of one remote, as it stood in the exposition: what
//! was made of it, and the last timestamp that was taken of it.
//!
//! A known series costs one hash, one look-up and two numbers. Series are found by the hash of
//! their raw bytes; because different bytes may mean the same labels (another order, a relabelling
//! that drops a label), timestamps belong to the first entry of a label set, and later ones are
//! aliases of it.
//!
//! Timestamps are taken within a transaction, a scrape: [`SeriesCache::rollback`] puts back what
//! they were. Entries stay.

use std::collections::HashSet;

use hashbrown::HashTable;

use super::ids::{SeriesId, TargetId};
use super::labels::Labels;
use super::recipe::{self, Literals};
use super::staleness::Tracker;
use crate::prompb::ValueKind;

/// Committed scrapes of its target that a series may miss before it is forgotten: `/federate` shows
/// a series for 5 minutes after its last sample, so one that comes back later has a new sample.
const KEEP_UNSEEN: u32 = 10;

/// No timestamp was taken yet, or it was forgotten.
const NEVER: i64 = i64::MIN;

/// Identity of a series within one remote: a hash of its raw bytes and its target, and the length
/// of those bytes.
///
/// 128 bits: a collision would encode one series' bytes by another's recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(u64, u64);

impl Key {
    /// The key of raw bytes exposed by a target.
    #[inline]
    #[must_use]
    pub fn new(target: TargetId, raw: &[u8]) -> Self {
        // Not by a seed: of long input it makes a secret of its own each time.
        let hash = xxhash_rust::xxh3::xxh3_128(raw)
            ^ u128::from(target.0).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let length = u16::try_from(raw.len()).unwrap_or(u16::MAX);
        Self(
            ((hash >> 64) as u64 & (LENGTH - 1)) | (u64::from(length) << LENGTH.trailing_zeros()),
            hash as u64,
        )
    }

    /// None when it is too long to be told.
    #[inline]
    fn raw_len(self) -> Option<u16> {
        Some((self.0 >> LENGTH.trailing_zeros()) as u16).filter(|&length| length < u16::MAX)
    }
}

/// From this bit on, the first half of a key is a length.
const LENGTH: u64 = 1 << 48;

/// A scrape in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transaction {
    id: u32,
    target: TargetId,
    /// Whether what it does not see is a scrape older once it commits.
    ages: bool,
}

/// What a sample is to a series' last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// Newer. `nth` counts the samples of this series that this scrape gave before.
    Fresh {
        /// 0 for nearly all.
        nth: u16,
    },
    /// Already sent.
    Unchanged,
    /// Older than what an earlier scrape gave.
    OutOfOrder,
    /// A second value for the same time, or an older one, in one scrape or in two at once:
    /// Prometheus finds out only when it commits.
    Duplicate,
}

/// When a series was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// In this scrape.
    Already,
    /// In the last one that was committed, or in a later one that failed.
    Lately,
    /// Longer ago, or never: Prometheus' own cache would not know it (`scrape/scrape.go`
    /// `iterDone`).
    Not,
}

/// No recipe: relabelling drops the series, for this remote or for all.
const DROPPED: u32 = u32::MAX;
/// No recipe: `metric_relabel_configs` drop it. Then it is no series at all, for none of the
/// remotes.
const UNWANTED: u32 = u32::MAX - 1;

// A line of the processor's cache: each sample needs one.
const _: () = assert!(size_of::<Entry>() == 64);

#[derive(Debug)]
#[repr(align(64))]
struct Entry {
    key: Key,
    /// Of an alias: the last that was taken by it.
    last_ms: i64,
    /// `last_ms` before `transaction`.
    before_ms: i64,
    transaction: u32,
    /// Or [`DROPPED`], or [`UNWANTED`].
    recipe_at: u32,
    group: u32,
    /// The entry that holds this label set's timestamps: mostly itself.
    primary: u32,
    /// Scrapes of its target when it was last seen.
    seen: u32,
    /// The transaction that saw it last.
    seen_by: u32,
    target: TargetId,
    nth: u16,
    /// Of the last value taken.
    kind: ValueKind,
    /// Its recipe needs no raw bytes.
    portable: bool,
    /// Its raw bytes may be met before they are looked for: see [`SeriesCache::expected`].
    expectable: bool,
    /// [`AGAIN`], [`AGAIN_BEFORE`].
    resend: u8,
}

/// The sample at `last_ms` may not have arrived: it is to be sent again, and still nothing older.
const AGAIN: u8 = 1;
/// The same before `transaction`.
const AGAIN_BEFORE: u8 = 2;

impl Entry {
    fn is_dropped(&self) -> bool {
        self.recipe_at >= UNWANTED
    }
}

/// The series of one remote.
#[derive(Debug, Default)]
pub struct SeriesCache {
    entries: Vec<Entry>,
    /// Of each entry: the hash of its label set.
    labels: Vec<u64>,
    by_key: HashTable<u32>,
    by_labels: HashTable<u32>,
    recipes: Vec<u8>,
    literals: Literals,
    /// Committed scrapes of each target.
    scrapes: Vec<u32>,
    /// The last of them: its transaction.
    committed: Vec<u32>,
    open: Vec<Transaction>,
    /// Label sets that a transaction found in another one's hand: no further sample of them is
    /// taken for it.
    yielded: HashSet<(u32, u64)>,
    next_transaction: u32,
    tracker: Tracker,
    /// Expositions keep their order: the entry after the last one found is most likely the next.
    cursor: usize,
}

impl SeriesCache {
    /// Starts a scrape of a target.
    pub fn begin(&mut self, target: TargetId) -> Transaction {
        self.open(target, true)
    }

    /// Starts what is left of a scrape that failed, its reports: series survive however many
    /// scrapes fail.
    pub fn begin_reports(&mut self, target: TargetId) -> Transaction {
        self.open(target, false)
    }

    fn open(&mut self, target: TargetId, ages: bool) -> Transaction {
        if self.scrapes.len() <= target.index() {
            self.scrapes.resize(target.index() + 1, 0);
            self.committed.resize(target.index() + 1, 0);
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

    /// Finds a series.
    #[inline]
    pub fn find(&mut self, key: Key) -> Option<SeriesId> {
        let index = match self.entries.get(self.cursor) {
            Some(entry) if entry.key == key => self.cursor,
            _ => *self
                .by_key
                .find(key.1, |&index| self.entries[index as usize].key == key)?
                as usize,
        };
        self.cursor = index + 1;
        Some(SeriesId(index as u32))
    }

    /// How many raw bytes the series has that is most likely the next: the one behind the last that
    /// was found.
    #[inline]
    #[must_use]
    pub fn expected(&self) -> Option<usize> {
        let next = self
            .entries
            .get(self.cursor)
            .filter(|entry| entry.expectable)?;
        next.key.raw_len().map(usize::from)
    }

    /// Nobody is to expect this series.
    pub fn never_expect(&mut self, series: SeriesId) {
        self.entries[series.index()].expectable = false;
    }

    /// Remembers a series and what was made of it: labels to send and their group, or none when it
    /// is dropped. Only one that is `portable` can be tracked.
    pub fn insert(
        &mut self,
        transaction: Transaction,
        key: Key,
        labels: Option<(&Labels<'_>, u32)>,
        portable: bool,
    ) -> SeriesId {
        let index = self.entries.len() as u32;
        let (mut recipe_at, mut primary) = (DROPPED, index);
        let mut labels_hash = 0;
        if let Some((labels, _)) = labels {
            recipe_at = self.recipes.len() as u32;
            recipe::write(labels, portable, &mut self.literals, &mut self.recipes);
            labels_hash = labels.hash();
            let known = &self.labels;
            match self
                .by_labels
                .find(labels_hash, |&index| known[index as usize] == labels_hash)
            {
                Some(&found) => primary = found,
                None => {
                    self.by_labels.insert_unique(labels_hash, index, |&index| {
                        known.get(index as usize).copied().unwrap_or(labels_hash)
                    });
                }
            }
        }
        self.labels.push(labels_hash);
        self.entries.push(Entry {
            key,
            last_ms: NEVER,
            before_ms: NEVER,
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
            expectable: true,
            resend: 0,
        });
        let entries = &self.entries;
        self.by_key
            .insert_unique(key.1, index, |&index| entries[index as usize].key.1);
        self.cursor = self.entries.len();
        SeriesId(index)
    }

    /// Makes a series trackable that was not: the next sweep packs what its recipe was.
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

    /// The series is to get a stale marker when its target shows it no more.
    #[inline]
    pub fn track(&mut self, transaction: Transaction, series: SeriesId) {
        self.tracker.track(transaction.target, series);
    }

    /// Ends a pass of the target, and gives the series that it showed in the last one and not in
    /// this one, under whatever raw bytes.
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

    /// Forgets what the present pass of the target has tracked.
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

    /// Marks a series as seen in this scrape, and says when it was seen before.
    #[inline]
    pub fn touch(&mut self, transaction: Transaction, series: SeriesId) -> Seen {
        let entry = &mut self.entries[series.index()];
        entry.seen = self.scrapes[transaction.target.index()] + 1;
        let before = std::mem::replace(&mut entry.seen_by, transaction.id);
        if before == transaction.id {
            Seen::Already
        } else if before > 0 && before >= self.committed[transaction.target.index()] {
            Seen::Lately
        } else {
            Seen::Not
        }
    }

    /// Takes a sample's timestamp, if it is a newer one.
    #[inline]
    pub fn observe(
        &mut self,
        transaction: Transaction,
        series: SeriesId,
        timestamp_ms: i64,
    ) -> Observed {
        let primary = self.entries[series.index()].primary as usize;
        let mine = self.entries[primary].transaction == transaction.id;
        // A series that another target's scrape has in hand: the first one wins, because only one
        // of the two orders of commit is right.
        let yielded = || (transaction.id, self.labels[primary]);
        let mut contended = !self.yielded.is_empty() && self.yielded.contains(&yielded());
        if !mine
            && self.open.len() > 1
            && self
                .open
                .iter()
                .any(|open| open.id == self.entries[primary].transaction)
        {
            contended = true;
            self.yielded.insert(yielded());
        }
        let entry = &mut self.entries[primary];
        if contended || timestamp_ms < entry.last_ms {
            return if contended || (mine && timestamp_ms >= entry.before_ms) {
                Observed::Duplicate
            } else {
                Observed::OutOfOrder
            };
        }
        if timestamp_ms == entry.last_ms && (mine || entry.resend & AGAIN == 0) {
            return if mine {
                Observed::Duplicate
            } else {
                Observed::Unchanged
            };
        }
        if mine {
            let Some(nth) = entry.nth.checked_add(1) else {
                return Observed::Duplicate;
            };
            entry.nth = nth;
        } else {
            entry.before_ms = entry.last_ms;
            entry.resend = if entry.resend & AGAIN == 0 {
                0
            } else {
                AGAIN_BEFORE
            };
            entry.transaction = transaction.id;
            entry.nth = 0;
        }
        entry.last_ms = timestamp_ms;
        entry.resend &= !AGAIN;
        let nth = entry.nth;
        if series.index() != primary {
            // So that the label set is not forgotten while a target shows it that did not do so
            // first.
            let alias = &mut self.entries[series.index()];
            if !mine {
                (alias.before_ms, alias.transaction) = (alias.last_ms, transaction.id);
            }
            alias.last_ms = timestamp_ms;
        }
        Observed::Fresh { nth }
    }

    /// The kind of the last value that was taken of a series: its stale marker must be of the same.
    #[inline]
    #[must_use]
    pub fn kind(&self, series: SeriesId) -> ValueKind {
        self.entries[self.entries[series.index()].primary as usize].kind
    }

    /// Notes the kind of the value that was taken.
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

    /// Bytes of a series' labels, encoded.
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

    /// Whether the series is one of those, one in some hundred, that compressed pieces of batches
    /// may start with.
    #[inline]
    #[must_use]
    pub fn is_landmark(&self, series: SeriesId) -> bool {
        self.entries[series.index()].key.0.is_multiple_of(128)
    }

    /// Ends a scrape that succeeded: its timestamps stand. Says whether series have moved to other
    /// places.
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

    /// Ends a scrape that failed: its timestamps are what they were.
    pub fn rollback(&mut self, transaction: Transaction) {
        self.close(transaction);
        for entry in &mut self.entries {
            if entry.transaction == transaction.id {
                entry.last_ms = entry.before_ms;
                entry.resend = if entry.resend & AGAIN_BEFORE == 0 {
                    0
                } else {
                    AGAIN
                };
                entry.transaction = 0;
            }
        }
    }

    /// Forgets that the last samples were sent: the next scrape sends everything it sees, but still
    /// nothing older, because they may have arrived (a home behind a load balancer can go back in
    /// time).
    pub fn forget_timestamps(&mut self) {
        for entry in &mut self.entries {
            entry.resend |= AGAIN;
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

    /// Bytes held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.labels.capacity() * size_of::<u64>()
            + (self.by_key.capacity() + self.by_labels.capacity()) * 6
            + self.recipes.capacity()
            + self.literals.memory()
            + self.tracker.memory()
            + self.yielded.capacity() * size_of::<(u32, u64)>()
    }

    /// Forgets the series that were not seen for a while, and packs the rest. Says whether there
    /// were any.
    fn sweep(&mut self) -> bool {
        let keep = self
            .entries
            .iter()
            .map(|entry| entry.seen + KEEP_UNSEEN >= self.scrapes[entry.target.index()])
            .collect();
        self.keep_only(keep)
    }

    /// Forgets the series of which no sample was ever taken, those that a scrape brought which was
    /// rolled back: what the memory has no room for must not stay in it. And those that the last
    /// scrapes missed: scrapes that fail make nothing older, so series that come and go would fill
    /// the memory for good. Says whether series have moved to other places.
    pub fn forget_untaken(&mut self) -> bool {
        let missed = |entry: &Entry| entry.seen + 1 < self.scrapes[entry.target.index()];
        let keep = self
            .entries
            .iter()
            .map(|entry| entry.last_ms != NEVER && !missed(entry))
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
        let mut recipes = Vec::with_capacity(self.recipes.len());
        let mut literals = Literals::default();
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
        self.by_key = HashTable::with_capacity(self.entries.len());
        self.by_labels = HashTable::with_capacity(self.entries.len());
        for entry in &mut self.entries {
            entry.primary = moved[entry.primary as usize];
        }
        let (entries, labels) = (&self.entries, &self.labels);
        for ((index, entry), hash) in (0..).zip(entries).zip(labels) {
            self.by_key
                .insert_unique(entry.key.1, index, |&index| entries[index as usize].key.1);
            if entry.primary == index && !entry.is_dropped() {
                self.by_labels
                    .insert_unique(*hash, index, |&index| labels[index as usize]);
            }
        }
        self.cursor = 0;
        true
    }
}

#[cfg(test)]
mod tests;
