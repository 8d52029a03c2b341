//! Errors of an exposition in any format, and their positions.

use std::fmt;

use crate::intake::Refusal;

/// A position in an exposition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParsePosition {
    /// A position in a text.
    Text {
        /// Number of the line, from 1.
        line: u64,
        /// Number of the byte in its line, from 1.
        column: u64,
    },
    /// Offset in bytes.
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
    /// Position of the first byte that is wrong.
    pub place: ParsePosition,
    /// Message with what was expected and what was found.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl std::error::Error for ParseError {}

/// An error that ends a parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpositionError {
    /// The exposition is malformed.
    #[error(transparent)]
    Malformed(#[from] ParseError),
    /// The sink refused a sample.
    #[error(transparent)]
    Refusal(#[from] Refusal),
}
