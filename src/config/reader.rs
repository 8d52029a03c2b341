//! Reads typed values out of the tree, strictly, gathering every problem on the way.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::env::Env;
use super::expand::{expand, expand_external_label, expand_secret};
use super::keys::Table;
use super::problem::{Problem, shown};
use super::secret::{Secret, SecretPart, SecretSource};
use super::source::Source;
use super::units::{parse_bool, parse_duration, parse_integer, parse_size};
use super::yaml::{Entry, Node, Value};

/// Where each thing that was read stands, by its path.
#[derive(Debug, Default)]
pub(super) struct Places(HashMap<String, (usize, usize)>);

impl Places {
    /// Line and column of a path, or of the nearest section around it.
    pub(super) fn of(&self, path: &str) -> (usize, usize) {
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
pub(super) struct Section<'n> {
    pub(super) path: String,
    node: &'n Node,
}

impl Section<'_> {
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

/// How a string is expanded, and whether messages may show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    /// `${NAME}` expands.
    Plain,
    /// As plain, and never shown.
    Hidden,
    /// `$NAME`, as Prometheus' external labels.
    ExternalLabel,
    /// Relabel rules: `${1}` is theirs.
    Raw,
}

pub(super) struct Reader<'a> {
    env: Env<'a>,
    /// A prometheus.yml knows no variables but in external labels.
    expands: bool,
    /// What relative paths are beside.
    configuration: Option<Source>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    pub(super) places: Places,
}

impl<'a> Reader<'a> {
    pub(super) fn new(env: Env<'a>, expands: bool, configuration: Option<Source>) -> Self {
        Self {
            env,
            expands,
            configuration,
            problems: Vec::new(),
            warnings: Vec::new(),
            places: Places::default(),
        }
    }

    pub(super) fn error(
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
    pub(super) fn error_at(
        &mut self,
        path: &str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.error(self.places.of(path), path, message, fix);
    }

    pub(super) fn warn(
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
    pub(super) fn section<'n>(
        &mut self,
        node: &'n Node,
        path: String,
        table: &Table,
    ) -> Section<'n> {
        let at = (node.line, node.column);
        self.places.0.entry(path.clone()).or_insert(at);
        let section = Section { path, node };
        match &node.value {
            Value::Map(entries) => {
                for entry in entries {
                    self.check_key(&section, entry, table);
                }
            }
            _ if node.is_null() => {}
            _ => self.error(
                at,
                section.path.clone(),
                format!("found {}, expected a mapping", node.kind()),
                advice_for_mapping(table),
            ),
        }
        section
    }

