//! `forwardctl spool show`: the batches of one object.

use amp_forwarder::batch::Batch;
use amp_forwarder::report::plain_line;
use amp_forwarder::spool::inspect::{self, SpoolObject};
use amp_forwarder::spool::segment::Segment;
use serde_json::json;

use super::super::format::{age, count, many, size, table, time};
use super::listing::{Selection, SpoolListing};
use crate::outcome::{CommandError, CommandOutcome};
use crate::terminal::{say_json, say_text};

#[derive(clap::Args)]
pub(in super::super) struct ShowArguments {
    /// Show the object with this key, as `spool ls --long` prints it, or with this last part of a
    /// key
    name: String,
}

pub(super) async fn run(
    arguments: &ShowArguments,
    config: Option<&str>,
    json: bool,
) -> Result<CommandOutcome, CommandError> {
    let everything = Selection {
        folder: None,
        remote: None,
    };
    let spool = SpoolListing::list(&everything, config).await?;
    let found = find_object(&spool, &arguments.name)?;
    match inspect::read(&*spool.store, &found.key).await? {
        Ok(segment) if json => say_json(segment_json(found, &segment)),
        Ok(segment) => say_text(&readable(found, &segment)),
        Err(error) if json => {
            say_json(json!({
                "key": found.key,
                "folder": found.folder,
                "remote": found.remote,
                "bytes": found.bytes,
                "error": error.to_string(),
            }));
            return Ok(CommandOutcome::Failure);
        }
        Err(error) => {
            return Err(CommandError::Failed(format!(
                "spool: {}: {error}",
                plain_line(&found.key)
            )));
        }
    }
    Ok(CommandOutcome::Success)
}

/// Finds the one object whose key, or the end of whose key, is `name`.
fn find_object<'a>(spool: &'a SpoolListing, name: &str) -> Result<&'a SpoolObject, CommandError> {
    let address = spool.store.address();
    let wanted = name
        .strip_prefix(address)
        .unwrap_or(name)
        .trim_start_matches('/');
    let ending = format!("/{wanted}");
    let matching: Vec<_> = spool
        .objects
        .iter()
        .filter(|object| object.key == wanted || object.key.ends_with(&ending))
        .collect();
    match matching.as_slice() {
        [found] => Ok(*found),
        [] => Err(CommandError::Usage(format!(
            "{address} has no object {}; `forwardctl spool ls --long` lists them",
            plain_line(wanted)
        ))),
        several => {
            let keys: Vec<_> = several
                .iter()
                .map(|object| plain_line(&object.key))
                .collect();
            Err(CommandError::Usage(format!(
                "{} matches more than one object: {}",
                plain_line(wanted),
                keys.join(", ")
            )))
        }
    }
}

fn samples(batches: &[Batch]) -> u64 {
    batches.iter().map(|batch| u64::from(batch.samples)).sum()
}

/// The segment as JSON.
fn segment_json(found: &SpoolObject, segment: &Segment) -> serde_json::Value {
    let batch = |(place, batch): (usize, &Batch)| {
        json!({
            "place": place,
            "samples": batch.samples,
            "bytes": batch.body.len(),
            "uncompressed_bytes": batch.raw_len,
            "oldest_ms": batch.min_ms,
            "newest_ms": batch.max_ms,
        })
    };
    let name = found.name();
    json!({
        "key": found.key,
        "folder": found.folder,
        "remote": found.remote,
        "bytes": found.bytes,
        "epoch": name.map(|name| name.epoch()),
        "scrape": name.map(|name| name.scrape()),
        "part": name.map(|name| name.part()),
        "samples": samples(&segment.batches),
        "batches": segment.batches.iter().enumerate().map(batch).collect::<Vec<_>>(),
        "note": segment.note.as_ref().map(|note| {
            json!({"status": note.status, "message": note.message})
        }),
    })
}

/// The segment as text for people.
fn readable(found: &SpoolObject, segment: &Segment) -> String {
    let mut text = format!(
        "{}: {}, {}\n",
        plain_line(&found.key),
        many(samples(&segment.batches), "sample"),
        size(found.bytes)
    );
    if let Some(name) = found.name() {
        text.push_str(&format!(
            "part {} of scrape {} of epoch {}\n",
            name.part(),
            name.scrape(),
            name.epoch()
        ));
    }
    if let Some(note) = &segment.note {
        text.push_str(&format!(
            "refused with {}: {}\n",
            note.status,
            plain_line(note.message.trim_end())
        ));
    }
    let mut rows = vec![
        [
            "BATCH",
            "SAMPLES",
            "SIZE",
            "UNCOMPRESSED",
            "OLDEST",
            "NEWEST",
            "AGE",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    rows.extend(segment.batches.iter().enumerate().map(|(place, batch)| {
        let (body, raw) = (
            size(batch.body.len() as u64),
            size(u64::from(batch.raw_len)),
        );
        let samples = count(u64::from(batch.samples));
        vec![
            place.to_string(),
            samples,
            body,
            raw,
            time(batch.min_ms),
            time(batch.max_ms),
            age(Some(batch.min_ms)),
        ]
    }));
    format!("{text}\n{}", table(&rows))
}
