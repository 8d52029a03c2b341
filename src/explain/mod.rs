//! Which job takes a series, what each rule does to it, and whether each remote gets it, and why
//! not.
//!
//! It follows one label set by the same rules as the intake does (`intake::trace_series`), without
//! a sample and without the network. [`shown()`] asks the home how it shows a series.

mod rules;
mod shown;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

pub use self::rules::{ChangedLabel, RuleStep};
use self::rules::{dropped_by, steps};
pub use self::shown::{ShownSeries, ShownSeriesError, shown};
use crate::config::{Config, RemoteWrite, ScrapeConfig, format_duration};
use crate::home::{Target, targets};
use crate::intake::{IntakeRules, MAX_AHEAD_MS, RemoteTrace, TraceEnd, trace_series};
use crate::selector::Selector;
use crate::series::labels::NAME;
use crate::series::{ExposedLabel, text};
use crate::time::millis;

/// What becomes of a series that a target exposes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetExplanation {
    /// `job_name` of the scrape job.
    pub job: String,
    /// Label `instance` of the target.
    pub instance: String,
    /// Whether the target is asked for the series.
    pub selected: bool,
    /// The `match[]` that selects it, or why it is or is not asked for.
    pub selection: String,
    /// Labels with those of the target, conflicts resolved by `honor_labels`.
    pub labels: BTreeMap<String, String>,
    /// `metric_relabel_configs`, up to the one that drops the series.
    pub metric_rules: Vec<RuleStep>,
    /// Why no remote gets the series, if none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends: Option<String>,
    /// One entry for each remote of the configuration; none when the way ends before.
    pub remotes: Vec<RemoteExplanation>,
}

/// What a remote gets of a series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemoteExplanation {
    /// `name` of the `remote_write` entry, or a hash of its URL.
    pub remote: String,
    /// Whether the series is sent.
    pub sent: bool,
    /// Reason, or what applies to its samples.
    pub why: String,
    /// The series as it is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
    /// `write_relabel_configs`, up to the one that drops the series.
    pub rules: Vec<RuleStep>,
}

/// The newest sample of a series, as far as it decides whether the sample is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewestSample {
    /// How much older than now it is, in milliseconds; below zero, it is ahead.
    pub age_ms: i64,
}

/// Follows a series with these labels through every target of the configuration. `newest` is known
/// when the home was asked.
///
/// # Errors
/// Fails when the configuration has too many targets. The text says so.
pub fn explain(
    config: &Config,
    labels: &BTreeMap<String, String>,
    newest: Option<NewestSample>,
) -> Result<Vec<TargetExplanation>, String> {
    let explained = targets(&config.scrape_configs)?.into_iter().map(|target| {
        let job = &config.scrape_configs[target.job.index()];
        explain_target(config, job, &target, labels, newest)
    });
    Ok(explained.collect())
}

fn explain_target(
    config: &Config,
    job: &ScrapeConfig,
    target: &Target,
    labels: &BTreeMap<String, String>,
    newest: Option<NewestSample>,
) -> TargetExplanation {
    let (selected, selection) = selection(target, job, labels);
    let exposed: Vec<_> = labels
        .iter()
        .map(|(name, value)| ExposedLabel {
            name: Cow::Borrowed(name.as_str()),
            value: Cow::Borrowed(value.as_str()),
            span: None,
        })
        .collect();
    let rules = IntakeRules::new(
        job,
        target,
        &config.global.external_labels,
        &config.remote_write,
        0,
    );
    let trace = trace_series(&rules, &exposed);
    let metric_rules = steps("metric_relabel_configs", &trace.metric_rules);
    let ends = trace.end.map(|end| match end {
        TraceEnd::Dropped => dropped_by(&metric_rules),
        TraceEnd::Refused(refusal) => {
            format!("its scrape fails as a whole, and nothing of it is sent: {refusal}")
        }
    });
    let remotes = config.remote_write.iter().zip(trace.remotes);
    TargetExplanation {
        job: job.job_name.clone(),
        instance: target.instance().to_owned(),
        selected,
        selection,
        labels: trace.with_target.into_iter().collect(),
        metric_rules,
        ends,
        remotes: remotes
            .map(|(remote, trace)| explain_remote(remote, trace, job, newest))
            .collect(),
    }
}

