//! One invocation, in reading order: `lease → (drain ∥ scrapes) → flush to the spool → release → report`.
//!
//! All of a tick runs as one future: no task outlives it, and nothing of it needs a lock.

mod drain;
mod lane;
mod live;
mod metadata;
mod overflow;
mod preview;
mod slots;
mod tenure;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use self::lane::{Bench, Lane, Sent};
pub use self::live::Live;
pub use self::preview::Preview;
use self::slots::Grid;
use self::tenure::{Begun, Held, Holder};
use crate::batch::Writer;
use crate::batch::stage::Limits;
use crate::config::{Config, ScrapeConfig};
use crate::report::{Ledger, Outcome, Previous, Report, ScrapeReport, SpoolReport};
use crate::scrape::{Home, Scraped, Scraper, Target, targets};
use crate::send::Remote;
use crate::spool::state::JobState;
use crate::spool::store::Store;
use crate::time::Clock;

/// A home whose clock differs by more than this is warned of: AMP counts its hour from the newest sample it has seen.
const CLOCK_TOLERANCE_MS: i64 = 30_000;

/// What a first scrape is expected to take, and its sends.
const EXPECTED_AT_FIRST: Duration = Duration::from_secs(1);

/// How long what is in flight may still be answered once the tick is to stop.
const FAREWELL: Duration = Duration::from_secs(5);

