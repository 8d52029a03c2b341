//! Reads typed values out of the tree, strictly, and collects every problem on the way.
//!
//! Reading never stops at an error: a value that cannot be read is reported and missing, and the
//! next one is read. Each value has a path, as `scrape_configs[0].params`, and [`Positions`] knows
//! where each path is in the file.

mod lists;
mod scalars;
mod secrets;

use std::collections::HashMap;

use crate::config::env::Env;
use crate::config::expand::{expand, expand_external_label};
use crate::config::keys::Table;
use crate::config::problem::{Position, Problem, shown};
use crate::config::source::Source;
use crate::config::yaml::{MapEntry, Node, NodeValue};

/// The positions of all values that were read, by their paths.
#[derive(Debug, Default)]
pub(in crate::config) struct Positions(HashMap<String, Position>);

impl Positions {
    /// The position of a path, or of the nearest section around it.
    pub(in crate::config) fn of(&self, path: &str) -> Position {
        let mut path = path;
        loop {
            if let Some(position) = self.0.get(path) {
                return *position;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return Position::START,
            }
        }
    }
}

/// A mapping whose keys were checked.
pub(in crate::config) struct Section<'n> {
    pub(in crate::config) path: String,
    node: &'n Node,
}

impl<'n> Section<'n> {
    /// The value of a key, as written.
    pub(in crate::config) fn node(&self, key: &str) -> Option<&'n Node> {
        self.node.get(key).map(|entry| &entry.value)
    }

    /// The path of one of the section's keys.
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
    /// `${NAME}` expands, and messages never show the string.
    Hidden,
    /// `$NAME` expands, as in Prometheus' external labels.
    ExternalLabel,
    /// Nothing expands: in relabel rules, `${1}` is a group of the pattern.
    Raw,
}

/// Reads values and collects problems and warnings.
pub(in crate::config) struct Reader<'a> {
    env: Env<'a>,
    /// Whether variables expand. In a prometheus.yml they do so only in external labels.
    expands: bool,
    /// The configuration itself: relative paths start in its folder.
    configuration: Option<Source>,
    pub(in crate::config) problems: Vec<Problem>,
    /// Those of the problems that Prometheus does not have.
    pub(in crate::config) refusals: Vec<OwnRefusal>,
    pub(in crate::config) warnings: Vec<Problem>,
    pub(in crate::config) positions: Positions,
}

/// A problem that Prometheus does not have.
pub(in crate::config) struct OwnRefusal {
    /// Index of the problem.
    pub(in crate::config) problem: usize,
    /// Paths of what must go, so that the rest can be used.
    pub(in crate::config) leave: Vec<String>,
}

