//! The last timestamps of series as a table, for the process that goes on.
//!
//! A process that reads windows must know of each series what was sent of it, or it would send the
//! overlap of two windows twice. The table is stored when a tick ends, and a process that has not
//! sent that tick itself begins with it.
//!
//! # Layout
//! Integers are little-endian. The entries are in the order of their hashes, and each hash occurs
//! once.
//! ```text
//! at   bytes
//! 0    8   magic "AMPFWLTS"
//! 8    2   version, 1
//! 10   2   0
//! 12   4   number of series, n
//! 16   8   base: the newest of the timestamps, milliseconds since 1970
//! 24   12n hash of the label set (8), milliseconds before the base (4)
//!      4   CRC-32C of everything before it, in any version
//! ```

use crc32c::crc32c as crc;

/// First bytes of each table of any version.
const MAGIC: &[u8; 8] = b"AMPFWLTS";
/// What this program writes, and the newest that it reads.
const VERSION: u16 = 1;
const HEAD: usize = 24;
const ENTRY: usize = 12;
const CRC: usize = 4;

/// Largest number of series in a table that is read: 48 MB.
const MAX_SERIES: usize = 4_000_000;

/// The last timestamp that was taken of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LastTimestamp {
    /// Hash of the finished label set ([`Labels::hash`](super::Labels::hash)).
    pub labels_hash: u64,
    /// Milliseconds since 1970.
    pub last_ms: i64,
}

/// Last timestamps of series, by the hashes of their label sets.
///
/// ```
/// use amp_forwarder::series::{LastTimestamp, LastTimestamps};
///
/// let last = |labels_hash, last_ms| LastTimestamp { labels_hash, last_ms };
/// let table: LastTimestamps = [last(7, 1_000), last(3, 2_000)].into_iter().collect();
/// assert_eq!(table.get(7), Some(1_000));
/// assert_eq!(LastTimestamps::decode(&table.encode()), Ok(table));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastTimestamps {
    /// In the order of the hashes, each of which occurs once.
    entries: Vec<LastTimestamp>,
}

/// Why bytes are no table, in the order of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LastTimestampsError {
    /// The bytes do not begin as a table does.
    #[error("it is no table of last timestamps")]
    Foreign,
    /// The bytes are torn, or a bit has flipped.
    #[error("the table of last timestamps contradicts its checksum")]
    Checksum,
    /// A newer program has written it.
    #[error("the table of last timestamps has version {0}, and this program reads {VERSION}")]
    Newer(u16),
    /// The table is larger than any that is read.
    #[error("the table of last timestamps has {0} series, more than {MAX_SERIES}")]
    TooMany(u32),
    /// The checksum holds, and the numbers contradict each other.
    #[error("the table of last timestamps is malformed")]
    Malformed,
}

impl FromIterator<LastTimestamp> for LastTimestamps {
    /// Of several timestamps of one label set the newest counts.
    fn from_iter<I: IntoIterator<Item = LastTimestamp>>(entries: I) -> Self {
        let mut entries: Vec<_> = entries.into_iter().collect();
        entries
            .sort_unstable_by(|a, b| (a.labels_hash, b.last_ms).cmp(&(b.labels_hash, a.last_ms)));
        entries.dedup_by_key(|entry| entry.labels_hash);
        entries.shrink_to_fit();
        Self { entries }
    }
}

impl LastTimestamps {
    /// Number of series.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no series is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The last timestamp of a label set, milliseconds since 1970.
    #[must_use]
    pub fn get(&self, labels_hash: u64) -> Option<i64> {
        let at = self.find(labels_hash)?;
        Some(self.entries[at].last_ms)
    }

    /// The place of a label set among the entries.
    pub(super) fn find(&self, labels_hash: u64) -> Option<usize> {
        self.entries
            .binary_search_by_key(&labels_hash, |entry| entry.labels_hash)
            .ok()
    }

