//! `state.json`: who holds the lease, how far the jobs are, and what is owed.
//!
//! It is written twice a tick: when the lease is taken, with what the last release said beside the
//! lease, and when it is released. Whoever finds a lease in it that has ended knows that its holder
//! was killed: everything but the epoch may then be older than the truth. Watermarks and answered
//! batches that are too old are safe; the summary of the backlog is not, and is counted anew.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::name::{RemoteDir, SegmentName};

/// Its key.
pub const KEY: &str = "state.json";
/// What this program writes, and the newest that it reads.
pub const VERSION: u32 = 1;
/// Bytes that are read at most.
pub const MAX_BYTES: u64 = 4 << 20;

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolState {
    /// Of this layout.
    pub version: u32,
    /// Of the latest holder. Each takes the next: it is the first part of the names that it gives
    /// to segments.
    pub epoch: u64,
    /// None once it was released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// By `job_name`.
    #[serde(default)]
    pub jobs: BTreeMap<String, JobState>,
    /// Backlogs, those of remotes that the configuration no longer names included.
    #[serde(default)]
    pub remotes: BTreeMap<RemoteDir, RemoteRecord>,
}

impl Default for SpoolState {
    fn default() -> Self {
        Self {
            version: VERSION,
            epoch: 0,
            lease: None,
            jobs: BTreeMap::new(),
            remotes: BTreeMap::new(),
        }
    }
}

/// The right to scrape, drain and write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Of the holding process.
    pub nonce: String,
    /// The same as the state's: a lease of an earlier tick of the same process is another one.
    pub epoch: u64,
    /// When it ends by itself, by the store's clock.
    pub until_ms: i64,
}

/// What is known of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobState {
    /// The newest slot that was served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_slot_ms: Option<i64>,
    /// For each remote, the time up to which every sample of the job is delivered or durable in the
    /// spool.
    #[serde(default)]
    pub watermarks: BTreeMap<RemoteDir, i64>,
}

/// What is owed to a remote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteRecord {
    /// In short.
    #[serde(flatten)]
    pub backlog: Backlog,
    /// How far the oldest segment is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadProgress>,
    /// When it last got metadata: a process that starts must not send it each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_ms: Option<i64>,
    /// Which batches it throttles, and since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttling: Option<ThrottlingRecord>,
    /// Segments that may be there, or may yet appear, and are owed to nobody: what was in them went
    /// another way, and is counted. They are deleted unsent, in as many more ticks.
    #[serde(
        default,
        rename = "unwanted",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub tombstones: BTreeMap<SegmentName, u8>,
    /// Segments whose write had no answer, and whose samples were counted as lost. The next tick
    /// looks whether they are there after all.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub missed: BTreeSet<SegmentName>,
    /// There is more in its segments than the backlog says: some could not be looked into.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncounted: bool,
}

impl RemoteRecord {
    /// Whether there is something to LIST for.
    #[must_use]
    pub fn is_owed_anything(&self) -> bool {
        self.backlog.segments > 0 || !self.missed.is_empty()
    }

    /// Whether there is anything to know of it, should the configuration no longer name it.
    #[must_use]
    pub fn must_be_kept(&self) -> bool {
        self.is_owed_anything() || !self.tombstones.is_empty()
    }
}

/// A backlog in short.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backlog {
    /// Objects.
    pub segments: u64,
    /// Samples in them that are not answered yet.
    pub samples: u64,
    /// Bytes of the objects.
    pub bytes: u64,
    /// Oldest timestamp of the oldest segment, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<i64>,
}

impl Backlog {
    /// Adds another remote's.
    pub fn add(&mut self, other: &Self) {
        self.segments += other.segments;
        self.samples += other.samples;
        self.bytes += other.bytes;
        self.oldest_ms = [self.oldest_ms, other.oldest_ms]
            .into_iter()
            .flatten()
            .min();
    }
}

/// The oldest segment of a remote, partly answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadProgress {
    /// Its name.
    pub segment: SegmentName,
    /// The batches that were answered, by their place in it, from 0.
    pub answered: Vec<u32>,
}

/// Batches that the remote throttles.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottlingRecord {
    /// When it last took any batch, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed_ms: Option<i64>,
    /// Those whose last answer was a 429.
    pub batches: Vec<ThrottledBatch>,
}

/// A batch that the remote throttles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottledBatch {
    /// Where it is.
    pub segment: SegmentName,
    /// Its place there, from 0.
    pub place: u32,
    /// When it was throttled first, milliseconds since 1970.
    pub since_ms: i64,
}

/// A `state.json` that cannot be used. Nobody may scrape or drain before it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Of a newer program.
    #[error(
        "spool: state.json has version {0} and this program reads up to {VERSION}: bring the newer program back"
    )]
    Newer(u32),
    /// No state at all.
    #[error(
        "spool: state.json cannot be read: {0}; if nothing of ours wrote it, name another place in forwarder.spool.url, else remove that one object: segments are found without it"
    )]
    Malformed(String),
}

