//! The HTTP client configuration in jobs and remotes. The messages are those of Prometheus 3.5's
//! promtool.

use super::super::{Config, SecretSource, Source, StoredSecret};
use super::*;

fn env(name: &str) -> Option<String> {
    match name {
        "PASSWORD" => Some("hunter2".into()),
        "http_proxy" => Some("proxy:3128".into()),
        "HTTPS_PROXY" => Some("https://u:hunter2@proxy:3129".into()),
        "NO_PROXY" => Some("home.lan".into()),
        _ => None,
    }
}

fn text(job: &str, remote: &str) -> String {
    let indented = |body: &str| {
        body.lines()
            .map(|line| format!("  {line}\n"))
            .collect::<String>()
    };
    format!(
        "scrape_configs:\n- job_name: a\n  static_configs: [{{targets: \
         ['h:1']}}]\n{}remote_write:\n- url: https://receiver/api/v1/write\n{}",
        indented(job),
        indented(remote)
    )
}

fn job(body: &str) -> HttpConfig {
    let text = text(body, "");
    let loaded = Config::load(&text, &env, "/etc/forwarder.yml")
        .unwrap_or_else(|errors| panic!("{text}\n{errors}"));
    assert!(!format!("{loaded:?}").contains("hunter2"));
    loaded.config.scrape_configs[0].http.clone()
}

/// Both sections take the same keys and refuse the same.
fn errors(body: &str) -> String {
    [text(body, ""), text("", body)]
        .map(|text| {
            Config::load(&text, &env, "f.yml")
                .expect_err(&text)
                .to_string()
        })
        .concat()
}

#[test]
fn what_is_not_given_is_as_in_prometheus() {
    let http = job("");
    assert_eq!(http, HttpConfig::default());
    assert!(http.follow_redirects && http.auth.is_none());
    assert_eq!(
        job("basic_auth:\nauthorization:\ntls_config:\nhttp_headers:\n"),
        http
    );
    assert_eq!(job("enable_http2: true"), http);
    assert!(!job("follow_redirects: false").follow_redirects);
    assert_eq!(
        job("basic_auth: {}").auth,
        Some(Auth::Basic {
            username: None,
            password: None
        })
    );
    assert_eq!(
        job("authorization: {type: ' '}").auth,
        Some(Auth::Authorization {
            scheme: "Bearer".into(),
            credentials: None
        })
    );
}

#[test]
fn secrets_stand_in_the_file_in_other_files_or_with_aws() {
    let password = |body: &str| match job(body).auth {
        Some(Auth::Basic { password, .. }) => password.unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        password("basic_auth: {password: '${PASSWORD}'}"),
        SecretSource::text("hunter2")
    );
    assert_eq!(
        password("basic_auth: {password_file: pw}"),
        SecretSource::File(Source::Path("/etc/pw".into()))
    );
    let s3 = Source::S3 {
        bucket: "b".into(),
        key: "pw".into(),
    };
    assert_eq!(
        password("basic_auth: {password_file: 's3://b/pw'}"),
        SecretSource::File(s3)
    );
    let kept = SecretSource::Inline(vec![super::super::SecretPart::Stored(StoredSecret::Ssm(
        "/home/pw".into(),
    ))]);
    assert_eq!(password("basic_auth: {password: '${ssm:/home/pw}'}"), kept);
    assert_eq!(kept.places(), ["ssm:/home/pw"]);

    let token = |credentials| {
        Some(Auth::Authorization {
            scheme: "Bearer".into(),
            credentials: Some(credentials),
        })
    };
    assert_eq!(
        job("bearer_token: hunter2").auth,
        token(SecretSource::text("hunter2"))
    );
    assert_eq!(
        job("bearer_token_file: /run/token").auth,
        token(SecretSource::File(Source::Path("/run/token".into())))
    );
    let header = &job("http_headers: {X-A: {values: [a], secrets: [hunter2, \
        '${secretsmanager:s:k}'], files: [f]}}")
    .headers[0];
    assert_eq!((header.name.as_str(), header.values.len()), ("X-A", 4));
    let sources = job(
        "authorization: {credentials: '${ssm:/t}'}\ntls_config: {ca_file: ca.pem, cert: a, \
         key_file: 's3://b/k'}",
    );
    assert_eq!(
        sources
            .sources()
            .into_iter()
            .flat_map(SecretSource::places)
            .collect::<Vec<_>>(),
        ["/etc/ca.pem", "s3://b/k", "ssm:/t"]
    );
}

#[test]
fn proxies_come_from_keys_or_from_the_environment() {
    let proxied = job("proxy_url: http://u:hunter2@proxy:3128\nno_proxy: \
        home.lan\nproxy_connect_header: {X-A: [hunter2]}")
    .proxy;
    assert_eq!(
        (
            proxied.http.as_ref(),
            proxied.no_proxy.as_str(),
            proxied.connect_headers.len()
        ),
        (proxied.https.as_ref(), "home.lan", 1)
    );
    let found = job("proxy_from_environment: true").proxy;
    assert_eq!(found.http.unwrap().expose(), "http://proxy:3128");
    assert_eq!(
        found.https.unwrap().expose(),
        "https://u:hunter2@proxy:3129"
    );
    assert_eq!(
        (found.no_proxy.as_str(), found.spares_loopback),
        ("home.lan", true)
    );
}

