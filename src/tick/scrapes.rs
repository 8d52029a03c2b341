//! The scrapes of a tick: the loop that serves a job's slots, and the path of the samples into the
//! queues.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::job::{Job, within_minute};
use super::lease::LeasedSpool;
use super::report::TickRecord;
use super::{Forwarder, Plan};
use crate::home::Target;
use crate::scrape::Scraper;
use crate::time::Deadlines;

/// Difference between the clocks of the home and of the function from which a warning is logged. It
/// matters because AMP measures the age of a sample against the newest one it has seen.
const CLOCK_TOLERANCE_MS: i64 = 30_000;

/// The context that all scrapes of a tick share.
pub(super) struct ScrapeRound<'a> {
    pub(super) plan: &'a Plan,
    pub(super) held: Option<&'a LeasedSpool>,
    /// Start of the tick, milliseconds since 1970.
    pub(super) start_ms: i64,
    pub(super) deadlines: Deadlines,
    /// Facts for the report.
    pub(super) record: &'a RefCell<TickRecord>,
}

impl Forwarder {
    /// Serves the slots of one job until none is due within the tick.
    pub(super) async fn serve(&self, index: usize, job: &mut Job, round: &ScrapeRound<'_>) {
        let ScrapeRound {
            plan,
            start_ms,
            deadlines,
            ..
        } = *round;
        let config = &self.config.scrape_configs[index];
        if plan.drain_only
            || plan
                .jobs
                .as_ref()
                .is_some_and(|jobs| !jobs.contains(&config.job_name))
        {
            return;
        }
        while !plan.is_stopping() {
            let now_ms = self.clock.now_ms();
            let due = if plan.once {
                Some(job.grid.newest(now_ms))
            } else {
                job.grid.due(now_ms, job.served_ms)
            };
            if let Some(slot) = due {
                // Slots after the tick's minute belong to the next tick, even if slow scrapes made
                // this one late.
                if !within_minute(slot, start_ms) {
                    return;
                }
                let left = deadlines
                    .work_ends()
                    .saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return;
                }
                // A slot counts as served even if its scrape fails: it is not tried again.
                job.served_ms = Some(slot);
                let started = Instant::now();
                let up = join_all(job.targets.iter().map(|target| {
                    self.scrape(index, target, target.scrape_timeout.min(left), round)
                }))
                .await;
                // The next scrape may be slower, and its samples must be sent as well. So twice the
                // duration of the last one is expected.
                job.expected = started.elapsed() * 2;
                if up.into_iter().all(|up| up) {
                    job.scraped_ms = Some(now_ms);
                }
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
            if Instant::now() + wait + job.expected > deadlines.work_ends() {
                return;
            }
            plan.sleep(wait).await;
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
        };
        let config = &self.config.scrape_configs[job];
        let mut scraped = scraper.scrape(config, target, timeout).await;
        self.staged.set(self.staged.get() - mine.get());
        let mut record = record.borrow_mut();
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
                .for_each(|batches| lane.queue.push(batches));
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
        record.scraped(&config.job_name, target.instance(), &scraped);
        if let Some(live) = &plan.live {
            live.scraped(scraped.tally.scraped, scraped.error.is_none());
        }
        scraped.error.is_none()
    }
}
