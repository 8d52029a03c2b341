//! How far one target was read, in this process and as the state has it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use crate::config::RemoteReadConfig;
use crate::home::Target;
use crate::read::window::{WINDOW_GRID_MS, range_start_ms};
use crate::read::{ReadSource, WindowPlanner};
use crate::spool::name::RemoteDir;
use crate::spool::state::TargetReads;
use crate::time::millis;

/// Least overlap of `overlap: auto`.
const LEAST_OVERLAP: Duration = Duration::from_secs(30);

/// Largest overlap, `auto` or not.
pub(super) const MOST_OVERLAP: Duration = Duration::from_secs(300);

/// A watermark that is further ahead of the home's clock than this, in milliseconds, is none: a
/// clock was set back since, or somebody else has written it, and reading would wait for its time.
const MOST_AHEAD_MS: i64 = 3_600_000;

/// Time for which a home that has no remote read is not asked for it again, milliseconds. A proxy
/// may answer for a moment in its place, with a login page for example.
const UNSUPPORTED_MS: i64 = 10 * 60 * 1000;

/// How far back `/federate` looks for the newest sample of a series unless the home says
/// otherwise: Prometheus' `--query.lookback-delta` by default (`web/federate.go`), milliseconds.
const LOOK_BACK_MS: i64 = 5 * 60 * 1000;

/// Farthest that the first window of a gap looks back, milliseconds. A window is bounded.
const MOST_LOOK_BACK_MS: i64 = 15 * 60 * 1000;

/// A difference of the clocks that is within the whole seconds of a `Date` header, milliseconds.
const DATE_TOLERANCE_MS: i64 = 1_500;

/// What a process knows of the reads of one target.
pub(in crate::tick) struct ReadCursor {
    pub(super) target: Target,
    /// Name of the target in the state: its host and port, unless several targets of the job are
    /// there.
    pub(super) place: String,
    /// Age below which samples wait for the next read (`settle`), milliseconds.
    settle_ms: i64,
    /// What is read from where.
    pub(super) source: ReadSource,
    /// How much the next window asks for.
    pub(super) planner: RefCell<WindowPlanner>,
    /// Which targets are at the same home: their reads wait for each other.
    pub(super) origin: usize,
    /// What `state.json` says, or is to say at the next release.
    pub(super) known: RefCell<TargetReads>,
    /// The time up to which everything was put into the queues, milliseconds since 1970: a slot
    /// with `mode: gaps`, a time of the home's clock with `mode: always`.
    pub(super) gathered_ms: Cell<Option<i64>>,
    /// The home's time when the window was read that ends there, milliseconds since 1970.
    pub(super) gathered_read_ms: Cell<Option<i64>>,
    /// When this process last read slots of a gap, in our clock, milliseconds since 1970.
    pub(super) slots_read_ms: Cell<Option<i64>>,
    /// Where the first window of a tick begins: behind the watermark that is furthest behind.
    pub(super) resume_ms: Cell<Option<i64>>,
    /// Whether a read of this tick was given up: the home may still work on it, so that nothing
    /// more is asked of it in this tick.
    pub(super) abandoned: Cell<bool>,
    /// Windows of this tick that were too much.
    pub(super) retries: Cell<u32>,
    /// Whether this tick has asked the home for a window.
    pub(super) has_asked: Cell<bool>,
    /// Whether this tick has gathered anything by a read.
    pub(super) progressed: Cell<bool>,
    /// Whether this tick was stuck: scrapes work, and reads do not.
    pub(super) is_stuck: Cell<bool>,
    /// The newest sample of the reads of this tick, milliseconds since 1970.
    shown_ms: Cell<Option<i64>>,
    /// Where the reads of this tick began, milliseconds since 1970.
    asked_from_ms: Cell<i64>,
    /// When the home last told this process that it has no remote read.
    unsupported_ms: Cell<Option<i64>>,
    /// Whether that was said.
    unsupported_is_said: Cell<bool>,
    /// Whether a home that has answered reads says in this tick that it has none.
    pub(super) denies: Cell<bool>,
    /// Whether this tick reads the target in the place of scraping it.
    pub(super) is_read_now: Cell<bool>,
    /// Whether the home did not answer when it was last asked for what it says of itself.
    pub(super) lacks_facts: Cell<bool>,
}

