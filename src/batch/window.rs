//! Turns the windows of series into entries: all samples of a series that are new, in time order.

use super::entry::EntrySamples;
use super::open::BatchKey;
use super::writer::{KnownSeries, StagedScrape, Writer};
use crate::prompb::TimedFloat;
use crate::prompb::messages::Histogram;
use crate::series::cache::{EarlierSamples, WindowCut, WindowStart};
use crate::series::{LastTimestamps, SeriesId, TargetId};

/// All samples of a series in a window.
#[derive(Debug, Clone, Copy)]
pub struct SeriesWindow<'a> {
    /// Raw bytes of the series. They identify it within one target.
    pub series: &'a [u8],
    /// Its floats, each one later than the one before. Stale markers are among them.
    pub floats: &'a [TimedFloat],
    /// Its native histograms, each one later than the one before.
    pub histograms: &'a [Histogram],
}

impl SeriesWindow<'_> {
    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.floats.len() + self.histograms.len()
    }

    /// Whether there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples after this time, milliseconds since 1970.
    #[must_use]
    pub fn after(self, after_ms: i64) -> Self {
        let floats = self.floats;
        let floats = &floats[floats.partition_point(|float| float.timestamp_ms <= after_ms)..];
        let histograms = self.histograms;
        let first = histograms.partition_point(|histogram| histogram.timestamp <= after_ms);
        Self {
            floats,
            histograms: &histograms[first..],
            ..self
        }
    }

    /// Timestamp of the newest sample, milliseconds since 1970.
    fn newest_ms(&self) -> Option<i64> {
        let float = self.floats.last().map(|float| float.timestamp_ms);
        float.max(self.histograms.last().map(|histogram| histogram.timestamp))
    }

    /// Timestamp of the newest sample that is not after this time, milliseconds since 1970.
    fn newest_until_ms(&self, until_ms: i64) -> Option<i64> {
        let floats = self.floats.iter().map(|float| float.timestamp_ms);
        let histograms = self.histograms.iter().map(|histogram| histogram.timestamp);
        let not_after = |at_ms: &i64| *at_ms <= until_ms;
        floats
            .take_while(not_after)
            .last()
            .max(histograms.take_while(not_after).last())
    }

    /// Timestamp of the oldest sample, milliseconds since 1970.
    fn oldest_ms(&self) -> Option<i64> {
        let histogram = self.histograms.first().map(|histogram| histogram.timestamp);
        let float = self.floats.first().map(|float| float.timestamp_ms);
        float.into_iter().chain(histogram).min()
    }
}

/// The samples of a window in time order, in runs of one kind. Of a float and a histogram with one
/// timestamp it leaves out the histogram.
struct KindRuns<'a> {
    floats: &'a [TimedFloat],
    histograms: &'a [Histogram],
}

impl<'a> Iterator for KindRuns<'a> {
    type Item = EntrySamples<'a>;

    fn next(&mut self) -> Option<EntrySamples<'a>> {
        let float_ms = self.floats.first().map(|float| float.timestamp_ms);
        let histogram_ms = self.histograms.first().map(|first| first.timestamp);
        match (float_ms, histogram_ms) {
            (None, None) => None,
            (Some(float_ms), histogram_ms) if histogram_ms.is_none_or(|at| float_ms <= at) => {
                let until_ms = histogram_ms.unwrap_or(i64::MAX);
                let count = self
                    .floats
                    .partition_point(|float| float.timestamp_ms <= until_ms);
                let (run, rest) = self.floats.split_at(count);
                self.floats = rest;
                if run
                    .last()
                    .is_some_and(|last| Some(last.timestamp_ms) == histogram_ms)
                {
                    self.histograms = &self.histograms[1..];
                }
                Some(EntrySamples::Floats(run))
            }
            (float_ms, _) => {
                let until_ms = float_ms.unwrap_or(i64::MAX);
                let before = |histogram: &Histogram| histogram.timestamp < until_ms;
                let count = match float_ms {
                    Some(_) => self.histograms.partition_point(before),
                    None => self.histograms.len(),
                };
                let (run, rest) = self.histograms.split_at(count);
                self.histograms = rest;
                Some(EntrySamples::Histograms(run))
            }
        }
    }
}

impl Writer {
    /// Starts a window of a target.
    pub fn begin_window(&mut self, target: TargetId, start: WindowStart) -> StagedScrape {
        let transaction = self.cache.begin_window(target);
        self.staged(transaction, Some(start))
    }

    /// Up to which time the samples of a series were sent before the window, milliseconds since
    /// 1970.
    #[inline]
    pub fn sent_ms(
        &mut self,
        staged: &StagedScrape,
        series: SeriesId,
        window: &SeriesWindow<'_>,
    ) -> i64 {
        self.cut(staged, series, window).sent_ms
    }

