//! The tables of last timestamps: objects of the spool, one for each remote, named by `state.json`.
//!
//! A table belongs to the watermarks of the reads: it says which samples behind a watermark were
//! sent, so that a cold process reads the overlap as a warm one does. It is written under a name
//! that nobody used before, then `state.json` names it, and only then the one before is deleted. So
//! a kill at any point leaves a state that names a whole table.

use bytes::Bytes;

use super::access::StoreAccess;
use super::name::RemoteDir;
use super::retry::{erase, fetch, list_all, persist};
use super::state::TimestampTable;
use super::store::StoreError;
use crate::series::{LastTimestamps, LastTimestampsError};

/// Largest table that is read, in bytes: of five million series.
const MAX_TABLE: u64 = 64 << 20;

/// Folder of the tables of all remotes.
const FOLDER: &str = "reads";

/// Why a table could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The store is down, or the table is gone.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The object is not a table.
    #[error("spool: {key} cannot be used: {cause}")]
    Malformed {
        /// Key of the object.
        key: String,
        /// What is wrong with it.
        cause: LastTimestampsError,
    },
}

fn key(remote: &RemoteDir, table: &TimestampTable) -> String {
    format!(
        "{FOLDER}/{remote}/{:010}-{:04}.last",
        table.epoch, table.number
    )
}

/// Writes a table under a new name.
///
/// # Errors
/// The store is down or refused.
pub async fn write(
    access: &StoreAccess,
    remote: &RemoteDir,
    table: &TimestampTable,
    bytes: Bytes,
) -> Result<(), StoreError> {
    persist(&*access.store, &key(remote, table), bytes, access.fence()).await
}

/// Reads a table.
///
/// # Errors
/// [`TableError`]. Without a table a read takes only what is above the watermark of a series that
/// it does not know.
pub async fn read(
    access: &StoreAccess,
    remote: &RemoteDir,
    table: &TimestampTable,
) -> Result<LastTimestamps, TableError> {
    let key = key(remote, table);
    let object = fetch(&*access.store, &key, MAX_TABLE, access.work_ends()).await?;
    LastTimestamps::decode(&object.bytes).map_err(|cause| TableError::Malformed { key, cause })
}

/// Deletes a table that the state no longer names. One that stays takes a little room and does no
/// other harm, so a failure is only logged.
pub async fn remove(access: &StoreAccess, remote: &RemoteDir, table: &TimestampTable) {
    let key = key(remote, table);
    if let Err(error) = erase(&*access.store, &key, access.optional_call_ends()).await {
        tracing::debug!("{error}: {key} stays");
    }
}

/// Deletes the tables of a remote that killed ticks have left behind: all but the named one.
pub async fn sweep(access: &StoreAccess, remote: &RemoteDir, named: Option<&TimestampTable>) {
    let kept = named.map(|table| key(remote, table));
    let prefix = format!("{FOLDER}/{remote}/");
    let Ok(listed) = list_all(&*access.store, &prefix, access.optional_call_ends()).await else {
        return;
    };
    for object in listed {
        if Some(&object.key) == kept.as_ref() {
            continue;
        }
        if let Err(error) = erase(&*access.store, &object.key, access.optional_call_ends()).await {
            tracing::debug!("{error}: {} stays", object.key);
        }
    }
}
