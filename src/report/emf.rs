//! The tick's metrics for CloudWatch, in its embedded metric format: one JSON document on one line
//! of standard output.
//!
//! Source: CloudWatch user guide, "Specification: Embedded metric format". The first 10 custom
//! metrics of an account are free, and each set of dimensions is a metric of its own: ten metrics,
//! one set, and three more that have values only when there is something to say. A verification,
//! which is optional, writes one more.
//!
//! With many sites, each line is of one, and all have the same dimensions: what CloudWatch adds up
//! is of all sites together. So a statistic asks what one wants to know (`Lag`: Maximum; `Backlog`,
//! `FailingSites`: Sum in a period of a minute, in which each site has one tick), and the number of
//! sites costs nothing. The site's name is in the line for queries of the log. With `per_site`,
//! three metrics have the site as a dimension, too.

use serde_json::{Map, Value, json};

use super::{Outcome, PreviousTick, Report};

/// Metrics that may have the site as a dimension. CloudWatch charges for each of them and site.
const PER_SITE: [&str; 3] = ["Lag", "BacklogAge", "Failures"];

/// A line that is to be written, without its metrics.
#[derive(Debug, Clone, Copy)]
pub struct EmfLine<'a> {
    /// Namespace in CloudWatch.
    pub namespace: &'a str,
    /// Name of the function.
    pub function: &'a str,
    /// Log level of the function. With JSON logs, Lambda drops lines below that level and takes a
    /// line without one for INFO.
    pub level: &'a str,
    /// Site that the line is of, among many.
    pub site: Option<&'a str>,
    /// Whether the site is a dimension of some metrics.
    pub per_site: bool,
    /// Time of the metrics, milliseconds since 1970.
    pub now_ms: i64,
}

/// A metric: its name, its unit and its value. Without a value it would be a data point of zero,
/// and is left out.
type Metric = (&'static str, &'static str, Option<Value>);

impl EmfLine<'_> {
    /// The line of a tick, without its line break.
    #[must_use]
    pub fn tick(&self, report: &Report) -> String {
        // A tick between two slots of a job scrapes nothing. It must not show that all is well
        // while the last scrape of a target has failed.
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
            ("BacklogAge", "Seconds", Some(json!(self.age(report)))),
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
        let metrics: Vec<_> = metrics
            .into_iter()
            .chain(read_metrics(report))
            .chain(self.site_metrics(report, failures))
            .collect();
        self.document(&metrics)
    }

    /// The line of a verification: the share of the home's samples that the remotes have, in
    /// percent.
    #[must_use]
    pub fn completeness(&self, percent: f64) -> String {
        self.document(&[("Completeness", "Percent", Some(json!(percent)))])
    }

    /// The line of a site that could not even begin its tick.
    #[must_use]
    pub fn failure(&self) -> String {
        let one = |name| (name, "Count", Some(json!(1)));
        self.document(&[one("Failures"), one("FailingSites")])
    }

    /// Age of the oldest sample in the spool, seconds. An empty backlog has an age of zero: an
    /// alarm on it must end when the backlog does.
    fn age(&self, report: &Report) -> f64 {
        report.spool.oldest_ms.map_or(0.0, |oldest| {
            self.now_ms.saturating_sub(oldest) as f64 / 1000.0
        })
    }

    /// What is said of all sites together: the sum of their backlogs, and how many are failing.
    fn site_metrics(&self, report: &Report, failures: u64) -> [Metric; 2] {
        let one_of_many = self.site.is_some();
        let ledger = &report.ledger;
        // A killed process says nothing. The site's next tick finds its lease.
        let was_killed = report.previous == Some(PreviousTick::Killed);
        let fails = failures > 0 || ledger.lost > 0 || ledger.expired > 0 || was_killed;
        [
            (
                "Backlog",
                "Count",
                one_of_many.then(|| json!(ledger.owed_after)),
            ),
            (
                "FailingSites",
                "Count",
                one_of_many.then(|| json!(u64::from(fails))),
            ),
        ]
    }

    fn document(&self, metrics: &[Metric]) -> String {
        let mut document = Map::new();
        let mut directives = Vec::new();
        for (name, unit, value) in metrics {
            if let Some(value) = value {
                directives.push(json!({"Name": name, "Unit": unit}));
                document.insert((*name).to_owned(), value.clone());
            }
        }
        document.insert("FunctionName".to_owned(), Value::from(self.function));
        document.insert("level".to_owned(), Value::from(self.level));
        let set = |dimensions: Value, metrics: Vec<Value>| {
            let sets = [dimensions];
            json!({"Namespace": self.namespace, "Dimensions": sets, "Metrics": metrics})
        };
        let mut sets = vec![set(json!(["FunctionName"]), directives.clone())];
        if let Some(site) = self.site {
            document.insert("Site".to_owned(), Value::from(site));
            directives.retain(|metric| PER_SITE.iter().any(|name| metric["Name"] == *name));
            if self.per_site && !directives.is_empty() {
                sets.push(set(json!(["FunctionName", "Site"]), directives));
            }
        }
        document.insert(
            "_aws".to_owned(),
            json!({"Timestamp": self.now_ms, "CloudWatchMetrics": sets}),
        );
        Value::Object(document).to_string()
    }
}

