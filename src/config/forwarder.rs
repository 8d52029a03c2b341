//! `forwarder`: the section of our own.

use super::keys::{FORWARDER, METRICS, SPOOL};
use super::metadata::read_metadata;
use super::model::{ForwarderConfig, MetricsConfig};
use super::problem::shown;
use super::reader::{Reader, Section, StringKind};
use super::spool::read_spool;

/// Reads `forwarder`.
pub(super) fn read_forwarder(reader: &mut Reader<'_>, root: &Section<'_>) -> ForwarderConfig {
    let mut forwarder = ForwarderConfig::default();
    let Some(section) = reader.subsection(root, "forwarder", &FORWARDER) else {
        return forwarder;
    };
    if let Some(margin) = reader.duration(&section, "deadline_margin") {
        forwarder.deadline_margin = margin;
    }
    forwarder.memory_limit = reader.size(&section, "memory_limit");
    if forwarder.memory_limit == Some(0) {
        reader.error_at(
            "forwarder.memory_limit",
            "found 0, expected a size above 0",
            "remove the key for the default",
        );
    }
    if let Some(bytes) = reader.size(&section, "max_request_bytes") {
        match usize::try_from(bytes) {
            Ok(bytes) if bytes > 0 => forwarder.max_request_bytes = bytes,
            _ => reader.error_at(
                "forwarder.max_request_bytes",
                format!("found {bytes}, expected a size above 0"),
                "remove the key for the default",
            ),
        }
    }
    if let Some(section) = reader.subsection(&section, "spool", &SPOOL) {
        forwarder.spool = read_spool(reader, &section);
    }
    forwarder.metadata = read_metadata(reader, &section);
    if let Some(section) = reader.subsection(&section, "metrics", &METRICS) {
        forwarder.metrics = read_metrics(reader, &section);
    }
    forwarder
}

fn read_metrics(reader: &mut Reader<'_>, section: &Section<'_>) -> MetricsConfig {
    let mut metrics = MetricsConfig::default();
    if let Some(enabled) = reader.boolean(section, "enabled") {
        metrics.enabled = enabled;
    }
    let Some(namespace) = reader.string(section, "namespace", StringKind::Plain) else {
        return metrics;
    };
    let path = section.path_of("namespace");
    if !is_namespace(&namespace) {
        let message = format!(
            "found {}, expected 1 to 255 letters, digits, spaces and . _ - / # :, not starting \
             with a colon",
            shown(&namespace)
        );
        reader.error_at(&path, message, "");
    } else if namespace.starts_with("AWS/") {
        let message = format!("found {}: AWS keeps AWS/ for itself", shown(&namespace));
        reader.error_at(&path, message, "choose another name");
    } else {
        metrics.namespace = namespace;
    }
    metrics
}

// CloudWatch API reference, PutMetricData: Namespace
fn is_namespace(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-/#: ".contains(c);
    !text.trim().is_empty()
        && text.len() <= 255
        && !text.starts_with(':')
        && text.chars().all(is_allowed)
}
