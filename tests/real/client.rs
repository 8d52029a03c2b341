//! Homes that ask for credentials, and secrets that AWS keeps. None of them is ever shown.

use std::path::Path;
use std::process::{Command, Output};

use amp_forwarder_support::gateway::SampleValue;
use amp_forwarder_support::home::{Page, ScriptedHome};
use amp_forwarder_support::http::{self as server, Server};
use amp_forwarder_support::process::{
    Job, Moto, Prometheus, PrometheusOptions, V2_53, V3_5, WebConfig,
};
use amp_forwarder_support::tls::Authority;
use amp_forwarder_support::wait_for;
use serde_json::json;
use tempfile::TempDir;

use crate::common::{AMPLE, RunningFunction, SPOOL, TestConfig, credentials, gateway, spooling};

/// A home whose HTTP server asks for credentials, and the target that it scrapes.
struct GuardedHome {
    prometheus: Prometheus,
    _target: ScriptedHome,
}

/// Starts a home whose target exposes `text`, and waits until it has scraped that.
async fn guarded_home(version: &str, web: WebConfig, text: &'static str) -> GuardedHome {
    let target = ScriptedHome::start(Page::text(text)).await.unwrap();
    let job = Job::new("scripted", &[&target.address()]);
    let options = PrometheusOptions {
        scrape_itself: false,
        web: Some(web),
        ..PrometheusOptions::home(version, vec![job])
    };
    let prometheus = Prometheus::start(options).await.unwrap();
    wait_for("the home scrapes", AMPLE, || async {
        target.requests().len() > 2
    })
    .await
    .unwrap();
    GuardedHome {
        prometheus,
        _target: target,
    }
}

/// Writes the files that the forwarder presents to a guarded home.
fn write_credentials(folder: &Path, authority: &Authority) {
    let ours = authority.issue(&["forwarder"]).unwrap();
    for (name, text) in [
        ("ca.pem", authority.pem()),
        ("cert.pem", ours.cert),
        ("key.pem", ours.key),
        ("password", format!("{}\n", WebConfig::PASSWORD)),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

/// A home behind TLS with an authority of its own, which asks clients for a certificate and a
/// password.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_home_with_tls_and_passwords_is_scraped() {
    for version in [V2_53, V3_5] {
        let authority = Authority::new("home").unwrap();
        let web = WebConfig {
            tls: Some(authority.issue(&["prom.home.lan"]).unwrap()),
            client_authority: Some(authority.pem()),
            password: true,
        };
        let home = guarded_home(version, web, "m{a=\"b\"} 7\n").await;

        let folder = TempDir::new().unwrap();
        write_credentials(folder.path(), &authority);
        let folder = folder.path().display();
        let job = |server_name: &str, user: &str| -> &'static str {
            format!(
                "honor_labels: true\n    scheme: https\n    \
                 basic_auth: {{username: {user}, password_file: '{folder}/password'}}\n    \
                 tls_config: {{ca_file: '{folder}/ca.pem', cert_file: '{folder}/cert.pem', \
                 key_file: '{folder}/key.pem', server_name: {server_name}}}"
            )
            .leak()
        };
        let gateway = gateway().await;
        let config = TestConfig {
            job: job("prom.home.lan", WebConfig::USER),
            ..TestConfig::new(&home.prometheus.address(), &gateway)
        };
        let report = RunningFunction::start(&config.yaml())
            .await
            .tick("{}", AMPLE)
            .await;
        assert_eq!(report["outcome"], "ok", "{version}: {report}");
        assert!(
            gateway
                .stored()
                .iter()
                .any(|sample| sample.labels["__name__"] == "m"
                    && sample.value == SampleValue::Float(7f64.to_bits())),
            "{version}"
        );

        let wrong = TestConfig {
            job: job("elsewhere", WebConfig::USER),
            ..TestConfig::new(&home.prometheus.address(), &gateway)
        };
        let report = RunningFunction::start(&wrong.yaml())
            .await
            .tick("{}", AMPLE)
            .await;
        let errors = report["errors"].to_string();
        assert!(
            errors.contains("prom.home.lan") && errors.contains("server_name"),
            "{version}: {report}"
        );
        let wrong = TestConfig {
            job: job("prom.home.lan", "nobody"),
            ..TestConfig::new(&home.prometheus.address(), &gateway)
        };
        let report = RunningFunction::start(&wrong.yaml())
            .await
            .tick("{}", AMPLE)
            .await;
        let errors = report["errors"].to_string();
        assert!(
            errors.contains("401") && errors.contains("basic_auth"),
            "{version}: {report}"
        );
    }
}

