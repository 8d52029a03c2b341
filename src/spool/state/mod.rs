//! `state.json`: who holds the lease, how far the jobs are, and how long the backlogs are.
//!
//! It is written twice a tick: when the lease is taken, with the lease and what the last release
//! said, and when the lease is released. A lease in it that has ended means that its holder was
//! killed. Everything but the epoch may then be older than the truth. Watermarks and answered
//! batches that are too old do no harm; the sums of the backlog do, and are counted again.

mod bounds;
mod document;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::name::{RemoteDir, SegmentName};
use crate::report::OwnCounters;

/// Key of the object.
pub const KEY: &str = "state.json";
/// What this program writes, and the newest that it reads. Version 1 knew no remote reads: a
/// program of that time would drop [`JobState::reads`] and skip samples later, so it must not touch
/// a state that may have them.
pub const VERSION: u32 = 2;
/// Largest size of the object in bytes that is read.
pub const MAX_BYTES: u64 = 4 << 20;

/// The whole object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolState {
    /// Version of the layout.
    pub version: u32,
    /// Epoch of the latest holder of the lease. Each holder takes the next one. It is the first
    /// part of the names of the holder's segments.
    pub epoch: u64,
    /// The lease; `None` once it was released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// States of the jobs by `job_name`.
    #[serde(default)]
    pub jobs: BTreeMap<String, JobState>,
    /// Backlogs, including those of remotes that the configuration no longer names.
    #[serde(default)]
    pub remotes: BTreeMap<RemoteDir, RemoteRecord>,
    /// What the forwarder has done since it first ran. A program that does not know it drops it,
    /// and the sums begin again: nothing else depends on them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counters: Option<OwnCounters>,
}

impl Default for SpoolState {
    fn default() -> Self {
        Self {
            version: VERSION,
            epoch: 0,
            lease: None,
            jobs: BTreeMap::new(),
            remotes: BTreeMap::new(),
            counters: None,
        }
    }
}

/// The right to scrape, drain and write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Random name of the process that holds it.
    pub nonce: String,
    /// Epoch of the lease, the same as the state's. It tells this lease from those of earlier ticks
    /// of the same process.
    pub epoch: u64,
    /// When the lease ends if it is not released, by the store's clock, milliseconds since 1970.
    pub until_ms: i64,
    /// Up to when its holder serves the slots of the schedule, by the store's clock, milliseconds
    /// since 1970. Another tick that would serve hardly more has nothing to wait for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serves_until_ms: Option<i64>,
    /// Whether its holder has the store's mark of a living holder. Then a process that gets the
    /// mark knows that the holder is gone.
    #[serde(default, rename = "marked", skip_serializing_if = "std::ops::Not::not")]
    pub is_marked: bool,
}

/// The state of a job between ticks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobState {
    /// The newest slot that was served, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_slot_ms: Option<i64>,
    /// For each remote, the time up to which every sample of the job is delivered, in the spool, or
    /// was counted as lost by an earlier tick, milliseconds since 1970. A first read begins there:
    /// it must not ask for what the receiver has.
    #[serde(default)]
    pub watermarks: BTreeMap<RemoteDir, i64>,
    /// For each target, by its host and port, how far its samples were read from the home's TSDB. A
    /// hash follows where several targets of the job are there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reads: BTreeMap<String, TargetReads>,
    /// Targets, by their `instance`, whose last scrape or read failed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub failing: BTreeSet<String>,
}

