//! Names in the spool. The order of the queue is the order of its names.

use std::fmt;

/// Which folder of the spool an object is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Folder {
    /// Segments that wait to be sent.
    Segments,
    /// Batches that were refused for good.
    Rejected,
    /// Batches that were too old for the remote.
    Expired,
}

impl Folder {
    /// All folders.
    pub const ALL: [Self; 3] = [Self::Segments, Self::Rejected, Self::Expired];

    /// The folder as it is written in keys, without slashes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Segments => "segments",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }

    /// Prefix of the keys of all remotes: `segments/`.
    #[must_use]
    pub fn prefix(self) -> String {
        format!("{}/", self.as_str())
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Largest epoch that a name holds: 19,000 years of one tick a minute.
pub const MAX_EPOCH: u64 = 9_999_999_999;
/// Largest epoch that is believed when only the names of segments tell it, because `state.json` is
/// gone: 1,900 years of one tick a minute. Nine times as many are left behind it.
pub const MAX_EPOCH_FOUND: u64 = 999_999_999;
/// Largest scrape number of an epoch.
pub const MAX_SCRAPE: u64 = 99_999_999;
/// Largest part of a scrape.
pub const MAX_PART: u32 = 9_999;

const FILE_LEN: usize = "0000000000-00000000-0000.seg".len();

/// The name of a segment among those of its remote: `<epoch, 10>-<scrape, 8>-<part, 4>.seg`,
/// decimal and zero-padded, so that the store's lexicographic LIST is the queue, oldest first.
/// Later epochs sort behind earlier ones, whatever clocks say.
///
/// ```
/// use amp_forwarder::spool::name::SegmentName;
///
/// let name = SegmentName::new(42, 7, 0).unwrap();
/// assert_eq!(name.to_string(), "0000000042-00000007-0000.seg");
/// assert_eq!(SegmentName::parse("0000000042-00000007-0000.seg"), Some(name));
/// assert!(name < SegmentName::new(43, 1, 0).unwrap());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    epoch: u64,
    scrape: u64,
    part: u32,
}

impl SegmentName {
    /// A name of these numbers. `None` when a number has more digits than its place: such a name
    /// would sort wrongly.
    #[must_use]
    pub const fn new(epoch: u64, scrape: u64, part: u32) -> Option<Self> {
        if epoch <= MAX_EPOCH && scrape <= MAX_SCRAPE && part <= MAX_PART {
            Some(Self {
                epoch,
                scrape,
                part,
            })
        } else {
            None
        }
    }

    /// Reads exactly what [`fmt::Display`] writes, and nothing else.
    #[must_use]
    pub fn parse(file: &str) -> Option<Self> {
        let bytes = file.as_bytes();
        if bytes.len() != FILE_LEN
            || !file.is_ascii()
            || bytes[10] != b'-'
            || bytes[19] != b'-'
            || !file.ends_with(".seg")
        {
            return None;
        }
        let digits = |from: usize, to: usize| {
            let text = &file[from..to];
            if text.bytes().all(|byte| byte.is_ascii_digit()) {
                text.parse::<u64>().ok()
            } else {
                None
            }
        };
        Self::new(
            digits(0, 10)?,
            digits(11, 19)?,
            u32::try_from(digits(20, 24)?).ok()?,
        )
    }

    /// Epoch of the lease under which the segment was written.
    #[must_use]
    pub const fn epoch(self) -> u64 {
        self.epoch
    }

    /// Number of the scrape in that epoch.
    #[must_use]
    pub const fn scrape(self) -> u64 {
        self.scrape
    }

    /// Number of the part of that scrape.
    #[must_use]
    pub const fn part(self) -> u32 {
        self.part
    }

    /// The whole key of an object with this name.
    #[must_use]
    pub fn key(self, folder: Folder, remote: &RemoteDir) -> String {
        format!("{folder}/{remote}/{self}")
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:010}-{:08}-{:04}.seg",
            self.epoch, self.scrape, self.part
        )
    }
}

impl serde::Serialize for SegmentName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for SegmentName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not the name of a segment"))
    }
}

/// The name of a remote in the spool: its `name`, or the hash in place of one, written so that it
/// can be part of a key and the name of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct RemoteDir(String);

/// Longest name in bytes; file systems take 255.
const MAX_DIR: usize = 120;

impl RemoteDir {
    /// The name for a remote's id. Letters, digits, `-`, `_` and `.` stay; anything else becomes
    /// `%XX`; long names end in a hash.
    #[must_use]
    pub fn new(id: &str) -> Self {
        let mut name = String::with_capacity(id.len());
        for (at, byte) in id.bytes().enumerate() {
            let plain = byte.is_ascii_alphanumeric()
                || byte == b'-'
                || byte == b'_'
                || (byte == b'.' && at > 0);
            if plain {
                name.push(char::from(byte));
            } else {
                name.push_str(&format!("%{byte:02X}"));
            }
        }
        if name.is_empty() {
            name.push('%');
        }
        if name.len() > MAX_DIR {
            let hash = xxhash_rust::xxh3::xxh3_64(id.as_bytes());
            name.truncate(MAX_DIR - 17);
            name.push_str(&format!("~{hash:016x}"));
        }
        Self(name)
    }

