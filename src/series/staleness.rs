//! Which series a target showed a scrape ago and shows no more: those that get a stale marker.
//!
//! As `scrape/scrape.go` `scrapeCache` (`seriesPrev`, `seriesCur`) has it. A pass is one scrape, or
//! what is left of it when it failed. What a scrape tracked before its exposition turned out
//! malformed stays tracked for its pass: Prometheus marks those series a scrape later. Nothing is
//! held for a target whose samples have timestamps of their own.

/// The first pass: the one before it is never 0, which means that nothing was tracked.
const FIRST_PASS: u32 = 2;

/// The passes of one target.
#[derive(Debug, Clone, Copy)]
struct Passes {
    now: u32,
    /// Series tracked in the pass before.
    before: usize,
    /// Of these, tracked now.
    again: usize,
    /// All tracked now.
    tracked: usize,
}

impl Default for Passes {
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
struct Mark(u32);

impl Mark {
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

/// For the entries of a series cache, by their places in it.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    marks: Vec<Mark>,
    targets: Vec<Passes>,
}

impl Tracker {
    fn passes(&mut self, target: u16) -> &mut Passes {
        let target = usize::from(target);
        if self.targets.len() <= target {
            self.targets.resize_with(target + 1, Passes::default);
        }
        &mut self.targets[target]
    }

    /// The target shows this series in its present pass.
    #[inline]
    pub(super) fn track(&mut self, target: u16, entry: usize) {
        if self.marks.len() <= entry {
            self.marks.resize(entry + 1, Mark::default());
        }
        let mark = self.marks[entry];
        let passes = self.passes(target);
        if mark.pass() == passes.now {
            return;
        }
        let again = mark.pass() == passes.now - 1;
        passes.again += usize::from(again);
        passes.tracked += 1;
        self.marks[entry] = Mark::new(passes.now, again);
    }

    /// Whether all that was tracked in the pass before is tracked again.
    pub(super) fn is_complete(&self, target: u16) -> bool {
        self.targets
            .get(usize::from(target))
            .is_none_or(|passes| passes.again == passes.before)
    }

    /// The entries of a target that a pass tracked: the present one, or the last one and not the
    /// present one.
    pub(super) fn tracked(
        &self,
        target: u16,
        present: bool,
        of: impl Fn(usize) -> u16,
    ) -> impl Iterator<Item = usize> {
        let now = self
            .targets
            .get(usize::from(target))
            .map_or(FIRST_PASS, |passes| passes.now);
        let pass = if present { now } else { now - 1 };
        (0..self.marks.len())
            .filter(move |&entry| self.marks[entry].pass() == pass && of(entry) == target)
    }

    /// Ends a pass.
    pub(super) fn end_pass(&mut self, target: u16) {
        let passes = self.passes(target);
        *passes = Passes {
            now: passes.now + 1,
            before: passes.tracked,
            again: 0,
            tracked: 0,
        };
    }

    /// Forgets what the present pass has tracked: of an exposition that did not come whole
    /// Prometheus parses nothing.
    pub(super) fn undo(&mut self, target: u16, of: impl Fn(usize) -> u16) {
        let passes = self.passes(target);
        (passes.again, passes.tracked) = (0, 0);
        let now = passes.now;
        for (entry, mark) in self.marks.iter_mut().enumerate() {
            if mark.pass() == now && of(entry) == target {
                *mark = if mark.again() {
                    Mark::new(now - 1, false)
                } else {
                    Mark::default()
                };
            }
        }
    }

    /// Follows the entries that stay in the cache to their new places.
    pub(super) fn keep_only(&mut self, keep: &[bool]) {
        let mut keep = keep.iter();
        self.marks.retain(|_| keep.next().copied().unwrap_or(false));
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        self.marks.capacity() * size_of::<Mark>() + self.targets.capacity() * size_of::<Passes>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries below 100 are of target 0, the others of target 1.
    fn of(entry: usize) -> u16 {
        u16::from(entry >= 100)
    }

    fn pass(tracker: &mut Tracker, target: u16, entries: &[usize]) -> Vec<usize> {
        entries
            .iter()
            .for_each(|&entry| tracker.track(target, entry));
        let gone: Vec<_> = tracker.tracked(target, false, of).collect();
        assert_eq!(tracker.is_complete(target), gone.is_empty());
        tracker.end_pass(target);
        gone
    }

    #[test]
    fn what_is_gone_is_told_once() {
        let mut tracker = Tracker::default();
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
        let mut tracker = Tracker::default();
        pass(&mut tracker, 0, &[0, 1]);
        tracker.track(0, 1);
        tracker.track(0, 2);
        tracker.undo(0, of);
        assert_eq!(pass(&mut tracker, 0, &[]), [0, 1]);
        assert_eq!(pass(&mut tracker, 0, &[]), [0; 0]);
    }

    #[test]
    fn entries_may_move() {
        let mut tracker = Tracker::default();
        pass(&mut tracker, 0, &[0, 2, 3]);
        tracker.keep_only(&[true, false, true, true, true]);
        assert_eq!(pass(&mut tracker, 0, &[0, 2]), [1]);
    }
}
