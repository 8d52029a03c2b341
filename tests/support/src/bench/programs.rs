//! The forwarders that are measured: ours and its peers, each with the same job and the same queue.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::lambda::{Function, FunctionOptions, InvocationResult, RuntimeApi};
use crate::process::{Child, Port};
use crate::tools;

/// Number of samples in a request, the same for every program.
pub const BATCH: usize = 1000;

/// A forwarder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The function of this repository.
    Forwarder,
    /// VictoriaMetrics' agent.
    Vmagent,
    /// Prometheus in agent mode.
    Prometheus,
}

impl Program {
    /// All programs: the forwarder, then its peers.
    pub const ALL: [Self; 3] = [Self::Forwarder, Self::Vmagent, Self::Prometheus];

    /// The name of the program in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forwarder => "amp-forwarder",
            Self::Vmagent => "vmagent 1.145",
            Self::Prometheus => "Prometheus 3.5 agent",
        }
    }
}

/// The job of a program: the home that it scrapes and the remote that it writes to.
#[derive(Debug, Clone)]
pub struct Task {
    /// `host:port` of the home.
    pub home: String,
    /// Remote-write URL.
    pub remote: String,
    /// Time between two scrapes.
    pub interval: Duration,
    /// Whether it asks for gzip.
    pub gzip: bool,
    /// Whether it asks for protobuf.
    pub protobuf: bool,
    /// `forwarder.remote_read` of the function.
    pub remote_read: &'static str,
}

/// The value of [`Task::remote_read`] where scrapes are measured.
pub const SCRAPES_ONLY: &str = "{mode: off}";

impl Task {
    /// Writes a `prometheus.yml` for the program. What vmagent has as flags is left out of its own.
    fn yaml(&self, program: Program) -> String {
        let interval = format!("{}ms", self.interval.as_millis());
        let gzip = if program == Program::Vmagent {
            format!("disable_compression: {}", !self.gzip)
        } else {
            format!("enable_compression: {}", self.gzip)
        };
        // Prometheus and the forwarder ask for protobuf only where it is named first; vmagent does
        // not know it.
        let protocols = match (self.protobuf, program) {
            (true, Program::Forwarder | Program::Prometheus) => {
                "\n    scrape_protocols: [PrometheusProto, PrometheusText0.0.4]"
            }
            _ => "",
        };
        let write = match program {
            Program::Vmagent => String::new(),
            _ => format!(
                "remote_write:\n  - name: bench\n    url: {}\n    queue_config: \
                 {{max_samples_per_send: {BATCH}, max_shards: 200, capacity: 2500}}\n",
                self.remote
            ),
        };
        format!(
            "global:\n  external_labels: {{cluster: bench}}\nscrape_configs:\n  \
             - job_name: federate\n    scrape_interval: {interval}\n    \
             scrape_timeout: {interval}\n    honor_labels: true\n    honor_timestamps: true\n    \
             {gzip}{protocols}\n    metrics_path: /federate\n    \
             params: {{'match[]': ['{{job=~\".+\"}}']}}\n    \
             static_configs: [{{targets: ['{}']}}]\n{write}",
            self.home,
        )
    }
}

/// Lambda's limit for an invocation of the schedule, which serves the slots of a minute.
const INVOCATION: Duration = Duration::from_secs(75);
/// Memory of the function. It is ample, because a function that is short of memory measures
/// nothing.
const MEMORY_MB: u32 = 1024;

/// A forwarder process that scrapes and sends until it is dropped.
pub struct RunningForwarder {
    process: Process,
}

enum Process {
    Function(ScheduledFunction),
    Peer(Peer),
}

/// The function, and the task that invokes it, one invocation after the other.
struct ScheduledFunction {
    function: Function,
    schedule: JoinHandle<()>,
    _spool: TempDir,
}

struct Peer {
    process: Child,
    _directory: TempDir,
    _port: Port,
}

