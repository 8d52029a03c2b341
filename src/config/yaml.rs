//! YAML as go-yaml v2 reads it for Prometheus, into a tree that remembers lines and columns.
//!
//! Built straight from the parser's events: the tree needs every duplicate key (not only the
//! first), merge keys, the style of each scalar (`"yes"` is no boolean, `yes` is), and bounds on
//! depth and on the expansion of aliases.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::problem::{Problem, shown};
use super::source::MAX_BYTES;

/// A Prometheus configuration nests about ten deep.
const MAX_DEPTH: usize = 64;
/// Aliases count with all that they repeat: a handful of nested ones could else expand without end.
const MAX_NODES: usize = 400_000;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    /// `plain` when it was written without quotes: only then may it be a number, a boolean or null.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a mapping with its value; keys are unique.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) value: Node,
}

impl Node {
    /// Nothing there: empty, `~` or `null`.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What stands there, for messages that must not show the value itself.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar { .. } if self.is_null() => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// The value under `key`, when this is a mapping that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    fn count(&self) -> usize {
        1 + match &self.value {
            Value::Scalar { .. } => 0,
            Value::List(items) => items.iter().map(Self::count).sum(),
            Value::Map(entries) => entries.iter().map(|entry| 1 + entry.value.count()).sum(),
        }
    }
}

/// A document, with what is wrong in it (duplicate keys, tags) though the rest can be read, and
/// what go-yaml would silently pass over.
pub(super) struct Document {
    pub(super) root: Node,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

/// Reads the first document of `text`. The error is the first place that is no YAML.
pub(super) fn parse(text: &str) -> Result<Document, Problem> {
    if text.len() as u64 > MAX_BYTES {
        let message = format!("found {} bytes, expected at most {MAX_BYTES}", text.len());
        return Err(problem((1, 1), message, ""));
    }
    // A NUL ends the input for the parser: what follows would be ignored without a word.
    if let Some(at) = text.find('\0') {
        let line = 1 + text[..at].matches('\n').count();
        return Err(problem(
            (line, 1),
            "found a NUL character, expected text".into(),
            "save the file as UTF-8",
        ));
    }
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder::default();
    let mut ended = false;
    let mut warnings = Vec::new();
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let at = (error.marker().line(), error.marker().col() + 1);
            problem(
                at,
                format!("not valid YAML: {}", error.info()),
                "check indentation, quotes and brackets here and just above",
            )
        })?;
        if ended {
            if matches!(event, Event::DocumentStart(_)) {
                let message =
                    "a second document starts here: it is ignored, as Prometheus ignores it".into();
                warnings.push(problem(
                    position(span),
                    message,
                    "keep one document in the file",
                ));
                break;
            }
            continue;
        }
        ended = matches!(event, Event::DocumentEnd);
        builder.take(event, span)?;
    }
    let root = builder.root.unwrap_or(Node {
        line: 1,
        column: 1,
        value: Value::Scalar {
            text: String::new(),
            plain: true,
        },
    });
    Ok(Document {
        root,
        problems: builder.problems,
        warnings,
    })
}

/// A list or mapping that is still open.
struct Frame {
    at: (usize, usize),
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        index: HashMap<String, Slot>,
        key: Option<Key>,
    },
}

struct Key {
    text: String,
    at: (usize, usize),
    merge: bool,
}

/// Where a key's entry is, and whether it came by `<<`: only a key that is written twice is an
/// error.
struct Slot {
    entry: usize,
    merged: bool,
}

