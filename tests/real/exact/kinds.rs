//! Each kind of series: scraped every 0.1 to 8 s, recorded by rules, native histograms, names in
//! UTF-8, targets that go.

use std::path::Path;

use amp_forwarder_support::process::{Prometheus, V2_42, V2_53, V3_5};
use amp_forwarder_support::{Labels, now_ms};
use tempfile::TempDir;

use super::{Ends, NATIVE, Sandboxes, has, home, job};
use crate::targets;

/// Intervals of the targets that stay.
const INTERVALS: [(&str, &str); 5] = [
    ("tenth", "100ms"),
    ("third", "300ms"),
    ("second", "1s"),
    ("slow", "2500ms"),
    ("slowest", "8s"),
];

const RULES: &str = "groups:
- name: sums
  interval: 1s
  rules:
  - {record: 'job:counts:sum', expr: 'sum by (job) (counts)'}
  - {record: 'job:counts:max', expr: 'max by (job) (counts)', labels: {kind: rule}}
- name: rates
  interval: 400ms
  rules:
  - {record: 'counts:rate', expr: 'rate(counts[5s])'}
  - {alert: Flickers, expr: 'flickers{i=\"0\"} > 0', for: 0s}
";

/// Writes rule files, and names them in the configuration.
pub(super) fn rules(folder: &Path, groups: &str) -> String {
    let path = folder.join("rules.yml");
    std::fs::write(&path, groups).unwrap();
    format!("rule_files: ['{}']\n", path.display())
}

/// What a home of this version can hold besides floats.
#[derive(Debug, Clone, Copy)]
struct Abilities {
    histograms: bool,
    utf8: bool,
}

async fn every_sample_arrives(version: &str, abilities: Abilities, sandboxes: Sandboxes) {
    let folder = TempDir::new().unwrap();
    let counting = targets::counting("counts", 20).await;
    let flickering = targets::flickering(8).await;
    let odd = targets::odd_values().await;
    let leaving = targets::counting("leaving", 5).await;
    let removed = targets::counting("removed", 5).await;
    let histograms = targets::histograms().await;
    let utf8 = targets::utf8().await;
    let mut jobs: Vec<_> = INTERVALS
        .iter()
        .map(|(name, every)| job(name, &counting, every))
        .collect();
    jobs.push(job("flickering", &flickering, "500ms"));
    jobs.push(job("odd", &odd, "500ms"));
    jobs.push(job("leaving", &leaving, "500ms"));
    let mut flags = Vec::new();
    if abilities.histograms {
        jobs.push(job("histograms", &histograms, "500ms"));
        flags.push(NATIVE);
    }
    if abilities.utf8 {
        jobs.push(job("utf8", &utf8, "500ms"));
    }
    // Its other target stays: a job that is removed as a whole leaves no markers.
    let mut last = job("last", &odd, "500ms");
    last.targets.push(removed.address().to_string());
    jobs.push(last);
    let mut home = home(version, jobs, &rules(folder.path(), RULES), &flags).await;
    let mut ends = Ends::start(&home.address(), "always, settle: 2s", sandboxes, |yaml| {
        yaml
    })
    .await;
    ends.run_until(now_ms()).await;

    // One target does not answer any more, and one is no target any more.
    drop(leaving);
    home.reload(|options| {
        options.jobs.last_mut().unwrap().targets.pop();
    })
    .await
    .unwrap();
    has(&home, "absent(leaving)").await;
    has(&home, "absent(removed)").await;
    has(&home, "count_over_time(up{job=\"slowest\"}[1m]) >= 2").await;
    ends.run_until(now_ms() + 1_000).await;

    let until_ms = ends.safe_ms().unwrap();
    let samples = ends.assert_equal(&home, until_ms, underscored).await;
    assert!(
        samples > 5_000,
        "{version}: {samples} samples were compared"
    );
    assert_kinds(&home, &ends, abilities).await;
}

/// AMP takes legacy names only, so the home's others are written as `/federate` writes them.
fn underscored(labels: &mut Labels) {
    let legal = |name: &str| {
        name.chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == ':' {
                    c
                } else {
                    '_'
                }
            })
            .collect::<String>()
    };
    let all = std::mem::take(labels);
    labels.extend(all.into_iter().map(|(name, value)| {
        let is_metric = name == "__name__";
        (legal(&name), if is_metric { legal(&value) } else { value })
    }));
}

/// Asserts that the comparison was of everything that it is to be of.
async fn assert_kinds(home: &Prometheus, ends: &Ends, abilities: Abilities) {
    let received = ends.received().await;
    let of = |name: &str| {
        let series = received.floats.iter();
        series
            .filter(|(labels, _)| labels["__name__"] == name)
            .map(|(_, samples)| samples.len())
            .sum::<usize>()
    };
    for name in [
        "job:counts:sum",
        "counts:rate",
        "ALERTS",
        "flickers",
        "odd",
        "up",
    ] {
        assert!(of(name) > 10, "{}: {name}: {}", home.url(), of(name));
    }
    for name in ["leaving", "removed"] {
        let markers = received.floats.iter().filter(|(labels, samples)| {
            let last = samples.last_key_value().unwrap().1;
            labels["__name__"] == name && *last == amp_forwarder::prompb::STALE_NAN
        });
        assert_eq!(markers.count(), 5, "{name}");
    }
    if abilities.histograms {
        let samples: usize = received.histograms.values().map(|of| of.len()).sum();
        assert!(samples > 10, "{samples}");
    }
    if abilities.utf8 {
        assert!(
            of("exact_dotted") > 10 && of("__") > 10,
            "{:?}",
            received.floats.keys()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sample_of_debian_stables_prometheus() {
    let abilities = Abilities {
        histograms: false,
        utf8: false,
    };
    every_sample_arrives(V2_42, abilities, Sandboxes::One).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sample_of_the_last_prometheus_2() {
    let abilities = Abilities {
        histograms: true,
        utf8: false,
    };
    every_sample_arrives(V2_53, abilities, Sandboxes::Two).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sample_of_prometheus_3() {
    let abilities = Abilities {
        histograms: true,
        utf8: true,
    };
    every_sample_arrives(V3_5, abilities, Sandboxes::Cold).await;
}
