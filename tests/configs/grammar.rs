//! Small configurations, generated from keys, scalars, anchors and mistakes.

use fastrand::Rng;

/// Keys of `global`, each with values that are right, wrong, and rarely seen.
const GLOBAL: &[&str] = &[
    "scrape_interval: 15s",
    "scrape_interval: 5s",
    "scrape_interval: 15",
    "scrape_interval: 1m30s",
    "scrape_interval: ''",
    "scrape_interval: 0s",
    "scrape_timeout: 7s",
    "scrape_timeout: 70s",
    "external_labels: {a: b, c: '1'}",
    "external_labels: {a: 1, b: true, c: 1.50, d: ~, e: 0x10}",
    "external_labels: {a: yes, b: 2024-01-01, c: 1_000}",
    "external_labels: {}",
    "external_labels: [a]",
    "external_labels: {'a b': c}",
    "external_labels: {a: $$x, b: '${NOPE_}y'}",
    "sample_limit: 5",
    "body_size_limit: 10MB",
    "label_limit: -1",
    "scrape_protocols: [PrometheusText0.0.4, OpenMetricsText1.0.0]",
    "scrape_protocols: []",
    "metric_name_validation_scheme: legacy",
    "metric_name_escaping_scheme: dots",
    "always_scrape_classic_histograms: true",
    "bogus: 1",
];

/// Keys of a job.
const JOB: &[&str] = &[
    "honor_labels: true",
    "honor_labels: yes",
    "honor_labels: On",
    "honor_labels: 'true'",
    "honor_labels: 1",
    "honor_labels: ~",
    "honor_timestamps: false",
    "honor_timestamps: n",
    "track_timestamps_staleness: true",
    "params: {'match[]': ['{job=~\".+\"}', up]}",
    "params: {a: [1, true, ~, x], b: []}",
    "params: {a: b}",
    "params: {a: ~}",
    "params: {a: ['1'], a: ['2']}",
    "scrape_interval: 5s",
    "scrape_interval: 2m",
    "scrape_interval: 1h1h",
    "scrape_interval: 1.5m",
    "scrape_timeout: 3s",
    "scrape_timeout: 90s",
    "scrape_timeout: 0",
    "metrics_path: /federate",
    "metrics_path: federate",
    "metrics_path: ''",
    "metrics_path: /a?b=c",
    "metrics_path: [a]",
    "scheme: https",
    "scheme: HTTPS",
    "scheme: ftp",
    "enable_compression: false",
    "body_size_limit: 10MiB",
    "body_size_limit: 1.5GiB",
    "body_size_limit: 10kb",
    "sample_limit: 10",
    "sample_limit: 1e3",
    "sample_limit: 0o17",
    "sample_limit: 017",
    "sample_limit: 0b11",
    "sample_limit: '5'",
    "sample_limit: -1",
    "target_limit: 3",
    "label_limit: 20",
    "label_name_length_limit: 1_0",
    "native_histogram_bucket_limit: 100",
    "native_histogram_min_bucket_factor: 1.1",
    "fallback_scrape_protocol: PrometheusText0.0.4",
    "fallback_scrape_protocol: text",
    "scrape_protocols: [PrometheusProto, PrometheusText0.0.4]",
    "scrape_protocols: [PrometheusProto, PrometheusProto]",
    "metric_name_validation_scheme: legacy",
    "metric_name_validation_scheme: utf9",
    "metric_name_escaping_scheme: underscores",
    "metric_name_escaping_scheme: allow-utf-8",
    "always_scrape_classic_histograms: true",
    "scrape_classic_histograms: true",
    "basic_auth: {username: u, password: p}",
    "basic_auth: {username: u, password: p, password_file: f}",
    "basic_auth: {}",
    "basic_auth: ",
    "basic_auth: {password_file: pw}",
    "authorization: {credentials: c}",
    "authorization: {type: Basic, credentials: c}",
    "authorization: {type: Token, credentials_file: /run/token}",
    "bearer_token: t",
    "bearer_token_file: t",
    "oauth2: {client_id: a, client_secret: b, token_url: 'https://t/x', scopes: [c], endpoint_params: {d: e}}",
    "oauth2: {client_id: a}",
    "tls_config: {insecure_skip_verify: true}",
    "tls_config: {server_name: h}",
    "tls_config: {cert_file: c.pem}",
    "tls_config: {min_version: TLS12, max_version: TLS13}",
    "tls_config: {min_version: TLS14}",
    "follow_redirects: false",
    "enable_http2: false",
    "proxy_url: http://p:3128",
    "proxy_from_environment: true",
    "no_proxy: x",
    "http_headers: {X-A: {values: [a]}}",
    "http_headers: {Host: {values: [a]}}",
    "relabel_configs: [{source_labels: [a, b], regex: 'x(.*)', target_label: c, replacement: '$1'}]",
    "relabel_configs: [{target_label: a, replacement: b}]",
    "relabel_configs: [{action: KEEP, source_labels: [__address__]}]",
    "relabel_configs: [{action: hashmod, source_labels: [a], target_label: b, modulus: 4}]",
    "relabel_configs: [{action: hashmod, source_labels: [a], target_label: b}]",
    "relabel_configs: [{action: labeldrop, regex: a, source_labels: [b]}]",
    "relabel_configs: [{action: nothing}]",
    "relabel_configs: [{regex: '(', target_label: a}]",
    "relabel_configs: [~]",
    "metric_relabel_configs: [{action: labelmap, regex: 'a_(.+)'}]",
    "metric_relabel_configs: [{action: drop, source_labels: [a], regex: 5}]",
    "metric_relabel_configs: [{action: lowercase, source_labels: [a], target_label: b, separator: ''}]",
    "metric_relabel_configs: {action: drop}",
    "'match[]': [up]",
    "ec2_sd_configs: ~",
    "target_groups: []",
    "job_name: again",
];

