//! The tree: values and where they stand.

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(in crate::config) struct Node {
    pub(in crate::config) line: usize,
    pub(in crate::config) column: usize,
    pub(in crate::config) value: NodeValue,
}

#[derive(Debug, Clone)]
pub(in crate::config) enum NodeValue {
    /// `plain` when it was written without quotes: only then may it be a number, a boolean or null.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<MapEntry>),
}

/// A key of a mapping with its value; keys are unique.
#[derive(Debug, Clone)]
pub(in crate::config) struct MapEntry {
    pub(in crate::config) key: String,
    pub(in crate::config) line: usize,
    pub(in crate::config) column: usize,
    pub(in crate::config) value: Node,
}

impl Node {
    /// Nothing there: empty, `~` or `null`.
    pub(in crate::config) fn is_null(&self) -> bool {
        matches!(&self.value, NodeValue::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What stands there, for messages that must not show the value itself.
    pub(in crate::config) fn kind(&self) -> &'static str {
        match &self.value {
            NodeValue::Scalar { .. } if self.is_null() => "nothing",
            NodeValue::Scalar { .. } => "a single value",
            NodeValue::List(_) => "a list",
            NodeValue::Map(_) => "a mapping",
        }
    }

    /// The value under `key`, when this is a mapping that has it.
    pub(in crate::config) fn get(&self, key: &str) -> Option<&MapEntry> {
        match &self.value {
            NodeValue::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    pub(super) fn count(&self) -> usize {
        1 + match &self.value {
            NodeValue::Scalar { .. } => 0,
            NodeValue::List(items) => items.iter().map(Self::count).sum(),
            NodeValue::Map(entries) => entries.iter().map(|entry| 1 + entry.value.count()).sum(),
        }
    }
}
