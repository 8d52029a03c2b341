//! A real Prometheus that loads one configuration after the other.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use amp_forwarder_support::Result;
use amp_forwarder_support::http::Client;
use amp_forwarder_support::process::{Child, Port};
use amp_forwarder_support::tools;
use serde_json::Value;
use tempfile::TempDir;

/// Prometheus 3.5, asked by its API.
pub(crate) struct Judge {
    _process: Child,
    port: Port,
    directory: TempDir,
    client: Client,
}

impl Judge {
    pub(crate) async fn start() -> Result<Self> {
        let directory = TempDir::new()?;
        let port = Port::reserve()?;
        let program = tools::program("prometheus-3.5/prometheus")?;
        std::fs::write(directory.path().join("config.yml"), "")?;
        let address = format!("127.0.0.1:{port}");
        let mut process = Child::spawn(
            "prometheus",
            &program,
            |command| {
                command
                    .arg("--config.file=config.yml")
                    .arg("--storage.tsdb.path=data")
                    .arg(format!("--web.listen-address={address}"))
                    .arg("--web.enable-lifecycle")
                    .arg("--storage.remote.flush-deadline=1ms")
                    .current_dir(directory.path());
            },
            &directory.path().join("log"),
        )?;
        let ready = format!("http://{address}/-/ready");
        process.wait_ready(&ready, Duration::from_secs(60)).await?;
        Ok(Self {
            _process: process,
            port,
            directory,
            client: Client::default(),
        })
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("config.yml")
    }

    /// The path by which Prometheus knows its configuration: relative paths start beside it.
    pub(crate) fn origin(&self) -> String {
        "config.yml".to_owned()
    }

    /// Loads a configuration. Returns its effective form as YAML, or Prometheus' objection.
    pub(crate) async fn load(&self, text: &str) -> Result<String, String> {
        self.ask(text)
            .await
            .unwrap_or_else(|error| panic!("{text}\n{error:?}"))
    }

    /// Whether `promtool check config` takes a configuration, without looking for files. It also
    /// looks at each target, which Prometheus does only when it scrapes it: that is left out.
    ///
    /// # Panics
    /// Panics when promtool cannot be run.
    pub(crate) fn promtool_takes(&self, text: &str) -> bool {
        let file = self.directory.path().join("promtool.yml");
        std::fs::write(&file, text).expect("a file in the test's own directory");
        let promtool = tools::program("prometheus-3.5/promtool").expect("promtool");
        let output = Command::new(promtool)
            .args(["check", "config", "--syntax-only"])
            .arg(file)
            .output();
        let output = output.expect("promtool runs");
        output.status.success() || String::from_utf8_lossy(&output.stderr).contains(" in group ")
    }

    async fn ask(&self, text: &str) -> Result<Result<String, String>> {
        std::fs::write(self.file(), text)?;
        let address = format!("http://127.0.0.1:{}", self.port);
        let reload = format!("{address}/-/reload");
        let answer = self.client.post(&reload, "text/plain", "").await?;
        if answer.status() != 200 {
            let body = String::from_utf8_lossy(answer.body()).trim().to_owned();
            let body = body.replace("failed to reload config: couldn't load configuration (--config.file=\"config.yml\"): parsing YAML file config.yml: ", "");
            return Ok(Err(body));
        }
        let answer = self
            .client
            .get(&format!("{address}/api/v1/status/config"))
            .await?;
        let answer: Value = serde_json::from_slice(answer.body())?;
        let yaml = answer["data"]["yaml"].as_str().unwrap_or_default();
        Ok(Ok(yaml.to_owned()))
    }
}
