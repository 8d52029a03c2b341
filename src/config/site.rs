//! The name of a site: one of many homes that a function serves.

use std::fmt;

use super::env::Env;
use super::problem::shown;

/// The text in `FORWARDER_CONFIG`, `SPOOL_URL` and `forwarder.spool.url` that a site's name
/// replaces. As the name of a variable, which no shell can set, it is the site that the
/// environment of a configuration belongs to: see [`site_env`].
pub(super) const PLACEHOLDER: &str = "{site}";

/// The variable that a configuration reads as `${SITE}`.
const VARIABLE: &str = "SITE";

/// Variables in whose values `{site}` is replaced.
const FILLED: [&str; 3] = ["FORWARDER_CONFIG", ROLE_VAR, "SPOOL_URL"];

/// The variable with the ARN of the role under which the process reads the configuration, uses the
/// spool and signs.
pub(super) const ROLE_VAR: &str = "FORWARDER_ROLE_ARN";

/// Longest name, the same as that of a DNS label.
const LONGEST: usize = 63;

/// The name of a site: 1 to 63 lower-case letters, digits and dashes. It is a part of paths and
/// keys, so nothing else can be one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteName(String);

impl SiteName {
    /// Reads a name.
    ///
    /// # Errors
    /// Fails for anything but `[a-z0-9-]{1,63}`.
    ///
    /// # Examples
    /// ```
    /// use amp_forwarder::config::SiteName;
    ///
    /// assert_eq!(SiteName::parse("tokyo-2").unwrap().as_str(), "tokyo-2");
    /// assert!(SiteName::parse("../tokyo").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, SiteNameError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=LONGEST).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(SiteNameError(shown(text)))
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Puts the name in the place of each `{site}`.
    #[must_use]
    pub fn fill(&self, text: &str) -> String {
        text.replace(PLACEHOLDER, &self.0)
    }
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no name of a site. Holds the text as a message may show it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no name of a site: write 1 to 63 lower-case letters, digits and dashes")]
pub struct SiteNameError(String);

/// The environment of a site: `env` with `SITE`, and with the site's name for `{site}` in the
/// places of the configuration and of the spool, and in the role. Without a site it is `env`.
pub fn site_env<'a>(
    site: Option<&'a SiteName>,
    env: Env<'a>,
) -> impl Fn(&str) -> Option<String> + 'a {
    move |name| {
        let Some(site) = site else {
            return env(name);
        };
        match name {
            VARIABLE | PLACEHOLDER => Some(site.to_string()),
            name if FILLED.contains(&name) => env(name).map(|value| site.fill(&value)),
            name => env(name),
        }
    }
}

/// The site that an environment belongs to.
pub(super) fn site_of(env: Env<'_>) -> Option<SiteName> {
    SiteName::parse(&env(PLACEHOLDER)?).ok()
}

/// Whether a text still has a `{site}` that no site has replaced.
pub(super) fn has_placeholder(text: &str) -> bool {
    text.contains(PLACEHOLDER)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for name in ["a", "tokyo", "0", "shop-17", "-", &"x".repeat(63)] {
            assert_eq!(SiteName::parse(name).unwrap().to_string(), name);
        }
        let long = "x".repeat(64);
        for name in [
            "", "Tokyo", "a/b", "..", "a.b", "a_b", "a b", "tōkyō", "{site}", "a\n", &long,
        ] {
            let error = SiteName::parse(name).unwrap_err().to_string();
            assert!(error.contains("is no name of a site"), "{error}");
        }
    }

    #[test]
    fn an_environment_of_a_site_has_its_name_in_it() {
        let process = |name: &str| match name {
            "FORWARDER_CONFIG" => Some("s3://b/sites/{site}/forwarder.yml".to_owned()),
            "SPOOL_URL" => Some("s3://b/spool/{site}".to_owned()),
            "SITE" => Some("from-outside".to_owned()),
            "OTHER" => Some("{site}".to_owned()),
            _ => None,
        };
        let site = SiteName::parse("tokyo").unwrap();
        let env = site_env(Some(&site), &process);
        let expected = "s3://b/sites/tokyo/forwarder.yml";
        assert_eq!(env("FORWARDER_CONFIG").as_deref(), Some(expected));
        assert_eq!(env("SPOOL_URL").as_deref(), Some("s3://b/spool/tokyo"));
        assert_eq!(env("SITE").as_deref(), Some("tokyo"));
        assert_eq!(env("OTHER").as_deref(), Some("{site}"), "no place");
        assert_eq!(site_of(&env), Some(site.clone()));

        let env = site_env(None, &process);
        assert_eq!(env("SITE").as_deref(), Some("from-outside"));
        assert_eq!(site_of(&env), None);
    }

    proptest! {
        /// A name never leads out of the folder that it is put into.
        #[test]
        fn whatever_is_a_name_is_one_part_of_a_path(text in "\\PC{0,70}") {
            if let Ok(site) = SiteName::parse(&text) {
                let path = site.fill("a/{site}/b");
                prop_assert_eq!(path.split('/').count(), 3);
                prop_assert!(!path.contains(".."));
            }
        }
    }
}
