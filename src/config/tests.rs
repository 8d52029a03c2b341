//! Whole configurations: what loads, what does not and why, what is warned of, what is imported.

mod documented;
mod errors;
mod import;
mod remote_read;
mod remotes;
mod warnings;

use std::time::Duration;

use super::*;

/// The example of the README: the three snippets that people have.
const EXAMPLE: &str = r#"
global:
  external_labels: {cluster: prometheus-cluster, __replica__: ray-prometheus01}
scrape_configs:
  - job_name: federate
    scrape_interval: 15s
    honor_labels: true
    metrics_path: /federate
    params: {'match[]': ['{job=~".+"}', '{__name__=~".+"}']}
    static_configs: [{targets: ['192.0.2.10:30090']}]
remote_write:
  - url: https://aps-workspaces.ap-northeast-1.amazonaws.com/workspaces/ws-0a1b/api/v1/remote_write
    queue_config: {max_samples_per_send: 1000, max_shards: 200, capacity: 2500}
    sigv4: {region: ap-northeast-1}
"#;

fn env(name: &str) -> Option<String> {
    match name {
        "HOME_ADDRESS" => Some("192.0.2.7:9090".into()),
        "REPLICA" => Some("b".into()),
        "SECRET" => Some("hunter2".into()),
        _ => None,
    }
}

fn load(text: &str) -> Result<LoadedConfig, ConfigErrors> {
    Config::load(text, &env, "forwarder.yml")
}

/// A small valid configuration with one section replaced or added.
fn with(section: &str) -> String {
    let mut text = String::new();
    for (key, default) in [
        (
            "scrape_configs",
            "scrape_configs: [{job_name: a, static_configs: [{targets: ['h:1']}]}]",
        ),
        (
            "remote_write",
            "remote_write: [{url: 'http://receiver/api/v1/write'}]",
        ),
    ] {
        if !section.starts_with(key) {
            text.push_str(default);
            text.push('\n');
        }
    }
    text + section
}

fn job(body: &str) -> String {
    with(&format!(
        "scrape_configs:\n- job_name: a\n  static_configs: [{{targets: ['h:1']}}]\n{}",
        indented(body)
    ))
}

fn remote(body: &str) -> String {
    with(&format!(
        "remote_write:\n- url: http://receiver/api/v1/write\n{}",
        indented(body)
    ))
}

/// The same remote, over TLS.
fn secure_remote(body: &str) -> String {
    remote(body).replace("http://receiver", "https://receiver")
}

fn amp(body: &str) -> String {
    with(&format!(
        "remote_write:\n- url: \
         https://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write\n{}",
        indented(body)
    ))
}

fn indented(body: &str) -> String {
    body.lines().map(|line| format!("  {line}\n")).collect()
}

fn config(text: &str) -> Config {
    load(text)
        .unwrap_or_else(|errors| panic!("{text}\n{errors}"))
        .config
}

