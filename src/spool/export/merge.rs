//! Merges sorted sources.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::rc::Rc;

use super::point::{ExportedValue, Point, Series};

/// Points in order, from memory or from a run.
pub(super) type PointSource<'a> = Box<dyn Iterator<Item = io::Result<Point>> + 'a>;

/// The next point of a source. The order of its fields is the order of the merge: of points at the
/// same time, the one of the first source comes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct MergeKey {
    series: Rc<Series>,
    ms: i64,
    source: usize,
    bits: u64,
}

/// Sorted sources, merged into one.
pub(super) struct Merge<'a> {
    sources: Vec<PointSource<'a>>,
    /// The next point of each source that has one.
    next: BinaryHeap<Reverse<MergeKey>>,
}

impl<'a> Merge<'a> {
    /// Reads the first point of each source.
    pub(super) fn new(sources: Vec<PointSource<'a>>) -> io::Result<Self> {
        let mut merge = Self {
            next: BinaryHeap::with_capacity(sources.len()),
            sources,
        };
        (0..merge.sources.len()).try_for_each(|source| merge.pull(source))?;
        Ok(merge)
    }

    fn pull(&mut self, source: usize) -> io::Result<()> {
        if let Some(point) = self.sources[source].next() {
            let Point { series, value } = point?;
            self.next.push(Reverse(MergeKey {
                series,
                ms: value.ms,
                source,
                bits: value.bits,
            }));
        }
        Ok(())
    }
}

impl Iterator for Merge<'_> {
    type Item = io::Result<Point>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse(least) = self.next.pop()?;
        let point = Point {
            series: least.series,
            value: ExportedValue {
                ms: least.ms,
                bits: least.bits,
            },
        };
        Some(self.pull(least.source).map(|()| point))
    }
}
