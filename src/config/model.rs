//! The configuration as the rest of the program sees it: plain data, validated, defaults filled in.

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use super::http::HttpConfig;
use super::limits::ScrapeLimits;
use super::metadata::{ForwarderMetadata, MetadataConfig};
use super::naming::Naming;
use super::protocols::{HistogramConfig, ScrapeProtocol, is_federation};
use super::remote_read::RemoteReadConfig;
use super::secret::SecretSource;
use super::site::SiteName;
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
    /// The section `forwarder`, which Prometheus does not have.
    pub forwarder: ForwarderConfig,
    /// The site that the configuration is of, when one function serves many.
    pub site: Option<SiteName>,
    /// ARN of the role under which the spool is used and requests are signed. `None` for the
    /// process' own identity.
    pub role_arn: Option<String>,
}

impl Config {
    /// Lets the spool be used, and requests be signed, under a role.
    pub fn act_under(&mut self, role_arn: Option<String>) {
        for sigv4 in self
            .remote_write
            .iter_mut()
            .filter_map(|remote| remote.sigv4.as_mut())
        {
            sigv4.site_role_arn.clone_from(&role_arn);
        }
        self.role_arn = role_arn;
    }
}

/// Prometheus' `global` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Global {
    /// Time between two scrapes of a target. Default 1m.
    pub scrape_interval: Duration,
    /// Longest time for one scrape, never more than the interval. Default 10s.
    pub scrape_timeout: Duration,
    /// Labels that are added to each series that has no label of that name.
    pub external_labels: BTreeMap<String, String>,
}

/// One entry of `scrape_configs`.
#[derive(Debug, Clone, PartialEq)]
pub struct ScrapeConfig {
    /// Unique name, which becomes the label `job`.
    pub job_name: String,
    /// Time between two scrapes of a target. Default: that of `global`.
    pub scrape_interval: Duration,
    /// Longest time for one scrape, never more than the interval. Default: that of `global`.
    pub scrape_timeout: Duration,
    /// Scheme of the targets' URLs, `http` or `https`; with any other one, no target can be
    /// scraped. Default `http`.
    pub scheme: String,
    /// Path of the targets' URLs. Default `/metrics`.
    pub metrics_path: String,
    /// URL parameters, sent sorted by key.
    pub params: BTreeMap<String, Vec<String>>,
    /// Whether exposed labels win over those of the target. Otherwise they become
    /// `exported_<name>`. Default false.
    pub honor_labels: bool,
    /// Whether the timestamps of the exposition are kept. Default true.
    pub honor_timestamps: bool,
    /// Targets with the labels that they share.
    pub static_configs: Vec<StaticConfig>,
    /// Whether series with timestamps of their own get stale markers. Default false.
    pub track_timestamps_staleness: bool,
    /// Limits of each scrape. Default: those of `global`.
    pub limits: ScrapeLimits,
    /// Names that the job takes and asks for. Default: those of `global`.
    pub naming: Naming,
    /// Whether `scrape_timeout_seconds`, `scrape_sample_limit` and `scrape_body_size_bytes` are
    /// added. Default false.
    pub extra_scrape_metrics: bool,
    /// Whether gzip is asked for. Default true.
    pub enable_compression: bool,
    /// Rules that rewrite or drop targets.
    pub relabel_configs: Vec<Rule>,
    /// Rules that rewrite or drop series.
    pub metric_relabel_configs: Vec<Rule>,
    /// HTTP client for the job's targets.
    pub http: HttpConfig,
    /// Formats that are asked for, best first. Default: those of Prometheus, and for `/federate`
    /// [`super::protocols::FEDERATE_PROTOCOLS`].
    pub scrape_protocols: Vec<ScrapeProtocol>,
    /// Format of an answer without a usable `Content-Type`. By default such a scrape fails.
    pub fallback_scrape_protocol: Option<ScrapeProtocol>,
    /// Settings for histograms.
    pub histograms: HistogramConfig,
}

impl ScrapeConfig {
    /// Whether the job federates, by its path.
    #[must_use]
    pub fn is_federation(&self) -> bool {
        is_federation(&self.metrics_path)
    }
}

/// One entry of `static_configs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticConfig {
    /// Addresses as written: `host`, `host:port` or `[v6]:port`.
    pub targets: Vec<String>,
    /// Labels that are added to each target.
    pub labels: BTreeMap<String, String>,
}

/// One entry of `remote_write`.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteWrite {
    /// Name of the entry, which is unique.
    pub name: Option<String>,
    /// Name of an entry without a name: a hash of its URL and, if it has some, of its
    /// `write_relabel_configs`. It depends on no other entry, because the spool has a folder of
    /// this name.
    pub unnamed_id: String,
    /// Name of the entry for people, which is unique: `name`, or host and workspace of its URL.
    pub label: String,
    /// Address that samples are posted to. With `sigv4` its path is cleaned.
    pub url: Url,
    /// Longest time for one request, from connecting to the end of its answer. Default 30s.
    pub remote_timeout: Duration,
    /// Headers that are added to each request. None of them belongs to the protocol or the
    /// signature.
    pub headers: BTreeMap<String, String>,
    /// Rules that rewrite or drop series. They see external labels, too.
    pub write_relabel_configs: Vec<Rule>,
    /// Prometheus' `queue_config`.
    pub queue: QueueConfig,
    /// Prometheus' `metadata_config`.
    pub metadata: MetadataConfig,
    /// Settings for AWS Signature Version 4. They exclude `http.auth`.
    pub sigv4: Option<SigV4>,
    /// HTTP client for the receiver.
    pub http: HttpConfig,
    /// Whether native histograms are sent; otherwise they are dropped. Default false, as in
    /// Prometheus.
    pub send_native_histograms: bool,
}