/// Metrics of the reads from the homes' TSDBs. They have no value, and cost nothing, as long as
/// there is nothing to say.
fn read_metrics(report: &Report) -> [Metric; 3] {
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

    fn of<'a>(namespace: &'a str, function: &'a str, level: &'a str, now_ms: i64) -> EmfLine<'a> {
        EmfLine {
            namespace,
            function,
            level,
            site: None,
            per_site: false,
            now_ms,
        }
    }

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
            too_far_ahead: 0,
            out_of_order: 0,
            duplicates: 0,
            newest_ms: None,
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
        let line = of("Home", "fn", "INFO", 5).completeness(99.5);
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
        let document: Value = serde_json::from_str(
            &of("AmpForwarder", "fn", "WARN", 1_700_000_000_000).tick(&report()),
        )
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
        let text = of("n", "f", "INFO", 0).tick(&report);
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
            let text = of("n", "f", "INFO", 0).tick(&report);
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
            serde_json::from_str(&of("n", "f", "INFO", 1_700_000_000_000).tick(&report)).unwrap();
        assert_eq!(document["BacklogAge"].as_f64(), Some(0.0));
    }
    /// The line of a site's tick.
    fn of_site(per_site: bool, report: &Report) -> Value {
        let line = EmfLine {
            site: Some("tokyo"),
            per_site,
            ..of("n", "f", "INFO", 1_700_000_000_000)
        };
        serde_json::from_str(&line.tick(report)).unwrap()
    }

    /// Names of the metrics in one set of dimensions.
    fn names(directive: &Value) -> Vec<&str> {
        let metrics = directive["Metrics"].as_array().unwrap();
        metrics
            .iter()
            .map(|metric| metric["Name"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn sites_share_their_metrics_unless_each_is_to_have_its_own() {
        let document = of_site(false, &report());
        let sets = document["_aws"]["CloudWatchMetrics"].as_array().unwrap();
        assert_eq!(sets.len(), 1, "{document}");
        assert_eq!(sets[0]["Dimensions"], json!([["FunctionName"]]));
        assert!(names(&sets[0]).contains(&"FailingSites"), "{document}");
        assert_eq!(document["Site"], "tokyo", "a query of the log finds it");

        let document = of_site(true, &report());
        let sets = document["_aws"]["CloudWatchMetrics"].as_array().unwrap();
        assert_eq!(sets[1]["Dimensions"], json!([["FunctionName", "Site"]]));
        assert_eq!(names(&sets[1]), PER_SITE);
    }

    #[test]
    fn a_site_counts_as_failing_when_someone_must_look_at_it() {
        let healthy = Report {
            outcome: Outcome::Ok,
            failing: 0,
            scrapes: Vec::new(),
            ledger: Ledger::default(),
            ..report()
        };
        let owing = Report {
            ledger: Ledger {
                owed_after: 7,
                ..Ledger::default()
            },
            ..healthy.clone()
        };
        assert_eq!(of_site(false, &owing)["Backlog"], 7);
        assert_eq!(
            of_site(false, &owing)["FailingSites"],
            0,
            "it is catching up"
        );
        let with = |ledger| Report {
            ledger,
            ..healthy.clone()
        };
        for failing in [
            Report {
                outcome: Outcome::Failed,
                ..healthy.clone()
            },
            Report {
                failing: 1,
                ..healthy.clone()
            },
            Report {
                previous: Some(PreviousTick::Killed),
                ..healthy.clone()
            },
            with(Ledger {
                lost: 1,
                ..Ledger::default()
            }),
            with(Ledger {
                expired: 1,
                ..Ledger::default()
            }),
        ] {
            let document = of_site(false, &failing);
            assert_eq!(document["FailingSites"], 1, "{failing:?}");
        }
        let line = EmfLine {
            site: Some("tokyo"),
            ..of("n", "f", "INFO", 0)
        };
        let document: Value = serde_json::from_str(&line.failure()).unwrap();
        assert_eq!(document["FailingSites"], 1);
        assert_eq!(document["Site"], "tokyo");
    }

    #[test]
    fn without_sites_nothing_is_said_of_them() {
        let text = of("n", "f", "INFO", 0).tick(&report());
        for absent in ["Site", "\"Backlog\""] {
            assert!(!text.contains(absent), "{text}");
        }
    }
}
