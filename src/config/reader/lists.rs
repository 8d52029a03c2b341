//! Lists and mappings.

use std::collections::BTreeMap;

use super::{Reader, Section, StringKind};
use crate::config::problem::Position;
use crate::config::yaml::{MapEntry, Node, NodeValue};

impl Reader<'_> {
    /// Reads the items of a list, with their paths.
    pub(in crate::config) fn list<'n>(
        &mut self,
        section: &Section<'n>,
        key: &str,
    ) -> Vec<(&'n Node, String)> {
        let Some(entry) = self.entry(section, key) else {
            return Vec::new();
        };
        self.items(&entry.value, &section.path_of(key), entry.position)
    }

    /// The items of a node that must be a list, with their paths. An error is reported at
    /// `position`.
    pub(super) fn items<'n>(
        &mut self,
        node: &'n Node,
        path: &str,
        position: Position,
    ) -> Vec<(&'n Node, String)> {
        let NodeValue::List(items) = &node.value else {
            self.error(
                position,
                path,
                format!("found {}, expected a list", node.kind()),
                "write one item a line, each after a dash, or all in [ ]",
            );
            return Vec::new();
        };
        let mut out = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            let path = format!("{path}[{i}]");
            self.positions.0.insert(path.clone(), item.position);
            out.push((item, path));
        }
        out
    }

    /// Reads the entries of a mapping whose keys are free.
    pub(in crate::config) fn entries<'n>(
        &mut self,
        section: &Section<'n>,
        key: &str,
    ) -> &'n [MapEntry] {
        let Some(entry) = self.entry(section, key) else {
            return &[];
        };
        let NodeValue::Map(entries) = &entry.value.value else {
            self.error(
                entry.position,
                section.path_of(key),
                format!("found {}, expected a mapping", entry.value.kind()),
                "write one name: value a line",
            );
            return &[];
        };
        entries
    }

    /// Reads a list of strings. Each comes with its path.
    pub(in crate::config) fn strings(
        &mut self,
        section: &Section<'_>,
        key: &str,
        kind: StringKind,
    ) -> Vec<(String, String)> {
        let items = self.list(section, key);
        items
            .into_iter()
            .filter_map(|(node, path)| Some((self.item_text(node, &path, kind)?, path)))
            .collect()
    }

    fn item_text(&mut self, node: &Node, path: &str, kind: StringKind) -> Option<String> {
        let position = self.positions.of(path);
        match &node.value {
            NodeValue::Scalar { .. } if node.is_null() => self.text("", position, path, kind),
            NodeValue::Scalar { text, .. } => self.text(text, position, path, kind),
            NodeValue::List(_) | NodeValue::Map(_) => {
                let fix = if matches!(node.value, NodeValue::Map(_)) {
                    "quote values that start with {"
                } else {
                    ""
                };
                let message = format!("found {}, expected a string", node.kind());
                self.error(position, path, message, fix);
                None
            }
        }
    }

    /// Reads a mapping of strings to strings.
    pub(in crate::config) fn string_map(
        &mut self,
        section: &Section<'_>,
        key: &str,
        kind: StringKind,
    ) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        for entry in self.entries(section, key) {
            let path = format!("{}.{}", section.path_of(key), entry.key);
            self.remember(&path, entry);
            if let Some(value) = self.item_text(&entry.value, &path, kind) {
                map.insert(entry.key.clone(), value);
            }
        }
        map
    }

    /// Reads a mapping of strings to lists of strings.
    pub(in crate::config) fn lists_map(
        &mut self,
        section: &Section<'_>,
        key: &str,
    ) -> BTreeMap<String, Vec<String>> {
        let mut map = BTreeMap::new();
        for entry in self.entries(section, key) {
            let path = format!("{}.{}", section.path_of(key), entry.key);
            self.remember(&path, entry);
            let items = if entry.value.is_null() {
                Vec::new()
            } else {
                self.items(&entry.value, &path, entry.position)
            };
            let values = items
                .into_iter()
                .filter_map(|(node, path)| self.item_text(node, &path, StringKind::Plain))
                .collect();
            map.insert(entry.key.clone(), values);
        }
        map
    }
}
