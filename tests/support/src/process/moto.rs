//! moto: an S3 that speaks HTTP, and other services of AWS.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::Full;
use tempfile::TempDir;

use super::{Child, Port};
use crate::http::Client;
use crate::tools;

/// moto is written in Python and imports a lot.
const READY: Duration = Duration::from_secs(60);

/// A moto server that keeps its buckets in memory. It takes any credentials unless its environment
/// asks for more.
#[derive(Debug)]
pub struct Moto {
    process: Child,
    _directory: TempDir,
    port: Port,
}

impl Moto {
    /// Starts a server on a free port with these further environment variables, and waits until it
    /// is ready.
    ///
    /// # Errors
    /// Fails when moto is missing, or does not become ready.
    pub async fn start(environment: &[(&str, &str)]) -> Result<Self> {
        let program = tools::moto_server()?;
        let directory = TempDir::new()?;
        let port = Port::reserve()?;
        let configure = |command: &mut std::process::Command| {
            command
                .args(["-H", "127.0.0.1", "-p", &port.to_string()])
                .envs(environment.iter().copied());
        };
        let mut process = Child::spawn("moto", &program, configure, &directory.path().join("log"))?;
        process
            .wait_ready(&format!("http://127.0.0.1:{port}/moto-api/"), READY)
            .await?;
        Ok(Self {
            process,
            _directory: directory,
            port,
        })
    }

    /// Standard output and error so far: a line for each request.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Endpoint, for `AWS_ENDPOINT_URL_S3` and its like.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Port on the loopback interface.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Reads an object (`bucket/key`) and returns the answer of any status.
    ///
    /// # Errors
    /// Fails when there is no answer.
    pub async fn get(&self, object: &str) -> Result<http::Response<Bytes>> {
        let request = http::Request::get(format!("{}/{object}", self.url()))
            .header("authorization", asker("s3"));
        Client::default().send(request.body(Full::default())?).await
    }

    /// Makes an empty bucket.
    ///
    /// # Errors
    /// Fails when it does not answer 200.
    pub async fn create_bucket(&self, bucket: &str) -> Result<()> {
        // moto takes a request without a signature to be for S3.
        let request =
            http::Request::put(format!("{}/{bucket}", self.url())).body(Full::default())?;
        let response = Client::default()
            .send(request)
            .await
            .context("create a bucket in moto")?;
        ensure!(
            response.status() == 200,
            "moto answered {} to the creation of bucket {bucket}",
            response.status()
        );
        Ok(())
    }

    /// Writes an object (`bucket/key`).
    ///
    /// # Errors
    /// Fails when it does not answer 200.
    pub async fn put(&self, object: &str, body: impl Into<Bytes>) -> Result<()> {
        let request = http::Request::put(format!("{}/{object}", self.url()))
            .header("authorization", asker("s3"))
            .body(Full::new(body.into()))?;
        let response = Client::default().send(request).await?;
        ensure!(
            response.status() == 200,
            "moto answered {} to the writing of {object}",
            response.status()
        );
        Ok(())
    }

    /// Calls a service that speaks JSON, e.g. `ssm`, `AmazonSSM.PutParameter`.
    ///
    /// # Errors
    /// Fails when it does not answer 200.
    pub async fn call(
        &self,
        service: &str,
        target: &str,
        arguments: &serde_json::Value,
    ) -> Result<serde_json::Value> {
        let request = http::Request::post(self.url())
            .header("authorization", asker(service))
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", target)
            .body(Full::new(arguments.to_string().into()))?;
        let response = Client::default().send(request).await?;
        ensure!(
            response.status() == 200,
            "moto answered {} to {target}: {:?}",
            response.status(),
            response.body()
        );
        Ok(serde_json::from_slice(response.body())?)
    }
}

/// An `Authorization` header without a valid signature. moto only reads the service from it.
fn asker(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, \
         SignedHeaders=host, Signature=0"
    )
}
