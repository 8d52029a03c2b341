//! Both ends, window by window.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::compare::{EndCounts, SlotRules, Span, every_sample, prove_moments, slots};
use super::error::{EndError, EndFault};
use super::home::{ExpectedSeries, HomeReader, HomeSeries, HomeTarget, ScrapeDurations};
use super::moments::TargetMoments;
use super::own::own_series;
use super::remote::{RemoteEnd, RemoteQuestion};
use super::report::{DeviationLog, UnreadRange, VerifyReport, VerifyUnit};
use super::resolution::Resolution;
use super::value::{Precision, TimedPrint};
use super::windows::Windows;
use crate::config::{Config, RemoteReadMode};
use crate::home::{Home, targets};
use crate::series::Labels;
use crate::time::millis;

/// Length of a window in which every sample is compared, milliseconds.
const SAMPLES_WINDOW_MS: i64 = 2 * 60_000;

/// Length of a window in which slots are compared. It is longer, because each read reaches back by
/// the look-back as well.
const SLOTS_WINDOW_MS: i64 = 5 * 60_000;

/// How far `/federate` looks back for the newest sample (`--query.lookback-delta`).
const LOOK_BACK_MS: i64 = 5 * 60_000;

/// Attempts at a window whose ends are out of reach for the moment.
const ATTEMPTS: u32 = 3;

/// Pause before the second attempt; the next one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);

/// What is to be verified.
#[derive(Debug, Clone)]
pub struct VerifyRequest {
    /// The range, milliseconds since 1970. Its end should be settled: what is still on its way is
    /// counted as missing.
    pub range: Span,
    /// Names of the jobs; `None` is all that federate.
    pub jobs: Option<Vec<String>>,
    /// Moment at which the work must end. Then windows are chosen from the whole range, as many as
    /// there is time for.
    pub deadline: Option<Instant>,
    /// Deviations that are shown in full for each remote.
    pub examples: usize,
    /// Largest answer of an end in bytes, before compression.
    pub max_bytes: u64,
}

/// Progress of a verification.
#[derive(Debug, Clone, Copy)]
pub struct VerifyProgress {
    /// Milliseconds of the range that are done with.
    pub done_ms: i64,
    /// Samples or slots that are missing or different so far.
    pub deviating: u64,
}

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// No job has a home that could be asked.
    #[error("no job federates: verify compares jobs whose metrics_path ends in /federate")]
    NothingToVerify,
    /// A target is not usable.
    #[error("{0}")]
    Target(String),
    /// An end cannot be read at all.
    #[error("{0}")]
    End(#[from] EndError),
}

/// Compares the home with the remotes.
pub struct SampleVerifier<'a> {
    config: &'a Config,
    home: &'a dyn Home,
    remotes: Vec<RemoteEnd>,
}

impl<'a> SampleVerifier<'a> {
    /// Compares with these remotes, one for each entry of `remote_write` in its order.
    #[must_use]
    pub fn new(config: &'a Config, home: &'a dyn Home, remotes: Vec<RemoteEnd>) -> Self {
        Self {
            config,
            home,
            remotes,
        }
    }

    /// Compares a range, and reports what the remotes lack. A window that cannot be read is
    /// repeated, then halved where that may help, and else reported as unread.
    ///
    /// # Errors
    /// [`VerifyError`] when an end cannot be read at all.
    pub async fn verify(
        &mut self,
        request: &VerifyRequest,
        progress: &mut dyn FnMut(VerifyProgress),
    ) -> Result<VerifyReport, VerifyError> {
        let targets = self.targets(request)?;
        let (unit, resolution, length_ms) = self.measures();
        let range = resolution.whole_spans(&request.range);
        let mut windows = Windows::of(&range, length_ms);
        if request.deadline.is_some() {
            windows = windows.spread();
        }
        let logs: Vec<_> = self
            .remotes
            .iter()
            .map(|_| DeviationLog::new(request.examples))
            .collect();
        let mut run = RunningVerification {
            config: self.config,
            home: self.home,
            request,
            targets: &targets,
            own: own_series(self.config, &targets, &self.remotes),
            unit,
            resolution,
            logs,
        };
        let (mut compared_ms, mut done_ms, mut unread) = (0, 0, Vec::new());
        while let Some(window) = windows.next() {
            if request.deadline.is_some_and(|end| Instant::now() >= end) {
                break;
            }
            let length_ms = window.end() - window.start() + 1;
            match run.compare_patiently(&mut self.remotes, &window).await {
                Ok(()) => compared_ms += length_ms,
                Err(error) if error.fault == EndFault::TooMuch && windows.halve(&window) => {
                    continue;
                }
                Err(error) if matches!(error.fault, EndFault::NotOffered | EndFault::Final) => {
                    return Err(error.into());
                }
                Err(error) => unread.push(UnreadRange {
                    from_ms: *window.start(),
                    to_ms: *window.end(),
                    error: error.to_string(),
                }),
            }
            done_ms += length_ms;
            progress(VerifyProgress {
                done_ms,
                deviating: run.deviating(),
            });
        }
        let remotes = run
            .logs
            .into_iter()
            .zip(&self.remotes)
            .map(|(log, remote)| log.finish(&remote.name, remote.precision()))
            .collect();
        Ok(VerifyReport::new(
            &range,
            unit,
            compared_ms,
            remotes,
            unread,
        ))
    }

