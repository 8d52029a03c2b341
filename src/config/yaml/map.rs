//! A mapping under construction: duplicate keys and merge keys.

use std::collections::HashMap;

use super::merge::{MapKind, overlay};
use super::node::{MapEntry, Node, NodeValue};
use crate::config::problem::{Position, Problem, shown};

/// The entries of an open mapping, and the key whose value comes next.
pub(super) struct OpenMap {
    kind: MapKind,
    pub(super) entries: Vec<MapEntry>,
    /// Index of each key's entry.
    index: HashMap<String, KeySlot>,
    /// The key that waits for its value.
    pub(super) key: Option<MapKey>,
}

/// A key that was read.
#[derive(Clone)]
pub(super) struct MapKey {
    pub(super) text: String,
    position: Position,
    /// Whether the key is `<<`.
    is_merge: bool,
}

/// Index of a key's entry, and whether `<<` brought it: only a key that is written twice is an
/// error.
struct KeySlot {
    entry: usize,
    is_merged: bool,
}

impl OpenMap {
    pub(super) fn new(kind: MapKind) -> Self {
        Self {
            kind,
            entries: Vec::new(),
            index: HashMap::new(),
            key: None,
        }
    }

    /// Takes the next node, which is a key and a value in turn. The path of a problem is relative
    /// to the mapping.
    pub(super) fn take(&mut self, node: Node) -> Result<(), Problem> {
        match self.key.take() {
            None => {
                let read = MapKey::read(node);
                // A key that cannot be used still needs a place, or its value would be taken for
                // the next key.
                self.key = Some(match &read {
                    Ok(key) => key.clone(),
                    Err(problem) => MapKey::unreadable(problem),
                });
                read.map(drop)
            }
            Some(key) if key.is_merge => self.merge(node),
            Some(key) => self.put(key, node),
        }
    }

    /// Adds an entry that is written out.
    fn put(&mut self, key: MapKey, value: Node) -> Result<(), Problem> {
        let entry = MapEntry {
            key: key.text,
            position: key.position,
            value,
        };
        match self.index.get_mut(&entry.key) {
            // What is written out lies over what `<<` brought before it.
            Some(slot) if slot.is_merged && !self.kind.is_free() => {
                slot.is_merged = false;
                let below = &mut self.entries[slot.entry];
                let value = overlay(&entry.key, below.value.clone(), entry.value)?;
                *below = MapEntry { value, ..entry };
            }
            Some(slot) => {
                let first = &self.entries[slot.entry];
                return Err(again(&entry.key, key.position, first, slot.is_merged));
            }
            None => self.push(entry, false),
        }
        Ok(())
    }

    /// Adds the entries of `<<: *base` or `<<: [*a, *b]`. Of several mappings the earlier wins. The
    /// merge takes effect at its own position, as in go-yaml v2: it overwrites keys that are
    /// written out before it, and keys that are written out after it overwrite it. // yaml.v2
    /// decode.go merge, mappingStruct
    fn merge(&mut self, node: Node) -> Result<(), Problem> {
        let position = node.position;
        let sources = match node.value {
            NodeValue::List(items) => items,
            _ => vec![node],
        };
        // Backwards, so that an earlier mapping overwrites a later one.
        for source in sources.into_iter().rev() {
            let NodeValue::Map(merged) = source.value else {
                let message = "found no mapping after <<, expected one or a list of them";
                return Err(Problem {
                    path: "<<".into(),
                    ..Problem::at(position, message, "write <<: *name")
                });
            };
            if self.kind == MapKind::Reset {
                self.entries.clear();
                self.index.clear();
            }
            for entry in merged {
                self.merge_entry(entry)?;
            }
        }
        Ok(())
    }

    fn merge_entry(&mut self, entry: MapEntry) -> Result<(), Problem> {
        match self.index.get(&entry.key) {
            Some(slot) if self.kind.is_free() => {
                let first = &self.entries[slot.entry];
                return Err(again(&entry.key, entry.position, first, true));
            }
            Some(slot) => {
                let below = &mut self.entries[slot.entry];
                let value = overlay(&entry.key, below.value.clone(), entry.value)?;
                *below = MapEntry { value, ..entry };
            }
            None => self.push(entry, true),
        }
        Ok(())
    }

    fn push(&mut self, entry: MapEntry, is_merged: bool) {
        let slot = KeySlot {
            entry: self.entries.len(),
            is_merged,
        };
        self.index.insert(entry.key.clone(), slot);
        self.entries.push(entry);
    }
}

/// The problem of a key that comes twice.
fn again(key: &str, position: Position, first: &MapEntry, is_merged: bool) -> Problem {
    let line = first.position.line;
    let (how, fix) = if is_merged {
        (
            "by <<",
            "names within this section come once, merged or not: remove one of the two",
        )
    } else {
        ("also", "remove one of the two")
    };
    let message = format!(
        "found the key {} again, expected it once; it is {how} on line {line}",
        shown(key)
    );
    Problem {
        path: key.to_owned(),
        ..Problem::at(position, message, fix)
    }
}

impl MapKey {
    fn read(node: Node) -> Result<Self, Problem> {
        match node.value {
            NodeValue::Scalar { text, plain } => Ok(Self {
                is_merge: plain && text == "<<",
                text,
                position: node.position,
            }),
            NodeValue::List(_) | NodeValue::Map(_) => Err(Problem::at(
                node.position,
                format!("found {} as a key, expected a word", node.kind()),
                "quote values that start with { or [",
            )),
        }
    }

    fn unreadable(problem: &Problem) -> Self {
        Self {
            text: String::new(),
            position: problem.position(),
            is_merge: false,
        }
    }
}