#[derive(Default)]
struct Builder {
    open: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
    problems: Vec<Problem>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let at = position(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.check_tag(tag.as_deref(), at);
                let plain = style == ScalarStyle::Plain && !is_tag(tag.as_deref(), "str");
                let node = Node {
                    line: at.0,
                    column: at.1,
                    value: Value::Scalar {
                        text: text.into_owned(),
                        plain,
                    },
                };
                self.spend(1, at)?;
                self.complete(node, anchor);
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), at);
                self.enter(Frame {
                    at,
                    anchor,
                    content: Content::List(Vec::new()),
                })?;
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), at);
                let content = Content::Map {
                    entries: Vec::new(),
                    index: HashMap::new(),
                    key: None,
                };
                self.enter(Frame {
                    at,
                    anchor,
                    content,
                })?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(frame) = self.open.pop() {
                    let value = match frame.content {
                        Content::List(items) => Value::List(items),
                        Content::Map { entries, .. } => Value::Map(entries),
                    };
                    self.complete(
                        Node {
                            line: frame.at.0,
                            column: frame.at.1,
                            value,
                        },
                        frame.anchor,
                    );
                }
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => {
                    self.spend(node.count(), at)?;
                    self.complete(node, 0);
                }
                None => {
                    return Err(problem(
                        at,
                        "found an alias inside of what it names".into(),
                        "write the value out",
                    ));
                }
            },
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn enter(&mut self, frame: Frame) -> Result<(), Problem> {
        if self.open.len() == MAX_DEPTH {
            return Err(problem(
                frame.at,
                format!("nested more than {MAX_DEPTH} deep"),
                "",
            ));
        }
        self.spend(1, frame.at)?;
        self.open.push(frame);
        Ok(())
    }

    fn spend(&mut self, nodes: usize, at: (usize, usize)) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            let message =
                format!("more than {MAX_NODES} values, aliases counted with all that they repeat");
            return Err(problem(at, message, ""));
        }
        Ok(())
    }

    fn check_tag(&mut self, tag: Option<&Tag>, at: (usize, usize)) {
        const KNOWN: [&str; 8] = ["str", "int", "float", "bool", "null", "seq", "map", "merge"];
        if let Some(tag) = tag
            && !(tag.is_yaml_core_schema() && KNOWN.contains(&tag.suffix.as_str()))
        {
            let message = format!("found the tag {}, expected none", shown(&tag.to_string()));
            self.problems.push(problem(at, message, "remove it"));
        }
    }

    fn complete(&mut self, node: Node, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(frame) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        let placed = match &mut frame.content {
            Content::List(items) => {
                items.push(node);
                Ok(())
            }
            Content::Map {
                entries,
                index,
                key,
            } => match key.take() {
                None => as_key(node)
                    .map(|read| *key = Some(read))
                    .inspect_err(|problem| *key = Some(Key::unreadable(problem))),
                Some(key) if key.merge => merge(node, entries, index),
                Some(key) => put(key, node, entries, index),
            },
        };
        if let Err(mut problem) = placed {
            problem.path = self.path() + &problem.path;
            self.problems.push(problem);
        }
    }

    /// The path of what is open, up to the innermost mapping or list.
    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.open[..self.open.len().saturating_sub(1)] {
            match &frame.content {
                Content::List(items) => path.push_str(&format!("[{}]", items.len())),
                Content::Map { key, .. } => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(key.as_ref().map_or("", |key| &key.text));
                }
            }
        }
        if !path.is_empty() {
            path.push('.');
        }
        path
    }
}

impl Key {
    /// Stands in for a key that is none, so that its value is taken for a value.
    fn unreadable(problem: &Problem) -> Self {
        Self {
            text: String::new(),
            at: (problem.line, problem.column),
            merge: false,
        }
    }
}

fn as_key(node: Node) -> Result<Key, Problem> {
    let at = (node.line, node.column);
    match node.value {
        Value::Scalar { text, plain } => Ok(Key {
            merge: plain && text == "<<",
            text,
            at,
        }),
        Value::List(_) | Value::Map(_) => Err(problem(
            at,
            format!("found {} as a key, expected a word", node.kind()),
            "quote values that start with { or [",
        )),
    }
}

fn put(
    key: Key,
    value: Node,
    entries: &mut Vec<Entry>,
    index: &mut HashMap<String, Slot>,
) -> Result<(), Problem> {
    let entry = Entry {
        key: key.text,
        line: key.at.0,
        column: key.at.1,
        value,
    };
    match index.get_mut(&entry.key) {
        Some(slot) if slot.merged => {
            slot.merged = false;
            entries[slot.entry] = entry;
        }
        Some(slot) => {
            let first = entries[slot.entry].line;
            let message = format!(
                "found the key {} again, expected it once; it is also on line {first}",
                shown(&entry.key)
            );
            return Err(Problem {
                path: entry.key,
                ..problem(key.at, message, "remove one of the two")
            });
        }
        None => {
            index.insert(
                entry.key.clone(),
                Slot {
                    entry: entries.len(),
                    merged: false,
                },
            );
            entries.push(entry);
        }
    }
    Ok(())
}

/// `<<: *base` or `<<: [*a, *b]`: of several the earlier wins, and what is written out beside it
/// wins when it comes after: go-yaml v2 applies a merge where it stands. // yaml.v2 decode.go
/// merge, mappingStruct
fn merge(
    node: Node,
    entries: &mut Vec<Entry>,
    index: &mut HashMap<String, Slot>,
) -> Result<(), Problem> {
    let at = (node.line, node.column);
    let sources = match node.value {
        Value::List(items) => items,
        _ => vec![node],
    };
    for source in sources.into_iter().rev() {
        let Value::Map(merged) = source.value else {
            let message = "found no mapping after <<, expected one or a list of them".into();
            return Err(Problem {
                path: "<<".into(),
                ..problem(at, message, "write <<: *name")
            });
        };
        for entry in merged {
            if let Some(slot) = index.get(&entry.key) {
                entries[slot.entry] = entry;
            } else {
                index.insert(
                    entry.key.clone(),
                    Slot {
                        entry: entries.len(),
                        merged: true,
                    },
                );
                entries.push(entry);
            }
        }
    }
    Ok(())
}

