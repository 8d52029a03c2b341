//! The form of each key's value, and a sentence about those that Prometheus does not have.

use super::super::keys::{
    ARCHIVE, FORWARDER, GLOBAL, HTTP_HEADER, METADATA, METRICS, OWN_SERIES, REMOTE_METADATA,
    REMOTE_READ, SPOOL,
};
use crate::relabel::Action;

/// The form of a value.
pub(super) enum Kind {
    /// Text.
    Text,
    /// Text, a number or a boolean, which is taken as written.
    Scalar,
    /// `true` or `false`.
    Boolean,
    /// A whole number from 0.
    Count,
    /// A number from 0.
    Factor,
    /// A duration such as `1m30s`.
    Duration,
    /// A duration, or `auto`.
    DurationOrAuto,
    /// A size such as `8MiB`, or bytes.
    Size,
    /// One of these names.
    OneOf(Vec<&'static str>),
    /// A list of texts.
    Texts,
    /// A list of some of these names.
    SomeOf(Vec<&'static str>),
    /// Texts by names.
    TextMap,
    /// Lists of texts by names.
    ListMap,
    /// A section, by its name in the schema.
    Section(&'static str),
    /// A list of sections.
    SectionList(&'static str),
    /// Sections by names.
    SectionMap(&'static str),
}

const PROTOCOLS: [&str; 5] = [
    "PrometheusProto",
    "PrometheusText1.0.0",
    "PrometheusText0.0.4",
    "OpenMetricsText1.0.0",
    "OpenMetricsText0.0.1",
];

/// The form of a key of the section that `table` names. `None` for a key that nobody has described.
pub(super) fn kind(table: &str, key: &str) -> Option<Kind> {
    section_kind(table, key)
        .or_else(|| number_kind(key))
        .or_else(|| other_kind(key))
}

/// The form of a key whose value is a number, a duration, a size or a switch.
fn number_kind(key: &str) -> Option<Kind> {
    Some(match key {
        "scrape_interval"
        | "scrape_timeout"
        | "remote_timeout"
        | "batch_send_deadline"
        | "min_backoff"
        | "max_backoff"
        | "sample_age_limit"
        | "send_interval"
        | "deadline_margin" => Kind::Duration,
        "body_size_limit" | "memory_limit" | "max_request_bytes" => Kind::Size,
        "sample_limit"
        | "target_limit"
        | "label_limit"
        | "label_name_length_limit"
        | "label_value_length_limit"
        | "keep_dropped_targets"
        | "native_histogram_bucket_limit"
        | "capacity"
        | "max_shards"
        | "min_shards"
        | "max_samples_per_send"
        | "modulus" => Kind::Count,
        "native_histogram_min_bucket_factor" => Kind::Factor,
        "honor_labels"
        | "honor_timestamps"
        | "track_timestamps_staleness"
        | "extra_scrape_metrics"
        | "enable_compression"
        | "scrape_native_histograms"
        | "always_scrape_classic_histograms"
        | "follow_redirects"
        | "enable_http2"
        | "proxy_from_environment"
        | "insecure_skip_verify"
        | "send_native_histograms"
        | "retry_on_http_429"
        | "use_fips_sts_endpoint"
        | "send" => Kind::Boolean,
        _ => return None,
    })
}

/// The form of any other key.
fn other_kind(key: &str) -> Option<Kind> {
    Some(match key {
        "scheme" => Kind::OneOf(vec!["http", "https"]),
        "metric_name_validation_scheme" => Kind::OneOf(vec!["legacy", "utf8"]),
        "metric_name_escaping_scheme" => {
            Kind::OneOf(vec!["allow-utf-8", "underscores", "dots", "values"])
        }
        "scrape_protocols" => Kind::SomeOf(PROTOCOLS.to_vec()),
        "fallback_scrape_protocol" => Kind::OneOf(PROTOCOLS.to_vec()),
        "min_version" | "max_version" => Kind::OneOf(vec!["TLS10", "TLS11", "TLS12", "TLS13"]),
        // Prometheus takes them in any case; editors complete the usual one.
        "action" => Kind::OneOf(Action::names().collect()),
        "external_labels" | "labels" | "headers" | "endpoint_params" => Kind::TextMap,
        "params" | "proxy_connect_header" => Kind::ListMap,
        "targets" | "source_labels" | "scopes" => Kind::Texts,
        "scrape_configs" => Kind::SectionList("job"),
        "remote_write" => Kind::SectionList("remote"),
        "static_configs" => Kind::SectionList("static_config"),
        "relabel_configs" | "metric_relabel_configs" | "write_relabel_configs" => {
            Kind::SectionList("relabel_rule")
        }
        "http_headers" => Kind::SectionMap("http_header"),
        "global" | "forwarder" | "queue_config" | "metadata_config" | "sigv4" | "basic_auth"
        | "authorization" | "oauth2" | "tls_config" => section(key)?,
        "job_name" | "name" | "separator" | "regex" | "target_label" | "replacement"
        | "username" | "password" | "region" | "profile" => Kind::Scalar,
        "metrics_path" | "url" | "bearer_token" | "bearer_token_file" | "proxy_url"
        | "no_proxy" | "username_file" | "password_file" | "type" | "credentials"
        | "credentials_file" | "client_id" | "client_secret" | "client_secret_file"
        | "token_url" | "ca" | "ca_file" | "cert" | "cert_file" | "key" | "key_file"
        | "server_name" | "access_key" | "secret_key" | "role_arn" | "external_id"
        | "service_name" => Kind::Text,
        _ => return None,
    })
}

/// The form of a key that means something else in another section.
fn section_kind(table: &str, key: &str) -> Option<Kind> {
    Some(match key {
        "spool" | "metadata" | "remote_read" | "metrics" | "own_series"
            if table == FORWARDER.name =>
        {
            section(key)?
        }
        "rejected" | "expired" if table == SPOOL.name => Kind::Section("archive"),
        "overflow_after" if table == SPOOL.name => Kind::Duration,
        "drain_samples_per_second" if table == SPOOL.name => Kind::Count,
        "max_bytes" | "segment_bytes" if [SPOOL.name, ARCHIVE.name].contains(&table) => Kind::Size,
        "max_objects" if table == ARCHIVE.name => Kind::Count,
        "enabled" if [METADATA.name, METRICS.name, OWN_SERIES.name].contains(&table) => {
            Kind::Boolean
        }
        "per_site" if table == METRICS.name => Kind::Boolean,
        "interval" if table == METADATA.name => Kind::Duration,
        "path" if [METADATA.name, REMOTE_READ.name].contains(&table) => Kind::Text,
        "namespace" if table == METRICS.name => Kind::Text,
        "instance" if table == OWN_SERIES.name => Kind::Scalar,
        "mode" if table == REMOTE_READ.name => Kind::OneOf(vec!["gaps", "always", "off"]),
        "settle" | "resolution" if table == REMOTE_READ.name => Kind::Duration,
        "overlap" if table == REMOTE_READ.name => Kind::DurationOrAuto,
        "max_samples" if table == REMOTE_READ.name => Kind::Count,
        "values" | "secrets" | "files" if table == HTTP_HEADER.name => Kind::Texts,
        _ => return None,
    })
}

/// Sections that are named as their keys are.
const SECTIONS: [&str; 14] = [
    "global",
    "forwarder",
    "queue_config",
    "metadata_config",
    "sigv4",
    "basic_auth",
    "authorization",
    "oauth2",
    "tls_config",
    "spool",
    "metadata",
    "remote_read",
    "metrics",
    "own_series",
];

fn section(key: &str) -> Option<Kind> {
    let name = SECTIONS.into_iter().find(|name| *name == key)?;
    Some(Kind::Section(name))
}

/// A sentence about a key, for those that need one: ours, and Prometheus' whose default differs.
pub(super) fn description(table: &str, key: &str) -> Option<&'static str> {
    let found = DESCRIPTIONS
        .iter()
        .find(|(section, known, _)| *section == table && *known == key);
    found.map(|(_, _, text)| *text)
}

const ROOT: &str = "the top level";
const QUEUE: &str = "queue_config";

const DESCRIPTIONS: [(&str, &str, &str); 40] = [
    (
        ROOT,
        "global",
        "Defaults of the jobs, and labels that every series gets.",
    ),
    (
        ROOT,
        "scrape_configs",
        "Where samples come from: the federation of the home, or any target.",
    ),
    (
        ROOT,
        "remote_write",
        "Where samples go: an AMP workspace, or any remote-write receiver.",
    ),
    (
        ROOT,
        "forwarder",
        "What Prometheus does not have. It may be left out.",
    ),
    (
        GLOBAL.name,
        "external_labels",
        "Labels that every series gets. $NAME expands.",
    ),
    (
        QUEUE,
        "retry_on_http_429",
        "Default: true with sigv4, else false.",
    ),
    (
        QUEUE,
        "sample_age_limit",
        "Default: 55m with sigv4, because AMP takes no older samples.",
    ),
    (
        REMOTE_METADATA.name,
        "send",
        "Whether this remote gets types and help texts.",
    ),
    (
        FORWARDER.name,
        "deadline_margin",
        "Time left unused before the function's time-out. Default: 3s.",
    ),
    (
        FORWARDER.name,
        "memory_limit",
        "Most bytes held at once. Default: 60 % of the function's memory, 512MiB elsewhere.",
    ),
    (
        FORWARDER.name,
        "max_request_bytes",
        "Uncompressed size at which a batch closes. Default: 1000000, at most 16MiB.",
    ),
    (
        FORWARDER.name,
        "spool",
        "Where samples wait that cannot be sent in time.",
    ),
    (
        FORWARDER.name,
        "metadata",
        "Types and help texts of metrics.",
    ),
    (
        FORWARDER.name,
        "remote_read",
        "How samples that /federate did not show are read from the home.",
    ),
    (
        FORWARDER.name,
        "own_series",
        "Series of the forwarder itself, amp_forwarder_*, for the remotes.",
    ),
    (
        OWN_SERIES.name,
        "enabled",
        "Whether each tick sends them. Default: false.",
    ),
    (
        OWN_SERIES.name,
        "instance",
        "Their label instance. Default: amp-forwarder.",
    ),
    (
        FORWARDER.name,
        "metrics",
        "The function's own metrics in CloudWatch.",
    ),
    (
        SPOOL.name,
        "url",
        "s3://bucket/prefix or file:///path. In Lambda it is ${SPOOL_URL} unless it is named.",
    ),
    (
        SPOOL.name,
        "overflow_after",
        "Time that samples beyond capacity wait for room in memory. Default: 5s.",
    ),
    (
        SPOOL.name,
        "drain_samples_per_second",
        "Most samples a second from a remote's backlog. Default: 50000.",
    ),
    (
        SPOOL.name,
        "max_bytes",
        "Most bytes of a remote's segments; beyond it the oldest are lost. Default: 10GiB.",
    ),
    (
        SPOOL.name,
        "segment_bytes",
        "Size of a segment. Default: 8MiB.",
    ),
    (
        SPOOL.name,
        "rejected",
        "What is kept of batches that a remote refused. Default: 100 objects, 100MiB.",
    ),
    (
        SPOOL.name,
        "expired",
        "What is kept of batches that were too old. Default: 1000 objects, 1GiB.",
    ),
    (
        ARCHIVE.name,
        "max_objects",
        "Most objects for each remote; 0 keeps nothing.",
    ),
    (ARCHIVE.name, "max_bytes", "Most bytes for each remote."),
    (
        METADATA.name,
        "enabled",
        "Whether types and help texts are sent. Default: false.",
    ),
    (
        METADATA.name,
        "interval",
        "Time between two sendings. Default: 1h.",
    ),
    (
        METADATA.name,
        "path",
        "Path of the home's API. Default: /api/v1/metadata beside /federate.",
    ),
    (
        METRICS.name,
        "enabled",
        "Whether each tick writes a line of metrics. Default: true.",
    ),
    (
        METRICS.name,
        "namespace",
        "Namespace in CloudWatch. Default: AmpForwarder.",
    ),
    (
        METRICS.name,
        "per_site",
        "Whether a site has metrics of its own, which CloudWatch charges for. Default: false.",
    ),
    (
        REMOTE_READ.name,
        "mode",
        "gaps: what scrapes missed is read. always: every sample is read. off. Default: gaps.",
    ),
    (
        REMOTE_READ.name,
        "path",
        "Path of remote read. Default: /api/v1/read beside /federate.",
    ),
    (
        REMOTE_READ.name,
        "settle",
        "Age below which samples wait for the next read. Default: 15s, at most 5m.",
    ),
    (
        REMOTE_READ.name,
        "overlap",
        "How far behind the watermark a read begins: auto, or at most 5m. Default: auto.",
    ),
    (
        REMOTE_READ.name,
        "resolution",
        "With always: at most one sample of a series in this span. Default: 0s, at most 1h.",
    ),
    (
        REMOTE_READ.name,
        "max_samples",
        "Most samples of one window. Default: by the memory limit.",
    ),
    (HTTP_HEADER.name, "secrets", "Values that are never shown."),
];
