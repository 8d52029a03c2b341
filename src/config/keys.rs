//! The keys of each section: those that we take, and those that Prometheus 3.5 has and we do not
//! (yet).

/// A section's keys.
pub(super) struct Table {
    /// How messages call the section.
    pub(super) name: &'static str,
    pub(super) supported: &'static [&'static str],
    pub(super) unsupported: &'static [Unsupported],
}

/// A key that Prometheus has and we do not take.
pub(super) struct Unsupported {
    /// `*_sd_configs` stands for all that end so.
    pub(super) key: &'static str,
    /// After "not supported: " or "not yet supported: ".
    pub(super) why: &'static str,
    /// What to do about it.
    pub(super) instead: &'static str,
    /// Planned: the message says "yet".
    pub(super) later: bool,
    /// A switch: `false`, the default, asks for nothing and is taken.
    pub(super) switch: bool,
}

const fn never(key: &'static str, why: &'static str, instead: &'static str) -> Unsupported {
    Unsupported {
        key,
        why,
        instead,
        later: false,
        switch: false,
    }
}

const fn later(key: &'static str, why: &'static str, instead: &'static str) -> Unsupported {
    Unsupported {
        key,
        why,
        instead,
        later: true,
        switch: false,
    }
}

const fn switch(key: &'static str, why: &'static str) -> Unsupported {
    Unsupported {
        key,
        why,
        instead: REMOVE,
        later: false,
        switch: true,
    }
}

pub(super) const REMOVE: &str = "remove the key";
const NO_RULES: &str = "rules are not evaluated here";
const RULES: &str = "put the rules into rules management of the AMP workspace, or leave them in the home Prometheus";
const REF: &str = "there is no secret manager of Prometheus' kind";
const REF_INSTEAD: &str = "write ${ssm:name} or ${secretsmanager:id} into the key itself, or use the _file variant with an s3:// object";
const CONVERSION: &str = "classic histograms are sent as they are: not every receiver takes custom buckets by remote write 1.0";
const OTHER_CLOUD: &str = "credentials of other clouds are not fetched";
const OTHER_CLOUD_INSTEAD: &str =
    "use oauth2 or authorization, or keep this endpoint in a Prometheus";
const JWT: &str = "tokens are asked for with a client secret";
const JWT_INSTEAD: &str = "use client_secret or client_secret_file";