    /// A name that was found in a key or in `state.json`. `None` for one that [`RemoteDir::new`]
    /// never makes: it may lead to another place.
    #[must_use]
    pub fn found(name: &str) -> Option<Self> {
        let is_ours = (1..=MAX_DIR).contains(&name.len())
            && !name.starts_with('.')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.%~".contains(&byte));
        is_ours.then(|| Self(name.to_owned()))
    }

    /// The name that stands for objects in no remote's folder. No remote has it: it is made of an
    /// empty id.
    #[must_use]
    pub fn nobody() -> Self {
        Self::new("")
    }

    /// The name as it is written in keys.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Prefix of the keys of its objects: `segments/<remote>/`.
    #[must_use]
    pub fn prefix(&self, folder: Folder) -> String {
        format!("{folder}/{self}/")
    }
}

impl<'de> serde::Deserialize<'de> for RemoteDir {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::found(&text).ok_or_else(|| serde::de::Error::custom("not the name of a remote"))
    }
}

impl fmt::Display for RemoteDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_written_as_documented() {
        let name = SegmentName::new(42, 7, 3).unwrap();
        assert_eq!(name.to_string(), "0000000042-00000007-0003.seg");
        assert_eq!(
            name.key(Folder::Rejected, &RemoteDir::new("amp")),
            "rejected/amp/0000000042-00000007-0003.seg"
        );
        assert_eq!(SegmentName::new(MAX_EPOCH + 1, 0, 0), None);
        assert_eq!(SegmentName::new(0, MAX_SCRAPE + 1, 0), None);
        assert_eq!(SegmentName::new(0, 0, MAX_PART + 1), None);
    }

    #[test]
    fn only_exact_names_are_read() {
        for strange in [
            "",
            "state.json",
            "0000000042-00000007-0003.sog",
            "0000000042-00000007-003.seg",
            "000000004200000007-0003.seg ",
            "+000000042-00000007-0003.seg",
            "0000000042-0000000é-003.seg",
            "0000000042-00000007-0003.seg.tmp",
        ] {
            assert_eq!(SegmentName::parse(strange), None, "{strange}");
        }
    }

    proptest! {
        #[test]
        fn names_sort_like_their_numbers(
            a in (0..=MAX_EPOCH, 0..=MAX_SCRAPE, 0..=MAX_PART),
            b in (0..=MAX_EPOCH, 0..=MAX_SCRAPE, 0..=MAX_PART),
            near in any::<bool>(),
        ) {
            let b = if near { (a.0, a.1, b.2) } else { b };
            let a = SegmentName::new(a.0, a.1, a.2).unwrap();
            let b = SegmentName::new(b.0, b.1, b.2).unwrap();
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
            prop_assert_eq!(SegmentName::parse(&a.to_string()), Some(a));
        }

        #[test]
        fn any_remote_has_a_folder_of_its_own(a in ".{0,200}", b in ".{0,200}") {
            let (one, other) = (RemoteDir::new(&a), RemoteDir::new(&b));
            prop_assert_eq!(a == b, one == other);
            let name = one.as_str();
            prop_assert!(name.len() <= MAX_DIR && !name.contains('/') && !name.starts_with('.'));
            prop_assert_eq!(RemoteDir::found(name), Some(one));
        }

        #[test]
        fn a_name_that_is_found_leads_nowhere_else(name in "[a-z%~./\\\\ \u{1b}é-]{0,130}") {
            if let Some(found) = RemoteDir::found(&name) {
                let leads_elsewhere = name.contains(['/', '\\', ' ', '\u{1b}']);
                prop_assert!(!leads_elsewhere && !name.starts_with('.'));
                prop_assert_eq!(found.as_str(), name);
            }
        }
    }

    #[test]
    fn a_remote_that_would_leave_the_spool_is_not_read() {
        for name in ["", ".", "..", "../../x", "a/b", ".tmp", "a\0b", "\u{1b}[2J"] {
            assert_eq!(RemoteDir::found(name), None, "{name:?}");
            let json = serde_json::to_string(name).unwrap();
            assert!(
                serde_json::from_str::<RemoteDir>(&json).is_err(),
                "{name:?}"
            );
        }
        assert_eq!(
            serde_json::from_str::<RemoteDir>("\"amp\"").unwrap(),
            RemoteDir::new("amp")
        );
    }

    #[test]
    fn plain_names_stay() {
        assert_eq!(RemoteDir::new("amp-eu.1_b").as_str(), "amp-eu.1_b");
        assert_eq!(RemoteDir::new("../a b").as_str(), "%2E.%2Fa%20b");
    }
}
