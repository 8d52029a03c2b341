//! Checks when jobs are scraped: no slot twice, and no slot left out for which there was time.

use std::time::Duration;

use amp_forwarder::config::Config;
use tokio::time::Instant;

use crate::checks::Ticked;
use crate::events::Event;
use crate::home::{HomeModel, Shown};
use crate::planted::Bug;
use crate::scenario::Kind;
use crate::world::SimWorld;

struct Job {
    name: String,
    interval_ms: i64,
    /// Offset of the slots, derived from the name so that jobs are spread over the interval.
    offset_ms: i64,
    /// Slot that this process served last.
    last_slot_ms: Option<i64>,
    /// Longest scrape by this process.
    longest_ms: i64,
}

pub(crate) struct Slots {
    jobs: Vec<Job>,
    divisor: i64,
    /// Whether the clock was moved since the last tick.
    moved: bool,
}

impl Ticked<'_> {
    /// The moment of a time of the forwarder's clock.
    fn moment(&self, ms: i64) -> Instant {
        self.started + Duration::from_millis(u64::try_from(ms - self.start_ms).unwrap_or_default())
    }

    /// Whether some remote was certainly asked at this time, and for longer than a slot that has
    /// passed waits.
    fn is_at_work(&self, ms: i64) -> bool {
        let (from, to) = (self.moment(ms - 100), self.moment(ms + 1_100));
        let posts = self.posts.iter().flatten();
        posts
            .into_iter()
            .any(|post| post.from < from && post.to > to)
    }

    /// Until when a slot that comes at this time may be held up by scrapes that are under way then,
    /// and by those that begin in the second for which it waits after them. It is held up while the
    /// tick goes on for such scrapes alone.
    fn held_up_until(&self, ms: i64) -> Option<i64> {
        let last_end = |begun_before: i64, ended_after: i64| {
            let under_way = self
                .shown
                .iter()
                .filter(|shown| shown.start_ms < begun_before && shown.ended_ms > ended_after);
            under_way.map(|shown| shown.ended_ms).max()
        };
        let mut until = last_end(ms, ms - 1)?;
        while let Some(later) = last_end(until + 1_000, until) {
            until = later;
        }
        Some(until)
    }

    /// Whether the forwarder may have waited for some remote at this time: for an answer, or for
    /// the end of a back-off. Or another job still served a slot of the minute.
    fn may_be_at_work(&self, ms: i64) -> bool {
        let minute_ends_ms = self.start_ms + 60_000;
        let still_scraped = |shown: &Shown| shown.start_ms < minute_ends_ms && shown.ended_ms >= ms;
        if self.shown.iter().any(still_scraped) {
            return true;
        }
        let (from, to) = (self.moment(ms), self.moment(ms + 1));
        self.posts.iter().any(|posts| {
            // No back-off of these runs is longer, and no `Retry-After`.
            let back_off = Duration::from_secs(10);
            posts.iter().any(|post| {
                let is_asked = post.from < to && post.to >= from;
                let may_wait = !post.is_final && post.to < from && post.to + back_off >= from;
                is_asked || may_wait
            })
        })
    }
}

/// Assumed duration of a job's first scrape.
const AT_FIRST_MS: i64 = 1_000;

impl Slots {
    pub(crate) fn new(config: &Config, bug: Option<Bug>) -> Self {
        let divisor = if bug == Some(Bug::SkippedSlots) { 5 } else { 1 };
        let jobs = config.scrape_configs.iter().map(|job| Job {
            name: job.job_name.clone(),
            interval_ms: job.scrape_interval.as_millis() as i64 / divisor,
            offset_ms: (xxhash_rust::xxh3::xxh3_64(job.job_name.as_bytes())
                % job.scrape_interval.as_millis() as u64) as i64,
            last_slot_ms: None,
            longest_ms: 0,
        });
        Self {
            jobs: jobs.collect(),
            divisor,
            moved: false,
        }
    }

    /// Forgets what a new process does not know.
    pub(crate) fn cold(&mut self) {
        self.jobs.iter_mut().for_each(|job| job.last_slot_ms = None);
    }

    pub(crate) fn clock_moved(&mut self) {
        self.moved = true;
    }