/// Targets with their labels.
const TARGETS: &[&str] = &[
    "[{targets: ['h:1']}]",
    "[{targets: ['h:1', 'i:2'], labels: {a: b, n: 1, t: true}}]",
    "[{targets: ['h:1'], labels: {__scheme__: https, __metrics_path__: /x}}]",
    "[{targets: ['h:99999', 'h: 1 ', '192.168.1.300:9090']}]",
    "[{targets: ['http://h:1/x']}]",
    "[{targets: ['h:1'], labels: {a: ~}}]",
    "[{targets: []}]",
    "[{targets: 'h:1'}]",
    "[{targets: [1, ~]}]",
    "[{target: [h]}]",
    "[~]",
    "[]",
];

/// Keys of a remote.
const REMOTE: &[&str] = &[
    "name: a",
    "name: ''",
    "remote_timeout: 5s",
    "remote_timeout: 5",
    "headers: {X-Team: home}",
    "headers: {Content-Type: x}",
    "headers: {Authorization: x}",
    "headers: {X-N: 1, X-B: true}",
    "write_relabel_configs: [{source_labels: [__name__], regex: 'go_.*', action: drop}]",
    "write_relabel_configs: [{action: labeldrop}]",
    "write_relabel_configs: [{action: keepequal, source_labels: [a], target_label: b}]",
    "send_exemplars: false",
    "send_native_histograms: true",
    "round_robin_dns: false",
    "protobuf_message: prometheus.WriteRequest",
    "protobuf_message: nonsense",
    "queue_config: {capacity: 2500, max_shards: 200, max_samples_per_send: 1000}",
    "queue_config: {min_shards: 60}",
    "queue_config: {min_backoff: 10s}",
    "queue_config: {max_backoff: 1ms}",
    "queue_config: {retry_on_http_429: true, sample_age_limit: 1h}",
    "queue_config: {batch_send_deadline: 1s, min_backoff: 1s, max_backoff: 2s}",
    "queue_config: {capacity: 1.5e3}",
    "queue_config: {max_retries: 3}",
    "queue_config: {}",
    "metadata_config: {send: false}",
    "metadata_config: {send_interval: 5m, max_samples_per_send: 7}",
    "basic_auth: {username: u, password: p}",
    "authorization: {credentials: c}",
    "sigv4: {region: eu-west-1, access_key: a, secret_key: b}",
    "sigv4: {region: eu-west-1, access_key: a}",
    "sigv4: {region: eu-west-1, access_key: a, secret_key: b}\nbasic_auth: {username: u}",
    "tls_config: {insecure_skip_verify: true}",
    "proxy_url: http://u:p@p:3128",
    "follow_redirects: false",
    "remote_write: x",
    "url: http://again/",
];

