//! Counters of the forwarder itself, over many ticks, and their exposition.
//!
//! They are kept in `state.json`, so that they go on in the next process, and are shown by
//! `forwardctl run --listen`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::ledger::Ledger;

/// Sums since a moment. They only grow, but for what a ledger still owes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnCounters {
    /// Start of the first tick that counts, milliseconds since 1970.
    pub since_ms: i64,
    /// Ticks.
    pub ticks: u64,
    /// Time that ticks took, milliseconds.
    pub busy_ms: u64,
    /// Scrapes.
    pub scrapes: u64,
    /// Scrapes that failed.
    pub failed_scrapes: u64,
    /// Sums of each remote, by its name.
    #[serde(default)]
    pub remotes: BTreeMap<String, RemoteCounters>,
}

/// Sums of one remote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteCounters {
    /// Fates of its samples.
    pub ledger: Ledger,
    /// Requests, repeated ones included.
    pub requests: u64,
    /// Newest timestamp that was delivered, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_ms: Option<i64>,
}

/// What one tick adds.
#[derive(Debug, Clone, Default)]
pub struct TickCounts {
    /// Start of the tick, milliseconds since 1970.
    pub start_ms: i64,
    /// Time that the tick took, milliseconds.
    pub busy_ms: u64,
    /// Scrapes.
    pub scrapes: u64,
    /// Scrapes that failed.
    pub failed_scrapes: u64,
    /// Counts of each remote of the configuration, by its name. None for a tick that touched
    /// nothing.
    pub remotes: Vec<(String, RemoteCounters)>,
}

impl OwnCounters {
    /// Adds a tick. Remotes that a tick at work does not name are no longer configured, and are
    /// forgotten.
    pub fn add(&mut self, tick: &TickCounts) {
        if self.ticks == 0 {
            self.since_ms = tick.start_ms;
        }
        self.ticks += 1;
        self.busy_ms += tick.busy_ms;
        self.scrapes += tick.scrapes;
        self.failed_scrapes += tick.failed_scrapes;
        if tick.remotes.is_empty() {
            return;
        }
        let mut before = std::mem::take(&mut self.remotes);
        for (remote, counts) in &tick.remotes {
            let mut sums = before.remove(remote).unwrap_or_default();
            sums.ledger.follow(&counts.ledger);
            sums.requests += counts.requests;
            sums.newest_ms = sums.newest_ms.max(counts.newest_ms);
            self.remotes.insert(remote.clone(), sums);
        }
    }

    /// Whether no sum is larger than `most`, so that adding to it does not overflow.
    #[must_use]
    pub fn is_within(&self, most: u64) -> bool {
        let own = [self.ticks, self.busy_ms, self.scrapes, self.failed_scrapes];
        let remotes = self.remotes.values().flat_map(|remote| {
            let Ledger {
                owed_before,
                scraped,
                backfilled,
                owed_after,
                ..
            } = remote.ledger;
            let entered = [
                owed_before,
                scraped,
                backfilled,
                owed_after,
                remote.requests,
            ];
            let ended = fates(&remote.ledger).into_iter().map(|(_, count)| count);
            entered.into_iter().chain(ended)
        });
        own.into_iter().chain(remotes).all(|sum| sum <= most)
            && self.since_ms.unsigned_abs() <= most
            && self
                .remotes
                .values()
                .filter_map(|remote| remote.newest_ms)
                .all(|newest_ms| newest_ms.unsigned_abs() <= most)
    }
}

