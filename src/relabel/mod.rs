//! Prometheus' relabelling: rules that rewrite label sets, or drop them.
//!
//! The rules, their defaults and their errors are those of `model/relabel/relabel.go`; regular
//! expressions have RE2's meaning (`re2`, `class`: what Go reads, in the syntax of the crate
//! `regex`), templates are Go's (`template`), and so is the mapping of case (`case`). Nothing here
//! knows where label sets come from.

mod case;
mod class;
mod pattern;
mod re2;
mod repetition;
mod rule;
mod syntax;
mod template;

#[cfg(test)]
mod tests;

pub use pattern::{Pattern, PatternError};
pub use rule::{Action, MAX_ADDED, Rule, RuleError, RuleSpec, SizeError};
pub use syntax::SyntaxError;

use crate::series::Labels;

/// Applies rules in their order. Says whether the label set stays. // model/relabel/relabel.go
/// ProcessBuilder
///
/// # Errors
/// [`SizeError`]: see [`MAX_ADDED`].
pub fn apply(rules: &[Rule], labels: &mut Labels<'_>) -> Result<bool, SizeError> {
    if rules.is_empty() {
        return Ok(true);
    }
    let most = 2 * labels.bytes() + MAX_ADDED;
    let mut joined = String::new();
    for rule in rules {
        if !rule.apply(labels, &mut joined, most)? {
            return Ok(false);
        }
    }
    Ok(true)
}
