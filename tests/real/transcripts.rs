//! The transcripts of the documents: what stands below a marker is what the program prints, but for
//! times, sizes and addresses. `UPDATE_TRANSCRIPTS=1` writes them anew.

use std::path::Path;
use std::sync::Mutex;

use amp_forwarder_support::gateway::Gateway;
use amp_forwarder_support::gateway::faults::Fault;
use amp_forwarder_support::home::{Page, ScriptedHome};
use amp_forwarder_support::process::{NodeExporter, Port, Prometheus, V3_5};
use regex::Regex;
use tempfile::TempDir;
use tokio::process::Command;

use crate::common::{TestConfig, credentials, gateway, scripted, spooling};
use crate::verify::{config, settled, writing_home};

/// Addresses that stand in the documents for those of a test.
// As long as 127.0.0.1 with a port, so that tables stay aligned.
const HOME: &str = "192.0.2.7:30090";
const AMP: &str = "aps-workspaces.ap-northeast-1.amazonaws.com";
const FOLDER: &str = "/home/ann/forwarder";

/// The example of the front page.
const EXAMPLE: &str = "\
global:
  external_labels: {cluster: prometheus-cluster, __replica__: ray-prometheus01}
scrape_configs:
  - job_name: federate
    scrape_interval: 15s
    honor_labels: true
    metrics_path: /federate
    params: {'match[]': ['{job=~\".+\"}', '{__name__=~\".+\"}']}
    static_configs: [{targets: ['192.0.2.10:30090']}]
remote_write:
  - url: https://aps-workspaces.ap-northeast-1.amazonaws.com/workspaces/ws-0a1b/api/v1/remote_write
    queue_config: {max_samples_per_send: 1000, max_shards: 200, capacity: 2500}
    sigv4: {region: ap-northeast-1}
";

/// The configuration of an EC2 instance that federates from home.
const PROMETHEUS_YML: &str = "\
global:
  evaluation_interval: 15s
  external_labels: {cluster: prometheus-cluster, __replica__: ray-prometheus01}
