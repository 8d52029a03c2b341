//! The same expositions, scraped by a real Prometheus 3.5 and by `forwardctl preview`, give the
//! same series, values, timestamps and counts, or fail in both.

mod bodies;
mod cases;
mod openmetrics;
mod protobuf;
mod relabel;
mod rules;
mod sequences;
mod texts;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use amp_forwarder_support::home::{Page, ScriptedHome, Trouble};
use amp_forwarder_support::process::{Prometheus, PrometheusOptions, V3_5};
use amp_forwarder_support::read::read;
use amp_forwarder_support::{Labels, now_ms, wait_for};
use serde_json::Value;

use bodies::{answers, long_entries, many_lines};
use cases::{GROUPS, TEXT};
use texts::{STALE_NAN, float, texts};

/// Each case is scraped once within it, and compared by its first scrape.
const INTERVAL: &str = "5s";

/// The target label that identifies the series of a case, whatever other labels they have.
const CASE: &str = "corpus_case";

/// A series that every scrape gives.
const REPORT: &str = "scrape_series_added";

struct Case {
    name: String,
    job: String,
    labels: String,
    page: Page,
    differs: Option<&'static str>,
}

/// Values by series and timestamp, as texts that are different for different values.
type Samples = BTreeMap<Labels, BTreeMap<i64, String>>;

/// The samples of one scrape: values by series, and by timestamp; `None` is the scrape's own
/// timestamp.
type ScrapeSamples = BTreeMap<Labels, BTreeMap<Option<i64>, String>>;

impl Case {
    /// A case of a page that has nothing to do with labels or with known differences.
    fn new(name: &str, job: &str, page: Page) -> Self {
        Self {
            name: name.to_owned(),
            job: job.to_owned(),
            labels: String::new(),
            page,
            differs: None,
        }
    }
}

/// All cases: the tables, and the bodies that are too long for them.
fn cases(now: i64) -> Vec<Case> {
    let mut cases = tabled(now);
    cases.extend(many_lines());
    cases.extend(long_entries());
    cases.extend(answers());
    cases
}

fn tabled(now: i64) -> Vec<Case> {
    let mut cases = Vec::new();
    for group in GROUPS
        .iter()
        .chain(openmetrics::GROUPS)
        .chain(rules::GROUPS)
    {
        for body in group.bodies {
            let page = Page::text(stamped(body, now)).content_type(group.content_type);
            let name = format!("{}: {}", group.name, body.escape_ascii());
            cases.push(Case {
                name,
                job: group.job.to_owned(),
                labels: group.labels.to_owned(),
                page,
                differs: group.differs,
            });
        }
    }
    for exposition in protobuf::expositions(now) {
        let protobuf::Exposition {
            name,
            job,
            content_type,
            body,
            differs,
        } = exposition;
        cases.push(Case {
            name,
            job: job.to_owned(),
            labels: String::new(),
            page: Page::text(body).content_type(content_type),
            differs,
        });
    }
    cases
}

/// Fills in `<now±milliseconds>`.
fn stamped(body: &[u8], now: i64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = body;
    let mark = b"<now";
    while let Some(at) = rest.windows(mark.len()).position(|window| window == mark) {
        let end = at + rest[at..].iter().position(|&byte| byte == b'>').unwrap();
        let offset = std::str::from_utf8(&rest[at + mark.len()..end]).unwrap();
        let offset: i64 = if offset.is_empty() {
            0
        } else {
            offset.parse().unwrap()
        };
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice((now + offset).to_string().as_bytes());
        rest = &rest[end + 1..];
    }
    out.extend_from_slice(rest);
    out
}

fn id(at: usize) -> String {
    format!("c{at:03}")
}

/// An entry of `scrape_configs`, the same for both.
fn job(id: &str, case: &Case, home: &ScriptedHome) -> String {
    let labels = if case.labels.is_empty() {
        String::new()
    } else {
        format!(", {}", case.labels)
    };
    format!(
        "- job_name: {id}\n  scrape_interval: {INTERVAL}\n  scrape_timeout: {INTERVAL}\n  \
         static_configs: [{{targets: [\"{}\"], labels: {{{CASE}: {id}{labels}}}}}]\n  {}\n",
        home.address(),
        case.job,
    )
}

fn own_config(directory: &Path, jobs: &str) -> PathBuf {
    let path = directory.join("forwarder.yml");
    std::fs::write(
        &path,
        format!(
            "scrape_configs:\n{jobs}remote_write: \
             [{{url: \"http://127.0.0.1:9/api/v1/write\", send_native_histograms: true}}]\n"
        ),
    )
    .unwrap();
    path
}

