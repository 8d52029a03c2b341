//! What a tick tells in the end.

use tokio::time::Instant;

use super::Forwarder;
use super::remote::Sent;
use crate::report::{Ledger, Outcome, Previous, Report, ScrapeReport, SpoolReport};
use crate::scrape::ScrapeOutcome;

/// Of these many scrapes and errors a report tells.
const REPORTED: usize = 200;

/// What a tick's scrapes leave behind.
#[derive(Default)]
pub(super) struct Noted {
    pub(super) after_a_kill: bool,
    pub(super) degraded: bool,
    pub(super) ledgers: Vec<Ledger>,
    pub(super) scrapes: Vec<ScrapeReport>,
    pub(super) errors: Vec<String>,
}

impl Noted {
    pub(super) fn scraped(&mut self, job: &str, instance: &str, scraped: &ScrapeOutcome) {
        self.errors.extend(
            scraped
                .error
                .as_ref()
                .map(|error| format!("scrape: {error}")),
        );
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

impl Forwarder {
    pub(super) fn report(
        &self,
        sent: &[Sent],
        noted: Noted,
        spool: SpoolReport,
        dry_run: bool,
        started: Instant,
    ) -> Report {
        let mut ledger = Ledger::default();
        for sent in sent {
            ledger.add(&sent.ledger);
        }
        let up = noted.scrapes.iter().filter(|scrape| scrape.up).count();
        let failed = ledger.lost > 0
            || sent.iter().any(|sent| sent.stopped)
            || (up == 0 && !noted.scrapes.is_empty());
        let outcome = if failed {
            Outcome::Failed
        } else if noted.degraded {
            Outcome::Degraded
        } else if up < noted.scrapes.len()
            || ledger.rejected > 0
            || ledger.expired > 0
            || (ledger.owed_after > 0 && !dry_run)
        {
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
            remotes: self
                .lanes
                .iter()
                .zip(sent)
                .map(|(lane, sent)| lane.report(sent))
                .collect(),
            spool,
            memory: self.memory(),
            lag_ms: newest_ms.map(|newest| self.clock.now_ms() - newest),
            duration_ms: started.elapsed().as_millis() as u64,
            errors: counted(noted.errors),
        }
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
    different
        .into_iter()
        .map(|(error, times)| {
            if times > 1 {
                format!("{error} ({times} times)")
            } else {
                error
            }
        })
        .collect()
}
