//! What is owed, from one report to the next and in the store.

use std::collections::HashMap;

use amp_forwarder::batch::{Batch, decode};
use amp_forwarder::report::{IncidentKind, Ledger, Outcome as TickOutcome, Report};
use amp_forwarder::spool::name::{Folder, RemoteDir, SegmentName};
use amp_forwarder::spool::segment;
use amp_forwarder::spool::state::{KEY, SpoolState};

use super::Run;
use super::lease::released;
use crate::home::{OWN, Shown};
use crate::memory::has;
use crate::world::{Key, identity};

impl Run {
    /// What is owed goes from one report to the next, and is what lies in the store.
    pub(super) fn owed(&mut self, report: &Report, calm: bool) {
        let known = self.owed.take();
        if !matches!(report.outcome, TickOutcome::Busy)
            && report.spool.segments == 0
            && report.ledger == Ledger::default()
        {
            return;
        }
        if matches!(report.outcome, TickOutcome::Busy | TickOutcome::Degraded) {
            return;
        }
        let before: Vec<_> = report
            .remotes
            .iter()
            .map(|remote| remote.ledger.owed_before)
            .collect();
        if let Some(known) = known.as_ref().filter(|known| {
            calm && known
                .iter()
                .zip(&before)
                .any(|(known, before)| known != before)
        }) {
            self.world.found(
                "owed",
                format!("{known:?} when the last tick ended, {before:?} when this one began"),
            );
        }
        let uncounted = has(report, IncidentKind::BacklogUncounted);
        if !released(report) || report.ledger.lost > 0 || uncounted {
            return;
        }
        let mut after: Vec<_> = report
            .remotes
            .iter()
            .map(|remote| remote.ledger.owed_after)
            .collect();
        let state = self
            .shared
            .objects
            .peek(KEY)
            .and_then(|bytes| SpoolState::read(&bytes).ok())
            .unwrap_or_default();
        for (dir, owed) in self.dirs.iter().zip(&after) {
            let head = state
                .remotes
                .get(dir)
                .and_then(|remote| remote.head.clone());
            let unwanted = state
                .remotes
                .get(dir)
                .map(|remote| remote.tombstones.clone())
                .unwrap_or_default();
            let stored: u64 = self
                .objects(dir, Folder::Segments)
                .into_iter()
                .filter(|(name, _)| !unwanted.contains_key(name))
                .map(|(name, batches)| {
                    let answered = head
                        .as_ref()
                        .filter(|head| head.segment == name)
                        .map(|head| head.answered.clone())
                        .unwrap_or_default();
                    let open = (0_u32..)
                        .zip(&batches)
                        .filter(|(place, _)| !answered.contains(place));
                    open.map(|(_, batch)| u64::from(batch.samples)).sum::<u64>()
                })
                .sum();
            if stored != *owed && state.lease.is_none() {
                self.world.found(
                    "owed",
                    format!(
                        "{} has {stored} samples in the store, the report says {owed}",
                        dir.as_str()
                    ),
                );
            }
        }
        // The backlog of a remote that the configuration does not name must not change.
        after.extend(known.into_iter().flatten().skip(after.len()));
        self.owed = Some(after);
    }

    pub(super) fn objects(
        &self,
        dir: &RemoteDir,
        folder: Folder,
    ) -> Vec<(SegmentName, Vec<Batch>)> {
        let prefix = dir.prefix(folder);
        let of = |key: String| {
            let name = SegmentName::parse(key.strip_prefix(&prefix)?)?;
            let segment = segment::read(&self.shared.objects.peek(&key)?).ok()?;
            Some((name, segment.batches))
        };
        self.shared
            .objects
            .keys()
            .into_iter()
            .filter_map(of)
            .collect()
    }

    /// Records the samples of a tick: its report has counted them, or it still has them.
    pub(super) fn claim(&mut self, shown: &[Shown]) {
        let remotes = self.setting.configurations[self.configuration]
            .remote_write
            .len();
        let rules = &self.setting.rules[self.configuration];
        let is_sent = |(key, _): &(Key, i64)| !rules.drops(&self.world.name(*key));
        for shown in shown {
            let own = OWN.map(|name| (self.home.own_key(shown.target, name), shown.start_ms));
            let lines = shown
                .lines
                .iter()
                .filter(|line| shown.whole && !line.too_far_ahead);
            let lines: Vec<_> = lines
                .map(|line| (line.key, line.timestamp_ms))
                .chain(own)
                .filter(is_sent)
                .collect();
            self.claimed
                .iter_mut()
                .take(remotes)
                .for_each(|claimed| claimed.extend(&lines));
        }
    }

    pub(super) fn samples(&self, batch: &Batch) -> Vec<(Key, i64)> {
        let of = |series: amp_forwarder::prompb::messages::TimeSeries| {
            let labels: HashMap<_, _> = series
                .labels
                .iter()
                .map(|label| (label.name.as_str(), label.value.as_str()))
                .collect();
            let mut sorted: Vec<_> = labels.into_iter().collect();
            sorted.sort_unstable();
            let key = self.world.key(&identity(sorted));
            series
                .samples
                .into_iter()
                .map(move |sample| (key, sample.timestamp))
                .collect::<Vec<_>>()
        };
        decode(batch)
            .unwrap_or_default()
            .timeseries
            .into_iter()
            .flat_map(of)
            .collect()
    }
}