    /// What is compared, of which samples, and the length of a window in milliseconds.
    fn measures(&self) -> (VerifyUnit, Resolution, i64) {
        let remote_read = &self.config.forwarder.remote_read;
        match remote_read.mode {
            RemoteReadMode::Always => {
                let resolution = Resolution::new(remote_read.resolution);
                (VerifyUnit::Samples, resolution, SAMPLES_WINDOW_MS)
            }
            RemoteReadMode::Gaps | RemoteReadMode::Off => {
                (VerifyUnit::Slots, Resolution::default(), SLOTS_WINDOW_MS)
            }
        }
    }

    fn targets(&self, request: &VerifyRequest) -> Result<Vec<HomeTarget<'a>>, VerifyError> {
        let jobs = &self.config.scrape_configs;
        let path = self.config.forwarder.remote_read.path.as_deref();
        let mut chosen = Vec::new();
        for target in targets(jobs).map_err(VerifyError::Target)? {
            let job = &jobs[target.job.index()];
            let is_wanted = request
                .jobs
                .as_ref()
                .is_none_or(|jobs| jobs.contains(&job.job_name));
            if is_wanted && job.is_federation() {
                chosen.push(HomeTarget::new(job, target, path)?);
            }
        }
        if chosen.is_empty() {
            return Err(VerifyError::NothingToVerify);
        }
        Ok(chosen)
    }
}

/// A verification in progress.
struct RunningVerification<'r> {
    config: &'r Config,
    home: &'r dyn Home,
    request: &'r VerifyRequest,
    targets: &'r [HomeTarget<'r>],
    /// For each remote, the hashes of the series that the forwarder makes itself.
    own: Vec<HashSet<u64>>,
    unit: VerifyUnit,
    resolution: Resolution,
    logs: Vec<DeviationLog>,
}

/// What one remote is compared with in one window.
struct RemoteWindow<'w> {
    expected: ExpectedSeries,
    durations: &'w ScrapeDurations,
    /// For each target, the moments of its slots.
    moments: Vec<TargetMoments>,
    span: &'w Span,
}

impl RemoteWindow<'_> {
    /// How the slots of a series are compared.
    fn rules<'w>(&'w self, series: &HomeSeries, target: &HomeTarget<'_>) -> SlotRules<'w> {
        let moments = &self.moments[series.target];
        SlotRules {
            slots: &moments.slots,
            next: moments.next,
            look_back_ms: LOOK_BACK_MS,
            lag_ms: self.durations.lag_ms(series),
            honor_timestamps: target.job.honor_timestamps,
        }
    }
}

