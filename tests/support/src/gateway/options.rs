//! What a gateway is told at its start. The defaults are AMP's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// A credential that the gateway knows.
#[derive(Debug, Clone)]
pub struct AccessKey {
    /// The secret access key.
    pub secret: String,
    /// The session token that must come with it; `None`: none may come.
    pub session_token: Option<String>,
    /// Whether its owner may `aps:RemoteWrite`.
    pub allowed: bool,
}

/// Options of [`super::Gateway::start`].
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// Where to listen; port 0 is any free one.
    pub listen: SocketAddr,
    /// Region that signatures must be scoped to.
    pub region: String,
    /// Workspace in the path: `/workspaces/<id>/api/v1/remote_write`.
    pub workspace: String,
    /// Known credentials by access key id. Empty: signatures are not looked at.
    pub keys: BTreeMap<String, AccessKey>,
    /// How far the signature's date may be from our clock.
    pub clock_skew: Duration,
    /// A receiver (a real Prometheus) that gets what was accepted, before it is acknowledged.
    pub upstream: Option<String>,
    /// Count entries and samples and answer 200; nothing is decoded, judged or forwarded.
    pub count_only: bool,
    /// What AMP enforces.
    pub limits: WorkspaceLimits,
    /// How much the journal keeps.
    pub journal: JournalOptions,
}

/// Limits of a workspace; see FACTS, "Amazon Managed Service for Prometheus".
#[derive(Debug, Clone)]
pub struct WorkspaceLimits {
    /// Bytes of a request; both the body as sent and its decompressed form are held to it, since
    /// AMP does not say which.
    pub request_bytes: usize,
    /// Samples older than this are refused.
    pub max_age: Duration,
    /// Samples stamped further ahead than this are refused.
    pub max_future: Duration,
    /// `outOfOrderTimeWindowInSeconds`.
    pub out_of_order_window: Duration,
    /// Samples a second, and as many at once; `None`: no limit.
    pub samples_per_second: Option<f64>,
    /// Requests a second, and as many at once; `None`: no limit.
    pub requests_per_second: Option<f64>,
    /// Active series; `None`: no limit.
    pub max_series: Option<usize>,
    /// Labels of a series.
    pub max_labels: usize,
    /// Bytes of a label name.
    pub max_label_name: usize,
    /// Bytes of a label value.
    pub max_label_value: usize,
    /// Bytes of a metric's name and help text together.
    pub max_metadata: usize,
    /// How long the elected HA replica may be silent.
    pub ha_failover: Duration,
    /// HA clusters.
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

/// How much the journal keeps; the counts in `GatewayStats` are complete whatever is forgotten
/// here.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// Requests kept, the newest ones.
    pub requests: usize,
    /// Samples kept, over all requests; older requests lose theirs first. 0: none.
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
/// Its secret: the one of AWS' published signing examples.
pub const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// Its session token.
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
