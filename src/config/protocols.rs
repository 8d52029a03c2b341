//! The formats that a job asks for, and its settings for native histograms.

use super::problem::shown;
use super::reader::{Reader, Section, StringKind};

/// An exposition format. // config/config.go ScrapeProtocol
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScrapeProtocol {
    /// Protobuf messages, each with its length before it.
    PrometheusProto,
    /// The classic text format.
    PrometheusText0_0_4,
    /// The classic text format with any UTF-8 names, in quotes.
    PrometheusText1_0_0,
    /// A draft of OpenMetrics.
    OpenMetricsText0_0_1,
    /// OpenMetrics 1.0.
    OpenMetricsText1_0_0,
}

use ScrapeProtocol::{
    OpenMetricsText0_0_1, OpenMetricsText1_0_0, PrometheusProto, PrometheusText0_0_4,
    PrometheusText1_0_0,
};

/// All formats, in the order in which messages list them.
const ALL: [ScrapeProtocol; 5] = [
    OpenMetricsText0_0_1,
    OpenMetricsText1_0_0,
    PrometheusProto,
    PrometheusText0_0_4,
    PrometheusText1_0_0,
];

/// The formats of a job that wants native histograms; other jobs ask for these without the first.
/// // config/config.go DefaultProtoFirstScrapeProtocols, DefaultScrapeProtocols
const DEFAULT: [ScrapeProtocol; 5] = [
    PrometheusProto,
    OpenMetricsText1_0_0,
    OpenMetricsText0_0_1,
    PrometheusText1_0_0,
    PrometheusText0_0_4,
];

/// The formats that a job asks `/federate` for by default: protobuf first, because the text of
/// `/federate` loses native histograms, and a label name with a colon breaks it. `/federate` has no
/// OpenMetrics.
pub const FEDERATE_PROTOCOLS: [ScrapeProtocol; 3] =
    [PrometheusProto, PrometheusText1_0_0, PrometheusText0_0_4];

impl ScrapeProtocol {
    /// The format's name in the configuration.
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

/// A job's settings for histograms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HistogramConfig {
    /// `scrape_native_histograms`: native histograms are taken where they are exposed. Default
    /// true.
    pub native: bool,
    /// `always_scrape_classic_histograms`: a histogram that is exposed in both ways is taken in
    /// both; otherwise only the native one is. Default false.
    pub always_classic: bool,
    /// `native_histogram_bucket_limit`: most buckets; a histogram with more is coarsened. 0 is no
    /// limit.
    pub bucket_limit: u64,
    /// `native_histogram_min_bucket_factor`: smallest growth from one bucket to the next; a
    /// histogram with a smaller one is coarsened. 0 is no limit.
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

/// Settings that jobs take over from `global`.
#[derive(Debug, Clone, Default)]
pub(super) struct FormatDefaults {
    protocols: Option<Vec<ScrapeProtocol>>,
    always_classic: bool,
    native: Option<bool>,
}

/// Reads the settings of `global`. // config/config.go GlobalConfig.UnmarshalYAML
pub(super) fn read_global(reader: &mut Reader<'_>, section: &Section<'_>) -> FormatDefaults {
    FormatDefaults {
        protocols: read_protocols(reader, section, "global config"),
        always_classic: reader
            .boolean(section, "always_scrape_classic_histograms")
            .unwrap_or(false),
        native: reader.boolean(section, "scrape_native_histograms"),
    }
}

/// The formats of a job.
pub(super) struct JobFormats {
    /// Formats that it asks for, best first.
    pub(super) protocols: Vec<ScrapeProtocol>,
    /// Format of an answer without a usable `Content-Type`.
    pub(super) fallback: Option<ScrapeProtocol>,
    pub(super) histograms: HistogramConfig,
}

/// Reads a job's formats. // config/config.go ScrapeConfig.Validate
pub(super) fn read_job(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    job_name: &str,
    metrics_path: &str,
    global: &FormatDefaults,
) -> JobFormats {
    let own = read_protocols(
        reader,
        section,
        &format!("scrape config with job name {}", shown(job_name)),
    );
    let native = reader
        .boolean(section, "scrape_native_histograms")
        .or(global.native);
    let protocols = own
        .or_else(|| global.protocols.clone())
        .unwrap_or_else(|| default_protocols(metrics_path, native));
    let fallback = read_fallback(reader, section, job_name);
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
    JobFormats {
        protocols,
        fallback,
        histograms,
    }
}

/// Whether a path is that of a federation, with or without its first slash.
pub(super) fn is_federation(metrics_path: &str) -> bool {
    metrics_path == "federate" || metrics_path.ends_with("/federate")
}

/// The formats of a job that names none. `native` says what the configuration wants of native
/// histograms, if it says anything.
fn default_protocols(metrics_path: &str, native: Option<bool>) -> Vec<ScrapeProtocol> {
    if is_federation(metrics_path) {
        FEDERATE_PROTOCOLS.to_vec()
    } else if native == Some(true) {
        DEFAULT.to_vec()
    } else {
        DEFAULT[1..].to_vec()
    }
}

fn read_fallback(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    job_name: &str,
) -> Option<ScrapeProtocol> {
    const KEY: &str = "fallback_scrape_protocol";
    let name = reader.filled_string(section, KEY, StringKind::Plain)?;
    let before = format!(
        "invalid fallback_scrape_protocol for scrape config with job name {}: ",
        shown(job_name)
    );
    let context = MessageContext {
        before: &before,
        after: "",
    };
    named(reader, &name, &section.path_of(KEY), context)
}

/// Reads `scrape_protocols`. Messages end with `whose` list it is. // config/config.go
/// validateAcceptScrapeProtocols
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
    let after = format!(" for {whose}");
    let context = MessageContext {
        before: "scrape_protocols: ",
        after: &after,
    };
    let mut protocols = Vec::new();
    for (name, item_path) in &names {
        let Some(protocol) = named(reader, name, item_path, context) else {
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

/// The text around the message of an unknown format.
#[derive(Clone, Copy)]
struct MessageContext<'a> {
    before: &'a str,
    after: &'a str,
}

/// The format of that name. An unknown one is reported. // config/config.go ScrapeProtocol.Validate
fn named(
    reader: &mut Reader<'_>,
    name: &str,
    path: &str,
    context: MessageContext<'_>,
) -> Option<ScrapeProtocol> {
    let found = ALL.into_iter().find(|protocol| protocol.name() == name);
    if found.is_none() {
        let supported = ALL.map(ScrapeProtocol::name).join(" ");
        reader.error_at(
            path,
            format!(
                "{}unknown scrape protocol {}, supported: [{supported}]{}",
                context.before,
                shown(name),
                context.after
            ),
            "",
        );
    }
    found
}

#[cfg(test)]
mod tests;
