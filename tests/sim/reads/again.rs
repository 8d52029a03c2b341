//! What may arrive again. A kill, a release that failed or a change of the process loses what a
//! process had in its memory, and what is durable says what follows from that:
//!
//! - Each copy of a sample that lies in the spool may still be sent. A killed tick leaves copies of
//!   what it has read and of what it had begun to post, and the spool may be drained much later.
//! - A process that takes over reads again what the durable state does not know. With `always` these
//!   are the samples after their series' last timestamp in the stored table, and so those of one
//!   window at most: `kills.rs` measures it. With `gaps` they are the samples after the watermark,
//!   and of each series the newest one before it, which the next slot may show once more.
//!
//! So after each tick a sample may be answered as often as it lies in the spool, and once more if it
//! is read again. A sample that was answered, lies in no segment and is known never comes again.
//!
//! The order begins anew behind what is durable, too. With `gaps` a killed tick may have scraped a
//! slot live, somewhat after its time, and have sent or spooled what it showed. Nobody knows of it,
//! so that the slot is read as it was at its time, and shows an older sample. What is missing after
//! all is found by `checks.rs`.

use std::collections::{HashMap, HashSet};

use amp_forwarder::config::RemoteReadMode;
use amp_forwarder::series::{Labels, LastTimestamps};
use amp_forwarder::spool::name::Folder;

use super::answer::LOOK_BACK_MS;
use super::oracle::candidates;
use super::run::Run;
use crate::world::Key;

/// Largest overlap of two windows (README, `overlap`).
const MOST_OVERLAP_MS: i64 = 300_000;

/// Slots in which the last one that shows a series for certain is looked for.
const LOOK_BACK_SLOTS: i64 = 64;

/// Hash of a label set as the tables of last timestamps have it.
pub(super) fn labels_hash<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> u64 {
    let mut labels = Labels::default();
    for (name, value) in pairs {
        labels.set(name, value);
    }
    labels.finish();
    labels.hash()
}

/// What is durable of the reads of one remote.
struct Durable {
    mode: RemoteReadMode,
    watermark_ms: i64,
    table: Option<LastTimestamps>,
    /// The newest samples at the watermark of each series, as any process may see them from now on.
    newest: HashSet<(Key, i64)>,
}

impl Durable {
    fn of(run: &Run, remote: usize) -> Option<Self> {
        let watermark_ms = run.watermark(remote)?;
        let answered = run.target_reads().is_some_and(|reads| reads.answered);
        if run.scenario.mode == RemoteReadMode::Always && !answered {
            // Where reading begins is a guess in our time, and promises nothing.
            return None;
        }
        let dir = &run.dirs[remote];
        let state = run.state().unwrap_or_default();
        let named = state
            .remotes
            .get(dir)
            .and_then(|record| record.table.as_ref());
        let bytes = named.and_then(|table| {
            let key = format!("reads/{dir}/{:010}-{:04}.last", table.epoch, table.number);
            run.shared.objects.peek(&key)
        });
        let now_ms = run.world.now_ms();
        let interval_ms = run.interval_ms();
        let series = run.home.tsdb.series.iter();
        let newest = series.flat_map(|series| {
            let key = run.key(series);
            // A late marker may hide it from the slot of the watermark. Then the slot before shows
            // the newest one.
            let mut newest = Vec::new();
            for slots in 0..LOOK_BACK_SLOTS {
                let slot_ms = watermark_ms - slots * interval_ms;
                let shown = candidates(series, slot_ms, now_ms);
                let is_certain = shown.iter().all(Option::is_some);
                newest.extend(shown);
                if is_certain {
                    break;
                }
            }
            // A marker hides it at the watermark, but a slot before has shown it.
            let before_marker = series
                .range(watermark_ms - LOOK_BACK_MS, watermark_ms, now_ms)
                .filter(|sample| !sample.value.is_stale())
                .last()
                .map(|sample| sample.timestamp_ms);
            let newest = newest.into_iter().flatten().chain(before_marker);
            newest.filter_map(move |at_ms| Some((key?, at_ms)))
        });
        Some(Self {
            mode: run.scenario.mode,
            watermark_ms,
            table: bytes.and_then(|bytes| LastTimestamps::decode(&bytes).ok()),
            newest: newest.collect(),
        })
    }

    /// Whether a process that knows nothing else takes no sample up to this one.
    fn is_known(&self, hash: Option<u64>, (_, at_ms): (Key, i64)) -> bool {
        let last_ms = match (self.mode, &self.table, hash) {
            (RemoteReadMode::Always, Some(table), Some(hash)) => table.get(hash),
            _ => None,
        };
        at_ms <= last_ms.unwrap_or(self.watermark_ms)
    }

    /// Whether a process that knows nothing else takes a sample.
    fn is_read_again(&self, hash: Option<u64>, sample: (Key, i64)) -> bool {
        let (_, at_ms) = sample;
        if self.mode != RemoteReadMode::Always {
            return at_ms > self.watermark_ms || self.newest.contains(&sample);
        }
        match (&self.table, hash) {
            (Some(table), Some(hash)) => match table.get(hash) {
                Some(last_ms) => at_ms > last_ms,
                None => at_ms > self.watermark_ms - MOST_OVERLAP_MS,
            },
            _ => at_ms > self.watermark_ms,
        }
    }
}

impl Run {
    /// Tells the receivers how often each sample may still be answered.
    pub(super) fn allow_repeats(&self) {
        for (remote, receiver) in self.receivers.iter().enumerate() {
            let mut left: HashMap<(Key, i64), u32> = HashMap::new();
            let mut first_spooled: HashMap<Key, i64> = HashMap::new();
            let spooled = self.samples_in(remote, Folder::Segments);
            for (key, at_ms) in &spooled {
                *left.entry((*key, *at_ms)).or_default() += 1;
                let first_ms = first_spooled.entry(*key).or_insert(*at_ms);
                *first_ms = (*first_ms).min(*at_ms);
            }
            for sample in receiver.told() {
                left.entry(sample).or_default();
            }
            let durable = Durable::of(self, remote);
            for (sample, left) in &mut left {
                let hash = self.hashes.get(&sample.0).copied();
                let is_read_again = |durable: &Durable| durable.is_read_again(hash, *sample);
                *left += u32::from(durable.as_ref().is_none_or(is_read_again));
            }
            receiver.allow(left);
            receiver.begins(self.first_ms[remote]);
            let is_known = |sample: (Key, i64)| {
                let hash = self.hashes.get(&sample.0).copied();
                let is_known = |durable: &Durable| durable.is_known(hash, sample);
                durable.as_ref().is_some_and(is_known)
            };
            if self.reads_again {
                receiver.unordered(spooled.into_iter().filter(|sample| !is_known(*sample)));
            }
            receiver.reorder(|(key, at_ms)| {
                let first_ms = first_spooled.get(&key);
                is_known((key, at_ms)) && first_ms.is_none_or(|first_ms| at_ms < *first_ms)
            });
        }
    }
}
