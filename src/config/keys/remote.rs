//! Keys of remotes.

use super::http::{HTTP_CLIENT, PROXY};
use super::table::{REMOVE, Table, never, only, switch};

const OTHER_CLOUD: &str = "credentials of other clouds are not fetched";

const OTHER_CLOUD_INSTEAD: &str =
    "use oauth2 or authorization, or keep this endpoint in a Prometheus";

pub(in crate::config) const REMOTE: Table = Table {
    name: "a remote_write entry",
    supported: &[
        &[
            "name",
            "url",
            "remote_timeout",
            "headers",
            "write_relabel_configs",
            "send_native_histograms",
            "queue_config",
            "metadata_config",
            "sigv4",
        ],
        HTTP_CLIENT,
        PROXY,
    ],
    unsupported: &[
        switch(
            "send_exemplars",
            "/federate has no exemplars, and AMP takes none",
        ),
        only(
            "protobuf_message",
            "prometheus.WriteRequest",
            "samples are sent by remote write 1.0, the default, which every receiver takes; 2.0 \
             is left out for now",
        ),
        never("azuread", OTHER_CLOUD, OTHER_CLOUD_INSTEAD),
        never("google_iam", OTHER_CLOUD, OTHER_CLOUD_INSTEAD),
        switch(
            "round_robin_dns",
            "addresses are tried in the order of the resolver",
        ),
        never(
            "failed_request_logging",
            "failed requests are in the log and in the report",
            REMOVE,
        ),
    ],
};

pub(in crate::config) const QUEUE: Table = Table {
    name: "queue_config",
    supported: &[&[
        "capacity",
        "max_shards",
        "min_shards",
        "max_samples_per_send",
        "batch_send_deadline",
        "min_backoff",
        "max_backoff",
        "retry_on_http_429",
        "sample_age_limit",
    ]],
    unsupported: &[],
};

pub(in crate::config) const SIGV4: Table = Table {
    name: "sigv4",
    supported: &[&[
        "region",
        "access_key",
        "secret_key",
        "profile",
        "role_arn",
        "external_id",
        "use_fips_sts_endpoint",
        "service_name",
    ]],
    unsupported: &[],
};

pub(in crate::config) const REMOTE_METADATA: Table = Table {
    name: "metadata_config",
    supported: &[&["send", "send_interval", "max_samples_per_send"]],
    unsupported: &[],
};
