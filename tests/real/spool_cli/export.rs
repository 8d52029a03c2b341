//! The blocks that promtool makes of an export.

use std::collections::BTreeMap;
use std::path::Path;

use amp_forwarder_support::gateway::faults::Fault;
use amp_forwarder_support::home::Page;
use amp_forwarder_support::now_ms;
use amp_forwarder_support::tools;
use serde_json::json;
use tokio::process::Command;

use super::{SpoolFixture, denied};
use crate::common::{assert_has, exposition};

/// A sample as `promtool tsdb dump` prints it.
struct DumpedSample {
    value: String,
    /// Milliseconds since 1970.
    timestamp: i64,
}

/// Samples by series.
type Blocks = BTreeMap<String, Vec<DumpedSample>>;

/// Lets promtool make blocks of an export, and reads them.
async fn blocks(folder: &Path, metrics: &Path) -> Blocks {
    let promtool = tools::program("prometheus-3.5/promtool").unwrap();
    let data = folder.join("data");
    let made = Command::new(&promtool)
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([metrics, &data])
        .output()
        .await
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    // `dump` needs the layout of a whole database.
    std::fs::create_dir(data.join("wal")).unwrap();
    let dumped = Command::new(&promtool)
        .args(["tsdb", "dump"])
        .arg(&data)
        .output()
        .await
        .unwrap();
    assert!(dumped.status.success(), "{dumped:?}");
    let mut series = Blocks::new();
    for line in String::from_utf8(dumped.stdout).unwrap().lines() {
        let (labels, sample) = line.rsplit_once("} ").unwrap();
        let (value, ms) = sample.split_once(' ').unwrap();
        series
            .entry(format!("{labels}}}"))
            .or_default()
            .push(DumpedSample {
                value: value.to_owned(),
                timestamp: ms.parse().unwrap(),
            });
    }
    series
}

/// Spools each series in three scrapes at these times.
async fn spool_three_scrapes(spool: &SpoolFixture, times: &[i64; 3]) {
    spool.gateway.faults().add(Fault::always(denied()));
    for (turn, at) in times.iter().enumerate() {
        let odd = format!(
            "h_bucket{{le=\"+Inf\"}} {turn} {at}\nh_created {turn} {at}\n\
             odd{{a=\"\\\"\\\\\\n é\"}} -Inf {at}\n"
        );
        let numbers =
            format!("h_total 1e+21 {at}\nnan NaN {at}\nsmall 5e-324 {at}\nzero -0 {at}\n");
        spool.home.serve(Page::text(format!(
            "{}{odd}{numbers}",
            exposition(125, *at)
        )));
        spool.runs(&["run", "--once"]).await;
    }
    let listed = spool.json(&["spool", "ls"]).await;
    let of = |folder: &str| {
        listed["remotes"]
            .as_array()
            .unwrap()
            .iter()
            .find(|heap| heap["folder"] == folder)
            .unwrap()["samples"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(
        of("segments") + of("expired"),
        3 * (125 + 7 + 5),
        "{listed}"
    );
}

#[tokio::test]
async fn promtool_makes_blocks_of_an_export() {
    let spool = SpoolFixture::new().await;
    let now = now_ms();
    // The first scrape expires, and its samples are in another two-hour block.
    let times = [now - 2 * 3_600_000, now - 1_001, now];
    spool_three_scrapes(&spool, &times).await;

    let metrics = spool.folder.path().join("metrics.txt");
    let exported = spool
        .json(&["spool", "export", "--output", "metrics.txt"])
        .await;
    let none = json!({"stale": 0, "histograms": 0, "repeated": 0});
    assert_has(
        &exported,
        &json!({"samples": 411, "series": 137, "left_out": none}),
    );
    assert_exports(&spool, &std::fs::read_to_string(&metrics).unwrap()).await;

    let found = blocks(spool.folder.path(), &metrics).await;
    assert_eq!(found.len(), 137, "series");
    assert_eq!(found.values().map(Vec::len).sum::<usize>(), 411, "samples");
    assert_blocks(&found, &times);
}

/// Asserts what else `spool export` does of a spool whose export is `whole`.
async fn assert_exports(spool: &SpoolFixture, whole: &str) {
    let ran = spool.runs(&["spool", "export", "-o", "metrics.txt"]).await;
    assert_eq!(ran.code, Some(1), "an existing file is not replaced");
    assert!(ran.err.contains("metrics.txt"), "{}", ran.err);
    let ran = spool.runs(&["spool", "export", "--json"]).await;
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    let ran = spool.runs(&["spool", "export", "--remote", "amp"]).await;
    assert_eq!(ran.out, whole);
    let ran = spool
        .runs(&["spool", "export", "--folder", "rejected"])
        .await;
    assert_eq!(ran.out, "# EOF\n");
}

/// Asserts that the odd series have their values at these times.
fn assert_blocks(found: &Blocks, times: &[i64; 3]) {
    let series = |name: &str| {
        let name = format!("__name__=\"{name}\"");
        found
            .iter()
            .find(|(labels, _)| labels.contains(&name))
            .map(|(_, samples)| samples)
            .unwrap()
    };
    for name in [
        "m",
        "h_bucket",
        "h_created",
        "odd",
        "h_total",
        "nan",
        "small",
        "zero",
    ] {
        assert_eq!(
            series(name)
                .iter()
                .map(|sample| sample.timestamp)
                .collect::<Vec<_>>(),
            times,
            "{name}"
        );
    }
    let first = |name: &str| series(name)[0].value.as_str();
    assert_eq!(
        ["odd", "h_total", "nan", "small", "zero"].map(first),
        ["-Inf", "1e+21", "NaN", "5e-324", "-0"]
    );
    assert_eq!(
        series("h_created")
            .iter()
            .map(|sample| sample.value.as_str())
            .collect::<Vec<_>>(),
        ["0", "1", "2"]
    );
    assert!(
        found
            .keys()
            .any(|labels| labels.contains(r#"a="\"\\\n é""#)),
        "{:?}",
        found.keys().collect::<Vec<_>>()
    );
}
