//! `make bench-count`: the instructions that a sample costs from the body of a scrape to the posted
//! batch, counted by callgrind and compared with `benches/counts.json`.
//!
//! Seconds depend on the machine and on whatever else runs on it. Instructions hardly do, so a
//! change of a few percent shows. They say nothing about caches and branches: `make bench` measures
//! seconds. Callgrind counts each byte that one instruction copies or clears by itself (`rep movsb`),
//! so large copies count for more than they cost.

// A benchmark that cannot run must say so.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::{Command, ExitCode};

use amp_forwarder_support::bench::body::{Shape, SyntheticBody};
use amp_forwarder_support::tools;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use self::in_memory::InMemory;

mod in_memory;

const SERIES: usize = 10_000;
const START_MS: i64 = 1_795_176_000_000;
const INTERVAL_MS: i64 = 60_000;

/// Ticks that are counted.
const COUNTED: usize = 4;

/// Share by which a count may differ from the one in `counts.json`.
const TOLERANCE: f64 = 0.03;

/// The function that callgrind counts, with everything that it calls.
const COUNTED_FUNCTION: &str = "--toggle-collect=counts::counted*";

/// What is counted: a name, where the samples come from, and the ticks before.
struct Case {
    name: &'static str,
    source: Source,
    warm_up: usize,
}

/// Where the samples of a tick come from.
#[derive(Clone, Copy)]
enum Source {
    /// A scrape of a body of this form.
    Scrape(Shape),
    /// A remote read of a minute, in which each series has four samples.
    Read,
}

impl Case {
    /// Ticks that are counted. Of a process that starts only the first one is cold.
    fn ticks(&self) -> usize {
        if self.warm_up == 0 { 1 } else { COUNTED }
    }

    /// Samples of a tick by which its instructions are divided.
    fn samples(&self) -> u64 {
        match self.source {
            Source::Scrape(_) => SERIES as u64,
            // The first window of a process has no watermark: it begins a slot before the present
            // that has settled, and with the overlap it has more than a minute of samples.
            Source::Read if self.warm_up == 0 => 57_200,
            Source::Read => 4 * SERIES as u64,
        }
    }
}

const PLAIN_TEXT: Shape = Shape {
    series: SERIES,
    protobuf: false,
    gzip: false,
    half_unchanged: false,
};

const GZIP_TEXT: Shape = Shape {
    gzip: true,
    ..PLAIN_TEXT
};

const GZIP_PROTOBUF: Shape = Shape {
    protobuf: true,
    ..GZIP_TEXT
};

const HALF_UNCHANGED: Shape = Shape {
    half_unchanged: true,
    ..PLAIN_TEXT
};

const CASES: [Case; 7] = [
    Case {
        name: "gzip protobuf",
        source: Source::Scrape(GZIP_PROTOBUF),
        warm_up: 2,
    },
    Case {
        name: "gzip text",
        source: Source::Scrape(GZIP_TEXT),
        warm_up: 2,
    },
    Case {
        name: "plain text",
        source: Source::Scrape(PLAIN_TEXT),
        warm_up: 2,
    },
    Case {
        name: "plain text, half unchanged",
        source: Source::Scrape(HALF_UNCHANGED),
        warm_up: 2,
    },
    Case {
        name: "gzip protobuf, first scrape",
        source: Source::Scrape(GZIP_PROTOBUF),
        warm_up: 0,
    },
    Case {
        name: "remote read of a minute",
        source: Source::Read,
        warm_up: 2,
    },
    Case {
        name: "remote read, first window",
        source: Source::Read,
        warm_up: 0,
    },
];

/// `benches/counts.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Counts {
    /// What the program was built with. Another compiler may give other counts.
    compiler: String,
    /// Instructions for each sample that was scraped, case by case.
    instructions: BTreeMap<String, u64>,
}

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--case", name] => run(name).map(|()| true),
        ["--write", ..] => count().and_then(|counts| write(&counts)).map(|()| true),
        _ => count().and_then(|counts| compare(&counts)),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one case. Callgrind watches.
