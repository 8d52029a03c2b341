//! The tick's metrics for CloudWatch, in its embedded metric format: one JSON document on one line
//! of standard output.
//!
//! Source: CloudWatch user guide, "Specification: Embedded metric format". The first 10 custom
//! metrics of an account are free, and each set of dimensions is a metric of its own: ten metrics,
//! one set, and three more that have values only when there is something to say. A verification,
//! which is optional, writes one more.

use serde_json::{Map, Value, json};

use super::{Outcome, Report};

/// Returns the line of a tick, without its line break.
///
/// `level` is the log level of the function. With JSON logs, Lambda drops lines below that level
/// and takes a line without one for INFO.
#[must_use]
pub fn line(report: &Report, namespace: &str, function: &str, level: &str, now_ms: i64) -> String {
    // A tick between two slots of a job scrapes nothing. It must not show that all is well while
    // the last scrape of a target has failed.
    let failed = report.scrapes.iter().filter(|scrape| !scrape.up).count() as u64;
    let failures = failed.max(report.failing) + u64::from(report.outcome == Outcome::Failed);
    let ledger = &report.ledger;
    let metrics = [
        ("Scraped", "Count", Some(json!(ledger.scraped))),
        ("Written", "Count", Some(json!(ledger.written))),
        ("Unchanged", "Count", Some(json!(ledger.unchanged))),
        ("Rejected", "Count", Some(json!(ledger.rejected))),
        ("Expired", "Count", Some(json!(ledger.expired))),
        ("Lost", "Count", Some(json!(ledger.lost))),
        (
            "Lag",
            "Seconds",
            report.lag_ms.map(|lag| json!(lag as f64 / 1000.0)),
        ),
        // An empty backlog has an age of zero: an alarm on it must end when the backlog does.
        (
            "BacklogAge",
            "Seconds",
            Some(json!(
                report
                    .spool
                    .oldest_ms
                    .map_or(0.0, |oldest| now_ms.saturating_sub(oldest) as f64 / 1000.0)
            )),
        ),
        (
            "ScrapeDuration",
            "Milliseconds",
            report
                .scrapes
                .iter()
                .map(|scrape| scrape.duration_ms)
                .max()
                .map(|slowest| json!(slowest)),
        ),
        ("Failures", "Count", Some(json!(failures))),
    ];
    let metrics: Vec<_> = metrics.into_iter().chain(read_metrics(report)).collect();
    document(&metrics, namespace, function, level, now_ms)
}

/// Returns the line of a verification: the share of the home's samples that the remotes have, in
/// percent.
#[must_use]
pub fn completeness_line(
    percent: f64,
    namespace: &str,
    function: &str,
    level: &str,
    now_ms: i64,
) -> String {
    let metrics = [("Completeness", "Percent", Some(json!(percent)))];
    document(&metrics, namespace, function, level, now_ms)
}

fn document(
    metrics: &[(&str, &str, Option<Value>)],
    namespace: &str,
    function: &str,
    level: &str,
    now_ms: i64,
) -> String {
    let mut document = Map::new();
    let mut directives = Vec::new();
    for (name, unit, value) in metrics {
        // A metric without a value would be a data point of zero.
        if let Some(value) = value {
            directives.push(json!({"Name": name, "Unit": unit}));
            document.insert((*name).to_owned(), value.clone());
        }
    }
    document.insert("FunctionName".to_owned(), Value::from(function));
    document.insert("level".to_owned(), Value::from(level));
    let directive =
        json!({"Namespace": namespace, "Dimensions": [["FunctionName"]], "Metrics": directives});
    document.insert(
        "_aws".to_owned(),
        json!({"Timestamp": now_ms, "CloudWatchMetrics": [directive]}),
    );
    Value::Object(document).to_string()
}

