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

    /// Whether the node is null, or a list or mapping of nothing.
    pub(in crate::config) fn is_empty(&self) -> bool {
        match &self.value {
            NodeValue::Scalar { .. } => self.is_null(),
            NodeValue::List(items) => items.is_empty(),
            NodeValue::Map(entries) => entries.is_empty(),
        }
    }

    /// Removes the key or the list item at a path, as `remote_write[0].proxy_url`. Returns whether
    /// it was there.
    pub(in crate::config) fn remove(&mut self, path: &str) -> bool {
        let (first, rest) = match path.find(['.', '[']) {
            Some(0) => {
                return path.strip_prefix('.').is_some_and(|path| self.remove(path))
                    || path
                        .strip_prefix('[')
                        .is_some_and(|path| self.remove_item(path));
            }
            Some(end) => path.split_at(end),
            None => (path, ""),
        };
        let NodeValue::Map(entries) = &mut self.value else {
            return false;
        };
        let Some(at) = entries.iter().position(|entry| entry.key == first) else {
            return false;
        };
        if rest.is_empty() {
            entries.remove(at);
            return true;
        }
        entries[at].value.remove(rest)
    }

    /// Removes what a path names that starts with an index and a bracket.
    fn remove_item(&mut self, path: &str) -> bool {
        let NodeValue::List(items) = &mut self.value else {
            return false;
        };
        let Some((index, rest)) = path.split_once(']') else {
            return false;
        };
        let Some(at) = index.parse().ok().filter(|at| *at < items.len()) else {
            return false;
        };
        if rest.is_empty() {
            items.remove(at);
            return true;
        }
        items[at].remove(rest)
    }

    /// Appends a text that is different for different trees. It is no YAML, and it never changes
    /// from one version to the next, because names are derived from it.
    pub(in crate::config) fn describe(&self, out: &mut String) {
        match &self.value {
            NodeValue::Scalar { text, .. } => out.push_str(&format!("{}:{text}", text.len())),
            NodeValue::List(items) => {
                out.push('[');
                items.iter().for_each(|item| item.describe(out));
                out.push(']');
            }
            NodeValue::Map(entries) => {
                out.push('{');
                for entry in entries {
                    out.push_str(&format!("{}:{}", entry.key.len(), entry.key));
                    entry.value.describe(out);
                }
                out.push('}');
            }
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
