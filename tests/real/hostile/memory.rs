//! What others have put into the spool, in our memory.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use amp_forwarder::batch::Batch;
use amp_forwarder::prompb::messages::{Sample, WriteRequest};
use amp_forwarder::series::{LastTimestamp, LastTimestamps};
use amp_forwarder::spool::segment;
use amp_forwarder::spool::state::MAX_BYTES;
use amp_forwarder_support::cgroup::ControlGroup;
use amp_forwarder_support::gateway::faults::{Fault, FaultAction};
use amp_forwarder_support::now_ms;
use prost::Message as _;
use serde_json::{Value, json};

use super::{Place, batch, forwardctl, name, request, series};
use crate::common::assert_balanced;

/// Memory of the smallest function, MB.
const MEMORY_MB: u64 = 128;

/// A request whose text repeats beyond the reach of our compressor: five bytes of the body become
/// 64, and compressing it anew makes it a dozen times as long.
fn far_copies(raw_len: usize) -> Batch {
    let mut literal = Vec::new();
    let mut rng = fastrand::Rng::with_seed(1);
    while literal.len() < 1 << 20 {
        let text: String = (0..1_000).map(|_| rng.alphanumeric()).collect();
        literal.extend(request(vec![series(&[("__name__", "m"), ("a", &text)])]));
    }
    let count = raw_len / literal.len();
    let mut body = Vec::new();
    prost::encoding::encode_varint((count * literal.len()) as u64, &mut body);
    body.push(62 << 2);
    body.extend_from_slice(&(literal.len() as u32 - 1).to_le_bytes()[..3]);
    body.extend_from_slice(&literal);
    let mut left = (count - 1) * literal.len();
    while left > 0 {
        let length = left.min(64);
        body.push(((length - 1) as u8) << 2 | 3);
        body.extend_from_slice(&(literal.len() as u32).to_le_bytes());
        left -= length;
    }
    let samples = WriteRequest::decode(&*literal).unwrap().timeseries.len() * count;
    Batch {
        samples: samples as u32,
        raw_len: (count * literal.len()) as u32,
        body: body.into(),
        ..batch(&[], 0)
    }
}

/// Segments that would fill memory, each in its way.
fn bombs() -> Vec<Vec<u8>> {
    let empty_entries = batch(&[0x0a, 0x00].repeat(8 << 20), 0);
    let long_entries = batch(&[0x0a, 0x00].repeat(32 << 20), 0);
    let mut labels = vec![0x0a];
    prost::encoding::encode_varint(14 << 20, &mut labels);
    labels.extend([0x0a, 0x00].repeat(7 << 20));
    let honest = request(vec![series(&[("__name__", "m")]); 2]);
    let lying = Batch {
        samples: 300,
        ..batch(&honest, 2)
    };
    let nothing = Batch {
        body: Vec::new().into(),
        ..batch(&[], 0)
    };
    let one = |batch: Batch| segment::write(&[batch], None).to_vec();
    vec![
        one(lying),
        segment::write(&vec![nothing; 600_000], None).to_vec(),
        one(long_entries),
        one(batch(&labels, 0)),
        vec![7; 40 << 20],
        segment::write(&vec![far_copies(2 << 20); 20], None).to_vec(),
        segment::write(&vec![far_copies(15 << 20); 4], None).to_vec(),
        one(empty_entries.clone()),
        segment::write(&vec![empty_entries; 4], None).to_vec(),
        one(batch(&honest, 2)),
        one(batch(&one_long_series(1 << 20), 1 << 20)),
        one(half_too_old(1)),
        one(half_too_old(1 << 12)),
    ]
}

/// A request of one series with this many samples, which take two bytes each.
fn one_long_series(samples: usize) -> Vec<u8> {
    let mut message = request(vec![series(&[("__name__", "m")])])[2..].to_vec();
    message.extend([0x12, 0x00].repeat(samples - 1));
    let mut raw = vec![0x0a];
    prost::encoding::encode_varint(message.len() as u64, &mut raw);
    raw.extend(message);
    raw
}

/// A batch of the largest size, in which each entry has a sample that is too old, one that is not,
/// and a long text that repeats nothing.
fn half_too_old(entries: usize) -> Batch {
    let mut rng = fastrand::Rng::with_seed(2);
    let old_ms = now_ms() - 7_200_000;
    let entry = || {
        let text: String = (0..(15 << 20) / entries)
            .map(|_| rng.alphanumeric())
            .collect();
        let mut series = series(&[("__name__", "m"), ("a", &text)]);
        series.samples.push(Sample {
            value: 1.0,
            timestamp: old_ms,
        });
        series
    };
    let raw = request(std::iter::repeat_with(entry).take(entries).collect());
    Batch {
        min_ms: old_ms,
        ..batch(&raw, 2 * entries as u32)
    }
}

fn plant_bombs(place: &Place) {
    for (scrape, bytes) in (1..).zip(bombs()) {
        place.plant(&format!("segments/amp/{}", name(scrape)), &bytes);
    }
}

/// Peak resident memory of a process in kB, as long as it lives.
fn peak_kb(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// A command that has ended.
struct Ended {
    what: String,
    out: String,
    err: String,
}

impl Ended {
    fn report(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.err))
    }
}

/// The setting of the allocator with which the function is deployed. Without it, glibc keeps much of
/// what was freed.
fn mmap_threshold() -> String {
    let template = include_str!("../../../infra/sam/template.yaml");
    let line = template
        .lines()
        .find_map(|line| line.trim().strip_prefix("MALLOC_MMAP_THRESHOLD_: "));
    line.unwrap().trim_matches('\'').to_owned()
}

/// The program in a control group with the memory of the smallest function.
struct SmallFunction {
    program: PathBuf,
    _group: Option<ControlGroup>,
}

