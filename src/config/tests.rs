//! Whole configurations: what loads, what does not and why, what is warned of, what is imported.

mod documented;
mod import;
mod remote_read;

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

#[test]
fn what_does_not_load_says_where_and_why() {
    for (text, parts) in [
        (
            String::new(),
            &[
                "scrape_configs: found no job",
                "remote_write: found no receiver",
            ][..],
        ),
        ("- a".into(), &["found a list, expected a mapping"]),
        (
            with("globall: {}"),
            &[
                "line 3, globall: found the key \"globall\"",
                "did you mean global?",
            ],
        ),
        (
            with("rule_files: []"),
            &[
                "rule_files: not supported: rules are not evaluated here",
                "rules management",
            ],
        ),
        (
            with("global: {scrape_interval: 15}"),
            &["found \"15\", expected a duration", "write 15s"],
        ),
        (
            with("global: {scrape_interval: 5s, scrape_timeout: 6s}"),
            &["global scrape timeout greater than scrape interval"],
        ),
        (
            with("global: {external_labels: [a]}"),
            &["found a list, expected a mapping"],
        ),
        (
            with("global: {evaluation_interval: 15s}"),
            &["global.evaluation_interval: not supported"],
        ),
        (
            job("scrape_interval: 5s\nscrape_timeout: 6s"),
            &["scrape timeout greater than scrape interval for scrape config with job name \"a\""],
        ),
        (
            job("scrape_interval: 10s\nscrape_interval: 20s"),
            &["scrape_configs[0].scrape_interval: found the key \"scrape_interval\" again"],
        ),
        (
            job("honor_labels: \"true\""),
            &["quoted string \"true\"", "remove the quotes"],
        ),
        (
            job("honor_labels: 1"),
            &["found \"1\", expected true or false"],
        ),
        (
            with("forwarder: {metadata: {interval: 0s}}"),
            &["expected a duration above 0"],
        ),
        (
            with("forwarder: {metadata: {path: 'api?x'}}"),
            &["expected a path such as /api/v1/metadata"],
        ),
        (
            remote("metadata_config: {max_samples_per_send: 0}"),
            &["expected a number from 1"],
        ),
        (
            job("sample_limit: -1"),
            &["found \"-1\", expected a whole number from 0"],
        ),
        (
            job("sample_limit: '5'"),
            &["quoted string \"5\"", "remove the quotes"],
        ),
        (
            job("body_size_limit: 1kB"),
            &["found \"1kB\", expected a size"],
        ),
        (
            job("params: {'match[]': up}"),
            &["params.match[]: found a single value, expected a list"],
        ),
        (
            job("params: {'match[]': [{a: b}]}"),
            &[
                "params.match[][0]: found a mapping, expected a string",
                "quote values",
            ],
        ),
        (
            job(
                "metric_relabel_configs:\n- {action: keep, regex: a**}\n- ~\n- {regx: \
                 x}\nrelabel_configs: [{action: hash}, {action: hashmod, target_label: a}]",
            ),
            &[
                "line 6, scrape_configs[0].metric_relabel_configs[0].regex: error parsing regexp: \
                 invalid nested repetition operator: `**`",
                "line 7, scrape_configs[0].metric_relabel_configs[1]: empty or null metric \
                 relabeling rule in scrape config",
                "line 8, scrape_configs[0].metric_relabel_configs[2].regx: found the key",
                "scrape_configs[0].relabel_configs[0].action: unknown relabel action \"hash\"",
                "scrape_configs[0].relabel_configs[1]: relabel configuration for hashmod requires \
                 non-zero modulus",
            ],
        ),
        (
            job("relabel_configs: [{regex: }, {action: }, {source_labels: ['']}]"),
            &[
                "requires 'target_label'",
                "relabel action cannot be empty",
                "\"\" is not a valid label name",
            ],
        ),
        (
            job("relabel_configs: [{target_label: __scrape_interval__, replacement: 2m}]"),
            &["give it a job of its own"],
        ),
        (
            job("kubernetes_sd_configs: []"),
            &["not supported: targets are not discovered"],
        ),
        (
            job("metrics_path: ${NOT_SET}"),
            &["variable \"NOT_SET\" is not set"],
        ),
        (
            with("scrape_configs: [{static_configs: []}]"),
            &["scrape_configs[0].job_name: job_name is empty"],
        ),
        (
            with("scrape_configs: [{job_name: a}, {job_name: a}]"),
            &["found multiple scrape configs with job name \"a\""],
        ),
        (
            with("scrape_configs:\n-\n"),
            &["empty or null scrape config section"],
        ),
        (
            with("scrape_configs: [{job_name: a, static_configs: [{targets: ['http://h:1/x']}]}]"),
            &["targets[0]: \"http://h:1/x\" is not a valid hostname"],
        ),
        (
            with("scrape_configs: [{job_name: a, static_configs: [~]}]"),
            &["static_configs[0]: empty or null section in static_configs"],
        ),
        (
            with("remote_write: [{name: a}]"),
            &["url for remote_write is empty"],
        ),
        (
            with("remote_write: [{url: nonsense}]"),
            &["found no valid URL"],
        ),
        (
            with("remote_write: [{url: 'ftp://h'}]"),
            &["found the scheme \"ftp\""],
        ),
        (
            with("remote_write: [{url: 'http://u:hunter2@h'}]"),
            &["found credentials in the URL"],
        ),
        (
            with("remote_write: [{url: 'http://a'}, {url: 'http://a'}]"),
            &["remote_write[1].url: found the same url"],
        ),
        (
            with("remote_write: [{url: 'http://a', name: n}, {url: 'http://b', name: n}]"),
            &["found multiple remote write configs with job name \"n\""],
        ),
        (
            remote("headers: {Content-Type: hunter2}"),
            &["\"Content-Type\" is a reserved header. It must not be changed"],
        ),
        (
            remote("headers: {authorization: hunter2}"),
            &[
                "authorization header must be changed via the basic_auth, authorization, oauth2, \
                 or sigv4 parameter",
            ],
        ),
        (
            remote("headers: {a b: hunter2}"),
            &["expected the name of a header"],
        ),
        (
            remote("headers: {a: \"hunter2\\n\"}"),
            &["control characters in the value of a header"],
        ),
        (
            remote("queue_config: {max_shards: 0}"),
            &["queue_config.max_shards: found 0, expected a number from 1"],
        ),
        (remote("capacity: 5"), &["it belongs in queue_config"]),
        (
            remote("sigv4: {access_key: hunter2}"),
            &[
                "must provide a AWS SigV4 Access key and Secret Key",
                "without secret_key",
            ],
        ),
        (
            remote("sigv4: {secret_key: hunter2}"),
            &["without access_key"],
        ),
        (
            remote("sigv4: {external_id: hunter2}"),
            &["external_id can only be used with role_arn"],
        ),
        (
            remote("sigv4: {access_key: a, secret_key: [hunter2]}"),
            &["found a list, expected a single value"],
        ),
        (
            remote("write_relabel_configs: [~]"),
            &["empty or null relabeling rule in remote write config"],
        ),
        (
            with("forwarder: {spool: {url: x}}"),
            &[
                "forwarder.spool.url: found \"x\"",
                "s3://bucket/prefix or file:///path",
            ],
        ),
        (
            with("forwarder: {spool: {url: 's3:///prefix'}}"),
            &["found \"s3:///prefix\"", "s3://bucket/prefix"],
        ),
        (
            with("forwarder: {spool: {url: 'file://relative/path'}}"),
            &["file:///path"],
        ),
        (
            with("forwarder: {spool: {url: 's3://my_Bucket/x'}}"),
            &[
                "found the bucket \"my_Bucket\"",
                "3 to 63 lower-case letters",
            ],
        ),
        (
            with("forwarder: {spool: {drain_samples_per_second: 0}}"),
            &["expected a number from 1"],
        ),
        (
            with("forwarder: {spool: {segment_bytes: 1GB}}"),
            &["segment_bytes: found 1073741824, expected a size from 1KiB to 32MiB"],
        ),
        (
            with("forwarder: {spool: {max_bytes: 1MB}}"),
            &["expected at least segment_bytes, which is 8388608"],
        ),
        (
            with("forwarder: {spool: {rejected: {max_object: 1}}}"),
            &["did you mean max_objects?"],
        ),
        (
            with("forwarder: {spool: {expired: {max_bytes: x}}}"),
            &["forwarder.spool.expired.max_bytes", "expected a size"],
        ),
        (
            with("forwarder: {overflow_after: 1s}"),
            &["it belongs in forwarder.spool"],
        ),
        (
            with("forwarder: {max_request_bytes: 0}"),
            &["expected a size from 1 to 16MiB"],
        ),
        (
            with("forwarder: {max_request_bytes: 17MiB}"),
            &["found 17825792, expected a size from 1 to 16MiB"],
        ),
        (
            with("forwarder: {metrics: {namespace: AWS/X}}"),
            &["AWS keeps AWS/ for itself"],
        ),
        (with("a: 1\n b: 2"), &["not valid YAML"]),
    ] {
        let errors = load(&text).expect_err(&text).to_string();
        for part in parts {
            assert!(errors.contains(part), "{text}\n{errors}\nlacks {part}");
        }
        assert!(!errors.contains("hunter2"), "{text}\n{errors}");
    }
}

