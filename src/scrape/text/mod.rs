//! The text exposition format 0.0.4, parsed as Prometheus parses it
//! (`model/textparse/promparse.go`, `promlex.l`).
//!
//! The parser is fed blocks of a stream and takes as many whole entries as a block holds. Two ways
//! lead through it: a line that looks regular is cut from its end (timestamp, value, series), and
//! if the sink knows these series bytes they were parsed before and nothing is left to do. All else
//! goes through the lexer.

mod lexer;
pub(super) mod number;

pub use number::NORMAL_NAN;

use self::lexer::{Lexer, Token};
use super::entry::{Context, Cut, Entry, Family, Pair};
use super::exposition::Stop;
use crate::intake::{ExposedSample, Sink};

/// A parser for one exposition.
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
    /// [`Stop`] ends the scrape; nothing after it may be parsed.
    pub fn parse<S: Sink>(
        &mut self,
        block: &[u8],
        last: bool,
        sink: &mut S,
    ) -> Result<usize, Stop> {
        let mut taken = 0;
        while taken < block.len() {
            if self.ended {
                return Ok(block.len());
            }
            let rest = &block[taken..];
            if let Some(length) = known_line(rest, sink)? {
                self.context.line += 1;
                taken += length;
                continue;
            }
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
    ) -> Result<Option<usize>, Stop> {
        let mut lexer = Lexer::new(bytes);
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
                let mut entry = Entry::default();
                match sample(&mut lexer, first, &mut entry) {
                    Ok(()) => {
                        self.context.give(bytes, &entry, sink)?;
                        return Ok(Some(lexer.end()));
                    }
                    Err(cut) => Err(cut),
                }
            }
            token => unexpected("expected a valid start token", token, &lexer),
        };
        match outcome {
            Ok(()) => Ok(Some(lexer.end())),
            Err(Cut::Incomplete) if !last => Ok(None),
            Err(Cut::Incomplete) => Err(self
                .context
                .error(
                    bytes,
                    bytes.len() - 1,
                    "the exposition ends within an entry",
                )
                .into()),
            Err(Cut::Malformed(message, offset)) => {
                Err(self.context.error(bytes, offset, &message).into())
            }
        }
    }

    fn metadata(&mut self, lexer: &mut Lexer<'_>, keyword: Token) -> Result<(), Cut> {
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
            if std::str::from_utf8(text).is_err() {
                return Err(Cut::Malformed(
                    "help text is not valid UTF-8".to_owned(),
                    at,
                ));
            }
        } else {
            self.context.family = match text {
                b"counter" | b"gauge" | b"untyped" => Family::Other,
                b"histogram" => Family::Histogram,
                b"summary" => Family::Summary,
                _ => {
                    return Err(Cut::Malformed(
                        format!("invalid metric type \"{}\"", text.escape_ascii()),
                        at,
                    ));
                }
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

fn unexpected(expected: &str, got: Token, lexer: &Lexer<'_>) -> Result<(), Cut> {
    if got == Token::Incomplete {
        return Err(Cut::Incomplete);
    }
    Err(Cut::Malformed(
        format!("{expected}, got {}", got.name()),
        lexer.start(),
    ))
}

fn expect(got: Token, wanted: Token, expected: &str, lexer: &Lexer<'_>) -> Result<(), Cut> {
    if got == wanted {
        Ok(())
    } else {
        unexpected(expected, got, lexer)
    }
}

/// A sample from its first token on (`promparse.go` `Next`, `parseMetricSuffix`).
fn sample(lexer: &mut Lexer<'_>, first: Token, entry: &mut Entry) -> Result<(), Cut> {
    let mut token = first;
    if token == Token::MetricName {
        // From the very start of the entry: leading white space becomes part of the name, as in
        // Prometheus 3.
        entry.name = Some((0, lexer.end()));
        entry.series = lexer.end();
        token = lexer.next();
    }
    if token == Token::BraceOpen {
        labels(lexer, entry)?;
        entry.series = lexer.end();
        token = lexer.next();
    }
    if entry.name.is_none() {
        return Err(Cut::Malformed("metric name not set".to_owned(), 0));
    }
    expect(token, Token::Value, "expected value after metric", lexer)?;
    entry.value = number::value(lexer.token()).ok_or_else(|| {
        Cut::Malformed(
            format!("invalid value \"{}\"", lexer.token().escape_ascii()),
            lexer.start(),
        )
    })?;
    match lexer.next() {
        Token::Linebreak => Ok(()),
        Token::Timestamp => {
            let timestamp = number::timestamp(lexer.token());
            entry.timestamp = Some(timestamp.ok_or_else(|| {
                Cut::Malformed("timestamp out of range".to_owned(), lexer.start())
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

/// The contents of the braces (`promparse.go` `parseLVals`).
fn labels(lexer: &mut Lexer<'_>, entry: &mut Entry) -> Result<(), Cut> {
    let mut token = lexer.next();
    loop {
        let (start, end) = (lexer.start(), lexer.end());
        let quoted = token == Token::Quoted;
        match token {
            Token::BraceClose => return Ok(()),
            Token::LabelName | Token::Quoted => {}
            token => return unexpected("expected label name", token, lexer),
        }
        token = lexer.next();
        if quoted && matches!(token, Token::Comma | Token::BraceClose) {
            if entry.name.is_some() {
                return Err(Cut::Malformed("metric name already set".to_owned(), start));
            }
            entry.name = Some((start + 1, end - 1));
            if token == Token::BraceClose {
                return Ok(());
            }
            token = lexer.next();
            continue;
        }
        expect(token, Token::Equal, "expected equal", lexer)?;
        expect(
            lexer.next(),
            Token::LabelValue,
            "expected label value",
            lexer,
        )?;
        if !lexer.token().is_ascii() && std::str::from_utf8(lexer.token()).is_err() {
            return Err(Cut::Malformed(
                "invalid UTF-8 label value".to_owned(),
                lexer.start(),
            ));
        }
        let name = if quoted {
            (start + 1, end - 1)
        } else {
            (start, end)
        };
        entry.labels.push(Pair {
            name,
            value: (lexer.start() + 1, lexer.end() - 1),
        });
        // A comma is optional, and may trail.
        token = lexer.next();
        if token == Token::Comma {
            token = lexer.next();
        }
    }
}

/// Takes a regular line, and returns its length if the sink knows its series.
///
/// It cannot mistake one thing for another: known series bytes were once cut off by the lexer, and
/// the lexer would cut the same bytes off again at this place.
#[inline]
fn known_line<S: Sink>(bytes: &[u8], sink: &mut S) -> Result<Option<usize>, Stop> {
    if let Some((exposed, length)) = sink
        .expected()
        .and_then(|series| expected_line(bytes, series))
        && sink.known(&exposed)?
    {
        return Ok(Some(length));
    }
    any_line(bytes, sink)
}

/// Cuts a line whose series has that many bytes.
#[inline]
fn expected_line(bytes: &[u8], series: usize) -> Option<(ExposedSample<'_>, usize)> {
    let (series, [b' ', rest @ ..]) = bytes.split_at_checked(series)? else {
        return None;
    };
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

/// Cuts any line, from its end.
fn any_line<S: Sink>(bytes: &[u8], sink: &mut S) -> Result<Option<usize>, Stop> {
    let Some(length) = memchr::memchr(b'\n', bytes) else {
        return Ok(None);
    };
    let line = &bytes[..length];
    let Some(last) = memchr::memrchr(b' ', line) else {
        return Ok(None);
    };
    let (head, tail) = (&line[..last], &line[last + 1..]);
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
