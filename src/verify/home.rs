//! The home's end: every sample of a window, under the label sets that each remote should have.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::answer::{AnswerReader, AnsweredSeries};
use super::compare::Span;
use super::error::{EndError, EndFault};
use super::value::{TimedPrint, ValuePrint};
use crate::config::{RemoteWrite, ScrapeConfig};
use crate::home::{Home, HomeMethod, HomeRequest, Target};
use crate::intake::{IntakeRules, label_sets};
use crate::net::redacted;
use crate::read::ReadSource;
use crate::read::request::{self, TimeRange};
use crate::series::labels::NAME;
use crate::series::{ExposedLabel, Labels, text};

/// Time limit of one read of the home.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of an answer that is not 200 which are read.
const ERROR_BYTES: usize = 4096;

/// How long it takes at most until the home shows a sample, where its scrape says nothing of that,
/// milliseconds.
const USUAL_LAG_MS: i64 = 2_000;

/// What a scrape takes beyond its own duration until it is visible, milliseconds.
const COMMIT_MS: i64 = 500;

/// A target of a job that federates, as remote read asks it.
pub(super) struct HomeTarget<'a> {
    pub(super) job: &'a ScrapeConfig,
    pub(super) target: Target,
    source: ReadSource,
}

/// A series at home, as one remote should have it.
pub(super) struct HomeSeries {
    /// Index of its target among those that are verified.
    pub(super) target: usize,
    /// The metric's name.
    pub(super) metric: Box<str>,
    /// The label set as text, where it may be shown to a person.
    pub(super) text: Option<Box<str>>,
    /// Hash of the labels `job` and `instance` at home.
    scraped_by: u64,
    /// Whether the remote has shown it, too.
    pub(super) is_met: bool,
    pub(super) samples: Vec<TimedPrint>,
}

/// The series that one remote should have in a window, by the hash of their label sets.
#[derive(Default)]
pub(super) struct ExpectedSeries {
    pub(super) series: HashMap<u64, HomeSeries>,
    /// External labels that all of the series have.
    pub(super) equal: Vec<(String, String)>,
}

/// How long the scrapes of the home took, by the hash of `job` and `instance`.
#[derive(Default)]
pub(super) struct ScrapeDurations(HashMap<u64, i64>);

impl ScrapeDurations {
    /// How long it took at most until the home showed a sample of the series, milliseconds.
    pub(super) fn lag_ms(&self, series: &HomeSeries) -> i64 {
        self.0
            .get(&series.scraped_by)
            .map_or(USUAL_LAG_MS, |duration| duration + COMMIT_MS)
    }
}

impl<'a> HomeTarget<'a> {
    /// Remote read is where `path` says, or in the place of `/federate`.
    ///
    /// # Errors
    /// [`EndError`] when the target's federation selects nothing, or when a selector is none.
    pub(super) fn new(
        job: &'a ScrapeConfig,
        target: Target,
        path: Option<&str>,
    ) -> Result<Self, EndError> {
        let source = ReadSource::new(&target, path).map_err(|error| {
            let place = format!("home {} ({})", target.instance(), job.job_name);
            EndError::new(EndFault::Final, &place, error.to_string())
        })?;
        Ok(Self {
            job,
            target,
            source,
        })
    }

    /// What the intake must know of the target.
    pub(super) fn rules<'r>(
        &'r self,
        external_labels: &'r BTreeMap<String, String>,
        remotes: &'r [RemoteWrite],
    ) -> IntakeRules<'r> {
        IntakeRules::new(self.job, &self.target, external_labels, remotes, 0)
    }

    /// Reads all series of a span.
    async fn read(
        &self,
        home: &dyn Home,
        span: &Span,
        max_bytes: u64,
        show: &mut impl FnMut(AnsweredSeries<'_>),
    ) -> Result<(), EndError> {
        let address = redacted(&self.source.url);
        let range = TimeRange {
            start_ms: *span.start(),
            end_ms: *span.end(),
        };
        let body = request::body(&self.source.selectors, range)
            .map_err(|error| EndError::new(EndFault::Final, &address, error.to_string()))?;
        let headers = request::headers();
        let request = HomeRequest {
            job: self.target.job,
            url: &self.source.url,
            method: HomeMethod::Post {
                body,
                headers: &headers,
            },
            timeout: TIMEOUT,
        };
        let mut answer = home.send(request).await?;
        if answer.status != 200 {
            let mut body = Vec::new();
            while let Ok(Some(chunk)) = answer.body.chunk().await {
                body.extend_from_slice(&chunk);
                if body.len() > ERROR_BYTES {
                    break;
                }
            }
            let text = answer.body.without_secrets(&body, ERROR_BYTES);
            return Err(EndError::status(&address, answer.status, text.as_bytes()));
        }
        let is_read = answer
            .headers
            .get(http::header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-protobuf"));
        if !is_read {
            let cause = "the answer is no remote read: is this a Prometheus, and is \
                         forwarder.remote_read.path right?";
            return Err(EndError::new(EndFault::NotOffered, &address, cause));
        }
        let mut reader = AnswerReader::new(max_bytes);
        while let Some(chunk) = answer.body.chunk().await? {
            reader
                .push(chunk, show)
                .map_err(|error| error.at(&address))?;
        }
        reader
            .finish(self.source.selectors.len())
            .map_err(|error| error.at(&address))
    }
}

/// Reads the home for all remotes at once.
pub(super) struct HomeReader<'a> {
    pub(super) home: &'a dyn Home,
    pub(super) external_labels: &'a BTreeMap<String, String>,
    pub(super) remotes: &'a [RemoteWrite],
    /// For each remote, whether it takes `__replica__` off.
    pub(super) drops_replica: &'a [bool],
    /// Whether label sets are kept as text.
    pub(super) keeps_text: bool,
    pub(super) max_bytes: u64,
}

