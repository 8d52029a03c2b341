//! The report of a tick, made at its end.

use tokio::time::Instant;

use super::Forwarder;
use super::remote::LaneSummary;
use crate::read::WindowOutcome;
use crate::report::{
    Incident, IncidentKind, Ledger, Outcome, PreviousTick, REPORTED, ReadReport, Report,
    ScrapeReport, SpoolReport, error_texts, merge_incidents,
};
use crate::scrape::{ScrapeError, ScrapeOutcome};

/// The facts that a tick collects for its report.
#[derive(Default)]
pub(super) struct TickRecord {
    /// Whether the tick before this one was killed.
    pub(super) after_a_kill: bool,
    /// Whether the tick runs without its spool because the store is down.
    pub(super) degraded: bool,
    /// Whether the spool has a backlog of a remote that the configuration does not name.
    pub(super) has_orphans: bool,
    /// Samples that were lost in the spool of such remotes.
    pub(super) orphans_lost: u64,
    /// Counts of the scrapes, one ledger for each remote.
    pub(super) ledgers: Vec<Ledger>,
    pub(super) scrapes: Vec<ScrapeReport>,
    /// Reads from the homes' TSDBs, one entry for each target.
    pub(super) reads: Vec<ReadReport>,
    /// Time whose samples stay at home only, in milliseconds.
    pub(super) given_up_ms: u64,
    pub(super) incidents: Vec<Incident>,
}

impl TickRecord {
    /// Records one window of a read.
    pub(super) fn read(&mut self, job: &str, instance: &str, read: &WindowOutcome) {
        let known = self
            .reads
            .iter()
            .position(|known| known.job == job && known.instance == instance);
        let at = known.unwrap_or_else(|| {
            self.reads.push(ReadReport {
                job: job.to_owned(),
                instance: instance.to_owned(),
                ..ReadReport::default()
            });
            self.reads.len() - 1
        });
        let report = &mut self.reads[at];
        report.duration_ms += read.duration.as_millis() as u64;
        report.bytes += read.bytes;
        if read.error.is_some() {
            report.failed += 1;
            return;
        }
        report.windows += 1;
        report.samples += read.tally.scraped;
        let late = read.commits.iter().map(|commit| commit.counts.late).max();
        report.late += late.unwrap_or_default();
        let worst = read
            .commits
            .iter()
            .map(|commit| commit.counts.worst_late_ms)
            .max();
        report.worst_late_ms = report.worst_late_ms.max(worst.unwrap_or_default());
    }

    /// Says whether the last scrape or read of a target has failed in this tick, and nothing if
    /// neither was tried. A slot is scraped after what was missed before it was read.
    pub(super) fn has_failed(&self, job: &str, instance: &str) -> Option<bool> {
        let mut scrapes = self.scrapes.iter().rev();
        let scrape = scrapes.find(|scrape| scrape.job == job && scrape.instance == instance);
        let mut reads = self.reads.iter();
        let read = reads.find(|read| read.job == job && read.instance == instance);
        scrape
            .map(|scrape| !scrape.up)
            .or_else(|| read.map(|read| read.windows == 0))
    }

    /// Records that a part of the past stays at home only.
    pub(super) fn gave_up(&mut self, incident: Incident, given_up_ms: u64) {
        self.given_up_ms += given_up_ms;
        self.incidents.push(incident);
    }

    /// Records the result of a scrape, and an incident if it failed.
    pub(super) fn scraped(&mut self, job: &str, instance: &str, scraped: &ScrapeOutcome) {
        if let Some(error) = &scraped.error {
            let kind = match error {
                ScrapeError::Limit { limit, .. } if limit == "memory_limit" => {
                    IncidentKind::MemoryLimit
                }
                _ => IncidentKind::ScrapeFailed,
            };
            self.incidents
                .push(Incident::new(kind, format!("scrape: {error}")).for_job(job));
        }
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
    /// Adds up the ledgers, judges the outcome and makes the report.
    pub(super) fn report(
        &self,
        sent: &[LaneSummary],
        record: TickRecord,
        spool: SpoolReport,
        dry_run: bool,
        started: Instant,
    ) -> Report {
        let mut ledger = Ledger::default();
        for sent in sent {
            ledger.add(&sent.ledger);
        }
        let up = record.scrapes.iter().filter(|scrape| scrape.up).count()
            + record.reads.iter().filter(|read| read.windows > 0).count();
        let tried = record.scrapes.len() + record.reads.len();
        let failed = ledger.lost + record.orphans_lost > 0
            || sent.iter().any(|sent| sent.stopped)
            || (up == 0 && tried > 0);
        let outcome = if failed {
            Outcome::Failed
        } else if record.degraded {
            Outcome::Degraded
        } else if up < tried
            || record.given_up_ms > 0
            || record.has_orphans
            || sent.iter().any(|sent| sent.must_read_again)
            || ledger.rejected > 0
            || ledger.expired > 0
            || (ledger.owed_after > 0 && !dry_run)
        {
            Outcome::Partial
        } else {
            Outcome::Ok
        };
        // The lag is that of the remote that is furthest behind.
        let newest_ms = sent.iter().filter_map(|sent| sent.newest_ms).min();
        let mut scrapes = record.scrapes;
        scrapes.truncate(REPORTED);
        let mut reads = record.reads;
        for read in &mut reads {
            read.safe_ms = self.safe_until(&read.job, &read.instance);
        }
        reads.truncate(REPORTED);
        Report {
            outcome,
            dry_run,
            previous: record.after_a_kill.then_some(PreviousTick::Killed),
            scrapes,
            reads,
            given_up_ms: record.given_up_ms,
            failing: self.jobs.iter().map(|job| job.failing.len() as u64).sum(),
            ledger,
            remotes: self
                .lanes
                .iter()
                .zip(sent)
                .map(|(lane, sent)| lane.report(sent))
                .collect(),
            spool,
            memory: self.memory(),
            lag_ms: newest_ms.map(|newest| self.clock.now_ms().saturating_sub(newest)),
            duration_ms: started.elapsed().as_millis() as u64,
            errors: error_texts(&record.incidents, REPORTED),
            incidents: merge_incidents(&record.incidents, REPORTED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_scrape_or_else_the_reads_say_whether_a_target_has_failed() {
        let scrape = |instance: &str, up| ScrapeReport {
            job: "home".to_owned(),
            instance: instance.to_owned(),
            start_ms: 0,
            duration_ms: 0,
            samples: 0,
            series_added: 0,
            bytes: 0,
            up,
        };
        let read = |instance: &str, windows, failed| ReadReport {
            job: "home".to_owned(),
            instance: instance.to_owned(),
            windows,
            failed,
            ..ReadReport::default()
        };
        let record = TickRecord {
            scrapes: vec![
                scrape("back", false),
                scrape("gone", true),
                scrape("back", true),
                scrape("gone", false),
            ],
            reads: vec![
                read("back", 0, 1),
                read("gone", 1, 0),
                read("partly", 2, 1),
                read("away", 0, 1),
            ],
            ..TickRecord::default()
        };
        for (instance, failed) in [
            ("back", Some(false)),
            ("gone", Some(true)),
            ("partly", Some(false)),
            ("away", Some(true)),
            ("idle", None),
        ] {
            assert_eq!(record.has_failed("home", instance), failed, "{instance}");
            assert_eq!(record.has_failed("other", instance), None, "{instance}");
        }
    }
}