    fn check_key(&mut self, section: &Section<'_>, entry: &Entry, table: &Table) {
        let at = (entry.line, entry.column);
        let path = section.path_of(&entry.key);
        if table.supported.contains(&entry.key.as_str()) {
            self.places.0.insert(path, at);
        } else if let Some(row) = table.unsupported(&entry.key) {
            if row.switch
                && matches!(&entry.value.value, Value::Scalar { text, plain: true } if parse_bool(text) == Some(false))
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
    pub(super) fn is_empty(&self, section: &Section<'_>, key: &str) -> bool {
        section
            .node
            .get(key)
            .is_some_and(|entry| entry.value.is_null())
    }

    /// The entry of a key that is there and holds something.
    pub(super) fn entry<'n>(&mut self, section: &Section<'n>, key: &str) -> Option<&'n Entry> {
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
            Value::Scalar { text, plain } => Some((text, *plain, at)),
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

    pub(super) fn string(
        &mut self,
        section: &Section<'_>,
        key: &str,
        kind: Text,
    ) -> Option<String> {
        let (text, _, at) = self.scalar(section, key)?;
        self.text(text, at, &section.path_of(key), kind)
    }

    fn text(&mut self, text: &str, at: (usize, usize), path: &str, kind: Text) -> Option<String> {
        if kind == Text::ExternalLabel {
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
        if kind == Text::Raw {
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

    /// A secret string: `${ssm:…}` too; never shown. An empty one is none.
    pub(super) fn secret(&mut self, section: &Section<'_>, key: &str) -> Option<SecretSource> {
        let (text, _, at) = self.scalar(section, key)?;
        self.secret_text(text, at, &section.path_of(key))
            .filter(|secret| !secret.is_empty())
    }

    fn secret_text(&mut self, text: &str, at: (usize, usize), path: &str) -> Option<SecretSource> {
        if !self.expands {
            return Some(SecretSource::Inline(vec![SecretPart::Text(Secret::new(
                text,
            ))]));
        }
        match expand_secret(text, self.env) {
            Ok(parts) => Some(SecretSource::Inline(parts)),
            Err(error) => {
                self.error(at, path, error.message, error.fix);
                None
            }
        }
    }

    /// A path beside the configuration, or an object in S3. An empty one is none.
    pub(super) fn file(&mut self, section: &Section<'_>, key: &str) -> Option<SecretSource> {
        let (text, _, at) = self.scalar(section, key)?;
        let path = section.path_of(key);
        let address = self.text(text, at, &path, Text::Plain)?;
        self.address(&address, at, &path)
    }

    fn address(&mut self, address: &str, at: (usize, usize), path: &str) -> Option<SecretSource> {
        if address.is_empty() {
            return None;
        }
        let found = match &self.configuration {
            Some(configuration) => configuration.beside(address),
            None => Source::parse(address),
        };
        match found {
            Ok(source) => Some(SecretSource::File(source)),
            Err(_) => {
                self.error(
                    at,
                    path,
                    format!(
                        "found {}, expected a path or an object in S3",
                        shown(address)
                    ),
                    "write s3://bucket/key",
                );
                None
            }
        }
    }

    /// A list of secret strings, or of files that hold them.
    pub(super) fn secrets(
        &mut self,
        section: &Section<'_>,
        key: &str,
        files: bool,
    ) -> Vec<SecretSource> {
        match self.entry(section, key) {
            Some(entry) => self.secret_items(&entry.value, &section.path_of(key), files),
            None => Vec::new(),
        }
    }

    /// As [`Reader::secrets`], of the value itself.
    pub(super) fn secret_items(
        &mut self,
        node: &Node,
        path: &str,
        files: bool,
    ) -> Vec<SecretSource> {
        if node.is_null() {
            return Vec::new();
        }
        let mut secrets = Vec::new();
        for (node, path) in self.items(node, path, (node.line, node.column)) {
            let at = self.places.of(&path);
            let secret = match &node.value {
                Value::Scalar { text, .. } if files => self
                    .text(text, at, &path, Text::Plain)
                    .and_then(|address| self.address(&address, at, &path)),
                Value::Scalar { text, .. } => self.secret_text(text, at, &path),
                _ => {
                    self.error(
                        at,
                        path,
                        format!("found {}, expected a string", node.kind()),
                        "",
                    );
                    None
                }
            };
            secrets.extend(secret);
        }
        secrets
    }

    /// A variable of the environment, which a prometheus.yml is read without.
    pub(super) fn environment(&self, name: &str) -> Option<String> {
        (self.env)(name)
    }

    /// Remembers where a key stands that no table knows.
    pub(super) fn place(&mut self, path: &str, entry: &Entry) {
        self.places
            .0
            .insert(path.to_owned(), (entry.line, entry.column));
    }

    pub(super) fn duration(&mut self, section: &Section<'_>, key: &str) -> Option<Duration> {
        let (text, _, at) = self.scalar(section, key)?;
        let duration = parse_duration(text);
        if duration.is_none() {
            let fix = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
                format!("write {text}s")
            } else {
                "units are y, w, d, h, m, s and ms, the largest first, without fractions".into()
            };
            self.error(
                at,
                section.path_of(key),
                format!(
                    "found {}, expected a duration such as 15s or 1m30s",
                    shown(text)
                ),
                fix,
            );
        }
        duration
    }

    pub(super) fn size(&mut self, section: &Section<'_>, key: &str) -> Option<u64> {
        let (text, _, at) = self.scalar(section, key)?;
        let size = parse_size(text);
        if size.is_none() {
            let message = format!(
                "found {}, expected a size such as 512KB, 10MiB or 1GB",
                shown(text)
            );
            self.error(
                at,
                section.path_of(key),
                message,
                "units are B, KB, MB, GB, TB, PB and EB, or KiB and so on; all are powers of 1024",
            );
        }
        size
    }

    /// A whole number from 0.
    pub(super) fn count(&mut self, section: &Section<'_>, key: &str) -> Option<u64> {
        let (text, plain, at) = self.scalar(section, key)?;
        let number = parse_integer(text).and_then(|number| u64::try_from(number).ok());
        if plain && number.is_some() {
            return number;
        }
        let fix = if number.is_some() {
            "remove the quotes"
        } else {
            ""
        };
        self.error(
            at,
            section.path_of(key),
            format!(
                "found {}, expected a whole number from 0",
                quoted(text, plain)
            ),
            fix,
        );
        None
    }

    /// Any number.
    pub(super) fn number(&mut self, section: &Section<'_>, key: &str) -> Option<f64> {
        let (text, plain, at) = self.scalar(section, key)?;
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        if plain && number.is_some() {
            return number;
        }
        let fix = if number.is_some() {
            "remove the quotes"
        } else {
            ""
        };
        self.error(
            at,
            section.path_of(key),
            format!("found {}, expected a number", quoted(text, plain)),
            fix,
        );
        None
    }

    pub(super) fn boolean(&mut self, section: &Section<'_>, key: &str) -> Option<bool> {
        let (text, plain, at) = self.scalar(section, key)?;
        let boolean = parse_bool(text);
        if plain && boolean.is_some() {
            return boolean;
        }
        let fix = if boolean.is_some() {
            "remove the quotes"
        } else {
            ""
        };
        self.error(
            at,
            section.path_of(key),
            format!("found {}, expected true or false", quoted(text, plain)),
            fix,
        );
        None
    }

    /// The items of a list with their paths.
    pub(super) fn list<'n>(&mut self, section: &Section<'n>, key: &str) -> Vec<(&'n Node, String)> {
        let Some(entry) = self.entry(section, key) else {
            return Vec::new();
        };
        self.items(
            &entry.value,
            &section.path_of(key),
            (entry.line, entry.column),
        )
    }

    fn items<'n>(
        &mut self,
        node: &'n Node,
        path: &str,
        at: (usize, usize),
    ) -> Vec<(&'n Node, String)> {
        let Value::List(items) = &node.value else {
            self.error(
                at,
                path,
                format!("found {}, expected a list", node.kind()),
                "write one item a line, each after a dash, or all in [ ]",
            );
            return Vec::new();
        };
        let mut out = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            let path = format!("{path}[{i}]");
            self.places.0.insert(path.clone(), (item.line, item.column));
            out.push((item, path));
        }
        out
    }

