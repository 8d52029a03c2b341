//! Figures of single events: a cold tick, the drain of a backlog, the start of the function.

use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::body::Shape;
use super::home::SyntheticHome;
use super::programs::{BATCH, SCRAPES_ONLY, Task, function};
use super::receiver::Receiver;
use super::usage;
use crate::lambda::{InvocationResult, RuntimeApi};
use crate::process::Port;

/// The first scrape of a fresh process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ColdTick {
    /// Number of series in the scrape.
    pub series: usize,
    /// Time from the scrape's request to the last acknowledgement, in seconds.
    pub latency: f64,
    /// Time from the start of the process to its answer to the invocation, in seconds.
    pub whole: f64,
}

/// The drain of a directory spool without a limit of its rate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Drain {
    /// Number of samples in the spool at the start.
    pub samples: u64,
    /// Size of the segments in bytes.
    pub bytes: u64,
    /// Samples a second, from the first request to the last acknowledgement.
    pub samples_per_second: f64,
    /// CPU seconds for a million samples.
    pub cpu_per_million: f64,
    /// Peak resident memory in bytes.
    pub peak_memory: u64,
}

/// The function until it asks for its first invocation, and its size.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StartUp {
    /// Median time from the start of the process to its request for an invocation, in seconds.
    pub first_request: f64,
    /// Peak resident memory at that moment, in bytes.
    pub memory: u64,
    /// Size of the program in bytes.
    pub program_bytes: u64,
    /// Size of the zip in bytes; 0 when a program was given in its place.
    pub zip_bytes: u64,
}

/// The event that scrapes once, now.
const FORWARD: &str = r#"{"action":"forward"}"#;

fn plain(series: usize) -> Shape {
    Shape {
        series,
        protobuf: false,
        gzip: false,
        half_unchanged: false,
    }
}

fn task(home: &SyntheticHome, remote: String) -> Task {
    Task {
        home: home.address(),
        remote,
        interval: Duration::from_secs(60),
        gzip: false,
        protobuf: false,
        remote_read: SCRAPES_ONLY,
    }
}

/// Starts a fresh process and lets its first invocation scrape once; returns the median of five.
///
/// # Errors
/// Fails when it fails, or does not deliver everything.
pub async fn cold_tick(program: &Path, series: usize) -> Result<ColdTick> {
    let home = SyntheticHome::start(plain(series), Duration::ZERO).await?;
    let mut ticks = Vec::new();
    for _ in 0..5 {
        home.reset();
        let (receiver, api, spool) = (
            Receiver::start().await?,
            RuntimeApi::start().await?,
            TempDir::new()?,
        );
        let started = Instant::now();
        let function = function(program, &api, &task(&home, receiver.url()), spool.path())?;
        let answer = api
            .invoke(FORWARD, Duration::from_secs(60))
            .await
            .and_then(InvocationResult::answer);
        let whole = started.elapsed().as_secs_f64();
        answer.with_context(|| function.log())?;
        let asked = home.scraped(1, Duration::ZERO).await?[0].asked;
        let last = receiver
            .last_answer(Instant::now())
            .context("nothing was written")?;
        ensure!(
            receiver.received().await.samples >= series as u64,
            "not everything was written"
        );
        ticks.push(ColdTick {
            series,
            latency: (last - asked).as_secs_f64(),
            whole,
        });
    }
    ticks.sort_by(|a, b| a.latency.total_cmp(&b.latency));
    Ok(ticks.swap_remove(ticks.len() / 2))
}

