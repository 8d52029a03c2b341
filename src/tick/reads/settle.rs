//! Making durable what was read: watermarks and tables of last timestamps.
//!
//! The order is what makes a kill harmless. First every sample of a window is answered or in the
//! spool, then the table is written, and last `state.json`, which names the table and has the
//! watermark. A kill between any two of them leaves the state of the window before.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::time::timeout_at;

use super::cursor::{MOST_OVERLAP, ReadCursor, seeded};
use crate::config::RemoteReadMode;
use crate::series::{LastTimestamps, TargetId};
use crate::spool::state::{SpoolState, TargetReads};
use crate::spool::table;
use crate::tick::Forwarder;
use crate::tick::lease::LeasedSpool;
use crate::tick::remote::LaneSummary;
use crate::tick::round::ScrapeRound;
use crate::time::millis;

/// Part of `memory_limit` that a table of last timestamps may take. A larger one is left out, and
/// is not read: it is of a function with more memory, or of somebody else.
const TABLE_SHARE: usize = 8;

impl Forwarder {
    /// Starts a tick: takes over what another process may have read since.
    pub(in crate::tick) async fn begin_reads(&self, held: Option<&LeasedSpool>) {
        let remotes: Vec<_> = self.lanes.iter().map(|lane| lane.dir.clone()).collect();
        let taken_over = held.filter(|held| !held.continued());
        let config = &self.config.forwarder.remote_read;
        for cursor in &self.cursors {
            let known = taken_over.map(|held| {
                let mut state = held.job(&self.config.scrape_configs[cursor.job()].job_name);
                let known = state.reads.remove(&cursor.place).unwrap_or_default();
                seeded(known, &state.watermarks)
            });
            cursor.begin_tick(known, &remotes, config, self.clock.now_ms());
        }
        for (index, lane) in self.lanes.iter().enumerate() {
            if let Some(held) = taken_over {
                self.take_over_table(index, held).await;
            }
            // A table that was taken over knows nothing of what this process had to give back.
            // Other modes have none, so their series are rewound, whoever was at work since.
            let has_table = taken_over.is_some() && config.mode == RemoteReadMode::Always;
            if lane.must_read_again.replace(false) && !has_table {
                self.forget_unsettled(index);
            }
        }
    }

    fn is_read_target(&self, target: TargetId) -> bool {
        self.cursors.iter().any(|cursor| cursor.target.id == target)
    }

    /// Reads a remote's table, and lets its series go on where the table says.
    async fn take_over_table(&self, index: usize, held: &LeasedSpool) {
        if self.config.forwarder.remote_read.mode != RemoteReadMode::Always {
            return;
        }
        let lane = &self.lanes[index];
        let named = held.table(lane);
        let found = match &named {
            Some(named) => {
                let most = self.memory_limit / TABLE_SHARE;
                table::read(&held.access, &lane.dir, named, most).await
            }
            None => Ok(LastTimestamps::default()),
        };
        let found = found.inspect_err(|error| {
            tracing::warn!("{error}: samples that became visible late are not sent");
        });
        let watermarks = self
            .cursors
            .iter()
            .filter_map(|cursor| cursor.watermark(&lane.dir));
        let is_whole = named.is_some() && found.is_ok();
        let complete_from_ms = if is_whole {
            i64::MIN
        } else {
            watermarks.max().unwrap_or(i64::MIN)
        };
        let found = found.unwrap_or_default();
        self.writers[index]
            .borrow_mut()
            .restore(&found, |target| self.is_read_target(target));
        lane.table.take_over(named, found, complete_from_ms);
        if held.after_a_kill() {
            table::sweep(&held.access, &lane.dir, lane.table.stored().as_ref()).await;
        }
    }

    /// Forgets which samples were taken after the watermark: some of them were neither sent nor
    /// spooled, and all of them are read again.
    fn forget_unsettled(&self, index: usize) {
        let lane = &self.lanes[index];
        let mut writer = self.writers[index].borrow_mut();
        if self.config.forwarder.remote_read.mode == RemoteReadMode::Always {
            writer.restore(&lane.table.merged(i64::MIN), |target| {
                self.is_read_target(target)
            });
        } else {
            let watermarks = self
                .cursors
                .iter()
                .filter_map(|cursor| cursor.watermark(&lane.dir));
            if let Some(oldest_ms) = watermarks.min() {
                writer.rewind(oldest_ms, |target| self.is_read_target(target));
            }
        }
    }

