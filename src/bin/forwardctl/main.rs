//! The command line: looks at what the function would do, and does it in the foreground.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is what it is for"
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
    /// The configuration: a path or s3://bucket/key [default: $FORWARDER_CONFIG, else
    /// ./forwarder.yml, else forwarder.yml beside the program]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<String>,
    /// Print data for machines
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Validate the configuration
    Check(check::CheckArguments),
    /// Scrape once, and print just what would be sent
    Preview(preview::PreviewArguments),
    /// Forward in the foreground, on the configured interval
    Run(run::RunArguments),
    /// Look into the spool, drain it, export it
    #[command(subcommand)]
    Spool(spool::SpoolCommand),
    /// Tell who holds the lease, how far the jobs are, and what is owed
    Status,
    /// Tell what a month would cost, from a look at the home
    Estimate(estimate::EstimateArguments),
    /// Turn a prometheus.yml into a forwarder.yml
    Import(import::ImportArguments),
}

/// How a command ended without an error of its own.
enum CommandOutcome {
    Success,
    Failure,
}

/// What went wrong, for the exit status.
enum CommandError {
    /// 1
    Failed(String),
    /// 2
    Usage(String),
}

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

/// Of what is printed: files name themselves.
impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(format!("cannot write to standard output: {error}"))
    }
}

/// Loads the configuration that a command needs. A file in the working directory is found as well:
/// people try things there.
async fn load(argument: Option<&str>) -> Result<LoadedConfig, CommandError> {
    let beside = Source::find(None, &|_| None, std::path::Path::new("./forwardctl"))
        .map_err(|error: SourceError| CommandError::Usage(error.to_string()))?;
    let here = beside.to_string();
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
