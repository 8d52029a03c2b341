//! The backlog, tick by tick, from the function's reports.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::lambda::InvocationResult;

/// The report of one tick, as a row of the table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TickRow {
    number: u32,
    took: Duration,
    pub(super) outcome: String,
    scrapes: usize,
    scraped: u64,
    written: u64,
    lost: u64,
    segments: u64,
    bytes: u64,
    /// Number of samples in the spool.
    pub(super) owed: u64,
    before: u64,
}

impl TickRow {
    pub(super) const HEAD: &str =
        "tick    took  outcome  scrapes  scraped  written  lost | spool: segments     KB  samples";

    /// Reads the report of a tick, also of one that failed.
    pub(super) fn new(
        last: Option<&Self>,
        took: Duration,
        answer: &InvocationResult,
    ) -> Result<Self> {
        let report = match answer {
            InvocationResult::Answer(report) => report.clone(),
            InvocationResult::Error(error) => {
                let message = error["errorMessage"].as_str().unwrap_or_default();
                serde_json::from_str::<Value>(message)
                    .with_context(|| format!("the function failed: {error}"))?
            }
        };
        let count = |part: &str, name: &str| {
            report[part][name]
                .as_u64()
                .with_context(|| format!("no {part}.{name} in {report}"))
        };
        Ok(Self {
            number: last.map_or(1, |last| last.number + 1),
            took,
            outcome: report["outcome"].as_str().unwrap_or_default().to_owned(),
            scrapes: report["scrapes"].as_array().map_or(0, Vec::len),
            scraped: count("ledger", "scraped")?,
            written: count("ledger", "written")?,
            lost: count("ledger", "lost")?,
            segments: count("spool", "segments")?,
            bytes: count("spool", "bytes")?,
            owed: count("spool", "samples")?,
            before: count("ledger", "owed_before")?,
        })
    }
}

impl fmt::Display for TickRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            number,
            took,
            outcome,
            scrapes,
            scraped,
            written,
            lost,
            segments,
            bytes,
            owed,
            before,
        } = self;
        let (took, kilobytes) = (took.as_secs_f64(), bytes.div_ceil(1000));
        write!(
            f,
            "{number:>4}  {took:>4.1} s  {outcome:<7}  {scrapes:>7}  \
             {scraped:>7}  {written:>7}  {lost:>4} | "
        )?;
        write!(f, "{segments:>15}  {kilobytes:>5}  {owed:>7}")?;
        match owed.cmp(before) {
            std::cmp::Ordering::Greater => write!(f, "  ▲ {}", owed - before),
            std::cmp::Ordering::Less => write!(f, "  ▼ {}", before - owed),
            std::cmp::Ordering::Equal => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(owed_before: u64, owed: u64) -> Value {
        let ledger =
            json!({ "scraped": 700, "written": 10, "lost": 0, "owed_before": owed_before });
        let spool = json!({ "segments": 2, "bytes": 12_345, "samples": owed });
        json!({ "outcome": "partial", "scrapes": [{}, {}], "ledger": ledger, "spool": spool })
    }

    #[test]
    fn a_row_counts_on_and_shows_where_the_backlog_goes() {
        let took = Duration::from_millis(11_960);
        let first = TickRow::new(None, took, &InvocationResult::Answer(report(0, 690))).unwrap();
        assert_eq!(first.number, 1);
        assert_eq!(first.owed, 690);
        assert!(
            first.to_string().ends_with("2     13      690  ▲ 690"),
            "{first}"
        );
        let failed =
            json!({ "errorType": "TickFailed", "errorMessage": report(690, 90).to_string() });
        let second = TickRow::new(Some(&first), took, &InvocationResult::Error(failed)).unwrap();
        assert_eq!(second.number, 2);
        assert!(second.to_string().ends_with("▼ 600"), "{second}");
        assert!(
            TickRow::new(
                None,
                took,
                &InvocationResult::Error(json!({ "errorMessage": "no report" }))
            )
            .is_err()
        );
    }
}
