//! RE2's flags, and why Go refuses a pattern: the translations of patterns and of classes share
//! them.

/// Why Go refuses a pattern, in its words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {reason}: `{expression}`")]
pub struct SyntaxError {
    reason: &'static str,
    /// The part of the pattern that Go shows.
    expression: String,
}

/// Refuses a pattern.
pub(super) fn error<T>(reason: &'static str, expression: &str) -> Result<T, SyntaxError> {
    Err(SyntaxError {
        reason,
        expression: expression.to_owned(),
    })
}

/// The flags at a position of a pattern.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flags {
    /// `i`: letters match in any case.
    pub(super) fold: bool,
    /// `m`: `^` and `$` match at line breaks.
    pub(super) multi_line: bool,
    /// `s`: a dot matches a line break.
    pub(super) dot_newline: bool,
    /// `U`: repetitions are lazy unless a `?` follows.
    pub(super) non_greedy: bool,
}
