//! `forwardctl spool`

mod drain;
mod export;
mod ls;
mod show;
mod verify;

use std::collections::BTreeSet;
use std::sync::Arc;

use amp_forwarder::config::Config;
use amp_forwarder::setup;
use amp_forwarder::spool::inspect::{self, Filter, Found};
use amp_forwarder::spool::name::{Folder, RemoteDir};
use amp_forwarder::spool::store::Store;
use clap::Subcommand;

use super::format::plain;
use super::{CommandError, CommandOutcome, load};

#[derive(Subcommand)]
pub(super) enum SpoolCommand {
    /// List what is in the spool, by folder and remote
    Ls(ls::LsArguments),
    /// Show what one object holds
    Show(show::ShowArguments),
    /// Read every object and check its checksums; exit 1 when one is damaged
    Verify(Selection),
    /// Write samples as OpenMetrics, for `promtool tsdb create-blocks-from openmetrics`
    Export(export::ExportArguments),
    /// Send what is owed, until nothing is or it does not get less
    Drain,
}

/// Which objects.
#[derive(clap::Args)]
pub(super) struct Selection {
    /// Only this folder
    #[arg(long, value_enum)]
    folder: Option<FolderArgument>,
    /// Only this remote: its name in the configuration, or its folder
    #[arg(long)]
    remote: Option<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum FolderArgument {
    Segments,
    Rejected,
    Expired,
}

impl From<FolderArgument> for Folder {
    fn from(name: FolderArgument) -> Self {
        match name {
            FolderArgument::Segments => Self::Segments,
            FolderArgument::Rejected => Self::Rejected,
            FolderArgument::Expired => Self::Expired,
        }
    }
}

pub(super) async fn run(
    command: &SpoolCommand,
    config: Option<&str>,
    json: bool,
) -> Result<CommandOutcome, CommandError> {
    match command {
        SpoolCommand::Ls(arguments) => ls::run(arguments, config, json).await,
        SpoolCommand::Show(arguments) => show::run(arguments, config, json).await,
        SpoolCommand::Verify(wanted) => verify::run(wanted, config, json).await,
        SpoolCommand::Export(arguments) => export::run(arguments, config, json).await,
        SpoolCommand::Drain => drain::run(config, json).await,
    }
}

/// A spool that was listed.
struct SpoolListing {
    store: Arc<dyn Store>,
    objects: Vec<Found>,
}

impl SpoolListing {
    async fn list(wanted: &Selection, config: Option<&str>) -> Result<Self, CommandError> {
        let config = load(config).await?.config;
        let store = setup::store(&config).await?;
        let folder = wanted.folder.map(Folder::from);
        let mut objects = inspect::list(
            &*store,
            &Filter {
                folder,
                remote: None,
            },
        )
        .await?;
        if let Some(remote) = &wanted.remote {
            let remote = find(remote, &config, &objects)?;
            objects.retain(|object| object.remote == remote);
        }
        Ok(Self { store, objects })
    }

    /// What to say when there is nothing.
    async fn nothing(&self) -> Result<String, CommandError> {
        let address = self.store.address();
        // A state that is not usable is a state nevertheless.
        let unused =
            matches!(inspect::state(&*self.store).await, Ok(looked) if looked.state.is_none());
        Ok(if unused {
            format!("{address}: there is no spool yet; the first tick makes it")
        } else {
            format!("{address}: nothing of that in the spool")
        })
    }
}

/// A remote by its name, or by the name of its folder.
fn find(wanted: &str, config: &Config, objects: &[Found]) -> Result<RemoteDir, CommandError> {
    let configured = config
        .remote_write
        .iter()
        .map(|entry| RemoteDir::new(&entry.id()));
    let known: BTreeSet<_> = configured
        .chain(objects.iter().map(|object| object.remote.clone()))
        .collect();
    let found = [RemoteDir::new(wanted), RemoteDir::found(wanted)]
        .into_iter()
        .find(|remote| known.contains(remote));
    found.ok_or_else(|| {
        let known: Vec<_> = known.iter().map(|remote| plain(remote.as_str())).collect();
        CommandError::Usage(format!(
            "unknown remote {wanted}; configuration and spool have: {}",
            known.join(", ")
        ))
    })
}
