//! Selectors and their matchers.

use std::fmt;

use crate::prompb::remote_read::LabelMatcher;
use crate::relabel::Pattern;
use crate::series::labels::NAME;

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

/// One condition of a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher {
    /// Name of the label; the metric name is `__name__`.
    pub label: String,
    /// How the label's value is compared.
    pub op: MatchOp,
    /// The value, or an RE2 expression that must match the whole value.
    pub value: String,
}

/// A selector: all of its matchers must hold. It may have none, and then selects every series.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// The matchers in the order of the text, the metric name last, as Prometheus has it.
    pub matchers: Vec<Matcher>,
}

/// Why a text is no selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectorError {
    /// Characters before the place where the text starts to be wrong.
    pub at: usize,
    /// What was found, and what was expected.
    pub cause: String,
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "character {}: {}", self.at + 1, self.cause)
    }
}

impl std::error::Error for SelectorError {}

impl Matcher {
    /// The matcher as remote read takes it.
    #[must_use]
    pub fn to_message(&self) -> LabelMatcher {
        LabelMatcher {
            kind: match self.op {
                MatchOp::Equal => 0,
                MatchOp::NotEqual => 1,
                MatchOp::Regex => 2,
                MatchOp::NotRegex => 3,
            },
            name: self.label.clone(),
            value: self.value.clone(),
        }
    }
}

impl Selector {
    /// Whether the selector selects a series whose labels have these values; `value` gives an empty
    /// one for a label that the series does not have.
    #[must_use]
    pub fn selects<'a>(&self, value: impl Fn(&str) -> &'a str) -> bool {
        self.matchers.iter().all(|matcher| {
            let found = value(&matcher.label);
            // A selector that was parsed has only valid patterns.
            let matches = || Pattern::new(&matcher.value).is_ok_and(|it| it.is_match(found));
            match matcher.op {
                MatchOp::Equal => found == matcher.value,
                MatchOp::NotEqual => found != matcher.value,
                MatchOp::Regex => matches(),
                MatchOp::NotRegex => !matches(),
            }
        })
    }

    /// Whether the selector names this label with a matcher that depends on its value.
    #[must_use]
    pub fn names(&self, label: &str) -> bool {
        self.matchers.iter().any(|matcher| matcher.label == label)
    }

    /// Whether the selector selects every series that has a name: each of its matchers holds for
    /// any value of the metric name.
    #[must_use]
    pub fn selects_all(&self) -> bool {
        self.matchers.iter().all(|matcher| {
            let Matcher { label, op, value } = matcher;
            label == NAME
                && match op {
                    MatchOp::Regex => value == ".+" || value == ".*",
                    MatchOp::NotEqual => value.is_empty(),
                    MatchOp::Equal | MatchOp::NotRegex => false,
                }
        })
    }
}

/// The selectors of a job, without those that others make needless: when one selects everything,
/// the rest would only repeat its series.
#[must_use]
pub fn needed(selectors: Vec<Selector>) -> Vec<Selector> {
    match selectors.iter().position(Selector::selects_all) {
        Some(all) => selectors.into_iter().skip(all).take(1).collect(),
        None => {
            let mut different: Vec<Selector> = Vec::with_capacity(selectors.len());
            for selector in selectors {
                if !different.contains(&selector) {
                    different.push(selector);
                }
            }
            different
        }
    }
}
