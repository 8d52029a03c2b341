//! What a verification has found, for people and for programs.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::compare::{Deviation, EndCounts};
use super::value::{Precision, ValuePrint};

/// Metrics whose deviations are counted one by one.
const MAX_METRICS: usize = 10_000;

/// Metrics that a report lists.
const LISTED_METRICS: usize = 20;

/// Length of the steps of time in which missing samples are counted, milliseconds.
const STEP_MS: i64 = 5_000;

/// Ranges that could not be read which a report lists.
const LISTED_UNREAD: usize = 20;

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VerifyReport {
    /// First moment that was to be compared, milliseconds since 1970.
    pub from_ms: i64,
    /// Last moment that was to be compared, milliseconds since 1970.
    pub to_ms: i64,
    /// What was counted.
    pub unit: VerifyUnit,
    /// Milliseconds of that range which were compared. The rest could not be read, or there was no
    /// time for it.
    pub compared_ms: i64,
    /// Share of the home's samples that every remote has, in percent. `None` when nothing was
    /// compared.
    pub completeness: Option<f64>,
    /// Whether something was compared, and nothing is missing, different or unread.
    pub ok: bool,
    /// One result for each remote.
    pub remotes: Vec<RemoteVerification>,
    /// Ranges that could not be read.
    pub unread: Vec<UnreadRange>,
}

/// What a verification counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VerifyUnit {
    /// Every sample of the home.
    Samples,
    /// What `/federate` has shown at each slot, or should have.
    Slots,
}

/// One remote compared with the home.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RemoteVerification {
    /// Name of the remote.
    pub remote: String,
    /// How the remote was read.
    pub precision: Precision,
    /// What was counted.
    #[serde(flatten)]
    pub counts: EndCounts,
    /// Oldest and newest time of what is missing, milliseconds since 1970.
    pub missing_ms: Option<(i64, i64)>,
    /// The metrics that deviate most.
    pub metrics: Vec<MetricDeviation>,
    /// Number of metrics that deviate.
    pub deviating_metrics: u64,
    /// Some of the deviations.
    pub examples: Vec<DeviationExample>,
    /// The likely reason of the deviations.
    pub reason: Option<String>,
}

/// The deviations of one metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MetricDeviation {
    /// Its name.
    pub metric: String,
    /// Samples or slots that are missing.
    pub missing: u64,
    /// Samples or slots with other values.
    pub different: u64,
}

/// One sample that deviates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviationExample {
    /// The series as text.
    pub series: String,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The value at home.
    pub home: String,
    /// The value at the remote, if it has one at that time.
    pub remote: Option<String>,
}

/// A range that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnreadRange {
    /// First moment, milliseconds since 1970.
    pub from_ms: i64,
    /// Last moment, milliseconds since 1970.
    pub to_ms: i64,
    /// Why.
    pub error: String,
}

impl VerifyReport {
    pub(super) fn new(
        span: &super::compare::Span,
        unit: VerifyUnit,
        compared_ms: i64,
        remotes: Vec<RemoteVerification>,
        mut unread: Vec<UnreadRange>,
    ) -> Self {
        let share = |counts: &EndCounts| {
            let right = counts.home - counts.missing - counts.different;
            (counts.home > 0).then(|| right as f64 / counts.home as f64 * 100.0)
        };
        let shares: Option<Vec<_>> = remotes.iter().map(|remote| share(&remote.counts)).collect();
        let completeness = shares.and_then(|shares| shares.into_iter().reduce(f64::min));
        let ok = completeness == Some(100.0) && unread.is_empty();
        unread.truncate(LISTED_UNREAD);
        Self {
            from_ms: *span.start(),
            to_ms: *span.end(),
            unit,
            compared_ms,
            completeness,
            ok,
            remotes,
            unread,
        }
    }
}

/// Collects what deviates at one remote.
pub(super) struct DeviationLog {
    pub(super) counts: EndCounts,
    pub(super) newest_remote_ms: Option<i64>,
    metrics: HashMap<Box<str>, EndCounts>,
    missing_ms: Option<(i64, i64)>,
    /// What is missing, by the number of its step since 1970.
    missing_by_step: BTreeMap<i64, u64>,
    examples: Vec<DeviationExample>,
    max_examples: usize,
}

impl DeviationLog {
    pub(super) fn new(max_examples: usize) -> Self {
        Self {
            counts: EndCounts::default(),
            newest_remote_ms: None,
            metrics: HashMap::new(),
            missing_ms: None,
            missing_by_step: BTreeMap::new(),
            examples: Vec::new(),
            max_examples,
        }
    }

    /// Adds the counts of one series.
    pub(super) fn add(&mut self, metric: &str, counts: &EndCounts) {
        self.counts.add(counts);
        if counts.missing + counts.different == 0 {
            return;
        }
        if let Some(known) = self.metrics.get_mut(metric) {
            known.add(counts);
        } else if self.metrics.len() < MAX_METRICS {
            self.metrics.insert(metric.into(), *counts);
        }
    }