    /// Makes a window of a catch-up durable before the next one is read, so that a kill repeats one
    /// window at most. A remote that does not take it in time is left behind.
    pub(super) async fn make_durable(&self, cursor: &ReadCursor, round: &ScrapeRound<'_>) {
        let Some(held) = round.held else {
            return;
        };
        let until = round.reads_end();
        for (index, lane) in self.lanes.iter().enumerate() {
            if matches!(timeout_at(until, lane.queue.settled()).await, Ok(true))
                && self
                    .store_table(index, std::slice::from_ref(cursor), held)
                    .await
            {
                cursor.settle(&lane.dir);
            }
        }
        let state = self.checkpointed(held);
        if let Err(error) = held.checkpoint(state).await {
            tracing::warn!("{error}: after a kill, windows of this tick would be read again");
        }
    }

    /// Moves the watermarks at the end of a tick, once every sample is delivered or in the spool.
    pub(in crate::tick) async fn settle_reads(
        &self,
        held: Option<&LeasedSpool>,
        sent: &[LaneSummary],
    ) {
        for (index, (lane, sent)) in self.lanes.iter().zip(sent).enumerate() {
            if sent.must_read_again {
                lane.must_read_again.set(true);
                continue;
            }
            let is_stored = match held {
                Some(held) => self.store_table(index, &self.cursors, held).await,
                None => true,
            };
            if is_stored {
                self.cursors
                    .iter()
                    .for_each(|cursor| cursor.settle(&lane.dir));
            }
        }
        self.cursors.iter().for_each(ReadCursor::end_tick);
    }

    /// Writes a remote's table with the last timestamps of these targets, whose samples are all
    /// delivered or in the spool. Returns whether the watermarks may move.
    async fn store_table(&self, index: usize, settled: &[ReadCursor], held: &LeasedSpool) -> bool {
        if self.config.forwarder.remote_read.mode != RemoteReadMode::Always {
            return true;
        }
        let lane = &self.lanes[index];
        let not_before_ms = self
            .cursors
            .iter()
            .filter_map(|cursor| cursor.gathered_ms.get())
            .min()
            .map_or(i64::MIN, |oldest_ms| oldest_ms - millis(MOST_OVERLAP));
        for cursor in settled {
            let target = cursor.target.id;
            let last = self.writers[index]
                .borrow()
                .last_timestamps(|id| id == target, not_before_ms);
            lane.table.update(target, last);
        }
        let last = lane.table.merged(not_before_ms);
        if LastTimestamps::encoded_len(last.len()) > self.memory_limit / TABLE_SHARE {
            lane.table.set_stored(None);
            if !lane.table.left_out_is_said.replace(true) {
                tracing::warn!(
                    "read: the last timestamps of {} series of {} take more than 1/{TABLE_SHARE} \
                     of memory_limit, so the spool does not keep them: after a cold start, samples \
                     that became visible late are not sent; more memory for the function, or a \
                     larger memory_limit, keeps them",
                    last.len(),
                    lane.id
                );
            }
            return true;
        }
        lane.table.left_out_is_said.set(false);
        let named = lane.table.next(held.epoch(), last.len());
        let bytes = Bytes::from(last.encode());
        match table::write(&held.access, &lane.dir, &named, bytes).await {
            Ok(()) => {
                lane.table.set_stored(Some(named));
                true
            }
            Err(error) => {
                tracing::warn!("{error}: the watermarks stay, and what was read is read again");
                false
            }
        }
    }

    /// The state as it is durable now, in the middle of a tick.
    fn checkpointed(&self, held: &LeasedSpool) -> SpoolState {
        let mut state = held.released_state().clone();
        for (name, reads) in self.reads_by_job() {
            state.jobs.entry(name).or_default().reads.extend(reads);
        }
        for lane in &self.lanes {
            state.remotes.entry(lane.dir.clone()).or_default().table = lane.table.stored();
        }
        state
    }

    /// What the state is to say of the targets of each job.
    pub(in crate::tick) fn reads_by_job(&self) -> BTreeMap<String, BTreeMap<String, TargetReads>> {
        let mut jobs = BTreeMap::<_, BTreeMap<_, _>>::new();
        for cursor in &self.cursors {
            jobs.entry(self.config.scrape_configs[cursor.job()].job_name.clone())
                .or_default()
                .insert(cursor.place.clone(), cursor.known.borrow().clone());
        }
        jobs
    }
}