pub(super) const ROOT: Table = Table {
    name: "the top level",
    supported: &["global", "scrape_configs", "remote_write", "forwarder"],
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

pub(super) const GLOBAL: Table = Table {
    name: "global",
    supported: &[
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
    ],
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

pub(super) const SCRAPE: Table = Table {
    name: "a scrape_configs entry",
    supported: &[
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
        "basic_auth",
        "authorization",
        "oauth2",
        "bearer_token",
        "bearer_token_file",
        "tls_config",
        "http_headers",
        "follow_redirects",
        "enable_http2",
        "proxy_url",
        "no_proxy",
        "proxy_from_environment",
        "proxy_connect_header",
        "scrape_protocols",
        "fallback_scrape_protocol",
        "scrape_native_histograms",
        "always_scrape_classic_histograms",
        "native_histogram_bucket_limit",
        "native_histogram_min_bucket_factor",
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

pub(super) const STATIC: Table = Table {
    name: "a static_configs entry",
    supported: &["targets", "labels"],
    unsupported: &[],
};

pub(super) const RELABEL: Table = Table {
    name: "a relabel rule",
    supported: &[
        "source_labels",
        "separator",
        "regex",
        "modulus",
        "target_label",
        "replacement",
        "action",
    ],
    unsupported: &[],
};

pub(super) const REMOTE: Table = Table {
    name: "a remote_write entry",
    supported: &[
        "name",
        "url",
        "remote_timeout",
        "headers",
        "write_relabel_configs",
        "send_native_histograms",
        "queue_config",
        "metadata_config",
        "sigv4",
        "basic_auth",
        "authorization",
        "oauth2",
        "bearer_token",
        "bearer_token_file",
        "tls_config",
        "http_headers",
        "follow_redirects",
        "enable_http2",
        "proxy_url",
        "no_proxy",
        "proxy_from_environment",
        "proxy_connect_header",
    ],
    unsupported: &[
        switch(
            "send_exemplars",
            "/federate has no exemplars, and AMP takes none",
        ),
        never(
            "protobuf_message",
            "samples are sent by remote write 1.0, the default, which every receiver takes; 2.0 is left out for now",
            REMOVE,
        ),
        never("azuread", OTHER_CLOUD, OTHER_CLOUD_INSTEAD),
        never("google_iam", OTHER_CLOUD, OTHER_CLOUD_INSTEAD),
        never(
            "round_robin_dns",
            "addresses are tried in the order of the resolver",
            REMOVE,
        ),
        never(
            "failed_request_logging",
            "failed requests are in the log and in the report",
            REMOVE,
        ),
    ],
};

pub(super) const QUEUE: Table = Table {
    name: "queue_config",
    supported: &[
        "capacity",
        "max_shards",
        "min_shards",
        "max_samples_per_send",
        "batch_send_deadline",
        "min_backoff",
        "max_backoff",
        "retry_on_http_429",
        "sample_age_limit",
    ],
    unsupported: &[],
};

pub(super) const SIGV4: Table = Table {
    name: "sigv4",
    supported: &[
        "region",
        "access_key",
        "secret_key",
        "profile",
        "role_arn",
        "external_id",
        "use_fips_sts_endpoint",
        "service_name",
    ],
    unsupported: &[],
};

pub(super) const BASIC_AUTH: Table = Table {
    name: "basic_auth",
    supported: &["username", "username_file", "password", "password_file"],
    unsupported: &[
        never("username_ref", REF, REF_INSTEAD),
        never("password_ref", REF, REF_INSTEAD),
    ],
};

pub(super) const AUTHORIZATION: Table = Table {
    name: "authorization",
    supported: &["type", "credentials", "credentials_file"],
    unsupported: &[never("credentials_ref", REF, REF_INSTEAD)],
};

pub(super) const OAUTH2: Table = Table {
    name: "oauth2",
    supported: &[
        "client_id",
        "client_secret",
        "client_secret_file",
        "scopes",
        "token_url",
        "endpoint_params",
        "tls_config",
        "proxy_url",
        "no_proxy",
        "proxy_from_environment",
        "proxy_connect_header",
    ],
    unsupported: &[
        never("client_secret_ref", REF, REF_INSTEAD),
        never("grant_type", JWT, JWT_INSTEAD),
        never("client_certificate_key", JWT, JWT_INSTEAD),
        never("client_certificate_key_file", JWT, JWT_INSTEAD),
        never("client_certificate_key_ref", JWT, JWT_INSTEAD),
        never("client_certificate_key_id", JWT, JWT_INSTEAD),
        never("signature_algorithm", JWT, JWT_INSTEAD),
        never("iss", JWT, JWT_INSTEAD),
        never("audience", JWT, JWT_INSTEAD),
        never("claims", JWT, JWT_INSTEAD),
    ],
};

pub(super) const TLS: Table = Table {
    name: "tls_config",
    supported: &[
        "ca",
        "ca_file",
        "cert",
        "cert_file",
        "key",
        "key_file",
        "server_name",
        "insecure_skip_verify",
        "min_version",
        "max_version",
    ],
    unsupported: &[
        never("ca_ref", REF, REF_INSTEAD),
        never("cert_ref", REF, REF_INSTEAD),
        never("key_ref", REF, REF_INSTEAD),
    ],
};

pub(super) const HTTP_HEADER: Table = Table {
    name: "a header of http_headers",
    supported: &["values", "secrets", "files"],
    unsupported: &[],
};

pub(super) const FORWARDER: Table = Table {
    name: "forwarder",
    supported: &[
        "deadline_margin",
        "memory_limit",
        "max_request_bytes",
        "spool",
        "metadata",
        "metrics",
    ],
    unsupported: &[later("backfill", "gaps are not filled", REMOVE)],
};

pub(super) const SPOOL: Table = Table {
    name: "forwarder.spool",
    supported: &[
        "url",
        "overflow_after",
        "drain_samples_per_second",
        "max_bytes",
        "segment_bytes",
        "rejected",
        "expired",
    ],
    unsupported: &[],
};

pub(super) const KEPT: Table = Table {
    name: "rejected or expired of forwarder.spool",
    supported: &["max_objects", "max_bytes"],
    unsupported: &[],
};

pub(super) const REMOTE_METADATA: Table = Table {
    name: "metadata_config",
    supported: &["send", "send_interval", "max_samples_per_send"],
    unsupported: &[],
};

pub(super) const METADATA: Table = Table {
    name: "forwarder.metadata",
    supported: &["enabled", "interval", "path"],
    unsupported: &[],
};

pub(super) const METRICS: Table = Table {
    name: "forwarder.metrics",
    supported: &["enabled", "namespace"],
    unsupported: &[],
};

const ALL: [&Table; 19] = [
    &ROOT,
    &GLOBAL,
    &SCRAPE,
    &STATIC,
    &RELABEL,
    &REMOTE,
    &QUEUE,
    &SIGV4,
    &BASIC_AUTH,
    &AUTHORIZATION,
    &OAUTH2,
    &TLS,
    &HTTP_HEADER,
    &FORWARDER,
    &SPOOL,
    &KEPT,
    &METRICS,
    &REMOTE_METADATA,
    &METADATA,
];

impl Table {
    /// The row of a key that Prometheus has and we do not take.
    pub(super) fn unsupported(&self, key: &str) -> Option<&'static Unsupported> {
        self.unsupported
            .iter()
            .find(|row| match row.key.strip_prefix('*') {
                Some(suffix) => key.ends_with(suffix),
                None => row.key == key,
            })
    }

    /// What an unknown key may have been meant for.
    pub(super) fn advice(&self, key: &str) -> String {
        let wanted = key.to_lowercase();
        let near = self
            .supported
            .iter()
            .map(|known| (strsim::damerau_levenshtein(&wanted, known), *known))
            .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
            .min();
        if let Some((_, known)) = near {
            return format!("did you mean {known}?");
        }
        let elsewhere: Vec<_> = ALL
            .iter()
            .filter(|table| table.supported.contains(&key))
            .map(|table| table.name)
            .collect();
        if elsewhere.is_empty() {
            return format!("{} takes {}", self.name, self.supported.join(", "));
        }
        format!("it belongs into {}", elsewhere.join(" or "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_both_supported_and_not() {
        for table in ALL {
            for key in table.supported {
                assert!(table.unsupported(key).is_none(), "{}: {key}", table.name);
            }
        }
    }

    #[test]
    fn advice_names_the_nearest_key_or_the_right_section() {
        assert_eq!(
            SCRAPE.advice("scrape_intervall"),
            "did you mean scrape_interval?"
        );
        assert_eq!(SCRAPE.advice("honour_labels"), "did you mean honor_labels?");
        assert_eq!(
            QUEUE.advice("max_sample_per_send"),
            "did you mean max_samples_per_send?"
        );
        assert_eq!(ROOT.advice("Global"), "did you mean global?");
        assert_eq!(REMOTE.advice("max_shards"), "it belongs into queue_config");
        assert_eq!(
            ROOT.advice("scrape_interval"),
            "it belongs into global or a scrape_configs entry"
        );
        assert_eq!(
            STATIC.advice("zebra"),
            "a static_configs entry takes targets, labels"
        );
    }

    #[test]
    fn discovery_is_known_by_its_ending() {
        assert!(SCRAPE.unsupported("kubernetes_sd_configs").is_some());
        assert!(SCRAPE.unsupported("made_up").is_none());
    }
}
