//! forwardctl's commands for a spool: what an outage leaves, the blocks that promtool makes of it,
//! and its delivery.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use amp_forwarder_support::gateway::Gateway;
use amp_forwarder_support::gateway::faults::{Fault, FaultAction};
use amp_forwarder_support::home::{Page, ScriptedHome};
use amp_forwarder_support::now_ms;
use amp_forwarder_support::tools;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::common::{TestConfig, assert_has, credentials, exposition, gateway, scripted, spooling};

/// Batches of 50 samples: 125 of the home and five of the forwarder's own.
const SAMPLES: u64 = 130;

/// A spool and both ends. The slot after the first one is far away, so that only the commands of a
/// test make ticks.
struct SpoolFixture {
    folder: TempDir,
    gateway: Gateway,
    home: ScriptedHome,
}

struct CommandOutput {
    code: Option<i32>,
    out: String,
    err: String,
}

impl SpoolFixture {
    async fn new() -> Self {
        let (home, gateway, folder) = (
            scripted(125).await,
            gateway().await,
            TempDir::new().unwrap(),
        );
        let queue = "max_samples_per_send: 50, max_shards: 4, capacity: 2500, \
                     min_backoff: 10ms, max_backoff: 50ms";
        let config = TestConfig {
            queue,
            ..TestConfig::new(&home.address(), &gateway)
        };
        let yaml = config.yaml().replace(
            "remote_write:\n  - url",
            "remote_write:\n  - name: amp\n    remote_timeout: 1s\n    url",
        );
        std::fs::write(
            folder.path().join("forwarder.yml"),
            spooling(&yaml, folder.path()),
        )
        .unwrap();
        Self {
            folder,
            gateway,
            home,
        }
    }