    /// Adds one deviation of a series, whose label set is `series` where it is known.
    pub(super) fn deviates(&mut self, series: Option<&str>, deviation: &Deviation) {
        let at_ms = deviation.home.timestamp_ms;
        if deviation.remote.is_none() {
            let (first, last) = self.missing_ms.unwrap_or((at_ms, at_ms));
            self.missing_ms = Some((first.min(at_ms), last.max(at_ms)));
            let step = at_ms.div_euclid(STEP_MS);
            *self.missing_by_step.entry(step).or_default() += 1;
        }
        if let Some(series) = series
            && self.examples.len() < self.max_examples
        {
            self.examples.push(DeviationExample {
                series: series.to_owned(),
                timestamp_ms: at_ms,
                home: shown(deviation.home.print),
                remote: deviation.remote.map(shown),
            });
        }
    }

    pub(super) fn saw_remote(&mut self, newest_ms: Option<i64>) {
        self.newest_remote_ms = self.newest_remote_ms.max(newest_ms);
    }

    /// Adds what was collected of one window.
    pub(super) fn absorb(&mut self, window: Self) {
        self.counts.add(&window.counts);
        self.saw_remote(window.newest_remote_ms);
        for (metric, counts) in window.metrics {
            if let Some(known) = self.metrics.get_mut(&metric) {
                known.add(&counts);
            } else if self.metrics.len() < MAX_METRICS {
                self.metrics.insert(metric, counts);
            }
        }
        self.missing_ms = match (self.missing_ms, window.missing_ms) {
            (Some((first, last)), Some((from, to))) => Some((first.min(from), last.max(to))),
            (known, other) => known.or(other),
        };
        for (step, missing) in window.missing_by_step {
            *self.missing_by_step.entry(step).or_default() += missing;
        }
        let room = self.max_examples - self.examples.len();
        self.examples.extend(window.examples.into_iter().take(room));
    }

    /// Ends the collection.
    pub(super) fn finish(self, remote: &str, precision: Precision) -> RemoteVerification {
        let reason = self.likely_reason();
        let mut metrics: Vec<_> = self
            .metrics
            .into_iter()
            .map(|(metric, counts)| MetricDeviation {
                metric: metric.into(),
                missing: counts.missing,
                different: counts.different,
            })
            .collect();
        metrics.sort_by(|a, b| {
            let most = |metric: &MetricDeviation| metric.missing + metric.different;
            most(b).cmp(&most(a)).then_with(|| a.metric.cmp(&b.metric))
        });
        let deviating_metrics = metrics.len() as u64;
        metrics.truncate(LISTED_METRICS);
        RemoteVerification {
            remote: remote.to_owned(),
            precision,
            counts: self.counts,
            missing_ms: self.missing_ms,
            metrics,
            deviating_metrics,
            examples: self.examples,
            reason,
        }
    }

    /// The likely reason of what deviates, and the next step.
    fn likely_reason(&self) -> Option<String> {
        let EndCounts {
            home,
            remote,
            missing,
            different,
            foreign,
            ..
        } = self.counts;
        let reason = if home == 0 {
            "the home has nothing in this range: it may have begun later (--settled leaves out the \
             newest part, --last says how much is compared), match[] may select nothing, or the \
             clocks disagree"
        } else if missing + different == 0 {
            return None;
        } else if remote == 0 {
            "the remote has nothing of these jobs in this range: did the forwarder run then \
             (forwardctl status shows its last slots), and is this the right remote?"
        } else if missing == home && foreign > 0 {
            "the remote has other label sets than this configuration makes: were external_labels \
             or relabelling changed, or does the remote add labels of its own?"
        } else if missing == 0 {
            "the values differ at the same times: something else writes the same series, such as a \
             second forwarder or the other replica of a pair"
        } else if self
            .missing_ms
            .is_some_and(|(first, _)| self.newest_remote_ms.is_none_or(|newest| newest < first))
        {
            "everything that is missing is newer than what the remote has: it is still on its way, \
             or the forwarder stands still; see forwardctl status"
        } else if let Some(newer) = self.newer_than_the_remote() {
            return Some(format!(
                "{newer} of what is missing is newer than what the remote has: it is still on its \
                 way, or the forwarder stands still (forwardctl status). As to the other {}: {}",
                missing - newer,
                self.reason_of_holes()
            ));
        } else {
            self.reason_of_holes()
        };
        Some(reason.to_owned())
    }

    /// How many of the missing samples are newer than what the remote has, if there are some.
    fn newer_than_the_remote(&self) -> Option<u64> {
        let newest = self.newest_remote_ms?.div_euclid(STEP_MS);
        let newer = self.missing_by_step.range(newest + 1..);
        Some(newer.map(|(_, missing)| missing).sum()).filter(|newer| *newer > 0)
    }

