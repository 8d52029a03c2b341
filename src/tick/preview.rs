//! The samples that a tick would send, found without sending or remembering them.

use std::cell::RefCell;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::report::TickRecord;
use super::{Forwarder, Plan};
use crate::report::{Ledger, Report, SpoolReport};
use crate::scrape::{ScrapeOutcome, Scraper};

/// A scrape whose samples are shown and not sent.
#[derive(Debug)]
pub struct Preview {
    /// `job_name` of the scrape job.
    pub job: String,
    /// Label `instance` of the target.
    pub instance: String,
    /// Outcome of the scrape, with its batches for each remote.
    pub scraped: ScrapeOutcome,
}

impl Forwarder {
    /// Scrapes the targets of `jobs` once, as a cold process would; `None` means all jobs. No
    /// scrape takes longer than `longest`.
    pub async fn preview(&self, jobs: Option<&[String]>, longest: Duration) -> Vec<Preview> {
        let writers: Vec<_> = self
            .writers
            .iter()
            .map(|writer| RefCell::new(writer.borrow().cold()))
            .collect();
        let fits = |staged: usize| {
            writers
                .iter()
                .map(|writer| writer.try_borrow().map_or(0, |writer| writer.memory()))
                .sum::<usize>()
                + staged
                <= self.memory_limit
        };
        let scraper = Scraper {
            home: &*self.home,
            clock: &*self.clock,
            external_labels: &self.config.global.external_labels,
            remotes: &self.config.remote_write,
            writers: &writers,
            fits: &fits,
            marks_when_it_fails: true,
        };
        let wanted = self
            .config
            .scrape_configs
            .iter()
            .zip(&self.jobs)
            .filter(|(config, _)| jobs.is_none_or(|jobs| jobs.contains(&config.job_name)));
        let scrapes = wanted.flat_map(|(config, job)| {
            job.targets.iter().map(move |target| async move {
                let scraped = scraper
                    .scrape(config, target, target.scrape_timeout.min(longest))
                    .await;
                Preview {
                    job: config.job_name.clone(),
                    instance: target.instance().to_owned(),
                    scraped,
                }
            })
        });
        join_all(scrapes).await
    }

    /// Reports what a tick would send. The ledger counts those samples as owed.
    pub async fn dry_run(&self, plan: &Plan) -> Report {
        let started = Instant::now();
        let longest = plan.deadline.map_or(Duration::MAX, |deadline| {
            (deadline - started).saturating_sub(self.config.forwarder.deadline_margin)
        });
        let mut record = TickRecord {
            ledgers: vec![Ledger::default(); self.lanes.len()],
            ..TickRecord::default()
        };
        for Preview {
            job,
            instance,
            mut scraped,
        } in self.preview(plan.jobs.as_deref(), longest).await
        {
            for (ledger, committed) in record
                .ledgers
                .iter_mut()
                .zip(std::mem::take(&mut scraped.commits))
            {
                ledger.add(&committed.ledger());
                ledger.leave_owed(committed.counts.fresh);
            }
            record.scraped(&job, &instance, &scraped);
        }
        let sent = record
            .ledgers
            .drain(..)
            .map(super::remote::LaneSummary::only)
            .collect::<Vec<_>>();
        self.report(&sent, record, SpoolReport::default(), true, started)
    }
}