/// How far one target was read, and what is known of its reads. Times are milliseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetReads {
    /// For each remote, the time up to which every sample that the home showed is delivered or in
    /// the spool. With `mode: gaps` it is a slot, with `mode: always` a time of the home's clock.
    #[serde(default)]
    pub watermarks: BTreeMap<RemoteDir, i64>,
    /// For each remote, the home's time when the window was read at whose end the watermark is.
    /// What was not visible then may appear behind the watermark.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub read_ms: BTreeMap<RemoteDir, i64>,
    /// The home's clock less ours, as its last answer showed it, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead_ms: Option<i64>,
    /// Whether a read was ever answered, so that the home is known to keep what scrapes miss.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub answered: bool,
    /// How late samples became visible at home, the worst that was seen, in milliseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub late_ms: u64,
    /// Ticks in a row in which the home answered scrapes, and no read made any progress.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stuck: u64,
    /// When a read was given up that the home may still be working on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abandoned_ms: Option<i64>,
    /// What the home said of itself when it was last asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<HomeFactsRecord>,
}

/// What a home has said of itself, so that not each process must ask. Where it does not say
/// something, and a proxy may let nobody ask, that is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeFactsRecord {
    /// When it was asked, milliseconds since 1970. Earlier than that if it did not answer all of it
    /// and is to be asked again soon.
    pub asked_ms: i64,
    /// How late its samples may become visible by its configuration, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_ms: Option<u64>,
    /// How old a sample `/federate` still shows, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look_back_ms: Option<u64>,
    /// Whether the `Date` of its answers is that of its own clock, and not a proxy's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub date_is_own: bool,
    /// An external label of the home that a selector of the job asks for, so that a read would show
    /// other series than `/federate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misread_label: Option<String>,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The object that holds the last timestamp of each series of a remote
/// ([`LastTimestamps`](crate::series::LastTimestamps)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimestampTable {
    /// Epoch of the lease under which it was written: the first part of its name.
    pub epoch: u64,
    /// Its number in that epoch.
    pub number: u32,
    /// Number of series in it.
    pub series: u64,
}

/// The backlog of a remote between ticks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteRecord {
    /// The sums of the backlog.
    #[serde(flatten)]
    pub backlog: Backlog,
    /// Which batches of the oldest segment were answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadProgress>,
    /// When the remote last got metadata, milliseconds since 1970. Without it, each process that
    /// starts would send metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_ms: Option<i64>,
    /// The table of last timestamps that belongs to the watermarks of the reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<TimestampTable>,
    /// The batches that the remote throttles, and since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttling: Option<ThrottlingRecord>,
    /// The batches that were posted, are still owed, and may be stored or were refused for a while.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<TriedBatch>,
    /// Segments that may exist, or may yet appear, and must never be sent: their samples took
    /// another way and were counted there. The number says how many more ticks delete each.
    #[serde(
        default,
        rename = "unwanted",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub tombstones: BTreeMap<SegmentName, u8>,
    /// Segments whose write had no answer, and whose samples were counted as lost. The next tick
    /// looks for them, and sends those that exist.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub missed: BTreeSet<SegmentName>,
    /// Whether there are more samples in the segments than the sums say, because some segments
    /// could not be looked into.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncounted: bool,
    /// The names of these segments: the first and the last of segments that follow each other.
    /// Empty although `uncounted`: nothing is known, and all are looked into.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uncounted_names: Vec<(SegmentName, SegmentName)>,
}

impl RemoteRecord {
    /// Whether there may be segments, so that the next tick must list them.
    #[must_use]
    pub fn is_owed_anything(&self) -> bool {
        self.backlog.segments > 0 || !self.missed.is_empty()
    }

    /// Whether the record must be kept although the configuration no longer names the remote.
    #[must_use]
    pub fn must_be_kept(&self) -> bool {
        self.is_owed_anything() || !self.tombstones.is_empty()
    }
}

/// The sums of a backlog.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backlog {
    /// Number of segments.
    pub segments: u64,
    /// Number of samples in batches that are not answered yet.
    pub samples: u64,
    /// Size of the segments in bytes.
    pub bytes: u64,
    /// Oldest timestamp of the oldest segment, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<i64>,
}

impl Backlog {
    /// Adds the sums of another remote.
    pub fn add(&mut self, other: &Self) {
        self.segments = self.segments.saturating_add(other.segments);
        self.samples = self.samples.saturating_add(other.samples);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.oldest_ms = [self.oldest_ms, other.oldest_ms]
            .into_iter()
            .flatten()
            .min();
    }
}

