//! Turns the samples of scrapes into the batches of one remote.

use super::Batch;
use super::compressor::Compressor;
use super::left::LeftSamples;
use super::open::BatchKey;
use super::stage::{BatchLimits, EncodeLabels, Stage};
use crate::prompb::STALE_NAN;
use crate::prompb::messages::Histogram;
use crate::prompb::{TimedValue, Value, ValueKind};
use crate::series::cache::{Observation, SeriesKey, Transaction, WindowStart};
use crate::series::{Labels, SeriesCache, SeriesId, TargetId};

/// AMP and Cortex decide deduplication by these labels of a request's first series
/// (`pkg/distributor/distributor.go`), so a request never mixes their values.
const HA_LABELS: [&str; 2] = ["cluster", "__replica__"];

/// One remote's encoder: what it remembers of series, and its limits.
#[derive(Debug)]
pub struct Writer {
    pub(super) cache: SeriesCache,
    pub(super) limits: BatchLimits,
    /// The configured number of samples at which batches close.
    configured_samples: usize,
    /// `send_native_histograms`.
    pub(super) native_histograms: bool,
    pub(super) compressor: Compressor,
    /// The values of [`HA_LABELS`] seen so far. A group is a place in this list.
    groups: Vec<[String; 2]>,
    /// Samples that scrapes have left to others.
    pub(super) left: LeftSamples,
}

/// What one scrape gave, for one remote.
#[derive(Debug)]
pub struct StagedScrape {
    pub(super) transaction: Transaction,
    pub(super) stage: Stage,
    /// Where the window begins to be new. None for a scrape.
    pub(super) window: Option<WindowStart>,
    /// What became of its samples so far.
    pub counts: SampleCounts,
    /// Samples that it has left to other scrapes. They are among those that were given.
    pub(super) left: u64,
}

/// Where the samples of a scrape went; the fresh ones are in its batches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SampleCounts {
    /// All that were given, except those that `overlapped` counts.
    pub scraped: u64,
    /// Dropped by relabelling, out of order, too far ahead.
    pub filtered: u64,
    /// Of these, the samples of a scrape that are older than one of their series before them.
    pub out_of_order: u64,
    /// Of these, the samples of a scrape whose series and timestamp it has shown before.
    pub duplicates: u64,
    /// Already sent.
    pub unchanged: u64,
    /// In batches.
    pub fresh: u64,
    /// Series not seen before.
    pub series_added: u64,
    /// Samples of a window that were sent before it: windows overlap. No other count has them.
    pub overlapped: u64,
    /// Samples in batches that are not after the window's watermark: they became visible late.
    pub late: u64,
    /// Milliseconds from the oldest of the late samples to the watermark, 0 without any.
    pub worst_late_ms: u64,
}

impl Writer {
    /// A writer that has seen nothing.
    #[must_use]
    pub fn new(limits: BatchLimits) -> Self {
        Self {
            cache: SeriesCache::default(),
            limits,
            configured_samples: limits.samples,
            native_histograms: false,
            compressor: Compressor::default(),
            groups: Vec::new(),
            left: LeftSamples::default(),
        }
    }

    /// Whether native histograms are sent (`send_native_histograms`) or dropped.
    #[must_use]
    pub fn with_native_histograms(self, native_histograms: bool) -> Self {
        Self {
            native_histograms,
            ..self
        }
    }

    /// One with the same settings that has seen nothing.
    #[must_use]
    pub fn cold(&self) -> Self {
        Self::new(self.limits).with_native_histograms(self.native_histograms)
    }

    /// When batches close.
    #[must_use]
    pub fn limits(&self) -> BatchLimits {
        self.limits
    }

    /// Changes the bytes at which batches close.
    pub fn limit_bytes(&mut self, bytes: usize) {
        self.limits.bytes = bytes;
    }

    /// Lets batches close at fewer samples than is configured.
    pub fn limit_samples(&mut self, samples: usize) {
        self.limits.samples = self.configured_samples.min(samples);
    }

    /// Starts a scrape.
    pub fn begin(&mut self, target: TargetId) -> StagedScrape {
        let transaction = self.cache.begin(target);
        self.staged(transaction, None)
    }

