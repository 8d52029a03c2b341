//! What Prometheus stores of the sequences, and what the forwarder would send of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use amp_forwarder::batch::stage::BatchLimits;
use amp_forwarder::batch::{Writer, decode};
use amp_forwarder::config::Config;
use amp_forwarder::home::targets;
use amp_forwarder::scrape::Scraper;
use amp_forwarder::setup;
use amp_forwarder::time::SystemClock;
use amp_forwarder_support::home::ScriptedHome;
use amp_forwarder_support::process::{Prometheus, PrometheusOptions, V3_5};
use amp_forwarder_support::{Labels, read, wait_for};

use super::{SEQUENCES, StoredSamples};
use crate::corpus::{CASE, REPORT, id};

/// Lets Prometheus scrape all steps; returns its samples by case.
pub(super) async fn stored(
    jobs: &str,
    homes: &[ScriptedHome],
    now: i64,
) -> BTreeMap<String, StoredSamples> {
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
pub(super) async fn sent(
    jobs: &str,
    homes: &[ScriptedHome],
    now: i64,
) -> BTreeMap<String, StoredSamples> {
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
