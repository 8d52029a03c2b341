//! Reads from the home's TSDB: what `/federate` has missed, or everything.
//!
//! A window is read as a transaction and goes into the queues as a scrape does. How far a target
//! was read is its [`ReadCursor`]: `gathered_ms` is what is in the queues, and the watermark of a
//! remote, which `state.json` keeps, moves there once all of it is answered or in the spool. So
//! nothing is skipped by a kill, and at most one window is read again.
//!
//! [`facts`] asks the home how late its samples may be; [`gaps`] fills the slots that scrapes have
//! missed; [`always`] reads in the place of scraping; [`failure`] decides what follows from one
//! that failed; [`settle`] makes durable what was read.

mod always;
mod cold;
mod cursor;
mod facts;
mod failure;
mod gaps;
mod settle;

use std::cell::Cell;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

pub(in crate::tick) use self::always::ReadState;
pub(in crate::tick) use self::cold::cold_cursors;
pub(in crate::tick) use self::cursor::ReadCursor;
use super::Forwarder;
use super::remote::Lane;
use super::round::ScrapeRound;
use crate::batch::{EarlierSamples, WindowStart};
use crate::config::RemoteReadMode;
use crate::home::Target;
use crate::queue::ScrapeTraits;
use crate::read::window::on_grid;
use crate::read::{
    AnswerSize, NamePart, PlannedWindow, ReadError, WindowOutcome, WindowReader, WindowRequest,
    WindowShape, default_max_samples,
};
use crate::report::Ledger;
use crate::time::millis;

/// Windows of a tick that may be too much before reading a target is left to the next tick.
const MOST_RETRIES: u32 = 8;

/// Resolution of a `Date` header, milliseconds.
const DATE_RESOLUTION_MS: i64 = 1_000;

/// One window as it is to be read.
pub(super) struct PlannedRead {
    pub(super) window: PlannedWindow,
    pub(super) shape: WindowShape,
    /// Whether `up` and the other series that report on a scrape come with it.
    pub(super) reports: bool,
}

/// What came of reading one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadAttempt {
    /// It was read up to `end_ms` of the home's clock, at `read_ms` of it; milliseconds since 1970.
    Read { end_ms: i64, read_ms: Option<i64> },
    /// It was too much: a smaller one comes next.
    Retry,
    /// The home cannot be reached, by scrapes neither.
    HomeDown,
    /// The home may still work on a read of another target that was given up.
    HomeBusy,
    /// The read failed, and nothing more is read of the target in this tick.
    Failed,
    /// The home has no remote read.
    Unsupported,
}

/// What a part of a window has brought.
struct WindowAnswer {
    /// Time of the home's clock up to which it is complete, milliseconds since 1970.
    end_ms: i64,
    /// Time of its newest sample, milliseconds since 1970.
    newest_ms: Option<i64>,
    size: AnswerSize,
}

/// The larger of two answers in each respect.
fn larger(a: AnswerSize, b: AnswerSize) -> AnswerSize {
    AnswerSize {
        raw_bytes: a.raw_bytes.max(b.raw_bytes),
        series: a.series.max(b.series),
        samples: a.samples.max(b.samples),
    }
}

/// The oldest time that one of these limits allows, milliseconds since 1970: that of the longest
/// one. A remote without a limit takes everything.
fn oldest_sendable_ms(now_ms: i64, limits: impl Iterator<Item = Option<Duration>>) -> i64 {
    let longest = limits.reduce(|a, b| Some(a?.max(b?))).flatten();
    longest.map_or(i64::MIN, |limit| now_ms.saturating_sub(millis(limit)))
}

impl Forwarder {
    /// The cursor of a target, if it is read.
    pub(super) fn cursor(&self, target: &Target) -> Option<&ReadCursor> {
        self.cursors
            .iter()
            .find(|cursor| cursor.target.id == target.id)
    }

    /// Whether the samples that a scrape of this target shows are known to stay at home, to be read
    /// again: a home that never answered a read may not have any.
    pub(super) fn is_kept_at_home(&self, target: &Target) -> bool {
        self.cursor(target).is_some_and(|cursor| {
            cursor.known.borrow().answered && !cursor.is_unsupported(self.clock.now_ms())
        })
    }

    /// Notes that a live scrape of a slot has succeeded: everything up to it was gathered.
    pub(super) fn gathered_live(&self, target: &Target, slot_ms: i64) {
        if let Some(cursor) = self.cursor(target) {
            let at_ms = match self.config.forwarder.remote_read.mode {
                RemoteReadMode::Always => cursor.home_ms(slot_ms),
                _ => slot_ms,
            };
            cursor.gather_live(at_ms);
        }
    }

