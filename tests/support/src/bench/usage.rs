//! CPU time and memory of a process, as `/proc` shows them.

use std::time::Duration;

use anyhow::{Context as _, Result};

/// Clock ticks a second. Linux shows programs 100, whatever the kernel uses.
const TICKS: u64 = 100;

/// User and system time of all threads so far.
///
/// # Errors
/// Fails when the process is gone.
pub fn cpu(process: u32) -> Result<Duration> {
    // The clock ticks are exact to a hundredth of a second; the scheduler's counts leave out
    // threads that have ended. So the larger value is the better one.
    Ok(in_ticks(process)?.max(of_threads(process)?))
}

/// CPU time of the threads that live, from the scheduler's counts, to the nanosecond.
fn of_threads(process: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))
        .context("the measured process has ended")?
    {
        let used = std::fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        nanoseconds += used
            .split(' ')
            .next()
            .and_then(|used| used.parse::<u64>().ok())
            .unwrap_or_default();
    }
    Ok(Duration::from_nanos(nanoseconds))
}

fn in_ticks(process: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))
        .context("the measured process has ended")?;
    let fields: Vec<&str> = stat
        .rsplit_once(") ")
        .context("/proc/…/stat")?
        .1
        .split(' ')
        .collect();
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS))
}

/// Peak resident memory in bytes.
///
/// # Errors
/// Fails when the process is gone.
pub fn peak_memory(process: u32) -> Result<u64> {
    memory(process, "VmHWM:")
}

/// Resident memory in bytes.
///
/// # Errors
/// Fails when the process is gone.
pub fn resident_memory(process: u32) -> Result<u64> {
    memory(process, "VmRSS:")
}

fn memory(process: u32, name: &'static str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))
        .context("the measured process has ended")?;
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .context(name)?;
    Ok(value.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
