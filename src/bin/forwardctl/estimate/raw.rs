//! What remote read shows of the last minute: every sample, at the home's own intervals.

use std::time::Duration;

use amp_forwarder::batch::samples;
use amp_forwarder::config::{Config, RemoteReadMode};
use amp_forwarder::home::targets;
use amp_forwarder::read::window::{grid_ms, on_grid};
use amp_forwarder::read::{ReadSource, WindowShape};
use amp_forwarder::tick::Forwarder;
use amp_forwarder::time::{Clock as _, SystemClock, millis};

/// Overlap that is assumed where the configuration says `auto`.
const LIKELY_OVERLAP: Duration = Duration::from_secs(60);

/// Age from which the home has committed all samples and its `Date` has passed, milliseconds.
const SETTLED_MS: i64 = 10_000;

/// The last minute of all targets that federate.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct RawMinute {
    /// Samples that `mode: always` would send.
    pub(super) samples: f64,
    /// Samples that it would read: what overlaps with the minute before is among them.
    pub(super) read: f64,
    /// Compressed bytes of the samples, as they would be posted.
    pub(super) bytes: f64,
    /// Duration of the slowest read.
    pub(super) seconds: f64,
}

/// Reads the last minute of all targets that federate. The error says why it cannot be read.
pub(super) async fn last_minute(
    forwarder: &Forwarder,
    config: &Config,
) -> Result<RawMinute, String> {
    let remote_read = &config.forwarder.remote_read;
    let overlap = remote_read.overlap.unwrap_or(LIKELY_OVERLAP);
    // With another mode the resolution has no effect.
    let resolution_ms = match remote_read.mode {
        RemoteReadMode::Always => millis(remote_read.resolution),
        RemoteReadMode::Gaps | RemoteReadMode::Off => 0,
    };
    let mut minute = RawMinute::default();
    let mut last_error = "no job federates".to_owned();
    for target in targets(&config.scrape_configs)? {
        let source = match ReadSource::new(&target, remote_read.path.as_deref()) {
            Ok(source) => source,
            Err(error) => {
                last_error = error.to_string();
                continue;
            }
        };
        let shape = WindowShape::Raw { resolution_ms };
        // What is that old is settled for certain, so that the whole minute counts.
        let now_ms = on_grid(SystemClock.now_ms() - SETTLED_MS, grid_ms(resolution_ms));
        let outcome = forwarder
            .read_last_minute(&target, &source, now_ms, shape, Duration::MAX)
            .await;
        if let Some(error) = outcome.error {
            return Err(error.to_string());
        }
        let batches: Vec<_> = outcome
            .commits
            .iter()
            .flat_map(|commit| commit.scrapes.iter().flatten())
            .collect();
        minute.samples += samples(batches.iter().copied()) as f64;
        minute.bytes += batches
            .iter()
            .map(|batch| batch.body.len() as f64)
            .sum::<f64>();
        minute.read += outcome.size.samples as f64 * (1.0 + overlap.as_secs_f64() / 60.0);
        minute.seconds = minute.seconds.max(outcome.duration.as_secs_f64());
    }
    if minute.samples > 0.0 {
        Ok(minute)
    } else {
        Err(last_error)
    }
}
