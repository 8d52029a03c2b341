//! `forwardctl spool verify`: reads every object and checks its checksums.

use amp_forwarder::report::plain_line;
use amp_forwarder::spool::inspect;
use amp_forwarder::spool::store::FailureKind;
use serde_json::json;

use super::super::format::{bar, many, size};
use super::listing::{Selection, SpoolListing};
use crate::outcome::{CommandError, CommandOutcome};
use crate::terminal::{say, say_json};

pub(super) async fn run(
    selection: &Selection,
    config: Option<&str>,
    json: bool,
) -> Result<CommandOutcome, CommandError> {
    let spool = SpoolListing::list(selection, config).await?;
    if spool.objects.is_empty() && !json {
        say(spool.empty_message().await?);
        return Ok(CommandOutcome::Success);
    }
    let bar = bar(spool.objects.len() as u64, "objects", json);
    let (mut objects, mut bytes, mut damaged) = (0, 0, Vec::new());
    for found in &spool.objects {
        match inspect::read(&*spool.store, &found.key).await {
            Ok(read) => {
                objects += 1;
                bytes += found.bytes;
                if let Err(error) = read {
                    if !json {
                        let line = format!("{}: {error}", found.key);
                        bar.suspend(|| say(plain_line(&line)));
                    }
                    damaged.push(
                        json!({"key": found.key, "bytes": found.bytes, "error": error.to_string()}),
                    );
                }
            }
            // The object was delivered and deleted since it was listed.
            Err(error) if error.kind == FailureKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let end = if damaged.is_empty() {
        CommandOutcome::Success
    } else {
        CommandOutcome::Failure
    };
    if json {
        say_json(json!({
            "address": spool.store.address(),
            "objects": objects,
            "bytes": bytes,
            "damaged": damaged,
        }));
    } else if damaged.is_empty() {
        say(format!(
            "every checksum holds: {}, {}",
            many(objects, "object"),
            size(bytes)
        ));
    } else {
        say(format!(
            "{} of {} cannot be read",
            damaged.len(),
            many(objects, "object")
        ));
    }
    Ok(end)
}
