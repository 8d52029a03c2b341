//! What forwardctl offers to people beside its work: a first configuration, an explanation, and
//! what shells and packagers are given.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use amp_forwarder_support::process::{Job, Prometheus, V3_5};
use amp_forwarder_support::wait_for;
use serde_json::{Value, json};

use crate::cli::{CommandLine, EXAMPLE, text};
use crate::common::{AMPLE, TestConfig, gateway};

const AMP: &str =
    "https://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write";

/// A job whose rules drop one series, rename another, and leave the rest.
const RULES: &str = "honor_labels: true\n    metric_relabel_configs:\n    \
    - {source_labels: [__name__], regex: 'go_info', action: drop}\n    \
    - {source_labels: [__name__], regex: 'prometheus_ready', target_label: tier, replacement: a}";

#[tokio::test]
async fn an_explanation_shows_the_home_and_ends_where_a_preview_ends() {
    let mut home = Prometheus::home(V3_5, Vec::new()).await.unwrap();
    let own = home.address();
    home.reload(|options| options.jobs = vec![Job::new("self", &[&own])])
        .await
        .unwrap();
    let querier = home.querier();
    wait_for("the home has scraped itself", AMPLE, || async {
        querier
            .value("prometheus_ready")
            .await
            .is_ok_and(|it| it.is_some())
    })
    .await
    .unwrap();
    let config = TestConfig {
        job: RULES,
        ..TestConfig::new(&home.address(), &gateway().await)
    };
    let cli = CommandLine::with(&config.yaml());

    let output = cli
        .runs(&["explain", "prometheus_ready", "--online", "--json"])
        .await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let explained: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = &explained["series"][0];
    assert_eq!(found["shown"]["value"], "1", "{explained}");
    let target = &found["targets"][0];
    assert_eq!(target["selection"], r#"{__name__=~".+"}"#, "{explained}");
    assert_eq!(target["metric_rules"][0]["effect"], "does not match");
    assert_eq!(
        target["metric_rules"][1]["changes"],
        json!([{"name": "tier", "after": "a"}])
    );
    let remote = &target["remotes"][0];
    assert_eq!(remote["sent"], true, "{explained}");
    // The same series as a preview would send.
    let output = cli.runs(&["preview"]).await;
    let sent = text(&output.stdout);
    let series = remote["series"].as_str().unwrap();
    assert!(
        sent.lines()
            .any(|line| line.starts_with(&format!("{series} 1 "))),
        "{series}: {sent}"
    );

    let output = cli.runs(&["explain", "go_info", "--online"]).await;
    let shown = text(&output.stdout);
    assert!(
        shown.contains("not sent   metric_relabel_configs[0] drops it")
            || shown.contains("metric_relabel_configs[0] drops it"),
        "{shown}"
    );
    assert!(!sent.contains("go_info"), "{sent}");

    let output = cli.runs(&["explain", "no_such_series", "--online"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("shows no sample"));
}

#[tokio::test]
async fn an_explanation_without_the_home_needs_a_whole_label_set() {
    let cli = CommandLine::with(EXAMPLE);
    let output = cli.runs(&["explain", r#"up{job="node"}"#]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    for expected in [
        "up{job=\"node\"}\njob federate, target 192.0.2.10:30090\n  selected   {job=~\".+\"}\n",
        "sent: samples that cannot be sent for 55m go to expired/ instead\n",
        "    as up{__replica__=\"ray-prometheus01\",cluster=\"prometheus-cluster\",\
         instance=\"192.0.2.10:30090\",job=\"node\"}\n",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    for wrong in [r#"{job=~"node"}"#, "up{"] {
        let output = cli.runs(&["explain", wrong]).await;
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
}

#[tokio::test]
async fn three_answers_make_a_configuration_that_check_accepts() {
    let cli = CommandLine::with(EXAMPLE);
    let folder = cli.directory.path();
    // The file that is there already is not replaced.
    let output = cli.runs(&["init"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("forwarder.yml exists already"));

    let answers = format!("192.0.2.10:30090\n{AMP}\nsite=attic\n");
    let output = cli.reads(&["init", "--output", "asked.yml"], &answers);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr).matches("> ").count(), 3);
    let flags = [
        "--home",
        "192.0.2.10:30090",
        "--remote-write",
        AMP,
        "--labels",
        "site=attic",
    ];
    let output = cli
        .runs(&[&["init", "--output", "given.yml"], &flags[..]].concat())
        .await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let [asked, given] =
        ["asked.yml", "given.yml"].map(|name| std::fs::read(folder.join(name)).unwrap());
    assert_eq!(text(&asked), text(&given));
    let mode = std::fs::metadata(folder.join("asked.yml")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    let output = cli.runs(&["check", "--config", "asked.yml"]).await;
    assert_eq!(
        text(&output.stdout),
        "ok   configuration: 1 scrape job, 1 remote\n"
    );

    let output = cli.reads(&["init", "--output", "short.yml"], "192.0.2.10:30090\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("give it as --remote-write"));
    assert!(!folder.join("short.yml").exists());
}

#[test]
fn a_shell_completes_commands_and_flags() {
    let cli = CommandLine::with(EXAMPLE);
    let script = text(
        &cli.command(&["completions", "bash"])
            .output()
            .unwrap()
            .stdout,
    );
    let complete = |words: &[&str]| {
        let (last, words) = (words.last().unwrap(), words.join(" "));
        let count = words.split(' ').count() - 1;
        let run = format!(
            "{script}\nCOMP_WORDS=({words}) COMP_CWORD={count}\n_forwardctl forwardctl {last} \
             x\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash").args(["-c", &run]).output().unwrap();
        text(&output.stdout)
    };
    assert_eq!(complete(&["forwardctl", "expl"]).trim(), "explain");
    assert_eq!(
        complete(&["forwardctl", "explain", "--on"]).trim(),
        "--online"
    );
    for shell in ["zsh", "fish"] {
        let output = cli.command(&["completions", shell]).output().unwrap();
        assert!(text(&output.stdout).contains("explain"), "{shell}");
    }
}

#[test]
fn every_command_has_a_page_of_the_manual() {
    let cli = CommandLine::with(EXAMPLE);
    let output = cli.command(&["man", "--output", "man1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let pages: BTreeMap<_, _> = std::fs::read_dir(cli.directory.path().join("man1"))
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let page = std::fs::read_to_string(entry.path()).unwrap();
            (entry.file_name().into_string().unwrap(), page)
        })
        .collect();
    let help = text(&cli.command(&["--help"]).output().unwrap().stdout);
    let commands: Vec<_> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    assert!(commands.len() >= 13, "{help}");
    for command in commands {
        let page = &pages[&format!("forwardctl-{command}.1")];
        let head = format!(".TH forwardctl-{command} 1");
        assert!(page.contains(&head), "{page}");
    }
    assert!(pages["forwardctl-spool-export.1"].contains("OpenMetrics"));
    assert!(pages["forwardctl.1"].contains("forwardctl\\-explain"));
}
