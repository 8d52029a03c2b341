//! `forwarder`: the section of our own.

use super::keys::{FORWARDER, METRICS, OWN_SERIES, SPOOL};
use super::metadata::read_metadata;
use super::model::{ForwarderConfig, MetricsConfig, ScrapeConfig};
use super::problem::shown;
use super::reader::{Reader, Section, StringKind};
use super::remote_read::{RemoteReadMode, read_remote_read};
use super::spool::read_spool;

/// Allowed sizes of a request, uncompressed. No receiver takes larger ones, and a batch that is
/// split is in memory as a whole.
const REQUEST_BYTES: std::ops::RangeInclusive<u64> = 1..=16 << 20;

/// Reads `forwarder`. Whether its mode of remote read suits depends on the jobs.
pub(super) fn read_forwarder(
    reader: &mut Reader<'_>,
    root: &Section<'_>,
    jobs: &[ScrapeConfig],
) -> ForwarderConfig {
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
            Ok(size) if REQUEST_BYTES.contains(&bytes) => forwarder.max_request_bytes = size,
            _ => reader.error_at(
                "forwarder.max_request_bytes",
                format!("found {bytes}, expected a size from 1 to 16MiB"),
                "remove the key for the default",
            ),
        }
    }
    if let Some(section) = reader.subsection(&section, "spool", &SPOOL) {
        forwarder.spool = read_spool(reader, &section);
    }
    forwarder.metadata = read_metadata(reader, &section);
    forwarder.remote_read = read_remote_read(reader, &section);
    check_read_mode(reader, forwarder.remote_read.mode, jobs);
    if let Some(section) = reader.subsection(&section, "metrics", &METRICS) {
        forwarder.metrics = read_metrics(reader, &section);
    }
    if let Some(section) = reader.subsection(&section, "own_series", &OWN_SERIES) {
        let own = &mut forwarder.own_series;
        own.enabled = reader.boolean(&section, "enabled").unwrap_or(own.enabled);
        if let Some(instance) = reader.filled_string(&section, "instance", StringKind::Plain) {
            own.instance = instance;
        }
    }
    forwarder
}

/// Reports jobs that contradict the mode of remote read.
fn check_read_mode(reader: &mut Reader<'_>, mode: RemoteReadMode, jobs: &[ScrapeConfig]) {
    const PATH: &str = "forwarder.remote_read.mode";
    if mode != RemoteReadMode::Always || jobs.is_empty() {
        return;
    }
    let mut federating = jobs.iter().filter(|job| job.is_federation()).peekable();
    if federating.peek().is_none() {
        reader.warn_at(
            PATH,
            "found always, but no job federates: nothing is read",
            "give the job of the home metrics_path: /federate, or remove the key",
        );
    }
    for job in federating.filter(|job| !job.honor_timestamps) {
        let message = format!(
            "found always, but the job {} has honor_timestamps: false: every sample that is read \
             would get the time of the read",
            shown(&job.job_name)
        );
        let fix = "remove honor_timestamps from the job, or write mode: gaps";
        reader.error_at(PATH, message, fix);
    }
}

fn read_metrics(reader: &mut Reader<'_>, section: &Section<'_>) -> MetricsConfig {
    let mut metrics = MetricsConfig::default();
    if let Some(enabled) = reader.boolean(section, "enabled") {
        metrics.enabled = enabled;
    }
    if let Some(per_site) = reader.boolean(section, "per_site") {
        metrics.per_site = per_site;
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
