//! Prometheus' relabelling: rules that rewrite label sets, or drop them.
//!
//! The rules, their defaults and their errors are those of `model/relabel/relabel.go`; regular
//! expressions have RE2's meaning (`re2`, `class`: what Go reads, in the syntax of the crate
//! `regex`), templates are Go's (`template`), and so is the mapping of case (`case`). Nothing here
//! knows where label sets come from.

mod case;
mod class;
mod pattern;
mod re2;
mod repetition;
mod rule;
mod syntax;
mod template;
mod trace;

#[cfg(test)]
mod tests;

pub use pattern::{Pattern, PatternError};
pub use rule::{Action, MAX_ADDED, Rule, RuleError, RuleSpec, SizeError};
pub use syntax::SyntaxError;
pub use trace::{LabelChange, RuleTrace, trace};

use std::collections::BTreeMap;

use crate::series::Labels;

/// Applies rules in their order. Returns whether the label set is kept. // model/relabel/relabel.go
/// ProcessBuilder
///
/// # Errors
/// Fails with [`SizeError`] when the labels grow beyond [`MAX_ADDED`].
///
/// # Examples
/// ```
/// use amp_forwarder::relabel::{Action, Rule, RuleSpec, apply};
/// use amp_forwarder::series::Labels;
///
/// let rule = Rule::new(RuleSpec {
///     source_labels: Some(vec!["instance".to_owned()]),
///     regex: Some("(.*):[0-9]+".to_owned()),
///     target_label: "host".to_owned(),
///     ..RuleSpec::default()
/// })?;
/// let mut labels = Labels::default();
/// labels.set("instance", "nas:9100");
/// assert!(apply(&[rule], &mut labels)?);
/// assert_eq!(labels.get("host"), "nas");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn apply(rules: &[Rule], labels: &mut Labels<'_>) -> Result<bool, SizeError> {
    if rules.is_empty() {
        return Ok(true);
    }
    let most = 2 * labels.bytes() + MAX_ADDED;
    let mut joined = String::new();
    for rule in rules {
        if !rule.apply(labels, &mut joined, most)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Applies rules to plain names and values. Returns `None` when a rule drops the label set. Empty
/// values are as good as missing ones.
///
/// # Errors
/// Fails as [`apply`] does.
pub fn apply_to_map(
    rules: &[Rule],
    map: &BTreeMap<String, String>,
) -> Result<Option<BTreeMap<String, String>>, SizeError> {
    let mut labels = Labels::default();
    for (name, value) in map {
        labels.set(name.as_str(), value.as_str());
    }
    if !apply(rules, &mut labels)? {
        return Ok(None);
    }
    labels.finish();
    let pairs = labels
        .iter()
        .map(|label| (label.name.to_string(), label.value.to_string()));
    Ok(Some(pairs.collect()))
}
