//! The configuration as the rest of the program sees it: plain data, validated, defaults filled in.

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use super::http::HttpConfig;
use super::limits::ScrapeLimits;
use super::metadata::{ForwarderMetadata, MetadataConfig};
use super::naming::Naming;
use super::protocols::{HistogramConfig, ScrapeProtocol};
use super::secret::SecretSource;
use super::spool::SpoolConfig;
use crate::relabel::Rule;

/// A whole, valid `forwarder.yml`.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Prometheus' `global`.
    pub global: Global,
    /// Prometheus' `scrape_configs`, static targets only. At least one.
    pub scrape_configs: Vec<ScrapeConfig>,
    /// Prometheus' `remote_write`. At least one.
    pub remote_write: Vec<RemoteWrite>,
    /// The section of our own.
    pub forwarder: ForwarderConfig,
}

/// Prometheus' `global` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Global {
    /// Default 1m.
    pub scrape_interval: Duration,
    /// Default 10s, never more than the interval.
    pub scrape_timeout: Duration,
    /// Added to each series that does not carry a label of that name.
    pub external_labels: BTreeMap<String, String>,
}

/// One entry of `scrape_configs`.
#[derive(Debug, Clone, PartialEq)]
pub struct ScrapeConfig {
    /// Unique; becomes the label `job`.
    pub job_name: String,
    /// Default: global's.
    pub scrape_interval: Duration,
    /// Default: global's, never more than the interval.
    pub scrape_timeout: Duration,
    /// Default `http`.
    pub scheme: Scheme,
    /// Default `/metrics`.
    pub metrics_path: String,
    /// URL parameters, sent sorted by key.
    pub params: BTreeMap<String, Vec<String>>,
    /// Default false: labels of the target win, those exposed become `exported_<name>`.
    pub honor_labels: bool,
    /// Default true: timestamps of the exposition are kept.
    pub honor_timestamps: bool,
    /// Targets with the labels that they share.
    pub static_configs: Vec<StaticConfig>,
    /// Default false: series with timestamps of their own get no stale markers.
    pub track_timestamps_staleness: bool,
    /// Default: global's.
    pub limits: ScrapeLimits,
    /// Default: global's.
    pub naming: Naming,
    /// Default false: no `scrape_timeout_seconds`, `scrape_sample_limit` and
    /// `scrape_body_size_bytes`.
    pub extra_scrape_metrics: bool,
    /// Default true: ask for gzip.
    pub enable_compression: bool,
    /// Rewrite or drop targets.
    pub relabel_configs: Vec<Rule>,
    /// Rewrite or drop series.
    pub metric_relabel_configs: Vec<Rule>,
    /// How the home is asked.
    pub http: HttpConfig,
    /// What is asked for, best first. Default: Prometheus', and for `/federate`
    /// [`super::protocols::FEDERATE_PROTOCOLS`].
    pub scrape_protocols: Vec<ScrapeProtocol>,
    /// What an answer without a usable `Content-Type` is taken for. Default: none, it fails.
    pub fallback_scrape_protocol: Option<ScrapeProtocol>,
    /// How histograms are taken.
    pub histograms: HistogramConfig,
}

impl ScrapeConfig {
    /// Whether the job federates, by its path.
    #[must_use]
    pub fn is_federation(&self) -> bool {
        self.metrics_path.ends_with("/federate")
    }
}

/// `http` or `https`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// As it stands in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// One entry of `static_configs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticConfig {
    /// `host`, `host:port` or `[v6]:port`, as written.
    pub targets: Vec<String>,
    /// Added to each target.
    pub labels: BTreeMap<String, String>,
}

/// One entry of `remote_write`.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteWrite {
    /// Unique when given.
    pub name: Option<String>,
    /// Where samples are posted.
    pub url: Url,
    /// Default 30s: for one request, from connecting to the end of its answer.
    pub remote_timeout: Duration,
    /// Added to each request; never one that the protocol or the signature owns.
    pub headers: BTreeMap<String, String>,
    /// Rewrite or drop series, external labels included.
    pub write_relabel_configs: Vec<Rule>,
    /// Prometheus' `queue_config`.
    pub queue: QueueConfig,
    /// Prometheus' `metadata_config`.
    pub metadata: MetadataConfig,
    /// Sign with AWS Signature Version 4. Never together with `http.auth`.
    pub sigv4: Option<SigV4>,
    /// How the receiver is asked.
    pub http: HttpConfig,
    /// Default false, as in Prometheus: native histograms are dropped.
    pub send_native_histograms: bool,
}

