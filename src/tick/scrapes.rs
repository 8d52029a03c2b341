//! The scrapes of a tick: the loop that serves a job's slots, and the path of the samples into the
//! queues.

use std::cell::Cell;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::Forwarder;
use super::job::{Job, SlotGrid, within_minute};
use super::reads::ReadState;
use super::remote::Lane;
use super::round::ScrapeRound;
use crate::home::Target;
use crate::queue::ScrapeTraits;
use crate::scrape::Scraper;

/// Difference between the clocks of the home and of the function from which a warning is logged. It
/// matters because AMP measures the age of a sample against the newest one it has seen.
const CLOCK_TOLERANCE_MS: i64 = 30_000;

/// Least time that a scrape and the sending of its samples are expected to take: a function with a
/// small share of a core may stand still for as long.
const LEAST_EXPECTED: Duration = Duration::from_millis(200);

const MINUTE_MS: i64 = 60_000;

/// A slot that passed while the tick served its minute waits for this long, at most: if the tick is
/// done by then, the slot is the next tick's.
const OVERTIME_PAUSE: Duration = Duration::from_secs(1);

/// How one slot of a target was served.
#[derive(Debug, Clone, Copy, Default)]
struct ServedSlot {
    /// Whether the live scrape has succeeded.
    up: bool,
    /// Time that the live scrape took.
    scraping: Duration,
}

impl Forwarder {
    /// Serves one job within the tick: the slots of the tick's minute, and after them those that
    /// come while the tick is still at work.
    pub(super) async fn serve(&self, index: usize, job: &Job, round: &ScrapeRound<'_>) {
        let is_scraped = self.serve_minute(index, job, round).await;
        if round.rest.off_duty() {
            self.lanes.iter().for_each(Lane::last_call);
        }
        if is_scraped && round.plan.is_scheduled() {
            self.serve_overtime(index, job, round).await;
        }
    }

    /// Serves a job within the tick's minute: reads what must be read of it, or scrapes it at its
    /// slots. Returns whether it is scraped.
    async fn serve_minute(&self, index: usize, job: &Job, round: &ScrapeRound<'_>) -> bool {
        let config = &self.config.scrape_configs[index];
        let wanted = round.plan.jobs.as_ref();
        if round.plan.drain_only || wanted.is_some_and(|jobs| !jobs.contains(&config.job_name)) {
            return false;
        }
        let is_read = job.targets.iter().all(|target| self.is_read(target));
        if !is_read || job.targets.is_empty() {
            self.serve_slots(index, job, round).await;
            return true;
        }
        let now_ms = self.clock.now_ms();
        // A job with an interval of less than a minute is read in each tick, whenever it comes.
        let is_due = job.grid.interval_ms() < MINUTE_MS
            || job.grid.due(now_ms, job.served_ms.get()).is_some();
        if !is_due && !round.plan.once {
            return false;
        }
        let states = join_all(
            job.targets
                .iter()
                .map(|target| self.read_target(target, round)),
        );
        if states.await.contains(&ReadState::FallBack) {
            job.read_ms.set(None);
            self.serve_slots(index, job, round).await;
            return true;
        }
        job.read_ms.set(Some(now_ms));
        job.served_ms.set(Some(job.grid.newest(now_ms)));
        false
    }

    /// Serves the slots of one job until none is due within the tick's minute.
    async fn serve_slots(&self, index: usize, job: &Job, round: &ScrapeRound<'_>) {
        let ScrapeRound {
            plan,
            start_ms,
            deadlines,
            ..
        } = *round;
        while !plan.is_stopping() && deadlines.work_ends() > Instant::now() {
            let now_ms = self.clock.now_ms();
            let due = if plan.once {
                Some(job.grid.newest(now_ms))
            } else {
                job.grid.due(now_ms, job.served_ms.get())
            };
            if let Some(slot) = due {
                // Slots after the tick's minute are the next tick's, even if slow scrapes made this
                // one late, unless this one is still at work when they come.
                if !within_minute(slot, start_ms) {
                    return;
                }
                self.serve_due(index, job, slot, round).await;
                if plan.once {
                    return;
                }
                continue;
            }
            // No slot is due now. Wait for the next one only if its scrape would end in time.
            let Some(next) = job.grid.next(now_ms, start_ms) else {
                return;
            };
            let wait = Duration::from_millis(u64::try_from(next - now_ms).unwrap_or_default());
            let now = Instant::now();
            if now + wait + job.expected.get() > deadlines.planned_work_ends() {
                return;
            }
            // A lease that cannot be renewed ends work earlier.
            let left = deadlines.work_ends().saturating_duration_since(now);
            plan.sleep(wait.min(left)).await;
        }
    }

    /// Serves the slots of one job after the tick's minute, until the tick comes to rest: the next
    /// tick cannot serve them while this one holds the lease.
    ///
    /// A slot that comes while the tick waits for nothing but another job's scrape is left to the
    /// next tick, unless the samples of that scrape keep this one at work. Otherwise a home that
    /// hangs would let the jobs keep each other's tick alive until its deadline.
    async fn serve_overtime(&self, index: usize, job: &Job, round: &ScrapeRound<'_>) {
        let deadlines = round.deadlines;
        let remotes_rest = || self.lanes.iter().all(Lane::is_at_rest);
        while !round.plan.is_stopping() && deadlines.work_ends() > Instant::now() {
            let now_ms = self.clock.now_ms();
            let interval = Duration::from_millis(job.grid.interval_ms().unsigned_abs());
            let wait = match job.grid.due(now_ms, job.served_ms.get()) {
                // A tick that waits for nothing else must not go on because of its own scrapes.
                Some(_) => OVERTIME_PAUSE.min(interval / 2),
                None => {
                    let next = job.grid.after(now_ms);
                    Duration::from_millis(u64::try_from(next - now_ms).unwrap_or_default())
                }
            };
            let now = Instant::now();
            if now + wait + job.expected.get() > deadlines.planned_work_ends() {
                return;
            }
            let left = deadlines.work_ends().saturating_duration_since(now);
            tokio::select! {
                biased;
                () = round.rest.comes(remotes_rest) => return,
                () = round.plan.sleep(wait.min(left)) => {}
            }
            if round.rest.is_near(remotes_rest) {
                if round.rest.follows_overtime(remotes_rest).await {
                    return;
                }
                // The slot has passed, and waits for a pause more.
                continue;
            }
            let due = job.grid.due(self.clock.now_ms(), job.served_ms.get());
            if let Some(slot) = due.filter(|_| !round.plan.is_stopping()) {
                round.rest.overtime_begins();
                self.serve_due(index, job, slot, round).await;
                round.rest.overtime_ends();
            }
        }
    }