fn warnings(text: &str) -> Vec<String> {
    load(text)
        .unwrap_or_else(|errors| panic!("{text}\n{errors}"))
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn the_example_loads_without_a_warning() {
    let loaded = load(EXAMPLE).unwrap();
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    assert_eq!(
        config.global.external_labels["__replica__"],
        "ray-prometheus01"
    );
    let job = &config.scrape_configs[0];
    assert_eq!(job.scrape_interval, Duration::from_secs(15));
    assert_eq!(job.scrape_timeout, Duration::from_secs(10));
    assert_eq!(
        job.params["match[]"],
        ["{job=~\".+\"}", "{__name__=~\".+\"}"]
    );
    assert_eq!(job.static_configs[0].targets, ["192.0.2.10:30090"]);
    let remote = &config.remote_write[0];
    assert_eq!(
        (
            remote.queue.max_samples_per_send,
            remote.queue.max_shards,
            remote.queue.capacity
        ),
        (1000, 200, 2500)
    );
    assert!(remote.queue.retry_on_http_429);
    assert_eq!(
        remote.queue.sample_age_limit,
        Some(Duration::from_secs(3300))
    );
    assert_eq!(remote.sigv4.as_ref().unwrap().service_name, "aps");
}

#[test]
fn defaults_are_those_of_prometheus() {
    let config = config(&with(""));
    assert_eq!(config.global.scrape_interval, Duration::from_secs(60));
    assert_eq!(
        config.scrape_configs[0],
        ScrapeConfig {
            job_name: "a".into(),
            scrape_interval: Duration::from_secs(60),
            scrape_timeout: Duration::from_secs(10),
            scheme: "http".into(),
            metrics_path: "/metrics".into(),
            params: Default::default(),
            honor_labels: false,
            honor_timestamps: true,
            static_configs: vec![StaticConfig {
                targets: vec!["h:1".into()],
                labels: Default::default()
            }],
            track_timestamps_staleness: false,
            limits: ScrapeLimits::default(),
            naming: Naming {
                validation: NameValidation::Utf8,
                escaping: NameEscaping::AllowUtf8
            },
            extra_scrape_metrics: false,
            enable_compression: true,
            relabel_configs: Vec::new(),
            metric_relabel_configs: Vec::new(),
            http: HttpConfig::default(),
            scrape_protocols: vec![
                ScrapeProtocol::OpenMetricsText1_0_0,
                ScrapeProtocol::OpenMetricsText0_0_1,
                ScrapeProtocol::PrometheusText1_0_0,
                ScrapeProtocol::PrometheusText0_0_4,
            ],
            fallback_scrape_protocol: None,
            histograms: HistogramConfig::default(),
        }
    );
    let remote = &config.remote_write[0];
    assert_eq!(remote.remote_timeout, Duration::from_secs(30));
    assert_eq!(
        remote.queue,
        QueueConfig {
            capacity: 10_000,
            max_shards: 50,
            min_shards: 1,
            max_samples_per_send: 2000,
            batch_send_deadline: Duration::from_secs(5),
            min_backoff: Duration::from_millis(30),
            max_backoff: Duration::from_secs(5),
            retry_on_http_429: false,
            sample_age_limit: None,
        }
    );
    assert_eq!(
        config.forwarder.remote_read,
        RemoteReadConfig {
            mode: RemoteReadMode::Gaps,
            path: None,
            settle: Duration::from_secs(15),
            overlap: None,
            resolution: Duration::ZERO,
            max_samples: None,
        }
    );
    assert_eq!(config.forwarder.deadline_margin, Duration::from_secs(3));
    assert_eq!(config.forwarder.memory_limit_bytes(Some(1000)), 600 << 20);
    assert_eq!(config.forwarder.memory_limit_bytes(None), 512 << 20);
}

#[test]
fn every_key_is_read() {
    let text = r#"
global:
  scrape_interval: 30s
  scrape_timeout: 20s
  external_labels: {replica: $REPLICA, price: 5$$}
  body_size_limit: 1MB
  sample_limit: 0x10
  target_limit: 1
  label_limit: 2
  label_name_length_limit: 3
  label_value_length_limit: 4
  keep_dropped_targets: 5
  metric_name_validation_scheme: utf8
  metric_name_escaping_scheme: dots
  extra_scrape_metrics: true
scrape_configs:
- job_name: 123
  scrape_interval: 5s
  scrape_timeout: 4s
  scheme: https
  metrics_path: /federate
  params: {'match[]': [up], x: [1, yes]}
  honor_labels: on
  honor_timestamps: no
  static_configs:
  - targets: ['${HOME_ADDRESS}', '[2001:db8::1]:9090']
    labels: {site: "$${x}", n: 1}
  body_size_limit: 10MiB
  sample_limit: 1_000
  target_limit: 0
  label_limit: 20
  label_name_length_limit: 30
  label_value_length_limit: 40
  keep_dropped_targets: 50
  metric_name_validation_scheme: legacy
  track_timestamps_staleness: true
  extra_scrape_metrics: false
  enable_compression: false
- job_name: inherits
  static_configs: [{targets: [h]}]
remote_write:
- name: amp
  url: https://receiver/push
  remote_timeout: 10s
  headers: {X-Team: "${NOPE:-home}"}
  queue_config:
    capacity: 100
    max_shards: 2
    min_shards: 2
    max_samples_per_send: 50
    batch_send_deadline: 1s
    min_backoff: 1s
    max_backoff: 2s
    retry_on_http_429: false
    sample_age_limit: 0s
  metadata_config: {send: false, send_interval: 5m, max_samples_per_send: 7}
  sigv4:
    region: eu-west-1
    access_key: AKIA
    secret_key: ${SECRET}
    profile: p
    role_arn: arn:aws:iam::1:role/r
    external_id: e
    use_fips_sts_endpoint: true
    service_name: execute-api
forwarder:
  deadline_margin: 5s
  memory_limit: 100MB
  max_request_bytes: 500000
  spool:
    url: s3://my-bucket/home/forwarder/
    overflow_after: 0s
    drain_samples_per_second: 1000
    max_bytes: 2GiB
    segment_bytes: 1MiB
    rejected: {max_objects: 5, max_bytes: 0}
    expired: {max_objects: 0}
  metadata: {enabled: true, interval: 10m, path: /prom/api/v1/metadata}
  remote_read: {mode: off, path: /prom/read, settle: 30s, overlap: 2m, resolution: 0s, max_samples: 1_000}
  metrics: {enabled: false, namespace: Home/MetricsConfig, per_site: true}
"#;
    let config = config(text);
    assert_eq!(config.global.scrape_timeout, Duration::from_secs(20));
    assert_eq!(config.global.external_labels["replica"], "b");
    assert_eq!(config.global.external_labels["price"], "5$");
    let job = &config.scrape_configs[0];
    assert_eq!(
        (
            job.job_name.as_str(),
            job.scheme.as_str(),
            job.honor_labels,
            job.honor_timestamps
        ),
        ("123", "https", true, false)
    );
    assert_eq!(job.params["x"], ["1", "yes"]);
    assert_eq!(
        job.static_configs[0].targets,
        ["192.0.2.7:9090", "[2001:db8::1]:9090"]
    );
    assert_eq!(job.static_configs[0].labels["site"], "${x}");
    let limits = ScrapeLimits {
        body_size: 10 << 20,
        samples: 1000,
        targets: 1,
        labels: 20,
        label_name_length: 30,
        label_value_length: 40,
    };
    assert_eq!((job.limits, job.enable_compression), (limits, false));
    assert_eq!(
        job.naming,
        Naming {
            validation: NameValidation::Legacy,
            escaping: NameEscaping::Underscores
        }
    );
    assert!(job.track_timestamps_staleness && !job.extra_scrape_metrics);
    assert_eq!(job.scrape_timeout, Duration::from_secs(4));
    let inherits = &config.scrape_configs[1];
    assert_eq!(
        (inherits.scrape_interval, inherits.scrape_timeout),
        (Duration::from_secs(30), Duration::from_secs(20))
    );
    let limits = ScrapeLimits {
        body_size: 1 << 20,
        samples: 16,
        targets: 1,
        labels: 2,
        label_name_length: 3,
        label_value_length: 4,
    };
    assert_eq!(
        (inherits.limits, inherits.extra_scrape_metrics),
        (limits, true)
    );
    assert_eq!(
        inherits.naming,
        Naming {
            validation: NameValidation::Utf8,
            escaping: NameEscaping::Dots
        }
    );
    let remote = &config.remote_write[0];
    assert_eq!(
        (remote.id().as_str(), remote.headers["X-Team"].as_str()),
        ("amp", "home")
    );
    assert_eq!(
        remote.metadata,
        MetadataConfig {
            send: false,
            send_interval: Duration::from_secs(300),
            max_samples_per_send: 7
        }
    );
    let metadata = ForwarderMetadata {
        enabled: true,
        interval: Duration::from_secs(600),
        path: Some("/prom/api/v1/metadata".to_owned()),
    };
    assert_eq!(config.forwarder.metadata, metadata);
    let remote_read = RemoteReadConfig {
        mode: RemoteReadMode::Off,
        path: Some("/prom/read".to_owned()),
        settle: Duration::from_secs(30),
        overlap: Some(Duration::from_secs(120)),
        resolution: Duration::ZERO,
        max_samples: Some(1000),
    };
    assert_eq!(config.forwarder.remote_read, remote_read);
    assert_eq!(
        remote.queue,
        QueueConfig {
            capacity: 100,
            max_shards: 2,
            min_shards: 2,
            max_samples_per_send: 50,
            batch_send_deadline: Duration::from_secs(1),
            min_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(2),
            retry_on_http_429: false,
            sample_age_limit: None,
        }
    );
    let sigv4 = remote.sigv4.as_ref().unwrap();
    assert_eq!(sigv4.secret_key, Some(SecretSource::text("hunter2")));
    assert_eq!(sigv4.external_id.as_deref(), Some("e"));
    assert_eq!(
        (
            sigv4.profile.as_deref(),
            sigv4.service_name.as_str(),
            sigv4.use_fips_sts_endpoint
        ),
        (Some("p"), "execute-api", true)
    );
    assert_eq!(config.forwarder.memory_limit, Some(100 << 20));
    assert_eq!(config.forwarder.max_request_bytes, 500_000);
    assert_eq!(
        config.forwarder.spool,
        SpoolConfig {
            url: Some(SpoolUrl::S3 {
                bucket: "my-bucket".into(),
                prefix: "home/forwarder".into()
            }),
            overflow_after: Duration::ZERO,
            drain_samples_per_second: 1000,
            max_bytes: 2 << 30,
            segment_bytes: 1 << 20,
            rejected: ArchiveLimits {
                max_objects: 5,
                max_bytes: 0
            },
            expired: ArchiveLimits {
                max_objects: 0,
                ..SpoolConfig::default().expired
            },
        }
    );
    assert_eq!(
        config.forwarder.metrics,
        MetricsConfig {
            enabled: false,
            namespace: "Home/MetricsConfig".into(),
            per_site: true,
        }
    );
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_timeout_that_is_not_given_is_never_above_the_interval() {
    let short = config(&job("scrape_interval: 5s"));
    assert_eq!(
        short.scrape_configs[0].scrape_timeout,
        Duration::from_secs(5)
    );
    let short = config(&with("global: {scrape_interval: 4s}"));
    assert_eq!(
        (
            short.global.scrape_timeout,
            short.scrape_configs[0].scrape_timeout
        ),
        (Duration::from_secs(4), Duration::from_secs(4))
    );
}