impl HomeReader<'_> {
    /// Reads a span of all targets. There is one result for each remote.
    pub(super) async fn read(
        &self,
        targets: &[HomeTarget<'_>],
        span: &Span,
    ) -> Result<(Vec<ExpectedSeries>, ScrapeDurations), EndError> {
        let external: Vec<_> = self
            .external_labels
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let mut expected: Vec<_> = self
            .remotes
            .iter()
            .map(|_| ExpectedSeries {
                series: HashMap::new(),
                equal: external.clone(),
            })
            .collect();
        let mut durations = ScrapeDurations::default();
        for (index, target) in targets.iter().enumerate() {
            let rules = target.rules(self.external_labels, self.remotes);
            let mut take = |series: AnsweredSeries<'_>| {
                self.take(index, target, &rules, series, &mut expected, &mut durations);
            };
            target
                .read(self.home, span, self.max_bytes, &mut take)
                .await?;
        }
        Ok((expected, durations))
    }

    /// Adds a series to what each remote should have. One that the rules drop or refuse is left
    /// out.
    fn take(
        &self,
        index: usize,
        target: &HomeTarget<'_>,
        rules: &IntakeRules<'_>,
        mut series: AnsweredSeries<'_>,
        expected: &mut [ExpectedSeries],
        durations: &mut ScrapeDurations,
    ) {
        let value = |name: &str| {
            let label = series.labels.iter().find(|label| label.name == name);
            label.map_or("", |label| &*label.value)
        };
        // `/federate` skips series without a name.
        if value(NAME).is_empty() {
            return;
        }
        let scraped_by = xxhash_rust::xxh3::xxh3_64(
            format!("{}\u{0}{}", value("job"), value("instance")).as_bytes(),
        );
        if value(NAME) == "scrape_duration_seconds" {
            let longest = series
                .samples
                .iter()
                .filter_map(|sample| match sample.print {
                    ValuePrint::Float(bits) => Some((f64::from_bits(bits) * 1000.0) as i64),
                    _ => None,
                });
            if let Some(longest) = longest.max() {
                durations.0.insert(scraped_by, longest);
            }
        }
        if !series.labels.iter().any(|label| label.name == "instance") {
            // web/federate.go: a series without an instance gets an empty one, so that it does not
            // take that of the federating job.
            series.labels.push(ExposedLabel {
                name: "instance".into(),
                value: "".into(),
                span: None,
            });
        }
        target.job.naming.escaping.escape(&mut series.labels);
        simplify(&mut series.samples, target.job);
        let Ok(sets) = label_sets(rules, &series.labels) else {
            return;
        };
        for (((labels, expected), remote), &drops_replica) in sets
            .into_iter()
            .zip(expected)
            .zip(self.remotes)
            .zip(self.drops_replica)
        {
            let Some(mut labels) = labels else { continue };
            if drops_replica && labels.find("cluster").is_some() {
                labels.retain(|name| name != "__replica__");
            }
            expected
                .equal
                .retain(|(name, value)| labels.get(name) == value);
            let samples = series.samples.iter().filter(|sample| {
                remote.send_native_histograms || !matches!(sample.print, ValuePrint::Histogram(_))
            });
            let entry = expected
                .series
                .entry(labels.hash())
                .or_insert_with(|| HomeSeries {
                    target: index,
                    metric: labels.get(NAME).into(),
                    text: self.keeps_text.then(|| shown(&labels).into()),
                    scraped_by,
                    is_met: false,
                    samples: Vec::new(),
                });
            merge(&mut entry.samples, samples.copied());
        }
    }
}

/// Leaves of native histograms what the job's settings leave of them.
fn simplify(samples: &mut Vec<TimedPrint>, job: &ScrapeConfig) {
    let histograms = &job.histograms;
    if !histograms.native {
        samples.retain(|sample| !matches!(sample.print, ValuePrint::Histogram(_)));
    }
    if histograms.bucket_limit > 0 || histograms.min_bucket_factor > 0.0 {
        for sample in samples {
            if let ValuePrint::Histogram(print) = &mut sample.print {
                print.buckets = None;
            }
        }
    }
}

/// Adds samples of a label set that comes twice; of equal times the first sample stays.
fn merge(into: &mut Vec<TimedPrint>, samples: impl Iterator<Item = TimedPrint>) {
    let first = into.is_empty();
    into.extend(samples);
    if !first {
        into.sort_by_key(|sample| sample.timestamp_ms);
        into.dedup_by_key(|sample| sample.timestamp_ms);
    }
}

/// A label set as text.
pub(super) fn shown(labels: &Labels<'_>) -> String {
    let pairs: Vec<_> = labels
        .iter()
        .map(|label| (&*label.name, &*label.value))
        .collect();
    text::series(&pairs)
}
