//! The media type of a `Content-Type`, read as strictly as Go's `mime.ParseMediaType` does, by
//! which Prometheus refuses a scrape.

use std::collections::BTreeMap;

/// The media type in lower case; none when the header is empty or malformed, parameters included.
pub(super) fn media_type(header: &str) -> Option<String> {
    let (media_type, mut rest) = header.split_at(header.find(';').unwrap_or(header.len()));
    let media_type = media_type.trim().to_lowercase();
    let (kind, after) = token(&media_type);
    let is_valid = !kind.is_empty()
        && (after.is_empty()
            || after
                .strip_prefix('/')
                .map(token)
                .is_some_and(|(subtype, rest)| !subtype.is_empty() && rest.is_empty()));
    if !is_valid {
        return None;
    }
    let mut parameters = BTreeMap::new();
    while !rest.trim_start().is_empty() {
        let Some((name, value, after)) = parameter(rest) else {
            // A semicolon may trail.
            return (rest.trim() == ";").then_some(media_type);
        };
        // The same parameter twice is fine with the same value.
        if parameters
            .insert(name, value.clone())
            .is_some_and(|before| before != value)
        {
            return None;
        }
        rest = after;
    }
    Some(media_type)
}

/// `mime/grammar.go` `isTokenChar`: the token, and what follows.
fn token(text: &str) -> (&str, &str) {
    let special = |c: char| !c.is_ascii_graphic() || "()<>@,;:\\\"/[]?=".contains(c);
    text.split_at(text.find(special).unwrap_or(text.len()))
}

/// `mime/mediatype.go` `consumeMediaParam`: name, value, and what follows.
fn parameter(text: &str) -> Option<(String, String, &str)> {
    let (name, rest) = token(text.trim_start().strip_prefix(';')?.trim_start());
    let value = rest.trim_start().strip_prefix('=')?.trim_start();
    if name.is_empty() {
        return None;
    }
    let (value, rest) = match value.strip_prefix('"') {
        Some(quoted) => unquoted(quoted)?,
        None => match token(value) {
            ("", _) => return None,
            (value, rest) => (value.to_owned(), rest),
        },
    };
    Some((name.to_lowercase(), value, rest))
}

/// From after the opening quote: the text, and what follows the closing one.
fn unquoted(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut chars = quoted.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((text, &quoted[at + 1..])),
            '\r' | '\n' => return None,
            '\\' => text.push(
                chars
                    .next_if(|(_, next)| "()<>@,;:\\\"/[]?=".contains(*next))
                    .map_or('\\', |(_, next)| next),
            ),
            _ => text.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_reads_them() {
        for header in [
            "text/plain",
            " Text/Plain ",
            "text/plain;",
            "text/plain; ",
            "text/plain ; a = b;c=\"d;\\\"e\"",
            "text/plain;a=b;A=b",
            "text/plain;a=\"\"",
        ] {
            assert_eq!(
                media_type(header).as_deref(),
                Some("text/plain"),
                "{header}"
            );
        }
        for header in [
            "",
            ";",
            "/plain",
            "text/",
            "text/ plain",
            "text/plain, text/html",
            "text/plain;;",
            "text/plain;a",
            "text/plain;a=",
            "text/plain;a=b;a=c",
            "text/plain;a=\"b",
            "text/plain a=b",
        ] {
            assert_eq!(media_type(header), None, "{header}");
        }
        assert_eq!(media_type("text").as_deref(), Some("text"));
    }
}
