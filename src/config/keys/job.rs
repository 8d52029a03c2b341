//! Keys of the top level, of `global` and of jobs.

use super::http::{HTTP_CLIENT, PROXY};
use super::table::{REMOVE, Table, never, switch};

const NO_RULES: &str = "rules are not evaluated here";

const RULES: &str = "put the rules into rules management of the AMP workspace, or leave them in \
    the home Prometheus";

const CONVERSION: &str = "classic histograms are sent as they are: not every receiver takes \
    custom buckets by remote write 1.0";

pub(in crate::config) const ROOT: Table = Table {
    name: "the top level",
    supported: &[&["global", "scrape_configs", "remote_write", "forwarder"]],
    unsupported: &[
        never("rule_files", NO_RULES, RULES),
        never(
            "alerting",
            "alerts are not sent from here",
            "configure the alert manager of the AMP workspace",
        ),
        never("storage", "nothing is stored here", REMOVE),
        never("tracing", "no traces are sent", REMOVE),
        never("runtime", "there is no Go runtime to tune", REMOVE),
        never(
            "otlp",
            "nothing is received here",
            "send OTLP to a collector",
        ),
        never(
            "remote_read",
            "nothing is queried here",
            "query the AMP workspace, or the home Prometheus",
        ),
        never(
            "scrape_config_files",
            "the configuration is one file",
            "move the jobs into scrape_configs",
        ),
    ],
};

pub(in crate::config) const GLOBAL: Table = Table {
    name: "global",
    supported: &[&[
        "scrape_interval",
        "scrape_timeout",
        "external_labels",
        "body_size_limit",
        "sample_limit",
        "target_limit",
        "label_limit",
        "label_name_length_limit",
        "label_value_length_limit",
        "keep_dropped_targets",
        "metric_name_validation_scheme",
        "metric_name_escaping_scheme",
        "extra_scrape_metrics",
        "scrape_protocols",
        "scrape_native_histograms",
        "always_scrape_classic_histograms",
    ]],
    unsupported: &[
        never("evaluation_interval", NO_RULES, REMOVE),
        never("rule_query_offset", NO_RULES, REMOVE),
        never("query_log_file", "nothing is queried here", REMOVE),
        never(
            "scrape_failure_log_file",
            "failed scrapes are in the log and in the report",
            REMOVE,
        ),
        switch("convert_classic_histograms_to_nhcb", CONVERSION),
    ],
};

pub(in crate::config) const SCRAPE: Table = Table {
    name: "a scrape_configs entry",
    supported: &[
        &[
            "job_name",
            "scrape_interval",
            "scrape_timeout",
            "scheme",
            "metrics_path",
            "params",
            "honor_labels",
            "honor_timestamps",
            "track_timestamps_staleness",
            "static_configs",
            "body_size_limit",
            "sample_limit",
            "target_limit",
            "label_limit",
            "label_name_length_limit",
            "label_value_length_limit",
            "keep_dropped_targets",
            "metric_name_validation_scheme",
            "metric_name_escaping_scheme",
            "extra_scrape_metrics",
            "enable_compression",
            "relabel_configs",
            "metric_relabel_configs",
        ],
        HTTP_CLIENT,
        PROXY,
        &[
            "scrape_protocols",
            "fallback_scrape_protocol",
            "scrape_native_histograms",
            "always_scrape_classic_histograms",
            "native_histogram_bucket_limit",
            "native_histogram_min_bucket_factor",
        ],
    ],
    unsupported: &[
        never(
            "*_sd_configs",
            "targets are not discovered",
            "list the targets in static_configs; discovery is the home Prometheus' work",
        ),
        switch("convert_classic_histograms_to_nhcb", CONVERSION),
        never(
            "scrape_failure_log_file",
            "failed scrapes are in the log and in the report",
            REMOVE,
        ),
    ],
};

pub(in crate::config) const STATIC: Table = Table {
    name: "a static_configs entry",
    supported: &[&["targets", "labels"]],
    unsupported: &[],
};

pub(in crate::config) const RELABEL: Table = Table {
    name: "a relabel rule",
    supported: &[&[
        "source_labels",
        "separator",
        "regex",
        "modulus",
        "target_label",
        "replacement",
        "action",
    ]],
    unsupported: &[],
};
