//! The report of a tick, made at its end.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::Forwarder;
use super::remote::LaneSummary;
use crate::read::WindowOutcome;
use crate::report::{
    Incident, IncidentKind, Ledger, Outcome, PreviousTick, REPORTED, ReadReport, Report,
    ScrapeReport, SpoolReport, counted, error_texts, merge_incidents,
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
        ahead(&mut self.incidents, job, instance, read.tally.too_far_ahead);
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
            .map(|scrape| !scrape.up || scrape.is_all_ahead())
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
        let tally = &scraped.tally;
        ahead(&mut self.incidents, job, instance, tally.too_far_ahead);
        // Remotes may drop different series, so that they see different numbers of them.
        let counts = scraped.commits.iter().map(|commit| commit.counts);
        let (out_of_order, duplicates) = counts.fold((0, 0), |most, counts| {
            let (out_of_order, duplicates) = (counts.out_of_order, counts.duplicates);
            (most.0.max(out_of_order), most.1.max(duplicates))
        });
        self.scrapes.push(ScrapeReport {
            job: job.to_owned(),
            instance: instance.to_owned(),
            start_ms: scraped.start_ms,
            duration_ms: scraped.duration.as_millis() as u64,
            samples: tally.scraped,
            series_added: tally.series_added,
            bytes: scraped.bytes,
            too_far_ahead: tally.too_far_ahead,
            out_of_order,
            duplicates: duplicates + tally.repeated,
            newest_ms: tally.newest_ms,
            up: scraped.error.is_none(),
        });
    }

    fn has_any(&self, kind: IncidentKind) -> bool {
        self.incidents.iter().any(|incident| incident.kind == kind)
    }

    /// Newest timestamp that each home gave, of the home that is furthest behind. Our own samples,
    /// such as `up`, say nothing about the age of what the homes have.
    fn home_newest_ms(&self) -> Option<i64> {
        let mut newest = BTreeMap::new();
        for scrape in &self.scrapes {
            let known = newest.entry((&scrape.job, &scrape.instance)).or_default();
            *known = scrape.newest_ms.max(*known);
        }
        newest.into_values().flatten().min()
    }
}

/// Adds an incident for samples that are too far ahead of our clock.
fn ahead(incidents: &mut Vec<Incident>, job: &str, instance: &str, samples: u64) {
    if samples == 0 {
        return;
    }
    let early = counted(samples, "sample", ["is", "are"]);
    let text = format!(
        "{instance}: {early} more than ten minutes ahead of our clock, and not sent: set the \
         home's clock by NTP"
    );
    incidents.push(
        Incident::new(IncidentKind::SamplesAhead, text)
            .for_job(job)
            .with_samples(samples),
    );
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
            || record.has_any(IncidentKind::SamplesAhead)
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
        // The lag is that of the remote that is furthest behind, or of the home.
        let sent_ms = sent.iter().filter_map(|sent| sent.newest_ms).min();
        let home_ms = record.home_newest_ms();
        let newest_ms = sent_ms.map(|sent_ms| sent_ms.min(home_ms.unwrap_or(sent_ms)));
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
    fn the_home_that_is_furthest_behind_says_how_new_the_samples_are() {
        let scrape = |instance: &str, newest_ms| ScrapeReport {
            job: "home".to_owned(),
            instance: instance.to_owned(),
            start_ms: 0,
            duration_ms: 0,
            samples: 0,
            series_added: 0,
            bytes: 0,
            too_far_ahead: 0,
            out_of_order: 0,
            duplicates: 0,
            newest_ms,
            up: true,
        };
        for (scrapes, expected) in [
            (vec![], None),
            (vec![scrape("without timestamps", None)], None),
            (vec![scrape("a", Some(5)), scrape("a", Some(20))], Some(20)),
            (
                vec![
                    scrape("a", Some(20)),
                    scrape("b", Some(7)),
                    scrape("c", None),
                ],
                Some(7),
            ),
        ] {
            let record = TickRecord {
                scrapes,
                ..TickRecord::default()
            };
            assert_eq!(record.home_newest_ms(), expected, "{:?}", record.scrapes);
        }
    }

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
            too_far_ahead: 0,
            out_of_order: 0,
            duplicates: 0,
            newest_ms: None,
            up,
        };
        let ahead = |instance: &str, newest_ms| ScrapeReport {
            too_far_ahead: 7,
            newest_ms,
            ..scrape(instance, true)
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
                ahead("one of many is ahead", Some(1)),
                ahead("all are ahead", None),
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
            ("one of many is ahead", Some(false)),
            ("all are ahead", Some(true)),
            ("idle", None),
        ] {
            assert_eq!(record.has_failed("home", instance), failed, "{instance}");
            assert_eq!(record.has_failed("other", instance), None, "{instance}");
        }
    }
}