/// The oldest segment of a remote, when some of its batches were answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadProgress {
    /// Name of the segment.
    pub segment: SegmentName,
    /// Places of the batches that were answered, from 0.
    pub answered: Vec<u32>,
}

/// Batches that the remote throttles.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottlingRecord {
    /// When the remote last took any batch, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed_ms: Option<i64>,
    /// The batches whose last answer was a 429.
    pub batches: Vec<ThrottledBatch>,
}

/// A batch that the remote throttles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottledBatch {
    /// Segment that the batch is in.
    pub segment: SegmentName,
    /// Place of the batch in the segment, from 0.
    pub place: u32,
    /// When the remote throttled it for the first time, milliseconds since 1970.
    pub since_ms: i64,
}

/// A batch that was posted and is still owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriedBatch {
    /// Segment that the batch is in.
    pub segment: SegmentName,
    /// Place of the batch in the segment, from 0.
    pub place: u32,
    /// When the remote first answered that it is to be sent again, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_ms: Option<i64>,
    /// Whether a post had no clear answer, so that the samples may be stored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_doubt: bool,
}

/// Why `state.json` cannot be used. Nothing may be scraped or sent until it can.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// A newer version of this program wrote it.
    #[error(
        "spool: state.json has version {0} and this program reads up to {VERSION}: \
         bring the newer program back"
    )]
    Newer(u32),
    /// It is not a state at all.
    #[error(
        "spool: state.json cannot be read: {0}; if this program did not write it, \
         name another place in forwarder.spool.url, else remove that one object: \
         segments are found without it"
    )]
    Malformed(String),
}

