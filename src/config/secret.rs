//! Secrets and their sources.

use std::fmt;

use super::source::Source;

/// A string that is never printed: its `Debug` shows `<secret>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The secret itself. Call this only where the secret is used.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// The source of a secret. Messages may show it, because it holds places and hides values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// The key's own value: pieces of text and secrets in AWS, one after the other.
    Inline(Vec<SecretPart>),
    /// A file or an object in S3, from a `*_file` key. White space around its content is ignored,
    /// as in Prometheus.
    File(Source),
}

/// A piece of a secret string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretPart {
    /// Text from the configuration or the environment.
    Text(Secret),
    /// A secret in AWS: `${ssm:…}` or `${secretsmanager:…}`.
    Stored(StoredSecret),
}

/// A secret that is stored in AWS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StoredSecret {
    /// A parameter by name or ARN, decrypted. A name may end in `:version` or `:label`.
    Ssm(String),
    /// A secret by name or ARN.
    SecretsManager {
        /// Name or ARN of the secret.
        id: String,
        /// Member of the secret's JSON object, from `${secretsmanager:id:key}`. `None` is the whole
        /// secret.
        key: Option<String>,
    },
}

impl StoredSecret {
    /// Reads the text between `${` and `}`. Returns `None` when it names no store.
    pub(super) fn parse(inside: &str) -> Option<Self> {
        if let Some(name) = inside.strip_prefix("ssm:") {
            return Some(Self::Ssm(name.to_owned()));
        }
        let rest = inside.strip_prefix("secretsmanager:")?;
        // An ARN has seven parts, and the name is the last one. A name has no colon.
        let colons = if rest.starts_with("arn:") { 7 } else { 1 };
        let (id, key) = match rest.match_indices(':').nth(colons - 1) {
            Some((at, _)) => (&rest[..at], Some(rest[at + 1..].to_owned())),
            None => (rest, None),
        };
        Some(Self::SecretsManager {
            id: id.to_owned(),
            key,
        })
    }

    /// Whether AWS allows such a name.
    pub(super) fn is_valid(&self) -> bool {
        let (name, key) = match self {
            Self::Ssm(name) => (name, None),
            Self::SecretsManager { id, key } => (id, key.as_ref()),
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "/_+=.@:-".contains(c);
        !name.is_empty()
            && name.len() <= 2048
            && name.chars().all(allowed)
            && key.is_none_or(|key| !key.is_empty())
    }
}

impl fmt::Display for StoredSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ssm(name) => write!(f, "ssm:{name}"),
            Self::SecretsManager { id, key: None } => write!(f, "secretsmanager:{id}"),
            Self::SecretsManager { id, key: Some(key) } => write!(f, "secretsmanager:{id}:{key}"),
        }
    }
}

impl SecretSource {
    /// A secret in the configuration itself.
    #[must_use]
    pub fn text(value: impl Into<String>) -> Self {
        Self::Inline(vec![SecretPart::Text(Secret::new(value))])
    }

    /// The secret, if nothing has to be read or fetched for it.
    #[must_use]
    pub fn constant(&self) -> Option<Secret> {
        let Self::Inline(parts) = self else {
            return None;
        };
        let mut whole = String::new();
        for part in parts {
            match part {
                SecretPart::Text(text) => whole.push_str(text.expose()),
                SecretPart::Stored(_) => return None,
            }
        }
        Some(Secret::new(whole))
    }

    /// Whether it is the empty string, which Prometheus counts as missing.
    pub(super) fn is_empty(&self) -> bool {
        self.constant()
            .is_some_and(|secret| secret.expose().is_empty())
    }

    /// The places that must be read, as people write them.
    #[must_use]
    pub fn places(&self) -> Vec<String> {
        match self {
            Self::File(source) => vec![source.to_string()],
            Self::Inline(parts) => {
                let stored = parts.iter().filter_map(|part| {
                    if let SecretPart::Stored(stored) = part {
                        Some(stored.to_string())
                    } else {
                        None
                    }
                });
                stored.collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_named_with_or_without_a_member() {
        let manager = |id: &str, key: Option<&str>| StoredSecret::SecretsManager {
            id: id.into(),
            key: key.map(Into::into),
        };
        for (text, expected) in [
            (
                "ssm:/home/password",
                StoredSecret::Ssm("/home/password".into()),
            ),
            (
                "ssm:/home/password:3",
                StoredSecret::Ssm("/home/password:3".into()),
            ),
            (
                "ssm:arn:aws:ssm:eu-west-1:1:parameter/a",
                StoredSecret::Ssm("arn:aws:ssm:eu-west-1:1:parameter/a".into()),
            ),
            ("secretsmanager:home", manager("home", None)),
            (
                "secretsmanager:home:user:name",
                manager("home", Some("user:name")),
            ),
            (
                "secretsmanager:arn:aws:secretsmanager:eu-west-1:1:secret:home-a1B2c3",
                manager(
                    "arn:aws:secretsmanager:eu-west-1:1:secret:home-a1B2c3",
                    None,
                ),
            ),
            (
                "secretsmanager:arn:aws:secretsmanager:eu-west-1:1:secret:home-a1B2c3:password",
                manager(
                    "arn:aws:secretsmanager:eu-west-1:1:secret:home-a1B2c3",
                    Some("password"),
                ),
            ),
        ] {
            let stored = StoredSecret::parse(text).unwrap();
            assert_eq!(stored, expected);
            assert!(stored.is_valid(), "{text}");
            assert_eq!(stored.to_string(), text);
        }
        assert_eq!(StoredSecret::parse("HOME"), None);
        for text in [
            "ssm:",
            "ssm:a b",
            "secretsmanager:",
            "secretsmanager:a:",
            "secretsmanager::k",
        ] {
            assert!(!StoredSecret::parse(text).unwrap().is_valid(), "{text}");
        }
    }

    #[test]
    fn a_secret_is_never_printed() {
        let source = SecretSource::Inline(vec![
            SecretPart::Text(Secret::new("hunter2")),
            SecretPart::Stored(StoredSecret::Ssm("/a".into())),
        ]);
        assert_eq!(
            format!("{source:?}"),
            "Inline([Text(<secret>), Stored(Ssm(\"/a\"))])"
        );
        assert_eq!(
            (source.constant(), source.places()),
            (None, vec!["ssm:/a".to_owned()])
        );
    }
}
