//! Runs many seeds, or repeats one.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::events::Hits;
use crate::planted::Bug;
use crate::run::{self, Outcome};
use crate::world::lock;
use crate::{reads, spool};

const DEFAULT_SEEDS: u64 = 500;

/// From this number of seeds on, every event must have occurred.
const ENOUGH: u64 = 5_000;

/// A seed that takes longer is busy for ever, since time is simulated. It takes some milliseconds.
const STUCK: Duration = Duration::from_secs(120);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}"))
    })
}

/// A simulation: from a seed to an outcome.
type Simulation = fn(u64, &Arc<Hits>, bool, Option<Bug>) -> Outcome;

const SIMULATIONS: [(&str, Simulation); 4] = [
    ("direct", run::seed),
    ("spool", spool::seed),
    ("disorder", spool::disorder::seed),
    ("reads", reads::seed),
];

/// Runs the simulations of a seed, or the one that `SIM_ONLY` names. A panic counts as a finding.
fn one(seed: u64, hits: &Arc<Hits>, tells: bool) -> Outcome {
    let only = std::env::var("SIM_ONLY").ok();
    let whole = || {
        let mut outcome = Outcome {
            findings: vec![],
            story: vec![],
        };
        for (name, simulation) in SIMULATIONS {
            if outcome.findings.is_empty() && only.as_deref().is_none_or(|only| only == name) {
                let Outcome { findings, story } = simulation(seed, hits, tells, None);
                outcome.findings = findings;
                outcome.story.extend(story);
            }
        }
        outcome
    };
    catch_unwind(AssertUnwindSafe(whole)).unwrap_or_else(|_| Outcome {
        findings: vec!["panic: see above".to_owned()],
        story: vec![],
    })
}

/// Seeds that have found something, and what it was.
const FOUND: [(Simulation, u64, &str); 11] = [
    (
        run::seed,
        2_014_679,
        "a late slot: it came while the tick went on for another job's scrape alone, and its \
         samples had to wait for the receiver",
    ),
    (
        spool::seed,
        10_009_148,
        "a backlog told too small: a segment in no sum was not looked into while another one, \
         which is in it, was not known either",
    ),
    (
        spool::seed,
        60_029_663,
        "a tick that was busy for ever: a suspension had moved the end of a lease that is not \
         renewed, and it was to be renewed at once, again and again",
    ),
    (
        spool::disorder::seed,
        1_249,
        "a ledger that did not balance: memory forgot a series of which a sample was left to \
         another scrape, and both counted it",
    ),
    (
        reads::seed,
        70_014_782,
        "a loss: reads worked again after three ticks without any, and one of them failed once \
         more in the same tick, so that it went on with federation and left out what was not read",
    ),
    (
        reads::seed,
        4_020_900,
        "a loss: a process had given samples back to the home, and in its absence another one had \
         the lease",
    ),
    (
        reads::seed,
        4_002_032,
        "a loss: the start of a first read moved back although its samples were in the queues",
    ),
    (
        reads::seed,
        4_003_033,
        "a repeat: a delivery was dropped for an ordered spill after the first half of its batch \
         was answered",
    ),
    (
        reads::seed,
        6_000_333,
        "a watermark in the future: reading began ahead of the clock of a home that is behind",
    ),
    (
        reads::seed,
        6_087_603,
        "a loss: a home whose clock is behind, and whose first window was read in part only",
    ),
    (
        reads::seed,
        30_005_200,
        "a loss: what became visible late was given back to the home, and its time was taken for \
         one that had arrived",
    ),
];

#[test]
fn seeds_that_found_something() {
    let hits = Arc::new(Hits::default());
    for (simulation, seed, what) in FOUND {
        let Outcome { findings, .. } = simulation(seed, &hits, false, None);
        assert!(
            findings.is_empty(),
            "{seed}, which found {what}: {findings:?}"
        );
    }
}

/// Ends the process if a seed is busy for ever: nothing else could end it.
fn end_if_stuck(under_way: &Mutex<BTreeMap<u64, Instant>>) {
    let is_stuck = |begun: &Instant| begun.elapsed() > STUCK;
    let under_way = lock(under_way);
    if let Some((seed, _)) = under_way.iter().find(|(_, begun)| is_stuck(begun)) {
        // Nobody would see what the test harness has captured when the process ends here.
        let what = format!("seed {seed}: it takes longer than {STUCK:?}, so it may never end");
        let _ = writeln!(std::io::stderr(), "{what}");
        std::process::exit(1);
    }
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "a seed that is busy for ever stops simulated time"
)]
fn seeds() {
    let hits = Arc::new(Hits::default());
    if let Some(seed) = number("SIM_SEED") {
        let outcome = one(seed, &hits, true);
        println!("{}\n{}", outcome.story.join("\n"), hits.table());
        assert!(
            outcome.findings.is_empty(),
            "seed {seed}:\n{}",
            outcome.findings.join("\n")
        );
        return;
    }
    let seeds = number("SIM_SEEDS").unwrap_or(DEFAULT_SEEDS);
    let first = number("SIM_FIRST").unwrap_or(0);
    let all = number("SIM_ALL").is_some();
    let next = AtomicU64::new(first);
    let failed = AtomicBool::new(false);
    let findings = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let threads = number("SIM_THREADS").map_or(cores.min(8), |threads| threads as usize);
    let under_way = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        let worker = |_| {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    lock(&under_way).insert(seed, Instant::now());
                    let outcome = one(seed, &hits, false);
                    lock(&under_way).remove(&seed);
                    if !outcome.findings.is_empty() {
                        failed.store(!all, Ordering::Relaxed);
                        lock(&findings).push((seed, outcome.findings));
                    }
                }
            })
        };
        let workers: Vec<_> = (0..threads).map(worker).collect();
        while !workers.iter().all(|worker| worker.is_finished()) {
            end_if_stuck(&under_way);
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    println!("{seeds} seeds; met:\n{}", hits.table());
    let mut findings = findings.into_inner().unwrap_or_default();
    findings.sort();
    if all {
        findings
            .iter()
            .for_each(|(seed, found)| println!("seed {seed}: {}", found[0]));
    }
    if let Some((seed, found)) = findings.first() {
        let story = one(*seed, &hits, true).story;
        println!("{}", story.join("\n"));
        panic!(
            "seed {seed}: repeat it with SIM_SEED={seed} cargo test --test sim seeds\n{}",
            found.join("\n")
        );
    }
    let never = hits.never();
    assert!(
        seeds < ENOUGH || never.is_empty() || std::env::var_os("SIM_ONLY").is_some(),
        "never met in {seeds} seeds: {never:?}"
    );
}

/// The same seed must give the same story, line by line.
#[test]
fn a_seed_reproduces() {
    let hits = Arc::new(Hits::default());
    for seed in 0..40 {
        let (first, second) = (one(seed, &hits, true), one(seed, &hits, true));
        assert!(first.story.len() > 10);
        assert_eq!(first.story, second.story, "seed {seed}");
    }
}
