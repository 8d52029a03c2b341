//! `mode: always` as the smallest function: the billed time of a minute, and how long it takes to
//! fill a gap.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use super::receiver::Receiver;
use super::report::{bytes, grouped};
use super::tsdb::DatabaseHome;
use super::{size, usage};
use crate::cgroup::ControlGroup;
use crate::lambda::{Function, FunctionOptions, InvocationResult, RuntimeApi};
use crate::now_ms;

const MEMORY_MB: u64 = 128;
const SERIES: usize = 20_000;
/// Time between two samples of a series.
const INTERVAL: Duration = Duration::from_secs(15);
/// Time between two invocations.
const MINUTE: Duration = Duration::from_secs(60);
/// The function's time limit as it is deployed.
const LIMIT: Duration = Duration::from_secs(75);
/// Invocations that are timed after the first one.
const WARM: usize = 2;
/// How long the home could not be reached: close to the 55 minutes after which samples stay there.
const GAP: Duration = Duration::from_secs(54 * 60);
/// A gap that is not filled in as many invocations is a failure.
const MOST_TICKS: usize = 10;

/// The times of a function of 128 MB.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SmallReads {
    /// Memory of the function, MB.
    pub memory_mb: u64,
    /// Number of series of the home, each with a sample every 15 s.
    pub series: usize,
    /// Seconds of the first invocation of a process that has a minute to read.
    pub cold: f64,
    /// Seconds of the later ones, the slowest.
    pub warm: f64,
    /// Samples of the gap that arrived.
    pub gap_samples: u64,
    /// Seconds of each invocation that filled the gap.
    pub gap: Vec<f64>,
    /// Peak resident memory of the process that filled it, in bytes.
    pub peak_memory: u64,
}

/// Measures the function with the share of a core and the memory that Lambda gives it.
///
/// # Errors
/// Fails when control groups cannot be made, or the function fails.
pub async fn measure(function: &Path) -> Result<SmallReads> {
    let directory = TempDir::new()?;
    let program = super::once::unpack(function, directory.path())?;
    let script = directory.path().join("limited");
    let group = ControlGroup::new(MEMORY_MB)?;
    group.wrap(&program, &script)?;
    let home = DatabaseHome::start(SERIES, INTERVAL).await?;
    let receiver = Receiver::start().await?;
    let spool = TempDir::new()?;
    let config = size::config(
        &home.address(),
        &receiver.url(),
        spool.path(),
        INTERVAL.as_secs(),
        "{mode: always}",
    );
    let start = || LimitedFunction::start(&script, &config);

    start().await?.invoke().await?;
    let mut minutes = tokio::time::interval(MINUTE);
    minutes.tick().await;
    minutes.tick().await;
    let function = start().await?;
    let cold = function.invoke().await?;
    let mut warm: f64 = 0.0;
    for _ in 0..WARM {
        minutes.tick().await;
        warm = warm.max(function.invoke().await?);
    }
    drop(function);
    eprintln!("bench: {MEMORY_MB} MB, a minute: {cold:.2} s cold, {warm:.2} s warm");

    let before = receiver.received().await.samples;
    let expected = rewind(spool.path(), GAP)?;
    let function = start().await?;
    let mut gap = Vec::new();
    let mut filled = 0;
    while filled < expected {
        ensure!(
            gap.len() < MOST_TICKS,
            "{filled} of {expected} samples of a gap after {MOST_TICKS} invocations"
        );
        minutes.tick().await;
        gap.push(function.invoke().await?);
        filled = receiver.received().await.samples - before;
        eprintln!("bench: a gap: {filled} of {expected} samples, {gap:.2?} s");
    }
    Ok(SmallReads {
        memory_mb: MEMORY_MB,
        series: SERIES,
        cold,
        warm,
        gap_samples: filled,
        gap,
        peak_memory: usage::peak_memory(function.function.id())?,
    })
}

/// Makes the spool say that nothing was read since `gap` ago, as after an outage of that length.
/// Returns the number of samples that the home has had since.
fn rewind(spool: &Path, gap: Duration) -> Result<u64> {
    let path = spool.join("state.json");
    let mut state: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    let to_ms = now_ms() - gap.as_millis() as i64;
    let reads = state["jobs"]["federate"]["reads"]
        .as_object_mut()
        .context("the state knows no reads")?;
    for target in reads.values_mut() {
        for of in ["watermarks", "read_ms"] {
            let times = target[of].as_object_mut().context("no times of reads")?;
            times.values_mut().for_each(|time| *time = to_ms.into());
        }
    }
    // The table holds the newest sample of each series, after which nothing older is sent.
    let remotes = state["remotes"].as_object_mut().context("no remotes")?;
    for remote in remotes.values_mut() {
        remote.as_object_mut().context("no remote")?.remove("table");
    }
    std::fs::write(&path, state.to_string())?;
    Ok(SERIES as u64 * (gap.as_secs() / INTERVAL.as_secs() - 1))
}

/// A function in the control group.
struct LimitedFunction {
    api: RuntimeApi,
    function: Function,
}

impl LimitedFunction {
    async fn start(script: &Path, config: &str) -> Result<Self> {
        let api = RuntimeApi::start().await?;
        let function = Function::start(&FunctionOptions {
            memory_mb: MEMORY_MB as u32,
            ..FunctionOptions::new(script, &api.runtime_api(), config)
        })?;
        Ok(Self { api, function })
    }

    /// Invokes it as the schedule does, and returns how many seconds that took.
    async fn invoke(&self) -> Result<f64> {
        let started = Instant::now();
        self.api
            .invoke("", LIMIT)
            .await
            .and_then(InvocationResult::answer)
            .with_context(|| self.function.log())?;
        Ok(started.elapsed().as_secs_f64())
    }
}

impl SmallReads {
    /// The figures as a paragraph.
    pub(super) fn text(&self) -> String {
        let gap: Vec<String> = self.gap.iter().map(|took| format!("{took:.1} s")).collect();
        format!(
            "With `remote_read: {{mode: always}}`, a function of {} MB at a home of {} series with a \
             sample every 15 s reads, signs and sends a minute in {:.1} s when it is cold and in {:.1} s \
             when it is warm. After {} minutes without the home it sends {} samples in {} ({}), with \
             {} of memory at most.\n",
            self.memory_mb,
            grouped(self.series as u64),
            self.cold,
            self.warm,
            GAP.as_secs() / 60,
            grouped(self.gap_samples),
            match self.gap.len() {
                1 => "one invocation".to_owned(),
                several => format!("{several} invocations"),
            },
            gap.join(", "),
            bytes(self.peak_memory)
        )
    }
}
