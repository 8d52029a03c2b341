//! The text exposition format 0.0.4, parsed as Prometheus parses it
//! (`model/textparse/promparse.go`, `promlex.l`).
//!
//! The parser is fed blocks of a stream and takes as many whole entries as a block holds. There are
//! two ways through it. A line that looks regular is cut into series, value and timestamp without
//! the lexer; if the sink knows these series bytes, they were parsed before and nothing is left to
//! do. All else goes through the lexer.

mod lexer;
pub(super) mod number;

pub use number::NORMAL_NAN;

use self::lexer::TextLexer;
use super::entry::{Context, EntryFault, FamilyType, SampleText};
use super::exposition::ExpositionError;
use super::grammar::{self, expect, unexpected};
use super::lexer::{Lexer as _, Token};
use crate::intake::{ExposedSample, Sink};

/// A parser for one exposition.
///
/// ```
/// use amp_forwarder::intake::{ExposedSample, Refusal, Sink};
/// use amp_forwarder::scrape::text::TextParser;
/// use amp_forwarder::series::ExposedLabel;
///
/// /// Notes the label names of each new series.
/// #[derive(Default)]
/// struct Names(Vec<String>);
///
/// impl Sink for Names {
///     fn known(&mut self, _: &ExposedSample<'_>) -> Result<bool, Refusal> {
///         Ok(false)
///     }
///
///     fn resolved(
///         &mut self,
///         _: &ExposedSample<'_>,
///         labels: &[ExposedLabel<'_>],
///     ) -> Result<(), Refusal> {
///         self.0.extend(labels.iter().map(|label| label.name.to_string()));
///         Ok(())
///     }
/// }
///
/// let mut names = Names::default();
/// let text = b"up{job=\"node\"} 1\n";
/// let taken = TextParser::default().parse(text, true, &mut names).unwrap();
/// assert_eq!((taken, names.0), (text.len(), vec!["__name__".to_owned(), "job".to_owned()]));
/// ```
#[derive(Debug, Default)]
pub struct TextParser {
    context: Context,
    ended: bool,
}

impl TextParser {
    /// Parses the whole entries at the start of `block`, and returns how many bytes they took. The
    /// caller gives the rest again, with more behind it. The `last` block must end with a newline:
    /// Prometheus appends one.
    ///
    /// # Errors
    /// [`ExpositionError`] ends the scrape; nothing after it may be parsed.
    pub fn parse<S: Sink>(
        &mut self,
        block: &[u8],
        last: bool,
        sink: &mut S,
    ) -> Result<usize, ExpositionError> {
        let mut taken = 0;
        while taken < block.len() {
            if self.ended {
                return Ok(block.len());
            }
            let rest = &block[taken..];
            // The fast way: in a warm process nearly every line is taken here.
            if let Some(length) = known_line(rest, sink)? {
                self.context.line += 1;
                taken += length;
                continue;
            }
            // The lexer: new series, metadata, and lines that are written in another way.
            let Some(length) = self.entry(rest, last, sink)? else {
                break;
            };
            self.context.line += memchr::memchr_iter(b'\n', &rest[..length]).count() as u64;
            taken += length;
        }
        Ok(taken)
    }

    /// One entry by the lexer: a sample, metadata, a comment or an empty line. None when the block
    /// ends within it.
    fn entry<S: Sink>(
        &mut self,
        bytes: &[u8],
        last: bool,
        sink: &mut S,
    ) -> Result<Option<usize>, ExpositionError> {
        let mut lexer = TextLexer::new(bytes);
        let first = lexer.next();
        let outcome = match first {
            Token::Nul => {
                self.ended = true;
                return Ok(Some(bytes.len()));
            }
            Token::Linebreak => return Ok(Some(lexer.end())),
            Token::Help | Token::Type => self.metadata(&mut lexer, first),
            Token::Comment => expect(
                lexer.next(),
                Token::Linebreak,
                "linebreak expected after comment",
                &lexer,
            ),
            Token::BraceOpen | Token::MetricName => {
                let mut text = SampleText::default();
                match sample(&mut lexer, first, &mut text) {
                    Ok(()) => {
                        self.context.give(bytes, &text, sink)?;
                        return Ok(Some(lexer.end()));
                    }
                    Err(fault) => Err(fault),
                }
            }
            token => unexpected("expected a valid start token", token, &lexer),
        };
        match outcome {
            Ok(()) => Ok(Some(lexer.end())),
            Err(EntryFault::Incomplete) if !last => Ok(None),
            Err(EntryFault::Incomplete) => Err(self
                .context
                .error(
                    bytes,
                    bytes.len() - 1,
                    "the exposition ends within an entry",
                )
                .into()),
            Err(EntryFault::Malformed { message, offset }) => {
                Err(self.context.error(bytes, offset, &message).into())
            }
        }
    }

