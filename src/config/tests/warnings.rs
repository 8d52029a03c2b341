//! What loads and is warned of, and what is not.

use super::*;

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
