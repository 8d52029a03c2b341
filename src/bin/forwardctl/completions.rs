//! `forwardctl completions` and `forwardctl man`: what packagers and shells are given.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Command;
use clap_complete::Shell;

use crate::outcome::{CommandError, CommandOutcome};

#[derive(clap::Args)]
pub(super) struct CompletionsArguments {
    /// Complete commands and flags in this shell
    shell: Shell,
}

#[derive(clap::Args)]
pub(super) struct ManArguments {
    /// Write a page for each command to this folder, as forwardctl-check.1, instead of the first
    /// page to standard output
    #[arg(long, short, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

pub(super) fn completions(
    arguments: &CompletionsArguments,
    mut command: Command,
) -> Result<CommandOutcome, CommandError> {
    // The generator panics when it cannot write, and a pipe may be closed at any time.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "forwardctl", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(CommandOutcome::Success)
}

pub(super) fn man(
    arguments: &ManArguments,
    command: Command,
) -> Result<CommandOutcome, CommandError> {
    let Some(folder) = &arguments.output else {
        clap_mangen::Man::new(command).render(&mut std::io::stdout())?;
        return Ok(CommandOutcome::Success);
    };
    let failed = |error: std::io::Error| {
        CommandError::Failed(format!("cannot write to {}: {error}", folder.display()))
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(without_help(command), folder).map_err(failed)?;
    Ok(CommandOutcome::Success)
}

/// The command without `help`, which needs no page of its own.
fn without_help(command: Command) -> Command {
    command
        .disable_help_subcommand(true)
        .mut_subcommands(without_help)
}