    /// The time up to which every sample of a target is delivered to every remote or spooled.
    pub(super) fn safe_until(&self, job: &str, instance: &str) -> Option<i64> {
        // Targets that differ in path or parameters may have one instance.
        let cursors = self.cursors.iter().filter(|cursor| {
            self.config.scrape_configs[cursor.job()].job_name == job
                && cursor.target.instance() == instance
        });
        // The state may have watermarks of remotes that are configured no more.
        cursors
            .flat_map(|cursor| {
                let remotes = self.lanes.iter();
                remotes.filter_map(|lane| cursor.watermark(&lane.dir))
            })
            .min()
    }

    /// The oldest time whose samples any remote still takes, milliseconds since 1970. A remote with
    /// a shorter `sample_age_limit` lets the older ones expire.
    pub(super) fn oldest_sendable_ms(&self, now_ms: i64) -> i64 {
        let limits = self.lanes.iter().map(Lane::age_limit);
        oldest_sendable_ms(now_ms, limits)
    }

    /// Reads one window of a target and puts its samples into the queues.
    pub(super) async fn read_window(
        &self,
        cursor: &ReadCursor,
        read: &PlannedRead,
        round: &ScrapeRound<'_>,
    ) -> ReadAttempt {
        // One read at a time for each home: it builds a whole answer in its memory.
        let _turn = self.home_turns[cursor.origin].lock().await;
        if !self.is_home_free(cursor, round).await {
            return ReadAttempt::HomeBusy;
        }
        cursor.has_asked.set(true);
        let mut end_ms = read.window.range.end_ms;
        let asked_ms = self.clock.now_ms();
        let mut moved_clock = false;
        let mut newest_ms = None;
        let mut largest = AnswerSize::default();
        let parts = read.window.parts;
        for (number, part) in (1..).zip(NamePart::all(parts)) {
            let reports = read.reports && number == parts;
            let outcome = self.ask(cursor, read, part, reports, round).await;
            moved_clock |= cursor.note_ahead(outcome.ahead_ms);
            match self.take_window(cursor, read, outcome, round) {
                Ok(answer) => {
                    end_ms = end_ms.min(answer.end_ms);
                    newest_ms = newest_ms.max(answer.newest_ms);
                    largest = larger(largest, answer.size);
                }
                Err(error) => {
                    return self
                        .failed_window(cursor, &read.window, &error, round)
                        .await;
                }
            }
        }
        cursor.planner.borrow_mut().succeeded(&read.window, largest);
        cursor.known.borrow_mut().answered = true;
        cursor.denies.set(false);
        let newest_ms = match read.shape {
            // A span of a resolution may have newer samples.
            WindowShape::Raw { resolution_ms } => {
                newest_ms.map(|newest_ms| on_grid(newest_ms, resolution_ms))
            }
            WindowShape::Slots(_) => newest_ms,
        };
        cursor.note_shown(read.window.range.start_ms, newest_ms);
        if moved_clock && matches!(read.shape, WindowShape::Slots(_)) {
            // The slots were those of another clock. What they showed was sent, in its order.
            return ReadAttempt::Retry;
        }
        let read_ms = cursor.home_ms(asked_ms).min(asked_ms) - DATE_RESOLUTION_MS;
        ReadAttempt::Read {
            end_ms,
            read_ms: Some(read_ms),
        }
    }

    /// Waits while a home may still work on a read of another target that was given up, as far as
    /// the time for reads allows. Returns whether it can be asked.
    async fn is_home_free(&self, cursor: &ReadCursor, round: &ScrapeRound<'_>) -> bool {
        let now_ms = self.clock.now_ms();
        let others = self
            .cursors
            .iter()
            .filter(|other| other.origin == cursor.origin && other.target.id != cursor.target.id);
        let Some(busy) = others.filter_map(|other| other.busy_for(now_ms)).max() else {
            return true;
        };
        let free = Instant::now() + busy;
        let is_in_time = free < round.reads_end();
        if is_in_time {
            sleep_until(free).await;
        }
        is_in_time
    }

