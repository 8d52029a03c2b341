//! Slips in a selector of `match[]`.

use super::findings::Findings;
use crate::config::problem::shown;

/// `{job=".+"}`: an equality where a regular expression was meant.
pub(super) fn lint_selector(selector: &str, path: &str, findings: &mut Findings<'_>) {
    for matcher in matchers(selector) {
        let regex = [".+", ".*", "|"]
            .iter()
            .any(|part| matcher.value.contains(part));
        if regex && matcher.operator == "=" {
            let message = format!(
                "found {}={}: an equality, only for the very text {}",
                matcher.name,
                shown(matcher.value),
                shown(matcher.value)
            );
            findings.add(
                path,
                message,
                format!(
                    "for a regular expression write {}=~{}",
                    matcher.name,
                    shown(matcher.value)
                ),
            );
        } else if regex && matcher.operator == "!=" {
            let message = format!(
                "found {}!={}: excludes only the very text {}",
                matcher.name,
                shown(matcher.value),
                shown(matcher.value)
            );
            findings.add(
                path,
                message,
                format!(
                    "for a regular expression write {}!~{}",
                    matcher.name,
                    shown(matcher.value)
                ),
            );
        }
    }
}

struct Matcher<'a> {
    name: &'a str,
    operator: &'a str,
    value: &'a str,
}

/// The `name operator "value"` parts of a selector; what is no matcher is passed over.
fn matchers(selector: &str) -> Vec<Matcher<'_>> {
    let mut found = Vec::new();
    let mut rest = selector;
    let mut before = selector;
    while let Some(start) = rest.find(['"', '\'', '`']) {
        let head = &before[..before.len() - rest.len() + start];
        let quote = &rest[start..=start];
        let body = &rest[start + 1..];
        let Some(end) = closing(body, quote) else {
            break;
        };
        let head = head.trim_end();
        let name = head.trim_end_matches(['=', '!', '~']);
        let operator = &head[name.len()..];
        let name = name.trim_end();
        let name = &name[name.rfind(['{', ',']).map_or(0, |at| at + 1)..];
        found.push(Matcher {
            name: name.trim(),
            operator,
            value: &body[..end],
        });
        rest = &body[end + 1..];
        before = rest;
    }
    found
}

/// Where a string ends; back-quoted ones know no escapes.
fn closing(body: &str, quote: &str) -> Option<usize> {
    let mut escaped = false;
    body.bytes().position(|byte| {
        let ends = !escaped && [byte] == quote.as_bytes();
        escaped = byte == b'\\' && !escaped && quote != "`";
        ends
    })
}
