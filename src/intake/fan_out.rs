//! From one series to all remotes: external labels, `write_relabel_configs`, and each remote's
//! writer with its cache.
//!
//! A sample passes three steps, and the types hold their order: [`FanOut::find`] (or
//! [`FanOut::insert`]) gives a [`FoundSeries`], [`FoundSeries::touch`] marks the series as seen in
//! this scrape and gives a [`TouchedSeries`], and that takes the sample or refuses it.

use std::borrow::Cow;
use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;

use super::label_sets::add_external_labels;
use super::rules::relabelled;
use super::sink::Refusal;
use crate::batch::{SeriesWindow, StagedScrape, Writer};
use crate::config::RemoteWrite;
use crate::prompb::TimedValue;
use crate::relabel::Rule;
use crate::series::cache::{SeriesKey, Sighting};
use crate::series::{Labels, SeriesId};

/// Every remote's side of one scrape.
pub(super) struct FanOut<'a> {
    remotes: Vec<RemoteSide<'a>>,
}

struct RemoteSide<'a> {
    writer: RefMut<'a, Writer>,
    staged: &'a mut StagedScrape,
    write_relabel: &'a [Rule],
    /// The series of the sample in hand. It has a meaning only within [`FoundSeries`] and
    /// [`TouchedSeries`].
    series: SeriesId,
}

impl RemoteSide<'_> {
    /// Remembers a series for this remote: its labels, or that relabelling drops it. A series that
    /// was remembered as one that cannot be tracked becomes trackable.
    fn insert(
        &mut self,
        key: SeriesKey,
        labels: &Labels<'_>,
        unsorted: Option<&Labels<'_>>,
        tracked: bool,
    ) -> Result<(), Refusal> {
        let known = self.writer.cache_mut().find(key);
        if let Some(series) =
            known.filter(|&series| !tracked || self.writer.cache().is_trackable(series))
        {
            self.series = series;
            return Ok(());
        }
        let labels = match unsorted {
            Some(unsorted) if !self.write_relabel.is_empty() => {
                relabelled(self.write_relabel, unsorted.clone())?.map(Cow::Owned)
            }
            _ => Some(Cow::Borrowed(labels)),
        };
        self.series = match (known, labels) {
            (None, labels) => self
                .writer
                .insert(self.staged, key, labels.as_deref(), tracked),
            (Some(series), Some(labels)) => {
                self.writer.cache_mut().make_portable(series, &labels);
                series
            }
            (Some(series), None) => series,
        };
        Ok(())
    }
}

impl<'a> FanOut<'a> {
    /// Borrows the writers. `staged` has one entry for each of them; so has `configs`, unless it is
    /// empty, in which case no remote relabels.
    pub(super) fn new(
        writers: &'a [RefCell<Writer>],
        staged: &'a mut [StagedScrape],
        configs: &'a [RemoteWrite],
    ) -> Self {
        let rules = configs
            .iter()
            .map(|config| &config.write_relabel_configs[..])
            .chain(std::iter::repeat(&[][..]));
        let remotes = writers
            .iter()
            .zip(staged)
            .zip(rules)
            .map(|((writer, staged), write_relabel)| RemoteSide {
                writer: writer.borrow_mut(),
                staged,
                write_relabel,
                series: SeriesId::default(),
            })
            .collect();
        Self { remotes }
    }

    /// Length in bytes of the series that most likely comes next. See
    /// [`Sink::expected`](super::Sink::expected).
    #[inline]
    pub(super) fn expected(&self) -> Option<usize> {
        self.remotes.first()?.writer.cache().expected()
    }

    /// Finds a series that every remote knows.
    #[inline]
    pub(super) fn find(&mut self, key: SeriesKey) -> Option<FoundSeries<'_, 'a>> {
        for remote in &mut self.remotes {
            remote.series = remote.writer.cache_mut().find(key)?;
        }
        Some(FoundSeries { fan_out: self })
    }

    /// Adds external labels, relabels for each remote, and lets each writer remember the series.
    ///
    /// # Errors
    /// [`Refusal`] when relabelling made the label set too large.
    pub(super) fn insert<'b>(
        &mut self,
        key: SeriesKey,
        mut labels: Labels<'b>,
        external_labels: &'b BTreeMap<String, String>,
        tracked: bool,
    ) -> Result<FoundSeries<'_, 'a>, Refusal> {
        labels.finish();
        add_external_labels(&mut labels, external_labels);
        // labelmap depends on the order of labels, so relabelling takes them before they are
        // sorted.
        let unsorted = self
            .remotes
            .iter()
            .any(|remote| !remote.write_relabel.is_empty())
            .then(|| labels.clone());
        labels.finish();
        for remote in &mut self.remotes {
            remote.insert(key, &labels, unsorted.as_ref(), tracked)?;
        }
        Ok(FoundSeries { fan_out: self })
    }

    /// Remembers a series that `metric_relabel_configs` drop.
    pub(super) fn insert_unwanted(&mut self, key: SeriesKey) -> FoundSeries<'_, 'a> {
        for remote in &mut self.remotes {
            let known = remote.writer.cache_mut().find(key);
            remote.series =
                known.unwrap_or_else(|| remote.writer.insert_unwanted(remote.staged, key));
        }
        FoundSeries { fan_out: self }
    }

    /// Counts a sample of a series that is not even remembered.
    pub(super) fn refuse(&mut self) {
        for remote in &mut self.remotes {
            remote.staged.refuse();
        }
    }
}