impl ReadCursor {
    /// Makes the cursor of a process that has read nothing yet.
    pub(super) fn new(
        target: Target,
        source: ReadSource,
        planner: WindowPlanner,
        origin: usize,
        settle_ms: i64,
    ) -> Self {
        Self {
            place: place(&source.url),
            target,
            settle_ms,
            source,
            planner: RefCell::new(planner),
            origin,
            retries: Cell::new(0),
            known: RefCell::default(),
            gathered_ms: Cell::new(None),
            gathered_read_ms: Cell::new(None),
            slots_read_ms: Cell::new(None),
            resume_ms: Cell::new(None),
            abandoned: Cell::new(false),
            has_asked: Cell::new(false),
            progressed: Cell::new(false),
            is_stuck: Cell::new(false),
            shown_ms: Cell::new(None),
            asked_from_ms: Cell::new(i64::MAX),
            unsupported_ms: Cell::new(None),
            unsupported_is_said: Cell::new(false),
            denies: Cell::new(false),
            is_read_now: Cell::new(false),
            lacks_facts: Cell::new(false),
        }
    }

    /// The job's place in the configuration.
    pub(super) fn job(&self) -> usize {
        self.target.job.index()
    }

    /// Starts a tick. `known` replaces what this process knew, if another one may have changed it.
    pub(super) fn begin_tick(
        &self,
        known: Option<TargetReads>,
        remotes: &[RemoteDir],
        config: &RemoteReadConfig,
        now_ms: i64,
    ) {
        if let Some(known) = known {
            self.known.replace(known);
        }
        self.forget_the_future(now_ms);
        self.abandoned.set(false);
        self.retries.set(0);
        self.has_asked.set(false);
        self.progressed.set(false);
        self.is_stuck.set(false);
        self.is_read_now.set(false);
        self.shown_ms.set(None);
        self.asked_from_ms.set(i64::MAX);
        // The remote that is furthest behind decides where reading goes on. One without a
        // watermark is new, and goes along with the others.
        let overlap = self.overlap(config);
        let known = self.known.borrow();
        let marks = remotes.iter().filter_map(|remote| {
            let watermark_ms = *known.watermarks.get(remote)?;
            let read_ms = known.read_ms.get(remote).copied();
            Some((watermark_ms, range_start_ms(watermark_ms, read_ms, overlap)))
        });
        let (watermarks, starts): (Vec<_>, Vec<_>) = marks.unzip();
        self.gathered_ms.set(watermarks.into_iter().min());
        self.gathered_read_ms.set(None);
        self.resume_ms.set(starts.into_iter().min());
    }

    /// Forgets watermarks that no clock explains. Reading then begins at the home's present.
    fn forget_the_future(&self, now_ms: i64) {
        let latest_ms = self.home_ms(now_ms).saturating_add(MOST_AHEAD_MS);
        let mut known = self.known.borrow_mut();
        let TargetReads {
            watermarks,
            read_ms,
            ..
        } = &mut *known;
        watermarks.retain(|remote, watermark_ms| {
            let is_believed = *watermark_ms <= latest_ms;
            if !is_believed {
                read_ms.remove(remote);
                tracing::warn!(
                    instance = self.target.instance(),
                    "read: the watermark of {remote} is {} s ahead of the home's clock: it is \
                     forgotten, and reading begins at the present",
                    watermark_ms.saturating_sub(latest_ms - MOST_AHEAD_MS) / 1000
                );
            }
            is_believed
        });
    }

    /// Moves on to what a read has brought. `read_ms`: the home's time when it was read.
    pub(super) fn gather(&self, end_ms: i64, read_ms: Option<i64>) {
        self.gather_live(end_ms);
        self.gathered_read_ms.set(read_ms);
        self.progressed.set(true);
    }

    /// Moves on to what a scrape has brought.
    pub(super) fn gather_live(&self, slot_ms: i64) {
        self.gathered_ms.set(Some(slot_ms));
        self.gathered_read_ms.set(None);
        self.resume_ms.set(None);
    }

