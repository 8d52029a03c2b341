//! Asks a home for the last minute by remote read: whether that works, what it costs, whether it
//! shows the series of `/federate`, and what the home says of itself.

use std::collections::BTreeMap;

use super::finding::{CLOCK_TOLERANCE_MS, Finding, PROBE};
use crate::batch::{Batch, decode};
use crate::config::{Config, RemoteReadMode, format_duration};
use crate::home::{Home, Target};
use crate::intake::RemoteCommit;
use crate::net::redacted;
use crate::prompb::STALE_NAN;
use crate::read::facts::{HomeApi, HomeClockReading, HomeFacts};
use crate::read::{
    ReadError, ReadErrorKind, ReadSource, ReadSourceError, Slots, WindowOutcome, WindowShape,
};
use crate::series::text;
use crate::tick::{Forwarder, Preview};

/// One in so many series may come or go between the scrape and the read.
const ACCIDENTAL: usize = 100;

/// Where the home is asked, and what it is asked with.
pub(super) struct ReadProbe<'a> {
    pub(super) config: &'a Config,
    pub(super) home: &'a dyn Home,
    pub(super) forwarder: &'a Forwarder,
}

impl ReadProbe<'_> {
    /// Tries the remote read of a target, of which `federated` is a scrape at `federated_ms`.
    pub(super) async fn findings(
        &self,
        subject: &str,
        target: &Target,
        federated: &Preview,
        federated_ms: i64,
    ) -> Vec<Finding> {
        let mode = self.config.forwarder.remote_read.mode;
        if mode == RemoteReadMode::Off {
            return Vec::new();
        }
        let subject = format!("{subject}: remote read");
        let path = self.config.forwarder.remote_read.path.as_deref();
        let source = match ReadSource::new(target, path) {
            Ok(source) => source,
            Err(ReadSourceError::NoFederation) => return Vec::new(),
            Err(error) => {
                let text = format!("this job is scraped only: {error}");
                return vec![Finding::doubtful(subject, text)];
            }
        };
        let api = HomeApi::new(self.home, target, PROBE);
        let (facts, clock) = (api.facts().await, api.clock().await);
        let ahead_ms = federated.scraped.ahead_ms.unwrap_or_default();
        let is_off = ahead_ms.abs() > CLOCK_TOLERANCE_MS;
        let end_ms = federated_ms + if is_off { ahead_ms } else { 0 };
        let outcome = self.read(target, &source, end_ms).await;
        let mut findings = vec![self.read_finding(&subject, &outcome)];
        if outcome.error.is_none() {
            let commits = &federated.scraped.commits;
            findings.push(compared(&subject, commits, &outcome, end_ms));
        }
        findings.extend(fact_findings(&subject, &facts, clock, &source));
        findings
    }

    /// Reads the minute up to `end_ms` of the home's clock, and takes what `/federate` shows then.
    /// So the series can be compared, whatever the mode takes of such an answer.
    async fn read(&self, target: &Target, source: &ReadSource, end_ms: i64) -> WindowOutcome {
        let slot = Slots {
            first_ms: end_ms,
            interval_ms: Forwarder::LAST_MINUTE_MS,
            count: 1,
            look_back_ms: Forwarder::LAST_MINUTE_MS,
        };
        let mut outcome = self
            .forwarder
            .read_last_minute(target, source, end_ms, WindowShape::Slots(slot), PROBE)
            .await;
        let needs_date = self.config.forwarder.remote_read.mode == RemoteReadMode::Always;
        if needs_date && outcome.error.is_none() && outcome.ahead_ms.is_none() {
            let address = redacted(&source.url);
            outcome.error = Some(ReadError::NoDate { address });
        }
        outcome
    }

    /// Says whether reads work, and what one costs.
    fn read_finding(&self, subject: &str, outcome: &WindowOutcome) -> Finding {
        let Some(error) = &outcome.error else {
            let (size, took) = (outcome.size, outcome.duration.as_millis());
            let text = format!(
                "it works: {} samples of {} series of the last minute, {} bytes in {took} ms",
                size.samples, size.series, outcome.bytes
            );
            return if size.samples == 0 {
                let hint = "; nothing of the last minute matches, so nothing was tried with it";
                Finding::doubtful(subject, format!("{text}{hint}"))
            } else {
                Finding::good(subject, text)
            };
        };
        let text = error.to_string();
        // The subject says it already.
        let text = text.strip_prefix("remote read ").unwrap_or(&text);
        match self.config.forwarder.remote_read.mode {
            RemoteReadMode::Always => Finding::bad(subject, text),
            RemoteReadMode::Gaps | RemoteReadMode::Off => {
                Finding::doubtful(subject, format!("{text}{}", consequence(error)))
            }
        }
    }
}

