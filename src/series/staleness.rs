//! Finds the series that a target showed a scrape ago and no longer shows: they get a stale marker.
//!
//! Follows `scrape/scrape.go` `scrapeCache` (`seriesPrev`, `seriesCur`). A pass is one scrape, or
//! the reports of one that failed. What a scrape tracked before its exposition turned out malformed
//! stays tracked for its pass: Prometheus marks those series a scrape later. Nothing is held for a
//! target whose samples have timestamps of their own.

use super::ids::{SeriesId, TargetId};

/// The first pass: the one before it is never 0, which means that nothing was tracked.
const FIRST_PASS: u32 = 2;

/// The passes of one target.
#[derive(Debug, Clone, Copy)]
struct TargetPasses {
    /// Number of the present pass.
    now: u32,
    /// Number of series tracked in the pass before.
    before: usize,
    /// Number of those that are tracked in the present pass, too.
    again: usize,
    /// Number of all series tracked in the present pass.
    tracked: usize,
}

impl Default for TargetPasses {
    fn default() -> Self {
        Self {
            now: FIRST_PASS,
            before: 0,
            again: 0,
            tracked: 0,
        }
    }
}

/// The pass that tracked a series last, and whether the one before it did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct PassMark(u32);

impl PassMark {
    fn new(pass: u32, again: bool) -> Self {
        Self(pass << 1 | u32::from(again))
    }

    fn pass(self) -> u32 {
        self.0 >> 1
    }

    fn again(self) -> bool {
        self.0 & 1 == 1
    }
}

/// Marks for the entries of a series cache, by their places in it.
#[derive(Debug, Default)]
pub(super) struct StalenessTracker {
    marks: Vec<PassMark>,
    targets: Vec<TargetPasses>,
}

impl StalenessTracker {
    fn passes(&mut self, target: TargetId) -> &mut TargetPasses {
        let target = target.index();
        if self.targets.len() <= target {
            self.targets.resize_with(target + 1, TargetPasses::default);
        }
        &mut self.targets[target]
    }

    /// Notes that the target shows this series in its present pass.
    #[inline]
    pub(super) fn track(&mut self, target: TargetId, series: SeriesId) {
        let entry = series.index();
        if self.marks.len() <= entry {
            self.marks.resize(entry + 1, PassMark::default());
        }
        let mark = self.marks[entry];
        let passes = self.passes(target);
        if mark.pass() == passes.now {
            return;
        }
        // The mark keeps whether the pass before had tracked the series, so that `undo` can restore
        // it.
        let again = mark.pass() == passes.now - 1;
        passes.again += usize::from(again);
        passes.tracked += 1;
        self.marks[entry] = PassMark::new(passes.now, again);
    }

    /// Whether all series of the pass before are tracked again. Then nothing is searched.
    pub(super) fn is_complete(&self, target: TargetId) -> bool {
        self.targets
            .get(target.index())
            .is_none_or(|passes| passes.again == passes.before)
    }

    /// The entries of a target that a pass tracked: the present one, or the last one and not the
    /// present one.
    pub(super) fn tracked(
        &self,
        target: TargetId,
        present: bool,
        of: impl Fn(SeriesId) -> TargetId,
    ) -> impl Iterator<Item = SeriesId> {
        let now = self
            .targets
            .get(target.index())
            .map_or(FIRST_PASS, |passes| passes.now);
        let pass = if present { now } else { now - 1 };
        (0..)
            .map(SeriesId)
            .zip(&self.marks)
            .filter(move |&(series, mark)| mark.pass() == pass && of(series) == target)
            .map(|(series, _)| series)
    }

    /// Ends a pass.
    pub(super) fn end_pass(&mut self, target: TargetId) {
        let passes = self.passes(target);
        *passes = TargetPasses {
            now: passes.now + 1,
            before: passes.tracked,
            again: 0,
            tracked: 0,
        };
    }

    /// Forgets what the present pass has tracked: Prometheus parses nothing of an exposition that
    /// is incomplete.
    pub(super) fn undo(&mut self, target: TargetId, of: impl Fn(SeriesId) -> TargetId) {
        let passes = self.passes(target);
        (passes.again, passes.tracked) = (0, 0);
        let now = passes.now;
        for (series, mark) in (0..).map(SeriesId).zip(&mut self.marks) {
            if mark.pass() == now && of(series) == target {
                *mark = if mark.again() {
                    PassMark::new(now - 1, false)
                } else {
                    PassMark::default()
                };
            }
        }
    }

    /// Moves the marks with the entries that stay in the cache.
    pub(super) fn keep_only(&mut self, keep: &[bool]) {
        let mut keep = keep.iter();
        self.marks.retain(|_| keep.next().copied().unwrap_or(false));
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        self.marks.capacity() * size_of::<PassMark>()
            + self.targets.capacity() * size_of::<TargetPasses>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries below 100 are of target 0, the others of target 1.
    fn of(entry: SeriesId) -> TargetId {
        TargetId(u16::from(entry.0 >= 100))
    }

    fn pass(tracker: &mut StalenessTracker, target: u16, entries: &[u32]) -> Vec<u32> {
        let target = TargetId(target);
        for &entry in entries {
            tracker.track(target, SeriesId(entry));
        }
        let gone: Vec<_> = tracker
            .tracked(target, false, of)
            .map(|series| series.0)
            .collect();
        assert_eq!(tracker.is_complete(target), gone.is_empty());
        tracker.end_pass(target);
        gone
    }

    #[test]
    fn what_is_gone_is_told_once() {
        let mut tracker = StalenessTracker::default();
        assert_eq!(pass(&mut tracker, 0, &[0, 1, 2, 1]), [0; 0]);
        assert_eq!(pass(&mut tracker, 1, &[100]), [0; 0]);
        assert_eq!(pass(&mut tracker, 0, &[2, 0]), [1]);
        assert_eq!(pass(&mut tracker, 0, &[2, 0, 3]), [0; 0]);
        assert_eq!(pass(&mut tracker, 0, &[]), [0, 2, 3]);
        assert_eq!(pass(&mut tracker, 0, &[1]), [0; 0]);
        assert_eq!(pass(&mut tracker, 0, &[0]), [1]);
        assert_eq!(pass(&mut tracker, 1, &[]), [100]);
    }

    #[test]
    fn what_is_undone_was_never_tracked() {
        let mut tracker = StalenessTracker::default();
        pass(&mut tracker, 0, &[0, 1]);
        tracker.track(TargetId(0), SeriesId(1));
        tracker.track(TargetId(0), SeriesId(2));
        tracker.undo(TargetId(0), of);
        assert_eq!(pass(&mut tracker, 0, &[]), [0, 1]);
        assert_eq!(pass(&mut tracker, 0, &[]), [0; 0]);
    }

    #[test]
    fn entries_may_move() {
        let mut tracker = StalenessTracker::default();
        pass(&mut tracker, 0, &[0, 2, 3]);
        tracker.keep_only(&[true, false, true, true, true]);
        assert_eq!(pass(&mut tracker, 0, &[0, 2]), [1]);
    }
}