/// The fates of samples that have one for good, with their names as label values.
fn fates(ledger: &Ledger) -> [(&'static str, u64); 8] {
    [
        ("written", ledger.written),
        ("deduplicated", ledger.deduplicated),
        ("unchanged", ledger.unchanged),
        ("filtered", ledger.filtered),
        ("rolled_back", ledger.rolled_back),
        ("rejected", ledger.rejected),
        ("expired", ledger.expired),
        ("lost", ledger.lost),
    ]
}

/// The forwarder's own series at a moment.
#[derive(Debug, Clone, Copy)]
pub struct OwnSeries<'a> {
    /// The sums.
    pub counters: &'a OwnCounters,
    /// Segments in the spool, for all remotes.
    pub backlog_segments: u64,
    /// Their size in bytes.
    pub backlog_bytes: u64,
    /// Oldest timestamp in them, milliseconds since 1970.
    pub backlog_oldest_ms: Option<i64>,
    /// Targets whose last scrape or read failed.
    pub failing_targets: u64,
    /// The moment, milliseconds since 1970.
    pub now_ms: i64,
}

impl OwnSeries<'_> {
    /// The series in the text format 0.0.4.
    #[must_use]
    pub fn exposition(&self) -> String {
        let mut text = ExpositionText::default();
        let counters = self.counters;
        text.one(
            "ticks_total",
            "Ticks of the forwarder.",
            counters.ticks as f64,
        );
        text.one(
            "billed_seconds_total",
            "Time that ticks took, which Lambda bills.",
            counters.busy_ms as f64 / 1000.0,
        );
        text.one("scrapes_total", "Scrapes.", counters.scrapes as f64);
        text.one(
            "failed_scrapes_total",
            "Scrapes that failed.",
            counters.failed_scrapes as f64,
        );
        text.one(
            "failing_targets",
            "Targets whose last scrape or read failed.",
            self.failing_targets as f64,
        );
        text.one(
            "backlog_segments",
            "Segments in the spool, for all remotes.",
            self.backlog_segments as f64,
        );
        text.one(
            "backlog_bytes",
            "Size of the segments in the spool.",
            self.backlog_bytes as f64,
        );
        text.one(
            "backlog_age_seconds",
            "Age of the oldest sample in the spool; 0 when it is empty.",
            self.backlog_oldest_ms
                .map_or(0.0, |oldest| self.age(oldest)),
        );
        self.remotes(&mut text);
        text.0
    }

    fn remotes(&self, text: &mut ExpositionText) {
        let remotes = &self.counters.remotes;
        text.head(
            "samples_entered_total",
            "Samples that came in, by their source: scraped, or read by remote read.",
        );
        for (remote, sums) in remotes {
            let ledger = &sums.ledger;
            for (source, count) in [("scraped", ledger.scraped), ("read", ledger.backfilled)] {
                let labels = [("remote", remote.as_str()), ("source", source)];
                text.sample("samples_entered_total", &labels, count as f64);
            }
        }
        text.head("samples_total", "Samples by their fate.");
        for (remote, sums) in remotes {
            for (fate, count) in fates(&sums.ledger) {
                let labels = [("remote", remote.as_str()), ("fate", fate)];
                text.sample("samples_total", &labels, count as f64);
            }
        }
        text.head(
            "requests_total",
            "Requests to the remote, repeated ones included.",
        );
        for (remote, sums) in remotes {
            text.sample(
                "requests_total",
                &[("remote", remote)],
                sums.requests as f64,
            );
        }
        text.head("backlog_samples", "Samples that wait in the spool.");
        for (remote, sums) in remotes {
            let owed = sums.ledger.owed_after as f64;
            text.sample("backlog_samples", &[("remote", remote)], owed);
        }
        text.head(
            "lag_seconds",
            "Age of the newest sample that the remote has taken.",
        );
        for (remote, sums) in remotes {
            if let Some(newest_ms) = sums.newest_ms {
                text.sample("lag_seconds", &[("remote", remote)], self.age(newest_ms));
            }
        }
    }

    /// The age of a moment in seconds.
    fn age(&self, moment_ms: i64) -> f64 {
        self.now_ms.saturating_sub(moment_ms).max(0) as f64 / 1000.0
    }
}

/// Prefix of the names of all own series.
pub const OWN_PREFIX: &str = "amp_forwarder_";

