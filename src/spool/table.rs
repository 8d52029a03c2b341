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
    /// The object is larger than the part of the memory that a table may take.
    #[error("spool: {key} has {size} bytes, and {most} are the most that memory has room for")]
    TooLarge {
        /// Key of the object.
        key: String,
        /// Its size in bytes.
        size: u64,
        /// The bound.
        most: u64,
    },
}

fn prefix(remote: &RemoteDir) -> String {
    format!("{FOLDER}/{remote}/")
}

fn key(remote: &RemoteDir, table: &TimestampTable) -> String {
    let TimestampTable { epoch, number, .. } = table;
    format!("{}{epoch:010}-{number:04}.last", prefix(remote))
}

/// Whether the end of a key is a name that [`key`] makes.
fn is_name(file: &str) -> bool {
    let digits = |text: &str, least: usize| {
        text.len() >= least && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    file.strip_suffix(".last")
        .and_then(|numbers| numbers.split_once('-'))
        .is_some_and(|(epoch, number)| digits(epoch, 10) && digits(number, 4))
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

/// Reads a table of at most `most` bytes. When it is decoded it takes two and a half times as many.
///
/// # Errors
/// [`TableError`]. Without a table a read takes only what is above the watermark of a series that
/// it does not know.
pub async fn read(
    access: &StoreAccess,
    remote: &RemoteDir,
    table: &TimestampTable,
    most: usize,
) -> Result<LastTimestamps, TableError> {
    let (key, most) = (key(remote, table), most as u64);
    let object = fetch(&*access.store, &key, most, access.work_ends()).await?;
    if !object.is_whole() {
        let size = object.size;
        return Err(TableError::TooLarge { key, size, most });
    }
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

/// Deletes the tables of a remote that killed ticks have left behind: all but the named one. What
/// does not have the name of a table was put there by somebody else, and stays.
pub async fn sweep(access: &StoreAccess, remote: &RemoteDir, named: Option<&TimestampTable>) {
    let kept = named.map(|table| key(remote, table));
    let prefix = prefix(remote);
    let Ok(listed) = list_all(&*access.store, &prefix, access.optional_call_ends()).await else {
        return;
    };
    for object in listed {
        let is_table = object.key.strip_prefix(&prefix).is_some_and(is_name);
        if !is_table || Some(&object.key) == kept.as_ref() {
            continue;
        }
        if let Err(error) = erase(&*access.store, &object.key, access.optional_call_ends()).await {
            tracing::debug!("{error}: {} stays", object.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::series::LastTimestamp;
    use crate::spool::store::FailureKind;
    use crate::spool::store::memory::{MemoryStore, StoreFault};
    use crate::time::{Deadlines, TokioClock};

    fn world() -> (MemoryStore, StoreAccess, RemoteDir) {
        let store = MemoryStore::new(Arc::new(TokioClock::starting_at(0)));
        let now = Instant::now();
        let kill = Some(now + Duration::from_secs(60));
        let access = StoreAccess {
            store: Arc::new(store.clone()),
            epoch: 2,
            deadlines: Deadlines::new(now, kill, Duration::from_secs(5)),
            unclean: true,
            long_peek: Arc::default(),
        };
        (store, access, RemoteDir::new("amp"))
    }

    fn named(number: u32) -> TimestampTable {
        TimestampTable {
            epoch: 1,
            number,
            series: 100,
        }
    }

    fn of_series(series: u64) -> LastTimestamps {
        let last = |labels_hash| LastTimestamp {
            labels_hash,
            last_ms: 7,
        };
        (0..series).map(last).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_that_would_fill_memory_is_not_read() {
        let (_, access, amp) = world();
        let table = of_series(100);
        let bytes = Bytes::from(table.encode());
        let size = bytes.len();
        write(&access, &amp, &named(1), bytes).await.unwrap();
        assert_eq!(read(&access, &amp, &named(1), size).await, Ok(table));
        let error = read(&access, &amp, &named(1), size - 1).await.unwrap_err();
        assert!(
            matches!(error, TableError::TooLarge { most, .. } if most as usize == size - 1),
            "{error}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_somebody_else_put_beside_the_tables_stays() {
        let (store, access, amp) = world();
        for file in [
            "0000000001-0001.last",
            "0000000001-0002.last",
            "0000000001-12345.last",
        ] {
            store.plant(&format!("reads/amp/{file}"), Bytes::new());
        }
        let strangers = [
            "reads/amp/../../state.json",
            "reads/amp/0000000001-0001.last.bak",
            "reads/amp/1-0001.last",
            "reads/amp/below/0000000001-0001.last",
            "reads/amp/notes.last",
            "reads/amp2/0000000001-0001.last",
        ];
        for stranger in strangers {
            store.plant(stranger, Bytes::from_static(b"mine"));
        }
        sweep(&access, &amp, Some(&named(2))).await;
        let mut left = [&strangers[..], &["reads/amp/0000000001-0002.last"]].concat();
        left.sort_unstable();
        assert_eq!(store.keys(), left);
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_that_the_store_refuses_is_an_error_of_that_table() {
        let (store, access, amp) = world();
        store.set_faults(|_, _, _| StoreFault {
            refuse: Some(FailureKind::Denied),
            ..StoreFault::default()
        });
        let error = read(&access, &amp, &named(1), 100).await.unwrap_err();
        assert!(matches!(error, TableError::Store(_)), "{error}");
        sweep(&access, &amp, None).await;
    }
}
