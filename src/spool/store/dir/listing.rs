//! The listing of a spool in a directory.

use std::io::{self, ErrorKind};

use super::super::{ListedObject, NOT_A_FILE};
use super::folder::{DirHandle, EntryKind};

/// Most folders below each other that are listed. Ours are two deep.
const DEEPEST: usize = 8;

/// Lists the files in a folder and below it. A folder in it that cannot be read, or is too deep, is
/// listed as something that is no file.
pub(super) fn walk(
    folder: &DirHandle,
    path: &str,
    entries: &mut Vec<ListedObject>,
) -> io::Result<()> {
    let is_deepest = path.split('/').count() >= DEEPEST;
    for entry in folder.entries()? {
        if entry.name.starts_with('.') {
            continue;
        }
        let key = if path.is_empty() {
            entry.name.clone()
        } else {
            format!("{path}/{}", entry.name)
        };
        let size = match entry.kind {
            EntryKind::File { size, .. } => size,
            EntryKind::Other => NOT_A_FILE,
            EntryKind::Folder if is_deepest => NOT_A_FILE,
            EntryKind::Folder => match folder.enter(&entry.name) {
                Ok(below) => {
                    walk(&below, &key, entries)?;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                // The folder of a remote may hold a backlog that has to go first. One that is
                // further down is none of ours.
                Err(error) if path.contains('/') => {
                    tracing::debug!("spool: {key}: {error}");
                    NOT_A_FILE
                }
                Err(error) => return Err(error),
            },
        };
        entries.push(ListedObject { key, size });
    }
    Ok(())
}