    /// Notes where a read began, and the newest sample that it has shown.
    pub(super) fn note_shown(&self, start_ms: i64, newest_ms: Option<i64>) {
        self.asked_from_ms
            .set(self.asked_from_ms.get().min(start_ms));
        self.shown_ms.set(self.shown_ms.get().max(newest_ms));
    }

    /// Whether a read of this tick has shown a sample that is newer than `at_ms`.
    pub(super) fn has_shown_after(&self, at_ms: i64) -> bool {
        self.shown_ms.get() > Some(at_ms)
    }

    /// Up to where the watermark of a remote may move, and the home's time when that was read.
    ///
    /// A `Date` may be that of a proxy, and the home's clock far behind it. Then the home takes
    /// samples later whose timestamps are below the end of this window. So unless the `Date` is
    /// known to be the home's own, a watermark does not pass the newest sample that was shown, of
    /// which the home's clock is certain to be past. Where nothing is shown, it follows the present
    /// at a distance of [`MOST_OVERLAP`].
    fn certain(&self) -> Option<(i64, Option<i64>)> {
        let gathered_ms = self.gathered_ms.get()?;
        let Some(read_ms) = self.gathered_read_ms.get() else {
            return Some((gathered_ms, None));
        };
        let known = self.known.borrow();
        if known.facts.as_ref().is_some_and(|facts| facts.date_is_own) {
            return Some((gathered_ms, Some(read_ms)));
        }
        let shown_ms = self.shown_ms.get();
        if let Some(shown_ms) = shown_ms
            && shown_ms >= gathered_ms - WINDOW_GRID_MS
        {
            return Some((shown_ms.min(gathered_ms), Some(read_ms)));
        }
        // What it showed may have been its present when it was asked, so that the samples of that
        // moment must settle, too.
        let clock_ms = shown_ms.max(Some(read_ms - millis(MOST_OVERLAP)))?;
        let mut certain_ms = clock_ms.saturating_sub(self.settle_ms);
        if shown_ms.is_some() {
            // The first read of a target says nothing of what was before.
            certain_ms = certain_ms.max(self.asked_from_ms.get());
        }
        Some((certain_ms.min(gathered_ms), Some(clock_ms.min(read_ms))))
    }

    /// Time at which the next window begins, milliseconds since 1970.
    pub(super) fn start_ms(&self, gathered_ms: i64, config: &RemoteReadConfig) -> i64 {
        self.resume_ms.get().unwrap_or_else(|| {
            range_start_ms(
                gathered_ms,
                self.gathered_read_ms.get(),
                self.overlap(config),
            )
        })
    }

    /// Moves the watermark of a remote to what was gathered: it is delivered to it, or in its
    /// spool. A watermark never moves back.
    pub(super) fn settle(&self, remote: &RemoteDir) {
        let Some((gathered_ms, read_ms)) = self.certain() else {
            return;
        };
        let mut known = self.known.borrow_mut();
        let before_ms = known.watermarks.get(remote).copied();
        if before_ms.is_some_and(|before_ms| before_ms >= gathered_ms) {
            return;
        }
        known.watermarks.insert(remote.clone(), gathered_ms);
        match read_ms {
            Some(read_ms) => known.read_ms.insert(remote.clone(), read_ms),
            None => known.read_ms.remove(remote),
        };
    }

    /// Whether anything of this target was ever read, by this process or another one.
    pub(super) fn was_read(&self) -> bool {
        !self.known.borrow().read_ms.is_empty()
    }

    /// Moves back to the home's present, `end_ms` of its clock: its first answer shows that its
    /// clock is behind ours, so that nothing was read up to the time that was taken for its own.
    pub(super) fn restart(&self, end_ms: i64) {
        let mut known = self.known.borrow_mut();
        for watermark_ms in known.watermarks.values_mut() {
            *watermark_ms = end_ms.min(*watermark_ms);
        }
        self.gathered_ms.set(Some(end_ms));
        self.resume_ms.set(None);
    }

