//! The function as small as Lambda makes it: the time of a scrape, cold and warm, by memory and
//! number of series.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::body::Shape;
use super::home::SyntheticHome;
use super::receiver::Receiver;
use super::small_reads::SmallReads;
use super::usage;
use crate::cgroup::ControlGroup;
use crate::lambda::{Function, FunctionOptions, InvocationResult, RuntimeApi};

const MEMORY_MB: [u64; 4] = [128, 256, 512, 1024];
const SERIES: [usize; 4] = [5_000, 20_000, 100_000, 300_000];
/// Longest time of one invocation: a scrape that takes longer is of no use at any interval.
const LIMIT: Duration = Duration::from_secs(60);
/// Number of warm scrapes that are timed.
const WARM: usize = 3;

/// The times of a function of one size at one home.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SizeResult {
    /// Memory of the function, MB.
    pub memory_mb: u64,
    /// Number of series in each scrape.
    pub series: usize,
    /// Time of the first invocation, which scrapes and sends once, in seconds; `None` when it
    /// failed.
    pub cold: Option<f64>,
    /// Median time of the later invocations, in seconds.
    pub warm: Option<f64>,
    /// Peak resident memory in bytes.
    pub peak_memory: u64,
    /// The first error, if an invocation failed or wrote too little.
    pub failed: Option<String>,
}

/// Measures the function in all sizes, each with the share of a core that Lambda gives it.
///
/// # Errors
/// Fails when control groups cannot be made, or servers not started.
pub async fn measure(function: &Path) -> Result<Vec<SizeResult>> {
    let directory = TempDir::new()?;
    let program = super::once::unpack(function, directory.path())?;
    let mut all: Vec<SizeResult> = Vec::new();
    for series in SERIES {
        let shape = Shape {
            series,
            protobuf: false,
            gzip: true,
            half_unchanged: false,
        };
        for memory_mb in MEMORY_MB {
            let sized = one(&program, directory.path(), memory_mb, shape).await?;
            eprintln!("bench: {}", row(&sized));
            all.push(sized);
        }
    }
    Ok(all)
}

