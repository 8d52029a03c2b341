//! Options of a gateway. The defaults are AMP's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// A credential that the gateway knows.
#[derive(Debug, Clone)]
pub struct AccessKey {
    /// Secret access key.
    pub secret: String,
    /// Session token that must come with the key; `None` when none may come.
    pub session_token: Option<String>,
    /// Whether the owner of the key is allowed to call `aps:RemoteWrite` and `aps:QueryMetrics`.
    pub allowed: bool,
}

/// Options of [`super::Gateway::start`].
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// Address to listen on; port 0 is any free one.
    pub listen: SocketAddr,
    /// Region that signatures must have in their scope.
    pub region: String,
    /// Workspace in the path: `/workspaces/<id>/api/v1/remote_write`.
    pub workspace: String,
    /// Known credentials by access key id. When it is empty, signatures are not checked.
    pub keys: BTreeMap<String, AccessKey>,
    /// Largest difference between the date of a signature and our clock.
    pub clock_skew: Duration,
    /// Remote-write URL of a real Prometheus that gets the accepted samples before they are
    /// acknowledged.
    pub upstream: Option<String>,
    /// Whether entries and samples are only counted and answered with 200; nothing is decoded,
    /// judged or forwarded.
    pub count_only: bool,
    /// Limits that the gateway enforces.
    pub limits: WorkspaceLimits,
    /// Size of the journal.
    pub journal: JournalOptions,
}

/// Limits of a workspace. The defaults are AMP's documented quotas.
#[derive(Debug, Clone)]
pub struct WorkspaceLimits {
    /// Bytes of a request. Both the compressed and the decompressed body must keep to it, because
    /// AMP does not say which one it counts.
    pub request_bytes: usize,
    /// Age beyond which samples are refused.
    pub max_age: Duration,
    /// Time ahead of our clock beyond which samples are refused.
    pub max_future: Duration,
    /// AMP's `outOfOrderTimeWindowInSeconds`.
    pub out_of_order_window: Duration,
    /// Samples a second, and the largest burst; `None` for no limit.
    pub samples_per_second: Option<f64>,
    /// Requests a second, and the largest burst; `None` for no limit.
    pub requests_per_second: Option<f64>,
    /// Number of active series; `None` for no limit.
    pub max_series: Option<usize>,
    /// Number of labels of a series.
    pub max_labels: usize,
    /// Bytes of a label name.
    pub max_label_name: usize,
    /// Bytes of a label value.
    pub max_label_value: usize,
    /// Bytes of a metric's name and help text together.
    pub max_metadata: usize,
    /// Silence of the elected HA replica after which another one is elected.
    pub ha_failover: Duration,
    /// Number of HA clusters.
    pub max_ha_clusters: usize,
}

impl Default for WorkspaceLimits {
    fn default() -> Self {
        Self {
            request_bytes: 1_000_000,
            max_age: Duration::from_secs(3600),
            max_future: Duration::from_secs(600),
            out_of_order_window: Duration::from_secs(60),
            samples_per_second: None,
            requests_per_second: None,
            max_series: None,
            max_labels: 150,
            max_label_name: 1024,
            max_label_value: 2048,
            max_metadata: 1024,
            ha_failover: Duration::from_secs(30),
            max_ha_clusters: 500,
        }
    }
}

/// Size of the journal. The counts in `GatewayStats` are complete whatever the journal forgets.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// Number of requests that are kept; the oldest go first.
    pub requests: usize,
    /// Number of samples that are kept over all requests; the oldest requests lose theirs first. 0
    /// keeps none.
    pub samples: usize,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            requests: 100_000,
            samples: 5_000_000,
        }
    }
}

/// The access key that [`GatewayOptions::default`] knows.
pub const ACCESS_KEY: &str = "AKIDEXAMPLE";
/// The secret of that key, from AWS' published signing examples.
pub const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// The session token of that key.
pub const SESSION_TOKEN: &str = "example-session-token";

impl Default for GatewayOptions {
    fn default() -> Self {
        let key = AccessKey {
            secret: SECRET_KEY.to_owned(),
            session_token: Some(SESSION_TOKEN.to_owned()),
            allowed: true,
        };
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            region: "us-east-1".to_owned(),
            workspace: "ws-00000000-0000-0000-0000-000000000000".to_owned(),
            keys: BTreeMap::from([(ACCESS_KEY.to_owned(), key)]),
            clock_skew: Duration::from_secs(300),
            upstream: None,
            count_only: false,
            limits: WorkspaceLimits::default(),
            journal: JournalOptions::default(),
        }
    }
}
