//! The command line. It shows what the function would do, and does it in the foreground.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line prints"
)]

mod check;
mod estimate;
mod format;
mod histogram;
mod import;
mod preview;
mod run;
mod spool;
mod status;

use std::process::ExitCode;

use amp_forwarder::config::{ENV_VAR, LoadedConfig, Source, SourceError, process_env};
use amp_forwarder::report::logs;
use amp_forwarder::setup::{self, SetupError};
use amp_forwarder::spool::lease::LookError;
use amp_forwarder::spool::store::StoreError;
use clap::{Parser, Subcommand};

/// Forwards a home Prometheus' /federate to Amazon Managed Service for Prometheus.
///
/// Exit status: 0 fine, 1 failed, 2 wrong usage or configuration.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    /// Read the configuration from a path or s3://bucket/key [default: $FORWARDER_CONFIG, else
    /// ./forwarder.yml, else forwarder.yml in the program's folder]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<String>,
    /// Print JSON for programs
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Validate the configuration
    Check(check::CheckArguments),
    /// Scrape once and print what would be sent
    Preview(preview::PreviewArguments),
    /// Forward in the foreground, at the configured intervals
    Run(run::RunArguments),
    /// List, verify, export or drain the spool
    #[command(subcommand)]
    Spool(spool::SpoolCommand),
    /// Show the lease, the progress of the jobs and the backlog
    Status,
    /// Estimate the cost of a month from a few scrapes of the home
    Estimate(estimate::EstimateArguments),
    /// Turn a prometheus.yml into a forwarder.yml
    Import(import::ImportArguments),
}

/// How a command ended after it printed its result.
enum CommandOutcome {
    /// Exit status 0.
    Success,
    /// Exit status 1: the result is bad, and the command has reported why.
    Failure,
}

/// The message of a command that could not do its work. The variant decides the exit status.
enum CommandError {
    /// Exit status 1: the work failed.
    Failed(String),
    /// Exit status 2: the arguments or the configuration are wrong.
    Usage(String),
}

/// An argument that should be a duration and is not. The text says how to write one.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct DurationArgumentError(&'static str);

impl From<SetupError> for CommandError {
    fn from(error: SetupError) -> Self {
        match error {
            SetupError::Config(_)
            | SetupError::Source(_)
            | SetupError::Target(_)
            | SetupError::Spool(_) => Self::Usage(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<LookError> for CommandError {
    fn from(error: LookError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// An error of standard output. Errors of files are converted where the path is known.
impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(format!("cannot write to standard output: {error}"))
    }
}

/// Loads the configuration that a command needs. A forwarder.yml in the working directory is found
/// as well, because people try things there.
async fn load(argument: Option<&str>) -> Result<LoadedConfig, CommandError> {
    let default = Source::find(None, &|_| None, std::path::Path::new("./forwardctl"))
        .map_err(|error: SourceError| CommandError::Usage(error.to_string()))?;
    let here = default.to_string();
    let named = argument.is_some() || process_env(ENV_VAR).is_some_and(|value| !value.is_empty());
    let argument = if !named && std::path::Path::new(&here).exists() {
        Some(here.as_str())
    } else {
        argument
    };
    Ok(setup::load(argument).await?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Cli::parse();
    logs::start_readable(&process_env);
    let config = arguments.config.as_deref();
    let json = arguments.json;
    let ended = match arguments.command {
        Command::Check(arguments) => check::run(&arguments, config, json).await,
        Command::Preview(arguments) => preview::run(&arguments, config, json).await,
        Command::Run(arguments) => run::run(&arguments, config, json).await,
        Command::Spool(command) => spool::run(&command, config, json).await,
        Command::Status => status::run(config, json).await,
        Command::Estimate(arguments) => estimate::run(&arguments, config, json).await,
        Command::Import(arguments) => import::run(&arguments, json),
    };
    match ended {
        Ok(CommandOutcome::Success) => ExitCode::SUCCESS,
        Ok(CommandOutcome::Failure) => ExitCode::from(1),
        Err(CommandError::Failed(message)) => {
            eprintln!("{message}");
            ExitCode::from(1)
        }
        Err(CommandError::Usage(message)) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}