    pub(super) fn staged(
        &self,
        transaction: Transaction,
        window: Option<WindowStart>,
    ) -> StagedScrape {
        StagedScrape {
            transaction,
            stage: Stage::new(self.limits, transaction.target(), &self.compressor),
            window,
            counts: SampleCounts::default(),
            left: 0,
        }
    }

    /// Starts what is left of a scrape or a window that failed: its reports.
    pub fn begin_reports(&mut self, target: TargetId, failed: &StagedScrape) -> StagedScrape {
        let transaction = self.cache.begin_reports(target);
        self.staged(transaction, failed.window)
    }

    /// What the writer remembers of series.
    #[inline]
    #[must_use]
    pub fn cache(&self) -> &SeriesCache {
        &self.cache
    }

    /// What the writer remembers of series, to find one or to mark it as seen.
    #[inline]
    pub fn cache_mut(&mut self) -> &mut SeriesCache {
        &mut self.cache
    }

    /// Remembers a new series: its finished labels, or none when it is dropped. `tracked`: it may
    /// get a stale marker.
    pub fn insert(
        &mut self,
        staged: &mut StagedScrape,
        key: SeriesKey,
        labels: Option<&Labels<'_>>,
        tracked: bool,
    ) -> SeriesId {
        staged.counts.series_added += u64::from(labels.is_some());
        let labels = labels.map(|labels| (labels, self.group(labels)));
        self.cache.insert(staged.transaction, key, labels, tracked)
    }

    /// Remembers a series that `metric_relabel_configs` drop.
    pub fn insert_unwanted(&mut self, staged: &StagedScrape, key: SeriesKey) -> SeriesId {
        let series = self.cache.insert(staged.transaction, key, None, false);
        self.cache.set_unwanted(series);
        series
    }

    fn group(&mut self, labels: &Labels<'_>) -> u32 {
        let values = HA_LABELS.map(|name| labels.get(name));
        let found = self
            .groups
            .iter()
            .position(|group| group[0] == values[0] && group[1] == values[1]);
        found.unwrap_or_else(|| {
            self.groups.push(values.map(str::to_owned));
            self.groups.len() - 1
        }) as u32
    }

    /// Takes a sample of a series that was found or inserted, and says whether it is one that
    /// Prometheus' storage would take as it comes (`sampleAdded` in `scrape/scrape.go` `append`).
    /// `tracked`: it is to get a stale marker when its target shows it no more.
    ///
    /// # Errors
    /// As [`Stage::push`].
    #[inline]
    pub fn write(
        &mut self,
        staged: &mut StagedScrape,
        series: SeriesId,
        raw: &[u8],
        sample: TimedValue<'_>,
        tracked: bool,
    ) -> Result<bool, snap::Error> {
        staged.counts.scraped += 1;
        // storage/remote/queue_manager.go AppendHistograms
        if self.cache.is_dropped(series)
            || (!self.native_histograms && matches!(sample.value, Value::Histogram(_)))
        {
            staged.counts.filtered += 1;
            return Ok(true);
        }
        let observed = self
            .cache
            .observe(staged.transaction, series, sample.timestamp_ms);
        if tracked && observed != Observation::OutOfOrder {
            self.cache.track(staged.transaction, series);
        }
        let nth = match observed {
            Observation::Fresh { nth } => nth,
            Observation::Unchanged => {
                staged.counts.unchanged += 1;
                return Ok(true);
            }
            Observation::OutOfOrder => {
                staged.counts.filtered += 1;
                staged.counts.out_of_order += 1;
                return Ok(false);
            }
            Observation::Left => {
                self.leave(staged, series, raw, sample);
                return Ok(true);
            }
            Observation::Duplicate => {
                staged.counts.filtered += 1;
                staged.counts.duplicates += 1;
                return Ok(true);
            }
        };
        staged.counts.fresh += 1;
        self.cache.set_kind(series, sample.value.kind());
        let cache = &self.cache;
        let key = BatchKey {
            nth,
            group: cache.group(series),
        };
        staged.stage.push(
            &mut self.compressor,
            key,
            sample,
            &KnownSeries { cache, series, raw },
        )?;
        Ok(true)
    }