    pub(crate) fn check(
        &mut self,
        world: &SimWorld,
        home: &HomeModel,
        ticked: &Ticked<'_>,
        margin_ms: i64,
    ) {
        let until_ms = ticked.start_ms + ticked.tick.timeout.as_millis() as i64 - margin_ms;
        let moved = std::mem::take(&mut self.moved);
        for (index, job) in self.jobs.iter_mut().enumerate() {
            let found = |what: String| world.found("slots", format!("{}: {what}", job.name));
            let mut scrapes: Vec<(i64, i64)> = Vec::new();
            let mut of_job: Vec<_> = ticked
                .shown
                .iter()
                .filter(|shown| home.targets[shown.target].job == job.name)
                .collect();
            of_job.sort_by_key(|shown| shown.start_ms);
            for shown in &of_job {
                match scrapes.last_mut() {
                    Some((start, end)) if *start == shown.start_ms => {
                        *end = shown.ended_ms.max(*end);
                    }
                    _ => scrapes.push((shown.start_ms, shown.ended_ms)),
                }
            }
            let targets = home
                .targets
                .iter()
                .filter(|target| target.job == job.name)
                .count();
            if of_job.len() != scrapes.len() * targets {
                found(format!(
                    "{} scrapes at {} times of {targets} targets",
                    of_job.len(),
                    scrapes.len()
                ));
            }
            let kind = ticked.tick.kind;
            let wanted = match kind {
                Kind::DrainOnly => Some(0),
                Kind::Once | Kind::DryRun => Some(1),
                Kind::SomeJobs if index > 0 => Some(0),
                _ => None,
            };
            if wanted.is_some_and(|wanted| wanted != scrapes.len()) {
                found(format!("{} scrapes by {kind:?}", scrapes.len()));
            }
            let interval = job.interval_ms;
            let offset = job.offset_ms.rem_euclid(interval);
            let slot = |time: i64| (time - offset).div_euclid(interval) * interval + offset;
            let stop_ms = match kind {
                Kind::Stopped(after) => ticked.start_ms + after.as_millis() as i64,
                _ => i64::MAX,
            };
            let minute_ends_ms = ticked.start_ms + 60_000;
            for (start, end) in &scrapes {
                job.longest_ms = job.longest_ms.max(end - start);
            }
            if kind == Kind::DryRun {
                continue;
            }
            if wanted.is_none() && !moved {
                // A slot far in the future was served by a clock that was wrong: it does not
                // count.
                let last_slot = job
                    .last_slot_ms
                    .filter(|last| *last <= ticked.start_ms + interval);
                let due = slot(ticked.start_ms);
                if last_slot.is_none_or(|last| due > last) && stop_ms > ticked.start_ms {
                    if scrapes.first().map(|(start, _)| *start) != Some(ticked.start_ms) {
                        found(format!(
                            "slot {due} is due when the tick starts at {}: {scrapes:?}",
                            ticked.start_ms
                        ));
                    }
                    if last_slot.is_some_and(|last| due > last + interval) {
                        world.hit(Event::SlotPassed);
                    }
                }
                let mut last = last_slot;
                let mut free = ticked.start_ms;
                for &(start, end) in &scrapes {
                    if last.is_some_and(|last| slot(start) <= last) {
                        found(format!("slot {} twice: {scrapes:?}", slot(start)));
                    }
                    // After its minute a slot that has passed waits for a second, in which the
                    // tick may end. So does one within the minute of a job whose slots the tick
                    // does not wait for.
                    let held_up = ticked.held_up_until(slot(start)).unwrap_or(free).max(free);
                    let is_waited_for =
                        slot(start) < minute_ends_ms && interval * self.divisor < 60_000;
                    let waits = !is_waited_for && start <= held_up + 1_000;
                    if start != slot(start) && start != free && !waits {
                        found(format!("a scrape at {start}, between slots: {scrapes:?}"));
                    }
                    let is_overtime = slot(start) >= minute_ends_ms;
                    if is_overtime {
                        world.hit(Event::Overtime);
                    }
                    if (is_overtime && !ticked.may_be_at_work(start))
                        || start >= until_ms
                        || start > stop_ms
                    {
                        found(format!(
                            "a scrape at {start}, after the tick's minute: {scrapes:?}"
                        ));
                    }
                    (last, free) = (Some(slot(start)), end);
                }
                // Every later slot of this minute must be served if there is time for it, and later
                // ones as long as the tick is still at work.
                let mut next = slot(ticked.start_ms) + interval;
                let enough = AT_FIRST_MS.max(2 * job.longest_ms) + 1;
                while next + enough <= until_ms && next < stop_ms {
                    // After the minute, a slot that comes during a scrape begins later than at its
                    // time: after the scrape and a pause. By then too little may be left.
                    let begins = ticked
                        .held_up_until(next)
                        .map_or(next, |ended| ended + 1_000);
                    let is_due = if next < minute_ends_ms {
                        interval * self.divisor < 60_000
                    } else {
                        kind == Kind::Schedule
                            && ticked.is_at_work(next)
                            && begins + enough <= until_ms
                    };
                    if !is_due {
                        next += interval;
                        continue;
                    }
                    let served = scrapes.iter().any(|(start, _)| slot(*start) == next)
                        || last_slot.is_some_and(|last| next <= last);
                    let passed = scrapes
                        .iter()
                        .any(|(start, end)| *start < next && *end >= stop_ms.min(next + interval));
                    if !served && !passed {
                        found(format!(
                            "slot {next} was left out: {scrapes:?}, longest {}",
                            job.longest_ms
                        ));
                    }
                    next += interval;
                }
            }
            job.last_slot_ms = scrapes
                .last()
                .map(|(start, _)| slot(*start))
                .or(job.last_slot_ms);
        }
    }
}
