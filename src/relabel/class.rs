//! Classes of characters and escapes: translates them from RE2's syntax to that of `regex`.

use std::str::Chars;

use super::syntax::{Flags, SyntaxError, error};

/// A class without characters.
pub(super) const NOTHING: &str = r"[^\x{0}-\x{10FFFF}]";
/// A class of all characters.
const ANYTHING: &str = r"[\x{0}-\x{10FFFF}]";

/// Perl's classes, which are all ASCII. // regexp/syntax/perl_groups.go
const PERL: [(char, &str); 3] = [
    ('d', "0-9"),
    ('s', r"\t\n\x{C}\r\x{20}"),
    ('w', "0-9A-Za-z_"),
];
/// Names of the POSIX classes.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// Names of scripts and categories that have four letters. Any other four letters are a code of ISO
/// 15924, which `regex` knows and Go does not.
const FOUR_LETTERS: [&str; 10] = [
    "ahom", "cham", "kawi", "lisu", "mark", "miao", "modi", "newa", "thai", "toto",
];

/// Appends a character that means itself, inside or outside of a class.
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

/// Translates a class in brackets. Returns the text after it. // regexp/syntax/parse.go parseClass
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
    // A closing bracket right at the start is a member.
    let mut first = true;
    // Whether nothing has been written that a text could hold.
    let mut empty = true;
    while first || !rest.starts_with(']') {
        first = false;
        // `[:alpha:]` means the same in `regex`.
        if let Some(after) = posix(rest, out)? {
            rest = after;
            empty = false;
            continue;
        }
        // `\d`, `\pN`.
        if let Some(after) = escaped_plain(rest, out)? {
            rest = after;
            empty = false;
            continue;
        }
        // A character, or a range of them. A dash just before the closing bracket is a member.
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
        // There were only halves of surrogate pairs, and `regex` refuses an empty class.
        out.push_str(NOTHING);
    }
    out.push_str(if flags.fold { "])" } else { "]" });
    Ok(&rest[1..])
}

/// Appends a POSIX class that the text starts with. Returns the text after it.
fn posix<'a>(text: &'a str, out: &mut String) -> Result<Option<&'a str>, SyntaxError> {
    let inside = text.strip_prefix("[:");
    let Some(end) = inside.and_then(|inside| inside.find(":]")) else {
        return Ok(None);
    };
    let (name, after) = text.split_at(end + 4);
    let class = &text[2..end + 2];
    if !POSIX.contains(&class.strip_prefix('^').unwrap_or(class)) {
        return error("invalid character class range", name);
    }
    out.push_str(name);
    Ok(Some(after))
}

/// Appends a range without the surrogates, which no text holds. Returns whether anything is left.
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

/// The code of a character in a class, and the text after it.
fn member<'a>(text: &'a str, class: &str) -> Result<(u32, &'a str), SyntaxError> {
    match text.chars().next() {
        None => error("missing closing ]", class),
        Some('\\') => escaped_char(text),
        Some(c) => Ok((u32::from(c), &text[c.len_utf8()..])),
    }
}

/// Translates `\d`, `\pN` and their like outside of a class. Returns the text after it, or `None`
/// for the escape of a character.
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

/// Translates `\d`, `\pN` and their like, whatever the flags are.
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

/// Translates `\pN`, `\p{Greek}` or `\p{^Greek}`. Returns the text after it. //
/// regexp/syntax/parse.go parseUnicodeClass
fn unicode<'a>(text: &'a str, negated: bool, out: &mut String) -> Result<&'a str, SyntaxError> {
    let after = &text[2..];
    let Some(c) = after.chars().next() else {
        // Go takes a missing character for the replacement character, which is no name either.
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
    // Go ignores case, underscores, dashes and spaces in names.
    let canonical: String = name
        .chars()
        .filter(|c| !matches!(c, '_' | '-' | ' '))
        .map(|c| c.to_ascii_lowercase())
        .collect();
    // `regex` takes more than Go: codes of scripts, `sc=Greek`, and names that start with `is`.
    let code_of_a_script = canonical.len() == 4 && !FOUR_LETTERS.contains(&canonical.as_str());
    let plain =
        canonical.bytes().all(|byte| byte.is_ascii_alphabetic()) && !canonical.starts_with("is");
    if canonical.is_empty() || code_of_a_script || !plain {
        return error("invalid character class range", whole);
    }
    let translated = match (canonical.as_str(), negated) {
        ("cs" | "surrogate", false) => Some(NOTHING.to_owned()),
        ("cs" | "surrogate", true) => Some(ANYTHING.to_owned()),
        // Categories come before scripts. The property is named, because `regex` knows some that Go
        // does not. Whether the name exists is found out by compiling it.
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

/// The code of an escaped character, and the text after it. // regexp/syntax/parse.go parseEscape
pub(super) fn escaped_char(text: &str) -> Result<(u32, &str), SyntaxError> {
    let mut rest = text[1..].chars();
    let Some(c) = rest.next() else {
        return error("trailing backslash at end of expression", "");
    };
    let code = match c {
        '0'..='7' => octal(c, &mut rest),
        'x' => hexadecimal(&mut rest),
        'a' => Some(0x07),
        'f' => Some(0x0c),
        'n' => Some(0x0a),
        'r' => Some(0x0d),
        't' => Some(0x09),
        'v' => Some(0x0b),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(u32::from(c)),
        _ => None,
    };
    let rest = rest.as_str();
    match code {
        Some(code) => Ok((code, rest)),
        // The message shows what was read until the escape turned out to be invalid.
        None => error("invalid escape sequence", &text[..text.len() - rest.len()]),
    }
}

/// Up to three octal digits, starting with `first`. A single digit from 1 to 7 would be a
/// back-reference, which RE2 does not have.
fn octal(first: char, rest: &mut Chars<'_>) -> Option<u32> {
    let digit = |rest: &Chars<'_>| rest.clone().next().and_then(|c| c.to_digit(8));
    if first != '0' && digit(rest).is_none() {
        return None;
    }
    let mut code = first.to_digit(8)?;
    for _ in 0..2 {
        if let Some(digit) = digit(rest) {
            code = code * 8 + digit;
            rest.next();
        }
    }
    Some(code)
}

/// Two hexadecimal digits, or any number of them in braces.
fn hexadecimal(rest: &mut Chars<'_>) -> Option<u32> {
    let first = rest.next()?;
    if first != '{' {
        // Go reads both characters before it looks at them.
        let second = rest.next();
        return Some(first.to_digit(16)? * 16 + second?.to_digit(16)?);
    }
    let mut code = 0_u32;
    let mut digits = 0;
    loop {
        match rest.next()? {
            '}' if digits > 0 => return Some(code),
            c => {
                code = code * 16 + c.to_digit(16)?;
                if code > 0x10_FFFF {
                    return None;
                }
            }
        }
        digits += 1;
    }
}