    /// Ends a tick: counts it if reads made no progress in it while scrapes worked. One in which
    /// nothing was to be read, because no slot was due, says nothing.
    pub(super) fn end_tick(&self) {
        if !self.has_asked.get() {
            return;
        }
        let mut known = self.known.borrow_mut();
        known.stuck = if self.is_stuck.get() && !self.progressed.get() {
            known.stuck + 1
        } else {
            0
        };
    }

    /// The watermark of a remote.
    pub(super) fn watermark(&self, remote: &RemoteDir) -> Option<i64> {
        self.known.borrow().watermarks.get(remote).copied()
    }

    /// Remembers how late samples became visible.
    pub(super) fn note_late(&self, late_ms: u64) {
        let mut known = self.known.borrow_mut();
        known.late_ms = known.late_ms.max(late_ms);
    }

    /// How far behind the watermark a read begins. With `auto` it is twice the worst lateness that
    /// was seen, so that a lateness that grows is seen as well, and not less than the home's
    /// configuration implies.
    pub(super) fn overlap(&self, config: &RemoteReadConfig) -> Duration {
        config.overlap.unwrap_or_else(|| {
            let known = self.known.borrow();
            let implied_ms = known.facts.as_ref().and_then(|facts| facts.late_ms);
            let late_ms = known.late_ms.saturating_mul(2);
            Duration::from_millis(late_ms.max(implied_ms.unwrap_or_default()))
                .clamp(LEAST_OVERLAP, MOST_OVERLAP)
        })
    }

    /// A moment of our clock in the home's. A `Date` has whole seconds, so that a small difference
    /// says nothing.
    pub(super) fn home_ms(&self, ours_ms: i64) -> i64 {
        match self.known.borrow().ahead_ms {
            Some(ahead_ms) if ahead_ms.abs() > DATE_TOLERANCE_MS => ours_ms + ahead_ms,
            _ => ours_ms,
        }
    }

    /// Notes how far the home's clock is ahead of ours. Returns whether that differs from what was
    /// assumed so far.
    pub(in crate::tick) fn note_ahead(&self, ahead_ms: Option<i64>) -> bool {
        let Some(ahead_ms) = ahead_ms else {
            return false;
        };
        let assumed_ms = self.home_ms(0);
        self.known.borrow_mut().ahead_ms = Some(ahead_ms);
        (self.home_ms(0) - assumed_ms).abs() > DATE_TOLERANCE_MS
    }

    /// Whether the home may still be working on a read that was given up: in this tick, or less
    /// than a time-out ago.
    pub(super) fn is_home_busy(&self, now_ms: i64) -> bool {
        self.abandoned.get() || self.busy_for(now_ms).is_some()
    }

    /// How long the home may still work on a read that was given up less than a time-out ago.
    pub(super) fn busy_for(&self, now_ms: i64) -> Option<Duration> {
        let timeout_ms = millis(self.target.scrape_timeout);
        let given_up_ms = self.known.borrow().abandoned_ms?;
        let ends_ms = given_up_ms + timeout_ms;
        let left_ms = ends_ms - now_ms;
        // A clock that was set back proves nothing.
        let is_busy = (1..=timeout_ms).contains(&left_ms);
        is_busy.then(|| Duration::from_millis(left_ms.unsigned_abs()))
    }

    /// Whether what the slots of a gap have shown cannot be read from the home: it has no remote
    /// read, as it told this process a while ago at most, or a read would show other series.
    pub(super) fn is_unsupported(&self, now_ms: i64) -> bool {
        let is_denied = self
            .unsupported_ms
            .get()
            .is_some_and(|then_ms| (then_ms..then_ms + UNSUPPORTED_MS).contains(&now_ms));
        is_denied || self.is_misread(now_ms)
    }

    /// How far back the `/federate` of the home looks for the newest sample of a series,
    /// milliseconds.
    pub(super) fn look_back_ms(&self) -> i64 {
        let known = self.known.borrow();
        let look_back_ms = known.facts.as_ref().and_then(|facts| facts.look_back_ms);
        look_back_ms
            .and_then(|look_back_ms| i64::try_from(look_back_ms).ok())
            .map_or(LOOK_BACK_MS, |look_back_ms| {
                look_back_ms.clamp(1, MOST_LOOK_BACK_MS)
            })
    }

