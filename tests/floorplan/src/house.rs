//! Reads the real tree from disk.

use std::fs;
use std::io;
use std::path::Path;

use crate::modules::Sources;
use crate::rules::{Verdict, verdicts};

/// The name by which programs use the library.
const LIBRARY: &str = "amp_forwarder";

/// Holds the repository at `root` against the rules.
///
/// # Errors
///
/// Fails with a sentence for people if a file cannot be read, or if there is no drawing.
pub fn inspect(root: &Path) -> Result<Vec<Verdict>, String> {
    let mut sources = Sources::new();
    read_folder(root, "src", &mut sources).map_err(|error| format!("cannot read src/: {error}"))?;
    let architecture = fs::read_to_string(root.join("ARCHITECTURE.md"))
        .map_err(|error| format!("cannot read ARCHITECTURE.md: {error}"))?;
    verdicts(&sources, LIBRARY, &architecture)
}

fn read_folder(root: &Path, folder: &str, sources: &mut Sources) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            read_folder(root, &path, sources)?;
        } else if path.ends_with(".rs") {
            sources.insert(path, fs::read_to_string(entry.path())?);
        }
    }
    Ok(())
}