impl RemoteWrite {
    /// `name`, else a hash of the URL: how the entry is called in reports, logs and the spool.
    #[must_use]
    pub fn id(&self) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None => format!(
                "{:016x}",
                xxhash_rust::xxh3::xxh3_64(self.url.as_str().as_bytes())
            ),
        }
    }

    /// The region in an AMP address: public, FIPS, dual-stack, or of an interface endpoint. `None`
    /// for any other receiver.
    #[must_use]
    pub fn amp_region(&self) -> Option<&str> {
        let host = self.url.host_str()?;
        let aws = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"]
            .iter()
            .any(|suffix| host.ends_with(suffix));
        let mut labels = host
            .split('.')
            .skip_while(|label| !matches!(*label, "aps-workspaces" | "aps-workspaces-fips"));
        labels.next()?;
        labels.next().filter(|_| aws)
    }
}

/// Prometheus' `queue_config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueConfig {
    /// Samples in memory, waiting or in flight, for each shard in use. Default 10000.
    pub capacity: usize,
    /// Most batches of a scrape in flight at once. Default 50.
    pub max_shards: usize,
    /// Fewest. Default 1.
    pub min_shards: usize,
    /// Samples at which a batch closes. Default 2000.
    pub max_samples_per_send: usize,
    /// Default 5s. Kept for Prometheus' sake: a scrape's last batch is closed when the scrape ends,
    /// never later.
    pub batch_send_deadline: Duration,
    /// First back-off. Default 30ms.
    pub min_backoff: Duration,
    /// Longest back-off. Default 5s.
    pub max_backoff: Duration,
    /// Default false, true with `sigv4`.
    pub retry_on_http_429: bool,
    /// Samples older than this are not sent. Default: none, 55m with `sigv4`.
    pub sample_age_limit: Option<Duration>,
}

/// Prometheus' `sigv4`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigV4 {
    /// Default: from the environment or the profile.
    pub region: Option<String>,
    /// Only together with `secret_key`.
    pub access_key: Option<String>,
    /// Only together with `access_key`.
    pub secret_key: Option<SecretSource>,
    /// A profile of the shared AWS configuration.
    pub profile: Option<String>,
    /// Assumed for signing.
    pub role_arn: Option<String>,
    /// Only with `role_arn`.
    pub external_id: Option<String>,
    /// Default false.
    pub use_fips_sts_endpoint: bool,
    /// Default `aps`.
    pub service_name: String,
}

/// The `forwarder` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwarderConfig {
    /// What a tick leaves of the time that the runtime grants. Default 3s.
    pub deadline_margin: Duration,
    /// Bytes that cache, stages and queue may hold together. Default: 60 % of the function's
    /// memory, 512 MiB elsewhere.
    pub memory_limit: Option<u64>,
    /// Uncompressed bytes at which a batch closes. Default 1,000,000.
    pub max_request_bytes: usize,
    /// Where what cannot be sent in time waits.
    pub spool: SpoolConfig,
    /// Types and help texts.
    pub metadata: ForwarderMetadata,
    /// EMF metrics in Lambda.
    pub metrics: MetricsConfig,
}

impl Default for ForwarderConfig {
    fn default() -> Self {
        Self {
            deadline_margin: Duration::from_secs(3),
            memory_limit: None,
            max_request_bytes: 1_000_000,
            spool: SpoolConfig::default(),
            metadata: ForwarderMetadata::default(),
            metrics: MetricsConfig::default(),
        }
    }
}

impl ForwarderConfig {
    /// `memory_limit`, else 60 % of the function's memory (in MB, as Lambda tells it), else 512
    /// MiB.
    #[must_use]
    pub fn memory_limit_bytes(&self, function_memory_mb: Option<u64>) -> u64 {
        match (self.memory_limit, function_memory_mb) {
            (Some(limit), _) => limit,
            (None, Some(megabytes)) => megabytes.saturating_mul(1 << 20) / 5 * 3,
            (None, None) => 512 << 20,
        }
    }
}

/// `forwarder.metrics`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Default true: one EMF line a tick in Lambda.
    pub enabled: bool,
    /// CloudWatch namespace. Default `AmpForwarder`.
    pub namespace: String,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            namespace: "AmpForwarder".into(),
        }
    }
}
