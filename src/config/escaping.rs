//! How a home writes names that are not legacy ones, for what it does not write itself: remote read
//! hands out names as they are, and the same series must have the same name by each way.
//!
//! `/federate` escapes by prometheus/common `model/metric.go` (`EscapeMetricFamily`, `EscapeName`).

use std::borrow::Cow;
use std::fmt::Write as _;

use super::naming::NameEscaping;
use crate::series::labels::NAME;
use crate::series::{ExposedLabel, text};

impl NameEscaping {
    /// Writes the names of a series as the home does when it is asked for this scheme.
    pub fn escape(self, labels: &mut [ExposedLabel<'_>]) {
        for label in labels {
            let name = if label.name == NAME {
                &mut label.value
            } else {
                &mut label.name
            };
            if let Some(escaped) = self.escaped(name) {
                *name = Cow::Owned(escaped);
                // It is no longer there verbatim.
                label.span = None;
            }
        }
    }

    /// What is written in the place of a name, if anything is.
    fn escaped(self, name: &str) -> Option<String> {
        // The names of labels are held to the rule for those of metrics, so that they keep colons.
        if self == Self::AllowUtf8 || name.is_empty() || text::is_plain(name, true) {
            return None;
        }
        let mut escaped = String::with_capacity(name.len() + 8);
        if self == Self::Values {
            escaped.push_str("U__");
        }
        for (at, c) in name.char_indices() {
            let is_legal =
                c.is_ascii_alphabetic() || c == ':' || c == '_' || (c.is_ascii_digit() && at > 0);
            match self {
                Self::Dots | Self::Values if c == '_' => escaped.push_str("__"),
                _ if is_legal => escaped.push(c),
                Self::Dots if c == '.' => escaped.push_str("_dot_"),
                Self::Dots => escaped.push_str("__"),
                Self::Values => {
                    let _ = write!(escaped, "_{:x}_", u32::from(c));
                }
                Self::Underscores | Self::AllowUtf8 => escaped.push('_'),
            }
        }
        Some(escaped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::LabelSpan;

    /// The cases of prometheus/common `model/metric_test.go` `TestEscapeName`. A family whose name is
    /// legal is not escaped at all, so that `dots` keeps its underscores.
    #[test]
    fn names_are_written_as_federate_writes_them() {
        for (name, underscores, dots, values) in [
            ("", None, None, None),
            ("no:escaping_required", None, None, None),
            (
                "mysystem.prod.west.cpu.load",
                Some("mysystem_prod_west_cpu_load"),
                Some("mysystem_dot_prod_dot_west_dot_cpu_dot_load"),
                Some("U__mysystem_2e_prod_2e_west_2e_cpu_2e_load"),
            ),
            (
                "cpu.load_total",
                Some("cpu_load_total"),
                Some("cpu_dot_load__total"),
                Some("U__cpu_2e_load__total"),
            ),
            (
                "http.status:sum",
                Some("http_status:sum"),
                Some("http_dot_status:sum"),
                Some("U__http_2e_status:sum"),
            ),
            (
                "label with \u{1f631}",
                Some("label_with__"),
                Some("label__with____"),
                Some("U__label_20_with_20__1f631_"),
            ),
            (
                "\u{82b1}\u{706b}",
                Some("__"),
                Some("____"),
                Some("U___82b1__706b_"),
            ),
            ("0.5", Some("__5"), Some("___dot_5"), Some("U___30__2e_5")),
        ] {
            for (scheme, expected) in [
                (NameEscaping::AllowUtf8, None),
                (NameEscaping::Underscores, underscores),
                (NameEscaping::Dots, dots),
                (NameEscaping::Values, values),
            ] {
                let found = scheme.escaped(name);
                assert_eq!(found.as_deref(), expected, "{name:?} by {scheme:?}");
            }
        }
    }

    #[test]
    fn values_of_labels_stay_and_what_is_changed_has_no_place() {
        let label = |name: &'static str, value: &'static str| ExposedLabel {
            name: name.into(),
            value: value.into(),
            span: Some(LabelSpan { name: 1, value: 2 }),
        };
        let mut labels = [label(NAME, "a.b"), label("c.d", "e.f"), label("g", "h.i")];
        NameEscaping::Underscores.escape(&mut labels);
        let found = labels.map(|label| (label.name, label.value, label.span.is_some()));
        let expected = [
            (NAME, "a_b", false),
            ("c_d", "e.f", false),
            ("g", "h.i", true),
        ];
        assert_eq!(found, expected.map(|(n, v, s)| (n.into(), v.into(), s)));
    }
}
