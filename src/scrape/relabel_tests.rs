//! Relabelling on the way of a sample: for all remotes, for each of them, remembered.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::text::TextParser;
use crate::batch::stage::BatchLimits;
use crate::batch::{Batch, SampleCounts, Writer, decode};
use crate::config::{Config, NameValidation, ScrapeLimits};
use crate::home::{JobId, Target};
use crate::intake::HistogramLimits;
use crate::intake::{Intake, IntakeRules, Tally};
use crate::series::TargetId;

/// Rules for the job, and for each of two remotes.
fn config(metric: &str, first: &str, second: &str) -> Config {
    let text = format!(
        "global: {{external_labels: {{site: home}}}}\nscrape_configs:\n- job_name: j\n  static_configs: [{{targets: ['h:1']}}]\n  \
         metric_relabel_configs: [{metric}]\nremote_write:\n- {{url: http://a, write_relabel_configs: [{first}]}}\n\
         - {{url: http://b, write_relabel_configs: [{second}]}}\n"
    );
    Config::load(&text, &|_| None, "test")
        .unwrap_or_else(|errors| panic!("{errors}"))
        .config
}

struct Home {
    config: Config,
    writers: [RefCell<Writer>; 2],
    target: Target,
}

struct Given {
    tally: Tally,
    counts: Vec<SampleCounts>,
    batches: Vec<Vec<Vec<Batch>>>,
    refused: Option<String>,
}

impl Home {
    fn new(config: Config) -> Self {
        let writer = || {
            RefCell::new(Writer::new(BatchLimits {
                samples: 100,
                bytes: 1_000_000,
            }))
        };
        let target = Target {
            id: TargetId(0),
            job: JobId(0),
            url: Ok("http://h:1/".parse().unwrap()),
            labels: vec![
                ("instance".to_owned(), "h:1".to_owned()),
                ("job".to_owned(), "j".to_owned()),
            ],
            scrape_timeout: Duration::from_secs(1),
            siblings: 1,
        };
        Self {
            config,
            writers: [writer(), writer()],
            target,
        }
    }

    fn scrape(&self, text: &str, start_ms: i64) -> Given {
        let rules = IntakeRules {
            target: &self.target,
            honor_labels: false,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            limits: ScrapeLimits::default(),
            validation: NameValidation::Utf8,
            histogram_limits: HistogramLimits::default(),
            metric_relabel: &self.config.scrape_configs[0].metric_relabel_configs,
            external_labels: &self.config.global.external_labels,
            remotes: &self.config.remote_write,
            start_ms,
        };
        let mut staged: Vec<_> = self
            .writers
            .iter()
            .map(|writer| writer.borrow_mut().begin(TargetId(0)))
            .collect();
        let mut tally = Tally::default();
        let mut intake = Intake::new(rules, &self.writers, &mut staged, &mut tally);
        let parsed = TextParser::default().parse(text.as_bytes(), true, &mut intake);
        drop(intake);
        let counts = staged.iter().map(|staged| staged.counts).collect();
        let batches = self
            .writers
            .iter()
            .zip(staged)
            .map(|(writer, staged)| writer.borrow_mut().commit(staged).unwrap())
            .collect();
        Given {
            tally,
            counts,
            batches,
            refused: parsed.err().map(|stop| stop.to_string()),
        }
    }
}