async fn one(program: &Path, directory: &Path, memory_mb: u64, shape: Shape) -> Result<SizeResult> {
    let group = ControlGroup::new(memory_mb)?;
    let home = SyntheticHome::start(shape, Duration::ZERO).await?;
    let (receiver, api) = (
        Receiver::start_without_counting().await?,
        RuntimeApi::start().await?,
    );
    let spool = TempDir::new()?;
    let config = config(
        &home.address(),
        &receiver.url(),
        spool.path(),
        60,
        "{mode: off}",
    );
    let script = directory.join("limited");
    group.wrap(program, &script)?;
    let options = FunctionOptions {
        memory_mb: memory_mb as u32,
        ..FunctionOptions::new(&script, &api.runtime_api(), &config)
    };
    let mut function = Function::start(&options)?;
    let mut sized = SizeResult {
        memory_mb,
        series: shape.series,
        cold: None,
        warm: None,
        peak_memory: 0,
        failed: None,
    };
    let mut times = Vec::new();
    for _ in 0..=WARM {
        let started = Instant::now();
        let answer = api
            .invoke(r#"{"action":"forward"}"#, LIMIT)
            .await
            .and_then(InvocationResult::answer);
        let took = started.elapsed().as_secs_f64();
        sized.peak_memory = usage::peak_memory(function.id()).unwrap_or(sized.peak_memory);
        match answer.map(|answer| answer["ledger"]["written"].as_u64().unwrap_or_default()) {
            Ok(written) if written >= shape.series as u64 => times.push(took),
            Ok(written) => {
                sized.failed = Some(format!("{written} of {} samples written", shape.series));
            }
            Err(error) => sized.failed = Some(first_error(&format!("{error:#}"))),
        }
        if sized.failed.is_some() {
            break;
        }
        // The home makes its next body in this time.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    function.kill();
    let mut times = times.into_iter();
    sized.cold = times.next();
    let mut warm: Vec<f64> = times.collect();
    warm.sort_by(f64::total_cmp);
    sized.warm = warm.get(warm.len() / 2).copied();
    Ok(sized)
}

/// The configuration of a function that signs its requests, with the defaults of AMP.
pub(super) fn config(
    home: &str,
    remote: &str,
    spool: &Path,
    interval_seconds: u64,
    remote_read: &str,
) -> String {
    format!(
        "scrape_configs:\n  - job_name: federate\n    scrape_interval: {interval_seconds}s\n    \
         scrape_timeout: {}s\n    honor_labels: true\n    metrics_path: /federate\n    \
         scrape_protocols: [PrometheusText0.0.4]\n    \
         params: {{'match[]': ['{{job=~\".+\"}}']}}\n    static_configs: [{{targets: ['{home}']}}]\n\
         remote_write:\n  - name: bench\n    url: {remote}\n    sigv4: {{region: us-east-1}}\n    \
         queue_config: {{max_samples_per_send: 1000, max_shards: 50, capacity: 2500}}\n\
         forwarder: {{remote_read: {remote_read}, spool: {{url: 'file://{}'}}}}\n",
        interval_seconds.min(50),
        spool.display()
    )
}

/// The first error of the report that a function's error holds, or the beginning of the text when
/// it holds none.
fn first_error(error: &str) -> String {
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    let report = error
        .find('{')
        .and_then(|start| json(&error[start..]))
        .and_then(|error| json(error["errorMessage"].as_str()?));
    let first = report.and_then(|report| Some(report["errors"].get(0)?.as_str()?.to_owned()));
    first.unwrap_or_else(|| error.chars().take(300).collect())
}

fn row(sized: &SizeResult) -> String {
    let seconds = |time: Option<f64>| time.map_or("–".to_owned(), |time| format!("{time:.2} s"));
    let note = sized
        .failed
        .as_deref()
        .map(|failed| format!(" ({failed})"))
        .unwrap_or_default();
    format!(
        "| {} | {} MB | {} | {} | {}{note} |",
        super::report::grouped(sized.series as u64),
        sized.memory_mb,
        seconds(sized.cold),
        seconds(sized.warm),
        super::report::bytes(sized.peak_memory)
    )
}

/// Writes `sizes.json` and `sizes.md`.
///
/// # Errors
/// Fails when they cannot be written.
pub fn write(all: &[SizeResult], reads: &SmallReads, directory: &Path) -> Result<()> {
    let rows: String = all.iter().map(|sized| row(sized) + "\n").collect();
    let text = format!(
        "# How large a function must be\n\n\
         Measured by `make bench-size` on {}. The function has the memory and the share of a core \
         that Lambda gives it (128 MB: 7 %). Each invocation scrapes once and signs its requests; \
         home and receiver run on the same machine. A job keeps its slots when a warm scrape takes \
         less than its interval.\n\n\
                  | series | function | first scrape | later ones | peak memory |\n\
         | --- | --- | --- | --- | --- |\n{rows}\n{}",
        super::machine(),
        reads.text()
    );
    std::fs::create_dir_all(directory)?;
    for (name, content) in [
        (
            "sizes.json",
            serde_json::to_string_pretty(&(all, reads))? + "\n",
        ),
        ("sizes.md", text),
    ] {
        std::fs::write(directory.join(name), content)
            .with_context(|| format!("write {}", directory.join(name).display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::first_error;

    #[test]
    fn the_first_error_of_a_report_is_found() {
        let report = concat!(
            r#"function error: {"errorMessage":"{\"errors\":[\"scrape: memory_limit exceeded\","#,
            r#"\"send: b\"]}","errorType":"Failed"}"#
        );
        assert_eq!(first_error(report), "scrape: memory_limit exceeded");
        assert_eq!(first_error("function error: {cut"), "function error: {cut");
    }
}
