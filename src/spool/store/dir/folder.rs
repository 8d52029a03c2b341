//! Files and folders below one directory, and never outside of it: below the root no symbolic link
//! is followed, and only regular files are opened. Whoever may write there could otherwise have
//! this program read, overwrite or delete any file that its user can.
//!
//! Each step goes down from an open folder by a single name, so that nothing that is moved
//! meanwhile changes where it leads.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Permissions of folders that are made: samples are nobody else's business.
const FOLDER_MODE: u32 = 0o700;

/// Permissions of files that are made.
const FILE_MODE: u32 = 0o600;

/// An open folder.
pub(super) struct DirHandle(File);

/// An entry of a folder.
pub(super) struct FolderEntry {
    /// Its name; one that is not UTF-8 is none of ours, and is left out.
    pub(super) name: String,
    /// What it is.
    pub(super) kind: EntryKind,
}

/// What an entry of a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryKind {
    /// A regular file.
    File {
        /// Size in bytes.
        size: u64,
        /// Time of the last change, seconds since 1970.
        modified_s: i64,
    },
    /// A folder.
    Folder,
    /// A symbolic link, a pipe, a device or a socket.
    Other,
}

impl DirHandle {
    /// Opens the root. Links on the way to it are followed, because the user has named it.
    pub(super) fn root(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = fs::open(path, flags, Mode::empty())?;
        Ok(Self(File::from(opened)))
    }

    /// Makes the root and the folders above it, durably, unless they exist.
    pub(super) fn make_root(path: &Path) -> io::Result<Self> {
        if let Ok(root) = Self::root(path) {
            return Ok(root);
        }
        let missing: Vec<_> = path.ancestors().take_while(|path| !path.exists()).collect();
        DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(path)?;
        for made in missing {
            let above = made.parent().filter(|above| !above.as_os_str().is_empty());
            File::open(above.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Self::root(path)
    }

    /// Opens a folder in this one.
    pub(super) fn enter(&self, name: &str) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = fs::openat(&self.0, name, flags, Mode::empty())?;
        Ok(Self(File::from(opened)))
    }

    /// Opens a folder in this one. Makes it, durably, if there is nothing of that name.
    pub(super) fn make(&self, name: &str) -> io::Result<Self> {
        match fs::mkdirat(&self.0, name, Mode::from_raw_mode(FOLDER_MODE)) {
            Ok(()) => self.sync()?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        self.enter(name)
    }

    /// Opens a regular file to read it.
    pub(super) fn open(&self, name: &str) -> io::Result<File> {
        self.open_with(name, OFlags::RDONLY)
    }

    /// Makes a file that does not exist, and opens it to write to it.
    pub(super) fn create_new(&self, name: &str) -> io::Result<File> {
        self.open_with(name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)
    }

    /// Opens a regular file to write to it, and makes it if there is nothing of that name.
    pub(super) fn open_or_create(&self, name: &str) -> io::Result<File> {
        self.open_with(name, OFlags::WRONLY | OFlags::CREATE)
    }

    fn open_with(&self, name: &str, flags: OFlags) -> io::Result<File> {
        // Without NONBLOCK, the opening of a pipe would wait for its other end for ever.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = fs::openat(&self.0, name, flags, Mode::from_raw_mode(FILE_MODE))?;
        let file = File::from(opened);
        if !file.metadata()?.is_file() {
            return Err(not_a_file());
        }
        Ok(file)
    }

    /// Whether there is anything of this name, a link that leads nowhere included.
    pub(super) fn contains(&self, name: &str) -> io::Result<bool> {
        match fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a file or a link; never what a link leads to.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Moves a file to another folder. It replaces what has its name there.
    pub(super) fn rename(&self, name: &str, to: &Self, new_name: &str) -> io::Result<()> {
        Ok(fs::renameat(&self.0, name, &to.0, new_name)?)
    }

    /// Makes what was done to the names in this folder durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    /// The entries of this folder, in no order. Those that are gone meanwhile are left out.
    pub(super) fn entries(&self) -> io::Result<Vec<FolderEntry>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if matches!(name, "." | "..") {
                continue;
            }
            let stat = match fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            #[allow(
                clippy::unnecessary_cast,
                reason = "the type differs between processors"
            )]
            let modified_s = stat.st_mtime as i64;
            let kind = match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => EntryKind::File {
                    size: u64::try_from(stat.st_size).unwrap_or_default(),
                    modified_s,
                },
                FileType::Directory => EntryKind::Folder,
                _ => EntryKind::Other,
            };
            entries.push(FolderEntry {
                name: name.to_owned(),
                kind,
            });
        }
        Ok(entries)
    }
}

fn not_a_file() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "it is a link, a pipe, a device or a folder, and no regular file",
    )
}

/// Whether an error says that something other than a regular file or a folder is in the way.
pub(super) fn is_stranger(error: &io::Error) -> bool {
    let is_link = Errno::from_io_error(error) == Some(Errno::LOOP)
        // A pipe that nobody reads, and a socket.
        || Errno::from_io_error(error) == Some(Errno::NXIO);
    is_link
        || matches!(
            error.kind(),
            io::ErrorKind::InvalidInput
                | io::ErrorKind::AlreadyExists
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::IsADirectory
                | io::ErrorKind::InvalidFilename
        )
}
