//! Classes of characters and escapes, from RE2's syntax to that of `regex`.

use super::syntax::{Flags, SyntaxError, error};

/// A class that no character is in.
pub(super) const NOTHING: &str = r"[^\x{0}-\x{10FFFF}]";
const ANYTHING: &str = r"[\x{0}-\x{10FFFF}]";

/// `regexp/syntax/perl_groups.go`, all ASCII.
const PERL: [(char, &str); 3] = [
    ('d', "0-9"),
    ('s', r"\t\n\x{C}\r\x{20}"),
    ('w', "0-9A-Za-z_"),
];
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// Names of scripts and categories with four letters that are no codes of ISO 15924: `regex` knows
/// these codes, Go does not.
const FOUR_LETTERS: [&str; 10] = [
    "ahom", "cham", "kawi", "lisu", "mark", "miao", "modi", "newa", "thai", "toto",
];

/// Appends a character that stands for itself, within a class or without.
pub(super) fn push_char(out: &mut String, c: char) {
    if c.is_ascii() && !c.is_ascii_alphanumeric() {
        push_code(out, u32::from(c));
    } else {
        out.push(c);
    }
}

fn push_code(out: &mut String, code: u32) {
    out.push_str(&format!("\\x{{{code:X}}}"));
}

/// `regexp/syntax/parse.go` `parseClass`: translates a class and gives what follows it.
pub(super) fn bracketed<'a>(
    text: &'a str,
    flags: Flags,
    out: &mut String,
) -> Result<&'a str, SyntaxError> {
    out.push_str(if flags.fold { "(?i:[" } else { "[" });
    let mut rest = &text[1..];
    if let Some(negated) = rest.strip_prefix('^') {
        out.push('^');
        rest = negated;
    }
    let mut first = true;
    let mut empty = true;
    while first || !rest.starts_with(']') {
        first = false;
        if rest.starts_with("[:")
            && let Some(end) = rest.get(2..).and_then(|inside| inside.find(":]"))
        {
            let name = &rest[..end + 4];
            let class = &rest[2..end + 2];
            if !POSIX.contains(&class.strip_prefix('^').unwrap_or(class)) {
                return error("invalid character class range", name);
            }
            out.push_str(name);
            rest = &rest[end + 4..];
            empty = false;
            continue;
        }
        if let Some(after) = escaped_plain(rest, out)? {
            rest = after;
            empty = false;
            continue;
        }
        let range = rest;
        let (low, after) = member(rest, text)?;
        rest = after;
        let mut high = low;
        if rest.starts_with('-') && rest.len() >= 2 && !rest[1..].starts_with(']') {
            (high, rest) = member(&rest[1..], text)?;
            if high < low {
                return error(
                    "invalid character class range",
                    &range[..range.len() - rest.len()],
                );
            }
        }
        empty &= !push_range(out, low, high);
    }
    if empty {
        // Nothing but halves of surrogate pairs.
        out.push_str(NOTHING);
    }
    out.push_str(if flags.fold { "])" } else { "]" });
    Ok(&rest[1..])
}

/// Appends a range without the surrogates, which no text holds. Says whether anything is left.
fn push_range(out: &mut String, low: u32, high: u32) -> bool {
    let low = if (0xD800..=0xDFFF).contains(&low) {
        0xE000
    } else {
        low
    };
    let high = if (0xD800..=0xDFFF).contains(&high) {
        0xD7FF
    } else {
        high
    };
    if low > high {
        return false;
    }
    push_code(out, low);
    out.push('-');
    push_code(out, high);
    true
}

/// A character of a class, by its code.
fn member<'a>(text: &'a str, class: &str) -> Result<(u32, &'a str), SyntaxError> {
    match text.chars().next() {
        None => error("missing closing ]", class),
        Some('\\') => escaped_char(text),
        Some(c) => Ok((u32::from(c), &text[c.len_utf8()..])),
    }
}

/// `\d` and its like or `\pN` outside of a class, with what follows; none for an escaped character.
pub(super) fn escaped<'a>(
    text: &'a str,
    flags: Flags,
    out: &mut String,
) -> Result<Option<&'a str>, SyntaxError> {
    let start = out.len();
    let after = escaped_plain(text, out)?;
    if after.is_some() && flags.fold {
        out.insert_str(start, "(?i:");
        out.push(')');
    }
    Ok(after)
}

