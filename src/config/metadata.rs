//! `forwarder.metadata` and `metadata_config`: types and help texts of metrics.

use std::time::Duration;

use super::keys::{METADATA, REMOTE_METADATA};
use super::problem::shown;
use super::reader::{Reader, Section, StringKind};

/// `forwarder.metadata`: where types and help texts come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwarderMetadata {
    /// Default false.
    pub enabled: bool,
    /// How often they are read and sent. Default 1h.
    pub interval: Duration,
    /// Their path at the home. Default: `/api/v1/metadata` beside `/federate`.
    pub path: Option<String>,
}

impl Default for ForwarderMetadata {
    fn default() -> Self {
        Self {
            enabled: false,
            interval: Duration::from_secs(3600),
            path: None,
        }
    }
}

/// Prometheus' `metadata_config` of a remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataConfig {
    /// Default true.
    pub send: bool,
    /// Not more often than this. Default 1m.
    pub send_interval: Duration,
    /// Metrics in a request. Default 2000.
    pub max_samples_per_send: usize,
}

impl Default for MetadataConfig {
    // config/config.go DefaultMetadataConfig
    fn default() -> Self {
        Self {
            send: true,
            send_interval: Duration::from_secs(60),
            max_samples_per_send: 2000,
        }
    }
}

/// Reads `forwarder.metadata`.
pub(super) fn read_metadata(reader: &mut Reader<'_>, forwarder: &Section<'_>) -> ForwarderMetadata {
    let mut metadata = ForwarderMetadata::default();
    let Some(entry) = reader.entry(forwarder, "metadata") else {
        return metadata;
    };
    let section = reader.section(&entry.value, forwarder.path_of("metadata"), &METADATA);
    metadata.enabled = reader.boolean(&section, "enabled").unwrap_or(false);
    if let Some(interval) = reader.duration(&section, "interval") {
        if interval.is_zero() {
            reader.error_at(
                &section.path_of("interval"),
                "found 0, expected a duration above 0",
                "remove the key for the default, 1h",
            );
        }
        metadata.interval = interval;
    }
    metadata.path = reader
        .string(&section, "path", StringKind::Plain)
        .filter(|path| !path.is_empty());
    if let Some(path) = metadata
        .path
        .as_ref()
        .filter(|path| !path.starts_with('/') || path.contains(['?', '#']))
    {
        reader.error_at(
            &section.path_of("path"),
            format!(
                "found {}, expected a path such as /api/v1/metadata",
                shown(path)
            ),
            "",
        );
    }
    metadata
}

/// Reads `metadata_config`.
pub(super) fn read_metadata_config(
    reader: &mut Reader<'_>,
    remote: &Section<'_>,
) -> MetadataConfig {
    let mut config = MetadataConfig::default();
    let Some(entry) = reader.entry(remote, "metadata_config") else {
        return config;
    };
    let section = reader.section(
        &entry.value,
        remote.path_of("metadata_config"),
        &REMOTE_METADATA,
    );
    config.send = reader.boolean(&section, "send").unwrap_or(config.send);
    config.send_interval = reader
        .duration(&section, "send_interval")
        .unwrap_or(config.send_interval);
    if let Some(most) = reader.count(&section, "max_samples_per_send") {
        match usize::try_from(most) {
            Ok(most) if most > 0 => config.max_samples_per_send = most,
            _ => reader.error_at(
                &section.path_of("max_samples_per_send"),
                format!("found {most}, expected a number from 1"),
                "remove the key for the default",
            ),
        }
    }
    config
}