/// Whether the target is asked for the series, and why.
fn selection(
    target: &Target,
    job: &ScrapeConfig,
    labels: &BTreeMap<String, String>,
) -> (bool, String) {
    let url = match &target.url {
        Ok(url) => url,
        Err(error) => return (false, format!("the target cannot be scraped: {error}")),
    };
    if !job.is_federation() {
        let text = format!("{} is asked for everything that it exposes", url.path());
        return (true, text);
    }
    let value = |name: &str| labels.get(name).map_or("", String::as_str);
    let mut selectors = 0;
    for (_, text) in url.query_pairs().filter(|(name, _)| name == "match[]") {
        selectors += 1;
        match Selector::parse(&text) {
            Ok(selector) if selector.selects(value) => return (true, text.into_owned()),
            Ok(_) => {}
            Err(error) => return (false, format!("match[] {text} is no selector: {error}")),
        }
    }
    match selectors {
        0 => (false, "there is no match[], so nothing is selected".into()),
        1 => (false, "the match[] of the job does not select it".into()),
        many => (
            false,
            format!("none of the job's {many} match[] selects it"),
        ),
    }
}

fn explain_remote(
    remote: &RemoteWrite,
    trace: RemoteTrace,
    job: &ScrapeConfig,
    newest: Option<NewestSample>,
) -> RemoteExplanation {
    let rules = steps("write_relabel_configs", &trace.rules);
    let (sent, why, series) = match trace.labels {
        Err(TraceEnd::Dropped) => (false, dropped_by(&rules), None),
        Err(TraceEnd::Refused(refusal)) => (false, refusal.to_string(), None),
        Ok(labels) => {
            let pairs: Vec<_> = labels
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            let (sent, why) = by_age(remote, job, newest);
            (sent, why, Some(text::series(&pairs)))
        }
    };
    RemoteExplanation {
        remote: remote.label.clone(),
        sent,
        why,
        series,
        rules,
    }
}

/// Whether a sample is sent by its age, and what is known of the age of others.
fn by_age(
    remote: &RemoteWrite,
    job: &ScrapeConfig,
    newest: Option<NewestSample>,
) -> (bool, String) {
    let limit = remote.queue.sample_age_limit;
    // Without honor_timestamps, a sample has the time of its scrape.
    if let Some(NewestSample { age_ms }) = newest.filter(|_| job.honor_timestamps) {
        let age = Duration::from_millis(age_ms.unsigned_abs() / 1000 * 1000);
        if age_ms < -MAX_AHEAD_MS {
            let text = format!("its newest sample is {} ahead of now", format_duration(age));
            return (false, text);
        }
        if let Some(limit) = limit.filter(|limit| age_ms > millis(*limit)) {
            let text = format!(
                "its newest sample is {} old, and sample_age_limit is {}",
                format_duration(age),
                format_duration(limit)
            );
            return (false, text);
        }
    }
    let text = match limit {
        Some(limit) => format!(
            "samples that cannot be sent for {} go to expired/ instead",
            format_duration(limit)
        ),
        None => "there is no sample_age_limit: the remote decides what is too old".to_owned(),
    };
    (true, text)
}

