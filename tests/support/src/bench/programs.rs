//! The forwarders that are measured: ours and its peers, each with the same job and the same queue.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::process::{Child, Port};
use crate::tools;

/// Samples of a request, for everybody.
pub const BATCH: usize = 1000;

/// A forwarder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `forwardctl run`.
    Forwarder,
    /// VictoriaMetrics' agent.
    Vmagent,
    /// Prometheus in agent mode.
    Prometheus,
}

impl Program {
    /// All, the best of the peers first.
    pub const ALL: [Self; 3] = [Self::Forwarder, Self::Vmagent, Self::Prometheus];

    /// As tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forwarder => "amp-forwarder",
            Self::Vmagent => "vmagent 1.145",
            Self::Prometheus => "Prometheus 3.5 agent",
        }
    }
}

/// What it is to do.
#[derive(Debug, Clone)]
pub struct Task {
    /// `host:port` of the home.
    pub home: String,
    /// Where to write.
    pub remote: String,
    /// Between two scrapes.
    pub interval: Duration,
    /// Whether it asks for gzip.
    pub gzip: bool,
    /// Whether it asks for protobuf.
    pub protobuf: bool,
    /// Further lines of our own configuration.
    pub extra: String,
}

impl Task {
    /// A `prometheus.yml` that all of them take, but for what vmagent has as flags.
    fn yaml(&self, program: Program) -> String {
        let interval = format!("{}ms", self.interval.as_millis());
        let gzip =
            if program == Program::Vmagent { format!("disable_compression: {}", !self.gzip) } else { format!("enable_compression: {}", self.gzip) };
        // Prometheus and we ask for protobuf only where it is named first; vmagent does not know it.
        let protocols = match (self.protobuf, program) {
            (true, Program::Forwarder | Program::Prometheus) => "\n    scrape_protocols: [PrometheusProto, PrometheusText0.0.4]",
            _ => "",
        };
        let write = match program {
            Program::Vmagent => String::new(),
            _ => format!(
                "remote_write:\n  - name: bench\n    url: {}\n    queue_config: {{max_samples_per_send: {BATCH}, max_shards: 200, capacity: 2500}}\n",
                self.remote
            ),
        };
        format!(
            "global:\n  external_labels: {{cluster: bench}}\nscrape_configs:\n  - job_name: federate\n    scrape_interval: {interval}\n    scrape_timeout: {interval}\n    \
             honor_labels: true\n    honor_timestamps: true\n    {gzip}{protocols}\n    metrics_path: /federate\n    params: {{'match[]': ['{{job=~\".+\"}}']}}\n    \
             static_configs: [{{targets: ['{}']}}]\n{write}{}",
            self.home,
            if program == Program::Forwarder { &self.extra } else { "" },
        )
    }
}

/// A running one, with its own directory.
pub struct Running {
    /// Its process.
    pub process: Child,
    directory: TempDir,
    _port: Port,
}

impl Running {
    /// Starts it.
    ///
    /// # Errors
    /// When the program is missing.
    pub fn start(program: Program, forwardctl: &Path, task: &Task) -> Result<Self> {
        let directory = TempDir::new().context("make a directory")?;
        Self::start_in(program, forwardctl, task, directory, &["run"])
    }

    /// Starts ours with other arguments, in a directory that may hold a spool.
    ///
    /// # Errors
    /// As [`Running::start`].
    pub fn start_in(program: Program, forwardctl: &Path, task: &Task, directory: TempDir, arguments: &[&str]) -> Result<Self> {
        let place = directory.path();
        let config = place.join("config.yml");
        let spool = format!("forwarder: {{spool: {{url: 'file://{}', drain_samples_per_second: 1000000000}}}}\n", place.join("spool").display());
        let yaml = task.yaml(program);
        std::fs::write(&config, if program == Program::Forwarder { yaml + &spool } else { yaml })?;
        let port = Port::reserve()?;
        let listen = format!("127.0.0.1:{port}");
        let (path, flags): (PathBuf, Vec<String>) = match program {
            Program::Forwarder => {
                let mut flags: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
                flags.push(format!("--config={}", config.display()));
                (forwardctl.to_owned(), flags)
            }
            Program::Prometheus => (
                tools::program("prometheus-3.5/prometheus")?,
                vec![
                    "--agent".to_owned(),
                    format!("--config.file={}", config.display()),
                    format!("--storage.agent.path={}", place.join("data").display()),
                    format!("--web.listen-address={listen}"),
                ],
            ),
            Program::Vmagent => (
                tools::program("victoria-metrics/vmagent")?,
                vec![
                    format!("-promscrape.config={}", config.display()),
                    "-promscrape.maxScrapeSize=4GB".to_owned(),
                    format!("-remoteWrite.url={}", task.remote),
                    // Its own protocol is another one.
                    "-remoteWrite.forcePromProto=true".to_owned(),
                    format!("-remoteWrite.maxRowsPerBlock={BATCH}"),
                    format!("-remoteWrite.tmpDataPath={}", place.join("data").display()),
                    format!("-httpListenAddr={listen}"),
                ],
            ),
        };
        let configure = |command: &mut std::process::Command| {
            command.args(flags).current_dir(place).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", place);
        };
        let process = Child::spawn(program.name(), &path, configure, &place.join("log"))?;
        Ok(Self { process, directory, _port: port })
    }

    /// Ends it, and gives its directory back.
    pub fn into_directory(self) -> TempDir {
        // Dropping the process kills it.
        self.directory
    }
}
