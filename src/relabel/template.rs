//! Templates as Go's `regexp.Expand` reads them: `$1`, `${1}`, `$name`, `${name}`, `$$`.

use std::sync::OnceLock;

use regex::bytes::Regex;

use super::pattern::Groups;

#[derive(Debug, Clone, PartialEq, Eq)]
enum TemplatePart {
    Text(String),
    Number(usize),
    Name(String),
}

/// A template, taken apart.
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
            if let Some(after) = after.strip_prefix('$') {
                literal.push('$');
                rest = after;
                continue;
            }
            let Some((part, after)) = reference(after) else {
                // Malformed: the dollar is text.
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

    /// As written.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The one group that it is nothing else than.
    pub(super) fn only_group(&self) -> Option<usize> {
        match self.parts[..] {
            [TemplatePart::Number(number)] => Some(number),
            _ => None,
        }
    }

    /// Appends the template, filled in. What did not match is empty. It stops when there is too
    /// much.
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

/// Go's `regexp` `extract`: what is behind a dollar, and the rest.
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
    // Neither leading zeros nor anything above a hundred million is a number.
    let number = name.bytes().all(|byte| byte.is_ascii_digit())
        && (name.len() == 1 || !name.starts_with('0'))
        && name.len() <= 9;
    let part = match name.parse() {
        Ok(place) if number => TemplatePart::Number(place),
        _ => TemplatePart::Name(name.to_owned()),
    };
    Some((part, rest))
}

/// Go's `unicode.IsLetter`, `unicode.IsDigit`, or an underscore.
fn is_name(c: char) -> bool {
    static NAME: OnceLock<Option<Regex>> = OnceLock::new();
    if c.is_ascii() {
        return c == '_' || c.is_ascii_alphanumeric();
    }
    let name = NAME.get_or_init(|| Regex::new(r"\A[\pL\p{Nd}]").ok());
    name.as_ref()
        .is_some_and(|name| name.is_match(c.encode_utf8(&mut [0; 4]).as_bytes()))
}
