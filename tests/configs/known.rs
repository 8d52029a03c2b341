//! The differences that are meant, each with its reason.

/// A difference that is meant.
pub(crate) struct Known {
    /// Start and parts of the difference, as `main` and `compare` write it; `*` is any text.
    pub(crate) pattern: &'static str,
    /// A configuration that shows it, as `grammar::around` takes it.
    pub(crate) example: &'static str,
    /// Why it is meant.
    pub(crate) reason: &'static str,
}

impl Known {
    pub(crate) fn is(&self, difference: &str) -> bool {
        let mut parts = self.pattern.split('*');
        let Some(mut rest) = parts
            .next()
            .and_then(|start| difference.strip_prefix(start))
        else {
            return false;
        };
        for part in parts {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        true
    }
}

const NULL: &str = "a key without a value has its default here, with a warning; Prometheus takes it for false, 0 or nothing";

pub(crate) const KNOWN: &[Known] = &[
    Known {
        pattern: "refused: *queue_config.m*: found 0, expected",
        example: "remote: queue_config: {max_shards: 0}",
        reason: "with no shards or no samples per send, Prometheus ends in a panic; without a pause it retries in a tight loop",
    },
    Known {
        pattern: "refused: *remote_timeout: found 0",
        example: "remote: remote_timeout: 0s",
        reason: "every request would end before it starts",
    },
    Known {
        pattern: "refused: *.url: found the scheme",
        example: "remote: write_relabel_configs: []\n- url: ftp://h/",
        reason: "such a remote can never be written to",
    },
    Known {
        pattern: "refused: *proxy_url: found no address of a proxy that speaks HTTP",
        example: "job: proxy_url: socks5://p:1",
        reason: "SOCKS is not spoken; `import` leaves the key out",
    },
    Known {
        pattern: "refused: *found the same url with the same write_relabel_configs",
        example: "remote: queue_config: {max_shards: 2}\n- url: http://receiver/",
        reason: "an unnamed remote's folder in the spool is named after its URL and rules: give each a name",
    },
    Known {
        pattern: "value: scrape_configs.scrape_protocols: ",
        example: "job: metrics_path: /federate",
        reason: "`/federate` is asked for protobuf first: its text loses native histograms",
    },
    Known {
        pattern: "value: remote_write.queue_config.sample_age_limit: \"55m\"",
        example: "remote: sigv4: {region: eu-west-1, access_key: a, secret_key: b}",
        reason: "AMP refuses samples older than an hour",
    },
    Known {
        pattern: "value: remote_write.queue_config.retry_on_http_429: \"true\"",
        example: "remote: sigv4: {region: eu-west-1, access_key: a, secret_key: b}",
        reason: "AMP has stored nothing when it answers 429",
    },
    Known {
        pattern: "value: scrape_configs.metric_name_*: ",
        example: "remote: sigv4: {region: eu-west-1, access_key: a, secret_key: b}",
        reason: "AMP refuses names in UTF-8, so that the default is legacy where a remote signs",
    },
    Known {
        pattern: "value: scrape_configs.proxy_from_environment: ",
        example: "job: proxy_from_environment: true",
        reason: "`--effective` shows the proxies that the environment names, in the place of the key",
    },
    Known {
        pattern: "value: scrape_configs.honor_timestamps: \"true\"",
        example: "job: honor_timestamps: ~",
        reason: NULL,
    },
    Known {
        pattern: "value: *.follow_redirects: \"true\", Prometheus \"\"",
        example: "job: follow_redirects: ~",
        reason: NULL,
    },
    Known {
        pattern: "value: *.enable_compression: \"true\", Prometheus \"\"",
        example: "job: enable_compression: ~",
        reason: NULL,
    },
    Known {
        pattern: "value: scrape_configs.metrics_path: \"/metrics\", Prometheus \"\"",
        example: "job: metrics_path: ~",
        reason: NULL,
    },
    Known {
        pattern: "value: scrape_configs.scheme: \"http\", Prometheus \"\"",
        example: "job: scheme: ~",
        reason: NULL,
    },
    Known {
        pattern: "value: remote_write.metadata_config.*, Prometheus \"\"",
        example: "remote: metadata_config: ~",
        reason: NULL,
    },
    Known {
        pattern: "value: remote_write.url: \"http://receiver/a/b\"",
        example: "remote: name: n\n- url: http://receiver/a//b/\nsigv4: {region: r, access_key: a, secret_key: b}",
        reason: "`--effective` shows the URL as it is posted to: Prometheus cleans the path only then",
    },
    Known {
        pattern: "taken: units: unknown unit  in ",
        example: "job: body_size_limit: 1000000",
        reason: "a size may be a bare number of bytes",
    },
    Known {
        pattern: "taken: utf8 metric names requested but validation scheme is not set to UTF8",
        example: "job: metric_name_validation_scheme: legacy",
        reason: "a job's own legacy scheme asks for underscores; Prometheus 3.5 takes the escaping of `global` and then refuses it",
    },
];
