//! Lists of relabel rules.

use super::keys::RELABEL;
use super::problem::shown;
use super::reader::{Reader, Section, StringKind};
use super::yaml::Node;
use crate::relabel::{Action, Rule, RuleError, RuleSpec};

/// Reads a list of rules. `what` is Prometheus' name for one of them.
pub(super) fn read_rules(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    key: &str,
    what: &str,
) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (node, path) in reader.list(section, key) {
        if node.is_null() {
            reader.error_at(
                &path,
                format!("empty or null {what}"),
                "remove the dash or fill the rule in",
            );
            continue;
        }
        rules.extend(read_rule(reader, node, path));
    }
    rules
}

// model/relabel/relabel.go (*Config).UnmarshalYAML
fn read_rule(reader: &mut Reader<'_>, node: &Node, path: String) -> Option<Rule> {
    let before = reader.problems.len();
    let section = reader.section(node, path, &RELABEL);
    let mut written = RuleSpec::default();
    if reader.entry(&section, "source_labels").is_some() {
        let labels = reader.strings(&section, "source_labels", StringKind::Raw);
        for (_, path) in labels.iter().filter(|(label, _)| label.is_empty()) {
            reader.error_at(
                path,
                "\"\" is not a valid label name",
                "give the name of a label",
            );
        }
        written.source_labels = Some(labels.into_iter().map(|(label, _)| label).collect());
    }
    if let Some(separator) = text(reader, &section, "separator") {
        written.separator = separator;
    }
    written.regex = text(reader, &section, "regex");
    if !reader.is_empty(&section, "modulus") {
        written.modulus = reader.count(&section, "modulus").unwrap_or(0);
    }
    written.target_label = text(reader, &section, "target_label").unwrap_or_default();
    if let Some(replacement) = text(reader, &section, "replacement") {
        written.replacement = replacement;
    }
    if reader.is_empty(&section, "action") {
        reader.error_at(
            &section.path_of("action"),
            "relabel action cannot be empty",
            "remove the key for replace",
        );
    } else if let Some(name) = reader.string(&section, "action", StringKind::Raw) {
        match Action::named(&name) {
            Some(action) => written.action = action,
            None => {
                let known = Action::names().collect::<Vec<_>>().join(", ");
                reader.error_at(
                    &section.path_of("action"),
                    format!("unknown relabel action {}", shown(&name)),
                    format!("write one of {known}"),
                );
            }
        }
    }
    if reader.problems.len() > before {
        return None;
    }
    match Rule::new(written) {
        Ok(rule) => Some(rule),
        Err(error) => {
            let (key, fix) = match &error {
                RuleError::Pattern(_) => (
                    section.path_of("regex"),
                    "regular expressions are RE2's: neither look-around nor back-references",
                ),
                _ => (section.path.clone(), ""),
            };
            reader.error_at(&key, error.to_string(), fix);
            None
        }
    }
}

/// Reads a string in which nothing expands. A key that is null is an empty string, as in go-yaml.
fn text(reader: &mut Reader<'_>, section: &Section<'_>, key: &str) -> Option<String> {
    if reader.is_empty(section, key) {
        Some(String::new())
    } else {
        reader.string(section, key, StringKind::Raw)
    }
}
