//! Lower and upper case by Unicode's simple mapping, one character for one character, as Go's
//! `strings.ToLower` and `strings.ToUpper` do it.

pub(super) fn lower(text: &str) -> String {
    text.chars().map(lower_char).collect()
}

pub(super) fn upper(text: &str) -> String {
    text.chars().map(upper_char).collect()
}

/// The only character of a full mapping, which is all that the standard library has. A full mapping
/// of one character is also the simple one.
fn single(mut full: impl Iterator<Item = char>) -> Option<char> {
    let first = full.next()?;
    full.next().is_none().then_some(first)
}

fn lower_char(c: char) -> char {
    // İ is the only character whose lower case is longer (SpecialCasing.txt).
    single(c.to_lowercase()).unwrap_or(if c == 'İ' { 'i' } else { c })
}

fn upper_char(c: char) -> char {
    single(c.to_uppercase()).unwrap_or_else(|| match c {
        // For Greek with iota subscript the simple mapping is the title case (UnicodeData.txt).
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => {
            char::from_u32(u32::from(c) + 8).unwrap_or(c)
        }
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => char::from_u32(u32::from(c) + 9).unwrap_or(c),
        // Ligatures, ß and the rest have no simple mapping.
        _ => c,
    })
}
