//! Tokens of OpenMetrics text, by the states and rules of Prometheus'
//! `model/textparse/openmetricslex.l`.
//!
//! Unlike in the text format a space is a part of the token behind it, and there is exactly one.

use crate::scrape::lexer::{Lexer, Scanner, Token};

/// What the lexer is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpenMetricsState {
    Init,
    /// After `HELP`, `TYPE` or `UNIT`: a metric name is next.
    Meta,
    /// After that name: text up to the end of the line.
    MetaText,
    Labels,
    LabelValue,
    Value,
    Timestamp,
    /// Within the braces of an exemplar.
    Exemplar,
    /// After the `=` or after the closing brace of an exemplar: a label value or a value is next.
    ExemplarEqual,
    ExemplarTimestamp,
}

use OpenMetricsState as State;

/// The lexer of OpenMetrics text.
pub(super) struct OpenMetricsLexer<'a> {
    scanner: Scanner<'a, State>,
    /// Whether no byte follows this block.
    last: bool,
}

impl<'a> Lexer<'a> for OpenMetricsLexer<'a> {
    type State = State;
    const COMMAS_ARE_OPTIONAL: bool = false;
    const BARE_WORD_IS_NAME: bool = true;

    #[inline]
    fn scanner(&self) -> &Scanner<'a, State> {
        &self.scanner
    }

    fn next(&mut self) -> Token {
        let scanner = &mut self.scanner;
        let Some(byte) = scanner.begin() else {
            return Token::Incomplete;
        };
        let state = scanner.state;
        match (state, byte) {
            (State::Init, b'#') => self.hash(),
            (State::Init | State::Value, b'{') => scanner.one(Token::BraceOpen, State::Labels),
            (State::Init, _) => scanner.name::<true>(byte, Token::MetricName, State::Value),
            (State::Meta, b'"') => scanner.quoted::<true>(Token::MetricName, State::MetaText),
            (State::Meta, _) => scanner.name::<true>(byte, Token::MetricName, State::MetaText),
            (State::MetaText, b' ') => self.text(),
            (State::Labels, b'}') => scanner.one(Token::BraceClose, State::Value),
            (State::Labels, b'=') => scanner.one(Token::Equal, State::LabelValue),
            (State::Labels | State::Exemplar, b',') => scanner.one(Token::Comma, state),
            (State::Labels, b'"') => scanner.quoted::<true>(Token::Quoted, State::Labels),
            (State::Exemplar, b'}') => scanner.one(Token::BraceClose, State::ExemplarEqual),
            (State::Exemplar, b'=') => scanner.one(Token::Equal, State::ExemplarEqual),
            (State::Exemplar, b'"') => scanner.quoted::<false>(Token::Quoted, State::Exemplar),
            (State::Labels | State::Exemplar, _) => {
                scanner.name::<false>(byte, Token::LabelName, state)
            }
            (State::LabelValue, b'"') => scanner.quoted::<false>(Token::LabelValue, State::Labels),
            (State::ExemplarEqual, b'"') => {
                scanner.quoted::<false>(Token::LabelValue, State::Exemplar)
            }
            (State::Value, b' ') => self.word(Token::Value, State::Timestamp),
            (State::ExemplarEqual, b' ') => self.word(Token::Value, State::ExemplarTimestamp),
            (State::Timestamp | State::ExemplarTimestamp, b'\n') => {
                scanner.one(Token::Linebreak, State::Init)
            }
            (State::Timestamp, b' ') => self.timestamp_or_exemplar(),
            (State::ExemplarTimestamp, b' ') => {
                self.word(Token::Timestamp, State::ExemplarTimestamp)
            }
            _ => Token::Invalid,
        }
    }
}

impl<'a> OpenMetricsLexer<'a> {
    pub(super) fn new(bytes: &'a [u8], last: bool) -> Self {
        Self {
            scanner: Scanner::new(bytes, State::Init),
            last,
        }
    }

    /// `# HELP `, `# TYPE `, `# UNIT ` or `# EOF`.
    fn hash(&mut self) -> Token {
        let rest = self.scanner.rest();
        for (keyword, token) in [
            (&b"# HELP "[..], Token::Help),
            (b"# TYPE ", Token::Type),
            (b"# UNIT ", Token::Unit),
        ] {
            if rest.starts_with(keyword) {
                self.scanner.at += keyword.len();
                self.scanner.state = State::Meta;
                return token;
            }
            if keyword.starts_with(rest) {
                return Token::Incomplete;
            }
        }
        let word = b"# EOF";
        if !rest.starts_with(word) {
            return if word.starts_with(rest) {
                Token::Incomplete
            } else {
                Token::Invalid
            };
        }
        match rest.get(word.len()) {
            Some(b'\n') => self.scanner.at += word.len() + 1,
            None if !self.last => return Token::Incomplete,
            _ => self.scanner.at += word.len(),
        }
        Token::EndWord
    }

    /// The rest of the line after a metric's name in metadata, with the space before it and the
    /// newline.
    fn text(&mut self) -> Token {
        match memchr::memchr(b'\n', self.scanner.rest()) {
            Some(length) => self.scanner.at += length + 1,
            None => return Token::Incomplete,
        }
        self.scanner.state = State::Init;
        Token::Text
    }

    fn timestamp_or_exemplar(&mut self) -> Token {
        let rest = self.scanner.rest();
        if rest.starts_with(b" # {") {
            self.scanner.at += 4;
            self.scanner.state = State::Exemplar;
            return Token::Comment;
        }
        if b" # {".starts_with(rest) {
            return Token::Incomplete;
        }
        // Upstream's lexer has come too far to call it a timestamp.
        if rest.starts_with(b" # ") {
            return Token::Invalid;
        }
        self.word(Token::Timestamp, State::Timestamp)
    }

    /// One space, and what is not white behind it.
    fn word(&mut self, token: Token, state: State) -> Token {
        let rest = self.scanner.rest();
        let Some(length) = memchr::memchr2(b' ', b'\n', &rest[1..]) else {
            return Token::Incomplete;
        };
        // A NUL stops the lexer everywhere but in texts and label values.
        if length == 0 || rest[..1 + length].contains(&0) {
            return Token::Invalid;
        }
        self.scanner.at += 1 + length;
        self.scanner.state = state;
        token
    }
}
