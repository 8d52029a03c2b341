//! A whole `prometheus.yml`, brought over.

use proptest::prelude::*;

use super::*;

const PROMETHEUS_YML: &str = r#"
global:
  scrape_interval: 15s
  evaluation_interval: 30s
  external_labels: {cluster: home, replica: "$REPLICA"}
alerting:
  alertmanagers:
  - static_configs: [{targets: ['alertmanager:9093']}]
rule_files: ['rules/*.yml']
scrape_configs:
- job_name: federate
  honor_labels: true
  metrics_path: /federate
  params:
    'match[]': ['{job=~".+"}', '{path="${id}"}']
  basic_auth: {username: u, password: 'hunter2${x}'}
  follow_redirects: true
  static_configs:
  - targets: ['192.0.2.10:9090']
    labels: {site: "it's home", __scrape_interval__: 5s}
- job_name: pods
  kubernetes_sd_configs: [{role: pod}]
  relabel_configs: [{action: keep}]
- job_name: blackbox
  metrics_path: /probe
  static_configs: [{targets: ['https://example.com/x']}]
  relabel_configs: [{source_labels: [__address__], target_label: __param_target}, {target_label: __address__, replacement: 'exporter:9115'}]
remote_write:
- url: https://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write
  queue_config: {max_samples_per_send: 1000, capacity: 2500}
  sigv4: {region: eu-west-1, access_key: AKIA, secret_key: 'hunter2${x}'}
  write_relabel_configs: [{action: drop, source_labels: [a], regex: b, bogus: c}, {target_label: a, replacement: "${x}-${1}"}]
- url: https://elsewhere/push
  authorization: {credentials_file: /run/token}
  tls_config: {ca_ref: a, server_name: b}
- url: https://u:hunter2@elsewhere/push
storage: {tsdb: {out_of_order_time_window: 1m}}
"#;

#[test]
fn a_whole_prometheus_yml_is_imported() {
    let imported = import(PROMETHEUS_YML).unwrap_or_else(|errors| panic!("{errors}"));
    let left_out: Vec<_> = imported
        .left_out
        .iter()
        .map(|entry| (entry.line, entry.key.as_str()))
        .collect();
    assert_eq!(
        left_out,
        [
            (4, "global.evaluation_interval"),
            (6, "alerting"),
            (9, "rule_files"),
            (
                20,
                "scrape_configs[0].static_configs[0].labels.__scrape_interval__"
            ),
            (21, "scrape_configs[1]"),
            (32, "remote_write[0].write_relabel_configs[0].bogus"),
            (35, "remote_write[1].tls_config.ca_ref"),
            (36, "remote_write[2]"),
            (37, "storage"),
        ]
    );
    for entry in &imported.left_out {
        assert!(
            !entry.why.is_empty()
                && !entry.where_instead.is_empty()
                && !entry.where_instead.contains("remove"),
            "{entry:?}"
        );
        assert!(!format!("{entry:?}").contains("hunter2"), "{entry:?}");
    }
    assert!(imported.added.is_empty() && imported.federates);

    let config = config(&imported.yaml);
    let job = &config.scrape_configs[0];
    assert_eq!(job.params["match[]"], ["{job=~\".+\"}", "{path=\"${id}\"}"]);
    assert_eq!(job.static_configs[0].labels["site"], "it's home");
    assert_eq!(job.scrape_interval, Duration::from_secs(15));
    assert_eq!(
        config.global.external_labels["replica"], "b",
        "external labels keep their variables"
    );
    let sigv4 = config.remote_write[0].sigv4.as_ref().unwrap();
    assert_eq!(sigv4.secret_key, Some(SecretSource::text("hunter2${x}")));
    // Secrets stay as they are, in the file that is made.
    let basic = Auth::Basic {
        username: Some(SecretSource::text("u")),
        password: Some(SecretSource::text("hunter2${x}")),
    };
    assert_eq!(job.http.auth, Some(basic));
    let http = &config.remote_write[1].http;
    let token = SecretSource::File(Source::Path("/run/token".into()));
    assert_eq!(
        http.auth,
        Some(Auth::Authorization {
            scheme: "Bearer".into(),
            credentials: Some(token)
        })
    );
    assert_eq!(
        (http.tls.server_name.as_deref(), &http.tls.ca),
        (Some("b"), &None)
    );
    assert_eq!(
        (config.scrape_configs.len(), config.remote_write.len()),
        (2, 2)
    );
    let probed = config.scrape_configs[1]
        .populate("https://example.com/x", &Default::default())
        .unwrap();
    assert_eq!(
        probed.url.unwrap().as_str(),
        "http://exporter:9115/probe?target=https%3A%2F%2Fexample.com%2Fx"
    );
    assert_eq!(
        imported.yaml.matches("${x}-${1}").count(),
        1,
        "{}",
        imported.yaml
    );
}

#[test]
fn an_import_that_keeps_nothing_says_what_to_fill_in() {
    for text in [
        "",
        "global: {scrape_interval: 1m}",
        "scrape_configs: []\nremote_write:\n",
        "scrape_configs: [{job_name: a, dns_sd_configs: []}]",
    ] {
        let imported = import(text).unwrap();
        assert_eq!(imported.added.len(), 2, "{text}");
        assert!(imported.federates, "{text}");
        let errors = load(&imported.yaml).unwrap_err().to_string();
        assert!(
            errors.contains("remote_write[0].url: found the placeholder REPLACE-ME")
                && errors.contains("targets[0]: found the placeholder REPLACE-ME"),
            "{errors}"
        );
        let config = config(&imported.yaml.replace("REPLACE-ME", "name"));
        assert_eq!(config.scrape_configs[0].metrics_path, "/federate");
    }
}

