//! forwardctl, as a person runs it.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use amp_forwarder_support::home::{Page, ScriptedHome};
use amp_forwarder_support::process::{Child, Port};
use amp_forwarder_support::{now_ms, wait_for};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{
    AMPLE, TestConfig, assert_has, credentials, exposition, gateway, scripted, spooling,
};

/// The README's example, which most people start from.
pub(crate) const EXAMPLE: &str = r#"
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
  - url: https://aps-workspaces.ap-northeast-1.amazonaws.com/workspaces/ws-00000000-0000-0000-0000-000000000000/api/v1/remote_write
    queue_config: {max_samples_per_send: 1000, max_shards: 200, capacity: 2500}
    sigv4: {region: ap-northeast-1}
"#;

pub(crate) struct CommandLine {
    pub(crate) directory: TempDir,
}

impl CommandLine {
    pub(crate) fn with(config: &str) -> Self {
        let directory = TempDir::new().unwrap();
        std::fs::write(
            directory.path().join("forwarder.yml"),
            spooling(config, directory.path()),
        )
        .unwrap();
        Self { directory }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forwardctl"));
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .envs(credentials())
            .env("HOME", self.directory.path());
        command
    }

    /// Runs forwardctl while the servers of the test keep running.
    pub(crate) async fn runs(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        tokio::task::spawn_blocking(move || command.output())
            .await
            .unwrap()
            .unwrap()
    }

