//! Remote read in the place of federation: the function in `mode: always` at a home that answers
//! with the bytes of a database.
//!
//! Time is compressed: the home has a sample of each series every second and a window is read every
//! four seconds, with `settle` and `overlap` in proportion. A minute of a home that scrapes every 15 s
//! has as many samples, and re-reads as many.

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::time::MissedTickBehavior;

use super::programs::{self, Task};
use super::receiver::{ReceivedTotals, Receiver};
use super::tsdb::DatabaseHome;
use super::usage;
use crate::lambda::{Function, InvocationResult, RuntimeApi};

/// Samples of a series in a window.
const SAMPLES: u32 = 4;
/// Time between two samples of a series.
const INTERVAL: Duration = Duration::from_secs(1);
/// A quarter of a minute's window, and half of it: the defaults are 15 s, and 30 s at least.
const REMOTE_READ: &str = "{mode: always, settle: 1s, overlap: 2s}";
/// Longest invocation.
const LIMIT: Duration = Duration::from_secs(60);

/// What the windows of one home cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WindowMeasurement {
    /// Number of series of the home.
    pub series: usize,
    /// Number of windows that were measured after the process' first.
    pub windows: usize,
    /// Samples of a series in each, on average.
    pub samples_per_series: f64,
    /// CPU seconds for a million samples that were sent, in user and kernel mode.
    pub cpu_per_million: f64,
    /// The same of the cheapest window.
    pub least_cpu_per_million: f64,
    /// CPU seconds for a million samples of a process' first window, its start included.
    pub cold_cpu_per_million: f64,
    /// Peak resident memory since the start of the process, in bytes.
    pub peak_memory: u64,
    /// Bytes of request bodies a sample.
    pub bytes_per_sample: f64,
    /// Bytes that the home sent a sample that was sent on; those of the overlap come twice.
    pub home_bytes_per_sample: f64,
    /// Requests a window.
    pub requests: f64,
    /// Median time of an invocation in seconds.
    pub invocation: f64,
}

/// One invocation.
struct ReadWindow {
    cpu: Duration,
    took: Duration,
    received: ReceivedTotals,
}

impl ReadWindow {
    fn cpu_per_million(&self) -> f64 {
        self.cpu.as_secs_f64() / self.received.samples as f64 * 1e6
    }
}

/// Measures the windows of a home: the first of a process, one to warm up, and some more.
///
/// # Errors
/// Fails when the function fails, or samples are missing.
pub async fn measure(program: &Path, series: usize, windows: usize) -> Result<WindowMeasurement> {
    let home = DatabaseHome::start(series, INTERVAL).await?;
    let (receiver, spool) = (Receiver::start().await?, TempDir::new()?);
    let task = Task {
        home: home.address(),
        remote: receiver.url(),
        // At least one slot is due in each window. A read may take as long.
        interval: INTERVAL * SAMPLES / 2,
        gzip: true,
        protobuf: false,
        remote_read: REMOTE_READ,
    };
    // A process before the measured one reads the job's first window, which is one interval long,
    // and sets the watermark.
    let first = start(program, &task, spool.path()).await?;
    invoke(&first, &receiver).await?;
    drop(first);
    let mut minutes = tokio::time::interval(INTERVAL * SAMPLES);
    // A window that comes late must not shorten the next one.
    minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    minutes.tick().await;

    let api = start(program, &task, spool.path()).await?;
    minutes.tick().await;
    let cold = invoke(&api, &receiver).await?;
    minutes.tick().await;
    invoke(&api, &receiver).await?;
    let (_, bytes_before) = home.reads();
    let mut all = Vec::new();
    for _ in 0..windows {
        minutes.tick().await;
        all.push(invoke(&api, &receiver).await?);
    }
    let (_, bytes_after) = home.reads();
    let samples: u64 = all.iter().map(|window| window.received.samples).sum();
    let each = samples as f64 / (series * windows) as f64;
    // A window ends on a second of the home's clock, and a busy machine is late.
    ensure!(
        (0.75..1.5).contains(&(each / f64::from(SAMPLES))),
        "{each} samples of a series in a window in place of {SAMPLES}; the log:\n{}",
        api.function.log()
    );
    let sum = |of: fn(&ReadWindow) -> f64| all.iter().map(of).sum::<f64>();
    let mut times: Vec<f64> = all.iter().map(|one| one.took.as_secs_f64()).collect();
    times.sort_by(f64::total_cmp);
    Ok(WindowMeasurement {
        series,
        windows,
        samples_per_series: each,
        cpu_per_million: sum(|one| one.cpu.as_secs_f64()) / samples as f64 * 1e6,
        least_cpu_per_million: all
            .iter()
            .map(ReadWindow::cpu_per_million)
            .fold(f64::INFINITY, f64::min),
        cold_cpu_per_million: cold.cpu_per_million(),
        peak_memory: usage::peak_memory(api.function.id())?,
        bytes_per_sample: sum(|one| one.received.bytes as f64) / samples as f64,
        home_bytes_per_sample: (bytes_after - bytes_before) as f64 / samples as f64,
        requests: sum(|one| one.received.requests as f64) / windows as f64,
        invocation: times[times.len() / 2],
    })
}

/// The function, and what invokes it.
struct Invoked {
    api: RuntimeApi,
    function: Function,
    /// Whether it was invoked before.
    is_warm: Cell<bool>,
}

async fn start(program: &Path, task: &Task, spool: &Path) -> Result<Invoked> {
    let api = RuntimeApi::start().await?;
    let function = programs::function(program, &api, task, spool)?;
    Ok(Invoked {
        api,
        function,
        is_warm: Cell::new(false),
    })
}

/// Invokes the function as the schedule does. In this mode it reads up to the present and ends.
async fn invoke(invoked: &Invoked, receiver: &Receiver) -> Result<ReadWindow> {
    let process = invoked.function.id();
    // The start of a process belongs to its first window.
    let cpu = if invoked.is_warm.replace(true) {
        usage::cpu(process)?
    } else {
        Duration::ZERO
    };
    let before = receiver.received().await;
    let started = Instant::now();
    invoked
        .api
        .invoke("", LIMIT)
        .await
        .and_then(InvocationResult::answer)
        .with_context(|| invoked.function.log())?;
    let took = started.elapsed();
    let after = receiver.received().await;
    Ok(ReadWindow {
        cpu: usage::cpu(process)?.saturating_sub(cpu),
        took,
        received: ReceivedTotals {
            requests: after.requests - before.requests,
            bytes: after.bytes - before.bytes,
            samples: after.samples - before.samples,
        },
    })
}
