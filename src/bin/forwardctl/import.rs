//! `forwardctl import`: a forwarder.yml from a prometheus.yml.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use amp_forwarder::config::{ImportedConfig, SourceError, import, read_file};
use serde_json::json;

use crate::outcome::{CommandError, CommandOutcome};
use crate::terminal::{data_out, say_json, tell};

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
    let text = read_file(&arguments.prometheus_yml).map_err(|error| {
        CommandError::Usage(match error {
            // Its advice is about the forwarder's own configuration.
            SourceError::Read { path, source } => {
                format!("cannot read {}: {source}", path.display())
            }
            error => error.to_string(),
        })
    })?;
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
        say_json(json!({
            "yaml": imported.yaml,
            "wrapping": imported.wrapping,
            "left_out": left_out,
            "added": imported.added,
            "federates": imported.federates,
        }));
        return Ok(CommandOutcome::Success);
    }
    if arguments.output.is_none() {
        data_out()
            .write_all(imported.yaml.as_bytes())
            .and_then(|()| std::io::stdout().flush())?;
    }
    tell_result(&imported, arguments.output.as_deref());
    Ok(CommandOutcome::Success)
}

/// Says what was found, added and left out, and what comes next.
fn tell_result(imported: &ImportedConfig, output: Option<&Path>) {
    if let Some(wrapping) = imported.wrapping {
        tell(format!("found: {wrapping}"));
    }
    for added in &imported.added {
        tell(format!("added: {added}"));
    }
    if !imported.federates {
        tell(
            "note: no job asks for /federate, so each of these targets would be scraped by itself; \
             to forward what a home Prometheus has, write the configuration with forwardctl init",
        );
    }
    for left in &imported.left_out {
        tell(format!(
            "left out: line {}, {}: {}; {}",
            left.line, left.key, left.why, left.where_instead
        ));
    }
    if let Some(path) = output {
        let first = if imported.added.is_empty() {
            ""
        } else {
            "write what is to be replaced into it, then "
        };
        let file = path.display();
        let named = if path.as_os_str() == "forwarder.yml" {
            String::new()
        } else {
            format!(" --config {file}")
        };
        tell(format!(
            "wrote {file}; what is next: {first}forwardctl check --online{named}"
        ));
    }
}

/// Writes a file that must not exist yet. It may hold passwords, as the prometheus.yml does, so
/// only its user may read it. What could not be written to its end is removed, so that the command
/// can be repeated.
pub(super) fn write_new(path: &Path, text: &str) -> Result<(), CommandError> {
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let written = opened.and_then(|mut file| {
        let written = file.write_all(text.as_bytes());
        if written.is_err() {
            let _ = std::fs::remove_file(path);
        }
        written
    });
    written.map_err(|error| {
        let advice = match error.kind() {
            ErrorKind::AlreadyExists => {
                "; what is there is not replaced: name another file, or move it away"
            }
            ErrorKind::NotFound => "; make its folder first, or name another file",
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "; name another file",
            ErrorKind::StorageFull => "; make room, or name a file on another disk",
            _ => "",
        };
        CommandError::Failed(format!("cannot write {}: {error}{advice}", path.display()))
    })
}
