//! Paths of the fetched programs (`tests/support/tools/fetch.sh` puts them there).

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The directory of the fetched programs: `AMP_FORWARDER_TOOLS`, or `build/tools` of this
/// repository.
pub fn directory() -> PathBuf {
    match std::env::var_os("AMP_FORWARDER_TOOLS") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../build/tools"),
    }
}

/// The path of a fetched program, e.g. `prometheus-3.5/prometheus`.
///
/// # Errors
/// Fails when it is not there; the message says what to run.
pub fn program(path: &str) -> Result<PathBuf> {
    let full = directory().join(path);
    if !full.is_file() {
        bail!(
            "{} is missing: run `make tools` once, or set AMP_FORWARDER_TOOLS to the folder of the \
             tools",
            full.display()
        );
    }
    Ok(full)
}

/// The path of `moto_server`, an S3 over HTTP.
///
/// # Errors
/// Fails as [`program`] does.
pub fn moto_server() -> Result<PathBuf> {
    program("moto/bin/moto_server")
}
