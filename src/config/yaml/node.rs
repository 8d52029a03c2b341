//! The tree: values and their positions in the file.

use crate::config::problem::Position;

/// A value and its position.
#[derive(Debug, Clone)]
pub(in crate::config) struct Node {
    pub(in crate::config) position: Position,
    pub(in crate::config) value: NodeValue,
}

/// The value of a node.
#[derive(Debug, Clone)]
pub(in crate::config) enum NodeValue {
    /// A single value. It is `plain` when it was written without quotes: only then may it be a
    /// number, a boolean or null.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<MapEntry>),
}

/// A key of a mapping with its value. Keys are unique within their mapping.
#[derive(Debug, Clone)]
pub(in crate::config) struct MapEntry {
    pub(in crate::config) key: String,
    /// Position of the key.
    pub(in crate::config) position: Position,
    pub(in crate::config) value: Node,
}

impl Node {
    /// Whether the node is empty, `~` or `null`.
    pub(in crate::config) fn is_null(&self) -> bool {
        let NodeValue::Scalar { text, plain: true } = &self.value else {
            return false;
        };
        matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// The kind of the value, for messages that must not show the value itself.
    pub(in crate::config) fn kind(&self) -> &'static str {
        match &self.value {
            NodeValue::Scalar { .. } if self.is_null() => "nothing",
            NodeValue::Scalar { .. } => "a single value",
            NodeValue::List(_) => "a list",
            NodeValue::Map(_) => "a mapping",
        }
    }

    /// The entry of `key`, when this is a mapping that has it.
    pub(in crate::config) fn get(&self, key: &str) -> Option<&MapEntry> {
        match &self.value {
            NodeValue::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The number of nodes and keys in this tree.
    pub(super) fn count(&self) -> usize {
        1 + match &self.value {
            NodeValue::Scalar { .. } => 0,
            NodeValue::List(items) => items.iter().map(Self::count).sum(),
            NodeValue::Map(entries) => entries.iter().map(|entry| 1 + entry.value.count()).sum(),
        }
    }
}