/// Keys without whose value Prometheus 3.5 loads the file, takes it for zero, and then hangs at the
/// next reload (no time for a request) or ends in a panic (no shards).
const DEADLY: &[&str] = &["remote_timeout", "queue_config"];

/// A configuration. The same seed gives the same one.
pub(crate) fn configuration(seed: u64) -> String {
    let mut rng = Rng::with_seed(seed);
    let job: Vec<_> = (0..rng.usize(0..3)).map(|_| pick(&mut rng, JOB)).collect();
    let remote: Vec<_> = (0..rng.usize(0..2))
        .map(|_| pick(&mut rng, REMOTE))
        .collect();
    let global: Vec<_> = (0..rng.usize(0..2))
        .map(|_| pick(&mut rng, GLOBAL))
        .collect();
    let targets = if rng.u8(0..3) == 0 {
        pick(&mut rng, TARGETS)
    } else {
        TARGETS[0]
    };
    let merged = rng.u8(0..4) == 0;
    let (own_job, own_remote) = (pick(&mut rng, JOB), pick(&mut rng, REMOTE));
    let first = rng.bool();
    let mut text = written(&global, &job, targets, &remote);
    if rng.u8(0..3) == 0 {
        text = with_null(&mut rng, &text, [&global, &job, &remote]);
    }
    if merged {
        let (jobs, remotes) = text.split_once("remote_write:\n").unwrap_or((&text, ""));
        let jobs = jobs.replace("- job_name: j\n", "- &job\n  job_name: j\n");
        let remotes = remotes.replace(
            "- url: http://receiver/\n",
            "- &remote\n  url: http://receiver/\n",
        );
        let entry = |base: &str, name: &str, own: &str| {
            let own = indented(own);
            if first {
                format!("- <<: *{base}\n{name}{own}")
            } else {
                format!("-\n{name}{own}  <<: *{base}\n")
            }
        };
        text = format!(
            "{jobs}{}remote_write:\n{remotes}{}",
            entry("job", "  job_name: merged\n", own_job),
            entry("remote", "  name: merged\n", own_remote),
        );
    }
    text
}

/// Takes the value of one of these keys away: people delete it, or a template leaves none. Those of
/// [`DEADLY`] keep theirs.
fn with_null(rng: &mut Rng, text: &str, keys: [&[&'static str]; 3]) -> String {
    let mut keys = keys.concat();
    keys.retain(|key| !DEADLY.iter().any(|deadly| key.starts_with(deadly)));
    let Some(key) = rng.choice(keys) else {
        return text.to_owned();
    };
    let name = key.split_once(':').map_or(key, |(name, _)| name);
    let null = rng.choice(["", " ~", " null"]).unwrap_or_default();
    text.replacen(&indented(key), &indented(&format!("{name}:{null}")), 1)
}

/// A configuration with one fragment: `global: …`, `job: …` or `remote: …`.
pub(crate) fn around(example: &str) -> String {
    let (section, key) = example.split_once(": ").unwrap_or((example, ""));
    match section {
        "global" => written(&[key], &[], TARGETS[0], &[]),
        "job" => written(&[], &[key], TARGETS[0], &[]),
        "remote" => written(&[], &[], TARGETS[0], &[key]),
        "targets" => written(&[], &[], key, &[]),
        _ => panic!("{example}"),
    }
}

fn pick(rng: &mut Rng, from: &[&'static str]) -> &'static str {
    from[rng.usize(0..from.len())]
}

fn written(global: &[&str], job: &[&str], targets: &str, remote: &[&str]) -> String {
    let mut text = String::new();
    if !global.is_empty() {
        text.push_str("global:\n");
        global.iter().for_each(|key| text.push_str(&indented(key)));
    }
    text.push_str("scrape_configs:\n- job_name: j\n");
    job.iter().for_each(|key| text.push_str(&indented(key)));
    text.push_str(&format!("  static_configs: {targets}\n"));
    text.push_str("remote_write:\n- url: http://receiver/\n");
    remote.iter().for_each(|key| text.push_str(&indented(key)));
    text
}

/// Lines below an entry. One that starts with a dash is the next entry.
fn indented(lines: &str) -> String {
    lines
        .lines()
        .map(|line| {
            let margin = if line.starts_with("- ") { "" } else { "  " };
            format!("{margin}{line}\n")
        })
        .collect()
}
