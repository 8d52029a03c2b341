//! `mode: always`: every raw sample, by remote read.
//!
//! A tick reads what lies between the watermark and the present less `settle`, window by window,
//! sends it and ends. It waits for no slot.

use tokio::time::Instant;

use super::cursor::ReadCursor;
use super::gaps::PATIENCE;
use super::{PlannedRead, ReadAttempt};
use crate::config::RemoteReadMode;
use crate::home::Target;
use crate::read::window::askable_end_ms;
use crate::read::{PlannedWindow, WindowShape};
use crate::report::{Incident, IncidentKind};
use crate::tick::Forwarder;
use crate::tick::round::ScrapeRound;
use crate::time::millis;

/// How a target was read in a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tick) enum ReadState {
    /// Everything that had settled was read, or the rest is left for the next tick.
    Read,
    /// Reads fail, and the home answers scrapes: federation goes on in their place.
    FallBack,
}

impl Forwarder {
    /// Whether a job is read in the place of being scraped.
    pub(in crate::tick) fn is_read(&self, target: &Target) -> bool {
        self.config.forwarder.remote_read.mode == RemoteReadMode::Always
            && self.cursor(target).is_some()
    }

    /// Whether this tick has read a target. If it scrapes others of its job, whose reads fail, then
    /// not this one: a scrape would show samples that are newer than those of the next read.
    pub(in crate::tick) fn is_read_now(&self, target: &Target) -> bool {
        self.cursor(target)
            .is_some_and(|cursor| cursor.is_read_now.get())
    }

    /// Reads a target up to the present, or says that it is to be scraped in this tick.
    pub(in crate::tick) async fn read_target(
        &self,
        target: &Target,
        round: &ScrapeRound<'_>,
    ) -> ReadState {
        let state = self.read_up_to_now(target, round).await;
        if let Some(cursor) = self.cursor(target) {
            cursor.is_read_now.set(state == ReadState::Read);
        }
        state
    }

    /// Reads a target window by window.
    async fn read_up_to_now(&self, target: &Target, round: &ScrapeRound<'_>) -> ReadState {
        let Some(cursor) = self.cursor(target) else {
            return ReadState::FallBack;
        };
        if cursor.is_home_busy(self.clock.now_ms()) {
            return ReadState::Read;
        }
        self.learn_facts(cursor, round).await;
        self.begin_reading(cursor, round);
        while Instant::now() < round.reads_end() && !round.plan.is_stopping() {
            let Some((window, is_last)) = self.next_window(cursor) else {
                return ReadState::Read;
            };
            let read = PlannedRead {
                window,
                shape: WindowShape::Raw {
                    resolution_ms: millis(self.config.forwarder.remote_read.resolution),
                },
                // The reports belong to the tick, so the last window brings them.
                reports: is_last,
            };
            match self.read_window(cursor, &read, round).await {
                ReadAttempt::Read { end_ms, read_ms } => {
                    let moved = cursor
                        .gathered_ms
                        .get()
                        .is_none_or(|before| end_ms > before);
                    if !moved {
                        // Reading began in the home's future, unless newer samples are in the
                        // queues already.
                        if !cursor.was_read() && !cursor.has_shown_after(end_ms) {
                            cursor.restart(end_ms);
                        }
                        return ReadState::Read;
                    }
                    cursor.gather(end_ms, read_ms);
                    if is_last || end_ms < window.range.end_ms {
                        return ReadState::Read;
                    }
                    self.make_durable(cursor, round).await;
                }
                ReadAttempt::Retry => {}
                ReadAttempt::HomeDown | ReadAttempt::HomeBusy => return ReadState::Read,
                ReadAttempt::Failed | ReadAttempt::Unsupported => {
                    return self.fall_back(cursor, round);
                }
            }
        }
        ReadState::Read
    }

    /// Finds where reading goes on, and gives up what is too old to be sent.
    fn begin_reading(&self, cursor: &ReadCursor, round: &ScrapeRound<'_>) {
        let config = &self.config.scrape_configs[cursor.job()];
        let now_ms = cursor.home_ms(self.clock.now_ms());
        let interval_ms = millis(config.scrape_interval);
        let settled_ms = now_ms - millis(self.config.forwarder.remote_read.settle);
        // Where reading begins is a guess in our time until a window was read. By then the home may
        // have shown that its clock is behind ours.
        let is_guess = |from_ms: &i64| *from_ms > now_ms && !cursor.was_read();
        if cursor.gathered_ms.get().as_ref().is_some_and(is_guess) {
            cursor.restart(settled_ms - interval_ms);
        }
        let from_ms = cursor.gathered_ms.get().unwrap_or(settled_ms - interval_ms);
        let oldest_ms = self.oldest_sendable_ms(now_ms);
        if from_ms < oldest_ms {
            let slots = (oldest_ms - from_ms) / interval_ms.max(1);
            self.say_too_old(u64::try_from(slots).unwrap_or_default(), cursor, round);
        }
        cursor.gathered_ms.set(Some(from_ms.max(oldest_ms)));
    }

    /// Plans the next window, and says whether it is the last one before the present.
    fn next_window(&self, cursor: &ReadCursor) -> Option<(PlannedWindow, bool)> {
        let config = &self.config.forwarder.remote_read;
        let gathered_ms = cursor.gathered_ms.get()?;
        let until_ms = askable_end_ms(cursor.home_ms(self.clock.now_ms()), config.settle);
        let start_ms = cursor.start_ms(gathered_ms, config);
        let planner = cursor.planner.borrow();
        let window = planner.next(start_ms, gathered_ms, until_ms)?;
        let follows = planner.next(start_ms, window.range.end_ms, until_ms);
        Some((window, follows.is_none()))
    }

    /// Decides what a tick does when reads fail and the home answers scrapes.
    fn fall_back(&self, cursor: &ReadCursor, round: &ScrapeRound<'_>) -> ReadState {
        let config = &self.config.scrape_configs[cursor.job()];
        let is_due = {
            let known = cursor.known.borrow();
            // A tick that has read a window shows that reads work again, and goes on in the next.
            known.answered && known.stuck >= PATIENCE && !cursor.progressed.get()
        };
        if !is_due {
            return ReadState::Read;
        }
        let now_ms = cursor.home_ms(self.clock.now_ms());
        let missed_ms = now_ms - cursor.gathered_ms.get().unwrap_or(now_ms);
        let text = format!(
            "read: for {PATIENCE} ticks the home answered scrapes of job {} and no read, so \
             /federate is scraped in its place: what it does not show stays at home only, \
             {} s so far",
            config.job_name,
            missed_ms / 1000
        );
        tracing::error!("{text}");
        let mut record = round.record.borrow_mut();
        record.degraded = true;
        record.gave_up(
            Incident::new(IncidentKind::GapGivenUp, text).for_job(&config.job_name),
            u64::try_from(missed_ms).unwrap_or_default(),
        );
        ReadState::FallBack
    }
}
