//! The grammar that the two text formats share: a series, from its name to the closing brace.

use super::entry::{EntryFault, LabelText, SampleText, TextSpan};
use super::lexer::{Lexer, Token};

/// The fault of a token that the grammar does not allow here.
pub(super) fn unexpected<'a>(
    expected: &str,
    got: Token,
    lexer: &impl Lexer<'a>,
) -> Result<(), EntryFault> {
    if got == Token::Incomplete {
        return Err(EntryFault::Incomplete);
    }
    Err(EntryFault::malformed(
        format!("{expected}, got {}", got.name()),
        lexer.start(),
    ))
}

/// Checks that a token is the one that the grammar wants here.
#[inline]
pub(super) fn expect<'a>(
    got: Token,
    wanted: Token,
    expected: &str,
    lexer: &impl Lexer<'a>,
) -> Result<(), EntryFault> {
    if got == wanted {
        Ok(())
    } else {
        unexpected(expected, got, lexer)
    }
}

/// A series from its first token on, and the token behind it (`promparse.go` and
/// `openmetricsparse.go` `Next`).
#[inline]
pub(super) fn series<'a>(
    lexer: &mut impl Lexer<'a>,
    first: Token,
    sample: &mut SampleText,
) -> Result<Token, EntryFault> {
    let mut token = first;
    if token == Token::MetricName {
        // From the very start of the entry: in the text format leading white space becomes part of
        // the name, as in Prometheus 3.
        sample.name = Some(TextSpan {
            start: 0,
            end: lexer.end(),
        });
        sample.series = lexer.end();
        token = lexer.next();
    }
    if token == Token::BraceOpen {
        labels(lexer, Some(sample))?;
        sample.series = lexer.end();
        token = lexer.next();
    }
    if sample.name.is_none() {
        return Err(EntryFault::malformed("metric name not set", 0));
    }
    Ok(token)
}

/// The contents of the braces of a sample, or of an exemplar when there is no sample to note them
/// in (`promparse.go` and `openmetricsparse.go` `parseLVals`).
#[inline]
pub(super) fn labels<'a, L: Lexer<'a>>(
    lexer: &mut L,
    mut sample: Option<&mut SampleText>,
) -> Result<(), EntryFault> {
    let mut token = lexer.next();
    loop {
        let word = lexer.span();
        let is_quoted = token == Token::Quoted;
        match token {
            Token::BraceClose => return Ok(()),
            Token::LabelName | Token::Quoted => {}
            token => return unexpected("expected label name", token, lexer),
        }
        token = lexer.next();
        // A word that no `=` follows is the metric's name. Exemplars have none.
        if (is_quoted || L::BARE_WORD_IS_NAME) && matches!(token, Token::Comma | Token::BraceClose)
        {
            let Some(sample) = sample.as_deref_mut() else {
                return unexpected("expected label name", token, lexer);
            };
            if sample.name.is_some() {
                return Err(EntryFault::malformed("metric name already set", word.start));
            }
            sample.name = Some(word.inner());
            if token == Token::BraceClose {
                return Ok(());
            }
            token = lexer.next();
            continue;
        }
        expect(token, Token::Equal, "expected equal", lexer)?;
        let value = label_value(lexer)?;
        if let Some(sample) = sample.as_deref_mut() {
            let name = if is_quoted { word.inner() } else { word };
            sample.labels.push(LabelText { name, value });
        }
        // A comma may trail in both formats.
        token = lexer.next();
        match token {
            Token::Comma => token = lexer.next(),
            Token::BraceClose => {}
            _ if L::COMMAS_ARE_OPTIONAL => {}
            token => return unexpected("expected comma or brace close", token, lexer),
        }
    }
}

/// The place of a label's value, without its quotes.
#[inline]
fn label_value<'a>(lexer: &mut impl Lexer<'a>) -> Result<TextSpan, EntryFault> {
    expect(
        lexer.next(),
        Token::LabelValue,
        "expected label value",
        lexer,
    )?;
    let text = lexer.token();
    // The cheap test first: nearly all values are ASCII.
    if !text.is_ascii() && std::str::from_utf8(text).is_err() {
        return Err(EntryFault::malformed(
            "invalid UTF-8 label value",
            lexer.start(),
        ));
    }
    Ok(lexer.span().inner())
}

/// Checks the text of a `# HELP`, which starts at this offset of its entry.
pub(super) fn help(text: &[u8], offset: usize) -> Result<(), EntryFault> {
    match std::str::from_utf8(text) {
        Ok(_) => Ok(()),
        Err(_) => Err(EntryFault::malformed(
            "help text is not valid UTF-8",
            offset,
        )),
    }
}

/// The fault of a `# TYPE` with a type that the format does not have.
pub(super) fn invalid_type(text: &[u8], offset: usize) -> EntryFault {
    EntryFault::malformed(
        format!("invalid metric type \"{}\"", text.escape_ascii()),
        offset,
    )
}

/// The fault of a number that Prometheus does not take as a `what`.
pub(super) fn invalid_number(what: &str, text: &[u8], offset: usize) -> EntryFault {
    EntryFault::malformed(
        format!("invalid {what} \"{}\"", text.escape_ascii()),
        offset,
    )
}
