//! Which formats a job asks for, and how it takes native histograms.

use super::problem::shown;
use super::reader::{Reader, Section, Text};
use super::{Histograms, ScrapeConfig};

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

impl ScrapeConfig {
    /// Whether the job federates, by its path.
    #[must_use]
    pub fn is_federation(&self) -> bool {
        self.metrics_path.ends_with("/federate")
    }
}

/// What jobs take over from `global`.
#[derive(Debug, Clone, Default)]
pub(super) struct Formats {
    protocols: Option<Vec<ScrapeProtocol>>,
    always_classic: bool,
    native: Option<bool>,
}

/// config/config.go `GlobalConfig.UnmarshalYAML`
pub(super) fn read_global(reader: &mut Reader<'_>, section: &Section<'_>) -> Formats {
    Formats {
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
    global: &Formats,
) -> (Vec<ScrapeProtocol>, Option<ScrapeProtocol>, Histograms) {
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
        .string(section, "fallback_scrape_protocol", Text::Plain)
        .filter(|name| !name.is_empty())
        .and_then(|name| {
            let path = section.path_of("fallback_scrape_protocol");
            let whose = format!(
                "invalid fallback_scrape_protocol for scrape config with job name {}: ",
                shown(job_name)
            );
            named(reader, &name, &path, &whose, "")
        });
    let histograms = Histograms {
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
    let names = reader.strings(section, "scrape_protocols", Text::Plain);
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
mod tests {
    use super::*;
    use crate::config::Config;

    const REMOTE: &str = "remote_write: [{url: 'http://h/w'}]\n";

    fn load(text: &str) -> Result<Config, String> {
        Config::load(&format!("{REMOTE}{text}"), &|_| None, "x")
            .map(|loaded| loaded.config)
            .map_err(|errors| errors.to_string())
    }

    fn job(global: &str, keys: &str) -> ScrapeConfig {
        let text = format!(
            "global: {{{global}}}\nscrape_configs: [{{job_name: a, static_configs: [{{targets: ['h:1']}}], {keys}}}]"
        );
        load(&text)
            .unwrap_or_else(|errors| panic!("{text}\n{errors}"))
            .scrape_configs
            .remove(0)
    }

    #[test]
    fn a_job_asks_for_what_it_names_or_what_global_names_or_the_default() {
        const FEDERATE: &str = "metrics_path: /prometheus/federate";
        let cases: &[(&str, &str, &[ScrapeProtocol])] = &[
            ("", "", &DEFAULT[1..]),
            ("", FEDERATE, &FEDERATE_PROTOCOLS),
            ("scrape_native_histograms: true", "", &DEFAULT),
            (
                "scrape_native_histograms: true",
                FEDERATE,
                &FEDERATE_PROTOCOLS,
            ),
            (
                "scrape_native_histograms: true",
                "scrape_native_histograms: false",
                &DEFAULT[1..],
            ),
            (
                "",
                "scrape_native_histograms: false, metrics_path: /federate",
                &FEDERATE_PROTOCOLS,
            ),
            (
                "scrape_protocols: [PrometheusText0.0.4]",
                FEDERATE,
                &[PrometheusText0_0_4],
            ),
            (
                "scrape_protocols: [PrometheusText0.0.4]",
                "scrape_protocols: [PrometheusProto, OpenMetricsText1.0.0]",
                &[PrometheusProto, OpenMetricsText1_0_0],
            ),
        ];
        for (global, keys, expected) in cases {
            assert_eq!(
                job(global, keys).scrape_protocols,
                *expected,
                "{global} {keys}"
            );
        }
        assert_eq!(job("", "").fallback_scrape_protocol, None);
        assert_eq!(
            job("", "fallback_scrape_protocol: ''").fallback_scrape_protocol,
            None
        );
        assert_eq!(
            job("", "fallback_scrape_protocol: PrometheusProto").fallback_scrape_protocol,
            Some(PrometheusProto)
        );
    }

    #[test]
    fn histograms_are_taken_as_a_job_or_global_says() {
        assert_eq!(job("", "").histograms, Histograms::default());
        assert!(
            job("always_scrape_classic_histograms: true", "")
                .histograms
                .always_classic
        );
        assert!(
            !job(
                "always_scrape_classic_histograms: true",
                "always_scrape_classic_histograms: false"
            )
            .histograms
            .always_classic
        );
        assert!(!job("scrape_native_histograms: false", "").histograms.native);
        let limited = job(
            "",
            "native_histogram_bucket_limit: 160, native_histogram_min_bucket_factor: 1.1",
        )
        .histograms;
        assert_eq!(
            (limited.bucket_limit, limited.min_bucket_factor),
            (160, 1.1)
        );
    }

    #[test]
    fn what_is_refused_is_worded_as_by_prometheus() {
        const SUPPORTED: &str = "supported: [OpenMetricsText0.0.1 OpenMetricsText1.0.0 PrometheusProto PrometheusText0.0.4 PrometheusText1.0.0]";
        let job = |keys: &str| format!("scrape_configs: [{{job_name: a, {keys}}}]");
        for (text, parts) in [
            (
                job("scrape_protocols: []"),
                &["scrape_protocols cannot be empty for scrape config with job name \"a\""][..],
            ),
            (
                job("scrape_protocols: [PrometheusProto, PrometheusProto]"),
                &[
                    "duplicated protocol in scrape_protocols, got [PrometheusProto PrometheusProto] for scrape config with job name \"a\"",
                ],
            ),
            (
                job("scrape_protocols: [prometheusproto]"),
                &[
                    "scrape_protocols: unknown scrape protocol \"prometheusproto\"",
                    SUPPORTED,
                ],
            ),
            (
                job("scrape_protocols: PrometheusProto"),
                &["expected a list"],
            ),
            (
                "global: {scrape_protocols: []}".to_owned(),
                &["scrape_protocols cannot be empty for global config"],
            ),
            (
                job("fallback_scrape_protocol: Foo"),
                &[
                    "invalid fallback_scrape_protocol for scrape config with job name \"a\": unknown scrape protocol \"Foo\"",
                    SUPPORTED,
                ],
            ),
            (
                job("native_histogram_min_bucket_factor: x"),
                &["found \"x\", expected a number"],
            ),
            (
                job("convert_classic_histograms_to_nhcb: true"),
                &["not supported: classic histograms are sent as they are"],
            ),
            (
                "global: {native_histogram_bucket_limit: 1}".to_owned(),
                &["it belongs into a scrape_configs entry"],
            ),
        ] {
            let errors = load(&text).expect_err(&text);
            for part in parts {
                assert!(errors.contains(part), "{text}\n{errors}\nlacks {part}");
            }
        }
    }

    #[test]
    fn a_switch_that_is_off_asks_for_nothing() {
        let text = "remote_write: [{url: 'http://h/w', send_exemplars: false, send_native_histograms: true}]\n\
                    scrape_configs: [{job_name: a, convert_classic_histograms_to_nhcb: false}]\nglobal: {convert_classic_histograms_to_nhcb: no}";
        let config = Config::load(text, &|_| None, "x").unwrap().config;
        assert!(config.remote_write[0].send_native_histograms);
        let on = text.replace("send_exemplars: false", "send_exemplars: true");
        assert!(
            Config::load(&on, &|_| None, "x")
                .unwrap_err()
                .to_string()
                .contains("send_exemplars: not supported: /federate has no exemplars")
        );
    }
}
