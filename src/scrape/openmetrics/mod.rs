//! OpenMetrics text, 1.0.0 and 0.0.1, parsed as Prometheus parses it
//! (`model/textparse/openmetricsparse.go`, `openmetricslex.l`): stricter than the text format,
//! timestamps in seconds, and nothing is whole without `# EOF`.
//!
//! Exemplars are parsed and dropped. `_created` is a series like any other, as in Prometheus unless
//! a feature flag makes start times of it. The ways through the parser are those of the text
//! format.

mod lexer;

use self::lexer::{Lexer, Token};
use super::entry::{Context, Cut, Entry, Family, Pair};
use super::exposition::Stop;
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
    /// [`Stop`] ends the scrape; nothing after it may be parsed.
    pub fn parse<S: Sink>(
        &mut self,
        block: &[u8],
        last: bool,
        sink: &mut S,
    ) -> Result<usize, Stop> {
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
    ) -> Result<Option<usize>, Stop> {
        let mut lexer = Lexer::new(bytes, last);
        let first = lexer.next();
        let outcome = match first {
            Token::EndWord => {
                self.ended = true;
                Ok(())
            }
            Token::Help | Token::Type | Token::Unit => self.metadata(&mut lexer, first),
            Token::BraceOpen | Token::MetricName => {
                let mut entry = Entry::default();
                match sample(&mut lexer, first, &mut entry) {
                    Ok(behind) => {
                        self.context.give(bytes, &entry, sink)?;
                        behind
                    }
                    Err(cut) => Err(cut),
                }
            }
            token => unexpected("expected a valid start token", token, &lexer),
        };
        match outcome {
            Ok(()) => Ok(Some(lexer.end())),
            Err(Cut::Incomplete) => Ok(None),
            Err(Cut::Malformed(message, offset)) => {
                Err(self.context.error(bytes, offset, &message).into())
            }
        }
    }

    fn metadata(&mut self, lexer: &mut Lexer<'_>, keyword: Token) -> Result<(), Cut> {
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
            Token::Help if std::str::from_utf8(text).is_err() => Err(Cut::Malformed(
                "help text is not valid UTF-8".to_owned(),
                at,
            )),
            Token::Unit
                if !text.is_empty()
                    && !name
                        .strip_suffix(text)
                        .is_some_and(|base| base.ends_with(b"_")) =>
            {
                let (unit, name) = (text.escape_ascii(), name.escape_ascii());
                Err(Cut::Malformed(
                    format!("unit \"{unit}\" not a suffix of metric \"{name}\""),
                    at,
                ))
            }
            Token::Type => {
                self.context.family = match text {
                    b"histogram" => Family::Histogram,
                    b"summary" => Family::Summary,
                    b"counter" | b"gauge" | b"gaugehistogram" | b"info" | b"stateset"
                    | b"unknown" => Family::Other,
                    _ => {
                        return Err(Cut::Malformed(
                            format!("invalid metric type \"{}\"", text.escape_ascii()),
                            at,
                        ));
                    }
                };
                Ok(())
            }
            _ => Ok(()),
        }
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

/// A sample from its first token on (`openmetricsparse.go` `Next`, `parseMetricSuffix`), and what
/// is wrong behind it: nonsense after a value ends the parse only when the sample was given.
fn sample(lexer: &mut Lexer<'_>, first: Token, entry: &mut Entry) -> Result<Result<(), Cut>, Cut> {
    let mut token = first;
    if token == Token::MetricName {
        entry.name = Some((0, lexer.end()));
        entry.series = lexer.end();
        token = lexer.next();
    }
    if token == Token::BraceOpen {
        labels(lexer, Some(entry))?;
        entry.series = lexer.end();
        token = lexer.next();
    }
    if entry.name.is_none() {
        return Err(Cut::Malformed("metric name not set".to_owned(), 0));
    }
    entry.value = value(lexer, token, "metric")?;
    let mut token = lexer.next();
    if token == Token::Timestamp {
        entry.timestamp = Some(timestamp(lexer, "timestamp")?);
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
                Err(Cut::Malformed(..)) if entry.timestamp.is_none() => Ok(behind),
                _ => behind.map(Ok),
            }
        }
    }
}

fn value(lexer: &Lexer<'_>, token: Token, after: &str) -> Result<f64, Cut> {
    expect(
        token,
        Token::Value,
        &format!("expected value after {after}"),
        lexer,
    )?;
    let text = &lexer.token()[1..];
    number::value(text).ok_or_else(|| {
        Cut::Malformed(
            format!("invalid value \"{}\"", text.escape_ascii()),
            lexer.start(),
        )
    })
}

fn timestamp(lexer: &Lexer<'_>, what: &str) -> Result<i64, Cut> {
    let text = &lexer.token()[1..];
    number::seconds(text).ok_or_else(|| {
        Cut::Malformed(
            format!("invalid {what} \"{}\"", text.escape_ascii()),
            lexer.start(),
        )
    })
}

/// `openmetricsparse.go` `parseComment`: it must be right, and nothing is made of it.
fn exemplar(lexer: &mut Lexer<'_>) -> Result<(), Cut> {
    labels(lexer, None)?;
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

/// The contents of the braces of a sample, or of an exemplar (`openmetricsparse.go` `parseLVals`).
fn labels(lexer: &mut Lexer<'_>, mut entry: Option<&mut Entry>) -> Result<(), Cut> {
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
        if matches!(token, Token::Comma | Token::BraceClose) {
            let Some(entry) = entry.as_deref_mut() else {
                return unexpected("expected label name", token, lexer);
            };
            if entry.name.is_some() {
                return Err(Cut::Malformed("metric name already set".to_owned(), start));
            }
            // Not only what is in quotes: the first and the last byte go, whatever they are.
            entry.name = Some((start + 1, (end - 1).max(start + 1)));
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
        if let Some(entry) = entry.as_deref_mut() {
            entry.labels.push(Pair {
                name,
                value: (lexer.start() + 1, lexer.end() - 1),
            });
        }
        token = lexer.next();
        match token {
            Token::Comma => token = lexer.next(),
            Token::BraceClose => {}
            token => return unexpected("expected comma or brace close", token, lexer),
        }
    }
}

/// Cuts a regular line from its end, and returns its length if the sink knows its series.
///
/// It cannot mistake one thing for another: known series bytes were once cut off by the lexer,
/// which would cut the same bytes off again at this place, and then the value and the timestamp,
/// which hold no space.
fn known_line<S: Sink>(bytes: &[u8], sink: &mut S) -> Result<Option<usize>, Stop> {
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