impl SpoolState {
    /// The sums of all backlogs together.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let mut all = Backlog::default();
        self.remotes
            .values()
            .for_each(|remote| all.add(&remote.backlog));
        all
    }

    /// Whether any remote may have segments, so that the next tick must list them.
    #[must_use]
    pub fn is_owed_anything(&self) -> bool {
        self.remotes.values().any(RemoteRecord::is_owed_anything)
    }

    /// Whether it was released and no remote has a backlog: then nothing must be listed.
    #[must_use]
    pub fn is_clean_and_empty(&self) -> bool {
        self.lease.is_none() && !self.is_owed_anything()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::RemoteCounters;

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
            reads: BTreeMap::from([(
                "192.0.2.1:9090".to_owned(),
                TargetReads {
                    watermarks: BTreeMap::from([(RemoteDir::new("amp"), 58_000)]),
                    read_ms: BTreeMap::from([(RemoteDir::new("amp"), 58_900)]),
                    ahead_ms: Some(-400),
                    answered: true,
                    late_ms: 40_000,
                    stuck: 1,
                    abandoned_ms: Some(57_000),
                    facts: Some(HomeFactsRecord {
                        asked_ms: 50_000,
                        late_ms: Some(66_000),
                        look_back_ms: Some(60_000),
                        date_is_own: true,
                        misread_label: Some("cluster".to_owned()),
                    }),
                },
            )]),
            failing: BTreeSet::from(["192.0.2.1:9090".to_owned()]),
        };
        SpoolState {
            epoch: 7,
            lease: Some(Lease {
                nonce: "ab".to_owned(),
                epoch: 7,
                until_ms: 120_000,
                serves_until_ms: Some(100_000),
                is_marked: true,
            }),
            jobs: BTreeMap::from([("home".to_owned(), job)]),
            remotes: BTreeMap::from([(
                RemoteDir::new("amp"),
                RemoteRecord {
                    backlog,
                    head: Some(head),
                    metadata_ms: Some(3),
                    table: Some(TimestampTable {
                        epoch: 7,
                        number: 1,
                        series: 20_000,
                    }),
                    throttling: Some(throttling),
                    tried: vec![TriedBatch {
                        segment: name(0),
                        place: 1,
                        refused_ms: Some(1_500),
                        in_doubt: true,
                    }],
                    tombstones,
                    missed,
                    uncounted: true,
                    uncounted_names: vec![(name(0), name(1))],
                },
            )]),
            counters: Some(OwnCounters {
                since_ms: 5,
                ticks: 7,
                remotes: BTreeMap::from([("amp".to_owned(), RemoteCounters::default())]),
                ..OwnCounters::default()
            }),
            ..SpoolState::default()
        }
    }

    #[test]
    fn what_is_written_is_read_and_can_be_read_by_people() {
        let bytes = state().write().unwrap();
        assert_eq!(SpoolState::read(&bytes), Ok(state()));
        let text = std::str::from_utf8(&bytes).unwrap();
        for part in [
            "\"version\": 2",
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
            SpoolState::read(br#"{"version":3,"epoch":"a different kind"}"#),
            Err(StateError::Newer(3))
        );
        for strange in [
            &b""[..],
            b"{}",
            b"[1]",
            b"hello",
            br#"{"version":0}"#,
            br#"{"version":1}"#,
            br#"{"version":1,"epoch":-1}"#,
            br#"{"version":1,"epoch":18446744073709551615}"#,
            br#"{"version":1,"epoch":9999999999}"#,
            br#"{"version":1,"epoch":1,"lease":{"nonce":"a","epoch":9999999999,"until_ms":1}}"#,
            br#"{"version":1,"epoch":1,"remotes":{"../../x":{"segments":0,"samples":0,"bytes":0}}}"#,
            br#"{"version":1,"epoch":1,"jobs":{"a":{"watermarks":{"..":1}}}}"#,
            br#"{"version":2,"epoch":1,"jobs":{"a":{"reads":{"b":{"watermarks":{"..":1}}}}}}"#,
            br#"{"version":2,"epoch":1,"remotes":{"a":{"segments":0,"samples":0,"bytes":0,
                "table":{"epoch":9999999999,"number":1,"series":1}}}}"#,
            br#"{"version":1,"epoch":1,"jobs":{"a":{"last_slot_ms":253402300800001}}}"#,
            br#"{"version":1,"epoch":1,"jobs":{"a":{"watermarks":{"b":9223372036854775807}}}}"#,
            br#"{"version":2,"epoch":1,"jobs":{"a":{"reads":{"b":{
                "watermarks":{"c":-9223372036854775808}}}}}}"#,
            br#"{"version":2,"epoch":1,"jobs":{"a":{"reads":{"b":{
                "read_ms":{"c":9223372036854775807}}}}}}"#,
            br#"{"version":2,"epoch":1,"jobs":{"a":{"reads":{"b":{
                "ahead_ms":-9223372036854775808}}}}}"#,
            br#"{"version":2,"epoch":1,"jobs":{"a":{"reads":{"b":{
                "abandoned_ms":9223372036854775807}}}}}"#,
            br#"{"version":2,"epoch":1,"jobs":{"a":{"reads":{"b":{
                "late_ms":18446744073709551615}}}}}"#,
            br#"{"version":2,"epoch":1,"jobs":{"a":{"reads":{"b":{
                "stuck":18446744073709551615}}}}}"#,
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

    /// Nothing depends on them, so that they may begin again.
    #[test]
    fn sums_that_cannot_be_are_forgotten_and_the_state_is_not() {
        let sums = |ticks: u64| {
            let text = format!(
                r#"{{"version":2,"epoch":1,"counters":{{"since_ms":1,"ticks":{ticks},"busy_ms":1,
                    "scrapes":1,"failed_scrapes":0,"remotes":{{"amp":{{"ledger":{{"written":9}},
                    "requests":1}}}}}}}}"#
            );
            SpoolState::read(text.as_bytes()).unwrap().counters
        };
        let known = sums(3).unwrap();
        assert_eq!(known.remotes["amp"].ledger.written, 9);
        assert_eq!(sums(u64::MAX), None);
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