/// A series that every remote knows, with a sample of it in hand.
pub(super) struct FoundSeries<'f, 'a> {
    fan_out: &'f mut FanOut<'a>,
}

impl<'f, 'a> FoundSeries<'f, 'a> {
    /// Whether `metric_relabel_configs` drop the series. All remotes agree on it.
    #[inline]
    pub(super) fn is_unwanted(&self) -> bool {
        self.fan_out
            .remotes
            .first()
            .is_some_and(|remote| remote.writer.cache().is_unwanted(remote.series))
    }

    /// Whether every remote could write a stale marker for the series.
    #[inline]
    pub(super) fn is_trackable(&self) -> bool {
        self.fan_out
            .remotes
            .iter()
            .all(|remote| remote.writer.cache().is_trackable(remote.series))
    }

    /// Makes sure that the series is never the expected one. See [`FanOut::expected`].
    pub(super) fn never_expect(&mut self) {
        for remote in &mut self.fan_out.remotes {
            remote.writer.cache_mut().never_expect(remote.series);
        }
    }

    /// Notes that the raw bytes of the series are labels of a window.
    pub(super) fn set_windowed(&mut self) {
        for remote in &mut self.fan_out.remotes {
            remote.writer.cache_mut().set_windowed(remote.series);
        }
    }

    /// Marks the series as seen in this scrape.
    #[inline]
    pub(super) fn touch(self) -> TouchedSeries<'f, 'a> {
        let (mut repeated, mut new) = (false, false);
        for remote in &mut self.fan_out.remotes {
            let transaction = remote.staged.transaction();
            let seen = remote.writer.cache_mut().touch(transaction, remote.series);
            repeated |= seen == Sighting::Already;
            new |= seen == Sighting::Not;
        }
        TouchedSeries {
            fan_out: self.fan_out,
            repeated,
            new,
        }
    }
}

/// A series that was marked as seen, with a sample of it that is still to be taken or refused.
pub(super) struct TouchedSeries<'f, 'a> {
    fan_out: &'f mut FanOut<'a>,
    repeated: bool,
    new: bool,
}

impl TouchedSeries<'_, '_> {
    /// Up to which time every remote was sent the samples of the series before this window,
    /// milliseconds since 1970.
    #[inline]
    pub(super) fn sent_ms(&mut self, window: &SeriesWindow<'_>) -> i64 {
        let sent_ms = self.fan_out.remotes.iter_mut().map(|remote| {
            let RemoteSide {
                writer,
                staged,
                series,
                ..
            } = remote;
            writer.sent_ms(staged, *series, window)
        });
        sent_ms.min().unwrap_or(i64::MIN)
    }

    /// Gives the window to each remote's writer. Says whether the series is new.
    ///
    /// # Errors
    /// [`Refusal`] when a batch could not be compressed.
    pub(super) fn take_window(
        self,
        window: &SeriesWindow<'_>,
        refused: &[i64],
    ) -> Result<bool, Refusal> {
        for remote in &mut self.fan_out.remotes {
            remote
                .writer
                .write_window(remote.staged, remote.series, window, refused)
                .map_err(|error| Refusal(format!("compress: {error}")))?;
        }
        Ok(self.new)
    }

    /// Whether this scrape has shown the series before.
    pub(super) fn is_repeated(&self) -> bool {
        self.repeated
    }

    /// Counts the sample as filtered, for all remotes.
    pub(super) fn refuse(self) {
        self.fan_out.refuse();
    }

    /// Gives the sample to each remote's writer. Says whether the sample adds a series, as
    /// `scrape_series_added` counts it.
    ///
    /// # Errors
    /// [`Refusal`] when a batch could not be compressed.
    #[inline]
    pub(super) fn take(
        self,
        raw: &[u8],
        sample: TimedValue<'_>,
        tracked: bool,
    ) -> Result<bool, Refusal> {
        let mut new = self.new;
        for remote in &mut self.fan_out.remotes {
            new &= remote
                .writer
                .write(remote.staged, remote.series, raw, sample, tracked)
                .map_err(|error| Refusal(format!("compress: {error}")))?;
        }
        Ok(new)
    }
}
