//! `forwarder.metadata` and `metadata_config`: types and help texts of metrics.

use std::time::Duration;

use super::keys::{METADATA, REMOTE_METADATA};
use super::reader::{Reader, Section};

/// `forwarder.metadata`: how types and help texts are read from the home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwarderMetadata {
    /// Whether metadata is read and sent. Default false.
    pub enabled: bool,
    /// Time between two readings. Default 1h.
    pub interval: Duration,
    /// Path of the metadata API at the home. By default it is `/api/v1/metadata` with the same
    /// prefix as `/federate`.
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
    /// Whether metadata is sent to the remote. Default true.
    pub send: bool,
    /// Shortest time between two sendings. Default 1m.
    pub send_interval: Duration,
    /// Most metrics in a request. Default 2000.
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
    let Some(section) = reader.subsection(forwarder, "metadata", &METADATA) else {
        return metadata;
    };
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
    metadata.path = reader.absolute_path(&section, "path", "/api/v1/metadata");
    metadata
}

/// Reads `metadata_config`.
pub(super) fn read_metadata_config(
    reader: &mut Reader<'_>,
    remote: &Section<'_>,
) -> MetadataConfig {
    let mut config = MetadataConfig::default();
    let Some(section) = reader.subsection(remote, "metadata_config", &REMOTE_METADATA) else {
        return config;
    };
    config.send = reader.boolean(&section, "send").unwrap_or(config.send);
    config.send_interval = reader
        .duration(&section, "send_interval")
        .unwrap_or(config.send_interval);
    let fix = "remove the key for the default";
    if let Some(most) = reader.positive_count(&section, "max_samples_per_send", fix) {
        config.max_samples_per_send = most;
    }
    config
}
