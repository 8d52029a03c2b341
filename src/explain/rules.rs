//! Relabel rules and their effects as texts.

use serde::Serialize;

use crate::relabel::{Action, RuleSpec, RuleTrace};

/// A rule that was applied, and what it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleStep {
    /// Place of the rule: `metric_relabel_configs[0]`.
    pub at: String,
    /// The rule as YAML, without the keys that have their defaults.
    pub rule: String,
    /// Values of its source labels, joined.
    pub source: String,
    /// What it did: `drops`, `changes`, `keeps`, `does not match` or `changes nothing`.
    pub effect: &'static str,
    /// Labels that it changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangedLabel>,
}

/// A label that a rule changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangedLabel {
    /// Name of the label.
    pub name: String,
    /// Value before the rule; none when there was no such label.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub before: String,
    /// Value after the rule; none when the label is gone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub after: String,
}

/// The steps of the rules in `section`, in their order.
pub(super) fn steps(section: &str, traces: &[RuleTrace]) -> Vec<RuleStep> {
    let step = |(index, trace): (usize, &RuleTrace)| RuleStep {
        at: format!("{section}[{index}]"),
        rule: yaml(&trace.rule),
        source: trace.source.clone(),
        effect: effect(trace),
        changes: trace
            .changes
            .iter()
            .map(|change| ChangedLabel {
                name: change.name.clone(),
                before: change.before.clone(),
                after: change.after.clone(),
            })
            .collect(),
    };
    traces.iter().enumerate().map(step).collect()
}

fn effect(trace: &RuleTrace) -> &'static str {
    let filters = matches!(
        trace.rule.action,
        Action::Keep | Action::Drop | Action::KeepEqual | Action::DropEqual
    );
    match (trace.kept, trace.matched, trace.changes.is_empty()) {
        (false, ..) => "drops",
        (true, _, false) => "changes",
        (true, Some(false), true) => "does not match",
        (true, ..) if filters => "keeps",
        (true, ..) => "changes nothing",
    }
}

/// The sentence about the last of these rules, which has dropped the series.
pub(super) fn dropped_by(steps: &[RuleStep]) -> String {
    match steps.last() {
        Some(step) if step.effect == "drops" => {
            let verb = if step.rule.contains("action: keepequal") {
                "finds another value than"
            } else if step.rule.contains("action: keep") {
                "does not match"
            } else if step.rule.contains("action: dropequal") {
                "finds the same value as"
            } else {
                "matches"
            };
            format!(
                "{} drops it: {} {verb} {:?}",
                step.at, step.rule, step.source
            )
        }
        _ => "relabelling leaves it without labels".to_owned(),
    }
}

/// A rule in YAML's flow style, without the keys that have their defaults.
fn yaml(rule: &RuleSpec) -> String {
    let defaults = RuleSpec::default();
    let mut keys = Vec::new();
    let sources = rule.source_labels.as_deref().unwrap_or_default();
    if !sources.is_empty() {
        let names: Vec<_> = sources.iter().map(|name| scalar(name)).collect();
        keys.push(format!("source_labels: [{}]", names.join(", ")));
    }
    if rule.separator != defaults.separator && !sources.is_empty() {
        keys.push(format!("separator: {}", scalar(&rule.separator)));
    }
    if let Some(regex) = rule.regex.as_deref().filter(|regex| *regex != "(.*)") {
        keys.push(format!("regex: {}", scalar(regex)));
    }
    if rule.modulus != defaults.modulus {
        keys.push(format!("modulus: {}", rule.modulus));
    }
    if !rule.target_label.is_empty() {
        keys.push(format!("target_label: {}", scalar(&rule.target_label)));
    }
    if rule.replacement != defaults.replacement {
        keys.push(format!("replacement: {}", scalar(&rule.replacement)));
    }
    if rule.action != defaults.action {
        keys.push(format!("action: {}", rule.action));
    }
    format!("{{{}}}", keys.join(", "))
}

/// A text as YAML has it in flow style: in quotes, unless it is a plain word.
fn scalar(text: &str) -> String {
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if is_word {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_shown_as_people_write_it() {
        let rule = RuleSpec {
            source_labels: Some(vec!["job".to_owned(), "a b".to_owned()]),
            separator: "@".to_owned(),
            regex: Some("it's.*".to_owned()),
            modulus: 8,
            target_label: "shard".to_owned(),
            action: Action::HashMod,
            ..RuleSpec::default()
        };
        assert_eq!(
            yaml(&rule),
            "{source_labels: [job, 'a b'], separator: '@', regex: 'it''s.*', modulus: 8, \
             target_label: shard, action: hashmod}"
        );
        assert_eq!(yaml(&RuleSpec::default()), "{}");
        assert_eq!(scalar("no"), "'no'");
    }
}
