//! The function as a child process, with the environment that Lambda gives it and nothing else.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use crate::gateway::options::{ACCESS_KEY, SECRET_KEY, SESSION_TOKEN};
use crate::process::Child;

/// Options of a function process.
#[derive(Debug, Clone)]
pub struct FunctionOptions {
    /// The program: `bootstrap` of the zip, or the binary that cargo built.
    pub program: PathBuf,
    /// Arguments of the program. Lambda gives none.
    pub arguments: Vec<String>,
    /// Value of `AWS_LAMBDA_RUNTIME_API`.
    pub runtime_api: String,
    /// Content of the forwarder.yml that `FORWARDER_CONFIG` names.
    pub config: String,
    /// Further environment variables. They override the defaults, which are the gateway's
    /// credentials and region.
    pub env: Vec<(String, String)>,
    /// Value of `AWS_LAMBDA_FUNCTION_MEMORY_SIZE`.
    pub memory_mb: u32,
}

impl FunctionOptions {
    /// Options with 128 MB of memory and the default environment.
    pub fn new(program: impl Into<PathBuf>, runtime_api: &str, config: &str) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            runtime_api: runtime_api.to_owned(),
            config: config.to_owned(),
            env: Vec::new(),
            memory_mb: 128,
        }
    }
}

/// A function process; dropping it kills it.
#[derive(Debug)]
pub struct Function {
    process: Child,
    directory: TempDir,
}

impl Function {
    /// Starts the function. It is ready when it answers its first invocation; Lambda has no other
    /// sign either.
    ///
    /// # Errors
    /// Fails when it cannot be started.
    pub fn start(options: &FunctionOptions) -> Result<Self> {
        let directory = TempDir::new()?;
        let config = directory.path().join("forwarder.yml");
        std::fs::write(&config, &options.config)?;
        let process = Child::spawn(
            "the function",
            &options.program,
            |command| {
                command
                    .args(&options.arguments)
                    .env_clear()
                    .envs([
                        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
                        ("TZ", ":UTC"),
                        ("LANG", "en_US.UTF-8"),
                        ("AWS_LAMBDA_RUNTIME_API", &options.runtime_api),
                        ("AWS_LAMBDA_FUNCTION_NAME", "amp-forwarder"),
                        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
                        (
                            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
                            &options.memory_mb.to_string(),
                        ),
                        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/amp-forwarder"),
                        ("AWS_LAMBDA_LOG_STREAM_NAME", "local"),
                        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
                        ("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023"),
                        ("AWS_REGION", "us-east-1"),
                        ("AWS_DEFAULT_REGION", "us-east-1"),
                        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
                        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
                        ("AWS_SESSION_TOKEN", SESSION_TOKEN),
                        // There is no instance metadata service on this machine, and the SDK would
                        // wait for one.
                        ("AWS_EC2_METADATA_DISABLED", "true"),
                    ])
                    .env("FORWARDER_CONFIG", &config)
                    .env("LAMBDA_TASK_ROOT", directory.path())
                    .envs(options.env.iter().map(|(name, value)| (name, value)))
                    .current_dir(directory.path());
            },
            &directory.path().join("log"),
        )?;
        Ok(Self { process, directory })
    }

    /// Standard output and error so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Sends SIGKILL, as Lambda does at a time-out.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The directory of its forwarder.yml and its log.
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Waits until the process ends; returns its exit code, if it had one.
    ///
    /// # Errors
    /// Fails when the process still runs after `limit`.
    pub async fn wait(&mut self, limit: Duration) -> Result<Option<i32>> {
        self.process.wait(limit).await
    }
}
