//! Builds the tree from the parser's events.

use std::collections::HashMap;

use saphyr_parser::{Event, ScalarStyle, Span, Tag};

use super::map::OpenMap;
use super::merge::MapKind;
use super::node::{Node, NodeValue};
use crate::config::problem::{Position, Problem, shown};

/// Most lists and mappings within each other. A Prometheus configuration nests about ten deep.
const MAX_DEPTH: usize = 64;
/// Most nodes of a document. An alias counts with all that it repeats: otherwise a handful of
/// nested ones could expand without end.
const MAX_NODES: usize = 400_000;

/// Tags of the YAML core schema that change nothing here.
const KNOWN_TAGS: [&str; 8] = ["str", "int", "float", "bool", "null", "seq", "map", "merge"];

/// A list or mapping that is still open.
struct Frame {
    position: Position,
    /// Number of the node's anchor; 0 is none.
    anchor: usize,
    content: FrameContent,
}

enum FrameContent {
    List(Vec<Node>),
    Map(OpenMap),
}

/// The tree so far: a stack of open lists and mappings, the innermost last.
#[derive(Default)]
pub(super) struct Builder {
    open: Vec<Frame>,
    /// Complete nodes that have an anchor, by its number.
    anchors: HashMap<usize, Node>,
    /// Nodes so far, aliases counted with all that they repeat.
    nodes: usize,
    pub(super) root: Option<Node>,
    pub(super) problems: Vec<Problem>,
}

impl Builder {
    /// Takes the next event. The error is one after which nothing can be read.
    pub(super) fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let position = position(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.check_tag(tag.as_deref(), position);
                self.spend(1, position)?;
                // `!!str 5` is a string, as `"5"` is.
                let plain = style == ScalarStyle::Plain && !is_tag(tag.as_deref(), "str");
                let text = text.into_owned();
                let value = NodeValue::Scalar { text, plain };
                self.complete(Node { position, value }, anchor);
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), position);
                self.enter(Frame {
                    position,
                    anchor,
                    content: FrameContent::List(Vec::new()),
                })?;
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), position);
                let kind = match self.open.last().map(|frame| &frame.content) {
                    Some(FrameContent::Map(map)) => {
                        let key = map.key.as_ref();
                        key.map_or(MapKind::Section, |key| MapKind::of(&key.text))
                    }
                    _ => MapKind::Section,
                };
                self.enter(Frame {
                    position,
                    anchor,
                    content: FrameContent::Map(OpenMap::new(kind)),
                })?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.leave(),
            Event::Alias(anchor) => self.repeat(anchor, position)?,
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
        Ok(())
    }

    /// Opens a list or mapping.
    fn enter(&mut self, frame: Frame) -> Result<(), Problem> {
        if self.open.len() == MAX_DEPTH {
            let message = format!("nested more than {MAX_DEPTH} deep");
            return Err(Problem::at(frame.position, message, ""));
        }
        self.spend(1, frame.position)?;
        self.open.push(frame);
        Ok(())
    }

    /// Closes the innermost list or mapping, which then is a node of the one around it.
    fn leave(&mut self) {
        let Some(frame) = self.open.pop() else {
            return;
        };
        let value = match frame.content {
            FrameContent::List(items) => NodeValue::List(items),
            FrameContent::Map(map) => NodeValue::Map(map.entries),
        };
        let node = Node {
            position: frame.position,
            value,
        };
        self.complete(node, frame.anchor);
    }

    /// Puts a copy of the anchor's node here. Its nodes keep the positions that they have at the
    /// anchor.
    fn repeat(&mut self, anchor: usize, position: Position) -> Result<(), Problem> {
        // A node gets into `anchors` when it is complete: an alias within it finds nothing.
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            let message = "found an alias inside of what it names";
            return Err(Problem::at(position, message, "write the value out"));
        };
        self.spend(node.count(), position)?;
        self.complete(node, 0);
        Ok(())
    }

    fn spend(&mut self, nodes: usize, position: Position) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            let message =
                format!("more than {MAX_NODES} values, aliases counted with all that they repeat");
            return Err(Problem::at(position, message, ""));
        }
        Ok(())
    }

    fn check_tag(&mut self, tag: Option<&Tag>, position: Position) {
        if let Some(tag) = tag
            && !(tag.is_yaml_core_schema() && KNOWN_TAGS.contains(&tag.suffix.as_str()))
        {
            let message = format!("found the tag {}, expected none", shown(&tag.to_string()));
            self.problems
                .push(Problem::at(position, message, "remove it"));
        }
    }

    /// Gives a complete node to the innermost open list or mapping. Without one it is the root.
    fn complete(&mut self, node: Node, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(frame) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        let taken = match &mut frame.content {
            FrameContent::List(items) => {
                items.push(node);
                Ok(())
            }
            FrameContent::Map(map) => map.take(node),
        };
        if let Err(mut problem) = taken {
            problem.path = self.path() + &problem.path;
            self.problems.push(problem);
        }
    }

    /// The path of the innermost open list or mapping, with a dot at its end. The innermost itself
    /// adds nothing: its key or index is in the frame around it.
    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.open[..self.open.len().saturating_sub(1)] {
            match &frame.content {
                FrameContent::List(items) => path.push_str(&format!("[{}]", items.len())),
                FrameContent::Map(map) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(map.key.as_ref().map_or("", |key| &key.text));
                }
            }
        }
        if !path.is_empty() {
            path.push('.');
        }
        path
    }
}

fn is_tag(tag: Option<&Tag>, suffix: &str) -> bool {
    tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == suffix)
}

/// The start of a span. The parser counts columns from 0.
pub(super) fn position(span: Span) -> Position {
    Position {
        line: span.start.line(),
        column: span.start.col() + 1,
    }
}
