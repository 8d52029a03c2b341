//! Series as the text formats write them, with names beyond `[a-zA-Z0-9_:]` in quotes
//! (`docs/specs/om/open_metrics_spec_2_0.md`, "UTF-8 names").

/// A series: `name{label="value"}`, or `{"a name","a label"="value"}`.
#[must_use]
pub fn series(labels: &[(&str, &str)]) -> String {
    let name = labels
        .iter()
        .find(|(name, _)| *name == "__name__")
        .map_or("", |(_, value)| value);
    let bare = is_plain(name, true);
    let mut inside = Vec::new();
    if !bare {
        inside.push(quoted(name));
    }
    for (label, value) in labels.iter().filter(|(label, _)| *label != "__name__") {
        let label = if is_plain(label, false) {
            (*label).to_owned()
        } else {
            quoted(label)
        };
        inside.push(format!("{label}={}", quoted(value)));
    }
    let braces = if inside.is_empty() {
        String::new()
    } else {
        format!("{{{}}}", inside.join(","))
    };
    format!("{}{braces}", if bare { name } else { "" })
}

/// A metric's name by itself, as in a line of metadata.
#[must_use]
pub fn name(name: &str) -> String {
    if is_plain(name, true) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// Whether text formats take the name without quotes (`model.IsValidLegacyMetricName`,
/// `LabelName.IsValidLegacy`): colons are for metrics only.
pub(crate) fn is_plain(name: &str, colon: bool) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_' || (colon && c == ':');
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

fn quoted(text: &str) -> String {
    format!(
        "\"{}\"",
        text.replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_they_must_be() {
        assert_eq!(series(&[("__name__", "a:b")]), "a:b");
        assert_eq!(
            series(&[("__name__", "m"), ("a", "1\n\"\\"), ("b:c", "é")]),
            r#"m{a="1\n\"\\","b:c"="é"}"#
        );
        assert_eq!(
            series(&[("__name__", "my.metric"), ("a", "1")]),
            r#"{"my.metric",a="1"}"#
        );
        assert_eq!((name("m1").as_str(), name("1m").as_str()), ("m1", "\"1m\""));
    }
}