    /// Serves one slot of all targets of a job that are not read in its place.
    async fn serve_due(&self, index: usize, job: &Job, slot: i64, round: &ScrapeRound<'_>) {
        let now_ms = self.clock.now_ms();
        // A slot counts as served even if its scrape fails: it is not tried again.
        job.served_ms.set(Some(slot));
        let targets = job
            .targets
            .iter()
            .filter(|target| !self.is_read_now(target));
        let served = join_all(
            targets.map(|target| self.serve_slot((index, target), &job.grid, slot, round)),
        )
        .await;
        // The next scrape may be slower, and its samples must be sent as well. So twice the
        // duration of the last one is expected.
        let slowest = served.iter().map(|served| served.scraping).max();
        let expected = slowest.unwrap_or_default() * 2;
        job.expected.set(expected.max(LEAST_EXPECTED));
        if served.iter().all(|served| served.up) {
            job.scraped_ms.set(Some(now_ms));
        }
    }

    /// Serves one slot of one target: first the slots before it that were missed, then the live
    /// scrape.
    async fn serve_slot(
        &self,
        (index, target): (usize, &Target),
        grid: &SlotGrid,
        slot: i64,
        round: &ScrapeRound<'_>,
    ) -> ServedSlot {
        if self.is_gap_open(target, grid, slot, round).await {
            return ServedSlot::default();
        }
        // Reading the gap may have taken until the next slot is due. A scrape would show that one's
        // samples, so this slot belongs to the gap as well.
        if grid.newest(self.clock.now_ms()) > slot && !round.plan.once {
            return ServedSlot::default();
        }
        let started = Instant::now();
        let left = round
            .deadlines
            .work_ends()
            .saturating_duration_since(started);
        if left.is_zero() {
            return ServedSlot::default();
        }
        let timeout = target.scrape_timeout.min(left);
        let up = self.scrape(index, target, timeout, round).await;
        if up {
            self.gathered_live(target, slot);
        }
        ServedSlot {
            up,
            scraping: started.elapsed(),
        }
    }

    /// Scrapes one target and queues its batches. Returns whether the scrape succeeded.
    async fn scrape(
        &self,
        job: usize,
        target: &Target,
        timeout: Duration,
        round: &ScrapeRound<'_>,
    ) -> bool {
        let ScrapeRound {
            plan, held, record, ..
        } = *round;
        // `mine` is the part of `self.staged` that belongs to this scrape. Each call replaces that
        // part, so that `self.staged` is the sum over all scrapes that run at the same time.
        let mine = Cell::new(0);
        let fits = |staged: usize| {
            self.staged
                .set(self.staged.get() - mine.replace(staged) + staged);
            self.weigh(held) <= self.memory_limit
        };
        let scraper = Scraper {
            home: &*self.home,
            clock: &*self.clock,
            external_labels: &self.config.global.external_labels,
            remotes: &self.config.remote_write,
            writers: &self.writers,
            fits: &fits,
            // While a gap may still be filled, a marker would end series that go on in it.
            marks_when_it_fails: !self.is_kept_at_home(target),
        };
        let traits = ScrapeTraits {
            at_home: self.is_kept_at_home(target),
            repeated: false,
        };
        let config = &self.config.scrape_configs[job];
        let mut scraped = scraper.scrape(config, target, timeout).await;
        self.staged.set(self.staged.get() - mine.get());
        let mut record = record.borrow_mut();
        record.scraped(&config.job_name, target.instance(), &scraped);
        for ((lane, committed), ledger) in self
            .lanes
            .iter()
            .zip(std::mem::take(&mut scraped.commits))
            .zip(&mut record.ledgers)
        {
            ledger.add(&committed.ledger());
            committed
                .scrapes
                .into_iter()
                .for_each(|batches| lane.queue.push(batches, traits));
        }
        round.rest.changed();
        if let Some(cursor) = self.cursor(target) {
            cursor.note_ahead(scraped.ahead_ms);
        }
        if let Some(ahead_ms) = scraped
            .ahead_ms
            .filter(|ahead| ahead.abs() > CLOCK_TOLERANCE_MS)
        {
            let seconds = ahead_ms.abs() / 1000;
            let direction = if ahead_ms > 0 { "ahead of" } else { "behind" };
            tracing::warn!(
                "the home's clock is {seconds} s {direction} ours: \
                 set it by NTP, because AMP refuses samples by their age"
            );
        }
        let (instance, samples) = (target.instance(), scraped.tally.scraped);
        match &scraped.error {
            Some(error) => tracing::warn!(instance, "scrape failed: {error}"),
            None => {
                tracing::debug!(instance, samples, duration = ?scraped.duration, "scraped");
            }
        }
        if let Some(live) = &plan.live {
            live.scraped(scraped.tally.scraped, scraped.error.is_none());
        }
        scraped.error.is_none()
    }
}
