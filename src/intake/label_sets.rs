//! The label sets that a series has at each remote, without taking a sample of it.
//!
//! A comparison of the home with a remote needs them, and so does the intake of a sample.

use std::collections::BTreeMap;

use super::label_limits;
use super::rules::{IntakeRules, add_target_labels, relabelled};
use super::sink::Refusal;
use crate::series::labels::NAME;
use crate::series::{ExposedLabel, Labels};

/// The label sets of a series, one for each of the rules' remotes, finished; `None` where a rule
/// drops the series.
///
/// # Errors
/// [`Refusal`]: the series fails its scrape, because it breaks a limit or has a label twice.
pub fn label_sets<'a>(
    rules: &IntakeRules<'a>,
    labels: &'a [ExposedLabel<'a>],
) -> Result<Vec<Option<Labels<'a>>>, Refusal> {
    let labels = add_target_labels(Labels::exposed(labels), *rules);
    let Some(labels) = relabelled(rules.metric_relabel, labels)? else {
        return Ok(vec![None; rules.remotes.len()]);
    };
    label_limits::check(&labels, rules.validation, &rules.limits)?;
    if let Some(name) = labels.duplicate() {
        return Err(Refusal(format!("label name \"{name}\" is not unique")));
    }
    at_remotes(rules, labels)
}

/// The label sets of a series that reports on the scrapes of the target, such as `up`.
///
/// # Errors
/// [`Refusal`] when relabelling made the series too large.
pub fn report_label_sets<'a>(
    rules: &IntakeRules<'a>,
    name: &'static str,
) -> Result<Vec<Option<Labels<'a>>>, Refusal> {
    let mut labels = Labels::default();
    labels.set(NAME, name);
    for (name, value) in &rules.target.labels {
        labels.set(name.as_str(), value.as_str());
    }
    labels.finish();
    at_remotes(rules, labels)
}

fn at_remotes<'a>(
    rules: &IntakeRules<'a>,
    mut labels: Labels<'a>,
) -> Result<Vec<Option<Labels<'a>>>, Refusal> {
    add_external_labels(&mut labels, rules.external_labels);
    rules
        .remotes
        .iter()
        .map(|remote| relabelled(&remote.write_relabel_configs, labels.clone()))
        .collect()
}

/// Adds the external labels to a finished set. A series' own label wins
/// (`storage/remote/queue_manager.go` `processExternalLabels`).
pub(super) fn add_external_labels<'a>(
    labels: &mut Labels<'a>,
    external_labels: &'a BTreeMap<String, String>,
) {
    for (name, value) in external_labels {
        if labels.find(name).is_none() {
            labels.set(name.as_str(), value.as_str());
        }
    }
}
