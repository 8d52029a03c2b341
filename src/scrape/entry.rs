//! An entry of the two text formats, its labels, and the position of an error in it.

use std::borrow::Cow;

use super::exposition::{ExpositionError, ParseError, ParsePosition};
use super::text::number;
use crate::intake::{ExposedSample, Sink};
use crate::series::labels::NAME;
use crate::series::{ExposedLabel, LabelSpan, float};

/// Length of the excerpt in an error message, in bytes.
const EXCERPT: usize = 80;

/// The last `# TYPE`, as far as it matters: which label holds a float to be normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FamilyType {
    Histogram,
    Summary,
    Other,
}

/// A part of an entry's text: byte offsets from the start of the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TextSpan {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl TextSpan {
    /// The span without its quotes. It is not checked that they are quotes: the first and the last
    /// byte are cut off in any case, as Prometheus does.
    #[inline]
    pub(super) fn inner(self) -> Self {
        let start = self.start + 1;
        Self {
            start,
            end: (self.end - 1).max(start),
        }
    }
}

/// Where the parts of a sample are in the text of its entry.
#[derive(Debug)]
pub(super) struct SampleText {
    pub(super) name: Option<TextSpan>,
    pub(super) labels: Vec<LabelText>,
    /// The end of the series' bytes.
    pub(super) series: usize,
    pub(super) value: f64,
    pub(super) timestamp: Option<i64>,
}

/// Labels for which there is room at once: most series have no more.
const LABELS: usize = 16;

impl Default for SampleText {
    fn default() -> Self {
        Self {
            name: None,
            labels: Vec::with_capacity(LABELS),
            series: 0,
            value: 0.0,
            timestamp: None,
        }
    }
}

/// Where a label is in the text of its entry, quotes excluded.
#[derive(Debug)]
pub(super) struct LabelText {
    pub(super) name: TextSpan,
    pub(super) value: TextSpan,
}

/// Why an entry gave no sample.
pub(super) enum EntryFault {
    /// The block ends within the entry.
    Incomplete,
    /// Prometheus does not take the entry.
    Malformed {
        message: String,
        /// Offset of the fault, in bytes from the start of the entry.
        offset: usize,
    },
}

impl EntryFault {
    pub(super) fn malformed(message: impl Into<String>, offset: usize) -> Self {
        Self::Malformed {
            message: message.into(),
            offset,
        }
    }
}

/// What a parser carries from entry to entry.
#[derive(Debug)]
pub(super) struct Context {
    /// Line of the entry at hand, from 1.
    pub(super) line: u64,
    /// Applies to all that follows, whatever its name (`promparse.go` `Labels`).
    pub(super) family: FamilyType,
}

impl Default for Context {
    fn default() -> Self {
        Self {
            line: 1,
            family: FamilyType::Other,
        }
    }
}

impl Context {
    pub(super) fn error(&self, bytes: &[u8], offset: usize, message: &str) -> ParseError {
        let before = &bytes[..offset.min(bytes.len())];
        let line_start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
        let shown = &bytes[line_start..];
        let shown = &shown[..memchr::memchr(b'\n', shown)
            .unwrap_or(shown.len())
            .min(EXCERPT)];
        ParseError {
            place: ParsePosition::Text {
                line: self.line + memchr::memchr_iter(b'\n', before).count() as u64,
                column: (before.len() - line_start) as u64 + 1,
            },
            message: format!("{message} in \"{}\"", shown.escape_ascii()),
        }
    }

    pub(super) fn give<S: Sink>(
        &self,
        bytes: &[u8],
        entry: &SampleText,
        sink: &mut S,
    ) -> Result<(), ExpositionError> {
        let series = &bytes[..entry.series];
        let exposed = ExposedSample {
            series,
            value: entry.value.into(),
            timestamp_ms: entry.timestamp,
        };
        if sink.known(&exposed)? {
            return Ok(());
        }
        let mut labels = Vec::with_capacity(entry.labels.len() + 1);
        // Nearly always the whole series is valid UTF-8: one check serves all its strings.
        let text = std::str::from_utf8(series).ok();
        let string = |span| self.string(text, bytes, span);
        if let Some(span) = entry.name {
            let value = string(span).inspect_err(|_| sink.unreadable())?;
            labels.push(label(Cow::Borrowed(NAME), value, 0, span.start));
        }
        for pair in &entry.labels {
            let name = string(pair.name).inspect_err(|_| sink.unreadable())?;
            let value = self.normalised(&name, string(pair.value)?);
            labels.push(label(name, value, pair.name.start, pair.value.start));
        }
        sink.resolved(&exposed, &labels)?;
        Ok(())
    }

    /// A string with its escapes decoded. Names are not checked by Prometheus' lexer, but its
    /// scrape loop refuses what is not UTF-8.
    fn string<'b>(
        &self,
        text: Option<&'b str>,
        bytes: &'b [u8],
        span: TextSpan,
    ) -> Result<Cow<'b, str>, ParseError> {
        match text
            .and_then(|text| text.get(span.start..span.end))
            .or_else(|| std::str::from_utf8(&bytes[span.start..span.end]).ok())
        {
            Some(text) => Ok(unescape(text)),
            None => Err(self.error(
                bytes,
                span.start,
                "invalid metric name or label names: not valid UTF-8",
            )),
        }
    }

    /// `model/textparse/interface.go` `normalizeFloatsInLabelValues`.
    fn normalised<'b>(&self, name: &str, value: Cow<'b, str>) -> Cow<'b, str> {
        let applies = matches!(
            (self.family, name),
            (FamilyType::Summary, "quantile") | (FamilyType::Histogram, "le")
        );
        match applies.then(|| number::value(value.as_bytes())).flatten() {
            Some(number) => {
                let normal = float::open_metrics(number);
                if normal == value {
                    value
                } else {
                    Cow::Owned(normal)
                }
            }
            None => value,
        }
    }
}

/// A label, with its place when its value stands in the text just as it is.
fn label<'b>(
    name: Cow<'b, str>,
    value: Cow<'b, str>,
    name_at: usize,
    value_at: usize,
) -> ExposedLabel<'b> {
    let as_is = matches!((&name, &value), (Cow::Borrowed(_), Cow::Borrowed(_)));
    let place = (u32::try_from(name_at), u32::try_from(value_at));
    let span = match place {
        (Ok(name), Ok(value)) if as_is => Some(LabelSpan { name, value }),
        _ => None,
    };
    ExposedLabel { name, value, span }
}

/// Decodes `\\`, `\"` and `\n`; keeps unknown escapes as they are (`promparse.go` `lvalReplacer`).
fn unescape(text: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        decoded.push_str(&rest[..at]);
        let (byte, taken) = match rest.as_bytes().get(at + 1) {
            Some(b'\\') => ('\\', 2),
            Some(b'"') => ('"', 2),
            Some(b'n') => ('\n', 2),
            _ => ('\\', 1),
        };
        decoded.push(byte);
        rest = &rest[at + taken..];
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}