#[test]
fn all_errors_are_reported_at_once_in_the_order_of_the_file() {
    let text = "remote_write:\n- url: ''\n  queue_config: {capacity: x}\nscrape_configs:\n- \
        job_name: a\n  honor_labels: 3\n  job_name: b\n  static_configs: [{targets: \
        [a/b]}]\nglobal:\n  zebra: 1\n";
    let errors = load(text).unwrap_err();
    assert_eq!(
        errors
            .problems
            .iter()
            .map(|problem| problem.line)
            .collect::<Vec<_>>(),
        [2, 3, 6, 7, 8, 10]
    );
}

#[test]
fn anchors_and_merge_keys() {
    let text = "x-base: &base\n  scrape_interval: 15s\n";
    assert!(
        load(&with(text)).is_err(),
        "a key of one's own is unknown, as in Prometheus"
    );
    let text = with(
        "scrape_configs:\n- &base\n  job_name: a\n  scrape_interval: 15s\n  static_configs: \
         [{targets: [h]}]\n- <<: *base\n  job_name: b\n",
    );
    let config = config(&text);
    assert_eq!(
        (
            config.scrape_configs[1].job_name.as_str(),
            config.scrape_configs[1].scrape_interval
        ),
        ("b", Duration::from_secs(15))
    );
}