    /// What a mapping with free keys holds.
    pub(super) fn entries<'n>(&mut self, section: &Section<'n>, key: &str) -> &'n [Entry] {
        let Some(entry) = self.entry(section, key) else {
            return &[];
        };
        match &entry.value.value {
            Value::Map(entries) => entries,
            _ => {
                let message = format!("found {}, expected a mapping", entry.value.kind());
                self.error(
                    (entry.line, entry.column),
                    section.path_of(key),
                    message,
                    "write one name: value a line",
                );
                &[]
            }
        }
    }

    /// The items of a list of strings with their paths.
    pub(super) fn strings(
        &mut self,
        section: &Section<'_>,
        key: &str,
        kind: Text,
    ) -> Vec<(String, String)> {
        let items = self.list(section, key);
        items
            .into_iter()
            .filter_map(|(node, path)| Some((self.item_text(node, &path, kind)?, path)))
            .collect()
    }

    fn item_text(&mut self, node: &Node, path: &str, kind: Text) -> Option<String> {
        let at = self.places.of(path);
        match &node.value {
            Value::Scalar { .. } if node.is_null() => self.text("", at, path, kind),
            Value::Scalar { text, .. } => self.text(text, at, path, kind),
            _ => {
                let fix = if matches!(node.value, Value::Map(_)) {
                    "quote values that start with {"
                } else {
                    ""
                };
                self.error(
                    at,
                    path,
                    format!("found {}, expected a string", node.kind()),
                    fix,
                );
                None
            }
        }
    }

    /// A mapping of strings to strings.
    pub(super) fn string_map(
        &mut self,
        section: &Section<'_>,
        key: &str,
        kind: Text,
    ) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        for entry in self.entries(section, key) {
            let path = format!("{}.{}", section.path_of(key), entry.key);
            self.places
                .0
                .insert(path.clone(), (entry.line, entry.column));
            if let Some(value) = self.item_text(&entry.value, &path, kind) {
                map.insert(entry.key.clone(), value);
            }
        }
        map
    }

    /// A mapping of strings to lists of strings.
    pub(super) fn lists_map(
        &mut self,
        section: &Section<'_>,
        key: &str,
    ) -> BTreeMap<String, Vec<String>> {
        let mut map = BTreeMap::new();
        for entry in self.entries(section, key) {
            let path = format!("{}.{}", section.path_of(key), entry.key);
            self.places
                .0
                .insert(path.clone(), (entry.line, entry.column));
            let items = if entry.value.is_null() {
                Vec::new()
            } else {
                self.items(&entry.value, &path, (entry.line, entry.column))
            };
            let values = items
                .into_iter()
                .filter_map(|(node, path)| self.item_text(node, &path, Text::Plain))
                .collect();
            map.insert(entry.key.clone(), values);
        }
        map
    }
}

fn quoted(text: &str, plain: bool) -> String {
    if plain {
        shown(text)
    } else {
        format!("the quoted string {}", shown(text))
    }
}

fn advice_for_mapping(table: &Table) -> String {
    format!("{} takes {}", table.name, table.supported.join(", "))
}