/// Spools one scrape, copies its segments until there are as many samples, and lets a fresh process
/// send them.
///
/// # Errors
/// Fails when it fails, or does not send everything.
pub async fn drain(program: &Path, series: usize, samples: u64) -> Result<Drain> {
    let home = SyntheticHome::start(plain(series), Duration::ZERO).await?;
    let (api, directory) = (RuntimeApi::start().await?, TempDir::new()?);
    // No program listens on this port.
    let port = Port::reserve()?;
    let mut task = task(&home, format!("http://127.0.0.1:{port}/write"));
    let spooling = function(program, &api, &task, directory.path())?;
    // The answer reports an unreachable remote, which does not matter here: either the spool has
    // the samples, or there is no segment and the next step fails.
    api.invoke(FORWARD, Duration::from_secs(10)).await?;
    let log = spooling.log();
    drop(spooling);
    let segments = directory.path().join("segments");
    let copies = samples.div_ceil(series as u64);
    let remote = std::fs::read_dir(&segments)
        .with_context(|| format!("nothing was spooled:\n{log}"))?
        .next()
        .context("no segment")??
        .path();
    let bytes = copy(&remote, copies)?;
    // The state does not know the copies. Without a state, the next tick counts the segments.
    std::fs::remove_file(directory.path().join("state.json"))?;

    let receiver = Receiver::start_without_counting().await?;
    task.remote = receiver.url();
    let api = RuntimeApi::start().await?;
    let draining = function(program, &api, &task, directory.path())?;
    api.invoke(r#"{"action":"drain"}"#, Duration::from_secs(60))
        .await
        .and_then(InvocationResult::answer)
        .with_context(|| draining.log())?;
    let received = receiver.received().await;
    ensure!(
        received.requests * BATCH as u64 >= samples,
        "{} requests; its log:\n{}",
        received.requests,
        draining.log()
    );
    let answering_time = receiver.answering_time().context("no request")?;
    Ok(Drain {
        samples,
        bytes,
        samples_per_second: samples as f64 / answering_time.as_secs_f64(),
        cpu_per_million: usage::cpu(draining.id())?.as_secs_f64() / samples as f64 * 1e6,
        peak_memory: usage::peak_memory(draining.id())?,
    })
}

/// Unpacks the program from a zip; a path without that extension is the program.
pub fn unpack(function: &Path, directory: &Path) -> Result<PathBuf> {
    if function
        .extension()
        .is_none_or(|extension| extension != "zip")
    {
        return Ok(function.to_owned());
    }
    let status = Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .args([function, directory])
        .status()
        .context("unpack the zip")?;
    ensure!(status.success(), "cannot unpack {}", function.display());
    let program = directory.join("bootstrap");
    std::fs::set_permissions(
        &program,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )?;
    Ok(program)
}

/// Starts the function 21 times, each time until it asks for its first invocation. `zip` is the
/// file that the program was unpacked from, or the program.
///
/// # Errors
/// Fails when it does not ask.
pub fn start(program: &Path, zip: &Path) -> Result<StartUp> {
    let zip_bytes = if program == zip {
        0
    } else {
        zip.metadata()?.len()
    };
    let mut starts = Vec::new();
    for _ in 0..21 {
        starts.push(first_request(program)?);
    }
    starts.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let median = &starts[starts.len() / 2];
    Ok(StartUp {
        first_request: median.seconds,
        memory: median.peak_memory,
        program_bytes: program.metadata()?.len(),
        zip_bytes,
    })
}

/// A process that has asked for its first invocation.
struct FirstRequest {
    /// Seconds from the start of the process.
    seconds: f64,
    /// Peak resident memory by then, bytes.
    peak_memory: u64,
}

/// Starts the function once, until it asks for its first invocation.
fn first_request(program: &Path) -> Result<FirstRequest> {
    let api = TcpListener::bind(("127.0.0.1", 0))?;
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", api.local_addr()?.to_string())
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128");
    for (name, value) in [
        ("FUNCTION_NAME", "amp-forwarder"),
        ("FUNCTION_VERSION", "1"),
        ("LOG_GROUP_NAME", "g"),
        ("LOG_STREAM_NAME", "s"),
    ] {
        command.env(format!("AWS_LAMBDA_{name}"), value);
    }
    let started = Instant::now();
    let mut process = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("start the function")?;
    let (mut connection, _) = api.accept()?;
    let read = connection
        .read(&mut [0; 4])
        .context("the function asks for nothing")?;
    let took = started.elapsed().as_secs_f64();
    let memory = usage::peak_memory(process.id());
    process.kill()?;
    process.wait()?;
    ensure!(read > 0, "the function hung up");
    Ok(FirstRequest {
        seconds: took,
        peak_memory: memory?,
    })
}

/// Copies the segments of one scrape to later scrape numbers: `<epoch>-<scrape>-<part>.seg`.
fn copy(remote: &Path, copies: u64) -> Result<u64> {
    let mut bytes = 0;
    for segment in std::fs::read_dir(remote)? {
        let segment = segment?.path();
        let name = segment
            .file_name()
            .and_then(|name| name.to_str())
            .context("a segment's name")?
            .to_owned();
        let (epoch, part) = (&name[..10], &name[20..]);
        for copy in 2..=copies {
            bytes += std::fs::copy(&segment, remote.join(format!("{epoch}-{copy:08}-{part}")))?;
        }
        bytes += segment.metadata()?.len();
    }
    Ok(bytes)
}
