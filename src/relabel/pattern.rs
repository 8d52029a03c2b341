//! A compiled regular expression: anchored as Prometheus anchors it, with RE2's meaning.

use std::ops::Range;

use regex::bytes::{Captures, Regex, RegexBuilder};

use super::re2::translate;
use super::syntax::SyntaxError;

/// Largest compiled pattern, in bytes. Go's own bound (`regexp/syntax/parse.go` `maxSize`) is 128
/// MiB, too much for a small function.
const MAX_COMPILED: usize = 16 << 20;

/// Most nested pairs of parentheses after translation. The translator's own bound is met first.
const MAX_NESTING: u32 = 1000;

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The pattern is invalid in Prometheus, too.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// The compiled pattern is too large for a small function.
    #[error(
        "error parsing regexp: expression too large: it takes more than {} MiB",
        MAX_COMPILED >> 20
    )]
    TooLarge,
}

/// A compiled pattern of a rule. Two patterns are equal when their texts are.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    /// The compiled pattern. `None` for `(.*)`, which matches everything: the default of most rules
    /// needs no machinery.
    regex: Option<Regex>,
    /// Names of the groups, from the first one; empty for a group without a name.
    names: Vec<String>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

/// The groups of a match, the whole match first.
pub(super) struct Groups<'p, 't> {
    pub(super) text: &'t str,
    names: &'p [String],
    captures: Option<Captures<'t>>,
}

impl Groups<'_, '_> {
    /// The range that a group matched. Returns `None` when it did not match, or when no group has
    /// that number.
    pub(super) fn range(&self, number: usize) -> Option<Range<usize>> {
        match &self.captures {
            Some(captures) => captures.get(number).map(|group| group.range()),
            None => (number <= 1).then_some(0..self.text.len()),
        }
    }

    /// The text that a group matched.
    pub(super) fn get(&self, number: usize) -> Option<&str> {
        self.range(number).and_then(|range| self.text.get(range))
    }

    /// The text of the first group of that name that matched. // Go regexp.(*Regexp).expand
    pub(super) fn named(&self, name: &str) -> Option<&str> {
        (1..)
            .zip(self.names)
            .filter(|(_, known)| *known == name)
            .find_map(|(number, _)| self.get(number))
    }
}

impl Pattern {
    /// Compiles a pattern. It has to match the whole text, and a dot matches a line break. //
    /// model/relabel/relabel.go NewRegexp
    ///
    /// # Errors
    /// Fails when RE2 refuses the pattern, with Go's message, or when it is too large once
    /// compiled.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text == "(.*)" {
            return Ok(Self {
                text: text.to_owned(),
                regex: None,
                names: vec![String::new()],
            });
        }
        let translated = translate(&format!("^(?s:{text})$"))?;
        // The regular expression is one for bytes, because `(?-u:\B)` is allowed only there. All
        // else in the pattern matches whole characters.
        let regex = RegexBuilder::new(&translated.pattern)
            .size_limit(MAX_COMPILED)
            .nest_limit(MAX_NESTING)
            .build();
        // A translation is always valid, so that only its size can be the error.
        let regex = regex.map_err(|_| PatternError::TooLarge)?;
        Ok(Self {
            text: text.to_owned(),
            regex: Some(regex),
            names: translated.names,
        })
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the pattern matches the whole text.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.regex
            .as_ref()
            .is_none_or(|regex| regex.is_match(text.as_bytes()))
    }

    /// The groups of a match, if the pattern matches.
    pub(super) fn groups<'t>(&self, text: &'t str) -> Option<Groups<'_, 't>> {
        let captures = match &self.regex {
            None => None,
            Some(regex) => Some(regex.captures(text.as_bytes())?),
        };
        Some(Groups {
            text,
            names: &self.names,
            captures,
        })
    }

    /// All matches, as Go's `ReplaceAllString` finds them. There is more than one only when
    /// alternatives escape the anchors, as in `a)|(b`.
    pub(super) fn each<'t>(&self, text: &'t str) -> Vec<Groups<'_, 't>> {
        match &self.regex {
            None => vec![Groups {
                text,
                names: &self.names,
                captures: None,
            }],
            Some(regex) => regex
                .captures_iter(text.as_bytes())
                .map(|captures| Groups {
                    text,
                    names: &self.names,
                    captures: Some(captures),
                })
                .collect(),
        }
    }
}
