//! The place of the configuration.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::env::Env;
use super::site::{ROLE_VAR, has_placeholder};

/// The variable that names the configuration when no `--config` does.
pub const ENV_VAR: &str = "FORWARDER_CONFIG";
/// Name of the configuration in the program's folder, which is used when nothing names another.
pub const DEFAULT_FILE: &str = "forwarder.yml";
/// Largest configuration, in bytes.
pub const MAX_BYTES: u64 = 4 << 20;

/// A file or an object in S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file on this machine.
    Path(PathBuf),
    /// `s3://bucket/key`.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// The object's key.
        key: String,
    },
}

impl Source {
    /// Reads a path or `s3://bucket/key`.
    ///
    /// # Errors
    /// Fails when the text is empty, or when an S3 address lacks its bucket or key.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        if text.is_empty() {
            return Err(SourceError::Empty);
        }
        let Some(address) = text.strip_prefix("s3://") else {
            return Ok(Self::Path(text.into()));
        };
        match address.split_once('/') {
            Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => Ok(Self::S3 {
                bucket: bucket.into(),
                key: key.into(),
            }),
            _ => Err(SourceError::Address(text.into())),
        }
    }

    /// The file or object that `address` names in this configuration. A relative path starts in the
    /// configuration's folder, as in Prometheus.
    ///
    /// # Errors
    /// Fails as [`Source::parse`] does.
    pub fn beside(&self, address: &str) -> Result<Self, SourceError> {
        Ok(match (Self::parse(address)?, self) {
            (Self::Path(path), Self::Path(configuration)) => {
                Self::Path(configuration.parent().unwrap_or(Path::new("")).join(path))
            }
            (Self::Path(path), Self::S3 { bucket, key }) if path.is_relative() => {
                let folder = key
                    .rsplit_once('/')
                    .map_or(String::new(), |(folder, _)| format!("{folder}/"));
                let name = address.strip_prefix("./").unwrap_or(address);
                Self::S3 {
                    bucket: bucket.clone(),
                    key: format!("{folder}{name}"),
                }
            }
            (found, _) => found,
        })
    }

    /// The place of the configuration: `--config`, else `FORWARDER_CONFIG`, else `forwarder.yml` in
    /// the program's folder. An empty variable counts as not set, because templates pass empty
    /// parameters on.
    ///
    /// # Errors
    /// Fails as [`Source::parse`] does, and when the variable has a `{site}` and `env` is of none.
    pub fn find(argument: Option<&str>, env: Env<'_>, program: &Path) -> Result<Self, SourceError> {
        if let Some(argument) = argument {
            return Self::parse(argument);
        }
        match env(ENV_VAR).filter(|value| !value.is_empty()) {
            Some(value) if has_placeholder(&value) => Err(SourceError::NoSite(ENV_VAR, value)),
            Some(value) => Self::parse(&value),
            None => Ok(Self::Path(program.with_file_name(DEFAULT_FILE))),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::S3 { bucket, key } => write!(f, "s3://{bucket}/{key}"),
        }
    }
}

/// The role of an environment: `FORWARDER_ROLE_ARN`. An empty variable counts as not set, because
/// templates pass empty parameters on.
///
/// # Errors
/// Fails when the variable has a `{site}` and `env` is of none.
pub fn role_of(env: Env<'_>) -> Result<Option<String>, SourceError> {
    match env(ROLE_VAR).filter(|value| !value.is_empty()) {
        Some(value) if has_placeholder(&value) => Err(SourceError::NoSite(ROLE_VAR, value)),
        role => Ok(role),
    }
}

/// Reads the configuration at a path, at most [`MAX_BYTES`].
///
/// # Errors
/// Fails when the file cannot be read, is too large, or is not UTF-8.
pub fn read_file(path: &Path) -> Result<String, SourceError> {
    let fail = |source| SourceError::Read {
        path: path.into(),
        source,
    };
    let mut text = String::new();
    let file = File::open(path).map_err(fail)?;
    file.take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(fail)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(SourceError::TooLarge(path.into()));
    }
    Ok(text)
}

