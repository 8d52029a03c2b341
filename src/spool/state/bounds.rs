//! Bounds for what `state.json` says. Somebody else may have written it, or a program whose clock
//! was wrong: no number in it may overflow, and no map in it may fill memory.

use super::{Backlog, JobState, SpoolState, StateError, TargetReads};
use crate::spool::name::MAX_EPOCH;

/// Largest sum of a backlog that is believed: what JSON can hold exactly.
const MAX_SUM: u64 = 1 << 53;

/// Largest time and difference of times that is believed, in milliseconds: 1 January 10000. Sums of
/// some of them do not overflow.
const MAX_TIME_MS: u64 = 253_402_300_800_000;

/// Most memory that a state may take, in bytes, estimated. A tick has some copies of it. Ours take
/// a thousandth of it; this is enough for thousands of targets, or a hundred thousand tombstones.
const MAX_MEMORY: usize = 24 << 20;

/// Memory of the first entry of a map: a whole node of the tree.
const MAP_MEMORY: usize = 1_700;

/// Memory of any entry of a map, a set or a list, its text aside.
const ENTRY_MEMORY: usize = 100;

/// Refuses bytes that would become many times as much memory, before any of it is taken: four
/// megabytes of short names in nested maps become hundreds.
///
/// # Errors
/// [`StateError::Malformed`].
pub(super) fn check_memory(bytes: &[u8]) -> Result<(), StateError> {
    // Signs in texts count as well: the estimate may be too large only. An entry of a map has a
    // colon and a comma, one of a list or a set has a comma.
    let (mut maps, mut colons, mut commas) = (0, 0, 0);
    for byte in bytes {
        maps += usize::from(*byte == b'{');
        colons += usize::from(*byte == b':');
        commas += usize::from(*byte == b',');
    }
    let entries = colons.max(commas);
    let memory = maps * MAP_MEMORY + entries * ENTRY_MEMORY;
    if memory > MAX_MEMORY {
        let text = format!("it would take {memory} bytes of memory, more than {MAX_MEMORY}");
        return Err(StateError::Malformed(text));
    }
    Ok(())
}

impl JobState {
    /// Whether all its times are such that sums of them can be formed.
    fn is_within_bounds(&self) -> bool {
        let mut times = self.last_slot_ms.iter().chain(self.watermarks.values());
        times.all(|time_ms| time_ms.unsigned_abs() <= MAX_TIME_MS)
            && self.reads.values().all(TargetReads::is_within_bounds)
    }
}

impl TargetReads {
    fn is_within_bounds(&self) -> bool {
        let mut times = self
            .watermarks
            .values()
            .chain(self.read_ms.values())
            .chain(&self.ahead_ms)
            .chain(&self.abandoned_ms);
        times.all(|time_ms| time_ms.unsigned_abs() <= MAX_TIME_MS)
            && self.late_ms <= MAX_TIME_MS
            && self.stuck <= MAX_SUM
    }
}

impl SpoolState {
    /// The same state, if its numbers are those of a spool that can be. Sums that are too large are
    /// counted again.
    pub(super) fn within_bounds(mut self) -> Result<Self, StateError> {
        // The next epoch must have a name, too.
        let tables = self
            .remotes
            .values()
            .filter_map(|remote| remote.table.as_ref());
        let mut epochs = std::iter::once(self.epoch)
            .chain(self.lease.iter().map(|lease| lease.epoch))
            .chain(tables.map(|table| table.epoch));
        if epochs.any(|epoch| epoch >= MAX_EPOCH) {
            let text = format!("its epoch is not below {MAX_EPOCH}");
            return Err(StateError::Malformed(text));
        }
        if !self.jobs.values().all(JobState::is_within_bounds) {
            let text = "a job has a time that no clock shows".to_owned();
            return Err(StateError::Malformed(text));
        }
        // Sums that are too large begin again.
        self.counters = self.counters.filter(|sums| sums.is_within(MAX_SUM));
        for remote in self.remotes.values_mut() {
            let Backlog {
                segments,
                samples,
                bytes,
                ..
            } = remote.backlog;
            if [segments, samples, bytes]
                .into_iter()
                .any(|sum| sum > MAX_SUM)
            {
                remote.backlog = Backlog {
                    // There may be some: the next tick lists and counts them.
                    segments: 1,
                    ..Backlog::default()
                };
                remote.uncounted = true;
                remote.uncounted_names.clear();
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_that_no_spool_can_have_are_counted_again() {
        let huge = br#"{"version":1,"epoch":1,"remotes":{
            "a":{"segments":1,"samples":18446744073709551615,"bytes":1},
            "b":{"segments":0,"samples":18446744073709551615,"bytes":1},
            "c":{"segments":2,"samples":9007199254740992,"bytes":1}}}"#;
        let state = SpoolState::read(huge).unwrap();
        let believed: Vec<_> = state
            .remotes
            .values()
            .map(|remote| {
                (
                    remote.backlog.samples,
                    remote.uncounted,
                    remote.is_owed_anything(),
                )
            })
            .collect();
        assert_eq!(
            believed,
            [(0, true, true), (0, true, true), (1 << 53, false, true)]
        );
        let mut sum = Backlog {
            samples: u64::MAX,
            ..Backlog::default()
        };
        sum.add(&sum.clone());
        assert_eq!(sum.samples, u64::MAX);
    }

    #[test]
    fn maps_that_would_fill_memory_are_not_read() {
        let state = |jobs: String| {
            let text = format!("{{\"version\":2,\"epoch\":1,\"jobs\":{{{jobs}}}}}");
            SpoolState::read(text.as_bytes())
        };
        let many = |count: usize, entry: &str| {
            let entries: Vec<_> = (0..count)
                .map(|n| entry.replace('@', &n.to_string()))
                .collect();
            entries.join(",")
        };
        // Some hundred kilobytes, which would become tens of megabytes.
        let nested = many(14_000, "\"@\":{\"reads\":{\"a\":{}}}");
        let flat = format!("\"a\":{{\"watermarks\":{{{}}}}}", many(260_000, "\"@\":1"));
        let set = format!("\"a\":{{\"failing\":[{}]}}", many(260_000, "\"@\""));
        for bomb in [nested, flat, set] {
            let error = state(bomb).unwrap_err();
            assert!(error.to_string().contains("bytes of memory"), "{error}");
        }
        // Two thousand targets and two remotes.
        let target = "\"h@:9090\":{\"watermarks\":{\"a\":1,\"b\":2},\"read_ms\":{\"a\":1,\"b\":2},\
                      \"ahead_ms\":1,\"answered\":true,\"late_ms\":1}";
        let large = format!("\"a\":{{\"reads\":{{{}}}}}", many(2_000, target));
        assert_eq!(state(large).unwrap().jobs["a"].reads.len(), 2_000);
    }
}
