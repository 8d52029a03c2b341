//! `forwardctl spool export`

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use amp_forwarder::spool::export::{AddError, Export, LeftOut, Written};
use amp_forwarder::spool::inspect;
use amp_forwarder::spool::segment::Segment;
use amp_forwarder::spool::store::Kind;
use serde_json::json;

use super::super::format::{bar, many, plain};
use super::{CommandError, CommandOutcome, Selection, SpoolListing};

/// For sorting; what does not fit goes to a temporary file.
const MEMORY: usize = 128 << 20;

#[derive(clap::Args)]
pub(in super::super) struct ExportArguments {
    #[command(flatten)]
    wanted: Selection,
    /// Write there instead of to standard output; an existing file is not replaced
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) async fn run(
    arguments: &ExportArguments,
    config: Option<&str>,
    json: bool,
) -> Result<CommandOutcome, CommandError> {
    if json && arguments.output.is_none() {
        return Err(CommandError::Usage("--json tells of the export, and standard output is taken by the data: name a file with --output".to_owned()));
    }
    let spool = SpoolListing::list(&arguments.wanted, config).await?;
    if spool.objects.is_empty() {
        eprintln!("{}", spool.nothing().await?);
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
            Ok(Ok(segment)) => add(&mut export, &segment)?,
            Ok(Err(error)) => vec![error.to_string()],
            // Delivered meanwhile.
            Err(error) if error.kind == Kind::NotFound => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        for error in added {
            bar.suspend(|| eprintln!("left out: {}: {error}", plain(&found.key)));
            left.push(json!({"key": found.key, "error": error}));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();

    let written = match (out, &arguments.output) {
        (Some(file), Some(path)) => export
            .finish(&mut BufWriter::new(file))
            .map_err(|error| unwritable(path, &error))?,
        _ => export.finish(&mut BufWriter::new(std::io::stdout().lock()))?,
    };
    if json {
        println!(
            "{}",
            json!({"samples": written.samples, "series": written.series, "left_out": written.left_out, "damaged": left})
        );
    } else {
        eprintln!("{}", told(&written));
    }
    std::io::stdout().flush()?;
    Ok(if left.is_empty() {
        CommandOutcome::Success
    } else {
        CommandOutcome::Failure
    })
}

/// What of a segment cannot be decoded is told, and the rest is exported.
fn add(export: &mut Export, segment: &Segment) -> Result<Vec<String>, CommandError> {
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

fn told(written: &Written) -> String {
    let LeftOut {
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
    let told = format!(
        "exported {} of {} series",
        many(written.samples, "sample"),
        written.series
    );
    if left_out.is_empty() {
        told
    } else {
        format!("{told}; left out: {}", left_out.join(", "))
    }
}
