//! `cargo lambda watch --only-lambda-apis`: cargo-lambda's emulator without its compiling and reloading.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::Invoked;
use crate::http::Client;
use crate::process::{Child, free_port};
use crate::{tools, wait_for};

/// The function's name; the emulator knows only the binaries of the package that it is started in.
const NAME: &str = "amp-forwarder";
const MANIFEST: &str = "[package]\nname = \"amp-forwarder\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n";

/// A running emulator.
#[derive(Debug)]
pub struct Emulator {
    _process: Child,
    address: String,
    client: Client,
    _directory: TempDir,
}

impl Emulator {
    /// Starts it on a free port and waits until it listens.
    ///
    /// # Errors
    /// When cargo-lambda is missing, or does not become ready.
    pub async fn start() -> Result<Self> {
        let program = tools::program("lambda/bin/cargo-lambda")?;
        let directory = TempDir::new()?;
        std::fs::write(directory.path().join("Cargo.toml"), MANIFEST)?;
        std::fs::create_dir(directory.path().join("src"))?;
        std::fs::write(directory.path().join("src/main.rs"), "fn main() {}\n")?;
        let port = free_port()?;
        let process = Child::spawn(
            "cargo-lambda",
            &program,
            |command| {
                command
                    .args(["lambda", "watch", "--only-lambda-apis", "--invoke-address", "127.0.0.1", "--invoke-port"])
                    .arg(port.to_string())
                    .current_dir(directory.path());
            },
            &directory.path().join("log"),
        )?;
        let address = format!("127.0.0.1:{port}");
        // Any HTTP request would wait for the function: see only whether it listens.
        wait_for("cargo-lambda listens", Duration::from_secs(60), || async { TcpStream::connect(&address).await.is_ok() })
            .await
            .with_context(|| process.log())?;
        Ok(Self { _process: process, address, client: Client::default(), _directory: directory })
    }

    /// What the function needs as `AWS_LAMBDA_RUNTIME_API`.
    pub fn runtime_api(&self) -> String {
        format!("http://{}/.rt/{NAME}", self.address)
    }

    /// Invokes the function and waits for its answer.
    ///
    /// # Errors
    /// When there is none within `limit`.
    pub async fn invoke(&self, payload: impl Into<Vec<u8>>, limit: Duration) -> Result<Invoked> {
        let url = format!("http://{}/2015-03-31/functions/{NAME}/invocations", self.address);
        let answer = tokio::time::timeout(limit, self.client.post(&url, "application/json", payload.into()));
        let response = answer.await.with_context(|| format!("no answer to the invocation within {limit:?}"))??;
        let value = || serde_json::from_slice(response.body()).context("the answer is not JSON");
        match response.status().as_u16() {
            200 => Ok(Invoked::Answer(value()?)),
            500 => Ok(Invoked::Error(value()?)),
            status => bail!("cargo-lambda answered {status}: {}", String::from_utf8_lossy(response.body())),
        }
    }
}
