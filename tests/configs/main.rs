//! Small configurations, each given to a real Prometheus 3.5 and to the loader: both refuse it, or
//! both understand the same. What differs is on a list with a reason (`known`), which is the last
//! section of docs/differences.md.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails, and real programs run on the machine's clock"
)]

mod compare;
mod grammar;
mod known;
mod prometheus;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use amp_forwarder::config::Config;

use compare::differences;
use known::{KNOWN, Known};
use prometheus::Judge;

/// What became of one configuration.
struct Verdict {
    text: String,
    /// Differences that are on no list.
    unknown: Vec<String>,
    /// Rows of the list that were met.
    met: BTreeSet<&'static str>,
}

/// Asks both, and compares. With `promtool`, what people check a configuration with is asked as
/// well.
async fn compared(judge: &Judge, text: String, promtool: bool) -> Verdict {
    let theirs = judge.load(&text).await;
    if promtool {
        let takes = judge.promtool_takes(&text);
        assert_eq!(
            takes,
            theirs.is_ok(),
            "promtool and Prometheus differ:\n{text}"
        );
    }
    let ours = Config::load(&text, &|_| None, &judge.origin());
    let found = match (&ours, &theirs) {
        (Err(_), Err(_)) => Vec::new(),
        (Err(ours), Ok(_)) => ours
            .problems
            .iter()
            .map(|problem| format!("refused: {}: {}", problem.path, problem.message))
            .collect(),
        (Ok(_), Err(theirs)) => vec![format!("taken: {theirs}")],
        (Ok(ours), Ok(theirs)) => differences(&ours.config.effective(), theirs),
    };
    let mut verdict = Verdict {
        text,
        unknown: Vec::new(),
        met: BTreeSet::new(),
    };
    for difference in found {
        match KNOWN.iter().find(|known| known.is(&difference)) {
            Some(known) => {
                verdict.met.insert(known.pattern);
            }
            None => verdict.unknown.push(difference),
        }
    }
    verdict
}

/// Fails with the differences that are on no list, each once.
fn assert_known(verdicts: &[Verdict]) {
    let mut unknown: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for verdict in verdicts {
        for difference in &verdict.unknown {
            let entry = unknown.entry(difference).or_insert((0, &verdict.text));
            entry.0 += 1;
        }
    }
    let shown: Vec<_> = unknown
        .iter()
        .map(|(difference, (times, text))| format!("{times} × {difference}\n{text}"))
        .collect();
    assert!(
        shown.is_empty(),
        "{} differences:\n{}",
        shown.len(),
        shown.join("\n")
    );
}

/// The fast part: the same configurations in every run.
#[tokio::test]
async fn what_prometheus_loads_loads_with_the_same_effect() {
    let judge = Judge::start().await.unwrap();
    let mut verdicts = Vec::new();
    for seed in 0..320 {
        verdicts.push(compared(&judge, grammar::configuration(seed), seed % 10 == 0).await);
    }
    assert_known(&verdicts);
}

#[tokio::test]
async fn the_list_of_differences_is_true() {
    let judge = Judge::start().await.unwrap();
    for known in KNOWN {
        let verdict = compared(&judge, grammar::around(known.example), true).await;
        assert!(
            verdict.met.contains(known.pattern),
            "{:?} does not show in\n{}\n{:?}",
            known.pattern,
            verdict.text,
            verdict.unknown
        );
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/differences.md");
    let found = std::fs::read_to_string(path).unwrap();
    // People write what stands before the list.
    let (by_hand, _) = found.split_once(HEADING).expect(HEADING);
    let written = format!("{by_hand}{HEADING}{}", section());
    if std::env::var_os("UPDATE_DIFFERENCES").is_some() {
        std::fs::write(path, &written).unwrap();
        return;
    }
    assert_eq!(found, written, "run it once more with UPDATE_DIFFERENCES=1");
}

/// New configurations for `CONFIGS_SECONDS`, ten minutes by default.
#[tokio::test]
#[ignore = "runs for ten minutes"]
async fn new_configurations_show_nothing_new() {
    let seconds = std::env::var("CONFIGS_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(600);
    let judge = Judge::start().await.unwrap();
    let started = Instant::now();
    let first = u64::from(std::process::id()) << 32;
    let mut verdicts = Vec::new();
    let mut count = 0_u64;
    while started.elapsed() < Duration::from_secs(seconds) {
        let verdict = compared(&judge, grammar::configuration(first + count), true).await;
        count += 1;
        if !verdict.unknown.is_empty() {
            verdicts.push(verdict);
        }
    }
    println!(
        "{count} configurations in {seconds} s, {} with something new",
        verdicts.len()
    );
    assert_known(&verdicts);
}

/// The heading of the section that this test writes.
const HEADING: &str = "\n## The configuration\n";

/// What follows the heading.
fn section() -> String {
    let mut page = String::from(
        "\nWritten by the test `configs`, which gives each example to a Prometheus 3.5 and to the\n\
         forwarder. What is not listed here loads as in Prometheus, with the same effect, or is\n\
         refused by both. Keys that the forwarder does not take at all are in\n\
         [configuration](configuration.md#not-taken).\n",
    );
    for (kind, title) in [
        (
            "refused: ",
            "Prometheus loads it, and the forwarder refuses it",
        ),
        (
            "taken: ",
            "The forwarder loads it, and Prometheus refuses it",
        ),
        ("value: ", "Both load it, and the effect differs"),
    ] {
        page.push_str(&format!(
            "\n### {title}\n\n| example | why |\n| --- | --- |\n"
        ));
        for Known {
            example, reason, ..
        } in KNOWN.iter().filter(|known| known.pattern.starts_with(kind))
        {
            let example = example.replace('\n', " ⏎ ").replace('|', "\\|");
            page.push_str(&format!("| `{example}` | {reason} |\n"));
        }
    }
    page
}