/// The end of a tick that nobody bounds.
const UNLIMITED: Duration = Duration::from_secs(3600);

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
    /// Where the spool is. Without one, what a tick cannot send is lost.
    pub store: Option<Arc<dyn Store>>,
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
            biased;
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
    holder: Option<Holder>,
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
    /// Start of the newest scrape that succeeded, for all targets.
    scraped_ms: Option<i64>,
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
            scraped_ms: None,
        });
        let jobs = jobs.collect();
        let World { home, remotes, clock, mut rng, store } = world;
        let holder = store.map(|store| Holder::new(store, Arc::clone(&clock), &config.forwarder.spool, &mut rng));
        let lanes: Vec<_> = config
            .remote_write
            .iter()
            .zip(remotes)
            .map(|(entry, remote)| Lane::new(entry, config.forwarder.max_request_bytes, remote, rng.fork()))
            .collect();
        let writers = config.remote_write.iter().map(|entry| {
            let samples = entry.queue.max_samples_per_send.min(entry.queue.capacity).max(1);
            let limits = Limits { samples, bytes: config.forwarder.max_request_bytes };
            RefCell::new(Writer::new(limits).with_native_histograms(entry.send_native_histograms))
        });
        let writers = writers.collect();
        let memory_limit = usize::try_from(memory_limit).unwrap_or(usize::MAX);
        Ok(Self { home, clock, jobs, lanes, writers, holder, memory_limit, staged: Cell::new(0), config })
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
        let end = plan.deadline.unwrap_or(started + UNLIMITED);
        let margin = self.config.forwarder.deadline_margin.min(end.saturating_duration_since(started));
        let begun = match &mut self.holder {
            Some(holder) => holder.begin(end, margin, &self.lanes).await,
            None => Begun::Without { degraded: None },
        };
        let (held, degraded) = match begun {
            Begun::Held(held) => (Some(*held), None),
            Begun::Without { degraded } => (None, degraded),
            Begun::Busy(error) => return self.untouched(Outcome::Busy, error, started),
            Begun::Down(error) => return self.untouched(Outcome::Failed, error, started),
        };
        let mut noted = Noted { ledgers: vec![Ledger::default(); self.lanes.len()], ..Noted::default() };
        noted.errors.extend(degraded.iter().cloned());
        self.remember(held.as_ref(), &mut noted);

        let until = held.as_ref().map_or(end, |held| held.fence().deadline()).checked_sub(margin).unwrap_or(started);
        let (mut sent, mut noted) = self.work(plan, held.as_ref(), until, noted).await;
        noted.errors.extend(self.send_metadata(plan, until).await);
        self.finish(held, sent.as_mut_slice(), noted, degraded.is_some(), started).await
    }

    /// What another process may have changed since this one had the lease.
    fn remember(&mut self, held: Option<&Held>, noted: &mut Noted) {
        if let Some(held) = held {
            noted.after_a_kill = held.after_a_kill();
            noted.errors.extend(held.orphans());
            if !held.continued() {
                // Somebody else may have sent newer samples, and served newer slots.
                self.writers.iter().for_each(|writer| writer.borrow_mut().forget_timestamps());
                self.lanes.iter().for_each(|lane| lane.metadata_ms.set(held.metadata_ms(lane)));
                for (job, config) in self.jobs.iter_mut().zip(&self.config.scrape_configs) {
                    job.served_ms = held.job(&config.job_name).last_slot_ms;
                }
            }
        }
        // A tick that was dropped has left its own.
        self.staged.set(0);
        for (lane, writer) in self.lanes.iter().zip(&self.writers) {
            lane.begin_tick();
            writer.borrow_mut().limit_bytes(lane.max_request_bytes());
        }
    }

    /// Scrapes and sends side by side, then puts what is left into the spool.
    async fn work(&mut self, plan: &Plan, held: Option<&Held>, until: Instant, noted: Noted) -> (Vec<Sent>, Noted) {
        let start_ms = self.clock.now_ms();
        let spool = &self.config.forwarder.spool;
        let benches: Vec<_> = (0..self.lanes.len())
            .map(|index| Bench {
                clock: &*self.clock,
                until,
                outbox: held.map(|held| &held.outboxes[index]),
                epoch: held.map_or(0, Held::epoch),
                overflow_after: spool.overflow_after,
                drain_rate: spool.drain_samples_per_second as f64,
                live: plan.live.as_deref(),
            })
            .collect();
        let mut jobs = std::mem::take(&mut self.jobs);
        let noted = RefCell::new(noted);
        let shift = Shift { plan, held, start_ms, until, noted: &noted };
        let scrapes = async {
            join_all(jobs.iter_mut().enumerate().map(|(index, job)| self.serve(index, job, &shift))).await;
            self.lanes.iter().for_each(|lane| lane.queue.close());
        };
        let lanes = join_all(self.lanes.iter().zip(&benches).map(|(lane, bench)| async move {
            let overflow = async {
                match bench.outbox {
                    Some(outbox) => lane.overflow(outbox, bench).await,
                    None => None,
                }
            };
            let (mut sent, error) = tokio::join!(lane.drain(bench), overflow);
            sent.errors.extend(error);
            sent
        }));
        let working = async { tokio::join!(scrapes, lanes) };
        let ((), mut sent) = tokio::select! {
            biased;
            done = working => done,
            never = self.hurry_when_stopped(plan) => match never {},
        };
        for ((lane, bench), sent) in self.lanes.iter().zip(&benches).zip(&mut sent) {
            lane.flush(bench, sent).await;
        }
        drop(benches);
        self.jobs = jobs;
        (sent, noted.into_inner())
    }

    /// Once the tick is to stop, what is in flight has little time left.
    async fn hurry_when_stopped(&self, plan: &Plan) -> std::convert::Infallible {
        if let Some(mut stop) = plan.stop.clone()
            && stop.wait_for(|stop| *stop).await.is_ok()
        {
            let until = Instant::now() + FAREWELL;
            self.lanes.iter().for_each(|lane| lane.state.hurry(until));
        }
        std::future::pending().await
    }

    /// Adds up, releases the lease and reports.
    async fn finish(&mut self, held: Option<Held>, sent: &mut [Sent], mut noted: Noted, degraded: bool, started: Instant) -> Report {
        for (index, (sent, scraped)) in sent.iter_mut().zip(&noted.ledgers).enumerate() {
            sent.ledger.add(scraped);
            if let Some(held) = &held {
                let outbox = &held.outboxes[index];
                outbox.count_unknown().await;
                sent.ledger.owed_before = held.owed_before[index] + outbox.take_found();
                sent.ledger.lost += outbox.take_lost();
                sent.errors.extend(outbox.take_messages());
                sent.ledger.owed_after = outbox.backlog().samples;
            }
            noted.errors.append(&mut sent.errors);
            if sent.ledger.lost > 0 {
                // What was lost may be sent again, if the home still shows it.
                self.writers[index].borrow_mut().forget_timestamps();
            }
        }
        let mut spool = SpoolReport::default();
        if let (Some(holder), Some(held)) = (&mut self.holder, held) {
            let jobs = job_states(&self.config, &self.jobs, &self.lanes, &held, sent);
            let (report, error) = holder.release(held, jobs, &self.lanes).await;
            spool = report;
            if let Some(error) = error {
                tracing::error!("{error}");
                noted.errors.push(error);
            }
        }
        noted.degraded = degraded;
        self.report(sent, noted, spool, false, started)
    }

    /// A tick that could not begin.
    fn untouched(&self, outcome: Outcome, error: String, started: Instant) -> Report {
        tracing::warn!("{error}");
        let sent: Vec<_> = self.lanes.iter().map(|_| Sent::default()).collect();
        let report = self.report(&sent, Noted::default(), SpoolReport::default(), false, started);
        Report { outcome, errors: vec![error], ..report }
    }

    /// Serves the slots of one job until none is due within the tick.
    async fn serve(&self, index: usize, job: &mut Job, shift: &Shift<'_>) {
        let Shift { plan, start_ms, until, .. } = *shift;
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
                let up = join_all(job.targets.iter().map(|target| self.scrape(index, target, target.scrape_timeout.min(left), shift))).await;
                // Twice the last one: the next may be slower, and its samples must be sent as well.
                job.expected = started.elapsed() * 2;
                if up.into_iter().all(|up| up) {
                    job.scraped_ms = Some(now_ms);
                }
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

    /// Scrapes one target and queues what it gave. Says whether it succeeded.
    async fn scrape(&self, job: usize, target: &Target, timeout: Duration, shift: &Shift<'_>) -> bool {
        let Shift { plan, held, noted, .. } = *shift;
        // What this scrape has staged, of what all have.
        let mine = Cell::new(0);
        let fits = |staged: usize| {
            self.staged.set(self.staged.get() - mine.replace(staged) + staged);
            let writers: usize = self.writers.iter().map(|writer| writer.try_borrow().map_or(0, |writer| writer.memory())).sum();
            let queues: usize = self.lanes.iter().map(|lane| lane.queue.bytes()).sum();
            let spooled: usize = held.iter().flat_map(|held| &held.outboxes).map(|outbox| outbox.memory()).sum();
            writers + queues + spooled + self.staged.get() <= self.memory_limit
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
        scraped.error.is_none()
    }

    fn report(&self, sent: &[Sent], noted: Noted, spool: SpoolReport, dry_run: bool, started: Instant) -> Report {
        let mut ledger = Ledger::default();
        for sent in sent {
            ledger.add(&sent.ledger);
        }
        let up = noted.scrapes.iter().filter(|scrape| scrape.up).count();
        let failed = ledger.lost > 0 || sent.iter().any(|sent| sent.stopped) || (up == 0 && !noted.scrapes.is_empty());
        let outcome = if failed {
            Outcome::Failed
        } else if noted.degraded {
            Outcome::Degraded
        } else if up < noted.scrapes.len() || ledger.rejected > 0 || ledger.expired > 0 || (ledger.owed_after > 0 && !dry_run) {
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
            previous: noted.after_a_kill.then_some(Previous::Killed),
            scrapes,
            ledger,
            remotes: self.lanes.iter().zip(sent).map(|(lane, sent)| lane.report(sent)).collect(),
            spool,
            lag_ms: newest_ms.map(|newest| self.clock.now_ms() - newest),
            duration_ms: started.elapsed().as_millis() as u64,
            errors: counted(noted.errors),
        }
    }
}

/// What the scrapes of a tick share.
struct Shift<'a> {
    plan: &'a Plan,
    held: Option<&'a Held>,
    start_ms: i64,
    until: Instant,
    noted: &'a RefCell<Noted>,
}

/// What a tick's scrapes leave behind.
#[derive(Default)]
struct Noted {
    after_a_kill: bool,
    degraded: bool,
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

/// What the next tick is to know of the jobs. A watermark moves only when nothing of the remote was lost.
fn job_states(config: &Config, jobs: &[Job], lanes: &[Lane], held: &Held, sent: &[Sent]) -> std::collections::BTreeMap<String, JobState> {
    let state = |(config, job): (&ScrapeConfig, &Job)| {
        let mut state = held.job(&config.job_name);
        state.last_slot_ms = job.served_ms.or(state.last_slot_ms);
        for (lane, sent) in lanes.iter().zip(sent) {
            if let Some(scraped_ms) = job.scraped_ms.filter(|_| sent.ledger.lost == 0) {
                state.watermarks.insert(lane.dir.clone(), scraped_ms);
            }
        }
        (config.job_name.clone(), state)
    };
    config.scrape_configs.iter().zip(jobs).map(state).collect()
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