#[test]
fn slips_are_warned_of() {
    let federate = |body: &str| job(&format!("metrics_path: /federate\n{body}"));
    let good = "honor_labels: true\nparams: {'match[]': ['{job=~\".+\"}']}";
    for (text, part) in [
        (
            federate("honor_labels: true\nparams: {'match[]': ['{job=\".+\"}']}"),
            "line 7, scrape_configs[0].params.match[][0]: found job=\".+\": an equality",
        ),
        (
            federate("honor_labels: true\nparams: {'match[]': [\"{a='x', job!='a|b'}\"]}"),
            "found job!=\"a|b\"",
        ),
        (federate("honor_labels: true"), "found no match[]"),
        (
            amp("sigv4: {region: eu-west-1}").replace(
                "job_name: a",
                "job_name: a, metric_name_validation_scheme: utf8",
            ),
            "UTF-8 names are taken",
        ),
        (
            federate("honor_labels: true\nparams: {match: [up]}"),
            "write 'match[]' in place of \"match\"",
        ),
        (
            federate("params: {'match[]': [up]}"),
            "honor_labels is false on /federate",
        ),
        (
            federate(&format!("{good}\nhonor_timestamps: false")),
            "honor_timestamps is false on /federate",
        ),
        (
            job("metrics_path: /federate?match[]=up"),
            "found a ? in the path",
        ),
        (with("scrape_configs: [{job_name: a}]"), "found no target"),
        (
            with("scrape_configs: [{job_name: a, static_configs: [{targets: ['h:x']}]}]"),
            "targets[0]: the target cannot be scraped, and its up is 0: \"h:x\" is not a valid \
             address: invalid port number",
        ),
        (
            with(
                "scrape_configs: [{job_name: a, static_configs: [{targets: [h], labels: \
                 {__scheme__: x}}]}]",
            ),
            "targets[0]: the target cannot be scraped, and its up is 0: unsupported protocol \
             scheme \"x\"",
        ),
        (
            job("relabel_configs: [{target_label: __address__, replacement: ''}]"),
            "static_configs[0].targets[0]: the target cannot be scraped, and its up is 0: no address",
        ),
        (
            job("relabel_configs: [{target_label: __scrape_timeout__, replacement: 2m}]"),
            "scrape timeout cannot be greater than scrape interval (\"2m\" > \"1m\")",
        ),
        (job("scheme: ftp"), "unsupported protocol scheme \"ftp\""),
        (
            job("relabel_configs: [{target_label: __address__, replacement: 'h/x'}]"),
            "\"h/x\" is not a valid hostname",
        ),
        (
            with("global: {external_labels: {cluster: a}}"),
            "found cluster without __replica__",
        ),
        (
            with("global: {external_labels: {__replica__: a}}"),
            "found __replica__ without cluster",
        ),
        (
            with("global: {external_labels: {a: $NOT_SET}}"),
            "variable \"NOT_SET\" is empty or not set",
        ),
        (
            with("global: {scrape_interval: }"),
            "found no value: the default is used",
        ),
        (
            remote("queue_config: {capacity: 100}"),
            "capacity 100 is below max_samples_per_send 2000",
        ),
        (remote("sigv4:"), "requests are not signed"),
        (amp(""), "found no sigv4"),
        (
            federate("honor_labels: true\nparams: {'match[]': [up, '%7Bjob%3D%22a%22%7D']}"),
            "params.match[][1]: the home refuses the selector \"%7Bjob%3D%22a%22%7D\" with 400: \
             character 1: found %",
        ),
        (
            federate("honor_labels: true\nparams: {'match[]': ['job=~\".+\"']}"),
            "character 4: found =, expected the end",
        ),
        (
            federate("honor_labels: true\nparams: {'match[]': ['{job=\u{201c}a\u{201d}}']}"),
            "found the typographic quote",
        ),
        (
            job("scheme: https\nbasic_auth: {username: a, password: <secret>}"),
            "basic_auth.password: found <secret>, which is how Prometheus' page /config hides",
        ),
        (
            remote("authorization: {credentials: <secret>}").replace("http:", "https:"),
            "authorization.credentials: found <secret>",
        ),
        (
            amp("sigv4: {access_key: a, secret_key: <secret>}"),
            "sigv4.secret_key: found <secret>",
        ),
        (
            with("global: {external_labels: {pod: $(POD_NAME)}}"),
            "external_labels.pod: found \"$(POD_NAME)\", which is sent as it stands",
        ),
        (
            with(
                "scrape_configs: [{job_name: a, static_configs: [{targets: [h], labels: {a: x-$(B)}}]}]",
            ),
            "labels.a: found \"x-$(B)\"",
        ),
        (
            remote("write_relabel_configs: [{action: labeldrop, regex: '__.*'}]"),
            "write_relabel_configs[0]: the rule removes __name__: receivers refuse",
        ),
        (
            job("metric_relabel_configs: [{action: labelkeep, regex: 'job'}]"),
            "metric_relabel_configs[0]: the rule removes __name__: a scrape",
        ),
        (
            amp("sigv4: {region: us-east-1}"),
            "line 4, remote_write[0].sigv4.region: found the region \"us-east-1\", but the URL is \
             in \"eu-west-1\"",
        ),
        (
            amp("sigv4: {service_name: execute-api}"),
            "requests to AMP must be signed for aps",
        ),
        (
            amp("sigv4: {}\nheaders: {x-scope-orgid: a}"),
            "AMP refuses requests with X-Scope-OrgID",
        ),
        (
            amp("sigv4: {}\nqueue_config: {sample_age_limit: 2h}"),
            "found 2h: AMP refuses samples older than 1h",
        ),
        (
            amp("sigv4: {}\nqueue_config: {sample_age_limit: 0s}"),
            "no limit: AMP refuses",
        ),
        (
            amp("sigv4: {}").replace("/api/v1/remote_write\n", "\n"),
            "which takes no samples",
        ),
        (
            amp("sigv4: {}").replace("https", "http"),
            "found http with credentials",
        ),
        (
            remote("basic_auth: {username: a, password: b}"),
            "remote_write[0].url: found http with credentials",
        ),
        (
            remote("headers: {X-Api-Key: a}"),
            "found http with credentials",
        ),
        (
            secure_remote("oauth2: {client_id: a, token_url: 'http://t'}"),
            "oauth2.token_url: found http",
        ),
        (
            job("scheme: http\nauthorization: {credentials: a}"),
            "scrape_configs[0].scheme: found http with credentials",
        ),
        (
            job("tls_config: {insecure_skip_verify: true}"),
            "tls_config.insecure_skip_verify: INSECURE",
        ),
        (
            secure_remote(
                "oauth2: {client_id: a, token_url: 'https://t', tls_config: \
                 {insecure_skip_verify: true}}",
            ),
            "oauth2.tls_config.insecure_skip_verify: INSECURE",
        ),
        (
            format!(
                "{}forwarder: {{max_request_bytes: 2MB}}\n",
                amp("sigv4: {}")
            ),
            "AMP answers 413",
        ),
        (with("---\na: 1"), "a second document"),
    ] {
        let warnings = warnings(&text);
        assert!(
            warnings.len() == 1 && warnings[0].contains(part),
            "{text}\n{warnings:?}\nlacks {part}"
        );
    }
}

