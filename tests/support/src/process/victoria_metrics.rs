//! A real VictoriaMetrics: another kind of home, and another kind of receiver.

use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use super::child::{Child, Port};
use crate::http::Client;
use crate::query::Querier;
use crate::tools;

const READY: Duration = Duration::from_secs(60);

/// A single-node VictoriaMetrics with its own data directory. It takes remote write without any
/// flag.
#[derive(Debug)]
pub struct VictoriaMetrics {
    process: Child,
    port: Port,
    _directory: TempDir,
}

impl VictoriaMetrics {
    /// Starts a server that scrapes these targets (`host:port`) each second.
    ///
    /// # Errors
    /// Fails when the program is missing, or does not become ready.
    pub async fn start(targets: &[&str]) -> Result<Self> {
        let program = tools::program("victoria-metrics/victoria-metrics")?;
        let directory = TempDir::new()?;
        let job = serde_json::json!({
            "job_name": "node",
            "scrape_interval": "1s",
            "static_configs": [{"targets": targets}],
        });
        let jobs = serde_json::json!({"scrape_configs": [job]});
        let config = directory.path().join("scrape.yml");
        std::fs::write(&config, jobs.to_string())?;
        let port = Port::reserve()?;
        let configure = |command: &mut std::process::Command| {
            command
                .arg(format!(
                    "-storageDataPath={}",
                    directory.path().join("data").display()
                ))
                .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
                .arg(format!("-promscrape.config={}", config.display()))
                // These flags make fresh samples visible at once.
                .args([
                    "-search.latencyOffset=0s",
                    "-inmemoryDataFlushInterval=1s",
                    "-search.disableCache",
                ])
                .current_dir(directory.path());
        };
        let mut process = Child::spawn(
            "victoria-metrics",
            &program,
            configure,
            &directory.path().join("log"),
        )?;
        process
            .wait_ready(&format!("http://127.0.0.1:{port}/health"), READY)
            .await?;
        Ok(Self {
            process,
            port,
            _directory: directory,
        })
    }

    /// `http://host:port`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Remote-write URL of the server.
    pub fn remote_write_url(&self) -> String {
        format!("{}/api/v1/write", self.url())
    }

    /// The query API, which is compatible with Prometheus' own.
    pub fn querier(&self) -> Querier {
        Querier::new(&self.url())
    }

    /// Makes all samples that it has taken visible to queries.
    ///
    /// # Errors
    /// Fails when it does not answer.
    pub async fn flush(&self) -> Result<()> {
        Client::default()
            .get(&format!("{}/internal/force_flush", self.url()))
            .await?;
        Ok(())
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.process.log()
    }
}
