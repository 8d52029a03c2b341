//! The command line. It shows what the function would do, and does it in the foreground.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line prints"
)]

mod check;
mod completions;
mod estimate;
mod explain;
mod format;
mod histogram;
mod import;
mod init;
mod listen;
mod load;
mod outcome;
mod preview;
mod run;
mod spool;
mod status;
mod terminal;
mod verify;

use std::io::Write as _;
use std::process::ExitCode;

use amp_forwarder::config::{SiteName, forwarder_schema, process_env};
use amp_forwarder::report::logs;
use clap::{CommandFactory as _, Parser, Subcommand};

use self::outcome::{CommandError, CommandOutcome};
use self::terminal::{data_out, tell};

/// Forwards a home Prometheus' /federate to Amazon Managed Service for Prometheus.
///
/// Exit status: 0 fine, 1 failed, 2 wrong usage or configuration.
#[derive(Parser)]
#[command(name = "forwardctl", version, propagate_version = true)]
struct Cli {
    /// Read the configuration from a path or s3://bucket/key [default: $FORWARDER_CONFIG, else
    /// ./forwarder.yml, else forwarder.yml in the program's folder]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<String>,
    /// The site that is meant, where many have a configuration: its name takes the place of {site}
    /// in --config, FORWARDER_CONFIG, SPOOL_URL and forwarder.spool.url, and is ${SITE}
    #[arg(long, global = true, value_name = "NAME", value_parser = SiteName::parse)]
    site: Option<SiteName>,
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
    Status(status::StatusArguments),
    /// Compare the home with the remotes, sample by sample
    Verify(verify::VerifyArguments),
    /// Estimate the cost of a month from a few scrapes of the home
    Estimate(estimate::EstimateArguments),
    /// Turn a prometheus.yml into a forwarder.yml
    Import(import::ImportArguments),
    /// Write a first forwarder.yml, by three questions
    Init(init::InitArguments),
    /// Say what becomes of a series: which job takes it, what each rule does, who gets it
    Explain(explain::ExplainArguments),
    /// Print the JSON schema of forwarder.yml, for editors
    Schema,
    /// Print completions for a shell
    Completions(completions::CompletionsArguments),
    /// Print the manual page
    Man(completions::ManArguments),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Cli::parse();
    logs::start_readable(&process_env);
    let config = load::choose_site(arguments.site, arguments.config);
    let config = config.as_deref();
    let json = arguments.json;
    let ended = match arguments.command {
        Command::Check(arguments) => check::run(&arguments, config, json).await,
        Command::Preview(arguments) => preview::run(&arguments, config, json).await,
        Command::Run(arguments) => run::run(&arguments, config, json).await,
        Command::Spool(command) => spool::run(&command, config, json).await,
        Command::Status(arguments) => status::run(&arguments, config, json).await,
        Command::Verify(arguments) => verify::run(&arguments, config, json).await,
        Command::Estimate(arguments) => estimate::run(&arguments, config, json).await,
        Command::Import(arguments) => import::run(&arguments, json),
        Command::Init(arguments) => init::run(&arguments, json),
        Command::Explain(arguments) => explain::run(&arguments, config, json).await,
        Command::Schema => schema(),
        Command::Completions(arguments) => completions::completions(&arguments, Cli::command()),
        Command::Man(arguments) => completions::man(&arguments, Cli::command()),
    };
    match ended {
        Ok(CommandOutcome::Success) => ExitCode::SUCCESS,
        Ok(CommandOutcome::Failure) => ExitCode::from(1),
        Err(CommandError::Failed(message)) => {
            tell(message);
            ExitCode::from(1)
        }
        Err(CommandError::Usage(message)) => {
            tell(message);
            ExitCode::from(2)
        }
        Err(CommandError::OutputClosed) => ExitCode::from(1),
    }
}

fn schema() -> Result<CommandOutcome, CommandError> {
    data_out().write_all(forwarder_schema().as_bytes())?;
    Ok(CommandOutcome::Success)
}
