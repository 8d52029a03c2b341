//! Repetitions of a pattern: `*`, `+`, `?` and counts in braces.

use super::syntax::{SyntaxError, error};

/// Largest count of a repetition, and of the product of nested ones. // regexp/syntax/parse.go
/// maxRepeat
pub(super) const MAX_REPEAT: u32 = 1000;

/// A repetition operator.
#[derive(Clone, Copy)]
pub(super) struct Repetition<'a> {
    /// The operator as written.
    pub(super) operator: &'a str,
    min: u32,
    /// Largest count; `None` is without end.
    max: Option<u32>,
    /// Whether it is in braces.
    pub(super) counted: bool,
}

impl<'a> Repetition<'a> {
    /// The operator at the start of a text. Returns `None` when there is none.
    pub(super) fn read(text: &'a str) -> Result<Option<Self>, SyntaxError> {
        if text.starts_with(['*', '+', '?']) {
            return Ok(Some(Self {
                operator: &text[..1],
                min: 0,
                max: None,
                counted: false,
            }));
        }
        let Some(repetition) = Self::counts(text) else {
            return Ok(None);
        };
        let Self { min, max, .. } = repetition;
        if min > MAX_REPEAT || max.is_some_and(|max| max > MAX_REPEAT || min > max) {
            return error("invalid repeat count", repetition.operator);
        }
        Ok(Some(repetition))
    }

    /// `{min}`, `{min,}` or `{min,max}`. Any other text in braces is literal. //
    /// regexp/syntax/parse.go parseRepeat
    fn counts(text: &'a str) -> Option<Self> {
        let (min, rest) = integer(text.strip_prefix('{')?)?;
        let (max, rest) = match rest.strip_prefix(',') {
            None => (Some(min), rest),
            Some(rest) if rest.starts_with('}') => (None, rest),
            Some(rest) => {
                let (max, rest) = integer(rest)?;
                (Some(max), rest)
            }
        };
        let rest = rest.strip_prefix('}')?;
        Some(Self {
            operator: &text[..text.len() - rest.len()],
            min,
            max,
            counted: true,
        })
    }

    /// The product of nested repetitions once this one is around `repeats`. //
    /// regexp/syntax/parse.go repeatIsValid
    pub(super) fn product(self, repeats: u32) -> u32 {
        match self.max {
            Some(0) => 1,
            Some(times) => times.saturating_mul(repeats),
            None => self.min.max(1).saturating_mul(repeats),
        }
    }

    /// Whether it can repeat anything more than once.
    pub(super) fn multiplies(self) -> bool {
        self.min >= 2 || self.max.is_some_and(|max| max >= 2)
    }
}

/// Digits without a leading zero, and the text after them.
fn integer(text: &str) -> Option<(u32, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    if number.is_empty() || (number.len() > 1 && number.starts_with('0')) {
        return None;
    }
    Some((number.parse().unwrap_or(u32::MAX), rest))
}
