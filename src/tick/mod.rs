//! One invocation, in reading order: `scrapes ∥ drain → what is left → report`.
//!
//! All of a tick runs as one future: no task outlives it, and nothing of it needs a lock.

mod lane;
mod live;
mod preview;
mod slots;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use self::lane::{Lane, Sent};
pub use self::live::Live;
pub use self::preview::Preview;
use self::slots::Grid;
use crate::batch::Writer;
use crate::batch::stage::Limits;
use crate::config::Config;
use crate::report::{Ledger, Outcome, Report, ScrapeReport, SpoolReport};
use crate::scrape::{Home, Scraped, Scraper, Target, targets};
use crate::send::Remote;
use crate::time::Clock;

/// A home whose clock differs by more than this is warned of: AMP counts its hour from the newest sample it has seen.
const CLOCK_TOLERANCE_MS: i64 = 30_000;

/// What a first scrape is expected to take, and its sends.
const EXPECTED_AT_FIRST: Duration = Duration::from_secs(1);

/// Of these many scrapes and errors a report tells.
const REPORTED: usize = 200;

/// The world around a tick.
pub struct World {
    /// The home Prometheus.
    pub home: Box<dyn Home>,
    /// One for each `remote_write`, in their order.
    pub remotes: Vec<Box<dyn Remote>>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// For back-offs.
    pub rng: fastrand::Rng,
}

/// What is known of a job.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct JobStatus {
    /// `job_name`.
    pub job: String,
    /// None since the process started: none.
    pub last_slot_ms: Option<i64>,
}

/// What a tick is to do.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// When the runtime ends the process.
    pub deadline: Option<Instant>,
    /// One scrape of each job, now, in place of the minute's slots.
    pub once: bool,
    /// Only these jobs.
    pub jobs: Option<Vec<String>>,
    /// Scrape nothing.
    pub drain_only: bool,
    /// Once true, no further scrape is started; what is queued is still sent.
    pub stop: Option<tokio::sync::watch::Receiver<bool>>,
    /// For whoever watches.
    pub live: Option<Arc<Live>>,
}

impl Plan {
    /// Whether the tick is to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| *stop.borrow())
    }

    /// Returns early when the tick is to stop.
    pub async fn sleep(&self, wait: Duration) {
        let Some(mut stop) = self.stop.clone() else { return tokio::time::sleep(wait).await };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            // A sender that is gone asks for nothing.
            Ok(_) = stop.wait_for(|stop| *stop) => {}
        }
    }
}

/// The forwarder: kept for the process, so that a warm tick knows its series.
pub struct Forwarder {
    config: Config,
    home: Box<dyn Home>,
    clock: Arc<dyn Clock>,
    jobs: Vec<Job>,
    lanes: Vec<Lane>,
    writers: Vec<RefCell<Writer>>,
    memory_limit: usize,
    /// Bytes staged by the scrapes in progress.
    staged: Cell<usize>,
}

/// A scrape job between its scrapes.
struct Job {
    grid: Grid,
    targets: Vec<Target>,
    served_ms: Option<i64>,
    expected: Duration,
}

/// Why no forwarder can be made of a configuration.
#[derive(Debug, thiserror::Error)]
#[error("configuration: {0}")]
pub struct Unusable(String);

impl Forwarder {
    /// A cold forwarder.
    ///
    /// # Errors
    /// A target that makes no URL.
    pub fn new(config: Config, world: World, memory_limit: u64) -> Result<Self, Unusable> {
        let mut by_job = config.scrape_configs.iter().map(|_| Vec::new()).collect::<Vec<Vec<Target>>>();
        for target in targets(&config.scrape_configs).map_err(Unusable)? {
            by_job[target.job].push(target);
        }
        let jobs = config.scrape_configs.iter().zip(by_job).map(|(job, targets)| Job {
            grid: Grid::new(&job.job_name, job.scrape_interval),
            targets,
            served_ms: None,
            expected: EXPECTED_AT_FIRST,
        });
        let jobs = jobs.collect();
        let World { home, remotes, clock, mut rng } = world;
        let lanes: Vec<_> = config
            .remote_write
            .iter()
            .zip(remotes)
            .map(|(entry, remote)| Lane::new(entry, config.forwarder.max_request_bytes, remote, rng.fork()))
            .collect();
        let writers = config.remote_write.iter().map(|entry| {
            let samples = entry.queue.max_samples_per_send.min(entry.queue.capacity).max(1);
            RefCell::new(Writer::new(Limits { samples, bytes: config.forwarder.max_request_bytes }))
        });
        let writers = writers.collect();
        let memory_limit = usize::try_from(memory_limit).unwrap_or(usize::MAX);
        Ok(Self { home, clock, jobs, lanes, writers, memory_limit, staged: Cell::new(0), config })
    }

