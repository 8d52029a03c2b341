//! Timestamps of windows: many samples of a series at once, read from a TSDB with an overlap.
//!
//! A window reaches back behind what was sent before, so most of its first samples are known. The
//! last timestamp of a series tells them apart. For a series without one, the window itself says
//! where to begin: see [`WindowStart`].

use super::entry::{AGAIN, AGAIN_BEFORE, NEVER, RawForm, SeriesEntry};
use super::{SeriesCache, Transaction};
use crate::series::ids::{SeriesId, TargetId};

/// Where a window begins to be new for one remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowStart {
    /// Milliseconds since 1970. Up to this time every sample was delivered or is in the spool, as
    /// far as it was visible then.
    pub watermark_ms: i64,
    /// Whether the last timestamps are known of every series that was sent since the beginning of
    /// the window, overlap included. A series without one is then new, and all of its samples are
    /// taken; otherwise those after the watermark.
    pub complete: bool,
    /// What of a series is taken that is not after the watermark.
    pub earlier: EarlierSamples,
}

/// Samples of a window that are not after the watermark of a remote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EarlierSamples {
    /// Those after the last timestamp of their series: they became visible late.
    #[default]
    Late,
    /// Of these, the newest of each series: the first slot after the watermark may show it.
    Newest,
    /// None: the window ends at the watermark, because another remote is further behind.
    None,
}

impl Default for WindowStart {
    /// Everything is new.
    fn default() -> Self {
        Self {
            watermark_ms: i64::MIN,
            complete: true,
            earlier: EarlierSamples::Late,
        }
    }
}

/// Which samples of a window are new, by their timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowCut {
    /// Samples up to this time were sent before the window, milliseconds since 1970.
    pub sent_ms: i64,
    /// Samples up to this time are not taken. Those after `sent_ms` are second values that the same
    /// window has shown before, or belong to another transaction.
    pub taken_ms: i64,
    /// Number of entries of this series that the window has given before.
    pub nth: u16,
}

impl WindowCut {
    const fn nothing_sent(sent_ms: i64) -> Self {
        Self {
            sent_ms,
            taken_ms: sent_ms,
            nth: 0,
        }
    }
}

impl SeriesCache {
    /// Starts a window of a target.
    pub fn begin_window(&mut self, target: TargetId) -> Transaction {
        self.open(target, false)
    }

    /// Says which samples of a window are new. It changes nothing: see
    /// [`SeriesCache::take_window`].
    #[inline]
    pub fn cut_window(
        &mut self,
        transaction: Transaction,
        series: SeriesId,
        start: WindowStart,
    ) -> WindowCut {
        let primary = self.primary(series);
        let mine = self.entries[primary].transaction == transaction.id;
        let contended = self.is_contended(transaction, primary, mine);
        let entry = &self.entries[primary];
        let sent_ms = |last_ms, again: bool| match last_ms {
            // What relabelling drops has no last timestamp in any table.
            NEVER if start.complete && !entry.is_dropped() => NEVER,
            NEVER => start.watermark_ms,
            // The last sample may not have arrived.
            _ => last_ms - i64::from(again),
        };
        let mut cut = if mine {
            let sent_ms = sent_ms(entry.before_ms, entry.resend & AGAIN_BEFORE != 0);
            WindowCut {
                taken_ms: entry.last_ms,
                nth: entry.nth.saturating_add(1),
                ..WindowCut::nothing_sent(sent_ms)
            }
        } else {
            WindowCut::nothing_sent(sent_ms(entry.last_ms, entry.resend & AGAIN != 0))
        };
        if contended {
            cut.taken_ms = i64::MAX;
        }
        cut
    }

    /// Takes the samples of a window up to this time. `nth` is the number of their last entry, as
    /// counted from [`WindowCut::nth`] on.
    #[inline]
    pub fn take_window(
        &mut self,
        transaction: Transaction,
        series: SeriesId,
        newest_ms: i64,
        nth: u16,
    ) {
        let primary = self.primary(series);
        let take = |entry: &mut SeriesEntry| {
            if entry.transaction != transaction.id {
                entry.begin_transaction(transaction.id);
            }
            entry.last_ms = newest_ms;
            entry.resend &= !AGAIN;
            entry.nth = nth;
        };
        take(&mut self.entries[primary]);
        if series.index() != primary {
            take(&mut self.entries[series.index()]);
        }
    }

    /// Notes that the raw bytes of a series are labels of a window.
    #[inline]
    pub fn set_windowed(&mut self, series: SeriesId) {
        self.entries[series.index()].form = RawForm::Window;
    }

    /// The place of the entry that holds the timestamps of a series.
    fn primary(&self, series: SeriesId) -> usize {
        self.entries[series.index()].primary as usize
    }

    /// Ends a window that succeeded: its timestamps are kept. Returns whether series have moved to
    /// other places.
    ///
    /// A window is no scrape that the series it lacks have missed: it may be shorter than their
    /// interval.
    pub fn commit_window(&mut self, transaction: Transaction, start: WindowStart) -> bool {
        self.close(transaction);
        self.seeds.compact();
        self.open.is_empty() && self.sweep_windowed(transaction.target, start.watermark_ms)
    }
}