/// A single value, as written.
struct Scalar<'n> {
    text: &'n str,
    /// Whether it was written without quotes.
    plain: bool,
    /// Position of its key.
    position: Position,
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
            refusals: Vec::new(),
            warnings: Vec::new(),
            positions: Positions::default(),
        }
    }

    /// Reports an error at a position.
    fn error(
        &mut self,
        position: Position,
        path: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.problems.push(Problem {
            path: path.into(),
            ..Problem::at(position, message, fix)
        });
    }

    /// Reports an error at the position of `path`, or of the section around it.
    pub(in crate::config) fn error_at(
        &mut self,
        path: &str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.error(self.positions.of(path), path, message, fix);
    }

    /// Reports as an error what Prometheus takes and we do not. An import leaves the paths of
    /// `leave` out instead.
    pub(in crate::config) fn refuse_at(
        &mut self,
        path: &str,
        leave: Vec<String>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.refusals.push(OwnRefusal {
            problem: self.problems.len(),
            leave,
        });
        self.error_at(path, message, fix);
    }

    /// Reports a warning at the position of `path`, or of the section around it.
    pub(in crate::config) fn warn_at(
        &mut self,
        path: &str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.warn(self.positions.of(path), path, message, fix);
    }

    fn warn(
        &mut self,
        position: Position,
        path: &str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.warnings.push(Problem {
            path: path.to_owned(),
            ..Problem::at(position, message, fix)
        });
    }

    /// Opens a mapping and reports each key that it may not have. A value that is null is an empty
    /// mapping.
    pub(in crate::config) fn section<'n>(
        &mut self,
        node: &'n Node,
        path: String,
        table: &Table,
    ) -> Section<'n> {
        let position = node.position;
        self.positions.0.entry(path.clone()).or_insert(position);
        let section = Section { path, node };
        match &node.value {
            NodeValue::Map(entries) => {
                for entry in entries {
                    self.check_key(&section, entry, table);
                }
            }
            _ if node.is_null() => {}
            _ => self.error(
                position,
                section.path.clone(),
                format!("found {}, expected a mapping", node.kind()),
                table.listing(),
            ),
        }
        section
    }

    /// Opens the mapping of a key that is there and is not null.
    pub(in crate::config) fn subsection<'n>(
        &mut self,
        section: &Section<'n>,
        key: &str,
        table: &Table,
    ) -> Option<Section<'n>> {
        let entry = self.entry(section, key)?;
        Some(self.section(&entry.value, section.path_of(key), table))
    }

    fn check_key(&mut self, section: &Section<'_>, entry: &MapEntry, table: &Table) {
        let position = entry.position;
        let path = section.path_of(&entry.key);
        if table.takes(&entry.key) {
            self.positions.0.insert(path, position);
            return;
        }
        let Some(row) = table.unsupported(&entry.key) else {
            let key = shown(&entry.key);
            let message = format!("found the key {key}, which {} does not have", table.name);
            self.error(position, path, message, table.advice(&entry.key));
            return;
        };
        if row.is_default(&entry.value) {
            return;
        }
        let message = format!("not supported: {}", row.why);
        self.error(position, path, message, row.instead);
    }

    /// Whether a key is there and is null.
    pub(in crate::config) fn is_empty(&self, section: &Section<'_>, key: &str) -> bool {
        section
            .node
            .get(key)
            .is_some_and(|entry| entry.value.is_null())
    }

    /// The entry of a key that is there and is not null.
    pub(in crate::config) fn entry<'n>(
        &self,
        section: &Section<'n>,
        key: &str,
    ) -> Option<&'n MapEntry> {
        section.node.get(key).filter(|entry| !entry.value.is_null())
    }

    /// Reads a single value. A key that is null counts as missing, with a warning.
    fn scalar<'n>(&mut self, section: &Section<'n>, key: &str) -> Option<Scalar<'n>> {
        let entry = section.node.get(key)?;
        let path = section.path_of(key);
        if entry.value.is_null() {
            self.warn(
                entry.position,
                &path,
                "found no value: the default is used",
                "give a value or remove the key",
            );
            return None;
        }
        let NodeValue::Scalar { text, plain } = &entry.value.value else {
            let message = format!("found {}, expected a single value", entry.value.kind());
            self.error(entry.position, path, message, "");
            return None;
        };
        Some(Scalar {
            text,
            plain: *plain,
            position: entry.position,
        })
    }

    /// Reads a string.
    pub(in crate::config) fn string(
        &mut self,
        section: &Section<'_>,
        key: &str,
        kind: StringKind,
    ) -> Option<String> {
        let scalar = self.scalar(section, key)?;
        self.text(scalar.text, scalar.position, &section.path_of(key), kind)
    }

    /// Reads a string that is not empty.
    pub(in crate::config) fn filled_string(
        &mut self,
        section: &Section<'_>,
        key: &str,
        kind: StringKind,
    ) -> Option<String> {
        self.string(section, key, kind)
            .filter(|text| !text.is_empty())
    }

    /// Reads a path of a server, such as `example`, without a query.
    pub(in crate::config) fn absolute_path(
        &mut self,
        section: &Section<'_>,
        key: &str,
        example: &str,
    ) -> Option<String> {
        let path = self.filled_string(section, key, StringKind::Plain)?;
        if !path.starts_with('/') || path.contains(['?', '#']) {
            let message = format!("found {}, expected a path such as {example}", shown(&path));
            self.error_at(&section.path_of(key), message, "");
        }
        Some(path)
    }

    /// Expands a text.
    fn text(
        &mut self,
        text: &str,
        position: Position,
        path: &str,
        kind: StringKind,
    ) -> Option<String> {
        match kind {
            StringKind::ExternalLabel => Some(self.external_label(text, position, path)),
            StringKind::Raw => Some(text.to_owned()),
            StringKind::Plain | StringKind::Hidden if !self.expands => Some(text.to_owned()),
            StringKind::Plain | StringKind::Hidden => match expand(text, self.env) {
                Ok(value) => Some(value),
                Err(error) => {
                    self.error(position, path, error.message, error.fix);
                    None
                }
            },
        }
    }

    fn external_label(&mut self, text: &str, position: Position, path: &str) -> String {
        let expanded = expand_external_label(text, self.env);
        for name in expanded.empty {
            let message = format!(
                "the environment variable {} is empty or not set: it expands to nothing, \
                 as in Prometheus",
                shown(&name)
            );
            let fix = "set it, or write $$ for a dollar";
            self.warn(position, path, message, fix);
        }
        expanded.text
    }

    /// The value of an environment variable.
    pub(in crate::config) fn environment(&self, name: &str) -> Option<String> {
        (self.env)(name)
    }

    /// Remembers the position of a key that no table lists.
    pub(in crate::config) fn remember(&mut self, path: &str, entry: &MapEntry) {
        self.positions.0.insert(path.to_owned(), entry.position);
    }
}