rule_files: [rules/*.yml]
alerting: {alertmanagers: [{static_configs: [{targets: ['localhost:9093']}]}]}
scrape_configs:
  - job_name: federate
    scrape_interval: 15s
    honor_labels: true
    metrics_path: /federate
    params: {'match[]': ['{job=~\".+\"}']}
    static_configs: [{targets: ['192.0.2.10:30090']}]
remote_write:
  - url: https://aps-workspaces.ap-northeast-1.amazonaws.com/workspaces/ws-0a1b/api/v1/remote_write
    queue_config: {max_samples_per_send: 1000, max_shards: 200, capacity: 2500}
    sigv4: {region: ap-northeast-1}
";

/// A folder with what a person has there, and what stands in a document for this test's addresses.
struct Desk {
    folder: TempDir,
    env: Vec<(&'static str, String)>,
    stand_ins: Vec<(String, String)>,
}

impl Desk {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_forwardctl"));
        let programs = program.parent().unwrap().display().to_string();
        let mut env: Vec<_> = credentials()
            .map(|(name, value)| (name, value.to_owned()))
            .into();
        env.push(("PATH", format!("{programs}:/usr/bin:/bin")));
        env.push(("HOME", folder.path().display().to_string()));
        env.push(("AWS_EC2_METADATA_DISABLED", "true".to_owned()));
        let stand_ins = vec![
            (folder.path().display().to_string(), FOLDER.to_owned()),
            (programs, "/home/ann/.cargo/bin".to_owned()),
        ];
        Self {
            folder,
            env,
            stand_ins,
        }
    }

    fn with(file: &str, text: &str) -> Self {
        let desk = Self::new();
        std::fs::write(desk.folder.path().join(file), text).unwrap();
        desk
    }

    /// A desk whose configuration names a home and a receiver that are there.
    fn connected(home: &str, gateway: &Gateway) -> Self {
        let desk = Self::new();
        let config = TestConfig {
            queue: "max_samples_per_send: 500, max_backoff: 50ms",
            ..TestConfig::new(home, gateway)
        };
        let named = config.yaml().replace(
            "remote_write:\n  - url",
            "remote_write:\n  - name: amp\n    url",
        );
        let text = spooling(&named, desk.folder.path());
        std::fs::write(desk.folder.path().join("forwarder.yml"), text).unwrap();
        let url = gateway.remote_write_url();
        let origin = url.split('/').take(3).collect::<Vec<_>>().join("/");
        desk.stands_for(home, HOME)
            .stands_for(&origin, &format!("https://{AMP}"))
            .stands_for("remote 127.0.0.1", &format!("remote {AMP}"))
    }

    fn stands_for(mut self, found: &str, shown: &str) -> Self {
        self.stand_ins.push((found.to_owned(), shown.to_owned()));
        self
    }

    /// Takes remote read out of the configuration: a scripted home has none.
    fn by_federation_alone(self) -> Self {
        let path = self.folder.path().join("forwarder.yml");
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replace("forwarder: {", "forwarder: {remote_read: {mode: off}, ");
        std::fs::write(path, text).unwrap();
        self
    }

    /// What a command prints, on both streams, in its order.
    async fn runs(&self, command: &str) -> String {
        let output = Command::new("sh")
            .args(["-c", &format!("{command} 2>&1")])
            .current_dir(self.folder.path())
            .env_clear()
            .envs(self.env.iter().cloned())
            .output()
            .await
            .unwrap();
        let mut printed = String::from_utf8(output.stdout).unwrap();
        for (found, shown) in &self.stand_ins {
            printed = printed.replace(found, shown);
        }
        // AMP is asked by https, and this gateway is not.
        printed
            .split_inclusive('\n')
            .filter(|line| !line.contains("found http with credentials"))
            .collect()
    }

    /// Compares a transcript with what its commands print here.
    async fn shows(&self, page: &str, name: &str) {
        self.shows_under(page, name, masked).await;
    }

    /// Does the same for commands that count what is never the same number twice.
    async fn shows_without_figures(&self, page: &str, name: &str) {
        let figures = Regex::new("[0-9][0-9,.]*").unwrap();
        let mask = |transcript: &str| figures.replace_all(&masked(transcript), "N").into_owned();
        self.shows_under(page, name, mask).await;
    }

    async fn shows_under(&self, page: &str, name: &str, masked: impl Fn(&str) -> String) {
        let path = format!("{}/docs/{page}", env!("CARGO_MANIFEST_DIR"));
        let marker = format!("<!-- transcript: {name} -->\n```console\n");
        let block = |text: &str| -> (usize, usize) {
            let start = text
                .find(&marker)
                .unwrap_or_else(|| panic!("{page}: {name}"));
            let start = start + marker.len();
            (start, start + text[start..].find("```").unwrap())
        };
        let text = std::fs::read_to_string(&path).unwrap();
        let (start, end) = block(&text);
        let shown = &text[start..end];
        let mut printed = String::new();
        for command in shown.lines().filter_map(|line| line.strip_prefix("$ ")) {
            printed.push_str(&format!("$ {command}\n{}", self.runs(command).await));
        }
        if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
            // Other tests may write the same page.
            static WRITING: Mutex<()> = Mutex::new(());
            let _turn = WRITING.lock().unwrap();
            let mut text = std::fs::read_to_string(&path).unwrap();
            let (start, end) = block(&text);
            if masked(&text[start..end]) != masked(&printed) {
                text.replace_range(start..end, &printed);
                std::fs::write(&path, text).unwrap();
            }
            return;
        }
        assert_eq!(
            masked(shown),
            masked(&printed),
            "{page}, {name}: run it once more with UPDATE_TRANSCRIPTS=1\n{printed}"
        );
    }
}

/// A transcript without what differs from run to run: times, spans, sizes, and the widths of
/// columns.
fn masked(transcript: &str) -> String {
    let mut masked = transcript.to_owned();
    for (pattern, mask) in [
        ("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z", "TIME"),
        (
            "[0-9]+([.][0-9]+)? ?(ms|s|m|h|KiB|MiB|B|bytes)(?-u:\\b)",
            "AMOUNT",
        ),
        ("(AMOUNT )+AMOUNT", "AMOUNT"),
        // A request may be on its way when time is over, or none.
        (".*: no answer before the deadline\n", ""),
        (" +", " "),
        (" \n", "\n"),
    ] {
        masked = Regex::new(pattern)
            .unwrap()
            .replace_all(&masked, mask)
            .into_owned();
    }
    masked
}

#[tokio::test]
async fn a_check_tells_wrong_from_doubtful() {
    let slips = EXAMPLE
        .replace("{job=~\".+\"}", "{job=\".+\"}")
        .replace("{region: ap-northeast-1}", "{region: eu-west-1}");
    Desk::with("forwarder.yml", &slips)
        .shows("commands.md", "check")
        .await;
    let wrong = EXAMPLE
        .replace("scrape_interval:", "scrape_intervall:")
        .replace(
            "    sigv4",
            "    write_relabel_configs: [{source_labels: [a], regex: b}]\n    sigv4",
        );
    Desk::with("forwarder.yml", &wrong)
        .shows("configuration.md", "errors")
        .await;
}

#[tokio::test]
async fn without_a_usable_configuration() {
    Desk::new().shows("troubleshooting.md", "nothing").await;
    let tab = EXAMPLE.replace("    honor_labels", "\thonor_labels");
    Desk::with("forwarder.yml", &tab)
        .shows("troubleshooting.md", "yaml")
        .await;
}

#[tokio::test]
async fn an_import_lists_what_it_left_out() {
    Desk::with("prometheus.yml", PROMETHEUS_YML)
        .shows("commands.md", "import")
        .await;
}

/// A home of 1,325 series; with the forwarder's own five they are 1,330.
async fn ends() -> (ScriptedHome, Gateway) {
    (scripted(1325).await, gateway().await)
}

#[tokio::test]
async fn a_home_and_a_receiver_that_play_along() {
    let (home, gateway) = ends().await;
    let desk = Desk::connected(&home.address(), &gateway).by_federation_alone();
    desk.shows("commands.md", "online").await;
    desk.shows("commands.md", "run").await;
}

#[tokio::test]
async fn a_home_that_is_away() {
    let gateway = gateway().await;
    let closed = format!("127.0.0.1:{}", Port::reserve().unwrap());
    Desk::connected(&closed, &gateway)
        .by_federation_alone()
        .shows("troubleshooting.md", "home")
        .await;
}

#[tokio::test]
async fn credentials_that_are_missing_or_wrong() {
    let (home, gateway) = ends().await;
    let mut desk = Desk::connected(&home.address(), &gateway).by_federation_alone();
    desk.env.push(("AWS_SECRET_ACCESS_KEY", "wrong".to_owned()));
    desk.shows("troubleshooting.md", "signature").await;
    desk.env.retain(|(name, _)| {
        !name.starts_with("AWS_ACCESS")
            && !name.starts_with("AWS_SECRET")
            && *name != "AWS_SESSION_TOKEN"
    });
    desk.shows("troubleshooting.md", "credentials").await;
}

#[tokio::test]
async fn an_outage_is_seen_and_over() {
    let (home, gateway) = ends().await;
    let desk = Desk::connected(&home.address(), &gateway);
    gateway
        .faults()
        .add(Fault::always(Fault::status(403, "{\"message\":\"no\"}")));
    desk.shows("troubleshooting.md", "denied").await;
    desk.shows("spool.md", "status").await;
    gateway.faults().clear();
    desk.shows("spool.md", "drain").await;
}

#[tokio::test]
async fn what_was_refused_is_exported() {
    let (home, gateway) = ends().await;
    let desk = Desk::connected(&home.address(), &gateway);
    let refused = Fault::status(400, "out of order sample");
    gateway.faults().add(Fault::always(refused));
    desk.runs("forwardctl run --once").await;
    desk.shows("spool.md", "export").await;
}

#[tokio::test]
async fn an_outage_of_the_receiver_that_passes() {
    let (home, gateway) = ends().await;
    let desk = Desk::connected(&home.address(), &gateway).by_federation_alone();
    let away = Fault::status(503, "upstream connect error");
    gateway.faults().add(Fault::always(away));
    desk.shows("troubleshooting.md", "away").await;
    gateway.faults().clear();
    desk.shows("troubleshooting.md", "back").await;
}

/// A home with one series, and a configuration with a rule that does not concern it.
async fn home_of_a_load() -> (ScriptedHome, Desk) {
    let now_ms = amp_forwarder_support::now_ms();
    let text = format!("node_load1{{instance=\"nas:9100\",job=\"node\"}} 0.42 {now_ms}\n");
    let home = ScriptedHome::start(Page::text(text)).await.unwrap();
    let rule = "    metric_relabel_configs: [{source_labels: [__name__], regex: 'go_.*', action: \
                drop}]\n    static_configs: ";
    let text = EXAMPLE
        .replace("192.0.2.10:30090", &home.address())
        .replace("    static_configs: ", rule)
        .replace("  - url", "  - name: amp\n    url");
    let desk = Desk::with("forwarder.yml", &text).stands_for(&home.address(), HOME);
    (home, desk)
}

#[tokio::test]
async fn a_series_is_explained() {
    let (_home, desk) = home_of_a_load().await;
    desk.shows("commands.md", "explain").await;
}

#[tokio::test]
async fn a_month_is_estimated() {
    let home = scripted(1325).await;
    let text = EXAMPLE.replace("192.0.2.10:30090", &home.address());
    Desk::with("forwarder.yml", &text)
        .stands_for(&home.address(), HOME)
        .shows_without_figures("commands.md", "estimate")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_are_compared() {
    let exporter = NodeExporter::start().await.unwrap();
    let receiver = Prometheus::receiver(V3_5).await.unwrap();
    let home = writing_home(&exporter, &receiver.remote_write_url()).await;
    settled(&receiver).await;
    let folder = TempDir::new().unwrap();
    let path = config(&folder, &home, &receiver.remote_write_url(), "always");
    let text = std::fs::read_to_string(path).unwrap();
    Desk::with("forwarder.yml", &text)
        .shows_without_figures("commands.md", "verify")
        .await;
}
