//! `forwardctl spool adopt`: the backlog of a remote that the configuration no longer names goes to
//! one that it names.

use std::sync::Arc;

use amp_forwarder::config::{Config, SpoolUrl};
use amp_forwarder::report::plain_line;
use amp_forwarder::setup;
use amp_forwarder::spool::adopt::{Adopted, Adoption};
use amp_forwarder::spool::inspect::{self, Filter};
use amp_forwarder::spool::name::{Folder, RemoteDir};
use amp_forwarder::spool::outbox::SpoolLimits;
use amp_forwarder::spool::store::{self, Store};
use amp_forwarder::time::SystemClock;
use serde_json::json;

use super::super::format::many;
use crate::load::load;
use crate::outcome::{CommandError, CommandOutcome};
use crate::terminal::{say, say_json};

#[derive(clap::Args)]
pub(in super::super) struct AdoptArguments {
    /// Folder of the remote in the spool, as `forwardctl spool ls` shows it
    remote: String,
    /// The remote that gets the backlog, by its name; needed when there are several
    #[arg(long, value_name = "REMOTE")]
    to: Option<String>,
    /// The spool that holds the backlog, if `forwarder.spool.url` was changed
    #[arg(long, value_name = "URL")]
    from: Option<String>,
}

pub(super) async fn run(
    arguments: &AdoptArguments,
    config: Option<&str>,
    json: bool,
) -> Result<CommandOutcome, CommandError> {
    let config = load(config).await?.config;
    let elsewhere = match &arguments.from {
        None => None,
        Some(url) => {
            let url =
                SpoolUrl::parse(url).map_err(|error| CommandError::Usage(error.to_string()))?;
            Some(store::open(&url, config.role_arn.as_deref()).await)
        }
    };
    let store = setup::store(&config).await?;
    let to = owner(&config, arguments.to.as_deref())?;
    let place = elsewhere.as_ref().unwrap_or(&store);
    let from = backlog(place, &arguments.remote).await?;
    let is_named = config
        .remote_write
        .iter()
        .any(|entry| RemoteDir::new(&entry.id()) == from);
    if is_named && elsewhere.is_none() {
        return Err(CommandError::Usage(format!(
            "the configuration names {from}: its backlog is sent by the next tick"
        )));
    }
    let adoption = Adoption {
        store,
        elsewhere,
        from,
        to,
        limits: SpoolLimits::from(&config.forwarder.spool),
        clock: Arc::new(SystemClock),
    };
    let Adopted { samples, left } = adoption
        .run()
        .await
        .map_err(|error| CommandError::Failed(error.to_string()))?;
    let (from, to) = (&adoption.from, &adoption.to);
    if json {
        say_json(json!({"from": from, "to": to, "samples": samples, "left": left}));
    } else {
        let moved = many(samples, "sample");
        let left = match left {
            0 => "the next tick sends them".to_owned(),
            left => format!("{} left: run it again", many(left, "sample")),
        };
        say(format!("{moved} of {from} are owed to {to} now; {left}"));
    }
    Ok(if left == 0 {
        CommandOutcome::Success
    } else {
        CommandOutcome::Failure
    })
}

/// The remote that gets the backlog.
fn owner(config: &Config, wanted: Option<&str>) -> Result<RemoteDir, CommandError> {
    let found = match (wanted, config.remote_write.as_slice()) {
        (None, [only]) => Some(only),
        (None, _) => None,
        (Some(wanted), entries) => entries
            .iter()
            .find(|entry| entry.label == wanted || entry.id() == wanted),
    };
    found
        .map(|entry| RemoteDir::new(&entry.id()))
        .ok_or_else(|| {
            let labels: Vec<_> = config
                .remote_write
                .iter()
                .map(|entry| entry.label.as_str())
                .collect();
            CommandError::Usage(format!(
                "say which remote gets the backlog with --to; the configuration has: {}",
                plain_line(&labels.join(", "))
            ))
        })
}

/// The folder of a remote that has segments in the spool.
async fn backlog(store: &Arc<dyn Store>, wanted: &str) -> Result<RemoteDir, CommandError> {
    let filter = Filter {
        folder: Some(Folder::Segments),
        remote: None,
    };
    let objects = inspect::list(&**store, &filter).await?;
    let found = [RemoteDir::found(wanted), Some(RemoteDir::new(wanted))]
        .into_iter()
        .flatten()
        .find(|remote| objects.iter().any(|object| object.remote == *remote));
    found.ok_or_else(|| {
        CommandError::Failed(format!(
            "{}: there is no backlog of {}",
            store.address(),
            plain_line(wanted)
        ))
    })
}