    fn metadata(&mut self, lexer: &mut TextLexer<'_>, keyword: Token) -> Result<(), EntryFault> {
        let expected = if keyword == Token::Help {
            "expected metric name after HELP"
        } else {
            "expected metric name after TYPE"
        };
        expect(lexer.next(), Token::MetricName, expected, lexer)?;
        expect(lexer.next(), Token::Text, "expected text", lexer)?;
        let (text, at) = (lexer.token(), lexer.start());
        // White space that is all of the text counts as none: two rules of promlex.l match it, and
        // the first one wins. Otherwise the first byte is cut off, whatever it is.
        let blank = text.iter().all(|byte| matches!(byte, b' ' | b'\t'));
        let text = if blank { &[] } else { &text[1..] };
        if keyword == Token::Help {
            grammar::help(text, at)?;
        } else {
            self.context.family = match text {
                b"counter" | b"gauge" | b"untyped" => FamilyType::Other,
                b"histogram" => FamilyType::Histogram,
                b"summary" => FamilyType::Summary,
                _ => return Err(grammar::invalid_type(text, at)),
            };
        }
        expect(
            lexer.next(),
            Token::Linebreak,
            "linebreak expected after metadata",
            lexer,
        )
    }
}

/// A sample from its first token on (`promparse.go` `Next`, `parseMetricSuffix`).
fn sample(
    lexer: &mut TextLexer<'_>,
    first: Token,
    sample: &mut SampleText,
) -> Result<(), EntryFault> {
    let token = grammar::series(lexer, first, sample)?;
    expect(token, Token::Value, "expected value after metric", lexer)?;
    sample.value = number::value(lexer.token())
        .ok_or_else(|| grammar::invalid_number("value", lexer.token(), lexer.start()))?;
    match lexer.next() {
        Token::Linebreak => Ok(()),
        Token::Timestamp => {
            let timestamp = number::timestamp(lexer.token());
            sample.timestamp =
                Some(timestamp.ok_or_else(|| {
                    EntryFault::malformed("timestamp out of range", lexer.start())
                })?);
            expect(
                lexer.next(),
                Token::Linebreak,
                "expected next entry after timestamp",
                lexer,
            )
        }
        token => unexpected("expected timestamp or new record", token, lexer),
    }
}

/// Takes a regular line, and returns its length if the sink knows its series. Otherwise nothing was
/// taken, and the lexer reads the line again.
///
/// It cannot mistake one thing for another: known series bytes were once cut off by the lexer, and
/// the lexer would cut the same bytes off again at this place.
#[inline]
fn known_line<S: Sink>(bytes: &[u8], sink: &mut S) -> Result<Option<usize>, ExpositionError> {
    // Expositions keep their order, so the sink knows how long the next series should be. Then
    // nothing is searched: the cut is right if the sink knows the bytes before it.
    if let Some((exposed, length)) = sink
        .expected()
        .and_then(|series| expected_line(bytes, series))
        && sink.known(&exposed)?
    {
        return Ok(Some(length));
    }
    any_line(bytes, sink)
}

/// Cuts a line whose series has `series` bytes.
#[inline]
fn expected_line(bytes: &[u8], series: usize) -> Option<(ExposedSample<'_>, usize)> {
    let (series, [b' ', rest @ ..]) = bytes.split_at_checked(series)? else {
        return None;
    };
    // Behind the series are one blank, the value, and a newline or a blank and the timestamp. Any
    // other form is left to the slower ways.
    let (value, length) = number::leading(rest)?;
    let rest = &rest[length..];
    let (timestamp_ms, rest) = match rest.split_first()? {
        (b'\n', rest) => (None, rest),
        (_, rest) => {
            let length = number::length(rest)?;
            let (timestamp, rest) = rest.split_at(length);
            (
                Some(number::timestamp(timestamp)?),
                rest.strip_prefix(b"\n")?,
            )
        }
    };
    Some((
        ExposedSample {
            series,
            value: value.into(),
            timestamp_ms,
        },
        bytes.len() - rest.len(),
    ))
}

/// Cuts any line from its end, because a label value may hold blanks and what follows the series
/// may not.
fn any_line<S: Sink>(bytes: &[u8], sink: &mut S) -> Result<Option<usize>, ExpositionError> {
    let Some(length) = memchr::memchr(b'\n', bytes) else {
        return Ok(None);
    };
    let line = &bytes[..length];
    let Some(last) = memchr::memrchr(b' ', line) else {
        return Ok(None);
    };
    let (head, tail) = (&line[..last], &line[last + 1..]);
    // Two words at the end: a value and a timestamp, if they can be read as such. The blank before
    // the value is searched in 32 bytes only, since no number is longer.
    let mut exposed = None;
    if let Some(timestamp) = number::timestamp(tail)
        && let Some(space) = memchr::memrchr(b' ', &head[head.len().saturating_sub(32)..])
    {
        let space = head.len().saturating_sub(32) + space;
        if let Some(value) = number::value(&head[space + 1..]) {
            exposed = Some(ExposedSample {
                series: &head[..space],
                value: value.into(),
                timestamp_ms: Some(timestamp),
            });
        }
    }
    // Otherwise one word: a value. A series whose last label value ends like one is not mistaken,
    // because the sink knows only whole series.
    let exposed = match exposed {
        Some(exposed) => exposed,
        None => match number::value(tail) {
            Some(value) => ExposedSample {
                series: head,
                value: value.into(),
                timestamp_ms: None,
            },
            None => return Ok(None),
        },
    };
    Ok(sink.known(&exposed)?.then_some(length + 1))
}

#[cfg(test)]
mod tests;
