//! A real Prometheus: as the home that is scraped, or as the receiver behind the gateway.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::child::{Child, Port};
use crate::http::Client;
use crate::query::Querier;
use crate::tls::Pair;
use crate::tools;

/// The version of Debian stable.
pub const V2_42: &str = "2.42";
/// The last long-term release of 2.x.
pub const V2_53: &str = "2.53";
/// The long-term release of 3.x.
pub const V3_5: &str = "3.5";
/// All three versions.
pub const VERSIONS: [&str; 3] = [V2_42, V2_53, V3_5];

const READY: Duration = Duration::from_secs(60);

/// A scrape job of the generated configuration.
#[derive(Debug, Clone)]
pub struct Job {
    /// Value of `job_name`.
    pub name: String,
    /// Addresses of its targets, `host:port`.
    pub targets: Vec<String>,
    /// Time between two scrapes, as Prometheus writes durations, e.g. `1s` or `500ms`.
    pub interval: String,
    /// Further keys of the job, as YAML indented by four spaces.
    pub extra: String,
}

impl Job {
    /// A job that scrapes each second.
    pub fn new(name: &str, targets: &[&str]) -> Self {
        let targets = targets.iter().map(|target| (*target).to_owned()).collect();
        Self {
            name: name.to_owned(),
            targets,
            interval: "1s".to_owned(),
            extra: String::new(),
        }
    }

    /// Changes the interval.
    #[must_use]
    pub fn every(mut self, interval: &str) -> Self {
        self.interval = interval.to_owned();
        self
    }
}

/// Settings of the HTTP server for its clients (`--web.config.file`). A Prometheus with them must
/// not scrape itself.
#[derive(Debug, Clone, Default)]
pub struct WebConfig {
    /// Certificate of the server; with it, the server speaks TLS.
    pub tls: Option<Pair>,
    /// Authority of client certificates (PEM); with it, clients must have one.
    pub client_authority: Option<String>,
    /// Whether clients must present [`Self::USER`] and [`Self::PASSWORD`].
    pub password: bool,
}

impl WebConfig {
    /// The only user.
    pub const USER: &'static str = "admin";
    /// The password of the user.
    pub const PASSWORD: &'static str = "correct horse";
    /// The hash of the password at the lowest cost: a higher one takes longer than a scrape may on
    /// a busy machine.
    const BCRYPT: &'static str = "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e";

    fn write(&self, directory: &Path) -> Result<PathBuf> {
        let mut yaml = String::new();
        if let Some(pair) = &self.tls {
            std::fs::write(directory.join("cert.pem"), &pair.cert)?;
            std::fs::write(directory.join("key.pem"), &pair.key)?;
            yaml.push_str("tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n");
            if let Some(authority) = &self.client_authority {
                std::fs::write(directory.join("clients.pem"), authority)?;
                yaml.push_str(
                    "  client_auth_type: RequireAndVerifyClientCert\n  \
                     client_ca_file: clients.pem\n",
                );
            }
        }
        if self.password {
            let _ = writeln!(
                yaml,
                "basic_auth_users: {{{}: '{}'}}",
                Self::USER,
                Self::BCRYPT
            );
        }
        let path = directory.join("web.yml");
        std::fs::write(&path, yaml)?;
        Ok(path)
    }
}

/// Options of a Prometheus process.
#[derive(Debug, Clone)]
pub struct PrometheusOptions {
    /// One of [`VERSIONS`].
    pub version: String,
    /// Jobs that it scrapes.
    pub jobs: Vec<Job>,
    /// Whether it scrapes itself each second, as job `prometheus`.
    pub scrape_itself: bool,
    /// Value of `global.external_labels`.
    pub external_labels: Vec<(String, String)>,
    /// Value of `storage.tsdb.out_of_order_time_window`, e.g. `10m`; `None` is 0.
    pub out_of_order_window: Option<String>,
    /// Whether it takes remote write.
    pub receiver: bool,
    /// Settings for clients of the HTTP server; `None` admits all of them.
    pub web: Option<WebConfig>,
    /// Further command-line flags, e.g. `--enable-feature=native-histograms`.
    pub flags: Vec<String>,
    /// Further top-level YAML, e.g. rule files.
    pub extra: String,
}

impl PrometheusOptions {
    /// A home that scrapes itself and `jobs`.
    pub fn home(version: &str, jobs: Vec<Job>) -> Self {
        Self {
            version: version.to_owned(),
            jobs,
            scrape_itself: true,
            external_labels: Vec::new(),
            out_of_order_window: None,
            receiver: false,
            web: None,
            flags: Vec::new(),
            extra: String::new(),
        }
    }

    /// A receiver: it scrapes nothing and takes remote write. It accepts more than the gateway in
    /// front of it, so the gateway is the judge.
    pub fn receiver(version: &str) -> Self {
        Self {
            scrape_itself: false,
            out_of_order_window: Some("2h".to_owned()),
            receiver: true,
            ..Self::home(version, Vec::new())
        }
    }