#[test]
fn what_only_we_refuse_is_left_out() {
    let text = "scrape_configs:\n- job_name: a\n  static_configs: [{targets: [h]}]\n  proxy_url: \
        socks5://p:1\n  no_proxy: x\nremote_write:\n- url: http://a/\n  proxy_url: \
        socks5://p:1\n- url: ftp://b/\n";
    let imported = import(text).unwrap_or_else(|errors| panic!("{errors}"));
    let mut left_out: Vec<_> = imported
        .left_out
        .iter()
        .map(|entry| (entry.line, entry.key.as_str()))
        .collect();
    left_out.sort_unstable();
    assert_eq!(
        left_out,
        [
            (4, "scrape_configs[0].proxy_url"),
            (8, "remote_write[0].proxy_url"),
            (9, "remote_write[1].url"),
        ]
    );
    let config = config(&imported.yaml);
    assert_eq!(config.remote_write.len(), 1);
    assert_eq!(config.scrape_configs[0].http, HttpConfig::default());
}

#[test]
fn a_prometheus_yml_is_found_in_what_is_around_it() {
    let config_map = "kind: ConfigMap\ndata:\n  prometheus.yml: |\n    scrape_configs:\n    - \
        job_name: a\n      static_configs: [{targets: [h]}]\n    rule_files: [x]\n    remote_write: \
        [{url: 'http://a/'}]\n";
    let imported = import(config_map).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(imported.wrapping.unwrap().contains("a ConfigMap"));
    assert_eq!(imported.left_out[0].line, 7);
    assert_eq!(config(&imported.yaml).scrape_configs[0].job_name, "a");

    let values = "prometheus:\n  prometheusSpec:\n    externalLabels: {myCluster: home}\n    \
        remoteWrite:\n    - url: http://a/\n      queueConfig: {maxSamplesPerSend: 7, \
        retryOnRateLimit: true}\n      writeRelabelConfigs: [{sourceLabels: [a], regex: b, action: \
        drop}]\n      headers: {X-Team: home}\n      basicAuth: {username: {name: s, key: u}}\n";
    let imported = import(values).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(imported.wrapping.unwrap().contains("prometheusSpec"));
    assert_eq!(
        imported.left_out[0].key,
        "remoteWrite[0].basicAuth.username"
    );
    let loaded = config(&imported.yaml.replace("REPLACE-ME", "name"));
    assert_eq!(loaded.global.external_labels["myCluster"], "home");
    let remote = &loaded.remote_write[0];
    assert_eq!(remote.queue.max_samples_per_send, 7);
    assert!(remote.queue.retry_on_http_429);
    assert_eq!(remote.headers["X-Team"], "home");
    assert_eq!(remote.write_relabel_configs.len(), 1);

    let bare = import("remoteWrite: [{url: 'http://a/'}]").unwrap();
    assert_eq!(bare.added.len(), 1);
    let error = import("replicaCount: 2\nimage: x\n")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("found nothing of a prometheus.yml"),
        "{error}"
    );
}

#[test]
fn an_import_of_what_is_wrong_names_the_lines_of_the_original() {
    let errors =
        import("rule_files: [a]\nscrape_configs:\n- job_name: a\n  scrape_interval: fast\n")
            .unwrap_err();
    assert_eq!(errors.problems[0].line, 4, "{errors}");
    assert!(import("a: [").is_err());
    assert!(import("- 1").is_err());
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC*", yaml in "([a-z_]{1,6}|[-\\[\\]{}:,&*#!|>'\"%@` \n\t]|\\$\\{){0,60}") {
        for text in [text, yaml] {
            let _ = load(&text);
            let _ = import(&text);
        }
    }

    /// Broken in one place, an example either still loads or says where it is broken.
    #[test]
    fn a_broken_example_has_lines(at in 0usize..700, insert in "[\\[\\]{}:,&*'\"a0 \n-]{0,3}", remove in 0usize..6) {
        let mut text: Vec<char> = EXAMPLE.chars().collect();
        let at = at.min(text.len());
        let end = (at + remove).min(text.len());
        text.splice(at..end, insert.chars());
        let text: String = text.into_iter().collect();
        let lines = text.lines().count() + 1;
        if let Err(errors) = load(&text) {
            prop_assert!(!errors.problems.is_empty());
            for problem in errors.problems {
                prop_assert!((1..=lines).contains(&problem.line) && !problem.message.is_empty(), "{problem:?}");
            }
        }
        if let Ok(imported) = import(&text) {
            let filled_in = imported.yaml.replace("REPLACE-ME", "name");
            prop_assert!(load(&filled_in).is_ok(), "{}", imported.yaml);
        }
    }
}

#[test]
fn an_import_of_the_home_itself_is_noticed() {
    let text = "scrape_configs: [{job_name: node, static_configs: [{targets: ['nas:9100']}]}]";
    let imported = import(text).unwrap();
    assert!(!imported.federates, "{}", imported.yaml);
}