#[test]
fn what_is_right_is_not_warned_of() {
    for text in [
        amp("sigv4: {}"),
        amp("sigv4: {region: eu-west-1}"),
        amp("sigv4: {region: eu-west-1}").replace(
            "aps-workspaces.eu-west-1.amazonaws.com",
            "aps-workspaces-fips.eu-west-1.api.aws",
        ),
        amp("sigv4: {region: eu-west-1}")
            .replace("aps-workspaces.", "vpce-0a-1b.aps-workspaces.")
            .replace("west-1.amaz", "west-1.vpce.amaz"),
        secure_remote("sigv4: {region: us-east-1}"),
        remote("headers: {X-Team: metrics}"),
        remote("queue_config: {capacity: 2500, max_samples_per_send: 2500}"),
        remote("queue_config: {min_shards: 60, min_backoff: 10s}"),
        remote("queue_config: {capacity: 0}"),
        remote("protobuf_message: prometheus.WriteRequest\nround_robin_dns: false"),
        job(
            "relabel_configs: [{source_labels: [__address__], target_label: __param_target}, \
             {target_label: __address__, replacement: 'exporter:9115'}]",
        )
        .replace("'h:1'", "'https://example.com/x'"),
        amp("sigv4: {}").replace("remote_write\n", "remote_write/\n"),
        job(
            "metrics_path: /federate\nhonor_labels: true\nparams: {'match[]': \
             ['{job=~\"a|b\",x!~\".+\"}', 'up{a=\"b\\\"c\"}', '{a=`.`}']}",
        ),
        with("global: {external_labels: {cluster: a, __replica__: b, site: c}}"),
        with("global:"),
    ] {
        assert_eq!(warnings(&text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn remotes_with_one_url_are_told_apart_by_their_rules() {
    let entry = |rule: &str| format!("{{url: 'http://a/b', write_relabel_configs: [{rule}]}}");
    let (plain, one, two) = (
        "{url: 'http://a/b'}".to_owned(),
        entry("{action: drop, source_labels: [a], regex: b}"),
        entry("{action: keep, source_labels: [a], regex: b}"),
    );
    let ids = |entries: &[&String]| -> Vec<String> {
        let entries: Vec<_> = entries.iter().map(|entry| entry.as_str()).collect();
        let config = config(&with(&format!("remote_write: [{}]", entries.join(", "))));
        config.remote_write.iter().map(RemoteWrite::id).collect()
    };
    // A folder of the spool has this name: it is the same in every version.
    let plain_id = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(b"http://a/b"));
    assert_eq!(ids(&[&plain]), [plain_id.as_str()]);
    let (one_id, two_id) = (ids(&[&one]).remove(0), ids(&[&two]).remove(0));
    assert!(one_id != two_id && one_id != plain_id);
    // Other entries change nothing, wherever they stand.
    assert_eq!(
        ids(&[&two, &plain, &one]),
        [two_id.as_str(), plain_id.as_str(), one_id.as_str()]
    );
    assert_eq!(ids(&[&one, &two]), [one_id, two_id]);
}

#[test]
fn people_see_host_and_workspace_of_a_remote_without_a_name() {
    let entries = "scrape_configs: [{job_name: a, static_configs: [{targets: ['h:1']}]}]
remote_write:
  - {url: 'https://aps-workspaces.eu-central-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write'}
  - {url: 'http://receiver:8080/api/v1/push'}
  - {url: 'https://other/api/v1/push', write_relabel_configs: [{regex: a, action: labeldrop}]}
  - {url: 'https://other/api/v1/push'}
  - {url: 'https://named/api/v1/push', name: mine}
";
    let remotes = config(entries).remote_write;
    let labels: Vec<_> = remotes.iter().map(|remote| remote.label.as_str()).collect();
    assert_eq!(labels[0], "aps-workspaces.eu-central-1.amazonaws.com/ws-1");
    assert_eq!(labels[1], "receiver:8080");
    assert_eq!(labels[4], "mine");
    // The hash tells these two apart.
    for at in [2, 3] {
        assert_eq!(labels[at], format!("other {}", remotes[at].unnamed_id));
    }
    assert_eq!(
        remotes[1].id(),
        remotes[1].unnamed_id,
        "the spool has it so"
    );
}

#[test]
fn a_signed_url_is_cleaned_and_names_the_region() {
    for (path, cleaned) in [
        (
            "workspaces/ws-1//api/v1/remote_write",
            "/workspaces/ws-1/api/v1/remote_write",
        ),
        (
            "workspaces/ws-1/api/v1/remote_write/",
            "/workspaces/ws-1/api/v1/remote_write",
        ),
    ] {
        let text = amp("sigv4: {}").replace("workspaces/ws-1/api/v1/remote_write", path);
        let remote = config(&text).remote_write.remove(0);
        assert_eq!(remote.url.path(), cleaned);
        assert_eq!(remote.sigv4.unwrap().region.as_deref(), Some("eu-west-1"));
    }
    let other = config(&remote("sigv4: {}")).remote_write.remove(0);
    assert_eq!(other.sigv4.unwrap().region, None);
    let plain = remote("").replace("/api/v1/write", "/a//b/");
    assert_eq!(config(&plain).remote_write[0].url.path(), "/a//b/");
}

#[test]
fn what_is_understood_is_written_with_every_default_and_no_secret() {
    let text = format!(
        "{}scrape_configs:\n- &base\n  job_name: a\n  metrics_path: federate\n  basic_auth: \
         {{username: u, password: hunter2}}\n  params: {{'match[]': [up]}}\n  static_configs: \
         [{{targets: ['h:1']}}]\n- <<: *base\n  job_name: b\n  params: {{x: ['1']}}\n  basic_auth: \
         {{username: v}}\n",
        amp("sigv4: {access_key: a, secret_key: hunter2}")
            .lines()
            .filter(|line| !line.starts_with("scrape_configs"))
            .map(|line| format!("{line}\n"))
            .collect::<String>(),
    );
    let effective = config(&text).effective();
    assert!(!effective.contains("hunter2"), "{effective}");
    for part in [
        "region: 'eu-west-1'",
        "secret_key: '<secret>'",
        "scrape_timeout: 10s",
        "sample_age_limit: 55m",
        "      'match[]':\n        - 'up'\n      x:\n        - '1'",
        "username: 'v'\n      password: '<secret>'",
    ] {
        assert!(effective.contains(part), "{part}\n{effective}");
    }
}

/// By what `global`, the job and the remotes say: what a job takes, and what it asks for.
#[test]
fn names_are_legacy_where_a_signed_remote_takes_no_others() {
    use NameEscaping::{AllowUtf8, Dots, Underscores};
    use NameValidation::{Legacy, Utf8};
    for (global, own, signed, naming) in [
        ("", "", false, Ok((Utf8, AllowUtf8))),
        ("", "", true, Ok((Legacy, Underscores))),
        ("", "validation: utf8", true, Ok((Utf8, AllowUtf8))),
        ("", "escaping: allow-utf-8", true, Ok((Utf8, AllowUtf8))),
        ("", "escaping: dots", true, Ok((Legacy, Dots))),
        ("", "escaping: ''", true, Ok((Legacy, Underscores))),
        ("validation: utf8", "", true, Ok((Utf8, AllowUtf8))),
        ("escaping: allow-utf-8", "", true, Ok((Utf8, AllowUtf8))),
        ("escaping: dots", "", true, Ok((Legacy, Dots))),
        (
            "escaping: dots",
            "validation: utf8",
            true,
            Ok((Utf8, AllowUtf8)),
        ),
        ("validation: legacy", "", false, Ok((Legacy, Underscores))),
        (
            "validation: legacy",
            "validation: utf8",
            false,
            Ok((Utf8, AllowUtf8)),
        ),
        (
            "validation: legacy",
            "escaping: allow-utf-8",
            false,
            Err("is not set to UTF8"),
        ),
        (
            "",
            "{validation: legacy, escaping: allow-utf-8}",
            false,
            Err("is not set to UTF8"),
        ),
        (
            "",
            "validation: ascii",
            false,
            Err("found \"ascii\", expected legacy or utf8"),
        ),
        (
            "escaping: slashes",
            "",
            false,
            Err("expected allow-utf-8 or underscores or dots or values"),
        ),
    ] {
        let keys = |text: &str| {
            text.trim_matches(['{', '}'])
                .replace("validation", "metric_name_validation_scheme")
                .replace("escaping", "metric_name_escaping_scheme")
        };
        let text = format!(
            "global: {{{}}}\nscrape_configs: [{{job_name: a, {}}}]\nremote_write: [{{url: \
             'http://plain/'}}, {{url: 'http://amp/'{}}}]\n",
            keys(global),
            keys(own),
            if signed {
                ", sigv4: {region: eu-west-1}"
            } else {
                ""
            }
        );
        let found = load(&text)
            .map(|loaded| loaded.config.scrape_configs[0].naming)
            .map_err(|errors| errors.to_string());
        match (found, naming) {
            (Ok(found), Ok((validation, escaping))) => assert_eq!(
                found,
                Naming {
                    validation,
                    escaping
                },
                "{text}"
            ),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{text}{found}"),
            (found, _) => panic!("{text}{found:?}"),
        }
    }
}
