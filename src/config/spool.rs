//! `forwarder.spool`: the store for samples that cannot be sent in time, and its limits.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::env::Env;
use super::keys::ARCHIVE;
use super::problem::shown;
use super::reader::{Reader, Section, StringKind};

/// `forwarder.spool`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolConfig {
    /// Address of the spool. The default is that of [`SpoolConfig::place`].
    pub url: Option<SpoolUrl>,
    /// Time that samples beyond the queue's capacity wait for room in memory. Default 5s; with 0s
    /// they do not wait.
    pub overflow_after: Duration,
    /// Most samples a second that are sent from the backlog of a remote. Default 50000.
    pub drain_samples_per_second: u64,
    /// Most bytes of the segments of a remote. Beyond it the oldest samples are deleted and lost.
    /// Default 10 GiB.
    pub max_bytes: u64,
    /// Size of a segment, in bytes. Two segments are in memory while the backlog drains. Default 8
    /// MiB.
    pub segment_bytes: usize,
    /// Limits of the batches that a remote refused for good. Default 100 objects, 100 MiB.
    pub rejected: ArchiveLimits,
    /// Limits of the batches that were too old to send. Default 1000 objects, 1 GiB.
    pub expired: ArchiveLimits,
}

/// Limits of an archive of each remote. Beyond them the oldest objects are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Most objects; 0 keeps nothing.
    pub max_objects: u64,
    /// Most bytes of all objects together.
    pub max_bytes: u64,
}

/// The address of a spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpoolUrl {
    /// `s3://bucket/prefix`.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// Prefix of all names, without slashes at its ends. It may be empty.
        prefix: String,
    },
    /// `file:///path`.
    Dir(PathBuf),
}

impl SpoolUrl {
    /// Reads `s3://bucket/prefix` or `file:///path`.
    ///
    /// # Errors
    /// Says what was found, what is expected and what to write.
    pub fn parse(text: &str) -> Result<Self, SpoolUrlError> {
        const FIX: &str = "write s3://bucket/prefix or file:///path";
        let error = |message: String, fix: &'static str| SpoolUrlError { message, fix };
        if let Some(address) = text.strip_prefix("s3://") {
            let (bucket, prefix) = address.split_once('/').unwrap_or((address, ""));
            if bucket.is_empty() {
                return Err(error(
                    format!("found {}, expected a bucket", shown(text)),
                    FIX,
                ));
            }
            // S3 user guide, bucket naming rules
            let allowed = |byte: u8| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
            };
            if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(allowed) {
                let message = format!(
                    "found the bucket {}, expected 3 to 63 lower-case letters, digits, dots and \
                     dashes",
                    shown(bucket)
                );
                return Err(error(message, ""));
            }
            return Ok(Self::S3 {
                bucket: bucket.to_owned(),
                prefix: prefix.trim_matches('/').to_owned(),
            });
        }
        Url::parse(text)
            .ok()
            .filter(|url| url.scheme() == "file")
            .and_then(|url| url.to_file_path().ok())
            .filter(|directory| directory != Path::new("/"))
            .map(Self::Dir)
            .ok_or_else(|| {
                error(
                    format!(
                        "found {}, expected a place in S3 or a directory",
                        shown(text)
                    ),
                    FIX,
                )
            })
    }
}

/// Why a text is no address of a spool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SpoolUrlError {
    message: String,
    /// Advice on what to write instead; empty when the message says it.
    fix: &'static str,
}

impl fmt::Display for SpoolUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::Dir(path) => write!(f, "file://{}", path.display()),
        }
    }
}

/// Why the spool has no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpoolPlaceError {
    /// A function has no lasting disk: what it writes there is gone when it stops.
    #[error(
        "neither forwarder.spool.url nor the variable SPOOL_URL is set: in Lambda one of them must \
         name a bucket; write s3://bucket/prefix"
    )]
    Lambda,
    /// `SPOOL_URL` is set in Lambda and is no address of a spool.
    #[error("SPOOL_URL: {0}; write s3://bucket/prefix")]
    Variable(#[from] SpoolUrlError),
    /// Neither `XDG_STATE_HOME` nor `HOME` is set.
    #[error(
        "forwarder.spool.url is not set, and there is no home directory for a spool; write \
         file:///path"
    )]
    NoHome,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        Self {
            url: None,
            overflow_after: Duration::from_secs(5),
            drain_samples_per_second: 50_000,
            max_bytes: 10 << 30,
            segment_bytes: 8 << 20,
            rejected: ArchiveLimits {
                max_objects: 100,
                max_bytes: 100 << 20,
            },
            expired: ArchiveLimits {
                max_objects: 1000,
                max_bytes: 1 << 30,
            },
        }
    }
}