/// Runs Prometheus until it has scraped each case, and returns the samples of the first scrapes.
async fn stored(
    directory: &Path,
    all_jobs: &str,
    count: usize,
    now: i64,
) -> BTreeMap<String, ScrapeSamples> {
    let jobs = directory.join("jobs.yml");
    std::fs::write(&jobs, format!("scrape_configs:\n{all_jobs}")).unwrap();
    let mut options = PrometheusOptions::home(V3_5, Vec::new());
    options.scrape_itself = false;
    options.flags = vec!["--enable-feature=native-histograms".to_owned()];
    options.extra = format!("scrape_config_files: [\"{}\"]", jobs.display());
    let prometheus = Prometheus::start(options).await.unwrap();
    let querier = prometheus.querier();
    let scraped = format!("count(count by ({CASE}) ({REPORT}))");
    let all = wait_for("every case is scraped", Duration::from_secs(30), || async {
        querier.value(&scraped).await.ok().flatten() == Some(count as f64)
    });
    if let Err(error) = all.await {
        let seen = querier.raw(REPORT, now, now + 60_000).await.unwrap();
        let missing: Vec<_> = (0..count)
            .map(id)
            .filter(|id| !seen.keys().any(|labels| labels[CASE] == *id))
            .collect();
        panic!("{error}: {missing:?}\n{}", prometheus.log());
    }
    let series = read(&prometheus.url(), CASE, now - 3_600_000, now + 900_000)
        .await
        .unwrap();
    by_case(&series.into_iter().map(texts).collect())
}

/// Samples by case, without those of scrapes after the first.
fn by_case(samples: &Samples) -> BTreeMap<String, ScrapeSamples> {
    // No case exposes a series of this name.
    let reports = samples
        .iter()
        .filter(|(labels, _)| labels["__name__"] == REPORT);
    let scrapes: BTreeMap<&str, Vec<i64>> = reports
        .map(|(labels, values)| (labels[CASE].as_str(), values.keys().copied().collect()))
        .collect();
    let mut cases: BTreeMap<String, ScrapeSamples> = BTreeMap::new();
    for (labels, values) in samples {
        let scrapes = &scrapes[labels[CASE].as_str()];
        let first = scrapes[0];
        for (&at, value) in values {
            if at == first || !scrapes.contains(&at) {
                let at = (at != first).then_some(at);
                cases
                    .entry(labels[CASE].clone())
                    .or_default()
                    .entry(labels.clone())
                    .or_default()
                    .insert(at, value.clone());
            }
        }
    }
    cases
}

/// Runs `forwardctl preview`: its samples, and whether it said that all went well.
fn preview(config: &Path, arguments: &[&str]) -> (Samples, bool) {
    let output = Command::new(env!("CARGO_BIN_EXE_forwardctl"))
        .args(["preview", "--format", "json", "--config"])
        .arg(config)
        .args(arguments)
        .output()
        .unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    let fine = match output.status.code() {
        Some(0) => true,
        Some(1) => false,
        code => panic!("{code:?}: {complaints}"),
    };
    assert_eq!(fine, complaints.is_empty(), "{complaints}");
    let mut samples = Samples::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let labels = serde_json::from_value(line["labels"].clone()).unwrap();
        let value = match (line["histogram"].is_object(), line["value"].as_str()) {
            (true, None) if line["stale"] == true => float(f64::from_bits(STALE_NAN)),
            (true, None) => line["histogram"].to_string(),
            (false, Some("+Inf")) => float(f64::INFINITY),
            (false, Some("-Inf")) => float(f64::NEG_INFINITY),
            (false, Some(text)) => float(if line["stale"] == true {
                f64::from_bits(STALE_NAN)
            } else {
                text.parse().unwrap()
            }),
            (_, value) => panic!("{value:?} in {line}"),
        };
        let at = line["timestamp_ms"].as_i64().unwrap();
        let before = samples.entry(labels).or_default().insert(at, value);
        assert_eq!(before, None, "sent twice: {line}");
    }
    (samples, fine)
}

