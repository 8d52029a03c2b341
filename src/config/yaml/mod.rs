//! YAML as go-yaml v2 reads it for Prometheus, into a tree that remembers lines and columns.
//!
//! The tree is built straight from the parser's events, because it needs what a ready-made tree
//! does not keep: every duplicate key (not only the first), merge keys, the style of each scalar
//! (`"yes"` is no boolean, `yes` is), and bounds on depth and on the expansion of aliases.

mod build;
mod map;
mod merge;
mod node;
#[cfg(test)]
mod tests;

pub(in crate::config) use node::{MapEntry, Node, NodeValue};

use saphyr_parser::{Event, Parser};

use crate::config::problem::{Position, Problem};
use crate::config::source::MAX_BYTES;
use build::{Builder, position};

/// A document that could be read.
pub(in crate::config) struct Document {
    pub(in crate::config) root: Node,
    /// Errors that leave the rest of the document readable: duplicate keys and tags.
    pub(in crate::config) problems: Vec<Problem>,
    /// Things that go-yaml would ignore silently.
    pub(in crate::config) warnings: Vec<Problem>,
}

/// Reads the first document of `text`. The error is the first place that is no YAML.
pub(in crate::config) fn parse(text: &str) -> Result<Document, Problem> {
    check_text(text)?;
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder::default();
    let mut ended = false;
    let mut warnings = Vec::new();
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let at = Position {
                line: error.marker().line(),
                column: error.marker().col() + 1,
            };
            let message = format!("not valid YAML: {}", error.info());
            let fix = if error.info().contains("tab") {
                "YAML is indented by spaces: replace the tabs of this line and the next"
            } else {
                "check indentation, quotes and brackets here and just above"
            };
            Problem::at(at, message, fix)
        })?;
        if !ended {
            ended = matches!(event, Event::DocumentEnd);
            builder.take(event, span)?;
        } else if matches!(event, Event::DocumentStart(_)) {
            // The parser goes on only to find out whether a second document follows.
            warnings.push(Problem::at(
                position(span),
                "a second document starts here: it is ignored, as Prometheus ignores it",
                "keep one document in the file",
            ));
            break;
        }
    }
    let root = builder.root.unwrap_or(Node {
        position: Position::START,
        value: NodeValue::Scalar {
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

/// Refuses text that the parser would not read to its end.
fn check_text(text: &str) -> Result<(), Problem> {
    if text.len() as u64 > MAX_BYTES {
        let message = format!("found {} bytes, expected at most {MAX_BYTES}", text.len());
        return Err(Problem::at(Position::START, message, ""));
    }
    // The parser takes a NUL for the end of the input and would ignore what follows.
    if let Some(at) = text.find('\0') {
        let line = 1 + text[..at].matches('\n').count();
        return Err(Problem::at(
            Position { line, column: 1 },
            "found a NUL character, expected text",
            "save the file as UTF-8",
        ));
    }
    Ok(())
}