impl SpoolConfig {
    /// The spool's address: `url`, else in Lambda the variable `SPOOL_URL`, which the templates
    /// set, and elsewhere `amp-forwarder/spool` in the user's state folder (`XDG_STATE_HOME`, else
    /// `~/.local/state`).
    ///
    /// # Errors
    /// Fails in Lambda without a `url` and a valid `SPOOL_URL`, and elsewhere where there is no
    /// home directory. The message says what to write.
    pub fn place(&self, env: Env<'_>) -> Result<SpoolUrl, SpoolPlaceError> {
        if let Some(url) = &self.url {
            return Ok(url.clone());
        }
        if env("AWS_LAMBDA_FUNCTION_NAME").is_some() {
            let url = env("SPOOL_URL").filter(|url| !url.is_empty());
            return Ok(SpoolUrl::parse(&url.ok_or(SpoolPlaceError::Lambda)?)?);
        }
        // The XDG specification: a path that is not absolute counts as not set.
        let absolute = |name: &str| {
            env(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let state = absolute("XDG_STATE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
        state
            .map(|state| SpoolUrl::Dir(state.join("amp-forwarder/spool")))
            .ok_or(SpoolPlaceError::NoHome)
    }
}

/// Allowed sizes of a segment.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 1 << 10..=32 << 20;

/// Reads `forwarder.spool`.
pub(super) fn read_spool(reader: &mut Reader<'_>, section: &Section<'_>) -> SpoolConfig {
    let mut spool = SpoolConfig {
        url: read_url(reader, section),
        ..SpoolConfig::default()
    };
    if let Some(wait) = reader.duration(section, "overflow_after") {
        spool.overflow_after = wait;
    }
    match reader.count(section, "drain_samples_per_second") {
        Some(0) => {
            reader.error_at(
                &section.path_of("drain_samples_per_second"),
                "found 0, expected a number from 1",
                "otherwise a backlog would stay for ever",
            );
        }
        Some(samples) => spool.drain_samples_per_second = samples,
        None => {}
    }
    if let Some(bytes) = reader.size(section, "segment_bytes") {
        match usize::try_from(bytes) {
            Ok(size) if SEGMENT_BYTES.contains(&bytes) => spool.segment_bytes = size,
            _ => {
                let message = format!("found {bytes}, expected a size from 1KiB to 32MiB");
                reader.error_at(
                    &section.path_of("segment_bytes"),
                    message,
                    "two segments must fit into memory",
                );
            }
        }
    }
    if let Some(bytes) = reader.size(section, "max_bytes") {
        spool.max_bytes = bytes;
        if bytes < spool.segment_bytes as u64 {
            let message = format!(
                "found {bytes}, expected at least segment_bytes, which is {}",
                spool.segment_bytes
            );
            reader.error_at(
                &section.path_of("max_bytes"),
                message,
                "raise it, or lower segment_bytes",
            );
        }
    }
    spool.rejected = read_kept(reader, section, "rejected", spool.rejected);
    spool.expired = read_kept(reader, section, "expired", spool.expired);
    spool
}

fn read_kept(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    key: &str,
    mut kept: ArchiveLimits,
) -> ArchiveLimits {
    let Some(entry) = reader.entry(section, key) else {
        return kept;
    };
    let section = reader.section(&entry.value, section.path_of(key), &ARCHIVE);
    if let Some(objects) = reader.count(&section, "max_objects") {
        kept.max_objects = objects;
    }
    if let Some(bytes) = reader.size(&section, "max_bytes") {
        kept.max_bytes = bytes;
    }
    kept
}

fn read_url(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<SpoolUrl> {
    let text = reader.string(section, "url", StringKind::Plain)?;
    match SpoolUrl::parse(&text) {
        Ok(url) => Some(url),
        Err(error) => {
            reader.error_at(&section.path_of("url"), error.to_string(), error.fix);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spool_is_under_the_state_folder_unless_it_is_named() {
        let place = |pairs: &'static [(&str, &str)], url: Option<SpoolUrl>| {
            let env = move |name: &str| {
                pairs
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| (*value).to_owned())
            };
            SpoolConfig {
                url,
                ..SpoolConfig::default()
            }
            .place(&env)
            .map(|url| url.to_string())
        };
        let at = |path: &str| Ok(format!("file://{path}/amp-forwarder/spool"));
        assert_eq!(
            place(&[("HOME", "/home/ann")], None),
            at("/home/ann/.local/state")
        );
        assert_eq!(
            place(
                &[("HOME", "/home/ann"), ("XDG_STATE_HOME", "/var/ann")],
                None
            ),
            at("/var/ann")
        );
        assert_eq!(
            place(
                &[("HOME", "/home/ann"), ("XDG_STATE_HOME", "not/absolute")],
                None
            ),
            at("/home/ann/.local/state")
        );
        assert_eq!(place(&[], None), Err(SpoolPlaceError::NoHome));
        const LAMBDA: &[(&str, &str)] = &[("HOME", "/home/sbx"), ("AWS_LAMBDA_FUNCTION_NAME", "f")];
        assert_eq!(place(LAMBDA, None), Err(SpoolPlaceError::Lambda));
        let named = SpoolUrl::S3 {
            bucket: "bucket".to_owned(),
            prefix: String::new(),
        };
        assert_eq!(
            place(LAMBDA, Some(named.clone())),
            Ok("s3://bucket".to_owned())
        );
        // The templates set SPOOL_URL. Elsewhere it is a variable as any other.
        const STACK: &[(&str, &str)] = &[
            ("HOME", "/home/sbx"),
            ("AWS_LAMBDA_FUNCTION_NAME", "f"),
            ("SPOOL_URL", "s3://stack/spool"),
        ];
        assert_eq!(place(STACK, None), Ok("s3://stack/spool".to_owned()));
        assert_eq!(place(STACK, Some(named)), Ok("s3://bucket".to_owned()));
        assert_eq!(
            place(&[("HOME", "/home/ann"), ("SPOOL_URL", "s3://s/s")], None),
            at("/home/ann/.local/state")
        );
        for (value, says) in [
            ("", "neither forwarder.spool.url"),
            ("s3://", "SPOOL_URL: found \"s3://\", expected a bucket"),
            ("file:///", "SPOOL_URL: found"),
        ] {
            let env = |name: &str| match name {
                "AWS_LAMBDA_FUNCTION_NAME" => Some("f".to_owned()),
                "SPOOL_URL" => Some(value.to_owned()),
                _ => None,
            };
            let error = SpoolConfig::default().place(&env).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
