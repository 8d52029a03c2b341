//! The forwarders that are measured: ours and its peers, each with the same job and the same queue.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::lambda::{Function, FunctionOptions, InvocationResult, RuntimeApi};
use crate::process::{Child, Port};
use crate::tools;

/// Number of samples in a request, the same for every program.
pub const BATCH: usize = 1000;

/// Name of the function in tables. Others are compared with it.
pub(super) const OURS: &str = "amp-forwarder";

/// A forwarder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The function of this repository.
    Forwarder,
    /// The function, which signs its requests.
    Signed,
    /// `forwardctl run` of this repository.
    Forwardctl,
    /// VictoriaMetrics' agent.
    Vmagent,
    /// Prometheus in agent mode.
    Prometheus,
}

impl Program {
    /// All programs: the forwarder, then its peers.
    pub const ALL: [Self; 5] = [
        Self::Forwarder,
        Self::Signed,
        Self::Forwardctl,
        Self::Vmagent,
        Self::Prometheus,
    ];

    /// The name of the program in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forwarder => OURS,
            Self::Signed => "amp-forwarder, signed",
            Self::Forwardctl => "forwardctl run",
            Self::Vmagent => "vmagent 1.145",
            Self::Prometheus => "Prometheus 3.5 agent",
        }
    }

    /// Whether it is another project's.
    pub fn is_peer(self) -> bool {
        matches!(self, Self::Vmagent | Self::Prometheus)
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
            (_, Program::Vmagent) | (false, _) => "",
            (true, _) => "\n    scrape_protocols: [PrometheusProto, PrometheusText0.0.4]",
        };
        // The receiver does not look at the signature.
        let sigv4 = if program == Program::Signed {
            "\n    sigv4: {region: eu-central-1, access_key: AKIDEXAMPLE, secret_key: secret}"
        } else {
            ""
        };
        let write = match program {
            Program::Vmagent => String::new(),
            _ => format!(
                "remote_write:\n  - name: bench\n    url: {}{sigv4}\n    queue_config: \
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

/// The programs of this repository.
#[derive(Debug, Clone)]
pub struct OurPrograms {
    /// The function.
    pub function: PathBuf,
    /// `forwardctl`, if it is measured, too.
    pub forwardctl: Option<PathBuf>,
}

/// A forwarder process that scrapes and sends until it is dropped.
pub struct RunningForwarder {
    process: Process,
}

enum Process {
    Function(ScheduledFunction),
    Service(Service),
}

/// The function, and the task that invokes it, one invocation after the other.
struct ScheduledFunction {
    function: Function,
    schedule: JoinHandle<()>,
    _spool: TempDir,
}

/// A program that scrapes by itself.
struct Service {
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
    pub async fn start(program: Program, ours: &OurPrograms, task: &Task) -> Result<Self> {
        let process = match program {
            Program::Forwarder | Program::Signed => {
                Process::Function(ScheduledFunction::start(program, &ours.function, task).await?)
            }
            Program::Forwardctl => {
                let forwardctl = ours.forwardctl.as_ref().context("no forwardctl is given")?;
                Process::Service(Service::forwardctl(forwardctl, task)?)
            }
            Program::Vmagent | Program::Prometheus => {
                Process::Service(Service::peer(program, task)?)
            }
        };
        Ok(Self { process })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        match &self.process {
            Process::Function(scheduled) => scheduled.function.id(),
            Process::Service(service) => service.process.id(),
        }
    }

    /// The log so far.
    pub fn log(&self) -> String {
        match &self.process {
            Process::Function(scheduled) => scheduled.function.log(),
            Process::Service(service) => service.process.log(),
        }
    }
}

/// Starts the function with a spool in that directory.
///
/// # Errors
/// Fails when the program is missing.
pub fn function(program: &Path, api: &RuntimeApi, task: &Task, spool: &Path) -> Result<Function> {
    function_as(Program::Forwarder, program, api, task, spool)
}

fn function_as(
    program: Program,
    file: &Path,
    api: &RuntimeApi,
    task: &Task,
    spool: &Path,
) -> Result<Function> {
    Function::start(&FunctionOptions {
        memory_mb: MEMORY_MB,
        ..FunctionOptions::new(file, &api.runtime_api(), &config(program, task, spool))
    })
}

/// Our configuration, with a spool in that directory.
fn config(program: Program, task: &Task, spool: &Path) -> String {
    let forwarder = format!(
        "forwarder:\n  remote_read: {}\n  \
         spool: {{url: 'file://{}', drain_samples_per_second: 1000000000}}\n",
        task.remote_read,
        spool.display()
    );
    task.yaml(program) + &forwarder
}

impl ScheduledFunction {
    async fn start(program: Program, file: &Path, task: &Task) -> Result<Self> {
        let (api, spool) = (
            RuntimeApi::start().await?,
            TempDir::new().context("make a directory")?,
        );
        let function = function_as(program, file, &api, task, spool.path())?;
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

impl Service {
    fn forwardctl(file: &Path, task: &Task) -> Result<Self> {
        let directory = TempDir::new()?;
        let (place, port) = (directory.path(), Port::reserve()?);
        let spool = place.join("spool");
        std::fs::create_dir(&spool)?;
        let yaml = place.join("config.yml");
        std::fs::write(&yaml, config(Program::Forwardctl, task, &spool))?;
        let configure = |command: &mut std::process::Command| {
            command
                .arg("--config")
                .arg(&yaml)
                .args(["run", "--listen", &format!("127.0.0.1:{port}")])
                .current_dir(place)
                .env_clear()
                .env("HOME", place);
        };
        let name = Program::Forwardctl.name();
        let process = Child::spawn(name, file, configure, &place.join("log"))?;
        Ok(Self {
            process,
            _directory: directory,
            _port: port,
        })
    }

    fn peer(program: Program, task: &Task) -> Result<Self> {
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
