//! Formats and histograms, as jobs and `global` ask for them.

use super::*;
use crate::config::{Config, ScrapeConfig};

const REMOTE: &str = "remote_write: [{url: 'http://h/w'}]\n";

fn load(text: &str) -> Result<Config, String> {
    Config::load(&format!("{REMOTE}{text}"), &|_| None, "x")
        .map(|loaded| loaded.config)
        .map_err(|errors| errors.to_string())
}

fn job(global: &str, keys: &str) -> ScrapeConfig {
    let text = format!(
        "global: {{{global}}}\nscrape_configs: [{{job_name: a, static_configs: [{{targets: \
         ['h:1']}}], {keys}}}]"
    );
    load(&text)
        .unwrap_or_else(|errors| panic!("{text}\n{errors}"))
        .scrape_configs
        .remove(0)
}

#[test]
fn a_key_that_is_not_supported_may_have_no_value() {
    let whole = |remote: &str| {
        let text = format!(
            "scrape_configs: [{{job_name: j, ec2_sd_configs: ~}}]\n\
             remote_write: [{{url: 'http://h/w', {remote}}}]"
        );
        Config::load(&text, &|_| None, "x").map_err(|errors| errors.to_string())
    };
    let loaded = whole("send_exemplars: null, azuread: , round_robin_dns: ~");
    assert!(loaded.is_ok(), "{:?}", loaded.err());
    let refused = whole("protobuf_message: ~").unwrap_err();
    assert!(refused.contains("protobuf_message"), "{refused}");
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
    assert_eq!(job("", "").histograms, HistogramConfig::default());
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
    const SUPPORTED: &str = "supported: [OpenMetricsText0.0.1 OpenMetricsText1.0.0 \
        PrometheusProto PrometheusText0.0.4 PrometheusText1.0.0]";
    let job = |keys: &str| format!("scrape_configs: [{{job_name: a, {keys}}}]");
    for (text, parts) in [
        (
            job("scrape_protocols: []"),
            &["scrape_protocols cannot be empty for scrape config with job name \"a\""][..],
        ),
        (
            job("scrape_protocols: [PrometheusProto, PrometheusProto]"),
            &[
                "duplicated protocol in scrape_protocols, got [PrometheusProto PrometheusProto] \
                 for scrape config with job name \"a\"",
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
                "invalid fallback_scrape_protocol for scrape config with job name \"a\": unknown \
                 scrape protocol \"Foo\"",
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
            &["it belongs in a scrape_configs entry"],
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
    let text = "remote_write: [{url: 'http://h/w', send_exemplars: false, send_native_histograms: \
        true}]\n\
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
