//! Several scrapes of one target in turn, by a real Prometheus 3.5 and by the forwarder. Both must
//! store the same, stale markers included.

mod cases;
mod scrapes;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use amp_forwarder_support::home::{Page, ScriptedHome, Trouble};
use amp_forwarder_support::{Labels, now_ms};

use super::{CASE, id, stamped};

use cases::SEQUENCES;
use scrapes::{sent, stored};

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
