//! A spool in a directory: for `forwardctl` on a PC or a Raspberry Pi.
//!
//! An object is written under `.tmp/`, fsynced and renamed into place, and the directories that
//! name it are fsynced: after an answer it survives the power cut, before it there is nothing.
//! Conditions are checked and the rename is made under an exclusive lock of `.lock`, which the
//! system releases with the process. The clock is the machine's, so the processes that share a
//! directory must share a clock, too.
//!
//! Files and folders are made for their user alone (0600, 0700). No symbolic link below the
//! directory is followed (`folder.rs`).

#![expect(
    clippy::disallowed_methods,
    reason = "the machine's clock is this store's clock"
)]

mod folder;
mod listing;

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use self::folder::{DirHandle, EntryKind, is_stranger};
use self::listing::walk;
use super::{
    Call, Etag, FailureKind, HolderMark, Object, Op, PAGE, Page, Store, StoreAnswer, StoreError,
    StoreTime, is_plain_key, within,
};
use crate::time::{Clock as _, SystemClock};

const LOCK: &str = ".lock";

/// The file that the holder of the lease has locked, for as long as it lives.
const HOLDER: &str = ".holder";

const TMP: &str = ".tmp";

/// How often a lock is tried that another process holds: it does so for some milliseconds.
const LOCK_POLL: Duration = Duration::from_millis(5);

/// What a killed writer left under `.tmp/` is removed when it is as old as this.
const LEFTOVER: Duration = Duration::from_secs(3600);

/// Length of the name of a file under `.tmp/`.
const DRAFT_NAME: usize = 32;

/// A spool in a directory, which is made by the first write.
#[derive(Debug, Clone)]
pub struct DirStore {
    root: Arc<Path>,
    address: String,
}

/// A call on the thread where it may block.
struct Work {
    root: Arc<Path>,
    op: Op,
    key: String,
    /// Root and key together, for messages.
    address: String,
    deadline: std::time::Instant,
}

impl DirStore {
    /// A store in this directory. Nothing is read or made yet.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: Arc::from(root),
            address: root.display().to_string(),
        }
    }

    fn call<'a, T: Send + 'static>(
        &'a self,
        op: Op,
        key: &'a str,
        deadline: Instant,
        act: impl FnOnce(&Work) -> Result<T, StoreError> + Send + 'static,
    ) -> Call<'a, T> {
        let address = if key.is_empty() {
            self.address.clone()
        } else {
            format!("{}/{key}", self.address)
        };
        let key = key.to_owned();
        async move {
            if !is_plain_key(&key) {
                let cause = "a key with a part that is empty, . or .. is not looked at";
                return Err(StoreError::new(FailureKind::Denied, op, &address, cause));
            }
            let sent = Instant::now();
            let left = deadline.saturating_duration_since(sent);
            let work = Work {
                root: Arc::clone(&self.root),
                op,
                key,
                address: address.clone(),
                deadline: std::time::Instant::now() + left,
            };
            // A thread cannot be stopped: past the deadline it changes nothing any more, which is
            // what a deadline is for.
            let done = tokio::task::spawn_blocking(move || act(&work));
            let joined = async {
                done.await.unwrap_or_else(|error| {
                    Err(StoreError::new(
                        FailureKind::NoAnswer,
                        op,
                        &address,
                        error.to_string(),
                    ))
                })
            };
            let result = within(deadline, op, &address, joined).await;
            let time = StoreTime {
                date_ms: SystemClock.now_ms(),
                coarse_ms: 1,
                sent,
                received: Instant::now(),
            };
            match result {
                Ok(value) => Ok(StoreAnswer { value, time }),
                Err(error) => Err(StoreError {
                    time: Some(time),
                    ..error
                }),
            }
        }
        .boxed()
    }
}

