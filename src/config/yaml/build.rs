//! Builds the tree from the parser's events.

use std::collections::HashMap;

use saphyr_parser::{Event, ScalarStyle, Span, Tag};

use super::node::{MapEntry, Node, NodeValue};
use crate::config::problem::{Problem, shown};

/// A Prometheus configuration nests about ten deep.
const MAX_DEPTH: usize = 64;
/// Aliases count with all that they repeat: a handful of nested ones could else expand without end.
const MAX_NODES: usize = 400_000;

/// A list or mapping that is still open.
struct Frame {
    at: (usize, usize),
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map {
        entries: Vec<MapEntry>,
        index: HashMap<String, KeySlot>,
        key: Option<MapKey>,
    },
}

struct MapKey {
    text: String,
    at: (usize, usize),
    merge: bool,
}

/// Where a key's entry is, and whether it came by `<<`: only a key that is written twice is an
/// error.
struct KeySlot {
    entry: usize,
    merged: bool,
}

#[derive(Default)]
pub(super) struct Builder {
    open: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    pub(super) root: Option<Node>,
    pub(super) problems: Vec<Problem>,
}

impl Builder {
    pub(super) fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let at = position(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.check_tag(tag.as_deref(), at);
                let plain = style == ScalarStyle::Plain && !is_tag(tag.as_deref(), "str");
                let node = Node {
                    line: at.0,
                    column: at.1,
                    value: NodeValue::Scalar {
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
                        Content::List(items) => NodeValue::List(items),
                        Content::Map { entries, .. } => NodeValue::Map(entries),
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
                    .inspect_err(|problem| *key = Some(MapKey::unreadable(problem))),
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

impl MapKey {
    /// Stands in for a key that is none, so that its value is taken for a value.
    fn unreadable(problem: &Problem) -> Self {
        Self {
            text: String::new(),
            at: (problem.line, problem.column),
            merge: false,
        }
    }
}

fn as_key(node: Node) -> Result<MapKey, Problem> {
    let at = (node.line, node.column);
    match node.value {
        NodeValue::Scalar { text, plain } => Ok(MapKey {
            merge: plain && text == "<<",
            text,
            at,
        }),
        NodeValue::List(_) | NodeValue::Map(_) => Err(problem(
            at,
            format!("found {} as a key, expected a word", node.kind()),
            "quote values that start with { or [",
        )),
    }
}

fn put(
    key: MapKey,
    value: Node,
    entries: &mut Vec<MapEntry>,
    index: &mut HashMap<String, KeySlot>,
) -> Result<(), Problem> {
    let entry = MapEntry {
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
                KeySlot {
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
    entries: &mut Vec<MapEntry>,
    index: &mut HashMap<String, KeySlot>,
) -> Result<(), Problem> {
    let at = (node.line, node.column);
    let sources = match node.value {
        NodeValue::List(items) => items,
        _ => vec![node],
    };
    for source in sources.into_iter().rev() {
        let NodeValue::Map(merged) = source.value else {
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
                    KeySlot {
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

pub(super) fn position(span: Span) -> (usize, usize) {
    (span.start.line(), span.start.col() + 1)
}

pub(super) fn problem((line, column): (usize, usize), message: String, fix: &str) -> Problem {
    Problem {
        line,
        column,
        path: String::new(),
        message,
        fix: fix.into(),
    }
}