    /// Writes a stale marker for each series that the target showed a scrape ago and does not show
    /// now (`scrape/scrape.go` `updateStaleMarkers`): once a scrape, after all its samples. A
    /// window gets none.
    ///
    /// # Errors
    /// As [`Stage::push`].
    pub fn mark_stale(
        &mut self,
        staged: &mut StagedScrape,
        timestamp_ms: i64,
    ) -> Result<(), snap::Error> {
        if staged.window.is_some() {
            return Ok(());
        }
        for series in self.cache.end_pass(staged.transaction) {
            // tsdb/head_append.go headAppender.Append: of a series of histograms it is a histogram.
            let kind = self.cache.kind(series);
            let histogram = Histogram::stale(kind);
            let marker = if kind == ValueKind::Float {
                Value::Float(f64::from_bits(STALE_NAN))
            } else {
                Value::Histogram(&histogram)
            };
            self.write(
                staged,
                series,
                &[],
                TimedValue {
                    value: marker,
                    timestamp_ms,
                },
                false,
            )?;
        }
        Ok(())
    }

    /// Forgets what the scrape has tracked: its exposition did not come whole.
    pub fn untrack(&mut self, staged: &StagedScrape) {
        self.cache.untrack(staged.transaction);
    }

    /// Ends a scrape that succeeded: its batches, by scrape number to be given.
    ///
    /// # Errors
    /// As [`Stage::push`]; the scrape is then rolled back.
    pub fn commit(&mut self, staged: StagedScrape) -> Result<Vec<Vec<Batch>>, snap::Error> {
        match staged.stage.finish(&mut self.compressor) {
            Ok(batches) => {
                let moved = match staged.window {
                    None => self.cache.commit(staged.transaction),
                    Some(start) => self.cache.commit_window(staged.transaction, start),
                };
                if moved {
                    self.compressor.forget();
                }
                Ok(batches)
            }
            Err(error) => {
                self.cache.rollback(staged.transaction);
                Err(error)
            }
        }
    }

    /// Ends a scrape that failed: nothing of it is sent, its series stay known.
    pub fn rollback(&mut self, staged: StagedScrape) {
        staged.stage.discard(&mut self.compressor);
        self.cache.rollback(staged.transaction);
    }

    /// Forgets the series of which no sample was ever taken, and those that the last scrapes
    /// missed.
    pub fn forget_untaken(&mut self) {
        if self.cache.forget_untaken() {
            self.compressor.forget();
        }
    }

    /// Forgets that the last samples were sent: after some were lost, or when somebody else may
    /// have sent newer ones.
    pub fn forget_timestamps(&mut self) {
        self.cache.forget_timestamps();
    }

    /// Bytes held by a scrape in progress.
    #[must_use]
    pub fn staged_memory(&self, staged: &StagedScrape) -> usize {
        staged.stage.memory(&self.compressor)
    }

    /// Bytes held between scrapes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.cache.memory() + self.compressor.memory() + self.left.memory()
    }

    /// Series remembered.
    #[must_use]
    pub fn series(&self) -> usize {
        self.cache.len()
    }
}

/// A series of the cache, with the bytes that it was exposed with.
pub(super) struct KnownSeries<'a> {
    pub(super) cache: &'a SeriesCache,
    pub(super) series: SeriesId,
    pub(super) raw: &'a [u8],
}

impl EncodeLabels for KnownSeries<'_> {
    #[inline]
    fn series(&self) -> SeriesId {
        self.series
    }

    fn starts_piece(&self) -> bool {
        self.cache.is_landmark(self.series)
    }

    fn encoded_len(&self) -> usize {
        self.cache.labels_len(self.series)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.cache.encode_labels(self.series, self.raw, out);
    }
}

impl StagedScrape {
    /// The scrape's transaction in the cache of series.
    #[inline]
    #[must_use]
    pub fn transaction(&self) -> Transaction {
        self.transaction
    }

    /// Counts a sample that its timestamp or a limit keeps out.
    #[inline]
    pub fn refuse(&mut self) {
        self.counts.scraped += 1;
        self.counts.filtered += 1;
    }
}
