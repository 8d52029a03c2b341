//! Rules applied one by one, with what each of them did, for people who ask why.

use super::{MAX_ADDED, Rule, RuleSpec, SizeError};
use crate::series::Labels;

/// One rule and what it did to a label set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleTrace {
    /// The rule, with every default filled in.
    pub rule: RuleSpec,
    /// Values of the rule's source labels, joined.
    pub source: String,
    /// Whether the rule's pattern matches the source. `None` for actions that compare labels, map
    /// their names or have no condition.
    pub matched: Option<bool>,
    /// Whether the label set is kept.
    pub kept: bool,
    /// Labels that the rule changed, sorted by name.
    pub changes: Vec<LabelChange>,
}

/// A label before and after a rule. An empty value is no label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelChange {
    /// Name of the label.
    pub name: String,
    /// Value before the rule.
    pub before: String,
    /// Value after the rule.
    pub after: String,
}

/// Applies rules in their order, as [`apply`](super::apply) does, and says what each one did. A
/// rule that drops the label set is the last one.
///
/// # Errors
/// Fails as [`apply`](super::apply) does.
pub fn trace(rules: &[Rule], labels: &mut Labels<'_>) -> Result<Vec<RuleTrace>, SizeError> {
    let most = 2 * labels.bytes() + MAX_ADDED;
    let mut source = String::new();
    let mut traces = Vec::with_capacity(rules.len());
    for rule in rules {
        let before = labels.snapshot(|_| true);
        let kept = rule.apply(labels, &mut source, most)?;
        traces.push(RuleTrace {
            rule: rule.spec(),
            source: source.clone(),
            matched: rule.matches(&source),
            kept,
            changes: changes(&before, labels),
        });
        if !kept {
            break;
        }
    }
    Ok(traces)
}

/// The labels that differ between a snapshot and the set as it is now.
fn changes(before: &[(String, String, Option<u32>)], labels: &Labels<'_>) -> Vec<LabelChange> {
    let after = labels.snapshot(|_| true);
    let mut names: Vec<_> = before.iter().chain(&after).map(|(name, ..)| name).collect();
    names.sort_unstable();
    names.dedup();
    let value = |labels: &[(String, String, Option<u32>)], wanted: &str| {
        let found = labels.iter().find(|(name, ..)| name == wanted);
        found.map_or(String::new(), |(_, value, _)| value.clone())
    };
    let change = |name: &String| LabelChange {
        name: name.clone(),
        before: value(before, name),
        after: value(&after, name),
    };
    names
        .into_iter()
        .map(change)
        .filter(|change| change.before != change.after)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Action, apply};
    use super::*;

    fn rule(action: Action, source: &str, regex: &str, target: &str, replacement: &str) -> Rule {
        Rule::new(RuleSpec {
            source_labels: (!source.is_empty()).then(|| vec![source.to_owned()]),
            regex: (!regex.is_empty()).then(|| regex.to_owned()),
            target_label: target.to_owned(),
            replacement: replacement.to_owned(),
            action,
            ..RuleSpec::default()
        })
        .unwrap()
    }

    fn labels() -> Labels<'static> {
        let mut labels = Labels::default();
        labels.set("__name__", "up");
        labels.set("instance", "nas:9100");
        labels.finish();
        labels
    }

    #[test]
    fn each_rule_says_what_it_did_and_the_one_that_drops_is_the_last() {
        let rules = [
            rule(Action::Replace, "instance", "(.*):[0-9]+", "host", "$1"),
            rule(Action::Replace, "instance", "nothing", "host", "$1"),
            rule(Action::LabelDrop, "", "inst.*", "", "$1"),
            rule(Action::Drop, "__name__", "up", "", "$1"),
            rule(Action::Replace, "", "", "never", "reached"),
        ];
        let mut set = labels();
        let shown: Vec<_> = trace(&rules, &mut set)
            .unwrap()
            .into_iter()
            .map(|step| {
                let changes = step
                    .changes
                    .into_iter()
                    .map(|change| format!("{}: {}→{}", change.name, change.before, change.after));
                let changes: Vec<_> = changes.collect();
                (step.source, step.matched, step.kept, changes.join(", "))
            })
            .collect();
        let expected = [
            ("nas:9100", Some(true), true, "host: →nas"),
            ("nas:9100", Some(false), true, ""),
            ("", None, true, "instance: nas:9100→"),
            ("up", Some(true), false, ""),
        ];
        let expected = expected.map(|(source, matched, kept, changes)| {
            (source.to_owned(), matched, kept, changes.to_owned())
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_trace_ends_where_rules_that_are_only_applied_end() {
        let rules = [
            rule(Action::Uppercase, "instance", "", "instance", "$1"),
            rule(Action::LabelMap, "", "(inst)ance", "", "mapped_$1"),
            rule(Action::Keep, "mapped_inst", "NAS.*", "", "$1"),
        ];
        let (mut traced, mut applied) = (labels(), labels());
        let steps = trace(&rules, &mut traced).unwrap();
        assert!(apply(&rules, &mut applied).unwrap());
        assert!(steps.iter().all(|step| step.kept));
        assert_eq!(traced, applied);
    }
}
