//! Small identifiers, so that a place in one list is never taken for a place in another.

/// A scrape target: its place among all targets of the configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(pub u16);

impl TargetId {
    /// The target's place as an index.
    #[inline]
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A series of one remote: its place in that remote's [`SeriesCache`](super::SeriesCache). It is
/// valid until the cache forgets series, which it does only between scrapes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub(crate) u32);

impl SeriesId {
    /// The series' place as an index.
    #[inline]
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}
