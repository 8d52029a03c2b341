//! How far one target was read, in this process and as the state has it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use crate::config::{Config, RemoteReadConfig, RemoteReadMode};
use crate::home::Target;
use crate::read::window::range_start_ms;
use crate::read::{ReadSource, ReadSourceError, WindowPlanner, default_max_samples};
use crate::spool::name::RemoteDir;
use crate::spool::state::TargetReads;
use crate::tick::job::Job;
use crate::time::millis;

/// Least overlap of `overlap: auto`.
const LEAST_OVERLAP: Duration = Duration::from_secs(30);

/// Largest overlap, `auto` or not.
pub(super) const MOST_OVERLAP: Duration = Duration::from_secs(300);

/// A watermark that is further ahead of the home's clock than this, in milliseconds, is none: a
/// clock was set back since, or somebody else has written it, and reading would wait for its time.
const MOST_AHEAD_MS: i64 = 3_600_000;

/// A difference of the clocks that is within the whole seconds of a `Date` header, milliseconds.
const DATE_TOLERANCE_MS: i64 = 1_500;

/// What a process knows of the reads of one target.
pub(in crate::tick) struct ReadCursor {
    pub(super) target: Target,
    /// Name of the target in the state: its host and port.
    pub(super) place: String,
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
    /// Where the first window of a tick begins: behind the watermark that is furthest behind.
    pub(super) resume_ms: Cell<Option<i64>>,
    /// Whether a read of this tick was given up: the home may still work on it, so that nothing
    /// more is asked of it in this tick.
    pub(super) abandoned: Cell<bool>,
    /// Windows of this tick that were too much.
    pub(super) retries: Cell<u32>,
    /// Whether this tick has gathered anything by a read.
    pub(super) progressed: Cell<bool>,
    /// Whether this tick was stuck: scrapes work, and reads do not.
    pub(super) is_stuck: Cell<bool>,
    /// Whether the home has no remote read, as it has told this process.
    pub(super) unsupported: Cell<bool>,
}

impl ReadCursor {
    /// Makes the cursor of a process that has read nothing yet.
    pub(super) fn new(
        target: Target,
        source: ReadSource,
        planner: WindowPlanner,
        origin: usize,
    ) -> Self {
        Self {
            place: place(&source.url),
            target,
            source,
            planner: RefCell::new(planner),
            origin,
            retries: Cell::new(0),
            known: RefCell::default(),
            gathered_ms: Cell::new(None),
            gathered_read_ms: Cell::new(None),
            resume_ms: Cell::new(None),
            abandoned: Cell::new(false),
            progressed: Cell::new(false),
            is_stuck: Cell::new(false),
            unsupported: Cell::new(false),
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
        self.progressed.set(false);
        self.is_stuck.set(false);
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
        let Some(gathered_ms) = self.gathered_ms.get() else {
            return;
        };
        let mut known = self.known.borrow_mut();
        let before_ms = known.watermarks.get(remote).copied();
        if before_ms.is_some_and(|before_ms| before_ms >= gathered_ms) {
            return;
        }
        known.watermarks.insert(remote.clone(), gathered_ms);
        match self.gathered_read_ms.get() {
            Some(read_ms) => known.read_ms.insert(remote.clone(), read_ms),
            None => known.read_ms.remove(remote),
        };
    }

    /// Whether anything of this target was ever read, by this process or another one.
    pub(super) fn was_read(&self) -> bool {
        !self.known.borrow().read_ms.is_empty()
    }

    /// Ends a tick: counts it if reads made no progress in it while scrapes worked.
    pub(super) fn end_tick(&self) {
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

    /// The oldest watermark of any remote.
    pub(in crate::tick) fn oldest_watermark(&self) -> Option<i64> {
        self.known.borrow().watermarks.values().min().copied()
    }

    /// Remembers how late samples became visible.
    pub(super) fn note_late(&self, late_ms: u64) {
        let mut known = self.known.borrow_mut();
        known.late_ms = known.late_ms.max(late_ms);
    }

    /// How far behind the watermark a read begins. With `auto` it is twice the worst lateness that
    /// was seen, so that a lateness that grows is seen as well.
    pub(super) fn overlap(&self, config: &RemoteReadConfig) -> Duration {
        config.overlap.unwrap_or_else(|| {
            Duration::from_millis(self.known.borrow().late_ms.saturating_mul(2))
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
        let timeout_ms = millis(self.target.scrape_timeout);
        let given_up = self.known.borrow().abandoned_ms;
        self.abandoned.get()
            || given_up.is_some_and(|then| (then..then + timeout_ms).contains(&now_ms))
    }

    /// Notes that a read was given up.
    pub(super) fn abandon(&self, now_ms: i64) {
        self.abandoned.set(true);
        self.known.borrow_mut().abandoned_ms = Some(now_ms);
    }
}

/// Makes the cursors of a process that has read nothing yet, and returns how many homes they have.
/// A job that cannot be read is scraped only, which `check` explains.
pub(in crate::tick) fn cold_cursors(
    config: &Config,
    jobs: &[Job],
    memory_limit: usize,
) -> (Vec<ReadCursor>, usize) {
    let remote_read = &config.forwarder.remote_read;
    if remote_read.mode == RemoteReadMode::Off {
        return (Vec::new(), 0);
    }
    let resolution_ms = match remote_read.mode {
        RemoteReadMode::Always => millis(remote_read.resolution),
        _ => 0,
    };
    let max_samples = remote_read
        .max_samples
        .unwrap_or_else(|| default_max_samples(memory_limit));
    let (mut cursors, mut homes) = (Vec::new(), Vec::new());
    for target in jobs.iter().flat_map(|job| &job.targets) {
        let source = match ReadSource::new(target, remote_read.path.as_deref()) {
            Ok(source) => source,
            Err(ReadSourceError::NoFederation) => continue,
            Err(error) => {
                tracing::warn!(instance = target.instance(), "it is scraped only: {error}");
                continue;
            }
        };
        let home = place(&source.url);
        let origin = homes
            .iter()
            .position(|known| *known == home)
            .unwrap_or_else(|| {
                homes.push(home);
                homes.len() - 1
            });
        let planner = WindowPlanner::new(resolution_ms, max_samples);
        cursors.push(ReadCursor::new(target.clone(), source, planner, origin));
    }
    (cursors, homes.len())
}

/// Name of a target in the state: host and port, as `instance` may be anything.
fn place(url: &Url) -> String {
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