    /// Asks the home for one part of a window.
    async fn ask(
        &self,
        cursor: &ReadCursor,
        read: &PlannedRead,
        part: NamePart,
        reports: bool,
        round: &ScrapeRound<'_>,
    ) -> WindowOutcome {
        let config = &self.config.forwarder.remote_read;
        let target = &cursor.target;
        let starts: Vec<_> = self
            .lanes
            .iter()
            .map(|lane| self.window_start(cursor, lane, read))
            .collect();
        let is_gap = matches!(read.shape, WindowShape::Slots(_));
        let left = round
            .deadlines
            .work_ends()
            .saturating_duration_since(Instant::now());
        let request = WindowRequest {
            job: &self.config.scrape_configs[cursor.job()],
            target,
            source: &cursor.source,
            part,
            range: read.window.range,
            // A slot shows what was visible then. All of it is visible now.
            settle: if is_gap {
                Duration::ZERO
            } else {
                config.settle
            },
            timeout: target.scrape_timeout.min(left),
            shape: read.shape,
            max_samples: config
                .max_samples
                .unwrap_or_else(|| default_max_samples(self.memory_limit)),
            starts: &starts,
            reports,
        };
        // `mine` is the part of `self.staged` that belongs to this window.
        let mine = Cell::new(0);
        let fits = |staged: usize| {
            self.staged
                .set(self.staged.get() - mine.replace(staged) + staged);
            self.weigh(round.held) <= self.memory_limit
        };
        let reader = WindowReader {
            home: &*self.home,
            clock: &*self.clock,
            external_labels: &self.config.global.external_labels,
            remotes: &self.config.remote_write,
            writers: &self.writers,
            fits: &fits,
        };
        let outcome = reader.read(&request).await;
        self.staged.set(self.staged.get() - mine.get());
        outcome
    }

    /// What a remote has of a target before a window.
    fn window_start(&self, cursor: &ReadCursor, lane: &Lane, read: &PlannedRead) -> WindowStart {
        let watermark_ms = cursor.watermark(&lane.dir).or(cursor.gathered_ms.get());
        let WindowShape::Slots(slots) = read.shape else {
            return WindowStart {
                watermark_ms: watermark_ms.unwrap_or(i64::MIN),
                complete: read.window.range.start_ms >= lane.table.complete_from_ms(),
                earlier: EarlierSamples::Late,
            };
        };
        // A remote that is further than another one has the slots up to its watermark.
        let had_ms = watermark_ms.map_or(i64::MIN, |watermark_ms| cursor.home_ms(watermark_ms));
        let own_timestamps = self.config.scrape_configs[cursor.job()].honor_timestamps;
        WindowStart {
            watermark_ms: had_ms,
            complete: true,
            earlier: if own_timestamps && slots.last_ms() > had_ms {
                EarlierSamples::Newest
            } else {
                EarlierSamples::None
            },
        }
    }

    /// Puts what a window has brought into the queues, and counts it.
    fn take_window(
        &self,
        cursor: &ReadCursor,
        read: &PlannedRead,
        mut outcome: WindowOutcome,
        round: &ScrapeRound<'_>,
    ) -> Result<WindowAnswer, ReadError> {
        let config = &self.config.scrape_configs[cursor.job()];
        let mut record = round.record.borrow_mut();
        let traits = ScrapeTraits {
            at_home: true,
            repeated: record.after_a_kill,
        };
        let is_gap = matches!(read.shape, WindowShape::Slots(_));
        let mut worst_late_ms = 0;
        record.read(&config.job_name, cursor.target.instance(), &outcome);
        let commits = std::mem::take(&mut outcome.commits);
        for ((lane, committed), ledger) in self.lanes.iter().zip(commits).zip(&mut record.ledgers) {
            let counted = committed.ledger();
            ledger.add(&if is_gap {
                Ledger {
                    backfilled: counted.scraped,
                    scraped: 0,
                    ..counted
                }
            } else {
                counted
            });
            worst_late_ms = committed.counts.worst_late_ms.max(worst_late_ms);
            for batches in committed.scrapes {
                lane.queue.push(batches, traits);
            }
        }
        if !is_gap {
            cursor.note_late(worst_late_ms);
        }
        match (outcome.error, outcome.end_ms) {
            (Some(error), _) => Err(error),
            (None, end_ms) => Ok(WindowAnswer {
                end_ms: end_ms.unwrap_or(read.window.range.start_ms),
                newest_ms: outcome.newest_ms,
                size: outcome.size,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remote_that_takes_the_oldest_samples_says_what_is_read() {
        let minutes = |minutes: u64| Some(Duration::from_secs(minutes * 60));
        let now_ms = 10_000_000;
        for (limits, oldest_ms) in [
            (&[minutes(55)][..], now_ms - 55 * 60_000),
            (
                &[minutes(55), minutes(90), minutes(10)],
                now_ms - 90 * 60_000,
            ),
            // AMP, and a receiver of one's own that takes samples of any age.
            (&[minutes(55), None], i64::MIN),
            (&[None, minutes(55)], i64::MIN),
            (&[None], i64::MIN),
            (&[], i64::MIN),
        ] {
            let found = oldest_sendable_ms(now_ms, limits.iter().copied());
            assert_eq!(found, oldest_ms, "{limits:?}");
        }
    }
}