/// A text exposition under construction.
#[derive(Debug, Default)]
pub struct ExpositionText(pub String);

impl ExpositionText {
    /// Begins a family. A name that ends in `_total` is a counter, and any other one a gauge.
    pub fn head(&mut self, name: &str, help: &str) {
        let kind = if name.ends_with("_total") {
            "counter"
        } else {
            "gauge"
        };
        let _ = write!(
            self.0,
            "# HELP {OWN_PREFIX}{name} {help}\n# TYPE {OWN_PREFIX}{name} {kind}\n"
        );
    }

    /// Writes a sample of the family.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let braces = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        let _ = writeln!(self.0, "{OWN_PREFIX}{name}{braces} {value}");
    }

    /// Writes a family of one sample without labels.
    pub fn one(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, help);
        self.sample(name, &[], value);
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(remote: &str, ledger: Ledger) -> TickCounts {
        let counts = RemoteCounters {
            ledger,
            requests: 2,
            newest_ms: Some(9_000),
        };
        TickCounts {
            start_ms: 5_000,
            busy_ms: 1_500,
            scrapes: 4,
            failed_scrapes: 1,
            remotes: vec![(remote.to_owned(), counts)],
        }
    }

    fn ledger(owed_before: u64, scraped: u64, written: u64, owed_after: u64) -> Ledger {
        Ledger {
            owed_before,
            scraped,
            written,
            owed_after,
            ..Ledger::default()
        }
    }

    #[test]
    fn sums_grow_and_balance_and_the_newest_sample_stays() {
        let mut own = OwnCounters::default();
        own.add(&tick("amp", ledger(0, 10, 6, 4)));
        let mut second = tick("amp", ledger(4, 10, 14, 0));
        second.start_ms = 65_000;
        second.remotes[0].1.newest_ms = None;
        own.add(&second);
        let amp = &own.remotes["amp"];
        assert_eq!((own.since_ms, own.ticks, own.busy_ms), (5_000, 2, 3_000));
        assert_eq!((amp.requests, amp.newest_ms), (4, Some(9_000)));
        assert_eq!(amp.ledger, ledger(0, 20, 20, 0));
        assert!(amp.ledger.balances());
        own.add(&tick("other", Ledger::default()));
        assert_eq!(own.remotes.keys().collect::<Vec<_>>(), ["other"]);
    }

    #[test]
    fn sums_that_no_forwarder_has_are_noticed() {
        let mut own = OwnCounters::default();
        own.add(&tick("amp", ledger(0, 7, 7, 0)));
        assert!(own.is_within(9_000));
        assert!(!own.is_within(8_999), "the newest timestamp");
        own.remotes.get_mut("amp").unwrap().ledger.lost = 9_001;
        assert!(!own.is_within(9_000));
    }

    #[test]
    fn the_exposition_has_every_count_with_its_remote() {
        let mut own = OwnCounters::default();
        own.add(&tick("a\"b\\", ledger(0, 10, 6, 4)));
        let text = OwnSeries {
            counters: &own,
            backlog_segments: 1,
            backlog_bytes: 900,
            backlog_oldest_ms: Some(4_000),
            failing_targets: 1,
            now_ms: 10_500,
        }
        .exposition();
        for line in [
            "# TYPE amp_forwarder_ticks_total counter",
            "amp_forwarder_billed_seconds_total 1.5",
            "# TYPE amp_forwarder_backlog_age_seconds gauge",
            "amp_forwarder_backlog_age_seconds 6.5",
            r#"amp_forwarder_samples_total{remote="a\"b\\",fate="written"} 6"#,
            r#"amp_forwarder_samples_entered_total{remote="a\"b\\",source="scraped"} 10"#,
            r#"amp_forwarder_backlog_samples{remote="a\"b\\"} 4"#,
            r#"amp_forwarder_lag_seconds{remote="a\"b\\"} 1.5"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