    /// The names in `jobs` that no job bears.
    #[must_use]
    pub fn unknown_jobs(&self, jobs: &[String]) -> Vec<String> {
        let known = |name: &&String| self.config.scrape_configs.iter().any(|job| job.job_name == **name);
        jobs.iter().filter(|name| !known(name)).cloned().collect()
    }

    /// The slot that each job served last.
    #[must_use]
    pub fn status(&self) -> Vec<JobStatus> {
        let jobs = self.config.scrape_configs.iter().zip(&self.jobs);
        jobs.map(|(config, job)| JobStatus { job: config.job_name.clone(), last_slot_ms: job.served_ms }).collect()
    }

    /// When the next slot of any job is due.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<i64> {
        let now_ms = self.clock.now_ms();
        self.jobs.iter().map(|job| job.grid.due(now_ms, job.served_ms).unwrap_or_else(|| job.grid.after(now_ms))).min()
    }

    /// One tick. It always ends with a report, before the deadline.
    pub async fn tick(&mut self, plan: &Plan) -> Report {
        let started = Instant::now();
        let start_ms = self.clock.now_ms();
        // A tick that was dropped has left its own.
        self.staged.set(0);
        let margin = self.config.forwarder.deadline_margin;
        let until = plan.deadline.map_or(started + Duration::from_secs(24 * 3600), |deadline| deadline - margin.min(deadline - started));
        for (lane, writer) in self.lanes.iter().zip(&self.writers) {
            lane.begin_tick();
            writer.borrow_mut().limit_bytes(lane.max_request_bytes());
        }

        let mut jobs = std::mem::take(&mut self.jobs);
        let noted = RefCell::new(Noted { ledgers: vec![Ledger::default(); self.lanes.len()], ..Noted::default() });
        let scrapes = async {
            join_all(jobs.iter_mut().enumerate().map(|(index, job)| self.serve(index, job, plan, (start_ms, until), &noted))).await;
            self.lanes.iter().for_each(|lane| lane.queue.close());
        };
        let drains = join_all(self.lanes.iter().map(|lane| lane.drain(&*self.clock, until, plan.live.as_deref())));
        let ((), mut sent) = tokio::join!(scrapes, drains);
        self.jobs = jobs;

        let mut noted = noted.into_inner();
        for (sent, scraped) in sent.iter_mut().zip(&noted.ledgers) {
            sent.ledger.add(scraped);
        }
        self.give_up(&mut sent);
        for sent in &mut sent {
            noted.errors.append(&mut sent.errors);
        }
        self.report(&sent, noted, false, started)
    }

    /// Serves the slots of one job until none is due within the tick.
    async fn serve(&self, index: usize, job: &mut Job, plan: &Plan, (start_ms, until): (i64, Instant), noted: &RefCell<Noted>) {
        let config = &self.config.scrape_configs[index];
        if plan.drain_only || plan.jobs.as_ref().is_some_and(|jobs| !jobs.contains(&config.job_name)) {
            return;
        }
        while !plan.is_stopping() {
            let now_ms = self.clock.now_ms();
            let due = if plan.once { Some(job.grid.newest(now_ms)) } else { job.grid.due(now_ms, job.served_ms) };
            if let Some(slot) = due {
                // However slow its scrapes are, a tick leaves the slots after its minute to the next one.
                if !slots::within_minute(slot, start_ms) {
                    return;
                }
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return;
                }
                job.served_ms = Some(slot);
                let started = Instant::now();
                join_all(job.targets.iter().map(|target| self.scrape(index, target, config.scrape_timeout.min(left), (plan, noted)))).await;
                // Twice the last one: the next may be slower, and its samples must be sent as well.
                job.expected = started.elapsed() * 2;
                if plan.once {
                    return;
                }
                continue;
            }
            let Some(next) = job.grid.next(now_ms, start_ms) else { return };
            let wait = Duration::from_millis(u64::try_from(next - now_ms).unwrap_or_default());
            if Instant::now() + wait + job.expected > until {
                return;
            }
            plan.sleep(wait).await;
        }
    }

    /// Scrapes one target and queues what it gave.
    async fn scrape(&self, job: usize, target: &Target, timeout: Duration, (plan, noted): (&Plan, &RefCell<Noted>)) {
        // What this scrape has staged, of what all have.
        let mine = Cell::new(0);
        let held = |staged: usize| {
            self.staged.set(self.staged.get() - mine.replace(staged) + staged);
            let writers: usize = self.writers.iter().map(|writer| writer.try_borrow().map_or(0, |writer| writer.memory())).sum();
            let queues: usize = self.lanes.iter().map(|lane| lane.queue.bytes()).sum();
            writers + queues + self.staged.get() <= self.memory_limit
        };
        let scraper = Scraper {
            home: &*self.home,
            clock: &*self.clock,
            external_labels: &self.config.global.external_labels,
            writers: &self.writers,
            fits: &held,
        };
        let config = &self.config.scrape_configs[job];
        let mut scraped = scraper.scrape(config, target, timeout).await;
        self.staged.set(self.staged.get() - mine.get());
        let mut noted = noted.borrow_mut();
        for ((lane, committed), ledger) in self.lanes.iter().zip(std::mem::take(&mut scraped.committed)).zip(&mut noted.ledgers) {
            ledger.add(&committed.ledger());
            committed.scrapes.into_iter().for_each(|batches| lane.queue.push(batches));
        }
        if let Some(ahead_ms) = scraped.ahead_ms.filter(|ahead| ahead.abs() > CLOCK_TOLERANCE_MS) {
            let seconds = ahead_ms.abs() / 1000;
            let direction = if ahead_ms > 0 { "ahead of" } else { "behind" };
            tracing::warn!(
                job = config.job_name,
                "the home's clock is {seconds} s {direction} ours: set it by NTP, AMP refuses samples by their age"
            );
        }
        let (job, instance, samples) = (&config.job_name, target.instance(), scraped.tally.scraped);
        match &scraped.error {
            Some(error) => tracing::warn!(job, instance, "scrape failed: {error}"),
            None => tracing::debug!(job, instance, samples, duration = ?scraped.duration, "scraped"),
        }
        noted.scraped(&config.job_name, target.instance(), &scraped);
        if let Some(live) = &plan.live {
            live.scraped(scraped.tally.scraped, scraped.error.is_none());
        }
    }

    /// What no remote took when the time was up. Without a spool it is lost, and so is the knowledge of what was sent.
    fn give_up(&self, sent: &mut [Sent]) {
        for ((lane, writer), sent) in self.lanes.iter().zip(&self.writers).zip(sent) {
            let left: u64 = lane.queue.take().iter().map(|scrape| scrape.samples()).sum();
            if left > 0 {
                sent.ledger.lost += left;
                writer.borrow_mut().forget_timestamps();
                tracing::error!(remote = lane.id, samples = left, "samples are lost: they could not be sent before the tick ended");
                sent.errors.push(format!("queue: {left} samples for {} are lost: they could not be sent before the tick ended", lane.id));
            }
        }
    }

    fn report(&self, sent: &[Sent], noted: Noted, dry_run: bool, started: Instant) -> Report {
        let mut ledger = Ledger::default();
        for sent in sent {
            ledger.add(&sent.ledger);
        }
        let up = noted.scrapes.iter().filter(|scrape| scrape.up).count();
        let failed = ledger.lost > 0 || sent.iter().any(|sent| sent.stopped) || (up == 0 && !noted.scrapes.is_empty());
        let outcome = if failed {
            Outcome::Failed
        } else if up < noted.scrapes.len() || ledger.rejected > 0 || ledger.expired > 0 {
            Outcome::Partial
        } else {
            Outcome::Ok
        };
        let newest_ms = sent.iter().filter_map(|sent| sent.newest_ms).min();
        let mut scrapes = noted.scrapes;
        scrapes.truncate(REPORTED);
        Report {
            outcome,
            dry_run,
            scrapes,
            ledger,
            remotes: self.lanes.iter().zip(sent).map(|(lane, sent)| lane.report(sent)).collect(),
            spool: SpoolReport::default(),
            lag_ms: newest_ms.map(|newest| self.clock.now_ms() - newest),
            duration_ms: started.elapsed().as_millis() as u64,
            errors: counted(noted.errors),
        }
    }
}