fn is_tag(tag: Option<&Tag>, suffix: &str) -> bool {
    tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == suffix)
}

fn position(span: Span) -> (usize, usize) {
    (span.start.line(), span.start.col() + 1)
}

fn problem((line, column): (usize, usize), message: String, fix: &str) -> Problem {
    Problem {
        line,
        column,
        path: String::new(),
        message,
        fix: fix.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(node: &Node) -> String {
        match &node.value {
            Value::Scalar { text, plain: true } => text.clone(),
            Value::Scalar { text, plain: false } => format!("'{text}'"),
            Value::List(items) => format!(
                "[{}]",
                items.iter().map(plain).collect::<Vec<_>>().join(" ")
            ),
            Value::Map(entries) => {
                format!(
                    "{{{}}}",
                    entries
                        .iter()
                        .map(|e| format!("{}={}", e.key, plain(&e.value)))
                        .collect::<Vec<_>>()
                        .join(" ")
                )
            }
        }
    }

    fn read(text: &str) -> String {
        match parse(text) {
            Ok(document) if document.problems.is_empty() => plain(&document.root),
            Ok(document) => document
                .problems
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n"),
            Err(problem) => problem.to_string(),
        }
    }

    #[test]
    fn trees() {
        for (text, expected) in [
            ("", ""),
            ("a: 1\nb: 'x'", "{a=1 b='x'}"),
            ("a: [1, \"2\"]", "{a=[1 '2']}"),
            ("a: &x {k: 1}\nb: *x", "{a={k=1} b={k=1}}"),
            ("a: !!str 5", "{a='5'}"),
            // Merges apply where they stand; the earlier of several wins.
            (
                "x: &x {a: 1, b: 1}\ny:\n  <<: *x\n  b: 2",
                "{x={a=1 b=1} y={a=1 b=2}}",
            ),
            ("x: &x {b: 1}\ny:\n  b: 2\n  <<: *x", "{x={b=1} y={b=1}}"),
            (
                "x: &x {a: 1}\nz: &z {a: 3, c: 3}\ny:\n  <<: [*x, *z]",
                "{x={a=1} z={a=3 c=3} y={a=1 c=3}}",
            ),
            ("'<<': 1", "{<<=1}"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn duplicates_are_all_reported() {
        let problems = read("a: 1\nb: {c: 1, c: 2}\na: 3\n");
        assert!(
            problems.contains(
                "line 2, b.c: found the key \"c\" again, expected it once; it is also on line 2"
            ),
            "{problems}"
        );
        assert!(
            problems.contains(
                "line 3, a: found the key \"a\" again, expected it once; it is also on line 1"
            ),
            "{problems}"
        );
    }

    #[test]
    fn bounds() {
        let deep = "[".repeat(70);
        assert!(
            read(&deep).contains("nested more than 64 deep"),
            "{}",
            read(&deep)
        );
        let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..8 {
            let refs = vec![format!("*a{}", i - 1); 10].join(", ");
            laughs.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        assert!(
            read(&laughs).contains("more than 400000 values"),
            "{}",
            read(&laughs)
        );
        assert!(read(&" ".repeat(MAX_BYTES as usize + 1)).contains("expected at most"));
        assert!(read("a: 1\n\0b: 2").starts_with("line 2: found a NUL"));
        assert!(
            read("a: &x [*x]").contains("alias"),
            "{}",
            read("a: &x [*x]")
        );
    }

    #[test]
    fn malformed_text_has_a_line() {
        assert!(
            read("a: 1\n  b: 2").starts_with("line 2: not valid YAML"),
            "{}",
            read("a: 1\n  b: 2")
        );
        assert!(
            read("a: !thing 1").contains("found the tag"),
            "{}",
            read("a: !thing 1")
        );
        assert!(
            read("{a: 1}: b").contains("as a key"),
            "{}",
            read("{a: 1}: b")
        );
    }

    #[test]
    fn a_second_document_is_warned_of() {
        let document = parse("a: 1\n---\nb: 2\n").unwrap();
        assert_eq!(plain(&document.root), "{a=1}");
        assert_eq!(document.warnings[0].line, 2);
    }
}
