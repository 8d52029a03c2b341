//! What does not load, and what is said about it.

use super::*;

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
