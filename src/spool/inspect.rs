//! Looking into a spool without the lease. Nothing here writes, and the holder of the lease goes on
//! meanwhile: what was listed may be gone when it is read.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;
use tokio::time::Instant;

use super::lease::LookError;
use super::name::{Folder, RemoteDir, SegmentName};
use super::retry::{LongPeek, MAX_OBJECT, Pause, fetch, list_all, peek, try_ends};
use super::segment::{self, IndexEntry, Segment, SegmentError};
use super::state::{KEY, MAX_BYTES, SpoolState, StateError};
use super::store::{FailureKind, NOT_A_FILE, Store, StoreAnswer, StoreError, StoreTime};

/// How long a call is repeated while its failures may pass.
const PATIENCE: Duration = Duration::from_secs(30);

/// Objects that are looked into at once.
const PEEKS: usize = 16;

fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// `state.json`, and the time of the store when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateSnapshot {
    /// The state; `None` when nothing has used the spool yet.
    pub state: Option<SpoolState>,
    /// The store's time; `None` when the store did not say.
    pub time: Option<StoreTime>,
}

/// Reads the state.
///
/// # Errors
/// The store is down, or `state.json` is not usable.
pub async fn state(store: &dyn Store) -> Result<StateSnapshot, LookError> {
    let deadline = deadline();
    let mut pause = Pause::default();
    loop {
        match store.get(KEY, MAX_BYTES, try_ends(deadline)).await {
            Ok(StoreAnswer {
                value: object,
                time,
            }) if object.is_whole() => {
                return Ok(StateSnapshot {
                    state: Some(SpoolState::read(&object.bytes)?),
                    time: Some(time),
                });
            }
            Ok(StoreAnswer { value: object, .. }) => {
                return Err(StateError::Malformed(format!("it has {} bytes", object.size)).into());
            }
            Err(error) if error.kind == FailureKind::NotFound => {
                return Ok(StateSnapshot {
                    state: None,
                    time: error.time,
                });
            }
            Err(error) if error.kind.is_passing() && pause.pause(deadline).await => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// An object in one of the folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolObject {
    /// Key of the object, relative to the spool.
    pub key: String,
    /// Folder that it is in.
    pub folder: Folder,
    /// Remote that it belongs to; [`RemoteDir::nobody`] if it is in no remote's folder.
    pub remote: RemoteDir,
    /// Size of the object in bytes; 0 for something in a directory that is no file.
    pub bytes: u64,
}

/// Why an object is not a segment that can be read. Other objects can be read nevertheless.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableObject {
    /// Its bytes are no segment of this version.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The store refuses it for good: permissions, a key of an encryption, a link.
    #[error(transparent)]
    Denied(StoreError),
}

/// Selects objects.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Folder to look into; `None` for all.
    pub folder: Option<Folder>,
    /// Remote to look at; `None` for all.
    pub remote: Option<RemoteDir>,
}

/// Lists the objects of the folders, in the order of the queue. Objects without a name of ours are
/// listed as well: the next tick moves them out of the way.
///
/// # Errors
/// The store is down.
pub async fn list(store: &dyn Store, filter: &Filter) -> Result<Vec<SpoolObject>, StoreError> {
    let mut all = Vec::new();
    for folder in Folder::ALL
        .into_iter()
        .filter(|folder| filter.folder.is_none_or(|wanted| wanted == *folder))
    {
        let prefix = filter
            .remote
            .as_ref()
            .map_or_else(|| folder.prefix(), |remote| remote.prefix(folder));
        for listed in list_all(store, &prefix, deadline()).await? {
            let rest = listed
                .key
                .strip_prefix(&folder.prefix())
                .unwrap_or_default();
            let remote = rest
                .split_once('/')
                .and_then(|(remote, _)| RemoteDir::found(remote));
            all.push(SpoolObject {
                folder,
                remote: remote.unwrap_or_else(RemoteDir::nobody),
                bytes: if listed.size == NOT_A_FILE {
                    0
                } else {
                    listed.size
                },
                key: listed.key,
            });
        }
    }
    Ok(all)
}

impl SpoolObject {
    /// The segment's place in the order of its remote, if it bears the name of one.
    #[must_use]
    pub fn name(&self) -> Option<SegmentName> {
        SegmentName::parse(self.key.rsplit('/').next()?)
    }
}