/// What a tick's scrapes leave behind.
#[derive(Default)]
struct Noted {
    ledgers: Vec<Ledger>,
    scrapes: Vec<ScrapeReport>,
    errors: Vec<String>,
}

impl Noted {
    fn scraped(&mut self, job: &str, instance: &str, scraped: &Scraped) {
        self.errors.extend(scraped.error.as_ref().map(|error| format!("scrape: {error}")));
        self.scrapes.push(ScrapeReport {
            job: job.to_owned(),
            instance: instance.to_owned(),
            start_ms: scraped.start_ms,
            duration_ms: scraped.duration.as_millis() as u64,
            samples: scraped.tally.scraped,
            series_added: scraped.tally.series_added,
            bytes: scraped.bytes,
            up: scraped.error.is_none(),
        });
    }
}

/// Each different error once, with how often it was met.
fn counted(errors: Vec<String>) -> Vec<String> {
    let mut different: Vec<(String, usize)> = Vec::new();
    for error in errors {
        match different.iter().position(|(known, _)| *known == error) {
            Some(at) => different[at].1 += 1,
            None if different.len() < REPORTED => different.push((error, 1)),
            None => {}
        }
    }
    different.into_iter().map(|(error, times)| if times > 1 { format!("{error} ({times} times)") } else { error }).collect()
}