/// The label set that a selector names completely.
///
/// # Errors
/// The text says why the selector is not the name of one series.
pub fn exact_labels(selector: &Selector) -> Result<BTreeMap<String, String>, String> {
    let mut labels = BTreeMap::new();
    for matcher in &selector.matchers {
        if matcher.op != crate::selector::MatchOp::Equal {
            return Err(format!(
                "the label {} is not given by =, so that this is not one series",
                matcher.label
            ));
        }
        if labels
            .insert(matcher.label.clone(), matcher.value.clone())
            .is_some()
        {
            return Err(format!("the label {} is given twice", matcher.label));
        }
    }
    if !labels.contains_key(NAME) {
        return Err("a series has a metric name".to_owned());
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = r#"
global: {external_labels: {site: attic}}
scrape_configs:
- job_name: federate
  honor_labels: true
  metrics_path: /federate
  params: {'match[]': ['{job="node"}', 'up']}
  metric_relabel_configs:
  - {source_labels: [__name__], regex: 'go_.*', action: drop}
  - {source_labels: [instance], regex: '(.*):[0-9]+', target_label: host}
  static_configs: [{targets: ['192.0.2.1:9090']}]
- job_name: direct
  label_limit: 3
  static_configs: [{targets: ['192.0.2.2:9100']}]
remote_write:
- {name: amp, url: 'http://192.0.2.3/', queue_config: {sample_age_limit: 55m}}
- name: few
  url: 'http://192.0.2.4/'
  write_relabel_configs:
  - {source_labels: [__name__], regex: 'up', action: keep}
"#;

    fn asked(series: &str, newest: Option<NewestSample>) -> Vec<TargetExplanation> {
        let config = Config::load(YAML, &|_| None, "forwarder.yml")
            .unwrap()
            .config;
        let labels = exact_labels(&Selector::parse(series).unwrap()).unwrap();
        explain(&config, &labels, newest).unwrap()
    }

    #[test]
    fn a_series_that_is_sent_shows_its_way_to_each_remote() {
        let found = asked(r#"node_load1{job="node",instance="nas:9100"}"#, None);
        let federate = &found[0];
        assert!(federate.selected, "{federate:?}");
        assert_eq!(federate.selection, r#"{job="node"}"#);
        assert_eq!(federate.metric_rules[0].effect, "does not match");
        assert_eq!(federate.metric_rules[1].effect, "changes");
        assert_eq!(federate.metric_rules[1].changes[0].name, "host");
        let [amp, few] = &federate.remotes[..] else {
            panic!("{federate:?}");
        };
        assert!(amp.sent, "{amp:?}");
        assert_eq!(
            amp.series.as_deref(),
            Some(r#"node_load1{host="nas",instance="nas:9100",job="node",site="attic"}"#)
        );
        assert!(amp.why.contains("55m go to expired/"), "{amp:?}");
        assert!(!few.sent);
        assert_eq!(
            few.why,
            "write_relabel_configs[0] drops it: \
             {source_labels: [__name__], regex: up, action: keep} does not match \"node_load1\""
        );
    }

    #[test]
    fn what_ends_before_a_remote_says_where() {
        let found = asked(r#"go_threads{job="node"}"#, None);
        let ends = found[0].ends.as_deref().unwrap();
        assert!(
            ends.starts_with("metric_relabel_configs[0] drops it"),
            "{ends}"
        );
        assert!(found[0].remotes.is_empty());
        let found = asked("other", None);
        assert!(!found[0].selected);
        assert_eq!(found[0].selection, "none of the job's 2 match[] selects it");
        // Name, job and instance are three labels, and one more is too many.
        assert_eq!(found[1].ends, None);
        let found = asked(r#"other{a="b"}"#, None);
        let ends = found[1].ends.as_deref().unwrap();
        assert!(ends.contains("label_limit exceeded"), "{ends}");
    }

    #[test]
    fn a_sample_that_is_too_old_or_too_far_ahead_is_not_sent() {
        for (age_ms, sent, why) in [
            (0, true, "go to expired/"),
            (55 * 60_000, true, "go to expired/"),
            (
                55 * 60_000 + 1_001,
                false,
                "is 55m1s old, and sample_age_limit is 55m",
            ),
            (-600_000, true, "go to expired/"),
            (-601_000, false, "is 10m1s ahead of now"),
        ] {
            let found = asked("up", Some(NewestSample { age_ms }));
            let amp = &found[0].remotes[0];
            assert_eq!(amp.sent, sent, "{age_ms}: {amp:?}");
            assert!(amp.why.contains(why), "{age_ms}: {amp:?}");
        }
    }

    #[test]
    fn only_a_whole_label_set_is_a_series() {
        let named = |text: &str| exact_labels(&Selector::parse(text).unwrap());
        assert_eq!(named(r#"up{a="b"}"#).unwrap().len(), 2);
        for text in [r#"up{a=~"b"}"#, r#"{a="b"}"#, r#"up{a="b",a="c"}"#] {
            assert!(named(text).is_err(), "{text}");
        }
    }
}