    fn yaml(&self, own_address: &str) -> String {
        let mut yaml = String::from("global:\n  scrape_interval: 15s\n");
        if !self.external_labels.is_empty() {
            yaml.push_str("  external_labels:\n");
            for (name, value) in &self.external_labels {
                let _ = writeln!(yaml, "    {name}: {}", quote(value));
            }
        }
        if let Some(window) = &self.out_of_order_window {
            let _ = writeln!(
                yaml,
                "storage:\n  tsdb:\n    out_of_order_time_window: {window}"
            );
        }
        if !self.extra.is_empty() {
            let _ = writeln!(yaml, "{}", self.extra.trim_end());
        }
        yaml.push_str("scrape_configs:\n");
        let itself = self
            .scrape_itself
            .then(|| Job::new("prometheus", &[own_address]));
        for job in self.jobs.iter().chain(&itself) {
            let targets: Vec<String> = job.targets.iter().map(|target| quote(target)).collect();
            let _ = write!(
                yaml,
                "  - job_name: {}\n    scrape_interval: {interval}\n    \
                 scrape_timeout: {interval}\n    static_configs: [{{targets: [{}]}}]\n",
                quote(&job.name),
                targets.join(", "),
                interval = job.interval,
            );
            if !job.extra.is_empty() {
                let _ = writeln!(yaml, "{}", job.extra.trim_end());
            }
        }
        yaml
    }
}

/// Quotes a YAML string. JSON's form is valid there.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A running Prometheus with its own data directory.
#[derive(Debug)]
pub struct Prometheus {
    process: Child,
    options: PrometheusOptions,
    port: Port,
    directory: TempDir,
}

impl Prometheus {
    /// Starts a server on a free port and waits until it is ready.
    ///
    /// # Errors
    /// Fails when the program is missing, or does not become ready.
    pub async fn start(options: PrometheusOptions) -> Result<Self> {
        let directory = TempDir::new().context("make a data directory")?;
        let port = Port::reserve()?;
        let mut process = spawn(&options, &port, directory.path())?;
        wait_ready(&mut process, &options, &port).await?;
        Ok(Self {
            process,
            options,
            port,
            directory,
        })
    }

    /// Starts a home of `version` that scrapes itself and the jobs.
    ///
    /// # Errors
    /// Fails as [`Self::start`] does.
    pub async fn home(version: &str, jobs: Vec<Job>) -> Result<Self> {
        Self::start(PrometheusOptions::home(version, jobs)).await
    }

    /// Starts a receiver of `version`.
    ///
    /// # Errors
    /// Fails as [`Self::start`] does.
    pub async fn receiver(version: &str) -> Result<Self> {
        Self::start(PrometheusOptions::receiver(version)).await
    }

    /// Sends SIGKILL, for an outage. The data stays for [`Self::restart`].
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts the server again after [`Self::kill`], on its port and with its data.
    ///
    /// # Errors
    /// Fails as [`Self::start`] does.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.kill();
        self.process = spawn(&self.options, &self.port, self.directory.path())?;
        wait_ready(&mut self.process, &self.options, &self.port).await
    }

    /// Changes the configuration in place, as a person does: writes the file and reloads it. The
    /// process keeps running.
    ///
    /// # Errors
    /// Fails when it does not take the new configuration.
    pub async fn reload(&mut self, change: impl FnOnce(&mut PrometheusOptions)) -> Result<()> {
        change(&mut self.options);
        std::fs::write(
            self.directory.path().join("prometheus.yml"),
            self.options.yaml(&self.address()),
        )?;
        let answer = Client::default()
            .post(
                &format!("{}/-/reload", self.url()),
                "text/plain",
                String::new(),
            )
            .await?;
        ensure!(
            answer.status() == 200,
            "reload: {}: {}",
            answer.status(),
            String::from_utf8_lossy(answer.body())
        );
        Ok(())
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `http://host:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Remote-write URL, for a server that takes remote write.
    pub fn remote_write_url(&self) -> String {
        format!("{}/api/v1/write", self.url())
    }

    /// Its query API.
    pub fn querier(&self) -> Querier {
        Querier::new(&self.url())
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

async fn wait_ready(process: &mut Child, options: &PrometheusOptions, port: &Port) -> Result<()> {
    if options.web.is_none() {
        return process
            .wait_ready(&format!("http://127.0.0.1:{port}/-/ready"), READY)
            .await;
    }
    // The ready page would ask for credentials, too, so the log is read in its place.
    let start = Instant::now();
    while !process
        .log()
        .contains("Server is ready to receive web requests")
    {
        ensure!(
            process.is_running() && start.elapsed() < READY,
            "prometheus is not ready: {}",
            process.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn spawn(options: &PrometheusOptions, port: &Port, directory: &Path) -> Result<Child> {
    let program = tools::program(&format!("prometheus-{}/prometheus", options.version))?;
    let config = directory.join("prometheus.yml");
    std::fs::write(&config, options.yaml(&format!("127.0.0.1:{port}")))?;
    let web = options
        .web
        .as_ref()
        .map(|web| web.write(directory))
        .transpose()?;
    Child::spawn(
        &format!("prometheus {}", options.version),
        &program,
        |command| {
            command
                .arg(format!("--config.file={}", config.display()))
                .arg(format!(
                    "--storage.tsdb.path={}",
                    directory.join("data").display()
                ))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .arg("--web.enable-lifecycle")
                .args(
                    options
                        .receiver
                        .then_some("--web.enable-remote-write-receiver"),
                )
                .args(web.map(|path| format!("--web.config.file={}", path.display())))
                .args(&options.flags)
                .current_dir(directory);
        },
        &directory.join("log"),
    )
}
