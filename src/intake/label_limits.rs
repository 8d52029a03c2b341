//! What the labels of a series must be like: else its scrape fails (`scrape/scrape.go` `append`).

use std::fmt::Write as _;

use super::Refusal;
use crate::config::{NameValidation, ScrapeLimits};
use crate::series::Labels;
use crate::series::labels::NAME;
use crate::series::text;

/// Characters of a name or a value that a message shows (`%.50s` in `verifyLabelLimits`).
const SHOWN: usize = 50;

/// Characters of a series that a message shows.
const SHOWN_SERIES: usize = 200;

/// Checks finished labels: first their names, then the limits.
pub(super) fn check(
    labels: &Labels<'_>,
    validation: NameValidation,
    limits: &ScrapeLimits,
) -> Result<(), Refusal> {
    let metric = labels.get(NAME);
    if metric.is_empty() {
        return Err(Refusal("missing metric name (__name__ label)".to_owned()));
    }
    if labels.iter().any(|label| label.name.is_empty()) {
        return Err(Refusal(
            "invalid metric name or label names: a label's name is empty".to_owned(),
        ));
    }
    // model/labels/labels_common.go IsValid
    if validation == NameValidation::Legacy && !is_legacy(labels, metric) {
        let pairs: Vec<_> = labels
            .iter()
            .map(|label| (&*label.name, &*label.value))
            .collect();
        let series = clipped(&text::series(&pairs), SHOWN_SERIES);
        return Err(Refusal(format!(
            "invalid metric name or label names: {series}: metric_name_validation_scheme is legacy"
        )));
    }
    within(labels, metric, limits)
}

fn is_legacy(labels: &Labels<'_>, metric: &str) -> bool {
    text::is_plain(metric, true)
        && labels
            .iter()
            .all(|label| text::is_plain(&label.name, false))
}

/// `scrape/scrape.go` `verifyLabelLimits`: lengths are bytes.
fn within(labels: &Labels<'_>, metric: &str, limits: &ScrapeLimits) -> Result<(), Refusal> {
    let exceeds = |length: usize, limit: u64| limit > 0 && length as u64 > limit;
    let metric = || clipped(metric, SHOWN);
    let count = labels.iter().len();
    if exceeds(count, limits.labels) {
        let message = format!(
            "label_limit exceeded (metric: {}, number of labels: {count}, limit: {})",
            metric(),
            limits.labels
        );
        return Err(Refusal(message));
    }
    for label in labels.iter() {
        let mut message = String::new();
        let shown = || {
            format!(
                "metric: {}, label name: {}",
                metric(),
                clipped(&label.name, SHOWN)
            )
        };
        if exceeds(label.name.len(), limits.label_name_length) {
            let (length, limit) = (label.name.len(), limits.label_name_length);
            let _ = write!(
                message,
                "label_name_length_limit exceeded ({}, length: {length}, limit: {limit})",
                shown()
            );
        } else if exceeds(label.value.len(), limits.label_value_length) {
            let (length, limit, value) = (
                label.value.len(),
                limits.label_value_length,
                clipped(&label.value, SHOWN),
            );
            let _ = write!(
                message,
                "label_value_length_limit exceeded ({}, value: {value:?}, length: {length}, \
                 limit: {limit})",
                shown()
            );
        }
        if !message.is_empty() {
            return Err(Refusal(message));
        }
    }
    Ok(())
}

fn clipped(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&'static str, &'static str)]) -> Labels<'static> {
        let mut labels = Labels::default();
        for (name, value) in pairs {
            labels.set(*name, *value);
        }
        labels.finish();
        labels
    }

    fn refusal(
        pairs: &[(&'static str, &'static str)],
        validation: NameValidation,
        limits: ScrapeLimits,
    ) -> String {
        check(&labels(pairs), validation, &limits)
            .err()
            .map_or(String::new(), |refused| refused.0)
    }

    #[test]
    fn names_by_scheme() {
        for (name, label, legal) in [
            ("a:b_9", "a_9", true),
            ("a.b", "a", false),
            ("9a", "a", false),
            ("a", "a:b", false),
            ("a", "a.b", false),
            ("a", "9", false),
            ("é", "a", false),
            ("_", "__replica__", true),
        ] {
            let pairs = [(NAME, name), (label, "x")];
            let found = refusal(&pairs, NameValidation::Legacy, ScrapeLimits::default());
            assert_eq!(found.is_empty(), legal, "{name} {label}: {found}");
            assert_eq!(
                refusal(&pairs, NameValidation::Utf8, ScrapeLimits::default()),
                "",
                "{name} {label}"
            );
        }
        assert!(
            refusal(&[("a", "b")], NameValidation::Utf8, ScrapeLimits::default())
                .contains("missing metric name")
        );
    }

    /// As Prometheus words them.
    #[test]
    fn limits_are_named_with_what_exceeds_them() {
        let series = [(NAME, "metric"), ("long_name", "a\nvalue")];
        let utf8 = |limits| refusal(&series, NameValidation::Utf8, limits);
        let none = ScrapeLimits::default();
        assert_eq!(
            utf8(ScrapeLimits {
                labels: 2,
                label_name_length: 9,
                label_value_length: 7,
                ..none
            }),
            ""
        );
        assert_eq!(
            utf8(ScrapeLimits { labels: 1, ..none }),
            "label_limit exceeded (metric: metric, number of labels: 2, limit: 1)"
        );
        assert_eq!(
            utf8(ScrapeLimits {
                label_name_length: 8,
                ..none
            }),
            "label_name_length_limit exceeded (metric: metric, label name: long_name, length: 9, \
             limit: 8)"
        );
        assert_eq!(
            utf8(ScrapeLimits {
                label_value_length: 6,
                ..none
            }),
            "label_value_length_limit exceeded (metric: metric, label name: long_name, value: \
             \"a\\nvalue\", length: 7, limit: 6)"
        );
    }
}
