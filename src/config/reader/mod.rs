//! Reads typed values out of the tree, strictly, gathering every problem on the way.

mod lists;
mod scalars;
mod secrets;

use std::collections::HashMap;

use crate::config::env::Env;
use crate::config::expand::{expand, expand_external_label};
use crate::config::keys::Table;
use crate::config::problem::{Problem, shown};
use crate::config::source::Source;
use crate::config::units::parse_bool;
use crate::config::yaml::{MapEntry, Node, NodeValue};

/// Where each thing that was read stands, by its path.
#[derive(Debug, Default)]
pub(in crate::config) struct Positions(HashMap<String, (usize, usize)>);

impl Positions {
    /// Line and column of a path, or of the nearest section around it.
    pub(in crate::config) fn of(&self, path: &str) -> (usize, usize) {
        let mut path = path;
        loop {
            if let Some(at) = self.0.get(path) {
                return *at;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return (1, 1),
            }
        }
    }
}

/// A mapping whose keys were checked.
pub(in crate::config) struct Section<'n> {
    pub(in crate::config) path: String,
    node: &'n Node,
}

impl Section<'_> {
    pub(in crate::config) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

/// How a string is expanded, and whether messages may show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum StringKind {
    /// `${NAME}` expands.
    Plain,
    /// As plain, and never shown.
    Hidden,
    /// `$NAME`, as Prometheus' external labels.
    ExternalLabel,
    /// Relabel rules: `${1}` is theirs.
    Raw,
}

pub(in crate::config) struct Reader<'a> {
    env: Env<'a>,
    /// A prometheus.yml knows no variables but in external labels.
    expands: bool,
    /// What relative paths are beside.
    configuration: Option<Source>,
    pub(in crate::config) problems: Vec<Problem>,
    pub(in crate::config) warnings: Vec<Problem>,
    pub(in crate::config) places: Positions,
}

impl<'a> Reader<'a> {
    pub(in crate::config) fn new(
        env: Env<'a>,
        expands: bool,
        configuration: Option<Source>,
    ) -> Self {
        Self {
            env,
            expands,
            configuration,
            problems: Vec::new(),
            warnings: Vec::new(),
            places: Positions::default(),
        }
    }

    pub(in crate::config) fn error(
        &mut self,
        at: (usize, usize),
        path: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.problems.push(Problem {
            line: at.0,
            column: at.1,
            path: path.into(),
            message: message.into(),
            fix: fix.into(),
        });
    }

    /// An error at the place of `path`, or of the section around it.
    pub(in crate::config) fn error_at(
        &mut self,
        path: &str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.error(self.places.of(path), path, message, fix);
    }

    pub(in crate::config) fn warn(
        &mut self,
        at: (usize, usize),
        path: &str,
        message: impl Into<String>,
        fix: &str,
    ) {
        self.warnings.push(Problem {
            line: at.0,
            column: at.1,
            path: path.into(),
            message: message.into(),
            fix: fix.into(),
        });
    }

    /// Opens a mapping and reports each key that does not belong there. Nothing at all is an empty
    /// mapping.
    pub(in crate::config) fn section<'n>(
        &mut self,
        node: &'n Node,
        path: String,
        table: &Table,
    ) -> Section<'n> {
        let at = (node.line, node.column);
        self.places.0.entry(path.clone()).or_insert(at);
        let section = Section { path, node };
        match &node.value {
            NodeValue::Map(entries) => {
                for entry in entries {
                    self.check_key(&section, entry, table);
                }
            }
            _ if node.is_null() => {}
            _ => self.error(
                at,
                section.path.clone(),
                format!("found {}, expected a mapping", node.kind()),
                table.listing(),
            ),
        }
        section
    }

    fn check_key(&mut self, section: &Section<'_>, entry: &MapEntry, table: &Table) {
        let at = (entry.line, entry.column);
        let path = section.path_of(&entry.key);
        if table.takes(&entry.key) {
            self.places.0.insert(path, at);
        } else if let Some(row) = table.unsupported(&entry.key) {
            if row.switch
                && matches!(&entry.value.value, NodeValue::Scalar { text, plain: true } if parse_bool(text) == Some(false))
            {
                return;
            }
            let yet = if row.later {
                "not yet supported"
            } else {
                "not supported"
            };
            self.error(at, path, format!("{yet}: {}", row.why), row.instead);
        } else {
            self.error(
                at,
                path,
                format!(
                    "found the key {}, which {} does not have",
                    shown(&entry.key),
                    table.name
                ),
                table.advice(&entry.key),
            );
        }
    }

    /// Whether a key is there and holds nothing.
    pub(in crate::config) fn is_empty(&self, section: &Section<'_>, key: &str) -> bool {
        section
            .node
            .get(key)
            .is_some_and(|entry| entry.value.is_null())
    }

    /// The entry of a key that is there and holds something.
    pub(in crate::config) fn entry<'n>(
        &mut self,
        section: &Section<'n>,
        key: &str,
    ) -> Option<&'n MapEntry> {
        section.node.get(key).filter(|entry| !entry.value.is_null())
    }

    /// A scalar; an empty one is as good as none, which is worth a word.
    fn scalar<'n>(
        &mut self,
        section: &Section<'n>,
        key: &str,
    ) -> Option<(&'n str, bool, (usize, usize))> {
        let entry = section.node.get(key)?;
        let path = section.path_of(key);
        let at = (entry.line, entry.column);
        if entry.value.is_null() {
            self.warn(
                at,
                &path,
                "found no value: the default is used",
                "give a value or remove the key",
            );
            return None;
        }
        match &entry.value.value {
            NodeValue::Scalar { text, plain } => Some((text, *plain, at)),
            _ => {
                self.error(
                    at,
                    path,
                    format!("found {}, expected a single value", entry.value.kind()),
                    "",
                );
                None
            }
        }
    }

    pub(in crate::config) fn string(
        &mut self,
        section: &Section<'_>,
        key: &str,
        kind: StringKind,
    ) -> Option<String> {
        let (text, _, at) = self.scalar(section, key)?;
        self.text(text, at, &section.path_of(key), kind)
    }

    fn text(
        &mut self,
        text: &str,
        at: (usize, usize),
        path: &str,
        kind: StringKind,
    ) -> Option<String> {
        if kind == StringKind::ExternalLabel {
            let (value, empty) = expand_external_label(text, self.env);
            for name in empty {
                let message = format!(
                    "the environment variable {} is empty or not set: it expands to nothing, as in Prometheus",
                    shown(&name)
                );
                self.warn(at, path, message, "set it, or write $$ for a dollar");
            }
            return Some(value);
        }
        if kind == StringKind::Raw {
            return Some(text.to_owned());
        }
        if !self.expands {
            return Some(text.to_owned());
        }
        match expand(text, self.env) {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(at, path, error.message, error.fix);
                None
            }
        }
    }

    /// A variable of the environment, which a prometheus.yml is read without.
    pub(in crate::config) fn environment(&self, name: &str) -> Option<String> {
        (self.env)(name)
    }

    /// Remembers where a key stands that no table knows.
    pub(in crate::config) fn place(&mut self, path: &str, entry: &MapEntry) {
        self.places
            .0
            .insert(path.to_owned(), (entry.line, entry.column));
    }
}
