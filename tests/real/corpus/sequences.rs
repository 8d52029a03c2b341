//! Several scrapes of one target in turn, by a real Prometheus 3.5 and by the forwarder. Both must
//! store the same, stale markers included.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use amp_forwarder::batch::stage::BatchLimits;
use amp_forwarder::batch::{Writer, decode};
use amp_forwarder::config::Config;
use amp_forwarder::home::targets;
use amp_forwarder::scrape::Scraper;
use amp_forwarder::setup;
use amp_forwarder::time::SystemClock;
use amp_forwarder_support::home::{Page, ScriptedHome, Trouble};
use amp_forwarder_support::process::{Prometheus, PrometheusOptions, V3_5};
use amp_forwarder_support::{Labels, now_ms, read, wait_for};

use super::{CASE, REPORT, id, stamped};

/// The answer to one scrape.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// This exposition.
    Text(&'static str),
    /// 500.
    Error,
    /// A body that is cut.
    Cut(&'static str),
    /// Another content type.
    Html(&'static str),
}

use Step::{Cut, Error, Html, Text};

struct Sequence {
    name: &'static str,
    /// Keys of the job, in YAML.
    job: &'static str,
    steps: &'static [Step],
    /// The reason why the result differs from Prometheus', where it is meant to.
    differs: Option<&'static str>,
}

const fn case(name: &'static str, job: &'static str, steps: &'static [Step]) -> Sequence {
    Sequence {
        name,
        job,
        steps,
        differs: None,
    }
}

/// `!seriesCached && sampleAdded` in `scrape/scrape.go` `append`, from 3.6 on.
const REFUSED: Option<&str> = Some(
    "Prometheus 3.5 marks series that a limit or their timestamps kept out, so that nothing \
     was ever stored of them; later ones do not, nor do we",
);

const TRACKED: &str = "track_timestamps_staleness: true";

const SEQUENCES: &[Sequence] = &[
    case(
        "one goes",
        "",
        &[Text("foo 1\nbar 2\n"), Text("foo 1\n"), Text("foo 1\n")],
    ),
    case(
        "one goes and comes back",
        "",
        &[
            Text("foo 1\nbar 2\n"),
            Text("foo 1\n"),
            Text("foo 1\nbar 3\n"),
            Text("foo 1\nbar 4\n"),
        ],
    ),
    case(
        "they take turns",
        "",
        &[
            Text("foo 1\n"),
            Text("bar 1\n"),
            Text("foo 2\n"),
            Text("bar 2\n"),
            Text("qux 3\n"),
        ],
    ),
    case(
        "a failure",
        "",
        &[Text("foo 1\nbar 2\n"), Error, Text("foo 1\n")],
    ),
    case(
        "failures in a row",
        "",
        &[Text("foo 1\n"), Error, Error, Text("foo 1\n"), Error],
    ),
    case(
        "a cut body",
        "",
        &[
            Text("foo 1\nbar 2\n"),
            Cut("foo 1\nbar 2\nqux 3\n"),
            Cut("foo 1\n"),
            Text("foo 1\n"),
        ],
    ),
    case(
        "a malformed line behind a series",
        "",
        &[
            Text("foo 1\nbar 2\n"),
            Text("foo 1\nbad{\n"),
            Text("foo 1\nbar 2\n"),
        ],
    ),
    case(
        "a malformed line behind a series, twice",
        "",
        &[
            Text("foo 1\nbar 2\n"),
            Text("foo 1\nbad{\n"),
            Text("foo 1\nbad{\n"),
            Error,
            Text("foo 1\n"),
        ],
    ),
    case(
        "a malformed line, then a failure",
        "",
        &[
            Text("foo 1\nbar 2\n"),
            Text("foo 1\nbad{\n"),
            Error,
            Text("foo 1\n"),
        ],
    ),
    case(
        "a malformed line before all",
        "",
        &[
            Text("foo 1\nbar 2\n"),
            Text("bad{\nfoo 1\n"),
            Text("bar 2\n"),
        ],
    ),
    case(
        "a malformed line behind a new series",
        "",
        &[
            Text("foo 1\n"),
            Text("foo 1\nnew 2\nbad{\n"),
            Text("foo 1\n"),
            Text("foo 1\nnew 2\n"),
        ],
    ),
    case(
        "an empty body",
        "",
        &[Text("foo 1\nbar 2\n"), Text(""), Text("foo 1\n"), Text("")],
    ),
    case(
        "a body without series",
        "",
        &[Text("foo 1\nbar 2\n"), Text("\n"), Text("foo 1\n")],
    ),
    case(
        "a wrong content type",
        "",
        &[Text("foo 1\n"), Html("foo 1\n"), Text("foo 1\n")],
    ),
    case(
        "a wrong content type and nothing in it",
        "",
        &[Text("foo 1\n"), Html(""), Text("foo 1\n")],
    ),
    case(
        "fails from the start",
        "",
        &[Error, Error, Text("foo 1\n"), Text("")],
    ),
    case(
        "nothing but failures",
        "",
        &[Error, Cut("foo 1\n"), Text("bad{\n")],
    ),
    case(
        "own timestamps",
        "",
        &[
            Text("foo 1 <now-60000>\n"),
            Text(""),
            Text("foo 1 <now-60000>\n"),
        ],
    ),
    case(
        "own timestamps, a failure",
        "",
        &[
            Text("foo 1 <now-60000>\nbar 2\n"),
            Error,
            Text("foo 1 <now-60000>\nbar 2\n"),
        ],
    ),
    case(
        "own timestamps, repeated and newer",
        "",
        &[
            Text("foo 1 <now-60000>\n"),
            Text("foo 1 <now-60000>\n"),
            Text("foo 2 <now-50000>\n"),
            Text(""),
        ],
    ),
    case(
        "own timestamps from the second scrape on",
        "",
        &[
            Text("foo 1\n"),
            Text("foo 2 <now+60000>\n"),
            Text("foo 3 <now+90000>\n"),
            Text(""),
        ],
    ),
    case(
        "older timestamps from the second scrape on",
        "",
        &[
            Text("foo 1\n"),
            Text("foo 2 <now-60000>\n"),
            Text("foo 3\n"),
        ],
    ),
    case(
        "own timestamps at first",
        "",
        &[
            Text("foo 1 <now-60000>\n"),
            Text("foo 2\n"),
            Text("foo 3\n"),
            Text("bar 1\n"),
        ],
    ),
    case(
        "own timestamps for one of two",
        "",
        &[Text("foo 1 <now-60000>\nfoo 2\n"), Text("bar 1\n")],
    ),
    case(
        "timestamps tracked",
        TRACKED,
        &[
            Text("foo 1 <now-60000>\n"),
            Text("bar 2 <now-60000>\n"),
            Text("bar 2 <now-60000>\n"),
            Error,
        ],
    ),
    case(
        "timestamps tracked, newer ones",
        TRACKED,
        &[
            Text("foo 1 <now-60000>\n"),
            Text("foo 2 <now-50000>\n"),
            Text(""),
            Text("foo 3 <now-40000>\n"),
        ],
    ),
    case(
        "timestamps tracked, an older one",
        TRACKED,
        &[
            Text("foo 1 <now-60000>\n"),
            Text("foo 2 <now-70000>\n"),
            Text("foo 3\n"),
        ],
    ),
    case(
        "timestamps tracked, ahead",
        TRACKED,
        &[
            Text("foo 1 <now+540000>\n"),
            Text("qux 1\n"),
            Text("foo 2\n"),
        ],
    ),
    Sequence {
        differs: REFUSED,
        ..case(
            "timestamps tracked, too far ahead",
            TRACKED,
            &[Text("bar 1 <now+960000>\n"), Text("qux 1\n")],
        )
    },
    case(
        "timestamps tracked, other text of the same series",
        TRACKED,
        &[
            Text("foo{a=\"1\",b=\"2\"} 1 <now-60000>\n"),
            Text("foo{b=\"2\",a=\"1\"} 2 <now-50000>\n"),
            Text("bar 1\n"),
        ],
    ),
    Sequence {
        differs: Some(
            "a value that changes without its timestamp is taken for unchanged: values are not \
             remembered",
        ),
        ..case(
            "timestamps tracked, another value",
            TRACKED,
            &[
                Text("foo 1 <now-60000>\n"),
                Text("foo 2 <now-60000>\n"),
                Text("bar 1\n"),
            ],
        )
    },
    case(
        "timestamps not honored",
        "honor_timestamps: false",
        &[
            Text("foo 1 <now-60000>\n"),
            Text("foo 1 <now-60000>\n"),
            Text("bar 1 5\n"),
        ],
    ),
    case(
        "other text of the same series",
        "",
        &[
            Text("foo{a=\"1\",b=\"2\"} 1\n"),
            Text("foo{b=\"2\",a=\"1\"} 2\n"),
            Text("foo{a=\"1\",b=\"2\"} 3\n"),
            Text("bar 1\n"),
        ],
    ),
    case(
        "both texts of the same series",
        "",
        &[
            Text("foo{a=\"1\",b=\"2\"} 1\nfoo{b=\"2\",a=\"1\"} 2\n"),
            Text("foo{b=\"2\",a=\"1\"} 2\n"),
            Text("bar 1\n"),
        ],
    ),
    case(
        "the same series twice",
        "",
        &[Text("foo 1\nfoo 2\n"), Text("foo 1\n"), Text("bar 1\n")],
    ),
    case(
        "NaN is no marker",
        "",
        &[
            Text("foo NaN\nbar NaN\n"),
            Text("foo NaN\n"),
            Text("foo NaN\nbar NaN\n"),
        ],
    ),
    case(
        "buckets",
        "",
        &[
            Text("# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\n"),
            Text("# TYPE h histogram\nh_bucket{le=\"1\"} 1\n"),
            Text(""),
        ],
    ),
    case(
        "escaped values",
        "",
        &[
            Text("foo{a=\"x\\\\y\\\"z\\n\",b=\"\"} 1\n{\"q.r\",\"s.t\"=\"u\"} 2\n"),
            Text("foo 1\n"),
            Error,
        ],
    ),
    case(
        "labels of the target",
        "honor_labels: false",
        &[
            Text("foo{job=\"x\",instance=\"y\"} 1\n"),
            Text("up 1\n"),
            Text(""),
        ],
    ),
    case(
        "honored labels",
        "honor_labels: true",
        &[
            Text("foo{job=\"x\",instance=\"\"} 1\n"),
            Text("foo{job=\"\"} 1\n"),
            Text(""),
        ],
    ),
    case(
        "a series named like a report",
        "honor_labels: true",
        &[Text("up 5\n"), Text("foo 1\n"), Text("up 6\n")],
    ),
    case(
        "sample_limit",
        "sample_limit: 2",
        &[
            Text("a 1\nb 2\n"),
            Text("c 3\na 1\nb 2\n"),
            Text("a 1\nb 2\n"),
            Text("a 1\n"),
        ],
    ),
    Sequence {
        differs: REFUSED,
        ..case(
            "sample_limit, a new series behind it",
            "sample_limit: 2",
            &[
                Text("a 1\nb 2\n"),
                Text("a 1\nb 2\nc 3\n"),
                Text("a 1\nb 2\n"),
            ],
        )
    },
    case(
        "sample_limit for long",
        "sample_limit: 2",
        &[
            Text("a 1\nb 2\n"),
            Text("c 1\na 1\nb 2\n"),
            Text("c 1\na 1\nb 2\n"),
            Text("a 1\nb 2\n"),
        ],
    ),
    case(
        "label_limit",
        "label_limit: 5",
        &[
            Text("a 1\nb 2\n"),
            Text("a 1\nb{x=\"1\",y=\"2\"} 2\n"),
            Text("a 1\n"),
        ],
    ),
    case(
        "label_value_length_limit",
        "label_value_length_limit: 21",
        &[
            Text("a 1\nb 2\n"),
            Text("b 2\na{x=\"1234567890123456789012\"} 2\n"),
            Text("a 1\n"),
        ],
    ),
    case(
        "legacy names",
        "metric_name_validation_scheme: legacy\n  metric_name_escaping_scheme: underscores",
        &[
            Text("a 1\nb 2\n"),
            Text("a 1\n{\"b.c\"} 2\n"),
            Text("b 1\n"),
        ],
    ),
    case(
        "body_size_limit",
        "body_size_limit: 20B",
        &[
            Text("foo 1\nbar 2\n"),
            Text("foo 1\nbar 2\nqux 3\nabc 4\n"),
            Text("foo 1\n"),
        ],
    ),
    case(
        "target_limit kept",
        "target_limit: 1",
        &[Text("foo 1\n"), Text("")],
    ),
    case(
        "many come and go",
        "",
        &[
            Text("a 1\nb 1\nc 1\nd 1\ne 1\nf 1\n"),
            Text("b 1\nd 1\nf 1\n"),
            Text("a 1\nc 1\ne 1\n"),
            Text("f 1\ne 1\nd 1\nc 1\nb 1\na 1\n"),
            Text("c 1\n"),
        ],
    ),
];

/// Values by series and by scrape, from 0, or else by timestamp.
type StoredSamples = BTreeMap<Labels, BTreeMap<Result<usize, i64>, u64>>;

fn page(step: Step, now: i64) -> Page {
    match step {
        Text(text) => Page::text(stamped(text.as_bytes(), now)),
        Error => Page::status(500, "foo 1\n"),
        Cut(text) => {
            let mut page =
                Page::text(stamped(text.as_bytes(), now)).trouble(Trouble::Cut(text.len() / 2));
            page.gzip = false;
            page
        }
        Html(text) => Page::text(text).content_type(Some("text/html")),
    }
}

async fn home(sequence: &Sequence, now: i64) -> ScriptedHome {
    // What comes after the sequence is of no interest.
    let home = ScriptedHome::start(Page::text("")).await.unwrap();
    for &step in sequence.steps {
        home.serve_once(page(step, now));
    }
    home
}

fn job(id: &str, sequence: &Sequence, home: &ScriptedHome) -> String {
    format!(
        "- job_name: {id}\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  static_configs: \
         [{{targets: [\"{}\"], labels: {{{CASE}: {id}}}}}]\n  {}\n",
        home.address(),
        sequence.job
    )
}

/// Lets Prometheus scrape all steps; returns its samples by case.
async fn stored(jobs: &str, homes: &[ScriptedHome], now: i64) -> BTreeMap<String, StoredSamples> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jobs.yml");
    std::fs::write(&file, format!("scrape_configs:\n{jobs}")).unwrap();
    let mut options = PrometheusOptions::home(V3_5, Vec::new());
    options.scrape_itself = false;
    options.extra = format!("scrape_config_files: [\"{}\"]", file.display());
    options.flags = vec!["--enable-feature=extra-scrape-metrics".to_owned()];
    let prometheus = Prometheus::start(options).await.unwrap();
    let querier = prometheus.querier();
    let short = || async {
        let seen = querier.raw(REPORT, now, now + 600_000).await.unwrap();
        let scrapes = |at: usize| {
            seen.iter()
                .find(|(labels, _)| labels[CASE] == id(at))
                .map_or(0, |(_, values)| values.len())
        };
        SEQUENCES
            .iter()
            .enumerate()
            .find(|(at, sequence)| scrapes(*at) < sequence.steps.len())
            .map(|(_, sequence)| sequence.name)
    };
    let all = wait_for("every step is scraped", Duration::from_secs(60), || async {
        short().await.is_none()
    });
    assert!(
        all.await.is_ok(),
        "{:?}: {}",
        short().await,
        prometheus.log()
    );
    let mut raw: BTreeMap<Labels, BTreeMap<i64, u64>> = BTreeMap::new();
    for entry in read::read(&prometheus.url(), CASE, now - 3_600_000, now + 900_000)
        .await
        .unwrap()
    {
        let labels = entry
            .labels
            .into_iter()
            .map(|label| (label.name, label.value))
            .collect();
        raw.entry(labels).or_default().extend(
            entry
                .samples
                .iter()
                .map(|sample| (sample.timestamp, sample.value.to_bits())),
        );
    }
    by_scrape(raw, homes, now)
}

/// Scrapes all steps with the forwarder; returns the samples that it would send, by case.
async fn sent(jobs: &str, homes: &[ScriptedHome], now: i64) -> BTreeMap<String, StoredSamples> {
    let text = format!(
        "global: {{extra_scrape_metrics: true}}\nscrape_configs:\n\
         {jobs}remote_write: [{{url: \"http://127.0.0.1:9/\"}}]\n"
    );
    let config = Config::load(&text, &|_| None, "forwarder.yml")
        .unwrap()
        .config;
    let home = setup::home(&config, Duration::from_secs(5));
    let mut raw: BTreeMap<Labels, BTreeMap<i64, u64>> = BTreeMap::new();
    for target in targets(&config.scrape_configs).unwrap() {
        let writers = [RefCell::new(Writer::new(BatchLimits {
            samples: 3,
            bytes: 1_000_000,
        }))];
        let external_labels = BTreeMap::new();
        let scraper = Scraper {
            home: &home,
            clock: &SystemClock,
            external_labels: &external_labels,
            remotes: &[],
            writers: &writers,
            fits: &|_| true,
            marks_when_it_fails: true,
        };
        let job = &config.scrape_configs[target.job.index()];
        for _ in SEQUENCES[target.job.index()].steps {
            let scraped = scraper.scrape(job, &target, job.scrape_timeout).await;
            let mut fresh = 0;
            for batch in scraped
                .commits
                .iter()
                .flat_map(|committed| &committed.scrapes)
                .flatten()
            {
                for entry in decode(batch).unwrap().timeseries {
                    let labels: Labels = entry
                        .labels
                        .into_iter()
                        .map(|label| (label.name, label.value))
                        .collect();
                    for sample in entry.samples {
                        let before = raw
                            .entry(labels.clone())
                            .or_default()
                            .insert(sample.timestamp, sample.value.to_bits());
                        assert_eq!(
                            before, None,
                            "sent twice: {labels:?} at {}",
                            sample.timestamp
                        );
                        fresh += 1;
                    }
                }
            }
            let ledger = scraped.commits[0].ledger();
            assert_eq!(
                ledger.scraped,
                ledger.filtered + ledger.unchanged + ledger.rolled_back + fresh,
                "{}",
                SEQUENCES[target.job.index()].name
            );
            // Two scrapes never start in the same millisecond.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    by_scrape(raw, homes, now)
}

/// Timestamps become the numbers of their scrapes, and the target's address one that all have.
fn by_scrape(
    raw: BTreeMap<Labels, BTreeMap<i64, u64>>,
    homes: &[ScriptedHome],
    now: i64,
) -> BTreeMap<String, StoredSamples> {
    let starts: BTreeMap<String, Vec<i64>> = raw
        .iter()
        .filter(|(labels, _)| labels["__name__"] == REPORT)
        .map(|(labels, values)| (labels[CASE].clone(), values.keys().copied().collect()))
        .collect();
    let mut cases: BTreeMap<String, StoredSamples> = BTreeMap::new();
    for (mut labels, values) in raw {
        let case = labels[CASE].clone();
        let at: usize = case[1..].parse().unwrap();
        for value in labels
            .values_mut()
            .filter(|value| **value == homes[at].address())
        {
            "home:1".clone_into(value);
        }
        let steps = SEQUENCES[at].steps.len();
        for (timestamp, bits) in values {
            let place = starts[&case]
                .iter()
                .position(|&start| start == timestamp)
                .ok_or(timestamp - now);
            if place.is_err() || place.is_ok_and(|scrape| scrape < steps) {
                cases
                    .entry(case.clone())
                    .or_default()
                    .entry(labels.clone())
                    .or_default()
                    .insert(place, bits);
            }
        }
    }
    cases
}

/// Nothing when they agree.
fn difference(expected: &StoredSamples, found: &StoredSamples) -> String {
    let mut text = String::new();
    let mut all: Vec<_> = expected.keys().chain(found.keys()).collect();
    all.sort();
    all.dedup();
    for labels in all {
        let blurred = labels["__name__"] == "scrape_duration_seconds";
        let shown = |stored: &StoredSamples| {
            let values = stored.get(labels).into_iter().flatten();
            values
                .map(|(place, bits)| {
                    format!(
                        "{place:?}: {}",
                        if blurred {
                            "some".to_owned()
                        } else {
                            value(*bits)
                        }
                    )
                })
                .collect::<Vec<_>>()
        };
        let (expected, found) = (shown(expected), shown(found));
        if expected != found {
            let _ = writeln!(
                text,
                "    {labels:?}\n      Prometheus {expected:?}\n      we         {found:?}"
            );
        }
    }
    text
}

fn value(bits: u64) -> String {
    match bits {
        0x7ff0_0000_0000_0002 => "stale".to_owned(),
        bits => f64::from_bits(bits).to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_of_one_scrape_after_the_other() {
    let now = now_ms();
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for sequence in SEQUENCES {
        theirs.push(home(sequence, now).await);
        ours.push(home(sequence, now).await);
    }
    let jobs = |homes: &[ScriptedHome]| -> String {
        SEQUENCES
            .iter()
            .zip(homes)
            .enumerate()
            .map(|(at, (sequence, home))| job(&id(at), sequence, home))
            .collect()
    };
    let stored = stored(&jobs(&theirs), &theirs, now).await;
    let sent = sent(&jobs(&ours), &ours, now).await;
    let mut wrong = String::new();
    let mut markers = 0;
    for (at, sequence) in SEQUENCES.iter().enumerate() {
        let expected = &stored[&id(at)];
        markers += expected
            .values()
            .flat_map(BTreeMap::values)
            .filter(|bits| value(**bits) == "stale")
            .count();
        let difference = difference(expected, &sent[&id(at)]);
        match (difference.is_empty(), sequence.differs) {
            (true, None) | (false, Some(_)) => {}
            (false, None) => drop(writeln!(
                wrong,
                "{} {}\n{difference}",
                id(at),
                sequence.name
            )),
            (true, Some(why)) => drop(writeln!(
                wrong,
                "{} {}: agrees, although {why}",
                id(at),
                sequence.name
            )),
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(markers > 50, "{markers} markers");
}
