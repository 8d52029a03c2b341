//! `make bench`: the forwarder and its peers, measured in one run on one machine.
//!
//! All of them get the same home, the same batch size, no signature, and a receiver that answers at
//! once.

pub mod body;
pub mod compare;
pub mod home;
pub mod home_cost;
pub mod once;
mod plot;
pub mod programs;
pub mod reads;
mod receiver;
pub(crate) mod report;
pub mod size;
pub mod small_reads;
pub mod tsdb;
pub(crate) mod usage;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use self::body::Shape;
use self::compare::{Case, Measurement, body_name, measure};
use self::home::SyntheticHome;
use self::home_cost::HomeCost;
use self::once::{ColdTick, Drain, StartUp};
use self::programs::{OurPrograms, Program};
use self::reads::WindowMeasurement;

/// Selects what is measured.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// The zip of `make build`, or the program.
    pub function: PathBuf,
    /// `forwardctl`, which is measured, too, if it is given.
    pub forwardctl: Option<PathBuf>,
    /// Whether to measure a twentieth of the time. The figures mean little; it shows that the
    /// benchmark works.
    pub quick: bool,
    /// Whether to leave out the peers.
    pub alone: bool,
    /// Measures only the comparisons with this number of series.
    pub series: Option<usize>,
    /// Measures only the windows of remote read, and what they cost the home.
    pub windows: bool,
}

/// All figures of one run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Results {
    /// Model of the processor and number of cores.
    pub machine: String,
    /// The forwarder and its peers, case by case.
    pub compared: Vec<Measurement>,
    /// Windows of `mode: always`, by number of series.
    #[serde(default)]
    pub windows: Vec<WindowMeasurement>,
    /// What both ways cost the home.
    #[serde(default)]
    pub home_cost: Option<HomeCost>,
    /// The first scrape of a fresh process, with 100,000 series.
    pub cold_tick: Option<ColdTick>,
    /// The drain of 10 million samples.
    pub drain: Option<Drain>,
    /// The start of the function.
    pub start: Option<StartUp>,
}

/// Series of the homes that are read.
const WINDOW_SERIES: [usize; 2] = [10_000, 100_000];
/// Windows that are measured of each.
const WINDOWS: usize = 6;

/// Scrapes before those that are measured.
const WARM_UP: usize = 2;
/// Scrapes that are measured.
const SCRAPES: usize = 8;

/// What is compared: first what a home answers by default, then other forms and sizes. vmagent
/// does not know protobuf, and Prometheus costs the same in each form of text.
fn cases(quick: bool) -> Vec<Case> {
    use Program::{Forwardctl, Forwarder, Prometheus, Signed, Vmagent};
    let text = Shape {
        series: 100_000,
        protobuf: false,
        gzip: false,
        half_unchanged: false,
    };
    let gzip = Shape { gzip: true, ..text };
    let proto = Shape {
        protobuf: true,
        ..gzip
    };
    let half = Shape {
        half_unchanged: true,
        ..gzip
    };
    let sized = |series| Shape { series, ..text };
    let case = |shape, seconds, programs| Case {
        shape,
        interval: Duration::from_secs(seconds),
        warm_up: WARM_UP,
        scrapes: SCRAPES,
        programs,
    };
    let cases = [
        case(proto, 2, &[Forwarder, Signed, Forwardctl, Prometheus]),
        case(gzip, 2, &[Forwarder, Signed, Forwardctl, Vmagent]),
        case(text, 2, &[Forwarder, Forwardctl, Vmagent, Prometheus]),
        case(half, 2, &[Forwarder, Forwardctl, Vmagent]),
        case(sized(10_000), 1, &[Forwarder, Vmagent, Prometheus]),
        // The peers would take minutes.
        case(sized(1_000_000), 4, &[Forwarder]),
    ];
    let quick_case = |case: &Case| Case {
        interval: Duration::from_secs(2),
        scrapes: 2,
        ..*case
    };
    if quick {
        cases
            .iter()
            .filter(|case| case.shape.series < 1_000_000)
            .map(quick_case)
            .collect()
    } else {
        cases.to_vec()
    }
}