    /// Notes that the home has no remote read. Returns whether that is news in this process.
    pub(super) fn note_unsupported(&self, now_ms: i64) -> bool {
        self.unsupported_ms.set(Some(now_ms));
        !self.unsupported_is_said.replace(true)
    }

    /// Notes that a read was given up.
    pub(super) fn abandon(&self, now_ms: i64) {
        self.abandoned.set(true);
        self.known.borrow_mut().abandoned_ms = Some(now_ms);
    }
}

/// Name of a target in the state: host and port, as `instance` may be anything.
pub(super) fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{host}:{port}")
}

/// The watermarks that a job had before reads had any of their own: the first read of a target
/// starts where its federation ended.
pub(super) fn seeded(mut known: TargetReads, federated: &BTreeMap<RemoteDir, i64>) -> TargetReads {
    if known.watermarks.is_empty() {
        known.watermarks.clone_from(federated);
    }
    known
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::home::JobId;
    use crate::series::TargetId;
    use crate::spool::state::HomeFactsRecord;

    pub(in crate::tick::reads) fn cursor() -> ReadCursor {
        let url: Url = "http://h/federate?match[]=up".parse().unwrap();
        let target = Target {
            id: TargetId(0),
            job: JobId(0),
            url: Ok(url),
            labels: Vec::new(),
            scrape_timeout: Duration::from_secs(10),
            siblings: 1,
        };
        let source = ReadSource::new(&target, None).unwrap();
        ReadCursor::new(target, source, WindowPlanner::new(0, 1_000), 0, 15_000)
    }

    #[test]
    fn a_watermark_does_not_pass_what_the_home_has_shown() {
        for (newest_ms, certain) in [
            // All of the window, or nearly so: the moment of the read is believed.
            (Some(985_000), (985_000, 1_000_000)),
            (Some(981_000), (981_000, 1_000_000)),
            // The home's clock may be two minutes behind what a proxy says.
            (Some(880_000), (865_000, 880_000)),
            // Of what is before the first read, nothing is known.
            (Some(630_000), (685_000, 700_000)),
            (Some(705_000), (690_000, 705_000)),
            // Nothing is known but that no clock should be this far off.
            (Some(600_000), (685_000, 700_000)),
            (None, (685_000, 700_000)),
        ] {
            let cursor = cursor();
            let remote = RemoteDir::new("amp");
            cursor.note_shown(620_000, newest_ms);
            cursor.note_shown(800_000, None);
            cursor.gather(985_000, Some(1_000_000));
            cursor.settle(&remote);
            let known = cursor.known.borrow();
            let found = (known.watermarks[&remote], known.read_ms[&remote]);
            assert_eq!(found, certain, "{newest_ms:?}");
        }
        // A home that tells its own time is believed.
        let believed = cursor();
        let remote = RemoteDir::new("amp");
        believed.known.borrow_mut().facts = Some(HomeFactsRecord {
            date_is_own: true,
            ..HomeFactsRecord::default()
        });
        believed.gather(985_000, Some(1_000_000));
        believed.settle(&remote);
        assert_eq!(believed.watermark(&remote), Some(985_000));
        // A scrape needs no proof.
        let cursor = cursor();
        let remote = RemoteDir::new("amp");
        cursor.gather_live(985_000);
        cursor.settle(&remote);
        assert_eq!(cursor.watermark(&remote), Some(985_000));
    }

    #[test]
    fn a_home_without_remote_read_is_asked_again_after_a_while() {
        let cursor = cursor();
        assert!(!cursor.is_unsupported(5_000));
        assert!(cursor.note_unsupported(5_000));
        let asked_again = 5_000 + UNSUPPORTED_MS;
        for (now_ms, expected) in [
            (5_000, true),
            (asked_again - 1, true),
            (asked_again, false),
            // A clock that was set back proves nothing.
            (4_999, false),
        ] {
            assert_eq!(cursor.is_unsupported(now_ms), expected, "{now_ms}");
        }
        assert!(!cursor.note_unsupported(asked_again), "it was said before");
        assert!(cursor.is_unsupported(asked_again));
    }
}