/// Why the configuration cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The name is empty, as in `--config ""`.
    #[error("config: the name of the configuration is empty; give a path or s3://bucket/key")]
    Empty,
    /// The S3 address lacks its bucket or key.
    #[error("config: {0:?} is not an address in s3; write s3://bucket/key")]
    Address(String),
    /// The variable of the first field has the place or the role of many sites, and no site is
    /// named.
    #[error(
        "config: {0} is {1:?}, and no site is named: send {{\"site\": \"NAME\"}}, or give \
         --site NAME"
    )]
    NoSite(&'static str, String),
    /// The file cannot be read.
    #[error(
        "config: cannot read {}: {source}; name another with --config or {ENV_VAR}",
        path.display()
    )]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is larger than [`MAX_BYTES`].
    #[error("config: {} is larger than {MAX_BYTES} bytes; is it the right file?", .0.display())]
    TooLarge(PathBuf),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SiteName, site_env};

    #[test]
    fn addresses() {
        assert_eq!(
            Source::parse("/etc/f.yml").unwrap(),
            Source::Path("/etc/f.yml".into())
        );
        let s3 = Source::parse("s3://my-bucket/a/b.yml").unwrap();
        assert_eq!(
            s3,
            Source::S3 {
                bucket: "my-bucket".into(),
                key: "a/b.yml".into()
            }
        );
        assert_eq!(s3.to_string(), "s3://my-bucket/a/b.yml");
        for text in ["", "s3://", "s3://b", "s3://b/", "s3:///k"] {
            assert!(Source::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_role_of_a_site_has_its_name_in_it() {
        let set = |value: &'static str| move |name: &str| (name == ROLE_VAR).then(|| value.into());
        let all = set("arn:aws:iam::1:role/f-{site}");
        let tokyo = SiteName::parse("tokyo").unwrap();
        let of_tokyo = role_of(&site_env(Some(&tokyo), &all)).unwrap();
        assert_eq!(of_tokyo.as_deref(), Some("arn:aws:iam::1:role/f-tokyo"));
        let error = role_of(&all).unwrap_err().to_string();
        assert!(
            error.contains("FORWARDER_ROLE_ARN") && error.contains("--site NAME"),
            "{error}"
        );
        let one = set("arn:aws:iam::1:role/f");
        assert_eq!(
            role_of(&one).unwrap().as_deref(),
            Some("arn:aws:iam::1:role/f")
        );
        for unset in [role_of(&set("")), role_of(&|_: &str| None)] {
            assert_eq!(unset.unwrap(), None);
        }
    }

    #[test]
    fn what_a_configuration_names_is_beside_it() {
        for (configuration, address, expected) in [
            ("/etc/forwarder.yml", "ca.pem", "/etc/ca.pem"),
            ("/etc/forwarder.yml", "/run/ca.pem", "/run/ca.pem"),
            ("forwarder.yml", "tls/ca.pem", "tls/ca.pem"),
            ("/etc/forwarder.yml", "s3://b/ca.pem", "s3://b/ca.pem"),
            (
                "s3://b/home/forwarder.yml",
                "./ca.pem",
                "s3://b/home/ca.pem",
            ),
            ("s3://b/forwarder.yml", "tls/ca.pem", "s3://b/tls/ca.pem"),
            ("s3://b/forwarder.yml", "/run/ca.pem", "/run/ca.pem"),
        ] {
            assert_eq!(
                Source::parse(configuration)
                    .unwrap()
                    .beside(address)
                    .unwrap()
                    .to_string(),
                expected
            );
        }
    }

    #[test]
    fn the_argument_wins_then_the_environment_then_the_file_beside_the_program() {
        let program = Path::new("/opt/bin/forwardctl");
        let set = |name: &str| (name == ENV_VAR).then(|| "s3://b/k".to_owned());
        let empty = |_: &str| Some(String::new());
        assert_eq!(
            Source::find(Some("x.yml"), &set, program).unwrap(),
            Source::Path("x.yml".into())
        );
        assert_eq!(
            Source::find(None, &set, program).unwrap(),
            Source::S3 {
                bucket: "b".into(),
                key: "k".into()
            }
        );
        assert_eq!(
            Source::find(None, &empty, program).unwrap(),
            Source::Path("/opt/bin/forwarder.yml".into())
        );
    }

    #[test]
    fn a_place_of_many_sites_needs_a_site() {
        let program = Path::new("/opt/bin/forwardctl");
        let set = |name: &str| (name == ENV_VAR).then(|| "s3://b/{site}.yml".to_owned());
        let error = Source::find(None, &set, program).unwrap_err().to_string();
        assert!(
            error.contains("s3://b/{site}.yml") && error.contains("--site NAME"),
            "{error}"
        );
        let site = SiteName::parse("tokyo").unwrap();
        let found = Source::find(None, &site_env(Some(&site), &set), program).unwrap();
        assert_eq!(found.to_string(), "s3://b/tokyo.yml");
    }

    #[test]
    fn a_missing_file_says_what_to_do() {
        let error = read_file(Path::new("/nowhere/forwarder.yml"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/nowhere/forwarder.yml") && error.contains("--config"),
            "{error}"
        );
    }
}
