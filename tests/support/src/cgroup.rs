//! A control group with the share of a processor and the memory that Lambda gives a function of one
//! size.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};

/// Memory with which a function has one whole core, MB.
const FULL_CORE_MB: u64 = 1769;
/// Lambda's scheduling period in microseconds.
const PERIOD: u64 = 20_000;

/// A control group; dropping it removes it.
pub struct ControlGroup {
    /// One directory in version 2 of control groups, one for each controller in version 1.
    directories: Vec<PathBuf>,
}

impl ControlGroup {
    /// Makes a group for a function of this memory, with its share of a processor.
    ///
    /// # Errors
    /// Fails when this user may not make groups.
    pub fn new(memory_mb: u64) -> Result<Self> {
        Self::with_quota(memory_mb, PERIOD * memory_mb / FULL_CORE_MB)
    }

    /// Makes a group of this memory, with all processors.
    ///
    /// # Errors
    /// Fails when this user may not make groups.
    pub fn of_memory(memory_mb: u64) -> Result<Self> {
        Self::with_quota(memory_mb, 64 * PERIOD)
    }

    fn with_quota(memory_mb: u64, quota: u64) -> Result<Self> {
        let root = Path::new("/sys/fs/cgroup");
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("amp-forwarder-{}-{number}", std::process::id());
        let memory = memory_mb << 20;
        let write = |directory: &Path, file: &str, value: String| {
            std::fs::write(directory.join(file), value).with_context(|| {
                format!(
                    "write {}: control groups need root",
                    directory.join(file).display()
                )
            })
        };
        let make = |directory: PathBuf| {
            std::fs::create_dir_all(&directory).with_context(|| {
                format!("make {}: control groups need root", directory.display())
            })?;
            Ok::<_, anyhow::Error>(directory)
        };
        if root.join("cgroup.controllers").exists() {
            write(root, "cgroup.subtree_control", "+cpu +memory".to_owned())?;
            let group = Self {
                directories: vec![make(root.join(name))?],
            };
            write(
                &group.directories[0],
                "cpu.max",
                format!("{quota} {PERIOD}"),
            )?;
            write(&group.directories[0], "memory.max", memory.to_string())?;
            return Ok(group);
        }
        let group = Self {
            directories: vec![
                make(root.join("cpu").join(&name))?,
                make(root.join("memory").join(&name))?,
            ],
        };
        write(
            &group.directories[0],
            "cpu.cfs_period_us",
            PERIOD.to_string(),
        )?;
        write(&group.directories[0], "cpu.cfs_quota_us", quota.to_string())?;
        write(
            &group.directories[1],
            "memory.limit_in_bytes",
            memory.to_string(),
        )?;
        Ok(group)
    }

    /// Writes a script that runs a program within the group.
    ///
    /// # Errors
    /// Fails when it cannot be written.
    pub fn wrap(&self, program: &Path, script: &Path) -> Result<()> {
        let enter: String = self
            .directories
            .iter()
            .map(|directory| format!("echo $$ > '{}/cgroup.procs' && ", directory.display()))
            .collect();
        std::fs::write(
            script,
            format!("#!/bin/sh\n{enter}exec '{}' \"$@\"\n", program.display()),
        )?;
        std::fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Ok(())
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        for directory in &self.directories {
            // The kernel may take a moment to remove the last process from the group.
            for _ in 0..200 {
                if std::fs::remove_dir(directory).is_ok() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    }
}
