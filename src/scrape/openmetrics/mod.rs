//! OpenMetrics text, 1.0.0 and 0.0.1, parsed as Prometheus parses it
//! (`model/textparse/openmetricsparse.go`, `openmetricslex.l`): stricter than the text format,
//! timestamps in seconds, and nothing is whole without `# EOF`.
//!
//! Exemplars are parsed and dropped. `_created` is a series like any other, as in Prometheus unless
//! a feature flag makes start times of it. The ways through the parser are those of the text
//! format.

mod lexer;

use self::lexer::OpenMetricsLexer;
use super::entry::{Context, EntryFault, FamilyType, SampleText};
use super::exposition::ExpositionError;
use super::grammar::{self, expect, unexpected};
use super::lexer::{Lexer as _, Token};
use super::text::number;
use crate::intake::{ExposedSample, Sink};

/// A parser for one exposition.
#[derive(Debug, Default)]
pub struct OpenMetricsParser {
    context: Context,
    /// `# EOF` was there.
    ended: bool,
}

impl OpenMetricsParser {
    /// Parses the whole entries at the start of `block`, and returns how many bytes they took. The
    /// caller gives the rest again, with more behind it.
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
            let rest = &block[taken..];
            if self.ended {
                return Err(self
                    .context
                    .error(rest, 0, "unexpected data after # EOF")
                    .into());
            }
            let length = match known_line(rest, sink)? {
                Some(length) => length,
                None => match self.entry(rest, last, sink)? {
                    Some(length) => length,
                    None => break,
                },
            };
            self.context.line += memchr::memchr_iter(b'\n', &rest[..length]).count() as u64;
            taken += length;
        }
        if last && !self.ended {
            return Err(self
                .context
                .error(
                    &block[taken..],
                    block.len() - taken,
                    "data does not end with # EOF",
                )
                .into());
        }
        Ok(taken)
    }

    /// One entry by the lexer. None when the block ends within it.
    fn entry<S: Sink>(
        &mut self,
        bytes: &[u8],
        last: bool,
        sink: &mut S,
    ) -> Result<Option<usize>, ExpositionError> {
        let mut lexer = OpenMetricsLexer::new(bytes, last);
        let first = lexer.next();
        let outcome = match first {
            Token::EndWord => {
                self.ended = true;
                Ok(())
            }
            Token::Help | Token::Type | Token::Unit => self.metadata(&mut lexer, first),
            Token::BraceOpen | Token::MetricName => {
                let mut text = SampleText::default();
                match sample(&mut lexer, first, &mut text) {
                    Ok(behind) => {
                        self.context.give(bytes, &text, sink)?;
                        behind
                    }
                    Err(fault) => Err(fault),
                }
            }
            token => unexpected("expected a valid start token", token, &lexer),
        };
        match outcome {
            Ok(()) => Ok(Some(lexer.end())),
            Err(EntryFault::Incomplete) => Ok(None),
            Err(EntryFault::Malformed { message, offset }) => {
                Err(self.context.error(bytes, offset, &message).into())
            }
        }
    }

    fn metadata(
        &mut self,
        lexer: &mut OpenMetricsLexer<'_>,
        keyword: Token,
    ) -> Result<(), EntryFault> {
        let word = keyword.name();
        expect(
            lexer.next(),
            Token::MetricName,
            &format!("expected metric name after {word}"),
            lexer,
        )?;
        let name = lexer.token();
        let name = name
            .strip_prefix(b"\"")
            .and_then(|name| name.strip_suffix(b"\""))
            .unwrap_or(name);
        expect(
            lexer.next(),
            Token::Text,
            &format!("expected text in {word}"),
            lexer,
        )?;
        let (text, at) = (lexer.token(), lexer.start());
        let text = &text[1..text.len() - 1];
        match keyword {
            Token::Help => grammar::help(text, at),
            Token::Unit
                if !text.is_empty()
                    && !name
                        .strip_suffix(text)
                        .is_some_and(|base| base.ends_with(b"_")) =>
            {
                let (unit, name) = (text.escape_ascii(), name.escape_ascii());
                Err(EntryFault::malformed(
                    format!("unit \"{unit}\" not a suffix of metric \"{name}\""),
                    at,
                ))
            }
            Token::Type => {
                self.context.family = match text {
                    b"histogram" => FamilyType::Histogram,
                    b"summary" => FamilyType::Summary,
                    b"counter" | b"gauge" | b"gaugehistogram" | b"info" | b"stateset"
                    | b"unknown" => FamilyType::Other,
                    _ => return Err(grammar::invalid_type(text, at)),
                };
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// A sample from its first token on (`openmetricsparse.go` `Next`, `parseMetricSuffix`), and what
/// is wrong behind it: nonsense after a value ends the parse only when the sample was given.
fn sample(
    lexer: &mut OpenMetricsLexer<'_>,
    first: Token,
    sample: &mut SampleText,
) -> Result<Result<(), EntryFault>, EntryFault> {
    let token = grammar::series(lexer, first, sample)?;
    sample.value = value(lexer, token, "metric")?;
    let mut token = lexer.next();
    if token == Token::Timestamp {
        sample.timestamp = Some(timestamp(lexer, "timestamp")?);
        token = lexer.next();
    }
    match token {
        Token::Linebreak => Ok(Ok(())),
        Token::Comment => exemplar(lexer).map(Ok),
        token => {
            let behind = unexpected(
                "expected next entry, a timestamp or an exemplar",
                token,
                lexer,
            );
            match &behind {
                Err(EntryFault::Malformed { .. }) if sample.timestamp.is_none() => Ok(behind),
                _ => behind.map(Ok),
            }
        }
    }
}

fn value(lexer: &OpenMetricsLexer<'_>, token: Token, after: &str) -> Result<f64, EntryFault> {
    expect(
        token,
        Token::Value,
        &format!("expected value after {after}"),
        lexer,
    )?;
    let text = &lexer.token()[1..];
    number::value(text).ok_or_else(|| grammar::invalid_number("value", text, lexer.start()))
}

fn timestamp(lexer: &OpenMetricsLexer<'_>, what: &str) -> Result<i64, EntryFault> {
    let text = &lexer.token()[1..];
    number::seconds(text).ok_or_else(|| grammar::invalid_number(what, text, lexer.start()))
}

/// `openmetricsparse.go` `parseComment`: it must be right, and nothing is made of it.
fn exemplar(lexer: &mut OpenMetricsLexer<'_>) -> Result<(), EntryFault> {
    grammar::labels(lexer, None)?;
    let token = lexer.next();
    value(lexer, token, "exemplar labels")?;
    let mut token = lexer.next();
    if token == Token::Timestamp {
        timestamp(lexer, "exemplar timestamp")?;
        token = lexer.next();
    }
    expect(
        token,
        Token::Linebreak,
        "expected next entry or a timestamp after the exemplar",
        lexer,
    )
}

/// Cuts a regular line from its end, and returns its length if the sink knows its series.
///
/// It cannot mistake one thing for another: known series bytes were once cut off by the lexer,
/// which would cut the same bytes off again at this place, and then the value and the timestamp,
/// which hold no space.
fn known_line<S: Sink>(bytes: &[u8], sink: &mut S) -> Result<Option<usize>, ExpositionError> {
    let Some(length) = memchr::memchr(b'\n', bytes) else {
        return Ok(None);
    };
    let line = &bytes[..length];
    let Some(last) = memchr::memrchr(b' ', line) else {
        return Ok(None);
    };
    let (head, tail) = (&line[..last], &line[last + 1..]);
    if let Some(space) = memchr::memrchr(b' ', head)
        && let Some(value) = number::value(&head[space + 1..])
        && let Some(timestamp) = number::seconds(tail)
        && sink.known(&ExposedSample {
            series: &head[..space],
            value: value.into(),
            timestamp_ms: Some(timestamp),
        })?
    {
        return Ok(Some(length + 1));
    }
    let Some(value) = number::value(tail) else {
        return Ok(None);
    };
    Ok(sink
        .known(&ExposedSample {
            series: head,
            value: value.into(),
            timestamp_ms: None,
        })?
        .then_some(length + 1))
}

#[cfg(test)]
mod tests;
