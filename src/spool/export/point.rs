//! The lines of the output, and their order.

use std::collections::BTreeMap;
use std::rc::Rc;

/// A series in the order of the output: by family, then by the line that names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Series {
    /// Name of the family.
    pub(super) name: String,
    /// Name and labels as OpenMetrics writes them.
    pub(super) line: String,
}

/// A value and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ExportedValue {
    /// Timestamp, milliseconds since 1970.
    pub(super) ms: i64,
    /// Bits of the float.
    pub(super) bits: u64,
}

/// One line of the output.
pub(super) struct Point {
    pub(super) series: Rc<Series>,
    pub(super) value: ExportedValue,
}

/// The series in order, each with its values in the order of time.
pub(super) fn sorted(
    sorting: BTreeMap<Series, Vec<ExportedValue>>,
) -> impl Iterator<Item = (Series, Vec<ExportedValue>)> {
    sorting.into_iter().map(|(series, mut values)| {
        // The sort is stable: when a time is repeated, the value that was added first stays first.
        values.sort_by_key(|value| value.ms);
        (series, values)
    })
}

/// The lines of these series, in order.
pub(super) fn points(
    sorted: impl Iterator<Item = (Series, Vec<ExportedValue>)>,
) -> impl Iterator<Item = Point> {
    sorted.flat_map(|(series, values)| {
        let series = Rc::new(series);
        values.into_iter().map(move |value| Point {
            series: Rc::clone(&series),
            value,
        })
    })
}
