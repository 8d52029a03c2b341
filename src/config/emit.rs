//! Writes a tree as YAML in block style.

use super::units::parse_integer;
use super::yaml::{Node, NodeValue};

/// The text of a document: a mapping or list starts at the left margin, a scalar has a line of its
/// own.
pub(super) fn emit(node: &Node) -> String {
    if let Some(text) = inline(node) {
        return format!("{text}\n");
    }
    let mut out = String::new();
    block(node, 0, &mut out);
    out
}

/// Writes a mapping or list that is not empty, which is all that `inline` does not write.
fn block(node: &Node, indent: usize, out: &mut String) {
    let margin = " ".repeat(indent);
    match &node.value {
        NodeValue::Map(entries) => {
            for entry in entries {
                out.push_str(&margin);
                out.push_str(&scalar(&entry.key, is_safe(&entry.key)));
                out.push(':');
                match inline(&entry.value) {
                    Some(text) if text.is_empty() => out.push('\n'),
                    Some(text) => out.push_str(&format!(" {text}\n")),
                    None => {
                        out.push('\n');
                        block(&entry.value, indent + 2, out);
                    }
                }
            }
        }
        NodeValue::List(items) => {
            for item in items {
                out.push_str(&margin);
                out.push('-');
                match inline(item) {
                    Some(text) if text.is_empty() => out.push('\n'),
                    Some(text) => out.push_str(&format!(" {text}\n")),
                    None => {
                        let mut nested = String::new();
                        block(item, indent + 2, &mut nested);
                        // The first line of the item follows its dash.
                        out.push(' ');
                        out.push_str(nested.trim_start_matches(' '));
                    }
                }
            }
        }
        NodeValue::Scalar { .. } => {}
    }
}

/// The text of a value that fits on the line of its key or dash. Returns `None` when it needs lines
/// of its own.
fn inline(node: &Node) -> Option<String> {
    match &node.value {
        NodeValue::Scalar { .. } if node.is_null() => Some(String::new()),
        NodeValue::Scalar { text, plain } => Some(scalar(text, *plain)),
        NodeValue::List(items) if items.is_empty() => Some("[]".into()),
        NodeValue::Map(entries) if entries.is_empty() => Some("{}".into()),
        _ => None,
    }
}

fn scalar(text: &str, plain: bool) -> String {
    if plain && (is_safe(text) || parse_integer(text).is_some()) {
        return text.to_owned();
    }
    let special = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    if !text.contains(special) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if special(c) => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether a word means the same without quotes.
fn is_safe(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/'))
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_./:+%-".contains(&b))
        && !text.ends_with(':')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::problem::Position;
    use super::super::yaml::{MapEntry, parse};
    use super::*;

    fn same(a: &Node, b: &Node) -> bool {
        match (&a.value, &b.value) {
            (NodeValue::Scalar { text: a, .. }, NodeValue::Scalar { text: b, .. }) => a == b,
            (NodeValue::List(a), NodeValue::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
            }
            (NodeValue::Map(a), NodeValue::Map(b)) => {
                a.len() == b.len()
                    && a.iter()
                        .zip(b)
                        .all(|(a, b)| a.key == b.key && same(&a.value, &b.value))
            }
            _ => false,
        }
    }

    #[test]
    fn block_style() {
        let text = "a:\n  - b: 1\n    c: '{job=~\".+\"}'\n  - []\n  - - x\n    - 'it''s'\nd: \
            {}\ne: 'yes'\nf: \"a\\u000ab\"\ng:\n";
        assert_eq!(emit(&parse(text).unwrap().root), text);
    }

    fn node(value: NodeValue) -> Node {
        Node {
            position: Position::START,
            value,
        }
    }

    fn trees() -> impl Strategy<Value = Node> {
        let text = prop_oneof![
            "[ -~]{1,12}",
            "\\PC{1,6}",
            "[\\x00-\\x1f\u{85}\u{2028}\u{feff}a'\"\\\\ ]{1,6}"
        ];
        let text = text.prop_filter("NUL is refused", |text| !text.contains('\0'));
        let leaf = text
            .clone()
            .prop_map(|text| node(NodeValue::Scalar { text, plain: false }));
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|items| node(NodeValue::List(items))),
                prop::collection::btree_map(text.clone(), inner, 0..4).prop_map(|map| {
                    node(NodeValue::Map(
                        map.into_iter()
                            .map(|(key, value)| MapEntry {
                                key,
                                position: Position::START,
                                value,
                            })
                            .collect(),
                    ))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(tree in trees()) {
            let text = emit(&tree);
            let read = parse(&text)
                .map_err(|problem| TestCaseError::fail(format!("{text}\n{problem}")))?;
            prop_assert!(same(&tree, &read.root), "{text}\n{:?}", read.root);
        }
    }
}
