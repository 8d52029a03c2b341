//! Templates as Go's `regexp.Expand` reads them: `$1`, `${1}`, `$name`, `${name}`, `$$`.

use std::sync::OnceLock;

use regex::bytes::Regex;

use super::pattern::Groups;

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
enum TemplatePart {
    Text(String),
    /// A group by number.
    Number(usize),
    /// A group by name.
    Name(String),
}

/// A template and its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    text: String,
    parts: Vec<TemplatePart>,
}

impl Template {
    pub(super) fn new(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            literal.push_str(before);
            // `$$` is a dollar.
            if let Some(after) = after.strip_prefix('$') {
                literal.push('$');
                rest = after;
                continue;
            }
            let Some((part, after)) = reference(after) else {
                // The dollar of a malformed reference is text.
                literal.push('$');
                rest = after;
                continue;
            };
            if !literal.is_empty() {
                parts.push(TemplatePart::Text(std::mem::take(&mut literal)));
            }
            parts.push(part);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(TemplatePart::Text(literal));
        }
        Self {
            text: text.to_owned(),
            parts,
        }
    }

    /// The template as written.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The number of the group when the template is nothing but one group.
    pub(super) fn only_group(&self) -> Option<usize> {
        match self.parts[..] {
            [TemplatePart::Number(number)] => Some(number),
            _ => None,
        }
    }

    /// Appends the template with its groups filled in. A group that did not match is empty. It
    /// stops once `out` is longer than `most` bytes.
    pub(super) fn expand(&self, groups: &Groups<'_, '_>, most: usize, out: &mut String) {
        for part in &self.parts {
            if out.len() > most {
                return;
            }
            out.push_str(match part {
                TemplatePart::Text(text) => text,
                TemplatePart::Number(number) => groups.get(*number).unwrap_or_default(),
                TemplatePart::Name(name) => groups.named(name).unwrap_or_default(),
            });
        }
    }
}

/// The group after a dollar, and the text after it. Returns `None` when it is malformed. // Go
/// regexp extract
fn reference(text: &str) -> Option<(TemplatePart, &str)> {
    let (inside, braces) = text
        .strip_prefix('{')
        .map_or((text, false), |inside| (inside, true));
    let end = inside.find(|c: char| !is_name(c)).unwrap_or(inside.len());
    let (name, rest) = inside.split_at(end);
    if name.is_empty() {
        return None;
    }
    let rest = if braces {
        rest.strip_prefix('}')?
    } else {
        rest
    };
    // Digits are a name when they have a leading zero or more than nine places.
    let number = name.bytes().all(|byte| byte.is_ascii_digit())
        && (name.len() == 1 || !name.starts_with('0'))
        && name.len() <= 9;
    let part = match name.parse() {
        Ok(place) if number => TemplatePart::Number(place),
        _ => TemplatePart::Name(name.to_owned()),
    };
    Some((part, rest))
}

/// Whether a character may be in a name: a letter, a digit or an underscore. // Go
/// unicode.IsLetter, unicode.IsDigit
fn is_name(c: char) -> bool {
    static NAME: OnceLock<Option<Regex>> = OnceLock::new();
    if c.is_ascii() {
        return c == '_' || c.is_ascii_alphanumeric();
    }
    let name = NAME.get_or_init(|| Regex::new(r"\A[\pL\p{Nd}]").ok());
    name.as_ref()
        .is_some_and(|name| name.is_match(c.encode_utf8(&mut [0; 4]).as_bytes()))
}