impl Work {
    fn failed(&self, error: &io::Error) -> StoreError {
        let failure =
            |kind| StoreError::new(kind, self.op, self.address.clone(), error.to_string());
        match error.kind() {
            ErrorKind::NotFound if matches!(self.op, Op::PutIfAbsent | Op::PutIfMatch) => {
                failure(FailureKind::NotFound)
                    .hint("no directory can be made there: name another one in forwarder.spool.url")
            }
            ErrorKind::NotFound => failure(FailureKind::NotFound),
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                failure(FailureKind::Denied)
                    .hint("let this user read and write the spool's directory")
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                failure(FailureKind::Full).hint("make room, or lower forwarder.spool.max_bytes")
            }
            _ if is_stranger(error) => failure(FailureKind::Denied).hint(
                "something else is in the spool's directory: \
                 remove it, or name another one in forwarder.spool.url",
            ),
            _ => failure(FailureKind::NoAnswer),
        }
    }

    fn io<T>(&self, result: io::Result<T>) -> Result<T, StoreError> {
        result.map_err(|error| self.failed(&error))
    }

    fn in_time(&self) -> Result<(), StoreError> {
        if std::time::Instant::now() < self.deadline {
            return Ok(());
        }
        Err(StoreError::new(
            FailureKind::Unreachable,
            self.op,
            self.address.clone(),
            "not done: no time is left",
        ))
    }

    /// The names of the folders on the way to the object, and its own name.
    fn names(&self) -> (impl Iterator<Item = &str>, &str) {
        let (folders, name) = self.key.rsplit_once('/').unwrap_or(("", &self.key));
        (folders.split('/').filter(|name| !name.is_empty()), name)
    }

    /// Opens the folder of the object.
    fn folder(&self) -> Result<DirHandle, StoreError> {
        self.folder_at(self.key.rsplit_once('/').map_or("", |(path, _)| path))
    }

    fn folder_at(&self, path: &str) -> Result<DirHandle, StoreError> {
        let mut folder = self.io(DirHandle::root(&self.root))?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            folder = self.io(folder.enter(name))?;
        }
        Ok(folder)
    }

    /// Locks the spool, for as long as the file that it returns is open.
    fn lock(&self, root: &DirHandle) -> Result<File, StoreError> {
        let lock = self.io(root.open_or_create(LOCK))?;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::Error(error)) => return Err(self.failed(&error)),
                Err(TryLockError::WouldBlock)
                    if std::time::Instant::now() + LOCK_POLL >= self.deadline =>
                {
                    let busy = StoreError::new(
                        FailureKind::Busy,
                        self.op,
                        self.address.clone(),
                        "another process holds the lock of the directory",
                    );
                    return Err(
                        busy.hint("if none is at work, a stopped one (ctrl-z) still holds it")
                    );
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_POLL),
            }
        }
    }

    fn put(
        &self,
        body: &[u8],
        may_be_written: impl FnOnce(&DirHandle, &str) -> io::Result<bool>,
    ) -> Result<Etag, StoreError> {
        let root = self.io(DirHandle::make_root(&self.root))?;
        let (folders, name) = self.names();
        let mut folder = None;
        for below in folders {
            folder = Some(self.io(folder.as_ref().unwrap_or(&root).make(below))?);
        }
        let folder = folder.as_ref().unwrap_or(&root);
        let drafts = self.io(root.make(TMP))?;
        remove_leftovers(&drafts);
        let draft = Draft {
            folder: &drafts,
            name: format!("{:0DRAFT_NAME$x}", fastrand::u128(..)),
        };
        let mut file = self.io(drafts.create_new(&draft.name))?;
        self.io(file.write_all(body))?;
        self.io(file.sync_all())?;
        drop(file);

        let _lock = self.lock(&root)?;
        if !self.io(may_be_written(folder, name))? {
            return Err(StoreError::new(
                FailureKind::Changed,
                self.op,
                self.address.clone(),
                "it is there already, or not as it was",
            ));
        }
        self.in_time()?;
        self.io(drafts.rename(&draft.name, folder, name))?;
        // The object exists from here on. Until the directory is synced, a power cut may undo it.
        self.io(folder.sync()).map_err(|error| StoreError {
            kind: FailureKind::NoAnswer,
            ..error
        })?;
        Ok(etag(body))
    }

    fn get(&self, most: u64) -> Result<Object, StoreError> {
        let file = self.io(self.folder()?.open(self.names().1))?;
        let size = self.io(file.metadata())?.len();
        let mut bytes = Vec::with_capacity(usize::try_from(most.min(size)).unwrap_or_default());
        self.io(file.take(most).read_to_end(&mut bytes))?;
        // Only whole objects are ever put back under a condition.
        Ok(Object {
            etag: etag(&bytes),
            size,
            bytes: Bytes::from(bytes),
        })
    }

    fn delete(&self) -> Result<(), StoreError> {
        self.in_time()?;
        let folder = match self.folder() {
            Err(error) if error.kind == FailureKind::NotFound => return Ok(()),
            folder => folder?,
        };
        match folder.remove(self.names().1) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.failed(&error)),
            // Without a sync, a power cut could bring back samples that were delivered, and they
            // would be sent after newer ones.
            Ok(()) => self.io(folder.sync()).map_err(|error| StoreError {
                kind: FailureKind::NoAnswer,
                ..error
            }),
        }
    }

    fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        let path = prefix.rfind('/').map_or("", |end| &prefix[..end]);
        let mut entries = Vec::new();
        match self.folder_at(path) {
            Ok(folder) => self.io(walk(&folder, path, &mut entries))?,
            Err(error) if error.kind == FailureKind::NotFound => {}
            Err(error) => return Err(error),
        }
        entries.retain(|listed| {
            listed.key.starts_with(prefix) && after.is_none_or(|after| listed.key.as_str() > after)
        });
        entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let more = entries.len() > PAGE;
        entries.truncate(PAGE);
        Ok(Page { entries, more })
    }
}

