//! Relabelling: rules, patterns, templates and the mapping of case, over expositions that make
//! their meanings visible.

mod patterns;
mod rules;

use patterns::{PATTERNS, TARGETS, TEMPLATES, VALUES};
use rules::{OF_TARGETS, RULES, WITH_KEYS};
use std::fmt::Write as _;

/// One exposition under the rules of one job.
pub(super) struct RelabelCase {
    pub(super) name: String,
    /// Keys of the job, in YAML.
    pub(super) job: String,
    pub(super) exposition: String,
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A series for each value, as label `x`.
fn tried<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    values.into_iter().fold(String::new(), |mut text, value| {
        let escaped = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let _ = writeln!(text, "m{{x=\"{escaped}\",i=\"{}\"}} 1", text.len());
        text
    })
}

fn metric(rules: &str) -> String {
    format!("metric_relabel_configs: [{rules}]")
}

/// All cases.
pub(super) fn cases() -> Vec<RelabelCase> {
    let mut cases = Vec::new();
    let values = tried(VALUES.iter().copied());
    for pattern in PATTERNS {
        let rule = format!(
            "{{source_labels: [x], regex: {}, target_label: out, \
             replacement: '[$0][$1][$2][$b][$1a]'}}",
            quoted(pattern)
        );
        cases.push(RelabelCase {
            name: format!("pattern {pattern}"),
            job: metric(&rule),
            exposition: values.clone(),
        });
    }
    for template in TEMPLATES {
        let rule = format!(
            "{{source_labels: [x], regex: '(?P<n>.)(.*)', target_label: out, replacement: {}}}",
            quoted(template)
        );
        cases.push(RelabelCase {
            name: format!("template {template}"),
            job: metric(&rule),
            exposition: tried(VALUES.iter().copied().take(20)),
        });
    }
    for target in TARGETS {
        let rule = format!(
            "{{source_labels: [x], regex: '(?P<n>.)(.*)', target_label: {}, replacement: hit}}",
            quoted(target)
        );
        cases.push(RelabelCase {
            name: format!("target label {target}"),
            job: metric(&rule),
            exposition: tried(["a", "ab", "é", "9", ""]),
        });
    }
    let all: Vec<char> = ('\u{20}'..='\u{1e9ff}')
        .filter(|c| !matches!(c, '"' | '\\'))
        .collect();
    let all: Vec<String> = all
        .chunks(200)
        .map(|chunk| chunk.iter().collect())
        .collect();
    for action in ["lowercase", "uppercase"] {
        let rule = format!("{{action: {action}, source_labels: [x], target_label: out}}");
        cases.push(RelabelCase {
            name: format!("{action} of every character"),
            job: metric(&rule),
            exposition: tried(all.iter().map(String::as_str)),
        });
    }
    cases.extend(tabled());
    cases
}

/// The cases of the tables of rules.
fn tabled() -> Vec<RelabelCase> {
    let mut cases = Vec::new();
    cases.extend(RULES.iter().map(|(rules, body)| RelabelCase {
        name: format!("rules {rules}"),
        job: metric(rules),
        exposition: (*body).to_owned(),
    }));
    let with_keys = WITH_KEYS.iter();
    cases.extend(with_keys.map(|(keys, rules, body)| RelabelCase {
        name: format!("{keys}, rules {rules}"),
        job: format!("{keys}\n  {}", metric(rules)),
        exposition: (*body).to_owned(),
    }));
    for rules in OF_TARGETS {
        let job = format!("params: {{x: [a, b], y: [c]}}\n  relabel_configs: [{rules}]");
        cases.push(RelabelCase {
            name: format!("target rules {rules}"),
            job,
            exposition: "m 1\nm{x=\"1\",own=\"2\"} 2\n".to_owned(),
        });
    }
    cases
}

/// Labels of the targets.
pub(super) const LABELS: &str = "own: '1', own2: ABC, __meta_a: m, __other: o";