/// Reads a whole object and checks every byte of it.
///
/// # Errors
/// The store is down, or the object is gone by now ([`FailureKind::NotFound`]). The inner error
/// says that it is not a segment that can be read.
pub async fn read(
    store: &dyn Store,
    key: &str,
) -> Result<Result<Segment, UnreadableObject>, StoreError> {
    match fetch(store, key, MAX_OBJECT, deadline()).await {
        Ok(object) => Ok(segment::read(&object.bytes).map_err(UnreadableObject::from)),
        Err(error) => unreadable(error).map(Err),
    }
}

/// An error that concerns one object only. Any other one is an error of the store.
fn unreadable(error: StoreError) -> Result<UnreadableObject, StoreError> {
    if error.kind == FailureKind::Denied {
        Ok(UnreadableObject::Denied(error))
    } else {
        Err(error)
    }
}

/// An object with what its index says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedObject {
    /// Which.
    pub found: SpoolObject,
    /// Sums of its batches, or why it cannot be read.
    pub sums: Result<IndexSums, UnreadableObject>,
}

/// Sums of the index of an object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IndexSums {
    /// Number of batches.
    pub batches: u64,
    /// Number of samples in all batches, answered or not.
    pub samples: u64,
    /// Oldest and newest timestamp, milliseconds since 1970; `None` without batches.
    pub times: Option<(i64, i64)>,
}

impl From<Vec<IndexEntry>> for IndexSums {
    fn from(entries: Vec<IndexEntry>) -> Self {
        let oldest = entries.iter().map(|entry| entry.min_ms).min();
        let newest = entries.iter().map(|entry| entry.max_ms).max();
        Self {
            batches: entries.len() as u64,
            samples: entries.iter().map(|entry| u64::from(entry.samples)).sum(),
            times: oldest.zip(newest),
        }
    }
}

/// Reads the indexes of these objects, several at once, and calls `seen` for each. Objects that are
/// gone by now are left out.
///
/// # Errors
/// The store is down.
pub async fn peek_all(
    store: &dyn Store,
    objects: Vec<SpoolObject>,
    seen: impl Fn(),
) -> Result<Vec<IndexedObject>, StoreError> {
    let long = &LongPeek::default();
    let mut peeks = stream::iter(objects)
        .map(|found| async move { (peek(store, &found.key, long, deadline()).await, found) })
        .buffered(PEEKS);
    let mut all = Vec::new();
    while let Some((peeked, found)) = peeks.next().await {
        seen();
        match peeked {
            Ok(peeked) => all.push(IndexedObject {
                found,
                sums: peeked.map(IndexSums::from).map_err(UnreadableObject::from),
            }),
            Err(error) if error.kind == FailureKind::NotFound => {}
            Err(error) => all.push(IndexedObject {
                found,
                sums: Err(unreadable(error)?),
            }),
        }
    }
    Ok(all)
}

/// Sums of a remote's objects in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FolderSum {
    /// Which.
    pub folder: Folder,
    /// Which.
    pub remote: RemoteDir,
    /// Number of objects.
    pub objects: u64,
    /// Number of objects whose index cannot be read.
    pub unreadable: u64,
    /// Number of samples in the others, answered or not.
    pub samples: u64,
    /// Size of all objects in bytes.
    pub bytes: u64,
    /// Oldest timestamp.
    pub oldest_ms: Option<i64>,
    /// Newest timestamp.
    pub newest_ms: Option<i64>,
}

