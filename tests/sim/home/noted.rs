//! Records what each scrape was shown.

use std::collections::HashSet;
use std::sync::Arc;

use amp_forwarder::prompb::STALE_NAN;
use amp_forwarder::report::{IncidentKind, Report};
use amp_forwarder::time::Clock as _;

use super::faults::Fault;
use super::{HomeModel, Left, Line, OWN, State};
use crate::events::Event;
use crate::memory::has;
use crate::world::{Key, SimClock, lock};

/// No scrape takes longer, milliseconds.
const LONGEST_MS: i64 = 120_000;

/// One scrape, as the home saw it.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) target: usize,
    pub(crate) start_ms: i64,
    /// End of the scrape by the forwarder's clock, as `start_ms`.
    pub(crate) ended_ms: i64,
    /// The samples that the forwarder has read.
    pub(crate) lines: Vec<Line>,
    /// Whether `lines` is exact. It is not for a failed gzip body.
    pub(crate) exact: bool,
    /// Series without timestamps of their own, including those that may not have been read.
    pub(crate) tracked: HashSet<Key>,
    /// Whether the whole exposition was given, and nothing is wrong with it.
    pub(crate) whole: bool,
    /// Whether the scrape met no fault and no limit, so that it must succeed.
    pub(crate) faultless: bool,
}

impl HomeModel {
    /// Takes the scrapes since the last call, in the order in which they ended. Only the
    /// reports say which scrape was whole but given up for lack of memory.
    pub(crate) fn take_shown(&self, reports: &[&Report]) -> Vec<Shown> {
        let mut shown = std::mem::take(&mut lock(&self.state).shown);
        for report in reports
            .iter()
            .filter(|report| has(report, IncidentKind::MemoryLimit))
        {
            for failed in report.scrapes.iter().filter(|scrape| !scrape.up) {
                let is_it = |shown: &&mut Shown| {
                    let target = &self.targets[shown.target];
                    (&target.instance, &target.job, shown.start_ms)
                        == (&failed.instance, &failed.job, failed.start_ms)
                };
                shown
                    .iter_mut()
                    .filter(is_it)
                    .for_each(|shown| shown.whole = false);
            }
        }
        shown
    }

    /// Ends a scrape: from now on it is known which samples it may have committed.
    fn ended(&self, open: &Open) {
        let target = &self.targets[open.target];
        let over_limit = open.over_sample_limit || target.is_over_limit(&open.lines, 0);
        if over_limit && open.at_end {
            self.world.hit(Event::SampleLimit);
        }
        if open.over_body_limit {
            self.world.hit(Event::BodyLimit);
        }
        let whole = open.at_end && !over_limit && !open.must_fail;
        if open.at_end && open.must_fail {
            self.world.found(
                "malformed",
                format!(
                    "an exposition of {} was read to its end though it is malformed",
                    target.instance
                ),
            );
        }
        let mut state = lock(&self.state);
        let exposition = state.expositions;
        state.expositions += 1;
        let mut lines = open.lines.clone();
        lines.truncate(open.read);
        if whole {
            for line in lines.iter().filter(|line| !line.too_far_ahead) {
                self.world
                    .expose(line.key, line.timestamp_ms, Some(line.bits), exposition);
            }
        }
        self.pass_on(
            &mut state,
            open,
            if whole { &lines } else { &[] },
            exposition,
        );
        let tracked: HashSet<_> = lines
            .iter()
            .filter(|line| line.tracked)
            .map(|line| line.key)
            .collect();
        state.tracked.resize_with(self.targets.len(), HashSet::new);
        for &key in state.tracked[open.target]
            .iter()
            .filter(|key| !whole || self.tight_memory || !tracked.contains(key))
        {
            self.world
                .expose_own(key, open.start_ms, Some(STALE_NAN), exposition);
        }
        // The forwarder may have read more of a failed scrape than is known.
        let shown = open
            .lines
            .iter()
            .filter(|line| line.tracked)
            .map(|line| line.key)
            .collect::<HashSet<_>>();
        state.tracked[open.target].extend(&shown);
        if !whole && self.hides_dropped {
            state
                .dropped
                .extend(lines.iter().map(|line| (line.key, line.timestamp_ms)));
        }
        for name in OWN {
            let known = name == "up" && !(whole && self.tight_memory);
            let bits = known.then(|| f64::from(u8::from(whole)).to_bits());
            self.world.expose_own(
                self.own_key(open.target, name),
                open.start_ms,
                bits,
                exposition,
            );
        }
        self.world.tell(|| {
            let (fault, lines) = (open.fault, lines.len());
            format!(
                "home: scrape {exposition} of {} from {}: {fault:?}, {lines} lines, whole {whole}",
                target.instance, open.start_ms
            )
        });
        state.shown.push(Shown {
            target: open.target,
            start_ms: open.start_ms,
            ended_ms: SimClock(Arc::clone(&self.world)).now_ms(),
            lines,
            exact: open.exact || whole,
            tracked: shown,
            whole,
            faultless: open.faultless && !over_limit && !open.over_body_limit,
        });
    }

    /// Notes which samples of other scrapes may come with this one, or with what reports on it:
    /// those that were shown while it was under way and had their series. Its own samples may be
    /// passed on likewise.
    fn pass_on(&self, state: &mut State, open: &Open, lines: &[Line], exposition: u64) {
        if !self.traits.shared {
            return;
        }
        let now_ms = SimClock(Arc::clone(&self.world)).now_ms();
        let keys: HashSet<_> = open.lines.iter().map(|line| line.key).collect();
        state.left.retain_mut(|left| {
            if left.ended_ms >= open.start_ms && keys.contains(&left.key) {
                left.ended_ms = now_ms;
                self.world.leave(left.key, left.timestamp_ms, exposition);
            }
            now_ms - left.ended_ms < LONGEST_MS
        });
        state.left.extend(lines.iter().map(|line| Left {
            key: line.key,
            timestamp_ms: line.timestamp_ms,
            ended_ms: now_ms,
        }));
    }
}

/// A scrape that has not ended.
pub(super) struct Open {
    pub(super) home: Arc<HomeModel>,
    pub(super) target: usize,
    pub(super) start_ms: i64,
    pub(super) fault: Fault,
    pub(super) lines: Vec<Line>,
    pub(super) read: usize,
    pub(super) exact: bool,
    pub(super) at_end: bool,
    pub(super) must_fail: bool,
    pub(super) over_body_limit: bool,
    /// By a line that is not among `lines`.
    pub(super) over_sample_limit: bool,
    pub(super) faultless: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        let home = Arc::clone(&self.home);
        home.ended(self);
    }
}
