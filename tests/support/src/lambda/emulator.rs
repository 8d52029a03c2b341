//! `cargo lambda watch --only-lambda-apis`: cargo-lambda's emulator without its compiling and
//! reloading.
//!
//! Version 1.9.2 gives `lambda-runtime-deadline-ms: 600000`, a duration where the protocol has a
//! time, so that every deadline would lie in 1970. So the function speaks to the emulator through a
//! proxy that puts a real deadline in its place.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http_body_util::Full;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::InvocationResult;
use crate::http::{self as server, Client, HandlerResult, Hangup, Server, ServerRequest};
use crate::process::{Child, Port};
use crate::{now_ms, tools, wait_for};

/// Lambda's limit for an answer.
const LARGEST_ANSWER: usize = 6 << 20;
/// Name of the function. The emulator knows only the binaries of the package in its working
/// directory.
const NAME: &str = "amp-forwarder";
const MANIFEST: &str =
    "[package]\nname = \"amp-forwarder\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n";

/// A running emulator.
#[derive(Debug)]
pub struct Emulator {
    _process: Child,
    _port: Port,
    address: String,
    proxy: Server,
    client: Client,
    _directory: TempDir,
}

impl Emulator {
    /// Starts the emulator on a free port and waits until it listens. Invocations have `time_limit`
    /// from their start.
    ///
    /// # Errors
    /// Fails when cargo-lambda is missing, or does not become ready.
    pub async fn start(time_limit: Duration) -> Result<Self> {
        let program = tools::program("lambda/bin/cargo-lambda")?;
        let directory = TempDir::new()?;
        std::fs::write(directory.path().join("Cargo.toml"), MANIFEST)?;
        std::fs::create_dir(directory.path().join("src"))?;
        std::fs::write(directory.path().join("src/main.rs"), "fn main() {}\n")?;
        let port = Port::reserve()?;
        let process = Child::spawn(
            "cargo-lambda",
            &program,
            |command| {
                command
                    .args([
                        "lambda",
                        "watch",
                        "--only-lambda-apis",
                        "--invoke-address",
                        "127.0.0.1",
                        "--invoke-port",
                    ])
                    .arg(port.to_string())
                    .current_dir(directory.path());
            },
            &directory.path().join("log"),
        )?;
        let address = format!("127.0.0.1:{port}");
        // Any HTTP request would wait for the function, so this looks only at whether the port is
        // open.
        wait_for("cargo-lambda listens", Duration::from_secs(60), || async {
            TcpStream::connect(&address).await.is_ok()
        })
        .await
        .with_context(|| process.log())?;
        let base = format!("http://{address}/.rt/{NAME}");
        let client = Client::default();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let proxy = Server::start(listen, move |request, _| {
            pass(client.clone(), base.clone(), request, time_limit)
        })
        .await?;
        Ok(Self {
            _process: process,
            _port: port,
            address,
            proxy,
            client: Client::default(),
            _directory: directory,
        })
    }

    /// Value of `AWS_LAMBDA_RUNTIME_API` for the function.
    pub fn runtime_api(&self) -> String {
        self.proxy.address().to_string()
    }

    /// Invokes the function and waits for its answer.
    ///
    /// # Errors
    /// Fails when there is no answer within `limit`.
    pub async fn invoke(
        &self,
        payload: impl Into<Vec<u8>>,
        limit: Duration,
    ) -> Result<InvocationResult> {
        let url = format!(
            "http://{}/2015-03-31/functions/{NAME}/invocations",
            self.address
        );
        let answer = tokio::time::timeout(
            limit,
            self.client.post(&url, "application/json", payload.into()),
        );
        let response = answer
            .await
            .with_context(|| format!("no answer to the invocation within {limit:?}"))??;
        let value = || serde_json::from_slice(response.body()).context("the answer is not JSON");
        match response.status().as_u16() {
            200 => Ok(InvocationResult::Answer(value()?)),
            500 => Ok(InvocationResult::Error(value()?)),
            status => bail!(
                "cargo-lambda answered {status}: {}",
                String::from_utf8_lossy(response.body())
            ),
        }
    }
}

async fn pass(
    client: Client,
    base: String,
    request: ServerRequest,
    time_limit: Duration,
) -> HandlerResult {
    let (parts, body) = request.into_parts();
    let body = server::read_body(body, LARGEST_ANSWER)
        .await
        .ok_or(Hangup)?;
    let mut onward = http::Request::builder()
        .method(parts.method)
        .uri(format!("{base}{}", parts.uri.path()));
    for (name, value) in parts
        .headers
        .iter()
        .filter(|(name, _)| *name != http::header::HOST)
    {
        onward = onward.header(name, value);
    }
    let onward = onward.body(Full::new(body)).map_err(|_| Hangup)?;
    let (head, body) = client.send(onward).await.map_err(|_| Hangup)?.into_parts();
    let mut answer = http::Response::new(server::full(body));
    *answer.status_mut() = head.status;
    *answer.headers_mut() = head.headers;
    if let Some(deadline) = answer.headers_mut().get_mut("lambda-runtime-deadline-ms") {
        let at = now_ms() + i64::try_from(time_limit.as_millis()).unwrap_or(i64::MAX / 2);
        *deadline = at.into();
    }
    Ok(answer)
}