/// Adds objects up by folder and remote, in this order.
#[must_use]
pub fn heaps(peeked: &[IndexedObject]) -> Vec<FolderSum> {
    let mut heaps: BTreeMap<(Folder, RemoteDir), FolderSum> = BTreeMap::new();
    for object in peeked {
        let (folder, remote) = (object.found.folder, object.found.remote.clone());
        let empty = FolderSum {
            folder,
            remote: remote.clone(),
            objects: 0,
            unreadable: 0,
            samples: 0,
            bytes: 0,
            oldest_ms: None,
            newest_ms: None,
        };
        let heap = heaps.entry((folder, remote)).or_insert(empty);
        heap.objects += 1;
        let sums = object.sums.clone().unwrap_or_default();
        heap.unreadable += u64::from(object.sums.is_err());
        heap.samples += sums.samples;
        heap.bytes += object.found.bytes;
        if let Some((oldest, newest)) = sums.times {
            heap.oldest_ms = Some(heap.oldest_ms.map_or(oldest, |known| known.min(oldest)));
            heap.newest_ms = Some(heap.newest_ms.map_or(newest, |known| known.max(newest)));
        }
    }
    heaps.into_values().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::batch::Batch;
    use crate::spool::retry::PEEK;
    use crate::spool::store::memory::{MemoryStore, StoreFault};
    use crate::time::TokioClock;

    fn store() -> MemoryStore {
        MemoryStore::new(Arc::new(TokioClock::starting_at(0)))
    }

    fn segment(samples: &[u32]) -> Bytes {
        let batch = |samples: &u32| Batch {
            body: vec![7; 9].into(),
            samples: *samples,
            raw_len: 9,
            min_ms: 1_000,
            max_ms: 1_000 + i64::from(*samples),
        };
        segment::write(&samples.iter().map(batch).collect::<Vec<_>>(), None)
    }

    #[tokio::test(start_paused = true)]
    async fn heaps_are_by_folder_and_remote_and_count_what_cannot_be_read() {
        let store = store();
        store.plant("segments/b/0000000001-00000001-0000.seg", segment(&[3, 4]));
        store.plant("segments/a/0000000001-00000001-0000.seg", segment(&[5]));
        store.plant(
            "segments/a/0000000001-00000002-0000.seg",
            Bytes::from_static(b"something else"),
        );
        store.plant("expired/a/0000000001-00000000-0000.seg", segment(&[9]));
        let peeked = peek_all(
            &store,
            list(&store, &Filter::default()).await.unwrap(),
            || {},
        )
        .await
        .unwrap();
        let told: Vec<_> = heaps(&peeked)
            .into_iter()
            .map(|heap| {
                (
                    heap.folder,
                    heap.remote.to_string(),
                    heap.objects,
                    heap.unreadable,
                    heap.samples,
                    heap.newest_ms,
                )
            })
            .collect();
        let expected = [
            (Folder::Segments, "a".to_owned(), 2, 1, 5, Some(1_005)),
            (Folder::Segments, "b".to_owned(), 1, 0, 7, Some(1_004)),
            (Folder::Expired, "a".to_owned(), 1, 0, 9, Some(1_009)),
        ];
        assert_eq!(told, expected);
        let filter = Filter {
            folder: Some(Folder::Segments),
            remote: Some(RemoteDir::new("b")),
        };
        assert_eq!(list(&store, &filter).await.unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_object_that_the_store_refuses_does_not_hide_the_others() {
        let store = store();
        let refused = "segments/a/0000000001-00000001-0000.seg";
        store.plant(refused, segment(&[5]));
        store.plant("segments/../x", segment(&[1]));
        store.plant("segments/b/0000000001-00000001-0000.seg", segment(&[7]));
        store.set_faults(move |_, key, _| StoreFault {
            refuse: (key == refused).then_some(FailureKind::Denied),
            ..StoreFault::default()
        });
        let listed = list(&store, &Filter::default()).await.unwrap();
        assert_eq!(listed[0].remote, RemoteDir::nobody());
        let heaps = heaps(&peek_all(&store, listed, || {}).await.unwrap());
        let told: Vec<_> = heaps
            .iter()
            .map(|heap| (heap.remote.as_str(), heap.unreadable, heap.samples))
            .collect();
        assert_eq!(told, [("%", 0, 1), ("a", 1, 0), ("b", 0, 7)]);
        let read = read(&store, refused).await.unwrap();
        assert!(matches!(read, Err(UnreadableObject::Denied(_))), "{read:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_index_is_read_to_its_end() {
        let store = store();
        store.plant(
            "segments/a/0000000001-00000001-0000.seg",
            segment(&[1; 3_000]),
        );
        let found = list(&store, &Filter::default()).await.unwrap().remove(0);
        assert!(found.bytes > PEEK && found.name().is_some());
        assert_eq!(
            peek(&store, &found.key, &LongPeek::default(), deadline())
                .await
                .unwrap()
                .unwrap()
                .len(),
            3_000
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_deleted_meanwhile_is_left_out() {
        let store = store();
        store.plant("segments/a/0000000001-00000001-0000.seg", segment(&[1]));
        let mut listed = list(&store, &Filter::default()).await.unwrap();
        let gone = SpoolObject {
            key: "segments/a/0000000001-00000000-0000.seg".to_owned(),
            ..listed[0].clone()
        };
        listed.insert(0, gone);
        assert_eq!(peek_all(&store, listed, || {}).await.unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_state_is_none_or_usable_or_an_error_that_says_why() {
        let store = store();
        assert_eq!(state(&store).await.unwrap().state, None);
        store.plant(KEY, Bytes::from_static(br#"{"version":1,"epoch":3}"#));
        assert_eq!(state(&store).await.unwrap().state.unwrap().epoch, 3);
        store.plant(KEY, Bytes::from_static(br#"{"version":3}"#));
        assert!(matches!(
            state(&store).await,
            Err(LookError::State(StateError::Newer(3)))
        ));
    }
}
