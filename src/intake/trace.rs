//! What becomes of one series on its way to each remote, step by step, without taking a sample of
//! it. It ends where [`label_sets`](super::label_sets::label_sets) ends, and says how it got there.

use super::label_limits;
use super::label_sets::add_external_labels;
use super::rules::{IntakeRules, add_target_labels};
use super::sink::Refusal;
use crate::relabel::{Rule, RuleTrace, trace};
use crate::series::{ExposedLabel, Labels};

/// The way of a series through a job's rules and those of each remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesTrace {
    /// Labels with those of the target, conflicts resolved.
    pub with_target: Vec<(String, String)>,
    /// `metric_relabel_configs`, up to the one that drops the series.
    pub metric_rules: Vec<RuleTrace>,
    /// The way that ends before any remote.
    pub end: Option<TraceEnd>,
    /// One entry for each remote, in the order of the rules' remotes; none when the way ended
    /// before.
    pub remotes: Vec<RemoteTrace>,
}

/// Why a series reaches no remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceEnd {
    /// A rule drops the series, or leaves it without labels.
    Dropped,
    /// The series fails its whole scrape: it breaks a limit or has an illegal name.
    Refused(Refusal),
}

/// The way of a series to one remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteTrace {
    /// `write_relabel_configs`, up to the one that drops the series.
    pub rules: Vec<RuleTrace>,
    /// Labels at the remote, sorted by name, or why the series does not get there.
    pub labels: Result<Vec<(String, String)>, TraceEnd>,
}

/// Follows a series with the labels that its target exposes.
#[must_use]
pub fn trace_series(rules: &IntakeRules<'_>, labels: &[ExposedLabel<'_>]) -> SeriesTrace {
    let mut labels = add_target_labels(Labels::exposed(labels), *rules);
    let mut found = SeriesTrace {
        with_target: pairs(&finished(labels.clone())),
        metric_rules: Vec::new(),
        end: None,
        remotes: Vec::new(),
    };
    let relabelled = relabel(rules.metric_relabel, &mut labels, &mut found.metric_rules);
    let checked = relabelled.and_then(|()| {
        label_limits::check(&labels, rules.validation, &rules.limits).map_err(TraceEnd::Refused)?;
        match labels.duplicate() {
            Some(name) => Err(TraceEnd::Refused(Refusal(format!(
                "label name \"{name}\" is not unique"
            )))),
            None => Ok(()),
        }
    });
    if let Err(end) = checked {
        found.end = Some(end);
        return found;
    }
    add_external_labels(&mut labels, rules.external_labels);
    let remote = |remote: &crate::config::RemoteWrite| {
        let (mut steps, mut labels) = (Vec::new(), labels.clone());
        let relabelled = relabel(&remote.write_relabel_configs, &mut labels, &mut steps);
        RemoteTrace {
            rules: steps,
            labels: relabelled.map(|()| pairs(&labels)),
        }
    };
    found.remotes = rules.remotes.iter().map(remote).collect();
    found
}

/// Applies rules, and notes each step. The label set is finished afterwards.
fn relabel(
    rules: &[Rule],
    labels: &mut Labels<'_>,
    steps: &mut Vec<RuleTrace>,
) -> Result<(), TraceEnd> {
    *steps = trace(rules, labels).map_err(|error| TraceEnd::Refused(Refusal(error.to_string())))?;
    labels.finish();
    let is_dropped = steps.iter().any(|step| !step.kept) || labels.is_empty();
    if is_dropped {
        Err(TraceEnd::Dropped)
    } else {
        Ok(())
    }
}

fn finished(mut labels: Labels<'_>) -> Labels<'_> {
    labels.finish();
    labels
}

fn pairs(labels: &Labels<'_>) -> Vec<(String, String)> {
    labels
        .iter()
        .map(|label| (label.name.to_string(), label.value.to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::super::HistogramLimits;
    use super::super::label_sets::label_sets;
    use super::*;
    use crate::config::Config;
    use crate::home::targets;

    const YAML: &str = r#"
global: {external_labels: {a: external, e: external}}
scrape_configs:
- job_name: home
  label_limit: 6
  label_value_length_limit: 5
  metric_relabel_configs:
  - {source_labels: [a], regex: 'x+', action: drop}
  - {source_labels: [b], regex: '(.+)y', target_label: c}
  - {regex: 'd.*', action: labeldrop}
  static_configs: [{targets: ['192.0.2.1:1'], labels: {a: t}}]
remote_write:
- {name: all, url: 'http://192.0.2.3/'}
- name: some
  url: 'http://192.0.2.4/'
  write_relabel_configs:
  - {source_labels: [c], regex: 'x?', action: keep}
  - {regex: '__name__|c|e|job|instance|.*', action: labeldrop}
- name: mapped
  url: 'http://192.0.2.5/'
  write_relabel_configs:
  - {regex: '([abc])', replacement: 'm_$1', action: labelmap}
"#;

    proptest! {
        /// A trace must not know another way than the one that samples take.
        #[test]
        fn a_trace_ends_where_a_sample_ends(
            labels in prop::collection::btree_map("[abcde]|dd|job", "[xy]{0,6}", 0..6),
            name in "[mx]?",
            honor_labels: bool,
        ) {
            let config = Config::load(YAML, &|_| None, "forwarder.yml").unwrap().config;
            let (job, targets) = (&config.scrape_configs[0], targets(&config.scrape_configs));
            let rules = IntakeRules {
                target: &targets.unwrap()[0],
                honor_labels,
                honor_timestamps: true,
                track_timestamps_staleness: false,
                limits: job.limits,
                validation: job.naming.validation,
                metric_relabel: &job.metric_relabel_configs,
                histogram_limits: HistogramLimits::new(0, 0.0),
                external_labels: &config.global.external_labels,
                remotes: &config.remote_write,
                start_ms: 0,
            };
            let named = std::iter::once(("__name__".to_owned(), name));
            let exposed: Vec<_> = named
                .chain(labels)
                .map(|(name, value)| ExposedLabel {
                    name: Cow::Owned(name),
                    value: Cow::Owned(value),
                    span: None,
                })
                .collect();
            let trace = trace_series(&rules, &exposed);
            let traced: Result<Vec<_>, String> = match trace.end {
                Some(TraceEnd::Refused(refusal)) => Err(refusal.0),
                Some(TraceEnd::Dropped) => Ok(vec![None; 3]),
                None => Ok(trace.remotes.into_iter().map(|remote| remote.labels.ok()).collect()),
            };
            let taken = label_sets(&rules, &exposed)
                .map(|sets| {
                    let sets = sets.into_iter();
                    sets.map(|set| set.map(|labels| pairs(&labels))).collect::<Vec<_>>()
                })
                .map_err(|refusal| refusal.0);
            prop_assert_eq!(traced, taken);
        }
    }
}
