//! `forwardctl spool export`: the spool's samples as OpenMetrics.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use amp_forwarder::report::plain_line;
use amp_forwarder::spool::export::{AddError, Export, ExportOmissions, ExportSummary};
use amp_forwarder::spool::inspect;
use amp_forwarder::spool::segment::Segment;
use amp_forwarder::spool::store::FailureKind;
use serde_json::json;

use super::super::format::{bar, count, many};
use super::listing::{Selection, SpoolListing};
use crate::outcome::{CommandError, CommandOutcome};
use crate::terminal::{data_out, say_json, tell};

/// Bytes of memory for sorting. Samples beyond that go to a temporary file. With an object and a
/// batch of the largest size, an export stays below 128 MB.
const MEMORY: usize = 24 << 20;

#[derive(clap::Args)]
pub(in super::super) struct ExportArguments {
    #[command(flatten)]
    selection: Selection,
    /// Write to this file instead of standard output; an existing file is not replaced
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) async fn run(
    arguments: &ExportArguments,
    config: Option<&str>,
    json: bool,
) -> Result<CommandOutcome, CommandError> {
    if json && arguments.output.is_none() {
        return Err(CommandError::Usage(
            "--json prints a summary, but the samples go to standard output: \
             name a file for them with --output"
                .to_owned(),
        ));
    }
    let spool = SpoolListing::list(&arguments.selection, config).await?;
    if spool.objects.is_empty() {
        tell(spool.empty_message().await?);
    }
    let out = match &arguments.output {
        Some(path) => Some(File::create_new(path).map_err(|error| unwritable(path, &error))?),
        None => None,
    };

    let mut export = Export::new(MEMORY);
    let mut left = Vec::new();
    let bar = bar(spool.objects.len() as u64, "objects", json);
    for found in &spool.objects {
        let added = match inspect::read(&*spool.store, &found.key).await {
            Ok(Ok(segment)) => add_segment(&mut export, &segment)?,
            Ok(Err(error)) => vec![error.to_string()],
            // The object was delivered and deleted since it was listed.
            Err(error) if error.kind == FailureKind::NotFound => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        for error in added {
            let line = format!("left out: {}: {error}", found.key);
            bar.suspend(|| tell(plain_line(&line)));
            left.push(json!({"key": found.key, "error": error}));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();

    let written = match (out, &arguments.output) {
        (Some(file), Some(path)) => export
            .finish(&mut BufWriter::new(file))
            .map_err(|error| unwritable(path, &error))?,
        _ => export.finish(&mut BufWriter::new(data_out()))?,
    };
    if json {
        say_json(json!({
            "samples": written.samples,
            "series": written.series,
            "left_out": written.left_out,
            "damaged": left,
        }));
    } else {
        tell(summary(&written));
    }
    std::io::stdout().flush()?;
    Ok(if left.is_empty() {
        CommandOutcome::Success
    } else {
        CommandOutcome::Failure
    })
}

/// Adds the batches of a segment. Returns the errors of those that cannot be decoded.
fn add_segment(export: &mut Export, segment: &Segment) -> Result<Vec<String>, CommandError> {
    let mut errors = Vec::new();
    for (place, batch) in segment.batches.iter().enumerate() {
        match export.add(batch) {
            Ok(()) => {}
            Err(AddError::Batch(error)) => errors.push(format!("batch {place}: {error}")),
            Err(error) => return Err(CommandError::Failed(error.to_string())),
        }
    }
    Ok(errors)
}

fn unwritable(path: &Path, error: &std::io::Error) -> CommandError {
    CommandError::Failed(format!("cannot write {}: {error}", path.display()))
}

/// What was exported and what was left out, in one line.
fn summary(written: &ExportSummary) -> String {
    let ExportOmissions {
        stale,
        histograms,
        repeated,
    } = written.left_out;
    let left_out = [
        (stale, "stale marker"),
        (histograms, "native histogram"),
        (repeated, "repeated sample"),
    ];
    let left_out: Vec<_> = left_out
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| many(*number, what))
        .collect();
    let exported = format!(
        "exported {} of {} series",
        many(written.samples, "sample"),
        count(written.series)
    );
    if left_out.is_empty() {
        exported
    } else {
        format!("{exported}; left out: {}", left_out.join(", "))
    }
}