fn run(name: &str) -> Result<(), Box<dyn Error>> {
    let case = CASES
        .iter()
        .find(|case| case.name == name)
        .ok_or("no such case")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut world, mut body, mut scout) = match case.source {
        Source::Scrape(shape) => {
            let body = SyntheticBody::new(shape, START_MS);
            (InMemory::new(shape)?, Some(body), None)
        }
        Source::Read => {
            let [scout, world] = InMemory::reading(SERIES)?;
            (world, None, Some(scout))
        }
    };
    for tick in 0..case.warm_up + case.ticks() {
        let now_ms = START_MS + (1 + tick as i64) * INTERVAL_MS;
        let encoded = body.as_mut().map_or_else(Bytes::new, |body| {
            body.freshen(now_ms);
            body.encoded()
        });
        if let Some(scout) = &mut scout {
            runtime.block_on(scout.tick(Bytes::new(), now_ms));
        }
        if tick < case.warm_up {
            runtime.block_on(world.tick(encoded, now_ms));
        } else {
            counted(&runtime, &mut world, case, encoded, now_ms)?;
        }
    }
    Ok(())
}

#[inline(never)]
fn counted(
    runtime: &Runtime,
    world: &mut InMemory,
    case: &Case,
    body: Bytes,
    now_ms: i64,
) -> Result<(), String> {
    let report = runtime.block_on(world.tick(body, now_ms));
    // `up` and its like are five samples more.
    let wanted = case.samples() + 5;
    if report.ledger.scraped == wanted && report.errors.is_empty() {
        Ok(())
    } else {
        Err(format!("not all {wanted} samples were taken: {report:?}"))
    }
}

fn count() -> Result<Counts, Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let output = scratch.path().join("callgrind");
    let valgrind = tools::program("valgrind/valgrind.bin")?;
    let mut counts = Counts {
        compiler: compiler()?,
        ..Counts::default()
    };
    for case in &CASES {
        let result = Command::new(&valgrind)
            .env("VALGRIND_LIB", tools::directory().join("valgrind"))
            .args(["--tool=callgrind", COUNTED_FUNCTION])
            .arg(format!("--callgrind-out-file={}", output.display()))
            .arg(std::env::current_exe()?)
            .args(["--case", case.name])
            .output()?;
        if !result.status.success() {
            let (stdout, stderr) = (result.stdout, result.stderr);
            let text = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
            return Err(format!("{}: {text}", case.name).into());
        }
        let samples = case.ticks() as u64 * case.samples();
        let total = total(&output)? / samples;
        counts.instructions.insert(case.name.to_owned(), total);
    }
    Ok(counts)
}

/// All instructions that callgrind has counted.
fn total(output: &Path) -> Result<u64, Box<dyn Error>> {
    let text = std::fs::read_to_string(output)?;
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .ok_or("callgrind's output has no totals")?;
    match total.trim().parse()? {
        0 => Err("callgrind has not found the function to count".into()),
        total => Ok(total),
    }
}

/// The compiler, and the processor that it compiles for.
fn compiler() -> Result<String, Box<dyn Error>> {
    let output = Command::new("rustc").arg("--version").output()?;
    let version = String::from_utf8(output.stdout)?;
    Ok(format!("{}, {}", version.trim(), std::env::consts::ARCH))
}

fn baseline_path() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/counts.json")
}

fn write(counts: &Counts) -> Result<(), Box<dyn Error>> {
    let text = serde_json::to_string_pretty(counts)? + "\n";
    std::fs::write(baseline_path(), &text)?;
    println!("{text}");
    Ok(())
}

/// Prints all counts beside those of `counts.json`, and says whether they are the same within the
/// tolerance. Those of another compiler are only printed.
fn compare(counts: &Counts) -> Result<bool, Box<dyn Error>> {
    let baseline: Counts = serde_json::from_slice(&std::fs::read(baseline_path())?)?;
    let mut same = true;
    println!("instructions a sample    before       now    change");
    for case in &CASES {
        let now = counts.instructions[case.name];
        let Some(&before) = baseline.instructions.get(case.name) else {
            println!("{:<28} counts.json lacks it", case.name);
            same = false;
            continue;
        };
        let change = now as f64 / before as f64 - 1.0;
        println!(
            "{:<28} {before:>6} {now:>8} {:>8.1} %",
            case.name,
            change * 100.0
        );
        same &= change.abs() <= TOLERANCE;
    }
    if counts.compiler != baseline.compiler {
        println!(
            "counts.json was made with {}, this with {}: their counts may differ",
            baseline.compiler, counts.compiler
        );
        return Ok(true);
    }
    if !same {
        println!(
            "A count has changed by more than {:.0} %. Mend what costs more, or commit the new \
             counts: make bench-count COUNT_FLAGS=--write",
            TOLERANCE * 100.0
        );
    }
    Ok(same)
}