impl RunningVerification<'_> {
    fn deviating(&self) -> u64 {
        let of = |log: &DeviationLog| log.counts.missing + log.counts.different;
        self.logs.iter().map(of).sum()
    }

    async fn compare_patiently(
        &mut self,
        remotes: &mut [RemoteEnd],
        window: &Span,
    ) -> Result<(), EndError> {
        let mut pause = PAUSE;
        for _ in 1..ATTEMPTS {
            match self.compare(remotes, window).await {
                Err(error) if error.fault == EndFault::Passing => {}
                ended => return ended,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.compare(remotes, window).await
    }

    /// Compares one window. Its counts are added once all of it was read.
    async fn compare(&mut self, remotes: &mut [RemoteEnd], window: &Span) -> Result<(), EndError> {
        let span = self.read_span(window);
        let drops_replica: Vec<_> = remotes.iter().map(|remote| remote.drops_replica).collect();
        let reader = HomeReader {
            home: self.home,
            external_labels: &self.config.global.external_labels,
            remotes: &self.config.remote_write,
            drops_replica: &drops_replica,
            keeps_text: self.request.examples > 0,
            max_bytes: self.request.max_bytes,
        };
        let (expected, durations) = reader.read(self.targets, &span).await?;
        let mut compared = Vec::with_capacity(remotes.len());
        for (index, (remote, expected)) in remotes.iter_mut().zip(expected).enumerate() {
            let moments = self.moments(remote, index, window).await?;
            let window = RemoteWindow {
                expected,
                durations: &durations,
                moments,
                span: window,
            };
            compared.push(self.compare_remote(remote, index, window, &span).await?);
        }
        for (log, window) in self.logs.iter_mut().zip(compared) {
            log.absorb(window);
        }
        Ok(())
    }

    /// The span that is read for a window: slots need what came before, and what was shown at the
    /// end of the last one.
    fn read_span(&self, window: &Span) -> Span {
        if self.unit == VerifyUnit::Samples {
            return self.resolution.around(window);
        }
        let longest = self
            .targets
            .iter()
            .map(|target| millis(target.job.scrape_interval))
            .max()
            .unwrap_or_default();
        // The slot after the last one tells which of two has shown a sample.
        window.start() - LOOK_BACK_MS..=window.end() + 2 * longest
    }

    /// The moments of the slots of each target. With samples there are none.
    async fn moments(
        &self,
        remote: &mut RemoteEnd,
        index: usize,
        window: &Span,
    ) -> Result<Vec<TargetMoments>, EndError> {
        let mut moments = Vec::with_capacity(self.targets.len());
        if self.unit == VerifyUnit::Samples {
            return Ok(moments);
        }
        let (config, max_bytes) = (self.config, self.request.max_bytes);
        for target in self.targets {
            let of_target =
                TargetMoments::read(remote, index, target, config, window, max_bytes).await?;
            moments.push(of_target);
        }
        Ok(moments)
    }

    async fn compare_remote(
        &self,
        remote: &mut RemoteEnd,
        index: usize,
        mut window: RemoteWindow<'_>,
        span: &Span,
    ) -> Result<DeviationLog, EndError> {
        let mut log = DeviationLog::new(self.request.examples);
        let ExpectedSeries {
            series: mut expected,
            equal,
        } = std::mem::take(&mut window.expected);
        let counted = metric_counts(expected.values());
        let metrics: Vec<_> = counted
            .iter()
            .map(|(name, count)| (&**name, *count))
            .collect();
        let question = RemoteQuestion {
            span,
            metrics: &metrics,
            equal: &equal,
            max_bytes: self.request.max_bytes,
            // A sample takes some thirty bytes of JSON, and labels come once for each series.
            max_samples: self.request.max_bytes / 64,
        };
        self.prove_moments(remote, &question, &expected, &mut window)
            .await?;
        let own = &self.own[index];
        let mut take = |labels: &Labels<'_>, samples: &[TimedPrint], precision: Precision| {
            let hash = labels.hash();
            if own.contains(&hash) {
                return;
            }
            log.saw_remote(samples.last().map(|sample| sample.timestamp_ms));
            match expected.get_mut(&hash) {
                Some(series) if !series.is_met => {
                    series.is_met = true;
                    self.compare_series(series, samples, &window, precision, &mut log);
                }
                _ => log.counts.add(&foreign(samples, window.span)),
            }
        };
        remote.read(&question, &mut take).await?;
        let precision = remote.precision();
        for series in expected.values().filter(|series| !series.is_met) {
            self.compare_series(series, &[], &window, precision, &mut log);
        }
        Ok(log)
    }

    /// Reads the remote for what it tells of the moments that `up` does not tell.
    async fn prove_moments(
        &self,
        remote: &mut RemoteEnd,
        question: &RemoteQuestion<'_>,
        expected: &HashMap<u64, HomeSeries>,
        window: &mut RemoteWindow<'_>,
    ) -> Result<(), EndError> {
        let all = window.moments.iter().flat_map(|moments| &moments.slots);
        if all.clone().all(|slot| slot.is_known) {
            return Ok(());
        }
        let mut until_ms: Vec<Vec<i64>> = window
            .moments
            .iter()
            .map(|moments| moments.slots.iter().map(|slot| slot.until_ms).collect())
            .collect();
        let mut take = |labels: &Labels<'_>, samples: &[TimedPrint], _: Precision| {
            if let Some(series) = expected.get(&labels.hash()) {
                let rules = window.rules(series, &self.targets[series.target]);
                let until_ms = &mut until_ms[series.target];
                prove_moments(&series.samples, samples, &rules, until_ms);
            }
        };
        remote.read(question, &mut take).await?;
        for (moments, until_ms) in window.moments.iter_mut().zip(until_ms) {
            for (slot, until_ms) in moments.slots.iter_mut().zip(until_ms) {
                slot.until_ms = until_ms;
            }
        }
        Ok(())
    }

    fn compare_series(
        &self,
        series: &HomeSeries,
        remote: &[TimedPrint],
        window: &RemoteWindow<'_>,
        precision: Precision,
        log: &mut DeviationLog,
    ) {
        let text = series.text.as_deref();
        let home = &series.samples;
        let counts = match self.unit {
            VerifyUnit::Samples => {
                let thinned = self.resolution.thin(home);
                every_sample(&thinned, remote, window.span, precision, |deviation| {
                    log.deviates(text, &deviation);
                })
            }
            VerifyUnit::Slots => {
                let rules = window.rules(series, &self.targets[series.target]);
                slots(home, remote, window.span, &rules, precision, |deviation| {
                    log.deviates(text, &deviation);
                })
            }
        };
        log.add(&series.metric, &counts);
    }
}

/// Samples of a series that the home does not have.
fn foreign(samples: &[TimedPrint], span: &Span) -> EndCounts {
    let within = samples
        .iter()
        .filter(|sample| span.contains(&sample.timestamp_ms))
        .count() as u64;
    EndCounts {
        remote: within,
        foreign: within,
        ..EndCounts::default()
    }
}

/// The metrics of some series, sorted, with the number of their samples.
fn metric_counts<'s>(series: impl Iterator<Item = &'s HomeSeries>) -> Vec<(String, u64)> {
    let mut counts = BTreeMap::<&str, u64>::new();
    for series in series {
        *counts.entry(&series.metric).or_default() += series.samples.len() as u64;
    }
    counts
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}
