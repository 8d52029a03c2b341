//! The targets that can be read, as a process finds them when it starts.

use super::cursor::{ReadCursor, place};
use crate::config::{Config, RemoteReadMode};
use crate::read::{ReadSource, ReadSourceError, WindowPlanner, default_max_samples};
use crate::tick::job::Job;
use crate::time::millis;

/// Makes the cursors of a process that has read nothing yet, and returns how many homes they have.
/// A job that cannot be read is scraped only, which `check` explains.
pub(in crate::tick) fn cold_cursors(
    config: &Config,
    jobs: &[Job],
    memory_limit: usize,
) -> (Vec<ReadCursor>, usize) {
    let remote_read = &config.forwarder.remote_read;
    if remote_read.mode == RemoteReadMode::Off {
        return (Vec::new(), 0);
    }
    let resolution_ms = match remote_read.mode {
        RemoteReadMode::Always => millis(remote_read.resolution),
        _ => 0,
    };
    let max_samples = remote_read
        .max_samples
        .unwrap_or_else(|| default_max_samples(memory_limit));
    let (mut cursors, mut homes) = (Vec::new(), Vec::new());
    for target in jobs.iter().flat_map(|job| &job.targets) {
        let source = match ReadSource::new(target, remote_read.path.as_deref()) {
            Ok(source) => source,
            Err(ReadSourceError::NoFederation) => continue,
            Err(error) => {
                tracing::warn!(instance = target.instance(), "it is scraped only: {error}");
                continue;
            }
        };
        let home = place(&source.url);
        let origin = homes
            .iter()
            .position(|known| *known == home)
            .unwrap_or_else(|| {
                homes.push(home);
                homes.len() - 1
            });
        let planner = WindowPlanner::new(resolution_ms, max_samples);
        cursors.push(ReadCursor::new(
            target.clone(),
            source,
            planner,
            origin,
            millis(remote_read.settle),
        ));
    }
    (cursors, homes.len())
}
