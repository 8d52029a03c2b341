//! Expands environment variables and names of secrets in strings.

use super::env::{Env, stand_in};
use super::problem::shown;
use super::secret::{Secret, SecretPart, StoredSecret};

/// Why a string cannot be expanded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ExpandError {
    pub(super) message: String,
    /// Advice on what to write instead.
    pub(super) fix: String,
}

/// Expands `${NAME}` and `${NAME:-default}`. The default also replaces an empty variable, as in a
/// shell. `$${` is a literal `${`.
pub(super) fn expand(text: &str, env: Env<'_>) -> Result<String, ExpandError> {
    let mut out = String::with_capacity(text.len());
    for piece in pieces(text)? {
        match piece {
            TextPiece::Literal(text) => out.push_str(text),
            TextPiece::Reference(inside) if StoredSecret::parse(inside).is_some() => {
                let store = inside.split(':').next().unwrap_or_default();
                return Err(ExpandError {
                    message: format!("found ${{{store}:…}} in a string that is no secret"),
                    fix: "take the value from the environment: ${NAME}".into(),
                });
            }
            TextPiece::Reference(inside) => out.push_str(&variable(inside, env)?),
        }
    }
    Ok(out)
}

/// Expands variables as [`expand`] does, and splits the string at `${ssm:…}` and
/// `${secretsmanager:…}`, which are looked up only when the secret is needed.
pub(super) fn expand_secret(text: &str, env: Env<'_>) -> Result<Vec<SecretPart>, ExpandError> {
    let mut parts = Vec::new();
    // The text since the last stored secret.
    let mut out = String::new();
    for piece in pieces(text)? {
        match piece {
            TextPiece::Literal(text) => out.push_str(text),
            TextPiece::Reference(inside) => match StoredSecret::parse(inside) {
                Some(stored) if stored.is_valid() => {
                    if !out.is_empty() {
                        parts.push(SecretPart::Text(Secret::new(std::mem::take(&mut out))));
                    }
                    parts.push(SecretPart::Stored(stored));
                }
                Some(_) => {
                    return Err(ExpandError {
                        message: "found the name of a secret that AWS cannot have".into(),
                        fix: "write ${ssm:name}, ${secretsmanager:id} or ${secretsmanager:id:key}"
                            .into(),
                    });
                }
                None => out.push_str(&variable(inside, env)?),
            },
        }
    }
    if !out.is_empty() || parts.is_empty() {
        parts.push(SecretPart::Text(Secret::new(out)));
    }
    Ok(parts)
}

/// A part of a string before its expansion.
enum TextPiece<'t> {
    /// Text that means itself.
    Literal(&'t str),
    /// The text between `${` and `}`.
    Reference(&'t str),
}

/// Splits a string into its pieces.
fn pieces(text: &str) -> Result<Vec<TextPiece<'_>>, ExpandError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        // `$${` is an escape: the first dollar goes, and `${` is text.
        if let Some(before) = rest[..at].strip_suffix('$') {
            pieces.extend([TextPiece::Literal(before), TextPiece::Literal("${")]);
            rest = &rest[at + 2..];
            continue;
        }
        pieces.push(TextPiece::Literal(&rest[..at]));
        let inside = &rest[at + 2..];
        let Some(end) = inside.find('}') else {
            return Err(literal("found ${ without a closing }"));
        };
        pieces.push(TextPiece::Reference(&inside[..end]));
        rest = &inside[end + 1..];
    }
    pieces.push(TextPiece::Literal(rest));
    Ok(pieces)
}

/// The value of `NAME` or `NAME:-default`.
fn variable(inside: &str, env: Env<'_>) -> Result<String, ExpandError> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !valid {
        // The message does not show the text, which may belong to a secret.
        return Err(literal(
            "found ${…} with something other than a variable's name in it",
        ));
    }
    match (env(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(ExpandError {
            message: format!("the environment variable {} is not set", shown(name)),
            fix: match stand_in(name) {
                Some(_) => {
                    "the stack sets it for its function; here `forwardctl check --stack` does \
                             without, and eval \"$(make -s env)\" sets it"
                        .into()
                }
                None => format!(
                    "set it, give a default as ${{{name}:-default}}, or write $${{ for a literal \
                     ${{"
                ),
            },
        }),
    }
}

