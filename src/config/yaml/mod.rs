//! YAML as go-yaml v2 reads it for Prometheus, into a tree that remembers lines and columns.
//!
//! Built straight from the parser's events: the tree needs every duplicate key (not only the
//! first), merge keys, the style of each scalar (`"yes"` is no boolean, `yes` is), and bounds on
//! depth and on the expansion of aliases.

mod build;
mod node;
#[cfg(test)]
mod tests;

pub(in crate::config) use node::{MapEntry, Node, NodeValue};

use saphyr_parser::{Event, Parser};

use crate::config::problem::Problem;
use crate::config::source::MAX_BYTES;
use build::{Builder, position, problem};

/// A document, with what is wrong in it (duplicate keys, tags) though the rest can be read, and
/// what go-yaml would silently pass over.
pub(in crate::config) struct Document {
    pub(in crate::config) root: Node,
    pub(in crate::config) problems: Vec<Problem>,
    pub(in crate::config) warnings: Vec<Problem>,
}

/// Reads the first document of `text`. The error is the first place that is no YAML.
pub(in crate::config) fn parse(text: &str) -> Result<Document, Problem> {
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
