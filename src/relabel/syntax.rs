//! What the translation of patterns and of classes share: RE2's flags, and why Go refuses a
//! pattern.

/// Why Go refuses a pattern, in its words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {reason}: `{expression}`")]
pub struct SyntaxError {
    reason: &'static str,
    expression: String,
}

pub(super) fn error<T>(reason: &'static str, expression: &str) -> Result<T, SyntaxError> {
    Err(SyntaxError {
        reason,
        expression: expression.to_owned(),
    })
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Flags {
    pub(super) fold: bool,
    pub(super) multi_line: bool,
    pub(super) dot_newline: bool,
    pub(super) non_greedy: bool,
}
