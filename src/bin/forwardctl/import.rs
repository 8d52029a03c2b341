//! `forwardctl import`: a forwarder.yml from a prometheus.yml.

use std::path::{Path, PathBuf};

use amp_forwarder::config::{import, read_file};
use serde_json::json;

use crate::outcome::{CommandError, CommandOutcome};

#[derive(clap::Args)]
pub(super) struct ImportArguments {
    /// Read this prometheus.yml
    prometheus_yml: PathBuf,
    /// Write the forwarder.yml to this file instead of standard output; an existing file is not
    /// replaced
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(arguments: &ImportArguments, json: bool) -> Result<CommandOutcome, CommandError> {
    let text = read_file(&arguments.prometheus_yml)
        .map_err(|error| CommandError::Usage(error.to_string()))?;
    let imported = import(&text).map_err(|errors| {
        CommandError::Usage(errors.to_string().replacen(
            "prometheus.yml",
            &arguments.prometheus_yml.display().to_string(),
            1,
        ))
    })?;
    if let Some(path) = &arguments.output {
        write_new(path, &imported.yaml)?;
    }
    if json {
        let left_out: Vec<_> = imported
            .left_out
            .iter()
            .map(|left| {
                json!({
                    "line": left.line,
                    "key": left.key,
                    "why": left.why,
                    "where_instead": left.where_instead,
                })
            })
            .collect();
        println!(
            "{}",
            json!({
                "yaml": imported.yaml,
                "wrapping": imported.wrapping,
                "left_out": left_out,
                "added": imported.added,
            })
        );
        return Ok(CommandOutcome::Success);
    }
    if arguments.output.is_none() {
        print!("{}", imported.yaml);
    }
    if let Some(wrapping) = imported.wrapping {
        eprintln!("found: {wrapping}");
    }
    for added in &imported.added {
        eprintln!("added: {added}");
    }
    for left in &imported.left_out {
        eprintln!(
            "left out: line {}, {}: {}; {}",
            left.line, left.key, left.why, left.where_instead
        );
    }
    Ok(CommandOutcome::Success)
}

/// Writes a file that must not exist yet.
fn write_new(path: &Path, text: &str) -> Result<(), CommandError> {
    let mut file = std::fs::File::create_new(path).map_err(|error| {
        CommandError::Failed(format!("cannot write {}: {error}", path.display()))
    })?;
    std::io::Write::write_all(&mut file, text.as_bytes())
        .map_err(|error| CommandError::Failed(format!("cannot write {}: {error}", path.display())))
}