    /// The entries in the order of their hashes.
    #[must_use]
    pub fn entries(&self) -> &[LastTimestamp] {
        &self.entries
    }

    pub(super) fn entries_mut(&mut self) -> &mut [LastTimestamp] {
        &mut self.entries
    }

    /// Removes entries.
    pub(super) fn retain(&mut self, stays: impl Fn(LastTimestamp) -> bool) {
        self.entries.retain(|&entry| stays(entry));
        self.entries.shrink_to_fit();
    }

    /// Bytes held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<LastTimestamp>()
    }

    /// Bytes of [`LastTimestamps::encode`] for this many series.
    #[must_use]
    pub const fn encoded_len(series: usize) -> usize {
        HEAD + series * ENTRY + CRC
    }

    /// The table as bytes, 12 a series. Series whose last timestamp is more than 49 days before the
    /// newest one are left out: 32 bits do not hold the difference.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let base = self.entries.iter().map(|entry| entry.last_ms).max();
        let base = base.unwrap_or_default();
        let before = |entry: &LastTimestamp| u32::try_from(base.abs_diff(entry.last_ms)).ok();
        let count = self.entries.iter().filter_map(before).count();
        let mut bytes = Vec::with_capacity(Self::encoded_len(count));
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&(count as u32).to_le_bytes());
        bytes.extend_from_slice(&base.to_le_bytes());
        for entry in &self.entries {
            if let Some(before) = before(entry) {
                bytes.extend_from_slice(&entry.labels_hash.to_le_bytes());
                bytes.extend_from_slice(&before.to_le_bytes());
            }
        }
        bytes.extend_from_slice(&crc(&bytes).to_le_bytes());
        bytes
    }

    /// Reads what [`LastTimestamps::encode`] has written.
    ///
    /// # Errors
    /// [`LastTimestampsError`] when it is something else. The caller goes on without a table,
    /// except that one of a newer program must not be replaced.
    pub fn decode(bytes: &[u8]) -> Result<Self, LastTimestampsError> {
        if !bytes.starts_with(MAGIC) {
            return Err(LastTimestampsError::Foreign);
        }
        let mut numbers = LittleEndian(&bytes[MAGIC.len()..]);
        let checksum = bytes.last_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        let covered = &bytes[..bytes.len().saturating_sub(CRC)];
        if covered.len() < HEAD || checksum != Some(crc(covered)) {
            return Err(LastTimestampsError::Checksum);
        }
        let read = numbers.take().map(u16::from_le_bytes).zip(numbers.take());
        let (version, [0, 0]) = read.ok_or(LastTimestampsError::Malformed)? else {
            return Err(LastTimestampsError::Malformed);
        };
        match version {
            VERSION => {}
            0 => return Err(LastTimestampsError::Malformed),
            newer => return Err(LastTimestampsError::Newer(newer)),
        }
        Self::decode_entries(&mut numbers, covered.len())
    }

    fn decode_entries(
        numbers: &mut LittleEndian<'_>,
        covered: usize,
    ) -> Result<Self, LastTimestampsError> {
        let malformed = LastTimestampsError::Malformed;
        let count = numbers.take().map(u32::from_le_bytes).ok_or(malformed)?;
        let base = numbers.take().map(i64::from_le_bytes).ok_or(malformed)?;
        let series = usize::try_from(count)
            .ok()
            .filter(|&series| series <= MAX_SERIES)
            .ok_or(LastTimestampsError::TooMany(count))?;
        if covered != HEAD + series * ENTRY {
            return Err(malformed);
        }
        let mut entries: Vec<LastTimestamp> = Vec::with_capacity(series);
        for _ in 0..series {
            let labels_hash = numbers.take().map(u64::from_le_bytes).ok_or(malformed)?;
            let before = numbers.take().map(u32::from_le_bytes).ok_or(malformed)?;
            let last_ms = base.checked_sub(i64::from(before)).ok_or(malformed)?;
            if entries
                .last()
                .is_some_and(|last| last.labels_hash >= labels_hash)
            {
                return Err(malformed);
            }
            entries.push(LastTimestamp {
                labels_hash,
                last_ms,
            });
        }
        Ok(Self { entries })
    }
}