impl Given {
    /// The series that a remote gets.
    fn series(&self, remote: usize) -> Vec<String> {
        let batches = self.batches[remote].iter().flatten();
        let series = batches.flat_map(|batch| decode(batch).unwrap().timeseries);
        let mut shown: Vec<_> = series
            .map(|series| {
                let labels: Vec<_> = series
                    .labels
                    .iter()
                    .filter(|label| !["job", "instance"].contains(&label.name.as_str()))
                    .collect();
                labels
                    .iter()
                    .map(|label| format!("{}={}", label.name, label.value))
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect();
        shown.sort();
        shown
    }
}

#[test]
fn each_remote_gets_what_its_rules_leave() {
    let drop = "{action: drop, source_labels: [__name__], regex: b}";
    let home = Home::new(config(
        drop,
        "{action: labeldrop, regex: 'x|site'}",
        "{action: keep, source_labels: [x, site], regex: '1;home'}",
    ));
    for start_ms in [1_000, 2_000] {
        let given = home.scrape("a{x=\"1\"} 1\nb 2\na{x=\"2\"} 3\n", start_ms);
        assert_eq!(given.tally.scraped, 3);
        assert_eq!(
            given.tally.post_relabel, 2,
            "what is dropped for all is no sample; what a remote drops is one"
        );
        assert_eq!(
            given.tally.series_added,
            if start_ms == 1_000 { 2 } else { 0 }
        );
        assert_eq!(
            given.series(0),
            ["__name__=a"],
            "two series become one, and the first sample wins"
        );
        assert_eq!(given.series(1), ["__name__=a site=home x=1"]);
        for counts in &given.counts {
            assert_eq!(
                (
                    counts.scraped,
                    counts.filtered,
                    counts.unchanged,
                    counts.fresh
                ),
                (3, 2, 0, 1)
            );
        }
    }
}

#[test]
fn relabelling_that_leaves_no_name_fails_the_scrape_and_none_at_all_drops() {
    let nameless = Home::new(config("{action: labeldrop, regex: __name__}", "", ""));
    assert!(
        nameless
            .scrape("a 1\n", 1_000)
            .refused
            .unwrap()
            .contains("missing metric name")
    );
    let nothing = Home::new(config("{action: labelkeep, regex: none}", "", ""));
    let given = nothing.scrape("a 1\nb 2\n", 1_000);
    assert_eq!(
        (given.refused, given.tally.scraped, given.tally.post_relabel),
        (None, 2, 0)
    );
    let written = Home::new(config(
        "",
        "{action: labelkeep, regex: none}",
        "{action: labelkeep, regex: site}",
    ));
    let given = written.scrape("a 1\n", 1_000);
    assert_eq!(
        (given.series(0), given.series(1)),
        (Vec::new(), vec!["site=home".to_owned()]),
        "as Prometheus sends it"
    );
}

#[test]
fn a_copied_value_is_read_from_the_exposition() {
    let copied = Home::new(config(
        "{source_labels: [x], regex: '.(.*)', target_label: y}",
        "",
        "",
    ));
    let made = Home::new(config(
        "{source_labels: [x], regex: '.(.*)', target_label: y, replacement: '$1.'}",
        "",
        "",
    ));
    // With timestamps of their own: series that may need a stale marker hold all of their labels.
    let text = |at: i64| -> String {
        (0..1_000)
            .map(|n| format!("a{{x=\"é{n:0100}\"}} 1 {at}\n"))
            .collect()
    };
    let (copied_given, made_given) = (
        copied.scrape(&text(1_000), 1_000),
        made.scrape(&text(1_000), 1_000),
    );
    assert_eq!(
        copied_given.series(0)[7],
        format!("__name__=a site=home x=é{:0100} y={:0100}", 7, 7)
    );
    assert_eq!(copied_given.series(0).len(), 1_000);
    assert_eq!(made_given.series(0)[7].matches("007.").count(), 1);
    let memory = |home: &Home| home.writers[0].borrow().memory();
    assert!(
        memory(&copied) + 50_000 < memory(&made),
        "{} {}",
        memory(&copied),
        memory(&made)
    );
    let again = copied.scrape(&text(2_000), 2_000);
    assert_eq!(again.series(0), copied_given.series(0));
}

const RULES: [&str; 8] = [
    "",
    "{source_labels: [x], target_label: y}",
    "{source_labels: [x, z], regex: '(.);(.*)', target_label: '${1}l', replacement: '$2$1'}",
    "{action: labelmap, regex: '(.)', replacement: 'm_$1'}",
    "{action: drop, source_labels: [x], regex: '[a-c]?'}",
    "{action: labeldrop, regex: x}",
    "{action: hashmod, source_labels: [x, z], modulus: 3, target_label: __name__}",
    "{source_labels: [z], target_label: __name__}, {action: keepequal, source_labels: [x], target_label: z}",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_series_is_the_same_cold_and_warm(
        rules in proptest::array::uniform3(0..RULES.len()),
        scrapes in prop::collection::vec(prop::collection::vec(("[a-e]?", "[a-eé]?", any::<bool>()), 0..8), 1..5),
    ) {
        let config = config(RULES[rules[0]], RULES[rules[1]], RULES[rules[2]]);
        let warm = Home::new(config.clone());
        for (nth, lines) in (1..).zip(&scrapes) {
            let text: String = lines.iter().map(|(x, z, swapped)| {
                if *swapped { format!("m{{z=\"{z}\",x=\"{x}\"}} 1\n") } else { format!("m{{x=\"{x}\", z=\"\\\\{z}\"}} 1\n") }
            }).collect();
            let start_ms = nth * 1_000;
            let (again, cold) = (warm.scrape(&text, start_ms), Home::new(config.clone()).scrape(&text, start_ms));
            prop_assert_eq!(&again.refused, &cold.refused);
            prop_assert_eq!(&again.batches, &cold.batches, "{}", text);
            prop_assert_eq!((again.tally.scraped, again.tally.post_relabel), (cold.tally.scraped, cold.tally.post_relabel));
        }
    }
}

#[test]
fn unused_literals_leave_with_their_series() {
    let home = Home::new(config(
        "{source_labels: [x], target_label: y, replacement: 'made-of-$1'}",
        "",
        "",
    ));
    let mut most = BTreeMap::new();
    for round in 0..60 {
        let text: String = (0..200)
            .map(|n| format!("a{{x=\"{round}-{n}\"}} 1\n"))
            .collect();
        home.scrape(&text, 1_000 * (round + 1));
        most.insert(round, home.writers[0].borrow().memory());
    }
    let most_of =
        |rounds: std::ops::Range<i64>| most.range(rounds).map(|(_, memory)| *memory).max().unwrap();
    let (early, late) = (most_of(0..30), most_of(30..60));
    assert!(late < early + early / 5, "{early} {late}");
}