    /// A spool with the backlog of an outage.
    async fn after_an_outage() -> Self {
        let spool = Self::new().await;
        // A denial is final, so the tick ends at once.
        spool.gateway.faults().add(Fault::always(denied()));
        let ran = spool.runs(&["run", "--once", "--json"]).await;
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(report["ledger"]["owed_after"], SAMPLES, "{report}");
        spool.gateway.faults().clear();
        spool
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    fn segments(&self) -> Vec<PathBuf> {
        files(&self.path().join("segments/amp"))
    }

    async fn runs(&self, arguments: &[&str]) -> CommandOutput {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forwardctl"));
        let output = command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .envs(credentials())
            .output()
            .await
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        CommandOutput {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.runs(&[arguments, &["--json"]].concat()).await;
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}{}", ran.out, ran.err);
        serde_json::from_str(&ran.out).unwrap()
    }
}

fn denied() -> FaultAction {
    Fault::status(403, "{\"message\":\"no\"}")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn a_spool_that_is_not_there_yet_is_no_error() {
    let spool = SpoolFixture::new().await;
    for arguments in [&["status"][..], &["spool", "ls"], &["spool", "verify"]] {
        let ran = spool.runs(arguments).await;
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert!(
            ran.out.contains("none yet") || ran.out.contains("no spool yet"),
            "{arguments:?}: {}",
            ran.out
        );
    }
    assert_eq!(spool.json(&["spool", "ls"]).await["remotes"], json!([]));
    assert_eq!(spool.json(&["spool", "verify"]).await["damaged"], json!([]));
    let status = spool.json(&["status"]).await;
    assert_has(
        &status,
        &json!({"spool": {"exists": false, "lease": {"state": "free"}}}),
    );
    let ran = spool.runs(&["spool", "export"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(ran.out, "# EOF\n");
    assert!(!spool.path().exists(), "looking makes nothing");
    let ran = spool.runs(&["spool", "drain"]).await;
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("nothing is owed any more"), "{}", ran.out);
}

#[tokio::test]
async fn a_backlog_is_listed() {
    let spool = SpoolFixture::after_an_outage().await;
    let listed = spool.json(&["spool", "ls", "--long"]).await;
    let heap = &listed["remotes"][0];
    assert_has(
        heap,
        &json!({"folder": "segments", "remote": "amp", "samples": SAMPLES}),
    );
    let bytes: u64 = spool
        .segments()
        .iter()
        .map(|path| path.metadata().unwrap().len())
        .sum();
    assert_eq!(heap["objects"], spool.segments().len());
    assert_eq!(heap["bytes"], bytes);
    let ran = spool.runs(&["spool", "ls"]).await;
    assert!(
        ran.out.starts_with("FOLDER ")
            && ran.out.contains("segments  amp ")
            && ran.out.contains(" 130 "),
        "{}",
        ran.out
    );
    let ran = spool.runs(&["spool", "ls", "--remote", "amq"]).await;
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.err.contains("unknown remote amq") && ran.err.contains("have: amp"),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn the_status_shows_a_backlog() {
    let spool = SpoolFixture::after_an_outage().await;
    let status = spool.json(&["status"]).await;
    assert_eq!(status["spool"]["samples"], SAMPLES, "{status}");
    assert_eq!(status["remotes"][0]["samples"], SAMPLES, "{status}");
    assert_has(
        &status,
        &json!({"spool": {"lease": {"state": "free"}, "epoch": 1}}),
    );
    assert!(
        status["jobs"][0]["watermarks"]["amp"].as_i64().unwrap() > now_ms() - 120_000,
        "{status}"
    );
    let ran = spool.runs(&["status"]).await;
    assert!(
        ran.out.contains("130 samples in")
            && ran.out.contains("lease    free")
            && ran.out.contains("federate  20"),
        "{}",
        ran.out
    );
}

#[tokio::test]
async fn a_segment_is_shown_by_its_key_its_name_or_its_path() {
    let spool = SpoolFixture::after_an_outage().await;
    let listed = spool.json(&["spool", "ls", "--long"]).await;
    let key = listed["objects"][0]["key"].as_str().unwrap();
    let name = key.rsplit('/').next().unwrap();
    for name in [
        key.to_owned(),
        name.to_owned(),
        spool.path().join(key).display().to_string(),
    ] {
        let shown = spool.json(&["spool", "show", &name]).await;
        let samples: u64 = shown["batches"]
            .as_array()
            .unwrap()
            .iter()
            .map(|batch| batch["samples"].as_u64().unwrap())
            .sum();
        assert_has(&shown, &json!({"key": key, "epoch": 1, "samples": samples}));
    }
    assert!(
        spool
            .runs(&["spool", "show", name])
            .await
            .out
            .contains("of epoch 1")
    );
    let ran = spool
        .runs(&["spool", "show", "0000000099-00000000-0000.seg"])
        .await;
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("spool ls --long"), "{}", ran.err);
}

#[tokio::test]
async fn a_backlog_is_drained() {
    let spool = SpoolFixture::after_an_outage().await;
    assert_eq!(spool.gateway.stored().len(), 0);
    let ran = spool.runs(&["spool", "drain"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(ran.out, "130 samples written; nothing is owed any more\n");
    assert!(
        !ran.err.contains('\u{1b}') && !ran.err.contains("/130"),
        "no bar without a terminal: {}",
        ran.err
    );
    assert_eq!(spool.gateway.stored().len() as u64, SAMPLES);
    assert!(spool.segments().is_empty(), "{:?}", spool.segments());
    assert_eq!(spool.gateway.stats().out_of_order, 0);
    let drained = spool.json(&["spool", "drain"]).await;
    assert_has(
        &drained,
        &json!({"outcome": "drained", "slices": 1, "ledger": {"owed_before": 0}}),
    );
}

#[tokio::test]
async fn the_backlog_of_a_renamed_remote_or_of_another_place_is_adopted() {
    for other_place in [false, true] {
        let spool = SpoolFixture::after_an_outage().await;
        let config = spool.folder.path().join("forwarder.yml");
        let yaml = std::fs::read_to_string(&config).unwrap();
        let old = spool.folder.path().join("spool");
        let elsewhere = format!("file://{}", spool.folder.path().join("old").display());
        let mut adopt = vec!["spool", "adopt", "amp"];
        if other_place {
            std::fs::rename(&old, spool.folder.path().join("old")).unwrap();
            adopt.extend(["--from", &elsewhere]);
        } else {
            let still_named = spool.runs(&adopt).await;
            assert_eq!(still_named.code, Some(2), "{}", still_named.err);
        }
        std::fs::write(&config, yaml.replace("name: amp", "name: new")).unwrap();
        if !other_place {
            let ran = spool.runs(&["spool", "drain", "--json"]).await;
            assert!(
                ran.out.contains("forwardctl spool adopt amp"),
                "{}",
                ran.out
            );
        }
        let ran = spool.runs(&adopt).await;
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert_eq!(
            ran.out,
            "130 samples of amp are owed to new now; the next tick sends them\n"
        );
        let nothing = spool.runs(&adopt).await;
        assert_eq!(nothing.code, Some(1), "{}", nothing.out);
        assert!(nothing.err.contains("there is no backlog of amp"));
        let drained = spool.json(&["spool", "drain"]).await;
        assert_has(
            &drained,
            &json!({"outcome": "drained", "ledger": {"written": SAMPLES}}),
        );
        assert_eq!(spool.gateway.stored().len() as u64, SAMPLES);
    }
}

#[tokio::test]
async fn a_drain_that_gets_nowhere_says_why_and_ends() {
    let spool = SpoolFixture::after_an_outage().await;
    spool.gateway.faults().add(Fault::always(denied()));
    let ran = spool.runs(&["spool", "drain"]).await;
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.out.contains("130 samples still owed") && ran.err.contains("403"),
        "{}{}",
        ran.out,
        ran.err
    );
    assert_eq!(spool.json(&["status"]).await["spool"]["samples"], SAMPLES);
}

#[tokio::test]
async fn what_was_refused_is_shown_with_its_answer() {
    let spool = SpoolFixture::new().await;
    // Without this limit, the old sample would be taken out of its batch beforehand.
    let path = spool.folder.path().join("forwarder.yml");
    let yaml = std::fs::read_to_string(&path).unwrap();
    let yaml = yaml.replace("capacity: 2500", "capacity: 2500, sample_age_limit: 0s");
    std::fs::write(&path, yaml).unwrap();
    let now = now_ms();
    spool.home.serve(Page::text(format!(
        "{}old{{job=\"j\"}} 1 {}\n",
        exposition(20, now),
        now - 2 * 3_600_000
    )));
    spool.runs(&["run", "--once"]).await;
    let listed = spool
        .json(&["spool", "ls", "--folder", "rejected", "--long"])
        .await;
    let key = listed["objects"][0]["key"].as_str().unwrap();
    assert!(key.starts_with("rejected/amp/"), "{listed}");
    let shown = spool.json(&["spool", "show", key]).await;
    assert_eq!(shown["note"]["status"], 400, "{shown}");
    let message = shown["note"]["message"].as_str().unwrap();
    assert!(!message.is_empty());
    let ran = spool.runs(&["spool", "show", key]).await;
    assert!(
        ran.out.contains("refused with 400: ") && ran.out.contains(message.trim_end()),
        "{}",
        ran.out
    );
}

#[tokio::test]
async fn every_damaged_object_is_reported() {
    let spool = SpoolFixture::after_an_outage().await;
    let ran = spool.runs(&["spool", "verify"]).await;
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    let whole = std::fs::read(&spool.segments()[0]).unwrap();
    let plant = |name: &str, bytes: &[u8]| {
        std::fs::write(spool.path().join("segments/amp").join(name), bytes).unwrap();
    };
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    plant("0000000000-00000001-0000.seg", &flipped);
    plant("0000000000-00000002-0000.seg", &whole[..whole.len() - 1]);
    plant("notes.txt", b"milk, eggs");
    let ran = spool.runs(&["spool", "verify"]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    let reported = |name: &str, why: &str| {
        ran.out
            .lines()
            .any(|line| line.contains(name) && line.contains(why))
    };
    assert!(
        reported("0000000000-00000001-0000.seg", "checksum")
            && reported("0000000000-00000002-0000.seg", "truncated"),
        "{}",
        ran.out
    );
    assert!(
        reported("notes.txt", "not a segment") && ran.out.contains("3 of "),
        "{}",
        ran.out
    );
    let ran = spool
        .runs(&["spool", "verify", "--folder", "rejected"])
        .await;
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    let ran = spool
        .runs(&["spool", "show", "0000000000-00000002-0000.seg"])
        .await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("truncated"), "{}", ran.err);

    // Readable segments are exported in spite of the damaged ones.
    let ran = spool.runs(&["spool", "export"]).await;
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.out.ends_with("# EOF\n")
            && ran
                .out
                .lines()
                .filter(|line| line.starts_with("m{"))
                .count()
                == 125,
        "{}",
        ran.out
    );
    assert_eq!(
        ran.err
            .lines()
            .filter(|line| line.starts_with("left out: "))
            .count(),
        3,
        "{}",
        ran.err
    );
}

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

#[tokio::test]
async fn a_spool_that_cannot_be_used_says_why() {
    let spool = SpoolFixture::after_an_outage().await;
    let state = spool.path().join("state.json");
    std::fs::write(&state, r#"{"version":3}"#).unwrap();
    for arguments in [&["status"][..], &["spool", "drain"]] {
        let ran = spool.runs(arguments).await;
        assert_eq!(ran.code, Some(1), "{arguments:?}");
        assert!(
            ran.err.contains("version 3") && ran.err.contains("bring the newer program back"),
            "{}",
            ran.err
        );
    }
    // The segments can be listed without a readable state.
    assert_eq!(
        spool.json(&["spool", "ls"]).await["remotes"][0]["samples"],
        SAMPLES
    );
    std::fs::write(&state, "no json").unwrap();
    let ran = spool.runs(&["status"]).await;
    assert!(
        ran.code == Some(1) && ran.err.contains("remove that one object"),
        "{}",
        ran.err
    );

    let file = SpoolFixture::new().await;
    std::fs::write(file.path(), "a file").unwrap();
    for arguments in [&["status"][..], &["spool", "ls"], &["spool", "export"]] {
        let ran = file.runs(arguments).await;
        assert_eq!(ran.code, Some(1), "{arguments:?}: {}", ran.out);
        assert!(
            ran.err.starts_with("spool: ")
                && ran.err.contains("name another one in forwarder.spool.url"),
            "{}",
            ran.err
        );
    }
}