impl Drop for ScheduledFunction {
    fn drop(&mut self) {
        self.schedule.abort();
    }
}

impl RunningForwarder {
    /// Starts the program.
    ///
    /// # Errors
    /// Fails when the program is missing.
    pub async fn start(program: Program, function: &Path, task: &Task) -> Result<Self> {
        let process = match program {
            Program::Forwarder => {
                Process::Function(ScheduledFunction::start(function, task).await?)
            }
            Program::Vmagent | Program::Prometheus => Process::Peer(Peer::start(program, task)?),
        };
        Ok(Self { process })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        match &self.process {
            Process::Function(scheduled) => scheduled.function.id(),
            Process::Peer(peer) => peer.process.id(),
        }
    }

    /// The log so far.
    pub fn log(&self) -> String {
        match &self.process {
            Process::Function(scheduled) => scheduled.function.log(),
            Process::Peer(peer) => peer.process.log(),
        }
    }
}

/// Starts the function with a spool in that directory.
///
/// # Errors
/// Fails when the program is missing.
pub fn function(program: &Path, api: &RuntimeApi, task: &Task, spool: &Path) -> Result<Function> {
    let spool = format!(
        "forwarder:\n  remote_read: {}\n  \
         spool: {{url: 'file://{}', drain_samples_per_second: 1000000000}}\n",
        task.remote_read,
        spool.display()
    );
    let config = task.yaml(Program::Forwarder) + &spool;
    Function::start(&FunctionOptions {
        memory_mb: MEMORY_MB,
        ..FunctionOptions::new(program, &api.runtime_api(), &config)
    })
}

impl ScheduledFunction {
    async fn start(program: &Path, task: &Task) -> Result<Self> {
        let (api, spool) = (
            RuntimeApi::start().await?,
            TempDir::new().context("make a directory")?,
        );
        let function = function(program, &api, task, spool.path())?;
        // The payload is empty, as a schedule's may be: that serves the slots of a minute. After an
        // error no more is scraped, and the log says why.
        let schedule = tokio::spawn(async move {
            while api
                .invoke("", INVOCATION)
                .await
                .and_then(InvocationResult::answer)
                .is_ok()
            {}
        });
        Ok(Self {
            function,
            schedule,
            _spool: spool,
        })
    }
}

impl Peer {
    fn start(program: Program, task: &Task) -> Result<Self> {
        let directory = TempDir::new().context("make a directory")?;
        let place = directory.path();
        let config = place.join("config.yml");
        std::fs::write(&config, task.yaml(program))?;
        let port = Port::reserve()?;
        let data = place.join("data");
        let (path, flags) = if program == Program::Vmagent {
            let flags = vec![
                format!("-promscrape.config={}", config.display()),
                "-promscrape.maxScrapeSize=4GB".to_owned(),
                format!("-remoteWrite.url={}", task.remote),
                // vmagent has a remote-write protocol of its own, which the receiver does not read.
                "-remoteWrite.forcePromProto=true".to_owned(),
                format!("-remoteWrite.maxRowsPerBlock={BATCH}"),
                format!("-remoteWrite.tmpDataPath={}", data.display()),
                format!("-httpListenAddr=127.0.0.1:{port}"),
            ];
            ("victoria-metrics/vmagent", flags)
        } else {
            let flags = vec![
                "--agent".to_owned(),
                format!("--config.file={}", config.display()),
                format!("--storage.agent.path={}", data.display()),
                format!("--web.listen-address=127.0.0.1:{port}"),
            ];
            ("prometheus-3.5/prometheus", flags)
        };
        let configure = |command: &mut std::process::Command| {
            command
                .args(flags)
                .current_dir(place)
                .env_clear()
                .env("PATH", "/usr/bin:/bin")
                .env("HOME", place);
        };
        let process = Child::spawn(
            program.name(),
            &tools::program(path)?,
            configure,
            &place.join("log"),
        )?;
        Ok(Self {
            process,
            _directory: directory,
            _port: port,
        })
    }
}