    pub(crate) fn reads(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn the_example_is_right() {
    let output = CommandLine::with(EXAMPLE).runs(&["check"]).await;
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        text(&output.stdout),
        "ok   configuration: 1 scrape job, 1 remote\n"
    );
}

#[tokio::test]
async fn slips_are_warned_of_and_errors_are_reported_all_at_once() {
    let slips = EXAMPLE
        .replace("{job=~\".+\"}", "{job=\".+\"}")
        .replace("/remote_write\n", "/remote-write\n")
        .replace("{region: ap-northeast-1}", "{region: eu-west-1}");
    let output = CommandLine::with(&slips).runs(&["check"]).await;
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    for expected in ["=~", "takes no samples", "eu-west-1"] {
        assert!(
            printed.lines().any(|line| line.starts_with("warn")
                && line.contains(expected)
                && line.contains("line ")),
            "{expected}: {printed}"
        );
    }

    let wrong = EXAMPLE
        .replace("honor_labels: true", "honour_labels: true")
        .replace("scrape_interval: 15s", "scrape_interval: 15")
        .replace("capacity: 2500", "capacity: many");
    let output = CommandLine::with(&wrong).runs(&["check"]).await;
    let printed = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    for expected in [
        "3 errors",
        "line 6",
        "line 7",
        "honor_labels",
        "line 13",
        "many",
    ] {
        assert!(printed.contains(expected), "{expected}: {printed}");
    }

    let output = CommandLine::with("a: [").runs(&["check"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("not valid YAML"),
        "{}",
        text(&output.stderr)
    );
    let output = CommandLine::with(EXAMPLE)
        .runs(&["check", "--config", "missing.yml"])
        .await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("missing.yml"));
}

#[test]
fn a_preview_reads_standard_input() {
    let cli = CommandLine::with(EXAMPLE);
    let output = cli.reads(
        &["preview", "--input", "-", "--format", "json"],
        "m{b=\"2\",a=\"1\\n\"} -0 1700000000000\n",
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 6);
    let expected = serde_json::json!({
                "labels": {
            "__name__": "m",
            "__replica__": "ray-prometheus01",
            "a": "1\n",
            "b": "2",
            "cluster": "prometheus-cluster",
            "instance": "192.0.2.10:30090",
            "job": "federate",
        },
        "value": "-0",
        "timestamp_ms": 1_700_000_000_000_i64,
    });
    assert_eq!(lines[0], expected);
    assert_has(
        &lines[1],
        &json!({"labels": {"__name__": "up"}, "value": "1"}),
    );

    let output = cli.reads(&["preview", "--input", "-"], "m 1\nm{ 2\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("line 2, column 4"),
        "{}",
        text(&output.stderr)
    );
    assert!(
        text(&output.stdout).starts_with("up{") && !text(&output.stdout).contains("m{"),
        "{}",
        text(&output.stdout)
    );
}

#[tokio::test]
async fn one_run_brings_data_into_the_receiver() {
    let (home, gateway) = (scripted(125).await, gateway().await);
    let cli = CommandLine::with(&TestConfig::new(&home.address(), &gateway).yaml());
    let output = cli.runs(&["run", "--once"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("130 samples: 130 written"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(gateway.stored().len(), 130);
    let output = cli.runs(&["run", "--once", "--json"]).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_has(
        &report,
        &json!({"outcome": "ok", "ledger": {"scraped": 130}}),
    );
}

#[tokio::test]
async fn a_signal_ends_a_run_when_all_is_sent() {
    let (home, gateway) = (scripted(125).await, gateway().await);
    let config = TestConfig {
        interval: "1s",
        ..TestConfig::new(&home.address(), &gateway)
    };
    let cli = CommandLine::with(&config.yaml());
    let log = cli.directory.path().join("log");
    let configure = |command: &mut Command| {
        command
            .arg("run")
            .current_dir(cli.directory.path())
            .env_clear()
            .envs(credentials());
    };
    let mut run = Child::spawn(
        "forwardctl",
        env!("CARGO_BIN_EXE_forwardctl").as_ref(),
        configure,
        &log,
    )
    .unwrap();
    wait_for("two scrapes are written", AMPLE, || async {
        gateway.stored().len() >= 130 + 5
    })
    .await
    .unwrap();
    assert_eq!(
        run.terminate(AMPLE).await.unwrap(),
        Some(0),
        "{}",
        run.log()
    );
    assert!(run.log().contains(" written"), "{}", run.log());
}

#[tokio::test]
async fn an_online_check_says_what_is_wrong_and_where() {
    let (home, gateway) = (scripted(5).await, gateway().await);
    let config = TestConfig::new(&home.address(), &gateway);
    let output = CommandLine::with(&config.yaml())
        .runs(&["check", "--online"])
        .await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(
        text(&output.stdout).contains("5 samples"),
        "{}",
        text(&output.stdout)
    );
    assert_eq!(gateway.stats().stored, 0);

    let port = Port::reserve().unwrap();
    let closed = format!("127.0.0.1:{port}");
    let away = TestConfig {
        home: closed.clone(),
        ..config
    };
    let output = CommandLine::with(&away.yaml())
        .runs(&["check", "--online", "--json"])
        .await;
    assert_eq!(output.status.code(), Some(1));
    let checked: Value = serde_json::from_slice(&output.stdout).unwrap();
    let finding = checked["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["ok"] == false)
        .unwrap();
    assert!(
        finding["message"].as_str().unwrap().contains("NodePort")
            && finding["subject"].as_str().unwrap().contains(&closed),
        "{finding}"
    );

    let cli = CommandLine::with(&TestConfig::new(&home.address(), &gateway).yaml());
    let mut wrong = cli.command(&["check", "--online"]);
    wrong.env("AWS_SECRET_ACCESS_KEY", "a-secret-that-is-wrong");
    let output = tokio::task::spawn_blocking(move || wrong.output())
        .await
        .unwrap()
        .unwrap();
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        printed.contains("FAIL remote")
            && printed.contains("signature")
            && !printed.contains("a-secret-that-is-wrong"),
        "{printed}"
    );
}

/// A NodePort in front of two Prometheus servers may answer from either.
#[tokio::test]
async fn an_address_with_two_homes_behind_it_is_noticed() {
    let gateway = gateway().await;
    let now = now_ms();
    let home = ScriptedHome::start(Page::text(exposition(5, now)))
        .await
        .unwrap();
    for turn in 0..40 {
        home.serve_once(Page::text(format!(
            "up{{job=\"j\"}} 1 {}\n",
            now - (turn % 2) * 700
        )));
    }
    let output = CommandLine::with(&TestConfig::new(&home.address(), &gateway).yaml())
        .runs(&["check", "--online"])
        .await;
    assert!(
        text(&output.stdout).contains("warn home")
            && text(&output.stdout).contains("sessionAffinity"),
        "{}",
        text(&output.stdout)
    );
}

#[tokio::test]
async fn a_check_for_a_stack_knows_its_variables_and_its_spool() {
    let example = include_str!("../../infra/forwarder.example.yml");
    let cli = CommandLine::with(example);
    let output = cli.runs(&["check"]).await;
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("check --stack"));
    let output = cli.runs(&["check", "--stack"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("ok   spool: the stack's bucket"));

    for (wrong, says) in [
        (
            example.replace("'${SPOOL_URL}'", "s3://other/spool"),
            "s3://other/spool is not the spool of the stack",
        ),
        (
            example.replace("${AMP_REGION}", "${AMP_PLACE}"),
            "\"AMP_PLACE\" is not set",
        ),
    ] {
        let output = CommandLine::with(&wrong).runs(&["check", "--stack"]).await;
        let all = text(&output.stdout) + &text(&output.stderr);
        assert_ne!(output.status.code(), Some(0), "{all}");
        assert!(all.contains(says), "{all}");
    }
}

#[tokio::test]
async fn a_prometheus_yml_is_imported() {
    let cli = CommandLine::with("");
    let prometheus_yml =
        format!("{EXAMPLE}rule_files: [rules.yml]\nalerting: {{alertmanagers: []}}\n");
    std::fs::write(cli.directory.path().join("prometheus.yml"), prometheus_yml).unwrap();
    let output = cli
        .runs(&["import", "prometheus.yml", "--output", "new.yml"])
        .await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for expected in ["rule_files", "alerting"] {
        assert!(
            text(&output.stderr).contains(expected),
            "{}",
            text(&output.stderr)
        );
    }
    // It may hold passwords, as its original does.
    let made = std::fs::metadata(cli.directory.path().join("new.yml")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&made.permissions());
    assert_eq!(mode & 0o777, 0o600);
    // It has no spool, and the function of a stack has the stack's.
    for check in [
        &["check", "--config", "new.yml"] as &[&str],
        &["check", "--config", "new.yml", "--stack"],
    ] {
        let output = cli.runs(check).await;
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    let output = cli
        .runs(&["import", "prometheus.yml", "--output", "new.yml"])
        .await;
    assert_eq!(
        output.status.code(),
        Some(1),
        "an existing file is not replaced"
    );
}

#[tokio::test]
async fn a_run_for_a_time_ends_on_its_own() {
    let (home, gateway) = (scripted(5).await, gateway().await);
    let config = TestConfig {
        interval: "1s",
        ..TestConfig::new(&home.address(), &gateway)
    };
    let cli = CommandLine::with(&config.yaml());
    let started = std::time::Instant::now();
    let output = cli.runs(&["run", "--for", "2s"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!((Duration::from_secs(2)..Duration::from_secs(6)).contains(&started.elapsed()));
}
