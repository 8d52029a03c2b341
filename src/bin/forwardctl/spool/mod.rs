//! `forwardctl spool`: commands that look into the spool or drain it.

mod adopt;
mod drain;
mod export;
mod listing;
mod ls;
mod show;
mod verify;

use clap::Subcommand;

use self::listing::Selection;
use crate::outcome::{CommandError, CommandOutcome};

#[derive(Subcommand)]
pub(super) enum SpoolCommand {
    /// List the spool by folder and remote
    Ls(ls::LsArguments),
    /// Show the batches of one object
    Show(show::ShowArguments),
    /// Read every object and verify its checksums; exit with 1 when one is damaged
    Verify(Selection),
    /// Write samples as OpenMetrics, for `promtool tsdb create-blocks-from openmetrics`
    Export(export::ExportArguments),
    /// Give the backlog of a remote that the configuration no longer names to one that it names
    Adopt(adopt::AdoptArguments),
    /// Send the backlog, until it is empty or stops shrinking
    Drain,
}

pub(super) async fn run(
    command: &SpoolCommand,
    config: Option<&str>,
    json: bool,
) -> Result<CommandOutcome, CommandError> {
    match command {
        SpoolCommand::Ls(arguments) => ls::run(arguments, config, json).await,
        SpoolCommand::Show(arguments) => show::run(arguments, config, json).await,
        SpoolCommand::Verify(selection) => verify::run(selection, config, json).await,
        SpoolCommand::Export(arguments) => export::run(arguments, config, json).await,
        SpoolCommand::Adopt(arguments) => adopt::run(arguments, config, json).await,
        SpoolCommand::Drain => drain::run(config, json).await,
    }
}