impl RemoteWrite {
    /// The entry's name in the spool: `name`, or else `unnamed_id`. People see `label`.
    #[must_use]
    pub fn id(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.unnamed_id.clone())
    }

    /// The region in an AMP address, which may be public, FIPS, dual-stack, or that of an interface
    /// endpoint. Returns `None` for any other receiver.
    #[must_use]
    pub fn amp_region(&self) -> Option<&str> {
        amp_region(&self.url)
    }
}

/// The region in an AMP address.
pub(super) fn amp_region(url: &Url) -> Option<&str> {
    let host = url.host_str()?;
    let aws = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"]
        .iter()
        .any(|suffix| host.ends_with(suffix));
    let mut labels = host
        .split('.')
        .skip_while(|label| !matches!(*label, "aps-workspaces" | "aps-workspaces-fips"));
    labels.next()?;
    labels.next().filter(|_| aws)
}

/// Prometheus' `queue_config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueConfig {
    /// Most samples in memory, waiting or in flight, for each shard in use. Default 10000.
    pub capacity: usize,
    /// Most batches of a scrape in flight at once. Default 50.
    pub max_shards: usize,
    /// Fewest batches in flight. It wins over `max_shards`. Default 1.
    pub min_shards: usize,
    /// Number of samples at which a batch closes. Default 2000.
    pub max_samples_per_send: usize,
    /// Prometheus' deadline for a batch that is not full. Default 5s. It changes nothing here: a
    /// scrape's last batch is closed when the scrape ends.
    pub batch_send_deadline: Duration,
    /// Pause before the first retry. Default 30ms.
    pub min_backoff: Duration,
    /// Longest pause before a later retry. Default 5s.
    pub max_backoff: Duration,
    /// Whether a request is repeated after a 429. Default false; true with `sigv4`.
    pub retry_on_http_429: bool,
    /// Age from which samples are not sent. Default: no limit; 55m with `sigv4`.
    pub sample_age_limit: Option<Duration>,
}

/// Prometheus' `sigv4`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigV4 {
    /// Region of the signature. By default it is that of the AMP address; for any other receiver
    /// it comes from the environment or the profile.
    pub region: Option<String>,
    /// Access key, which is given together with `secret_key`.
    pub access_key: Option<String>,
    /// Secret key, which is given together with `access_key`.
    pub secret_key: Option<SecretSource>,
    /// Profile of the shared AWS configuration.
    pub profile: Option<String>,
    /// ARN of a role that is assumed for signing.
    pub role_arn: Option<String>,
    /// External id for assuming the role, which is given only together with `role_arn`.
    pub external_id: Option<String>,
    /// Whether the role is assumed at a FIPS endpoint. Default false.
    pub use_fips_sts_endpoint: bool,
    /// Service that requests are signed for. Default `aps`.
    pub service_name: String,
    /// ARN of the role of the site, in the place of the process' own identity. It comes from the
    /// environment.
    pub site_role_arn: Option<String>,
}

/// The `forwarder` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwarderConfig {
    /// Time that a tick leaves unused at the end of the runtime's limit. Default 3s.
    pub deadline_margin: Duration,
    /// Most bytes that cache, stages and queue hold together. Default: 60 % of the function's
    /// memory, and 512 MiB elsewhere.
    pub memory_limit: Option<u64>,
    /// Uncompressed size, in bytes, at which a batch closes. Default 1,000,000.
    pub max_request_bytes: usize,
    /// Store for samples that cannot be sent in time.
    pub spool: SpoolConfig,
    /// Settings for types and help texts of metrics.
    pub metadata: ForwarderMetadata,
    /// Settings for what is read from the home by remote read.
    pub remote_read: RemoteReadConfig,
    /// Settings for the metrics that go to CloudWatch.
    pub metrics: MetricsConfig,
    /// Settings for the forwarder's own series.
    pub own_series: OwnSeriesConfig,
}

impl Default for ForwarderConfig {
    fn default() -> Self {
        Self {
            deadline_margin: Duration::from_secs(3),
            memory_limit: None,
            max_request_bytes: 1_000_000,
            spool: SpoolConfig::default(),
            metadata: ForwarderMetadata::default(),
            remote_read: RemoteReadConfig::default(),
            metrics: MetricsConfig::default(),
            own_series: OwnSeriesConfig::default(),
        }
    }
}

impl ForwarderConfig {
    /// The memory limit in bytes: `memory_limit`, else 60 % of the function's memory, else 512 MiB.
    /// The function's memory is in MB, as Lambda reports it.
    #[must_use]
    pub fn memory_limit_bytes(&self, function_memory_mb: Option<u64>) -> u64 {
        match (self.memory_limit, function_memory_mb) {
            (Some(limit), _) => limit,
            (None, Some(megabytes)) => megabytes.saturating_mul(1 << 20) / 5 * 3,
            (None, None) => 512 << 20,
        }
    }
}

/// `forwarder.own_series`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnSeriesConfig {
    /// Whether each tick sends the series `amp_forwarder_*` to every remote. Default false.
    pub enabled: bool,
    /// Their label `instance`. Default `amp-forwarder`.
    pub instance: String,
}

impl Default for OwnSeriesConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            instance: "amp-forwarder".into(),
        }
    }
}

/// `forwarder.metrics`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Whether each tick in Lambda writes a line of metrics (EMF). Default true.
    pub enabled: bool,
    /// Namespace in CloudWatch. Default `AmpForwarder`.
    pub namespace: String,
    /// Whether lag, age of the backlog and failures of a site are metrics of their own, besides
    /// those of all sites together. CloudWatch charges for each. Default false.
    pub per_site: bool,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            namespace: "AmpForwarder".into(),
            per_site: false,
        }
    }
}