/// Measures everything in turn and reports its progress on standard error.
///
/// # Errors
/// Fails when a program does not do its job: a figure of it would mean nothing.
pub async fn run(options: &BenchOptions) -> Result<Results> {
    let mut results = Results {
        machine: machine(),
        ..Results::default()
    };
    let unpacked = TempDir::new()?;
    let ours = OurPrograms {
        function: once::unpack(&options.function, unpacked.path())?,
        forwardctl: options.forwardctl.clone(),
    };
    let function = ours.function.as_path();
    if !options.windows {
        compare_all(options, &ours, &mut results).await?;
    }
    measure_windows(options, function, &mut results).await?;
    if options.series.is_some() || options.windows {
        return Ok(results);
    }
    eprintln!("bench: a cold tick");
    results.cold_tick = Some(once::cold_tick(function, 100_000).await?);
    eprintln!("bench: a drain");
    results.drain = Some(
        once::drain(
            function,
            100_000,
            if options.quick { 1_000_000 } else { 10_000_000 },
        )
        .await?,
    );
    eprintln!("bench: the start of the function");
    results.start = Some(once::start(function, &options.function)?);
    Ok(results)
}

/// Measures the forwarder and its peers in each case.
async fn compare_all(
    options: &BenchOptions,
    ours: &OurPrograms,
    results: &mut Results,
) -> Result<()> {
    let chosen = |case: &Case| {
        options
            .series
            .is_none_or(|series| series == case.shape.series)
    };
    for case in cases(options.quick).into_iter().filter(chosen) {
        let home = SyntheticHome::start(case.shape, case.interval).await?;
        eprintln!(
            "bench: {} series, {}: {} bytes, {} bytes as served",
            case.shape.series,
            body_name(case.shape),
            home.body_size.plain,
            home.body_size.served
        );
        let left_out = |program: Program| {
            (options.alone && program.is_peer())
                || (program == Program::Forwardctl && ours.forwardctl.is_none())
        };
        for &program in case.programs {
            if left_out(program) {
                continue;
            }
            let measured = measure(program, ours, &home, case).await?;
            eprintln!("bench:   {}", report::line(&measured));
            results.compared.push(measured);
        }
    }
    Ok(())
}

/// Measures windows of remote read, and what they cost a home.
async fn measure_windows(
    options: &BenchOptions,
    function: &Path,
    results: &mut Results,
) -> Result<()> {
    for series in WINDOW_SERIES {
        if options.series.is_none_or(|chosen| chosen == series) {
            eprintln!("bench: windows of {series} series");
            // Windows end every five seconds and are read every four: a fifth has nothing to read.
            let windows = if options.quick { 5 } else { WINDOWS };
            let measured = reads::measure(function, series, windows).await?;
            eprintln!("bench:   {}", report::window_line(&measured));
            results.windows.push(measured);
        }
    }
    if options.series.is_none() {
        eprintln!("bench: what the samples cost a home");
        results.home_cost = Some(home_cost::measure().await?);
    }
    Ok(())
}

/// Writes `results.json`, `results.md` and `results.svg`.
///
/// # Errors
/// Fails when they cannot be written.
pub fn write(results: &Results, directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    let files = [
        (
            "results.json",
            serde_json::to_string_pretty(results)? + "\n",
        ),
        ("results.md", report::markdown(results)),
        ("results.svg", plot::svg(&results.compared)),
    ];
    for (name, content) in files {
        let path = directory.join(name);
        std::fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |line| {
            line.trim_start_matches([' ', '\t', ':'])
        });
    format!(
        "{model}, {} cores",
        std::thread::available_parallelism().map_or(1, usize::from)
    )
}
