//! `forwarder.spool`: the store for samples that cannot be sent in time, and its limits.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::env::Env;
use super::keys::ARCHIVE;
use super::problem::shown;
use super::reader::{Reader, Section, StringKind};
use super::site::{SiteName, has_placeholder, site_of};

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
    /// Whether the site's name is a folder of the place. Two sites must never share a spool: it has
    /// one lease, and names no site.
    fn is_of(&self, site: &SiteName) -> bool {
        match self {
            Self::S3 { prefix, .. } => prefix.split('/').any(|folder| folder == site.as_str()),
            Self::Dir(path) => path.iter().any(|folder| folder == site.as_str()),
        }
    }

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
    /// `SPOOL_URL` is the place of many sites' spools, and no site is named.
    #[error(
        "SPOOL_URL is {0:?}, and no site is named: send {{\"site\": \"NAME\"}}, or give --site NAME"
    )]
    NoSite(String),
    /// The place would be the spool of several sites.
    #[error(
        "{place} is not the spool of the site {site} alone: write {{site}} where its name belongs, \
         as in s3://bucket/sites/{{site}}"
    )]
    NotOfSite {
        /// The place.
        place: String,
        /// The site.
        site: SiteName,
    },
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
    /// `~/.local/state`). With the environment of a site, each of these is the site's own place.
    ///
    /// # Errors
    /// Fails in Lambda without a `url` and a valid `SPOOL_URL`, elsewhere where there is no home
    /// directory, and for a site whose name is no folder of the place. The message says what to
    /// write.
    pub fn place(&self, env: Env<'_>) -> Result<SpoolUrl, SpoolPlaceError> {
        let site = site_of(env);
        let place = self.place_for(env, site.as_ref())?;
        match site {
            Some(site) if !place.is_of(&site) => {
                let place = place.to_string();
                Err(SpoolPlaceError::NotOfSite { place, site })
            }
            _ => Ok(place),
        }
    }

    fn place_for(
        &self,
        env: Env<'_>,
        site: Option<&SiteName>,
    ) -> Result<SpoolUrl, SpoolPlaceError> {
        if let Some(url) = &self.url {
            return Ok(url.clone());
        }
        if env("AWS_LAMBDA_FUNCTION_NAME").is_some() {
            let url = env("SPOOL_URL").filter(|url| !url.is_empty());
            let url = url.ok_or(SpoolPlaceError::Lambda)?;
            if has_placeholder(&url) {
                return Err(SpoolPlaceError::NoSite(url));
            }
            return Ok(SpoolUrl::parse(&url)?);
        }
        // The XDG specification: a path that is not absolute counts as not set.
        let absolute = |name: &str| {
            env(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let state = absolute("XDG_STATE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
        let spool = state
            .map(|state| state.join("amp-forwarder/spool"))
            .ok_or(SpoolPlaceError::NoHome)?;
        Ok(SpoolUrl::Dir(match site {
            Some(site) => spool.join(site.as_str()),
            None => spool,
        }))
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
    let text = match site_of(&|name| reader.environment(name)) {
        Some(site) => site.fill(&text),
        None if has_placeholder(&text) => {
            reader.error_at(
                &section.path_of("url"),
                format!("found {}, and no site is named", shown(&text)),
                "send {\"site\": \"NAME\"}, or give --site NAME",
            );
            return None;
        }
        None => text,
    };
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
    use crate::config::site_env;

    /// The place of a site's spool, in Lambda or with a `forwarder.spool.url`.
    fn place_of_site(url: Option<&str>, variable: &str) -> Result<String, SpoolPlaceError> {
        let site = SiteName::parse("tokyo").unwrap();
        let env = |name: &str| match name {
            "AWS_LAMBDA_FUNCTION_NAME" => Some("f".to_owned()),
            "SPOOL_URL" => Some(variable.to_owned()),
            _ => None,
        };
        let spool = SpoolConfig {
            url: url.map(|url| SpoolUrl::parse(url).unwrap()),
            ..SpoolConfig::default()
        };
        spool
            .place(&site_env(Some(&site), &env))
            .map(|place| place.to_string())
    }

    #[test]
    fn a_site_has_a_spool_of_its_own() {
        let at = |place: &str| Ok(place.to_owned());
        assert_eq!(place_of_site(None, "s3://bkt/{site}"), at("s3://bkt/tokyo"));
        assert_eq!(
            place_of_site(None, "s3://bkt/a/{site}/spool"),
            at("s3://bkt/a/tokyo/spool")
        );
        assert_eq!(
            place_of_site(Some("file:///spools/tokyo"), ""),
            at("file:///spools/tokyo")
        );
        // Neither may hold what another site's may hold as well.
        for (url, variable) in [
            (None, "s3://bkt/spool"),
            (None, "s3://bkt/spool-{site}"),
            (Some("s3://bkt/spool"), "s3://bkt/{site}"),
            (Some("file:///spools/tokyo-2"), ""),
        ] {
            let error = place_of_site(url, variable).unwrap_err().to_string();
            assert!(error.contains("not the spool of the site tokyo"), "{error}");
        }
        let home = |name: &str| (name == "HOME").then(|| "/home/ann".to_owned());
        let site = SiteName::parse("tokyo").unwrap();
        assert_eq!(
            SpoolConfig::default()
                .place(&site_env(Some(&site), &home))
                .map(|place| place.to_string()),
            at("file:///home/ann/.local/state/amp-forwarder/spool/tokyo")
        );
    }

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
            ("s3://bucket/{site}", "and no site is named"),
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
