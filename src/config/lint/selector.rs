//! Slips in a selector of `match[]`.

use super::findings::Findings;
use crate::config::problem::shown;
use crate::selector::Selector;

/// Looks for selectors that the home refuses, and for matchers such as `{job=".+"}`, an equality
/// where a regular expression was meant.
pub(super) fn lint_selector(selector: &str, path: &str, findings: &mut Findings<'_>) {
    if let Err(error) = Selector::parse(selector) {
        let fix = if selector.contains("%7B") || selector.contains("%3D") {
            "write it as it is typed on the home's page /graph: it is escaped when it is sent"
        } else {
            "the home's page /graph shows what is wrong with it"
        };
        findings.add(
            path,
            format!(
                "the home refuses the selector {} with 400: {error}",
                shown(selector)
            ),
            fix,
        );
        return;
    }
    for SelectorMatcher {
        name,
        operator,
        value,
    } in matchers(selector)
    {
        let looks_like_regex = [".+", ".*", "|"].iter().any(|part| value.contains(part));
        if !looks_like_regex {
            continue;
        }
        let value = shown(value);
        let (message, regex_operator) = match operator {
            "=" => ("an equality, which matches only the text", "=~"),
            "!=" => ("an inequality, which excludes only the text", "!~"),
            _ => continue,
        };
        findings.add(
            path,
            format!("found {name}{operator}{value}: {message} {value}"),
            format!("for a regular expression write {name}{regex_operator}{value}"),
        );
    }
}

/// One part of a selector.
struct SelectorMatcher<'a> {
    name: &'a str,
    operator: &'a str,
    value: &'a str,
}

/// The `name operator "value"` parts of a selector. Anything else in it is skipped.
fn matchers(selector: &str) -> Vec<SelectorMatcher<'_>> {
    let mut found = Vec::new();
    let mut rest = selector;
    // Values are quoted, so each quote starts one. The operator is just before it, and the name
    // before that, up to the brace or comma.
    while let Some(start) = rest.find(['"', '\'', '`']) {
        let head = &rest[..start];
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
        found.push(SelectorMatcher {
            name: name.trim(),
            operator,
            value: &body[..end],
        });
        rest = &body[end + 1..];
    }
    found
}

/// The index of a string's closing quote. Back-quoted strings know no escapes.
fn closing(body: &str, quote: &str) -> Option<usize> {
    let mut escaped = false;
    body.bytes().position(|byte| {
        let ends = !escaped && [byte] == quote.as_bytes();
        escaped = byte == b'\\' && !escaped && quote != "`";
        ends
    })
}
