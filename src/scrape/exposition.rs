//! What can be wrong with an exposition, whatever its format, and where.

use std::fmt;

use crate::intake::Refusal;

/// Where in an exposition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParsePosition {
    /// Of a text.
    Text {
        /// From 1.
        line: u64,
        /// In bytes, from 1.
        column: u64,
    },
    /// Bytes before it.
    Byte(u64),
}

impl fmt::Display for ParsePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { line, column } => write!(f, "line {line}, column {column}"),
            Self::Byte(offset) => write!(f, "byte {offset}"),
        }
    }
}

/// Why an exposition could not be parsed, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Where it starts to be wrong.
    pub place: ParsePosition,
    /// What was expected, what was found.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl std::error::Error for ParseError {}

/// Ends a parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpositionError {
    /// The exposition is malformed.
    #[error(transparent)]
    Malformed(#[from] ParseError),
    /// The sink refused a sample.
    #[error(transparent)]
    Refusal(#[from] Refusal),
}