    /// The likely reason of missing samples that are older than what the remote has.
    fn reason_of_holes(&self) -> &'static str {
        let newest_ms = self.newest_remote_ms.unwrap_or(i64::MAX);
        // What is missing in the newest step may be on its way.
        let mut steps = self.missing_by_step.range(..newest_ms.div_euclid(STEP_MS));
        let last_ms = steps.next_back().map(|(step, _)| (step + 1) * STEP_MS);
        if self.metrics.len() <= 3 {
            "only a few metrics are concerned: a batch with them was refused or lost; see \
             forwardctl spool ls --folder rejected, and the receiver's own limits"
        } else if self
            .missing_ms
            .is_some_and(|(first, last)| last_ms.unwrap_or(last) - first < 60_000)
        {
            "all of it is from one minute: a batch or a tick was lost on the way, or it is a gap \
             that was not filled; see the report of that minute"
        } else {
            "it is spread over the range: gaps that were not filled (forwarder.remote_read), \
             samples that became too old (forwardctl spool ls --folder expired), or samples that \
             the home itself took out of order"
        }
    }
}

fn shown(print: ValuePrint) -> String {
    match print {
        ValuePrint::Float(bits) => crate::series::float::json(f64::from_bits(bits)),
        ValuePrint::Marker => "stale marker".to_owned(),
        ValuePrint::Histogram(histogram) => format!(
            "histogram of {} observations, sum {}",
            f64::from_bits(histogram.count),
            f64::from_bits(histogram.sum)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::TimedPrint;
    use super::*;

    fn missing(at_ms: i64) -> Deviation {
        Deviation {
            home: TimedPrint {
                timestamp_ms: at_ms,
                print: ValuePrint::float(1.5),
            },
            remote: None,
        }
    }

    fn log(home: u64, remote: u64, gone: u64, different: u64, foreign: u64) -> DeviationLog {
        let mut log = DeviationLog::new(5);
        let counts = EndCounts {
            home,
            remote,
            missing: gone,
            different,
            foreign,
            uncompared_markers: 0,
        };
        log.add("up", &counts);
        log
    }

    #[test]
    fn the_reason_follows_from_what_deviates() {
        let mut at_the_end = log(10, 5, 5, 0, 0);
        at_the_end.deviates(None, &missing(100));
        at_the_end.saw_remote(Some(99));
        let mut few = log(10, 9, 1, 0, 0);
        few.deviates(None, &missing(100));
        few.saw_remote(Some(200));
        // A batch was lost, and the newest samples are not there yet.
        let mut both = log(10, 7, 3, 0, 0);
        for at_ms in [10_000, 90_000, 95_000] {
            both.deviates(None, &missing(at_ms));
        }
        both.saw_remote(Some(80_000));
        let mut of_one_minute = log(10, 7, 3, 0, 0);
        for metric in ["a", "b", "c"] {
            let counts = EndCounts {
                missing: 1,
                ..EndCounts::default()
            };
            of_one_minute.add(metric, &counts);
        }
        for at_ms in [10_000, 95_000] {
            of_one_minute.deviates(None, &missing(at_ms));
        }
        of_one_minute.saw_remote(Some(90_000));
        for (log, part) in [
            (of_one_minute, "all of it is from one minute"),
            (
                both,
                "2 of what is missing is newer than what the remote has: it is still on its way, \
                 or the forwarder stands still (forwardctl status). As to the other 1: only a few",
            ),
            (log(0, 0, 0, 0, 0), "the home has nothing"),
            (log(10, 0, 10, 0, 0), "did the forwarder run then"),
            (log(10, 10, 10, 0, 10), "other label sets"),
            (log(10, 10, 0, 1, 0), "something else writes"),
            (at_the_end, "still on its way"),
            (few, "only a few metrics"),
        ] {
            let reason = log.likely_reason().unwrap();
            assert!(reason.contains(part), "{reason} lacks {part}");
        }
        assert_eq!(log(10, 12, 0, 0, 2).likely_reason(), None);
    }

    #[test]
    fn a_report_is_good_only_if_something_was_compared_and_all_of_it_agrees() {
        let report = |log: DeviationLog, unread: Vec<UnreadRange>| {
            let remotes = vec![log.finish("amp", Precision::Bits)];
            VerifyReport::new(&(0..=999), VerifyUnit::Samples, 1000, remotes, unread)
        };
        let good = report(log(10, 12, 0, 0, 2), Vec::new());
        assert_eq!((good.completeness, good.ok), (Some(100.0), true));
        let lacking = report(log(1_000_000, 999_999, 1, 0, 0), Vec::new());
        assert!(
            lacking.completeness < Some(100.0) && !lacking.ok,
            "{lacking:?}"
        );
        assert_eq!(lacking.remotes[0].metrics[0].metric, "up");
        let nothing = report(log(0, 0, 0, 0, 0), Vec::new());
        assert_eq!((nothing.completeness, nothing.ok), (None, false));
        let unread = UnreadRange {
            from_ms: 0,
            to_ms: 1,
            error: "refused".to_owned(),
        };
        assert!(!report(log(10, 10, 0, 0, 0), vec![unread]).ok);
    }
}