/// The error for text that is probably meant literally.
fn literal(message: &str) -> ExpandError {
    ExpandError {
        message: message.into(),
        fix: "write ${NAME} or ${NAME:-default}, or $${ for a literal ${".into(),
    }
}

/// An external label after expansion.
pub(super) struct ExternalLabel {
    pub(super) text: String,
    /// Names of variables that are empty or not set. They expand to nothing.
    pub(super) empty: Vec<String>,
}

/// Expands `$NAME` and `${NAME}` in an external label. `$$` is a dollar. // config/config.go Load,
/// Go os.Expand
pub(super) fn expand_external_label(text: &str, env: Env<'_>) -> ExternalLabel {
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
            // Malformed braces vanish with what is in them.
            "" if width > 0 => {}
            // A dollar that no name follows is text, and so is `$$`.
            "" | "$" => out.push('$'),
            name => match env(name).filter(|value| !value.is_empty()) {
                Some(value) => out.push_str(&value),
                None => empty.push(name.to_owned()),
            },
        }
        rest = &after[width..];
    }
    out.push_str(rest);
    ExternalLabel { text: out, empty }
}

/// The name after a dollar, and its width in bytes, with braces. // Go os getShellName
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
    let width = text
        .bytes()
        .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
        .count();
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
            assert_eq!(expand(text, &env).as_deref(), Ok(expected), "{text}");
        }
        for (text, part) in [
            ("${NOT_SET}", "\"NOT_SET\" is not set"),
            ("${", "without a closing"),
            ("${}", "something other"),
            ("${1}", "something other"),
            ("${a b}", "something other"),
            ("${ssm:/x}", "no secret"),
        ] {
            assert!(
                expand(text, &env).unwrap_err().message.contains(part),
                "{text}"
            );
        }
    }

    #[test]
    fn secrets_may_name_what_aws_keeps() {
        let text = |text: &str| SecretPart::Text(Secret::new(text));
        let ssm = |name: &str| SecretPart::Stored(StoredSecret::Ssm(name.into()));
        for (from, expected) in [
            ("", vec![text("")]),
            ("a${HOME_IP}b", vec![text("a192.0.2.10b")]),
            ("${ssm:/x}", vec![ssm("/x")]),
            (
                "a${ssm:/x}${ssm:/y}$${ssm:/z}",
                vec![text("a"), ssm("/x"), ssm("/y"), text("${ssm:/z}")],
            ),
        ] {
            assert_eq!(expand_secret(from, &env), Ok(expected), "{from}");
        }
        for (from, part) in [
            ("${ssm:}", "AWS cannot have"),
            ("${secretsmanager:a:}", "AWS cannot have"),
            ("${NOT_SET}", "is not set"),
            ("${", "closing"),
        ] {
            assert!(
                expand_secret(from, &env)
                    .unwrap_err()
                    .message
                    .contains(part),
                "{from}"
            );
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
            let label = expand_external_label(text, &env);
            assert_eq!(label.text, expected, "{text}");
            assert_eq!(label.empty, empty, "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_escaped_text_is_itself(text in "[a-z${}:\\-é]{0,20}") {
            // A text that ends in `$` before an escape would need more than this.
            prop_assume!(!text.contains("$${"));
            prop_assert_eq!(expand(&text.replace("${", "$${"), &env), Ok(text));
        }

        #[test]
        fn nothing_panics(text in "[\\PC${}]*") {
            let _ = (expand(&text, &env), expand_secret(&text, &env));
            expand_external_label(&text, &env);
        }
    }
}