/// What an error means where reads fill gaps only.
fn consequence(error: &ReadError) -> &'static str {
    match error.kind() {
        ReadErrorKind::Unsupported | ReadErrorKind::Refused => {
            ". Scrapes go on without it; what they miss is gone"
        }
        _ => ". A gap would wait for it at first, and be given up after three ticks",
    }
}

/// The newest sample of each series: its time, and whether it is a stale marker.
type SeriesEnds = BTreeMap<String, (i64, bool)>;

/// The newest sample of each series in some batches.
fn newest<'b>(batches: impl Iterator<Item = &'b Batch>) -> SeriesEnds {
    let mut newest = BTreeMap::new();
    for series in batches.flat_map(|batch| decode(batch).unwrap_or_default().timeseries) {
        let pairs: Vec<_> = series
            .labels
            .iter()
            .map(|label| (label.name.as_str(), label.value.as_str()))
            .collect();
        let floats = series.samples.iter();
        let floats = floats.map(|sample| (sample.timestamp, sample.value.to_bits() == STALE_NAN));
        let histograms = series
            .histograms
            .iter()
            .map(|found| (found.timestamp, false));
        if let Some(last) = floats.chain(histograms).max() {
            let entry = newest.entry(text::series(&pairs)).or_insert(last);
            *entry = last.max(*entry);
        }
    }
    newest
}

/// Compares the series of a read with those of the scrape at whose moment it ends, as the first
/// remote gets them.
fn compared(
    subject: &str,
    federated: &[RemoteCommit],
    outcome: &WindowOutcome,
    federated_ms: i64,
) -> Finding {
    let of = |commits: &[RemoteCommit]| {
        let first = commits.iter().take(1);
        newest(first.flat_map(|commit| commit.scrapes.iter().flatten()))
    };
    let (federated, read) = (of(federated), of(&outcome.commits));
    // What the home took between its moment and the answer to the scrape is in no read up to then,
    // and a read of a minute shows nothing that is older.
    let common = federated_ms - Forwarder::LAST_MINUTE_MS + 1..=federated_ms;
    let lacks = |of: &SeriesEnds, other: &SeriesEnds| {
        let mut lacking = of.iter().filter(|(series, (at_ms, is_marker))| {
            common.contains(at_ms) && !is_marker && !other.contains_key(*series)
        });
        let first = lacking.next().map(|(series, _)| series.clone())?;
        let count = 1 + lacking.count();
        // Some series come and go between two requests.
        (count * ACCIDENTAL > of.len()).then_some((count, first))
    };
    let texts = [
        (lacks(&federated, &read), "shown by /federate only"),
        (lacks(&read, &federated), "read only"),
    ];
    let differences: Vec<_> = texts
        .into_iter()
        .filter_map(|(lacking, text)| {
            let (count, series) = lacking?;
            Some(format!("{count} series are {text}, such as {series}"))
        })
        .collect();
    if differences.is_empty() {
        return Finding::good(subject, "its series are those of /federate");
    }
    Finding::doubtful(
        subject,
        format!(
            "its series are not those of /federate: {}; look for external labels of the home in \
             match[], for histograms with custom buckets, and for replicas behind one address",
            differences.join("; ")
        ),
    )
}

/// What the home says of itself, as far as it can be asked.
fn fact_findings(
    subject: &str,
    facts: &HomeFacts,
    clock: Option<HomeClockReading>,
    source: &ReadSource,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let version = facts.version.as_ref();
    let late = facts.implied_lateness();
    findings.push(Finding::good(
        subject,
        match (version, late) {
            (None, None) => {
                "the pages /api/v1/status of the home cannot be read, so overlap: auto \
                             follows from the lateness that is seen"
                    .to_owned()
            }
            (version, late) => {
                let version = version.map_or("unknown".to_owned(), ToString::to_string);
                let late = late.map_or_else(
                    || "nothing is known of how late samples become visible".to_owned(),
                    |late| {
                        let late = format_duration(late);
                        format!("samples may become visible {late} late by its configuration")
                    },
                );
                format!("the home's version is {version}; {late}")
            }
        },
    ));
    findings.extend(
        facts
            .traps()
            .into_iter()
            .map(|trap| Finding::doubtful(subject, trap)),
    );
    if let Some(label) = facts.misread_label(&source.selectors) {
        findings.push(Finding::bad(
            subject,
            format!(
                "a match[] asks for {label}, an external label of the home: a read would show \
                 other series than /federate; take the matcher out, since /federate does not \
                 know external labels either"
            ),
        ));
    }
    if let Some(ahead_ms) = clock.and_then(|clock| clock.foreign_date_ms()) {
        let direction = if ahead_ms > 0 { "behind" } else { "ahead of" };
        findings.push(Finding::doubtful(
            subject,
            format!(
                "a proxy writes its own Date, and the home's clock is {} s {direction} it: set the \
                 home's clock by NTP, because reads go up to what Date says",
                ahead_ms.abs() / 1000
            ),
        ));
    }
    findings
}