impl SmallFunction {
    fn new(place: &Place) -> Self {
        match ControlGroup::of_memory(MEMORY_MB) {
            Ok(group) => {
                let program = place.folder.path().join("in-group.sh");
                group.wrap(&forwardctl(), &program).unwrap();
                Self {
                    program,
                    _group: Some(group),
                }
            }
            Err(error) => {
                println!("no control group, so only the peak is measured: {error:#}");
                Self {
                    program: forwardctl(),
                    _group: None,
                }
            }
        }
    }

    /// Runs a command to its end, which memory must not bring about.
    async fn run(&self, place: &Place, arguments: &[&str]) -> Ended {
        let child = place
            .command(&self.program, arguments)
            .env("MALLOC_MMAP_THRESHOLD_", mmap_threshold())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let process = child.id().unwrap();
        let watching = tokio::spawn(async move {
            let mut peak = 0;
            while let Some(now) = peak_kb(process) {
                peak = now.max(peak);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            peak
        });
        let output = child.wait_with_output().await.unwrap();
        let peak = watching.await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ended = Ended {
            what: format!("{arguments:?}"),
            out: text(&output.stdout),
            err: text(&output.stderr),
        };
        println!("{arguments:?}: peak {peak} kB, {}", output.status);
        assert!(
            output.status.code().is_some(),
            "{}: {}",
            ended.what,
            ended.err
        );
        assert!(
            peak < MEMORY_MB * 1024,
            "{}: peak {peak} kB\n{}\n{}",
            ended.what,
            ended.out,
            ended.err
        );
        ended
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_segment_fills_the_memory_of_a_small_function() {
    let place = Place::new("m 1\n".to_owned()).await;
    let function = SmallFunction::new(&place);
    let too_large: FaultAction = Fault::status(413, "too large");
    plant_bombs(&place);
    // Enough to split every batch some times, and not for ever.
    place.gateway.faults().add(Fault::times(too_large, 600));
    let commands: [&[&str]; 5] = [
        &["spool", "ls", "--long", "--json"],
        &["spool", "verify", "--json"],
        &["spool", "export", "--json", "--output", "out.om"],
        &["run", "--once", "--json"],
        &["spool", "drain", "--json"],
    ];
    for arguments in commands {
        let ended = function.run(&place, arguments).await;
        if arguments[0] == "run" {
            let report = ended.report();
            assert_balanced(&report);
            assert_ne!(report["outcome"], "ok", "{report}");
        }
    }
}

/// A state with these jobs and remotes, in JSON.
fn state(jobs: &str, remotes: &str) -> String {
    format!("{{\"version\":2,\"epoch\":1,\"jobs\":{{{jobs}}},\"remotes\":{{{remotes}}}}}")
}

/// A state of many small maps in each other.
fn nested(count: usize) -> String {
    let jobs: Vec<_> = (0..count)
        .map(|number| format!("\"{number}\":{{\"reads\":{{\"a\":{{}}}}}}"))
        .collect();
    state(&jobs.join(","), "")
}

/// A state of one map with many entries.
fn wide(count: usize) -> String {
    let marks: Vec<_> = (0..count).map(|number| format!("\"{number}\":1")).collect();
    state(
        &format!("\"a\":{{\"watermarks\":{{{}}}}}", marks.join(",")),
        "",
    )
}

/// A state with a long list that nobody asks for.
fn ignored() -> String {
    let list = "0,".repeat(2_000_000);
    let sums = "\"segments\":0,\"samples\":0,\"bytes\":0";
    state("", &format!("\"amp\":{{{sums},\"x\":[{list}0]}}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_state_fills_the_memory_of_a_small_function() {
    let place = Place::new("m 1\n".to_owned()).await;
    let function = SmallFunction::new(&place);
    let run: &[&str] = &["run", "--once", "--json"];
    for (state, is_read) in [
        (nested(150_000), false),
        (wide(360_000), false),
        (ignored(), false),
        // The largest that are read.
        (nested(4_600), true),
        (wide(250_000), true),
    ] {
        assert!(state.len() < MAX_BYTES as usize);
        place.plant("state.json", state.as_bytes());
        for arguments in [&["status", "--json"], &["spool", "ls", "--json"][..], run] {
            let ended = function.run(&place, arguments).await;
            if arguments == run {
                let report = ended.report();
                assert_eq!(report["outcome"] == "ok", is_read, "{report}");
                let is_refused = report["errors"].to_string().contains("bytes of memory");
                assert_eq!(is_refused, !is_read, "{report}");
            }
        }
        std::fs::remove_file(place.folder.path().join("spool/state.json")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_table_of_last_timestamps_fills_the_memory_of_a_small_function() {
    // As in a function of this memory.
    let forwarder = "remote_read: {mode: always}, memory_limit: 76MiB, deadline_margin: 500ms";
    let place = Place::with("m 1\n".to_owned(), forwarder).await;
    let function = SmallFunction::new(&place);
    for (series, is_read) in [(3_900_000, false), (800_000, true)] {
        let last = |labels_hash| LastTimestamp {
            labels_hash,
            last_ms: 1,
        };
        let table: LastTimestamps = (0..series).map(last).collect();
        place.plant("reads/amp/0000000001-0001.last", &table.encode());
        let named = json!({"epoch": 1, "number": 1, "series": series});
        let remote = json!({"segments": 0, "samples": 0, "bytes": 0, "table": named});
        let state = json!({"version": 2, "epoch": 1, "remotes": {"amp": remote}});
        place.plant("state.json", state.to_string().as_bytes());
        let ended = function.run(&place, &["run", "--once", "--json"]).await;
        let is_refused = ended.err.contains("are the most that memory has room for");
        assert_eq!(is_refused, !is_read, "{series} series: {}", ended.err);
    }
}
