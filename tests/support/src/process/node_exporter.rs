//! prometheus-node-exporter: real metrics of this machine.

use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use super::child::{Child, Port};
use crate::tools;

/// A running node exporter.
#[derive(Debug)]
pub struct NodeExporter {
    _process: Child,
    _port: Port,
    address: String,
    _directory: TempDir,
}

impl NodeExporter {
    /// Starts an exporter on a free port and waits until it answers.
    ///
    /// # Errors
    /// Fails when the program is missing, or does not become ready.
    pub async fn start() -> Result<Self> {
        let program = tools::program("node-exporter/prometheus-node-exporter")?;
        let directory = TempDir::new()?;
        let port = Port::reserve()?;
        let address = format!("127.0.0.1:{port}");
        let mut process = Child::spawn(
            "node exporter",
            &program,
            |command| {
                command
                    .arg(format!("--web.listen-address={address}"))
                    .current_dir(directory.path());
            },
            &directory.path().join("log"),
        )?;
        process
            .wait_ready(
                &format!("http://{address}/metrics"),
                Duration::from_secs(20),
            )
            .await?;
        Ok(Self {
            _process: process,
            _port: port,
            address,
            _directory: directory,
        })
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }
}