impl SpoolState {
    /// Reads the object.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn read(bytes: &[u8]) -> Result<Self, StateError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let malformed = |error: serde_json::Error| StateError::Malformed(error.to_string());
        // First of all: what else a newer one holds need not make sense to us.
        let Version { version } = serde_json::from_slice(bytes).map_err(malformed)?;
        match version {
            VERSION => serde_json::from_slice(bytes).map_err(malformed),
            0 => Err(StateError::Malformed("there is no version 0".to_owned())),
            newer => Err(StateError::Newer(newer)),
        }
    }

    /// The object.
    ///
    /// # Errors
    /// [`StateError::Malformed`]; not known to happen.
    pub fn write(&self) -> Result<Bytes, StateError> {
        let mut bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| StateError::Malformed(error.to_string()))?;
        bytes.push(b'\n');
        Ok(Bytes::from(bytes))
    }

    /// All backlogs together.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let mut all = Backlog::default();
        self.remotes
            .values()
            .for_each(|remote| all.add(&remote.backlog));
        all
    }

    /// Whether there is something to LIST for.
    #[must_use]
    pub fn is_owed_anything(&self) -> bool {
        self.remotes.values().any(RemoteRecord::is_owed_anything)
    }

    /// Whether it was released, with nothing owed to anybody: there is nothing to LIST.
    #[must_use]
    pub fn is_clean_and_empty(&self) -> bool {
        self.lease.is_none() && !self.is_owed_anything()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> SpoolState {
        let name = |part| SegmentName::new(7, 1, part).unwrap();
        let head = HeadProgress {
            segment: name(0),
            answered: vec![0, 2],
        };
        let throttling = ThrottlingRecord {
            passed_ms: Some(1_600),
            batches: vec![ThrottledBatch {
                segment: name(0),
                place: 1,
                since_ms: 1_500,
            }],
        };
        let (tombstones, missed) = (BTreeMap::from([(name(1), 3)]), BTreeSet::from([name(2)]));
        let backlog = Backlog {
            segments: 2,
            samples: 130,
            bytes: 900,
            oldest_ms: Some(1_000),
        };
        let job = JobState {
            last_slot_ms: Some(60_000),
            watermarks: BTreeMap::from([(RemoteDir::new("amp"), 59_000)]),
        };
        SpoolState {
            epoch: 7,
            lease: Some(Lease {
                nonce: "ab".to_owned(),
                epoch: 7,
                until_ms: 120_000,
            }),
            jobs: BTreeMap::from([("home".to_owned(), job)]),
            remotes: BTreeMap::from([(
                RemoteDir::new("amp"),
                RemoteRecord {
                    backlog,
                    head: Some(head),
                    metadata_ms: Some(3),
                    throttling: Some(throttling),
                    tombstones,
                    missed,
                    uncounted: true,
                },
            )]),
            ..SpoolState::default()
        }
    }

    #[test]
    fn what_is_written_is_read_and_can_be_read_by_people() {
        let bytes = state().write().unwrap();
        assert_eq!(SpoolState::read(&bytes), Ok(state()));
        let text = std::str::from_utf8(&bytes).unwrap();
        for part in [
            "\"version\": 1",
            "\"epoch\": 7",
            "\"until_ms\": 120000",
            "\"segment\": \"0000000007-00000001-0000.seg\"",
            "\"samples\": 130",
            "\"unwanted\": {",
            "\"0000000007-00000001-0001.seg\": 3",
            "\"last_slot_ms\": 60000",
        ] {
            assert!(text.contains(part), "{text} lacks {part}");
        }
        assert_eq!(
            SpoolState::read(br#"{"version":1,"epoch":3}"#),
            Ok(SpoolState {
                epoch: 3,
                ..SpoolState::default()
            })
        );
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        assert_eq!(
            SpoolState::read(br#"{"version":2,"epoch":"a different kind"}"#),
            Err(StateError::Newer(2))
        );
        for strange in [
            &b""[..],
            b"{}",
            b"[1]",
            b"hello",
            br#"{"version":0}"#,
            br#"{"version":1}"#,
            br#"{"version":1,"epoch":-1}"#,
            b"\xff\xfe",
        ] {
            let error = SpoolState::read(strange).unwrap_err();
            assert!(
                matches!(error, StateError::Malformed(_))
                    && error.to_string().contains("remove that one object"),
                "{error}"
            );
        }
    }

    #[test]
    fn only_a_released_state_without_segments_needs_no_list() {
        let mut state = state();
        assert!(!state.is_clean_and_empty());
        state.lease = None;
        assert!(!state.is_clean_and_empty());
        state
            .remotes
            .values_mut()
            .for_each(|remote| remote.backlog = Backlog::default());
        assert!(
            !state.is_clean_and_empty(),
            "something may be there after all"
        );
        state
            .remotes
            .values_mut()
            .for_each(|remote| remote.missed.clear());
        assert!(state.is_clean_and_empty());
        state.lease = self::state().lease;
        assert!(!state.is_clean_and_empty());
    }
}
