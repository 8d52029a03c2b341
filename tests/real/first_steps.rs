//! Step 0 of the front page, command by command, with a real home and a real receiver.

use std::path::Path;

use amp_forwarder_support::process::{Job, NodeExporter, Prometheus, PrometheusOptions, V3_5};
use amp_forwarder_support::wait_for;
use tempfile::TempDir;
use tokio::process::Command;

use crate::common::{AMPLE, credentials};

/// The commands of the section, without comments.
fn commands() -> Vec<String> {
    let front = include_str!("../../README.md");
    let (_, section) = front.split_once("\n## Step 0").unwrap();
    let (_, block) = section.split_once("```console\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    block
        .lines()
        .map(|line| {
            let (command, _) = line.split_once(" #").unwrap_or((line, ""));
            command.trim_start_matches("$ ").trim().to_owned()
        })
        .collect()
}

/// A command of the page as it is run here: minutes become seconds.
fn shortened(command: &str) -> String {
    match command {
        "forwardctl estimate" => format!("{command} --watch 0s"),
        "forwardctl run --for 5m" => "forwardctl run --for 7s".to_owned(),
        "forwardctl verify --last 2m" => "forwardctl verify --last 20s --settled 3s".to_owned(),
        command => command.to_owned(),
    }
}

/// What a person has who federates from home on a server.
fn prometheus_yml(home: &str, remote: &str) -> String {
    format!(
        "global:\n  scrape_interval: 2s\n  scrape_timeout: 2s\n  external_labels: {{site: attic}}\n\
         rule_files: [rules.yml]\n\
         scrape_configs:\n- job_name: federate\n  honor_labels: true\n  metrics_path: /federate\n  \
         params: {{'match[]': ['{{job=~\".+\"}}']}}\n  static_configs: [{{targets: ['{home}']}}]\n\
         remote_write: [{{url: '{remote}'}}]\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn step_0_works_as_it_is_written() {
    let exporter = NodeExporter::start().await.unwrap();
    let job = Job::new("node", &[exporter.address()]);
    let home = Prometheus::start(PrometheusOptions::home(V3_5, vec![job]))
        .await
        .unwrap();
    let receiver = Prometheus::receiver(V3_5).await.unwrap();
    let at_home = home.querier();
    wait_for("the home has scraped its exporter", AMPLE, || async {
        let up = at_home.value("sum(up) == 2").await;
        up.is_ok_and(|up| up.is_some())
    })
    .await
    .unwrap();

    let folder = TempDir::new().unwrap();
    let text = prometheus_yml(&home.address(), &receiver.remote_write_url());
    std::fs::write(folder.path().join("prometheus.yml"), text).unwrap();
    // The page shows a preview in a pager, which this test is not.
    std::os::unix::fs::symlink("/bin/cat", folder.path().join("less")).unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_forwardctl"))
        .parent()
        .unwrap();
    let path = format!(
        "{}:{}:/usr/bin:/bin",
        programs.display(),
        folder.path().display()
    );

    let commands = commands();
    let (install, steps) = commands.split_first().unwrap();
    assert_eq!(install, "cargo install --locked --path .");
    assert_eq!(steps.len(), 7);
    for step in steps {
        let output = Command::new("bash")
            .args(["-c", &format!("set -o pipefail; {}", shortened(step))])
            .current_dir(folder.path())
            .env_clear()
            .envs(credentials())
            .env("PATH", &path)
            .env("HOME", folder.path())
            .output()
            .await
            .unwrap();
        assert!(
            output.status.success(),
            "{step}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let arrived = "count({site=\"attic\", __name__=~\"node_.*\"})";
    let count = receiver.querier().value(arrived).await.unwrap();
    assert!(count.is_some_and(|count| count > 100.0), "{count:?}");
}