async fn forwardctl(folder: &Path, arguments: &[&str], environment: &[(&str, String)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forwardctl"));
    command
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs(credentials())
        .envs(environment.iter().cloned())
        .env("HOME", folder);
    tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap()
}

fn printed(output: &Output) -> String {
    String::from_utf8([&output.stdout[..], &output.stderr].concat()).unwrap()
}

/// A moto that keeps the home's password as a parameter, as a secret and as an object.
async fn moto_with_passwords() -> Moto {
    let moto = Moto::start(&[]).await.unwrap();
    moto.create_bucket("secrets").await.unwrap();
    moto.put("secrets/password", WebConfig::PASSWORD)
        .await
        .unwrap();
    let parameter =
        json!({"Name": "/home/password", "Value": WebConfig::PASSWORD, "Type": "SecureString"});
    moto.call("ssm", "AmazonSSM.PutParameter", &parameter)
        .await
        .unwrap();
    let members = json!({"password": WebConfig::PASSWORD, "user": "admin"}).to_string();
    moto.call(
        "secretsmanager",
        "secretsmanager.CreateSecret",
        &json!({"Name": "home", "SecretString": members}),
    )
    .await
    .unwrap();
    moto
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_may_be_kept_by_aws() {
    let moto = moto_with_passwords().await;
    let web = WebConfig {
        password: true,
        ..WebConfig::default()
    };
    let home = guarded_home(V3_5, web, "m 7\n").await;
    let gateway = gateway().await;
    let folder = TempDir::new().unwrap();
    let environment = [
        ("AWS_ENDPOINT_URL", moto.url()),
        ("AWS_REGION", "us-east-1".to_owned()),
    ];
    // Writes a forwarder.yml that finds its password by this key.
    let configure = |key: &str| {
        let job = format!(
            "honor_labels: true\n    basic_auth: {{username: {}, {key}}}",
            WebConfig::USER
        )
        .leak();
        let config = TestConfig {
            job,
            ..TestConfig::new(&home.prometheus.address(), &gateway)
        };
        let yaml = spooling(&config.yaml(), folder.path());
        std::fs::write(folder.path().join("forwarder.yml"), yaml).unwrap();
    };
    for (key, place) in [
        ("password: '${ssm:/home/password}'", "ssm:/home/password"),
        (
            "password: '${secretsmanager:home:password}'",
            "secretsmanager:home:password",
        ),
        (
            "password_file: 's3://secrets/password'",
            "s3://secrets/password",
        ),
    ] {
        configure(key);
        let output = forwardctl(folder.path(), &["preview"], &environment).await;
        assert!(
            output.status.success() && printed(&output).contains("m{"),
            "{key}: {}",
            printed(&output)
        );
        let checked =
            printed(&forwardctl(folder.path(), &["check", "--online"], &environment).await);
        assert!(
            checked.contains(&format!("ok   secret {place}: it can be read"))
                && !checked.contains("FAIL home"),
            "{checked}"
        );
        assert!(!checked.contains(WebConfig::PASSWORD), "{checked}");
    }
    configure("password: '${ssm:/nowhere}'");
    let output = forwardctl(folder.path(), &["check", "--online"], &environment).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        printed(&output).contains("FAIL secret ssm:/nowhere: ssm answered 400 ParameterNotFound"),
        "{}",
        printed(&output)
    );
}

/// The secret in every place that may have one. The servers repeat all that is in their requests.
const MARKER: &str = "hunter2-9f3c";
/// `base64("u:hunter2-9f3c")`
const ENCODED: &str = "dTpodW50ZXIyLTlmM2M=";

async fn echo(status: u16) -> Server {
    Server::start(
        "127.0.0.1:0".parse().unwrap(),
        move |request, _| async move {
            let said = format!("{} {:?}", request.uri(), request.headers());
            Ok(server::respond(status, said))
        },
    )
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_never_shown() {
    for (home_status, remote_status) in [(200, 400), (401, 401), (403, 404)] {
        let (home, remote) = (echo(home_status).await, echo(remote_status).await);
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("token"), MARKER).unwrap();
        for auth in [
            format!("basic_auth: {{username: u, password: {MARKER}}}"),
            "authorization: {credentials_file: token}".to_owned(),
            format!(
                "oauth2: {{client_id: u, client_secret: {MARKER}, token_url: '{}/token'}}",
                remote.url()
            ),
            format!(
                "basic_auth: {{username: u, password: {MARKER}}}\n  \
                 proxy_url: 'http://u:{MARKER}@{}'",
                remote.address()
            ),
            format!("tls_config: {{cert: {MARKER}, key: {MARKER}}}\n  bearer_token: {MARKER}"),
        ] {
            let headers = format!("http_headers: {{X-Key: {{secrets: [{MARKER}]}}}}");
            let config = format!(
                "scrape_configs:\n- job_name: a\n  static_configs: [{{targets: ['{}']}}]\n  \
                 params: {{token: [{MARKER}]}}\n  {auth}\n  {headers}\n\
                 remote_write:\n- url: '{}/write?token={MARKER}'\n  \
                 queue_config: {{max_backoff: 100ms}}\n  {auth}\n  {headers}\n\
                 forwarder: {{spool: {{url: 'file://{SPOOL}'}}}}\n",
                home.address(),
                remote.url()
            );
            std::fs::write(
                folder.path().join("forwarder.yml"),
                spooling(&config, folder.path()),
            )
            .unwrap();
            for arguments in [
                &["check"][..],
                &["check", "--online", "--json"],
                &["preview", "--format", "json"],
                &["run", "--once", "--json"],
                &["status"],
                &["spool", "ls", "--long"],
            ] {
                let output = forwardctl(
                    folder.path(),
                    arguments,
                    &[("RUST_LOG", "debug".to_owned())],
                )
                .await;
                let text = printed(&output);
                assert!(
                    !text.contains(MARKER) && !text.contains(ENCODED),
                    "{home_status} {remote_status} {auth} {arguments:?}: {text}"
                );
            }
            for kept in files(&folder.path().join("spool")) {
                let bytes = std::fs::read(&kept).unwrap();
                let text = String::from_utf8_lossy(&bytes);
                assert!(
                    !text.contains(MARKER) && !text.contains(ENCODED),
                    "{}",
                    kept.display()
                );
            }
        }
    }
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}
