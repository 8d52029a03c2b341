//! Repetitions of a pattern: `*`, `+`, `?` and counts in braces.

/// `regexp/syntax/parse.go` `maxRepeat`: for a repetition, and for the product of nested ones.
pub(super) const MAX_REPEAT: u32 = 1000;

#[derive(Clone, Copy)]
pub(super) struct Repetition<'a> {
    /// As written.
    pub(super) operator: &'a str,
    pub(super) min: u32,
    /// None: without end.
    pub(super) max: Option<u32>,
    /// In braces.
    pub(super) counted: bool,
}

/// `regexp/syntax/parse.go` `parseRepeat`: `{min}`, `{min,}` or `{min,max}`, and what follows; else
/// the brace is a literal.
pub(super) fn counts(text: &str) -> Option<(u32, Option<u32>, &str)> {
    let (min, rest) = integer(text.strip_prefix('{')?)?;
    let Some(rest) = rest.strip_prefix(',') else {
        return Some((min, Some(min), rest.strip_prefix('}')?));
    };
    if let Some(rest) = rest.strip_prefix('}') {
        return Some((min, None, rest));
    }
    let (max, rest) = integer(rest)?;
    Some((min, Some(max), rest.strip_prefix('}')?))
}

/// Digits without a leading zero.
fn integer(text: &str) -> Option<(u32, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    if number.is_empty() || (number.len() > 1 && number.starts_with('0')) {
        return None;
    }
    Some((number.parse().unwrap_or(u32::MAX), rest))
}
