//! Values from the environment inside of strings.

use super::problem::shown;

/// Looks a variable up; `None` when it is not set.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of the process; a value that is not UTF-8 counts as not set.
#[must_use]
pub fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Why a string cannot be expanded, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ExpandError {
    pub(super) message: String,
    pub(super) fix: String,
}

/// What a `${…}` may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowed {
    /// The environment.
    Plain,
    /// The environment, and secrets that AWS keeps.
    Secret,
}

/// `${NAME}` and `${NAME:-default}` (the default also when the variable is empty, as in a shell); `$${` is a literal `${`.
pub(super) fn expand(text: &str, allowed: Allowed, env: Env<'_>) -> Result<String, ExpandError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        // `$${`: the dollar before is an escape.
        if let Some(before) = rest[..at].strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let inside = &rest[at + 2..];
        let Some(end) = inside.find('}') else {
            return Err(literal("found ${ without a closing }"));
        };
        out.push_str(&reference(&inside[..end], allowed, env)?);
        rest = &inside[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn reference(inside: &str, allowed: Allowed, env: Env<'_>) -> Result<String, ExpandError> {
    for (scheme, store) in [("ssm:", "SSM parameters"), ("secretsmanager:", "Secrets Manager")] {
        if inside.starts_with(scheme) {
            return Err(match allowed {
                Allowed::Secret => ExpandError {
                    message: format!("found ${{{scheme}…}}: secrets from {store} are not yet supported"),
                    fix: "take the value from the environment: ${NAME}".into(),
                },
                Allowed::Plain => ExpandError {
                    message: format!("found ${{{scheme}…}} in a string that is no secret"),
                    fix: "take the value from the environment: ${NAME}".into(),
                },
            });
        }
    }
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !valid {
        // The text may belong to a secret: it is not shown.
        return Err(literal("found ${…} with something else than a variable's name in it"));
    }
    match (env(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(ExpandError {
            message: format!("the environment variable {} is not set", shown(name)),
            fix: format!("set it, give a default as ${{{name}:-default}}, or write $${{ for a literal ${{"),
        }),
    }
}

fn literal(message: &str) -> ExpandError {
    ExpandError { message: message.into(), fix: "write ${NAME} or ${NAME:-default}, or $${ for a literal ${".into() }
}

/// `$NAME` and `${NAME}` of an external label, `$$` for a dollar. A variable that is unset or empty gives nothing:
/// its name is in the second part. // config/config.go Load, Go os.Expand
pub(super) fn expand_external_label(text: &str, env: Env<'_>) -> (String, Vec<String>) {
    let mut out = String::with_capacity(text.len());
    let mut empty = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if after.is_empty() {
            out.push('$');
            rest = after;
            continue;
        }
        let (name, width) = shell_name(after);
        match name {
            // Bad syntax: os.Expand eats it.
            "" if width > 0 => {}
            "" => out.push('$'),
            "$" => out.push('$'),
            name => match env(name).filter(|value| !value.is_empty()) {
                Some(value) => out.push_str(&value),
                None => empty.push(name.to_owned()),
            },
        }
        rest = &after[width..];
    }
    out.push_str(rest);
    (out, empty)
}

/// The name after a dollar, and the bytes that it takes. // Go os getShellName
fn shell_name(text: &str) -> (&str, usize) {
    let special = |c: char| "*#$@!?-0123456789".contains(c);
    if let Some(inside) = text.strip_prefix('{') {
        return match inside.find('}') {
            Some(0) => ("", 2),
            Some(end) => (&inside[..end], end + 2),
            None => ("", 1),
        };
    }
    if text.starts_with(special) {
        return (&text[..1], 1);
    }
    let width = text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    (&text[..width], width)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOME_IP" => Some("192.0.2.10".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn plain_strings() {
        for (text, expected) in [
            ("${HOME_IP}:9090", "192.0.2.10:9090"),
            ("a${EMPTY}b", "ab"),
            ("${EMPTY:-x}", "x"),
            ("${NOT_SET:-y}", "y"),
            ("${NOT_SET:-}", ""),
            ("${HOME_IP:-z}", "192.0.2.10"),
            ("$HOME_IP $ $$ a$", "$HOME_IP $ $$ a$"),
            ("$${HOME_IP}", "${HOME_IP}"),
            ("$$${HOME_IP}", "$${HOME_IP}"),
            ("{job=~\"a$\"}", "{job=~\"a$\"}"),
        ] {
            assert_eq!(expand(text, Allowed::Plain, &env).as_deref(), Ok(expected), "{text}");
        }
        for (text, part) in [
            ("${NOT_SET}", "\"NOT_SET\" is not set"),
            ("${", "without a closing"),
            ("${}", "something else"),
            ("${1}", "something else"),
            ("${a b}", "something else"),
            ("${ssm:/x}", "no secret"),
        ] {
            assert!(expand(text, Allowed::Plain, &env).unwrap_err().message.contains(part), "{text}");
        }
        for text in ["${ssm:/x}", "${secretsmanager:y}"] {
            assert!(expand(text, Allowed::Secret, &env).unwrap_err().message.contains("not yet supported"), "{text}");
        }
    }

    #[test]
    fn external_labels() {
        for (text, expected, empty) in [
            ("$HOME_IP", "192.0.2.10", &[][..]),
            ("a-${HOME_IP}-b", "a-192.0.2.10-b", &[]),
            ("$$HOME_IP", "$HOME_IP", &[]),
            ("$NOT_SET.x", ".x", &["NOT_SET"]),
            ("${EMPTY}", "", &["EMPTY"]),
            ("${NOT_SET:-d}", "", &["NOT_SET:-d"]),
            ("${}a", "a", &[]),
            ("${a", "a", &[]),
            ("5$", "5$", &[]),
            ("$/x", "$/x", &[]),
            ("$é", "$é", &[]),
            ("$1x", "x", &["1"]),
        ] {
            let (value, names) = expand_external_label(text, &env);
            assert_eq!((value.as_str(), names), (expected, empty.iter().map(ToString::to_string).collect()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_escaped_text_is_itself(text in "[a-z${}:\\-é]{0,20}") {
            // A text that ends in `$` before an escape would need more than this.
            prop_assume!(!text.contains("$${"));
            prop_assert_eq!(expand(&text.replace("${", "$${"), Allowed::Plain, &env), Ok(text));
        }

        #[test]
        fn nothing_panics(text in "[\\PC${}]*") {
            let _ = expand(&text, Allowed::Secret, &env);
            expand_external_label(&text, &env);
        }
    }
}
