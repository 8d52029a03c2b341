//! The objects of the spool that a command works on.

use std::collections::BTreeSet;
use std::sync::Arc;

use amp_forwarder::config::Config;
use amp_forwarder::report::plain_line;
use amp_forwarder::setup;
use amp_forwarder::spool::inspect::{self, Filter, SpoolObject};
use amp_forwarder::spool::name::{Folder, RemoteDir};
use amp_forwarder::spool::store::Store;

use crate::load::load;
use crate::outcome::CommandError;

/// Selects objects of the spool.
#[derive(clap::Args)]
pub(in super::super) struct Selection {
    /// Select only this folder
    #[arg(long, value_enum)]
    pub(super) folder: Option<FolderArgument>,
    /// Select only this remote, by its name in the configuration or its folder
    #[arg(long)]
    pub(super) remote: Option<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub(in super::super) enum FolderArgument {
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

/// The spool, and those of its objects that a command works on.
pub(super) struct SpoolListing {
    pub(super) store: Arc<dyn Store>,
    pub(super) objects: Vec<SpoolObject>,
}

impl SpoolListing {
    pub(super) async fn list(
        selection: &Selection,
        config: Option<&str>,
    ) -> Result<Self, CommandError> {
        let config = load(config).await?.config;
        let store = setup::store(&config).await?;
        let folder = selection.folder.map(Folder::from);
        let mut objects = inspect::list(
            &*store,
            &Filter {
                folder,
                remote: None,
            },
        )
        .await?;
        if let Some(remote) = &selection.remote {
            let remote = find_remote(remote, &config, &objects)?;
            objects.retain(|object| object.remote == remote);
        }
        Ok(Self { store, objects })
    }

    /// The message for an empty listing: there is no spool, or the selection matches nothing.
    pub(super) async fn empty_message(&self) -> Result<String, CommandError> {
        let address = self.store.address();
        // A state that cannot be read shows that the spool was used.
        let unused =
            matches!(inspect::state(&*self.store).await, Ok(looked) if looked.state.is_none());
        Ok(if unused {
            format!("{address}: there is no spool yet; the first tick creates it")
        } else {
            format!("{address}: nothing is there")
        })
    }
}

/// Finds a remote by its name in the configuration, or by the name of its folder.
fn find_remote(
    wanted: &str,
    config: &Config,
    objects: &[SpoolObject],
) -> Result<RemoteDir, CommandError> {
    let configured = config
        .remote_write
        .iter()
        .map(|entry| RemoteDir::new(&entry.id()));
    let known: BTreeSet<_> = configured
        .chain(objects.iter().map(|object| object.remote.clone()))
        .collect();
    let labelled = config
        .remote_write
        .iter()
        .find(|entry| entry.label == wanted)
        .map(|entry| RemoteDir::new(&entry.id()));
    let found = [
        labelled,
        Some(RemoteDir::new(wanted)),
        RemoteDir::found(wanted),
    ]
    .into_iter()
    .flatten()
    .find(|remote| known.contains(remote));
    found.ok_or_else(|| {
        let known: Vec<_> = known.iter().map(RemoteDir::to_string).collect();
        CommandError::Usage(format!(
            "unknown remote {}; the configuration and the spool have: {}",
            plain_line(wanted),
            known.join(", ")
        ))
    })
}
