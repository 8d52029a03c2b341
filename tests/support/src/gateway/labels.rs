//! The rules for a label set, as Cortex' distributor has them, but stricter: Cortex sorts labels
//! and drops empty ones itself. A sender must not rely on that, so the gateway refuses them.
//! Sources: cortex pkg/util/validation/validate.go `ValidateLabels`; remote write 1.0.

use super::options::WorkspaceLimits;
use super::refusal::{Reason, Refusal};
use super::wire::{Label, MetricMetadata};

/// Checks the labels of one entry.
///
/// # Errors
/// Refuses with 400 and Cortex' words.
pub fn validate(labels: &[Label], limits: &WorkspaceLimits) -> Result<(), Refusal> {
    let series = format_series(labels);
    let bad = |what: String| Err(Refusal::text(400, Reason::Labels, what));
    let Some(name) = metric_name(labels) else {
        return bad("sample missing metric name".to_owned());
    };
    if !is_metric_name(name) {
        return bad(format!("sample invalid metric name: \"{name}\""));
    }
    if labels.len() > limits.max_labels {
        return bad(format!(
            "series has too many labels (actual: {}, limit: {}) series: '{series}'",
            labels.len(),
            limits.max_labels
        ));
    }
    let mut previous = "";
    for Label { name, value } in labels {
        if !is_label_name(name) {
            return bad(format!(
                "sample invalid label: \"{name}\" metric \"{series}\""
            ));
        }
        if value.is_empty() {
            return bad(format!(
                "empty value of label \"{name}\" metric \"{series}\""
            ));
        }
        if name.len() > limits.max_label_name {
            return bad(format!(
                "label name too long: \"{name}\" metric \"{series}\""
            ));
        }
        if value.len() > limits.max_label_value {
            return bad(format!(
                "label value too long: \"{value}\" metric \"{series}\""
            ));
        }
        match previous.cmp(name.as_str()) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => {
                return bad(format!(
                    "duplicate label name: \"{name}\" metric \"{series}\""
                ));
            }
            std::cmp::Ordering::Greater => {
                return bad(format!("labels not sorted: \"{name}\" metric \"{series}\""));
            }
        }
        previous = name;
    }
    Ok(())
}

/// Checks the metadata of a request. One text that is too long refuses the whole request.
///
/// # Errors
/// Refuses with 400 and Cortex' words.
pub fn validate_metadata(
    metadata: &[MetricMetadata],
    limits: &WorkspaceLimits,
) -> Result<(), Refusal> {
    for MetricMetadata {
        metric_family_name: name,
        help,
        ..
    } in metadata
    {
        if name.is_empty() {
            return Err(Refusal::text(
                400,
                Reason::Metadata,
                "metadata missing metric name",
            ));
        }
        if name.len() + help.len() > limits.max_metadata {
            let body = format!("metadata 'HELP' value too long: \"{help}\" metric \"{name}\"");
            return Err(Refusal::text(400, Reason::Metadata, body));
        }
    }
    Ok(())
}

/// The value of `__name__`.
pub fn metric_name(labels: &[Label]) -> Option<&str> {
    value_of(labels, "__name__").filter(|name| !name.is_empty())
}

/// The value of a label.
pub fn value_of<'a>(labels: &'a [Label], name: &str) -> Option<&'a str> {
    labels
        .iter()
        .find(|label| label.name == name)
        .map(|label| label.value.as_str())
}

/// Formats a series as `name{a="b"}`, for messages.
pub fn format_series(labels: &[Label]) -> String {
    let inner: Vec<String> = labels
        .iter()
        .filter(|label| label.name != "__name__")
        .map(|label| format!("{}={:?}", label.name, label.value))
        .collect();
    format!(
        "{}{{{}}}",
        metric_name(labels).unwrap_or_default(),
        inner.join(", ")
    )
}

fn is_metric_name(name: &str) -> bool {
    is_name(name, |byte| byte == b':')
}

fn is_label_name(name: &str) -> bool {
    is_name(name, |_| false)
}

fn is_name(name: &str, also: impl Fn(u8) -> bool) -> bool {
    !name.is_empty()
        && !name.as_bytes()[0].is_ascii_digit()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || also(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)]) -> String {
        let labels: Vec<Label> = pairs
            .iter()
            .map(|(name, value)| Label {
                name: (*name).to_owned(),
                value: (*value).to_owned(),
            })
            .collect();
        let limits = WorkspaceLimits {
            max_labels: 3,
            max_label_name: 10,
            max_label_value: 5,
            ..WorkspaceLimits::default()
        };
        validate(&labels, &limits).map_or_else(|refusal| refusal.body, |()| "ok".to_owned())
    }

    #[test]
    fn table() {
        let name = ("__name__", "a:b");
        for (pairs, expected) in [
            (vec![name, ("a", "1"), ("b", "2")], "ok"),
            (vec![("a", "1")], "sample missing metric name"),
            (vec![("__name__", "a-b")], "sample invalid metric name"),
            (vec![("__name__", "1a")], "sample invalid metric name"),
            (vec![name, ("b", "1"), ("a", "1")], "labels not sorted"),
            (vec![name, ("a", "1"), ("a", "1")], "duplicate label name"),
            (vec![name, ("a", "")], "empty value"),
            (vec![name, ("a:b", "1")], "sample invalid label"),
            (vec![name, ("", "1")], "sample invalid label"),
            (vec![name, ("abcdefghijk", "1")], "label name too long"),
            (vec![name, ("a", "123456")], "label value too long"),
            (
                vec![name, ("a", "1"), ("b", "1"), ("c", "1")],
                "series has too many labels",
            ),
        ] {
            let actual = check(&pairs);
            assert!(actual.starts_with(expected), "{pairs:?}: {actual}");
        }
    }
}