    /// Says which samples of a window are new.
    #[inline]
    fn cut(
        &mut self,
        staged: &StagedScrape,
        series: SeriesId,
        window: &SeriesWindow<'_>,
    ) -> WindowCut {
        let start = staged.window.unwrap_or_default();
        let mut cut = self.cache.cut_window(staged.transaction, series, start);
        let earlier_ms = match start.earlier {
            EarlierSamples::Late => None,
            EarlierSamples::Newest => window
                .newest_until_ms(start.watermark_ms)
                .map(|newest_ms| newest_ms - 1),
            EarlierSamples::None => Some(start.watermark_ms),
        };
        if let Some(earlier_ms) = earlier_ms {
            cut.sent_ms = earlier_ms.max(cut.sent_ms);
            cut.taken_ms = earlier_ms.max(cut.taken_ms);
        }
        cut
    }

    /// Takes the window of a series that was found or inserted. Samples that were sent before it
    /// are counted as overlapped, the others end in entries: one for each run of a kind, and
    /// further ones where a run exceeds the limits of a batch. The entries of a series are
    /// numbered, so that each makes a part of a scrape number of its own.
    ///
    /// `refused` are the timestamps of further samples of the series that a limit keeps out,
    /// milliseconds since 1970.
    ///
    /// # Errors
    /// As [`Stage::push`](super::stage::Stage::push).
    pub fn write_window(
        &mut self,
        staged: &mut StagedScrape,
        series: SeriesId,
        window: &SeriesWindow<'_>,
        refused: &[i64],
    ) -> Result<(), snap::Error> {
        let start = staged.window.unwrap_or_default();
        let cut = self.cut(staged, series, window);
        let new = window.after(cut.sent_ms);
        let refused_new = refused.iter().filter(|&&at| at > cut.sent_ms).count();
        let counts = &mut staged.counts;
        counts.overlapped += (window.len() - new.len() + refused.len() - refused_new) as u64;
        counts.scraped += (new.len() + refused_new) as u64;
        counts.filtered += refused_new as u64;
        let Some(newest_ms) = new.newest_ms() else {
            return Ok(());
        };
        let mut taken = new.after(cut.taken_ms);
        if self.cache.is_dropped(series) {
            taken = taken.after(i64::MAX);
        }
        if !self.native_histograms {
            // storage/remote/queue_manager.go AppendHistograms
            taken.histograms = &[];
        }
        let before = staged.counts.fresh;
        let nth = self.write_runs(staged, series, &taken, cut.nth)?;
        let counts = &mut staged.counts;
        counts.filtered += new.len() as u64 - (counts.fresh - before);
        if let Some(oldest_ms) = taken.oldest_ms().filter(|&at| at <= start.watermark_ms) {
            let late = taken.len() - taken.after(start.watermark_ms).len();
            counts.late += late as u64;
            let late_ms = start.watermark_ms.abs_diff(oldest_ms);
            counts.worst_late_ms = counts.worst_late_ms.max(late_ms);
        }
        // Samples that are filtered are not offered again, either.
        if newest_ms > cut.taken_ms {
            self.cache
                .take_window(staged.transaction, series, newest_ms, nth);
        }
        Ok(())
    }

    /// Writes samples as entries, numbered from `nth` on. Returns the number of the last one.
    fn write_runs(
        &mut self,
        staged: &mut StagedScrape,
        series: SeriesId,
        taken: &SeriesWindow<'_>,
        mut nth: u16,
    ) -> Result<u16, snap::Error> {
        let cache = &self.cache;
        let runs = KindRuns {
            floats: taken.floats,
            histograms: taken.histograms,
        };
        let (mut kind, mut next) = (None, Some(nth));
        for mut run in runs {
            kind = Some(run.last_kind());
            while !run.is_empty() {
                // More entries than numbers: none of the shapes that a home gives.
                let Some(number) = next else {
                    break;
                };
                let limits = staged.stage.limits();
                let labels = cache.labels_len(series);
                let (entry, rest) = run.split_fitting(labels, limits.samples, limits.bytes);
                run = rest;
                staged.counts.fresh += entry.samples.len() as u64;
                let key = BatchKey {
                    nth: number,
                    group: cache.group(series),
                };
                let known = KnownSeries {
                    cache,
                    series,
                    raw: taken.series,
                };
                staged
                    .stage
                    .push_entry(&mut self.compressor, key, entry, &known)?;
                nth = number;
                next = number.checked_add(1);
            }
        }
        if let Some(kind) = kind {
            self.cache.set_kind(series, kind);
        }
        Ok(nth)
    }

    /// The last timestamps of the series of some targets, as
    /// [`SeriesCache::last_timestamps`](crate::series::SeriesCache::last_timestamps) says.
    #[must_use]
    pub fn last_timestamps(
        &self,
        wanted: impl Fn(TargetId) -> bool,
        not_before_ms: i64,
    ) -> LastTimestamps {
        self.cache.last_timestamps(wanted, not_before_ms)
    }

    /// Takes over the last timestamps of another process, as
    /// [`SeriesCache::restore`](crate::series::SeriesCache::restore) says.
    pub fn restore(&mut self, table: &LastTimestamps, wanted: impl Fn(TargetId) -> bool) {
        self.cache.restore(table, wanted);
    }

    /// Moves last timestamps back, as
    /// [`SeriesCache::rewind`](crate::series::SeriesCache::rewind) says.
    pub fn rewind(&mut self, to_ms: i64, wanted: impl Fn(TargetId) -> bool) {
        self.cache.rewind(to_ms, wanted);
    }
}