/// A file under `.tmp/`, which is removed when it was not renamed.
struct Draft<'a> {
    folder: &'a DirHandle,
    name: String,
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        let _ = self.folder.remove(&self.name);
    }
}

fn etag(bytes: &[u8]) -> Etag {
    etag_of(xxh3_128(bytes))
}

fn etag_of(hash: u128) -> Etag {
    Etag(format!("{hash:032x}"))
}

/// The etag of a file, which is read piece by piece: nothing bounds its size.
fn etag_at(folder: &DirHandle, name: &str) -> io::Result<Option<Etag>> {
    let mut file = match folder.open(name) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let (mut hash, mut piece) = (Xxh3::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(Some(etag_of(hash.digest128()))),
            read => hash.update(&piece[..read]),
        }
    }
}

fn remove_leftovers(drafts: &DirHandle) {
    let now_s = SystemClock.now_ms() / 1000;
    for entry in drafts.entries().unwrap_or_default() {
        let is_draft =
            entry.name.len() == DRAFT_NAME && entry.name.bytes().all(|b| b.is_ascii_hexdigit());
        if let EntryKind::File { modified_s, .. } = entry.kind
            && is_draft
            && now_s.saturating_sub(modified_s) > LEFTOVER.as_secs() as i64
        {
            let _ = drafts.remove(&entry.name);
        }
    }
}

impl Store for DirStore {
    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes, deadline: Instant) -> Call<'a, Etag> {
        self.call(Op::PutIfAbsent, key, deadline, move |work| {
            work.put(&body, |folder, name| Ok(!folder.contains(name)?))
        })
    }

    fn put_if_match<'a>(
        &'a self,
        key: &'a str,
        body: Bytes,
        etag: &'a Etag,
        deadline: Instant,
    ) -> Call<'a, Etag> {
        let etag = etag.clone();
        self.call(Op::PutIfMatch, key, deadline, move |work| {
            work.put(&body, |folder, name| {
                Ok(etag_at(folder, name)? == Some(etag))
            })
        })
    }

    fn get<'a>(&'a self, key: &'a str, most: u64, deadline: Instant) -> Call<'a, Object> {
        self.call(Op::Get, key, deadline, move |work| work.get(most))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        deadline: Instant,
    ) -> Call<'a, Page> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.call(Op::List, "", deadline, move |work| {
            work.list(&prefix, after.as_deref())
        })
    }

    fn delete<'a>(&'a self, key: &'a str, deadline: Instant) -> Call<'a, ()> {
        self.call(Op::Delete, key, deadline, Work::delete)
    }

    fn mark_holder(&self) -> BoxFuture<'_, HolderMark> {
        let root = Arc::clone(&self.root);
        let marking = tokio::task::spawn_blocking(move || lock_holder(&root).ok());
        async { marking.await.ok().flatten().unwrap_or_default() }.boxed()
    }

    fn address(&self) -> &str {
        &self.address
    }
}

/// Locks the file of the lease's holder. Where the file system has no locks, nobody gets one, and
/// leases end by their time alone.
fn lock_holder(root: &Path) -> io::Result<HolderMark> {
    let file = DirHandle::make_root(root)?.open_or_create(HOLDER)?;
    match file.try_lock() {
        Ok(()) => Ok(HolderMark::locked(file)),
        Err(_) => Ok(HolderMark::default()),
    }
}
