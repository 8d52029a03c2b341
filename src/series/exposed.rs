//! Labels as a source shows them, before any rule was applied to them.

use std::borrow::Cow;

/// A label as a source shows it, in the source's own order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExposedLabel<'a> {
    /// Name with its escapes decoded. It is not validated.
    pub name: Cow<'a, str>,
    /// Value with its escapes decoded. It may be empty.
    pub value: Cow<'a, str>,
    /// Where name and value are found in the raw bytes of the series, when they are there verbatim.
    pub span: Option<LabelSpan>,
}

/// The place of a label in the raw bytes of its series, as byte offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelSpan {
    /// Offset of the name. It is meaningless for the metric name, whose label name is not in the
    /// text.
    pub name: u32,
    /// Offset of the value.
    pub value: u32,
}