/// The differences between two scrapes of a case; empty when they agree. Durations are only
/// compared by their presence.
fn difference(expected: &ScrapeSamples, found: &ScrapeSamples) -> String {
    let mut text = String::new();
    for labels in expected.keys().chain(found.keys()).collect::<BTreeSet<_>>() {
        let blurred = labels["__name__"] == "scrape_duration_seconds";
        let view = |given: &ScrapeSamples| {
            let values = given.get(labels)?.iter();
            let shown = values.map(|(at, value)| {
                (
                    *at,
                    if blurred {
                        "some".to_owned()
                    } else {
                        value.clone()
                    },
                )
            });
            Some(shown.collect::<Vec<_>>())
        };
        let (expected, found) = (view(expected), view(found));
        if expected != found && text.len() < 2_000 {
            let mut name = format!("{labels:?}");
            name.truncate(name.floor_char_boundary(300));
            let _ = writeln!(
                text,
                "    {name}\n      Prometheus {expected:?}\n      forwardctl {found:?}"
            );
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn what_prometheus_stores_is_what_is_sent() {
    let now = now_ms();
    let cases = cases(now);
    assert!(cases.len() > 550, "{}", cases.len());
    let agreeing = all_agree(cases, now).await;
    assert!(agreeing > 1_100, "{agreeing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn relabelling_is_what_prometheus_makes_of_it() {
    let case = |case: relabel::RelabelCase| Case {
        labels: relabel::LABELS.to_owned(),
        ..Case::new(&case.name, &case.job, Page::text(case.exposition))
    };
    let cases: Vec<_> = relabel::cases().into_iter().map(case).collect();
    let count = cases.len();
    assert!(count > 200, "{count}");
    assert_eq!(all_agree(cases, now_ms()).await, count);
}

/// Number of results that agree, over all ways to scrape. All of them must, except those that are
/// meant to differ.
async fn all_agree(cases: Vec<Case>, now: i64) -> usize {
    let mut homes = Vec::new();
    for case in &cases {
        homes.push(ScriptedHome::start(case.page.clone()).await.unwrap());
    }
    let directory = tempfile::tempdir().unwrap();
    let jobs: Vec<_> = cases
        .iter()
        .zip(&homes)
        .enumerate()
        .map(|(at, (case, home))| job(&id(at), case, home))
        .collect();
    let all_jobs = jobs.concat();

    // Beside the real one: there it is the interval that takes the time.
    let cases = Arc::new(cases);
    let ours = tokio::task::spawn_blocking({
        let (cases, directory) = (cases.clone(), directory.path().to_owned());
        move || {
            let mut live = Samples::new();
            // Not all at once: a busy machine is no reason to time out.
            for jobs in jobs.chunks(100) {
                live.extend(preview(&own_config(&directory, &jobs.concat()), &[]).0);
            }
            let files: Vec<_> = cases
                .iter()
                .zip(jobs)
                .enumerate()
                .map(|(at, (case, job))| from_a_file(&directory, &job, &id(at), case))
                .collect();
            (by_case(&live), files)
        }
    });
    let stored = stored(directory.path(), &all_jobs, cases.len(), now).await;
    let (mut live, files) = ours.await.unwrap();

    let mut wrong = String::new();
    let mut agreeing = 0;
    for (at, (case, file)) in cases.iter().zip(files).enumerate() {
        let id = id(at);
        let expected = &stored[&id];
        let ways = [("live", live.remove(&id)), ("from a file", file)];
        for (way, given) in ways
            .into_iter()
            .filter_map(|(way, given)| Some((way, given?)))
        {
            let difference = difference(expected, &given);
            match (difference.is_empty(), case.differs) {
                (true, None) => agreeing += 1,
                (false, Some(_)) => {}
                (false, None) => drop(writeln!(wrong, "{id} {way}, {}\n{difference}", case.name)),
                (true, Some(why)) => drop(writeln!(
                    wrong,
                    "{id} {way}, {}: agrees, although {why}",
                    case.name
                )),
            }
        }
    }
    assert!(wrong.is_empty(), "{agreeing} agree, these do not:\n{wrong}");
    agreeing
}

/// A case without a target; none when it is about the way to the target.
fn from_a_file(directory: &Path, job: &str, id: &str, case: &Case) -> Option<ScrapeSamples> {
    let Page {
        status,
        content_type,
        body,
        headers,
        trouble,
        ..
    } = &case.page;
    // Relabelling does not care where an exposition comes from.
    let relabels = case.job.contains("relabel_configs");
    if relabels
        || *status != 200
        || *trouble != Trouble::None
        || headers.contains_key("content-encoding")
    {
        return None;
    }
    let input = directory.join("exposition");
    std::fs::write(&input, body).unwrap();
    let content_type = content_type.as_deref().unwrap_or_default();
    let arguments = [
        "--content-type",
        content_type,
        "--input",
        input.to_str().unwrap(),
    ];
    let (samples, fine) = preview(&own_config(directory, job), &arguments);
    let given = by_case(&samples).remove(id).unwrap();
    assert_eq!(fine, is_up(&given), "{}", case.name);
    Some(given)
}

fn is_up(given: &ScrapeSamples) -> bool {
    let mut labels = given
        .keys()
        .find(|labels| labels["__name__"] == REPORT)
        .unwrap()
        .clone();
    labels.insert("__name__".to_owned(), "up".to_owned());
    given[&labels][&None] != float(0.0)
}

#[test]
fn placeholders_are_filled_in() {
    assert_eq!(
        stamped(b"a 1 <now>\nb 2 <now-5>\nc 3 <now+7> x", 100),
        b"a 1 100\nb 2 95\nc 3 107 x"
    );
    assert_eq!(TEXT.split(';').next(), Some("text/plain"));
}