/// Metrics of the reads from the homes' TSDBs. They have no value, and cost nothing, as long as
/// there is nothing to say.
fn read_metrics(report: &Report) -> [(&'static str, &'static str, Option<Value>); 3] {
    let seconds = |ms: u64| (ms > 0).then(|| json!(ms as f64 / 1000.0));
    let backfilled = report.ledger.backfilled;
    let lateness_ms = report.reads.iter().map(|read| read.worst_late_ms).max();
    [
        (
            "Backfilled",
            "Count",
            (backfilled > 0).then(|| json!(backfilled)),
        ),
        ("AtHomeOnly", "Seconds", seconds(report.given_up_ms)),
        (
            "ReadLateness",
            "Seconds",
            seconds(lateness_ms.unwrap_or_default()),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Ledger, MemoryReport, RemoteReport, ScrapeReport, SpoolReport};

    fn report() -> Report {
        let ledger = Ledger {
            scraped: 130,
            written: 100,
            unchanged: 20,
            rejected: 4,
            expired: 1,
            lost: 5,
            ..Ledger::default()
        };
        let scrape = ScrapeReport {
            job: "federate".to_owned(),
            instance: "home:30090".to_owned(),
            start_ms: 1,
            duration_ms: 40,
            samples: 125,
            series_added: 1,
            bytes: 1,
            up: false,
        };
        Report {
            outcome: Outcome::Failed,
            dry_run: false,
            previous: None,
            scrapes: vec![
                ScrapeReport {
                    duration_ms: 70,
                    up: true,
                    ..scrape.clone()
                },
                scrape,
            ],
            reads: Vec::new(),
            given_up_ms: 0,
            failing: 1,
            ledger,
            remotes: vec![RemoteReport {
                remote: "amp".to_owned(),
                ledger,
                batches: 2,
                requests: 3,
                bytes: 10,
                send_ms: 90,
            }],
            spool: SpoolReport {
                oldest_ms: Some(1_699_999_940_000),
                ..SpoolReport::default()
            },
            memory: MemoryReport::default(),
            lag_ms: Some(1500),
            duration_ms: 100,
            errors: Vec::new(),
            incidents: Vec::new(),
        }
    }

    #[test]
    fn a_verification_has_one_metric() {
        let line = completeness_line(99.5, "Home", "fn", "INFO", 5);
        let document: Value = serde_json::from_str(&line).unwrap();
        let directive = &document["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(document["Completeness"], 99.5, "{line}");
        assert_eq!(
            directive["Metrics"],
            json!([{"Name": "Completeness", "Unit": "Percent"}])
        );
        assert_eq!(
            (&directive["Namespace"], &document["FunctionName"]),
            (&json!("Home"), &json!("fn"))
        );
    }

    #[test]
    fn each_metric_has_its_value_and_its_directive() {
        let document: Value = serde_json::from_str(&line(
            &report(),
            "AmpForwarder",
            "fn",
            "WARN",
            1_700_000_000_000,
        ))
        .unwrap();
        let expected = [
            ("Scraped", 130.0),
            ("Written", 100.0),
            ("Unchanged", 20.0),
            ("Rejected", 4.0),
            ("Expired", 1.0),
            ("Lost", 5.0),
            ("Lag", 1.5),
            ("BacklogAge", 60.0),
            ("ScrapeDuration", 70.0),
            ("Failures", 2.0),
        ];
        for (name, value) in expected {
            assert_eq!(document[name].as_f64(), Some(value), "{name}");
        }
        let directive = &document["_aws"]["CloudWatchMetrics"][0];
        let named: Vec<_> = directive["Metrics"]
            .as_array()
            .unwrap()
            .iter()
            .map(|metric| metric["Name"].as_str().unwrap())
            .collect();
        assert_eq!(named, expected.map(|(name, _)| name));
        assert!(named.len() <= 10);
        assert_eq!(directive["Dimensions"], json!([["FunctionName"]]));
        assert_eq!(document["FunctionName"], "fn");
        assert_eq!(document["level"], "WARN");
        assert_eq!(document["_aws"]["Timestamp"], 1_700_000_000_000_i64);
    }

    #[test]
    fn what_was_not_measured_is_absent() {
        let report = Report {
            lag_ms: None,
            scrapes: Vec::new(),
            ..report()
        };
        let text = line(&report, "n", "f", "INFO", 0);
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (document.get("Lag"), document.get("ScrapeDuration")),
            (None, None)
        );
        assert!(!text.contains('\n') && !text.contains("\"Lag\""));
    }

    #[test]
    fn failures_are_those_of_the_tick_and_of_the_targets_that_wait_for_their_slot() {
        let failures = |scrapes: &[bool], failing, outcome| {
            let one = report().scrapes.remove(0);
            let scrapes = scrapes.iter().map(|&up| ScrapeReport { up, ..one.clone() });
            let report = Report {
                scrapes: scrapes.collect(),
                failing,
                outcome,
                ..report()
            };
            let text = line(&report, "n", "f", "INFO", 0);
            let document: Value = serde_json::from_str(&text).unwrap();
            document["Failures"].as_u64().unwrap()
        };
        assert_eq!(failures(&[], 0, Outcome::Ok), 0);
        assert_eq!(failures(&[], 2, Outcome::Ok), 2, "idle, two homes away");
        assert_eq!(
            failures(&[false, true], 0, Outcome::Partial),
            1,
            "it came back"
        );
        assert_eq!(
            failures(&[true], 1, Outcome::Ok),
            1,
            "another job is failing"
        );
        assert_eq!(failures(&[false, false], 1, Outcome::Failed), 3);
    }

    #[test]
    fn an_empty_backlog_has_no_age() {
        let report = Report {
            spool: SpoolReport::default(),
            ..report()
        };
        let document: Value =
            serde_json::from_str(&line(&report, "n", "f", "INFO", 1_700_000_000_000)).unwrap();
        assert_eq!(document["BacklogAge"].as_f64(), Some(0.0));
    }
}