/// Bytes that are read number by number.
struct LittleEndian<'a>(&'a [u8]);

impl LittleEndian<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn table(entries: &[(u64, i64)]) -> LastTimestamps {
        entries
            .iter()
            .map(|&(labels_hash, last_ms)| LastTimestamp {
                labels_hash,
                last_ms,
            })
            .collect()
    }

    /// Bytes with a checksum that holds.
    fn vouched(mut bytes: Vec<u8>) -> Vec<u8> {
        let covered = bytes.len() - CRC;
        let checksum = crc(&bytes[..covered]);
        bytes[covered..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    #[test]
    fn of_two_timestamps_the_newer_counts() {
        let table = table(&[(9, 5), (1, 7), (9, 6), (9, 4)]);
        assert_eq!(
            (table.len(), table.get(9), table.get(1)),
            (2, Some(6), Some(7))
        );
        assert_eq!(table.get(2), None);
    }

    #[test]
    fn a_series_takes_twelve_bytes_and_very_old_ones_are_left_out() {
        let (now, long) = (1_800_000_000_000, i64::from(u32::MAX));
        let table = table(&[(1, now), (2, now - long), (3, now - long - 1)]);
        let encoded = table.encode();
        assert_eq!(encoded.len(), 28 + 2 * 12);
        let decoded = LastTimestamps::decode(&encoded).unwrap();
        assert_eq!(decoded.entries(), &table.entries()[..2]);
    }

    #[test]
    fn whatever_is_wrong_has_an_error() {
        let good = table(&[(1, 10), (2, 20)]).encode();
        let with = |at: usize, bytes: &[u8]| {
            let mut changed = good.clone();
            changed[at..at + bytes.len()].copy_from_slice(bytes);
            changed
        };
        let cases = [
            (Vec::new(), LastTimestampsError::Foreign),
            (with(0, b"X"), LastTimestampsError::Foreign),
            (good[..8].to_vec(), LastTimestampsError::Checksum),
            (
                good[..good.len() - 1].to_vec(),
                LastTimestampsError::Checksum,
            ),
            (with(8, &[2]), LastTimestampsError::Checksum),
            (vouched(with(8, &[2])), LastTimestampsError::Newer(2)),
            (vouched(with(8, &[0])), LastTimestampsError::Malformed),
            (vouched(with(10, &[1])), LastTimestampsError::Malformed),
            (vouched(with(12, &[3])), LastTimestampsError::Malformed),
            (
                vouched(with(15, &[1])),
                LastTimestampsError::TooMany(0x0100_0002),
            ),
            // The second hash is not above the first one.
            (vouched(with(36, &[1])), LastTimestampsError::Malformed),
            // A timestamp before all time.
            (
                vouched(with(16, &i64::MIN.to_le_bytes())),
                LastTimestampsError::Malformed,
            ),
        ];
        for (at, (bytes, expected)) in cases.into_iter().enumerate() {
            assert_eq!(LastTimestamps::decode(&bytes), Err(expected), "case {at}");
        }
    }

    proptest! {
        #[test]
        fn a_table_comes_back(entries in vec((any::<u64>(), 0..1_i64 << 32), 0..50)) {
            let table = table(&entries);
            prop_assert_eq!(LastTimestamps::decode(&table.encode()), Ok(table));
        }

        #[test]
        fn every_flipped_bit_is_noticed(
            entries in vec((any::<u64>(), 0..1_i64 << 32), 0..5),
            bit in any::<prop::sample::Index>(),
        ) {
            let mut bytes = table(&entries).encode();
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(LastTimestamps::decode(&bytes).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..100)) {
            let bytes = [&MAGIC[..], &bytes, &[0; CRC]].concat();
            let _ = LastTimestamps::decode(&vouched(bytes));
        }
    }
}
