//! Which formats a job asks for, and how it takes native histograms.

use super::problem::shown;
use super::reader::{Reader, Section, StringKind};

/// A format, by the name that Prometheus' configuration gives it (config/config.go
/// `ScrapeProtocol`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScrapeProtocol {
    /// Delimited protobuf.
    PrometheusProto,
    /// Text.
    PrometheusText0_0_4,
    /// Text with any UTF-8 name, in quotes.
    PrometheusText1_0_0,
    /// OpenMetrics before it was one.
    OpenMetricsText0_0_1,
    /// OpenMetrics.
    OpenMetricsText1_0_0,
}

use ScrapeProtocol::{
    OpenMetricsText0_0_1, OpenMetricsText1_0_0, PrometheusProto, PrometheusText0_0_4,
    PrometheusText1_0_0,
};

/// In the order in which messages list them.
const ALL: [ScrapeProtocol; 5] = [
    OpenMetricsText0_0_1,
    OpenMetricsText1_0_0,
    PrometheusProto,
    PrometheusText0_0_4,
    PrometheusText1_0_0,
];

/// config/config.go `DefaultProtoFirstScrapeProtocols`; `DefaultScrapeProtocols` are these without
/// the first.
const DEFAULT: [ScrapeProtocol; 5] = [
    PrometheusProto,
    OpenMetricsText1_0_0,
    OpenMetricsText0_0_1,
    PrometheusText1_0_0,
    PrometheusText0_0_4,
];

/// What `/federate` is asked for: its text loses native histograms, and a label name with a colon
/// breaks it. It has no OpenMetrics.
pub const FEDERATE_PROTOCOLS: [ScrapeProtocol; 3] =
    [PrometheusProto, PrometheusText1_0_0, PrometheusText0_0_4];

impl ScrapeProtocol {
    /// As the configuration names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            PrometheusProto => "PrometheusProto",
            PrometheusText0_0_4 => "PrometheusText0.0.4",
            PrometheusText1_0_0 => "PrometheusText1.0.0",
            OpenMetricsText0_0_1 => "OpenMetricsText0.0.1",
            OpenMetricsText1_0_0 => "OpenMetricsText1.0.0",
        }
    }
}

/// The keys of a job about histograms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HistogramConfig {
    /// `scrape_native_histograms`. Default true: native ones are taken where they are exposed.
    pub native: bool,
    /// `always_scrape_classic_histograms`. Default false: of one that is exposed in both ways only
    /// the native one is taken.
    pub always_classic: bool,
    /// `native_histogram_bucket_limit`: buckets that a histogram is coarsened to; 0 is no limit.
    pub bucket_limit: u64,
    /// `native_histogram_min_bucket_factor`: the growth from bucket to bucket that a histogram is
    /// coarsened to; 0 is none.
    pub min_bucket_factor: f64,
}

impl Default for HistogramConfig {
    fn default() -> Self {
        Self {
            native: true,
            always_classic: false,
            bucket_limit: 0,
            min_bucket_factor: 0.0,
        }
    }
}

/// What jobs take over from `global`.
#[derive(Debug, Clone, Default)]
pub(super) struct FormatDefaults {
    protocols: Option<Vec<ScrapeProtocol>>,
    always_classic: bool,
    native: Option<bool>,
}

/// config/config.go `GlobalConfig.UnmarshalYAML`
pub(super) fn read_global(reader: &mut Reader<'_>, section: &Section<'_>) -> FormatDefaults {
    FormatDefaults {
        protocols: read_protocols(reader, section, "global config"),
        always_classic: reader
            .boolean(section, "always_scrape_classic_histograms")
            .unwrap_or(false),
        native: reader.boolean(section, "scrape_native_histograms"),
    }
}

/// A job's formats, the one that a target without a usable `Content-Type` gets, and its histograms
/// (config/config.go `ScrapeConfig.Validate`).
pub(super) fn read_job(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    job_name: &str,
    metrics_path: &str,
    global: &FormatDefaults,
) -> (Vec<ScrapeProtocol>, Option<ScrapeProtocol>, HistogramConfig) {
    let own = read_protocols(
        reader,
        section,
        &format!("scrape config with job name {}", shown(job_name)),
    );
    let native = reader
        .boolean(section, "scrape_native_histograms")
        .or(global.native);
    let protocols = own.or_else(|| global.protocols.clone()).unwrap_or_else(|| {
        // Only a wish to have none keeps /federate from protobuf, and only one to have some brings
        // others to it.
        match native {
            Some(false) | None if !metrics_path.ends_with("/federate") => DEFAULT[1..].to_vec(),
            _ if metrics_path.ends_with("/federate") => FEDERATE_PROTOCOLS.to_vec(),
            _ => DEFAULT.to_vec(),
        }
    });
    let fallback = reader
        .string(section, "fallback_scrape_protocol", StringKind::Plain)
        .filter(|name| !name.is_empty())
        .and_then(|name| {
            let path = section.path_of("fallback_scrape_protocol");
            let whose = format!(
                "invalid fallback_scrape_protocol for scrape config with job name {}: ",
                shown(job_name)
            );
            named(reader, &name, &path, &whose, "")
        });
    let histograms = HistogramConfig {
        native: native.unwrap_or(true),
        always_classic: reader
            .boolean(section, "always_scrape_classic_histograms")
            .unwrap_or(global.always_classic),
        bucket_limit: reader
            .count(section, "native_histogram_bucket_limit")
            .unwrap_or(0),
        min_bucket_factor: reader
            .number(section, "native_histogram_min_bucket_factor")
            .unwrap_or(0.0),
    };
    (protocols, fallback, histograms)
}

/// config/config.go `validateAcceptScrapeProtocols`
fn read_protocols(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    whose: &str,
) -> Option<Vec<ScrapeProtocol>> {
    reader.entry(section, "scrape_protocols")?;
    let path = section.path_of("scrape_protocols");
    let before = reader.problems.len();
    let names = reader.strings(section, "scrape_protocols", StringKind::Plain);
    if names.is_empty() && reader.problems.len() == before {
        reader.error_at(
            &path,
            format!("scrape_protocols cannot be empty for {whose}"),
            super::keys::REMOVE,
        );
    }
    let mut protocols = Vec::new();
    for (name, item_path) in &names {
        let Some(protocol) = named(
            reader,
            name,
            item_path,
            "scrape_protocols: ",
            &format!(" for {whose}"),
        ) else {
            continue;
        };
        if protocols.contains(&protocol) {
            let all: Vec<_> = names.iter().map(|(name, _)| name.as_str()).collect();
            reader.error_at(
                item_path,
                format!(
                    "duplicated protocol in scrape_protocols, got [{}] for {whose}",
                    all.join(" ")
                ),
                "remove one",
            );
            continue;
        }
        protocols.push(protocol);
    }
    Some(protocols)
}

/// config/config.go `ScrapeProtocol.Validate`
fn named(
    reader: &mut Reader<'_>,
    name: &str,
    path: &str,
    before: &str,
    behind: &str,
) -> Option<ScrapeProtocol> {
    let found = ALL.into_iter().find(|protocol| protocol.name() == name);
    if found.is_none() {
        let supported = ALL.map(ScrapeProtocol::name).join(" ");
        reader.error_at(
            path,
            format!(
                "{before}unknown scrape protocol {}, supported: [{supported}]{behind}",
                shown(name)
            ),
            "",
        );
    }
    found
}

#[cfg(test)]
mod tests;