fn escaped_plain<'a>(text: &'a str, out: &mut String) -> Result<Option<&'a str>, SyntaxError> {
    let Some(escape) = text.strip_prefix('\\') else {
        return Ok(None);
    };
    let Some(kind) = escape.chars().next() else {
        return Ok(None);
    };
    if matches!(kind, 'p' | 'P') {
        return unicode(text, kind == 'P', out).map(Some);
    }
    let Some((_, ranges)) = PERL
        .iter()
        .find(|(name, _)| *name == kind.to_ascii_lowercase())
    else {
        return Ok(None);
    };
    let negated = if kind.is_ascii_uppercase() { "^" } else { "" };
    out.push_str(&format!("[{negated}{ranges}]"));
    Ok(Some(&escape[1..]))
}

/// `regexp/syntax/parse.go` `parseUnicodeClass`: `\pN`, `\p{Greek}`, `\p{^Greek}`.
fn unicode<'a>(text: &'a str, negated: bool, out: &mut String) -> Result<&'a str, SyntaxError> {
    let after = &text[2..];
    let Some(c) = after.chars().next() else {
        // Go takes the missing character for a replacement one, which is no name either.
        return error("invalid character class range", text);
    };
    let (name, whole, rest) = if c == '{' {
        let Some(end) = text.find('}') else {
            return error("invalid character class range", text);
        };
        (&text[3..end], &text[..=end], &text[end + 1..])
    } else {
        let end = 2 + c.len_utf8();
        (&text[2..end], &text[..end], &text[end..])
    };
    let (negated, name) = match name.strip_prefix('^') {
        Some(name) => (!negated, name),
        None => (negated, name),
    };
    let canonical: String = name
        .chars()
        .filter(|c| !matches!(c, '_' | '-' | ' '))
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let code_of_a_script = canonical.len() == 4 && !FOUR_LETTERS.contains(&canonical.as_str());
    let plain =
        canonical.bytes().all(|byte| byte.is_ascii_alphabetic()) && !canonical.starts_with("is");
    if canonical.is_empty() || code_of_a_script || !plain {
        return error("invalid character class range", whole);
    }
    let translated = match (canonical.as_str(), negated) {
        ("cs" | "surrogate", false) => Some(NOTHING.to_owned()),
        ("cs" | "surrogate", true) => Some(ANYTHING.to_owned()),
        // Categories come first, and `regex` knows properties that Go does not.
        _ => ["gc", "sc"].iter().find_map(|property| {
            let translated = format!(
                "\\{}{{{property}={canonical}}}",
                if negated { 'P' } else { 'p' }
            );
            regex::bytes::Regex::new(&translated)
                .is_ok()
                .then_some(translated)
        }),
    };
    match translated {
        Some(translated) => out.push_str(&translated),
        None => return error("invalid character class range", whole),
    }
    Ok(rest)
}

/// `regexp/syntax/parse.go` `parseEscape`: an escaped character, by its code, and what follows it.
pub(super) fn escaped_char(text: &str) -> Result<(u32, &str), SyntaxError> {
    let mut rest = text[1..].chars();
    let invalid = |rest: &std::str::Chars<'_>| {
        error(
            "invalid escape sequence",
            &text[..text.len() - rest.as_str().len()],
        )
    };
    let Some(c) = rest.next() else {
        return error("trailing backslash at end of expression", "");
    };
    let code = match c {
        '0'..='7' => {
            let octal =
                |rest: &std::str::Chars<'_>| rest.clone().next().and_then(|c| c.to_digit(8));
            if c != '0' && octal(&rest).is_none() {
                // A back-reference.
                return invalid(&rest);
            }
            let mut code = u32::from(c) - u32::from('0');
            for _ in 0..2 {
                if let Some(digit) = octal(&rest) {
                    code = code * 8 + digit;
                    rest.next();
                }
            }
            code
        }
        'x' => {
            let Some(first) = rest.next() else {
                return invalid(&rest);
            };
            if first == '{' {
                let mut code = 0_u32;
                let mut digits = 0;
                loop {
                    match rest.next() {
                        Some('}') if digits > 0 => break,
                        Some(c) => match c.to_digit(16) {
                            Some(digit) if code * 16 + digit <= 0x10_FFFF => {
                                code = code * 16 + digit
                            }
                            _ => return invalid(&rest),
                        },
                        None => return invalid(&rest),
                    }
                    digits += 1;
                }
                code
            } else {
                // Go reads both before it looks at them.
                let second = rest.next();
                match (
                    first.to_digit(16),
                    second.and_then(|second| second.to_digit(16)),
                ) {
                    (Some(high), Some(low)) => high * 16 + low,
                    _ => return invalid(&rest),
                }
            }
        }
        'a' => 0x07,
        'f' => 0x0c,
        'n' => 0x0a,
        'r' => 0x0d,
        't' => 0x09,
        'v' => 0x0b,
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => u32::from(c),
        _ => return invalid(&rest),
    };
    Ok((code, rest.as_str()))
}
