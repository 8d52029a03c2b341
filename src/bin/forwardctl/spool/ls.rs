//! `forwardctl spool ls`: what is in the spool, by folder and remote.

use amp_forwarder::spool::inspect::{FolderSum, IndexedObject, heaps, peek_all};
use serde_json::{Value, json};

use super::super::format::{age, bar, count, many, size, table};
use super::listing::{Selection, SpoolListing};
use crate::outcome::{CommandError, CommandOutcome};
use crate::terminal::{say, say_json, say_text};

#[derive(clap::Args)]
pub(in super::super) struct LsArguments {
    #[command(flatten)]
    selection: Selection,
    /// List each object, too, with the key that `spool show` takes
    #[arg(long, short)]
    long: bool,
}

pub(super) async fn run(
    arguments: &LsArguments,
    config: Option<&str>,
    json: bool,
) -> Result<CommandOutcome, CommandError> {
    let mut spool = SpoolListing::list(&arguments.selection, config).await?;
    let bar = bar(spool.objects.len() as u64, "objects", json);
    let peeked = peek_all(&*spool.store, std::mem::take(&mut spool.objects), || {
        bar.inc(1);
    })
    .await?;
    bar.finish_and_clear();
    let heaps = heaps(&peeked);
    if json {
        let mut listing = json!({"address": spool.store.address(), "remotes": heaps});
        if arguments.long {
            listing["objects"] = peeked.iter().map(object).collect();
        }
        say_json(listing);
        return Ok(CommandOutcome::Success);
    }
    if peeked.is_empty() {
        say(spool.empty_message().await?);
        return Ok(CommandOutcome::Success);
    }
    if arguments.long {
        say(objects(&peeked));
    }
    say_text(&summary(&heaps));
    let unreadable = heaps.iter().map(|heap| heap.unreadable).sum();
    if unreadable > 0 {
        say(format!(
            "{} cannot be read: `forwardctl spool verify` shows why",
            many(unreadable, "object")
        ));
    }
    Ok(CommandOutcome::Success)
}

/// One object as JSON.
fn object(peeked: &IndexedObject) -> Value {
    let found = &peeked.found;
    let mut out = json!({
        "key": found.key,
        "folder": found.folder,
        "remote": found.remote,
        "bytes": found.bytes,
    });
    match &peeked.sums {
        Ok(sums) => {
            out["batches"] = sums.batches.into();
            out["samples"] = sums.samples.into();
            out["oldest_ms"] = sums.times.map(|(oldest, _)| oldest).into();
            out["newest_ms"] = sums.times.map(|(_, newest)| newest).into();
        }
        Err(error) => out["error"] = error.to_string().into(),
    }
    out
}

fn row(cells: [&str; 6]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn summary(heaps: &[FolderSum]) -> String {
    let mut rows = vec![
        [
            "FOLDER", "REMOTE", "OBJECTS", "SAMPLES", "SIZE", "OLDEST", "NEWEST",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    rows.extend(heaps.iter().map(|heap| {
        let (folder, remote) = (heap.folder.to_string(), heap.remote.to_string());
        vec![
            folder,
            remote,
            count(heap.objects),
            count(heap.samples),
            size(heap.bytes),
            age(heap.oldest_ms),
            age(heap.newest_ms),
        ]
    }));
    table(&rows)
}

fn objects(peeked: &[IndexedObject]) -> String {
    let mut rows = vec![row([
        "KEY", "BATCHES", "SAMPLES", "SIZE", "OLDEST", "NEWEST",
    ])];
    rows.extend(peeked.iter().map(|object| {
        let (key, size) = (object.found.key.clone(), size(object.found.bytes));
        match &object.sums {
            Ok(sums) => {
                let (oldest, newest) = sums.times.unzip();
                vec![
                    key,
                    count(sums.batches),
                    count(sums.samples),
                    size,
                    age(oldest),
                    age(newest),
                ]
            }
            Err(_) => row([&key, "?", "?", &size, "?", "?"]),
        }
    }));
    table(&rows)
}