#[test]
fn what_does_not_load_is_worded_as_in_prometheus() {
    for (body, part) in [
        (
            "bearer_token: a\nbearer_token_file: b",
            "at most one of bearer_token & bearer_token_file must be configured",
        ),
        (
            "basic_auth: {username: a}\nbearer_token: b",
            "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be \
             configured",
        ),
        (
            "basic_auth: {username: a, username_file: b}",
            "at most one of basic_auth username, username_file & username_ref must be configured",
        ),
        (
            "basic_auth: {password: a, password_file: b}",
            "at most one of basic_auth password, password_file & password_ref must be configured",
        ),
        (
            "authorization: {credentials: a}\nbearer_token: b",
            "authorization is not compatible with bearer_token & bearer_token_file",
        ),
        (
            "authorization: {credentials: a, credentials_file: b}",
            "at most one of authorization credentials & credentials_file must be configured",
        ),
        (
            "authorization: {type: Basic}",
            "authorization type cannot be set to \"basic\", use \"basic_auth\" instead",
        ),
        (
            "authorization: {credentials: a}\nbasic_auth: {username: a}",
            "at most one of basic_auth, oauth2 & authorization must be configured",
        ),
        (
            "oauth2: {client_id: a, token_url: 'http://b'}\nbasic_auth: {}",
            "at most one of basic_auth, oauth2 & authorization must be configured",
        ),
        (
            "oauth2: {client_id: a}",
            "oauth2 token_url must be configured",
        ),
        (
            "oauth2: {token_url: 'http://a'}",
            "oauth2 client_id must be configured",
        ),
        (
            "oauth2: {client_id: a, token_url: 'http://b', client_secret: hunter2, \
             client_secret_file: d}",
            "at most one of oauth2 client_secret, client_secret_file & client_secret_ref must be \
             configured",
        ),
        (
            "oauth2: {client_id: a, token_url: 'http://u:hunter2@b'}",
            "without credentials",
        ),
        (
            "oauth2: {client_id: a, token_url: 'http://b', follow_redirects: true}",
            "which oauth2 does not have",
        ),
        (
            "oauth2: {client_id: a, token_url: 'http://b', tls_config: {cert: a}}",
            "exactly one of key or key_file must be configured",
        ),
        (
            "tls_config: {ca: a, ca_file: b}",
            "at most one of ca, ca_file & ca_ref must be configured",
        ),
        (
            "tls_config: {cert: a, cert_file: b}",
            "at most one of cert, cert_file & cert_ref must be configured",
        ),
        (
            "tls_config: {key: hunter2, key_file: b}",
            "at most one of key and key_file must be configured",
        ),
        (
            "tls_config: {cert: a}",
            "exactly one of key or key_file must be configured when a client certificate is \
             configured",
        ),
        (
            "tls_config: {key: hunter2}",
            "exactly one of cert or cert_file must be configured when a client key is configured",
        ),
        ("tls_config: {min_version: TLS9}", "unknown TLS version"),
        (
            "tls_config: {min_version: TLS13, max_version: TLS12}",
            "tls_config.max_version must be greater than or equal to tls_config.min_version if \
             both are specified",
        ),
        (
            "tls_config: {max_version: TLS11}",
            "not supported: TLS11 is not spoken here",
        ),
        (
            "tls_config: {server_name: 'a b'}",
            "expected a host name or an IP address",
        ),
        (
            "tls_config: {next_protos: [h2]}",
            "which tls_config does not have",
        ),
        (
            "basic_auth: {password_ref: a}",
            "password_ref: not supported: there is no secret manager of Prometheus' kind",
        ),
        (
            "proxy_connect_header: {a: [hunter2]}",
            "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also \
             be configured",
        ),
        (
            "proxy_from_environment: true\nproxy_url: http://a",
            "if proxy_from_environment is configured, proxy_url must not be configured",
        ),
        (
            "proxy_from_environment: true\nno_proxy: a",
            "if proxy_from_environment is configured, no_proxy must not be configured",
        ),
        (
            "no_proxy: a",
            "if no_proxy is configured, proxy_url must also be configured",
        ),
        (
            "proxy_url: socks5://u:hunter2@a",
            "SOCKS proxies are not supported",
        ),
        (
            "http_headers: {authorization: {values: [hunter2]}}",
            "setting header \"Authorization\" is not allowed",
        ),
        (
            "http_headers: {x-prometheus-scrape-timeout-seconds: {}}",
            "setting header \"X-Prometheus-Scrape-Timeout-Seconds\" is not allowed",
        ),
        (
            "http_headers: {x: {values: a}}",
            "http_headers.x.values: found a single value, expected a list",
        ),
        ("http_headers: {a b: {}}", "expected the name of a header"),
        (
            "http_headers: {x: {secrets: [\"hunter2\\n\"]}}",
            "control characters in the value of a header",
        ),
        ("bearer_token: '${ssm:}'", "AWS cannot have"),
        (
            "bearer_token_file: 's3://b'",
            "expected a path or an object in S3",
        ),
    ] {
        let errors = errors(body);
        assert_eq!(
            errors.matches(part).count(),
            2,
            "{body}\n{errors}\nlacks {part}"
        );
        assert!(!errors.contains("hunter2"), "{body}\n{errors}");
    }
    for (auth, name) in [
        ("basic_auth: {}", "basic_auth"),
        ("bearer_token: a", "authorization"),
        ("oauth2: {client_id: a, token_url: 'http://b'}", "oauth2"),
    ] {
        let errors = Config::load(&text("", &format!("{auth}\nsigv4: {{}}")), &env, "f.yml")
            .unwrap_err()
            .to_string();
        let part = format!(
            "at most one of basic_auth, authorization, oauth2, or sigv4 must be configured. \
             Currently configured: [{name} sigv4]"
        );
        assert!(errors.contains(&part), "{errors}");
    }
}
