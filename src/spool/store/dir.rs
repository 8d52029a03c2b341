//! A spool in a directory: for `forwardctl` on a PC or a Raspberry Pi.
//!
//! An object is written under `.tmp/`, fsynced and renamed into place, and the directories that
//! name it are fsynced: after an answer it survives the power cut, before it there is nothing.
//! Conditions are checked and the rename is made under an exclusive lock of `.lock`, which the
//! system releases with the process. The clock is the machine's, so the processes that share a
//! directory must share a clock, too.

#![expect(
    clippy::disallowed_methods,
    reason = "the machine's clock is this store's clock"
)]

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    Call, Etag, FailureKind, ListedObject, Object, Op, PAGE, Page, Store, StoreAnswer, StoreError,
    StoreTime, within,
};
use crate::time::{Clock as _, SystemClock};

const LOCK: &str = ".lock";
const TMP: &str = ".tmp";

/// How often a lock is tried that another process holds: it does so for some milliseconds.
const LOCK_POLL: Duration = Duration::from_millis(5);

/// What a killed writer left under `.tmp/` is removed when it is as old as this.
const LEFTOVER: Duration = Duration::from_secs(3600);

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
    path: PathBuf,
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
        let path = self.root.join(key);
        let address = path.display().to_string();
        async move {
            let sent = Instant::now();
            let left = deadline.saturating_duration_since(sent);
            let work = Work {
                root: Arc::clone(&self.root),
                op,
                path,
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
        let failure = |kind| {
            StoreError::new(
                kind,
                self.op,
                self.path.display().to_string(),
                error.to_string(),
            )
        };
        match error.kind() {
            ErrorKind::NotFound => failure(FailureKind::NotFound),
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                failure(FailureKind::Denied)
                    .hint("let this user read and write the spool's directory")
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                failure(FailureKind::Full).hint("make room, or lower forwarder.spool.max_bytes")
            }
            ErrorKind::AlreadyExists
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::InvalidFilename => failure(FailureKind::Denied).hint(
                "something else is in the spool's directory: \
                 name another one in forwarder.spool.url",
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
            self.path.display().to_string(),
            "not done: no time is left",
        ))
    }

    /// Locks the spool, for as long as the file that it returns is open.
    fn lock(&self) -> Result<File, StoreError> {
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.root.join(LOCK));
        let lock = self.io(lock)?;
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
                        self.path.display().to_string(),
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

    /// Makes the directory of the object and those above it, durably, down from the spool's own.
    fn make_parent(&self) -> Result<(), StoreError> {
        let parent = self.path.parent().unwrap_or(&self.root);
        if parent.is_dir() {
            return Ok(());
        }
        self.io(fs::create_dir_all(parent))?;
        let mut made = parent;
        while let Some(above) = made.parent().filter(|above| !above.as_os_str().is_empty()) {
            self.io(sync_dir(above))?;
            if made == &*self.root {
                break;
            }
            made = above;
        }
        Ok(())
    }

    fn put(
        &self,
        body: &[u8],
        may_be_written: impl FnOnce(Option<Etag>) -> bool,
    ) -> Result<Etag, StoreError> {
        self.make_parent()?;
        let tmp = self.root.join(TMP);
        self.io(fs::create_dir_all(&tmp))?;
        remove_leftovers(&tmp);
        let draft = Draft(tmp.join(format!("{:032x}", fastrand::u128(..))));
        let mut file = self.io(OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&draft.0))?;
        self.io(file.write_all(body))?;
        self.io(file.sync_all())?;
        drop(file);

        let _lock = self.lock()?;
        let present = match fs::read(&self.path) {
            Ok(bytes) => Some(etag(&bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(self.failed(&error)),
        };
        if !may_be_written(present) {
            return Err(StoreError::new(
                FailureKind::Changed,
                self.op,
                self.path.display().to_string(),
                "it is there already, or not as it was",
            ));
        }
        self.in_time()?;
        self.io(fs::rename(&draft.0, &self.path))?;
        // The object exists from here on. Until the directory is synced, a power cut may undo it.
        self.io(sync_dir(self.path.parent().unwrap_or(&self.root)))
            .map_err(|error| StoreError {
                kind: FailureKind::NoAnswer,
                ..error
            })?;
        Ok(etag(body))
    }

    fn get(&self, most: u64) -> Result<Object, StoreError> {
        let file = self.io(File::open(&self.path))?;
        let metadata = self.io(file.metadata())?;
        if metadata.is_dir() {
            return Err(self.failed(&ErrorKind::NotFound.into()));
        }
        let size = metadata.len();
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
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.failed(&error)),
            // Without a sync, a power cut could bring back samples that were delivered, and they
            // would be sent after newer ones.
            Ok(()) => self
                .io(sync_dir(self.path.parent().unwrap_or(&self.root)))
                .map_err(|error| StoreError {
                    kind: FailureKind::NoAnswer,
                    ..error
                }),
        }
    }

    fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        let folder = prefix.rfind('/').map_or("", |end| &prefix[..end]);
        let mut entries = Vec::new();
        self.io(walk(&self.root, folder, &mut entries))?;
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
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn etag(bytes: &[u8]) -> Etag {
    Etag(format!("{:032x}", xxh3_128(bytes)))
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn remove_leftovers(tmp: &Path) {
    let Ok(drafts) = fs::read_dir(tmp) else {
        return;
    };
    for draft in drafts.flatten() {
        let modified = draft.metadata().and_then(|metadata| metadata.modified());
        let age = modified.map(|modified| {
            SystemTime::now()
                .duration_since(modified)
                .unwrap_or_default()
        });
        if age.is_ok_and(|age| age > LEFTOVER) {
            let _ = fs::remove_file(draft.path());
        }
    }
}

fn walk(root: &Path, folder: &str, entries: &mut Vec<ListedObject>) -> io::Result<()> {
    let found = match fs::read_dir(root.join(folder)) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in found {
        let entry = entry?;
        let name = entry.file_name();
        // A name that is not UTF-8 is none of ours.
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
            continue;
        };
        let key = if folder.is_empty() {
            name.to_owned()
        } else {
            format!("{folder}/{name}")
        };
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // Deleted meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if metadata.is_dir() {
            walk(root, &key, entries)?;
        } else {
            entries.push(ListedObject {
                key,
                size: metadata.len(),
            });
        }
    }
    Ok(())
}

impl Store for DirStore {
    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes, deadline: Instant) -> Call<'a, Etag> {
        self.call(Op::PutIfAbsent, key, deadline, move |work| {
            work.put(&body, |present| present.is_none())
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
            work.put(&body, |present| present == Some(etag))
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

    fn address(&self) -> &str {
        &self.address
    }
}
