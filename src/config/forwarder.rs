//! `forwarder`: the section of our own.

use super::keys::{FORWARDER, METRICS, SPOOL};
use super::metadata::read_metadata;
use super::model::{ForwarderConfig, MetricsConfig};
use super::problem::shown;
use super::reader::{Reader, Section, StringKind};
use super::spool::read_spool;

pub(super) fn read_forwarder(reader: &mut Reader<'_>, root: &Section<'_>) -> ForwarderConfig {
    let mut forwarder = ForwarderConfig::default();
    let Some(entry) = reader.entry(root, "forwarder") else {
        return forwarder;
    };
    let section = reader.section(&entry.value, "forwarder".into(), &FORWARDER);
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
    if let Some(entry) = reader.entry(&section, "spool") {
        let section = reader.section(&entry.value, "forwarder.spool".into(), &SPOOL);
        forwarder.spool = read_spool(reader, &section);
    }
    forwarder.metadata = read_metadata(reader, &section);
    if let Some(entry) = reader.entry(&section, "metrics") {
        let section = reader.section(&entry.value, "forwarder.metrics".into(), &METRICS);
        forwarder.metrics = read_metrics(reader, &section);
    }
    forwarder
}

fn read_metrics(reader: &mut Reader<'_>, section: &Section<'_>) -> MetricsConfig {
    let mut metrics = MetricsConfig::default();
    if let Some(enabled) = reader.boolean(section, "enabled") {
        metrics.enabled = enabled;
    }
    if let Some(namespace) = reader.string(section, "namespace", StringKind::Plain) {
        // CloudWatch API reference, PutMetricData: Namespace
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/#: ".contains(c);
        if namespace.trim().is_empty()
            || namespace.len() > 255
            || namespace.starts_with([':'])
            || !namespace.chars().all(allowed)
        {
            let message = format!(
                "found {}, expected 1 to 255 letters, digits, spaces and . _ - / # :, not starting with a colon",
                shown(&namespace)
            );
            reader.error_at(&section.path_of("namespace"), message, "");
        } else if namespace.starts_with("AWS/") {
            reader.error_at(
                &section.path_of("namespace"),
                format!("found {}: AWS keeps AWS/ for itself", shown(&namespace)),
                "choose another name",
            );
        } else {
            metrics.namespace = namespace;
        }
    }
    metrics
}
