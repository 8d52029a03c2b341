//! Tokens of the text exposition format.
//!
//! Follows the states and rules of Prometheus' `model/textparse/promlex.l` by hand, traps included.

use crate::scrape::lexer::{Lexer, Scanner, Token};

/// What the lexer is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextState {
    Init,
    /// After `HELP` or `TYPE`: a metric name is next.
    Meta,
    /// After that name: text up to the end of the line.
    MetaText,
    Labels,
    LabelValue,
    Value,
    Timestamp,
}

/// The lexer of the text format.
pub(super) struct TextLexer<'a> {
    scanner: Scanner<'a, TextState>,
}

impl<'a> Lexer<'a> for TextLexer<'a> {
    type State = TextState;
    const COMMAS_ARE_OPTIONAL: bool = true;
    const BARE_WORD_IS_NAME: bool = false;

    #[inline]
    fn scanner(&self) -> &Scanner<'a, TextState> {
        &self.scanner
    }

    /// The next token that is not white space.
    fn next(&mut self) -> Token {
        let scanner = &mut self.scanner;
        if scanner.state != TextState::MetaText {
            scanner.skip(|byte| byte == b' ' || byte == b'\t');
        }
        let Some(byte) = scanner.begin() else {
            return Token::Incomplete;
        };
        match scanner.state {
            TextState::Init => self.init(byte),
            TextState::Meta => match byte {
                b'"' => scanner.quoted::<true>(Token::MetricName, TextState::MetaText),
                _ => scanner.name::<true>(byte, Token::MetricName, TextState::MetaText),
            },
            TextState::MetaText => self.text(),
            TextState::Labels => match byte {
                b'}' => scanner.one(Token::BraceClose, TextState::Value),
                b'=' => scanner.one(Token::Equal, TextState::LabelValue),
                b',' => scanner.one(Token::Comma, TextState::Labels),
                b'"' => scanner.quoted::<true>(Token::Quoted, TextState::Labels),
                _ => scanner.name::<false>(byte, Token::LabelName, TextState::Labels),
            },
            TextState::LabelValue => match byte {
                b'"' => scanner.quoted::<true>(Token::LabelValue, TextState::Labels),
                _ => Token::Invalid,
            },
            TextState::Value => match byte {
                b'{' => scanner.one(Token::BraceOpen, TextState::Labels),
                b'\n' => Token::Invalid,
                _ => {
                    scanner.skip(|byte| !matches!(byte, b'{' | b' ' | b'\t' | b'\n'));
                    scanner.ended(Token::Value, TextState::Timestamp)
                }
            },
            TextState::Timestamp => match byte {
                b'\n' => scanner.one(Token::Linebreak, TextState::Init),
                b'0'..=b'9' => {
                    scanner.skip(|byte| byte.is_ascii_digit());
                    scanner.ended(Token::Timestamp, TextState::Timestamp)
                }
                _ => Token::Invalid,
            },
        }
    }
}

impl<'a> TextLexer<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            scanner: Scanner::new(bytes, TextState::Init),
        }
    }

    /// The rest of the line after a metric's name in `HELP` and `TYPE`, white space before it
    /// included.
    fn text(&mut self) -> Token {
        match memchr::memchr(b'\n', self.scanner.rest()) {
            Some(length) => self.scanner.at += length,
            None => return Token::Incomplete,
        }
        self.scanner.state = TextState::Init;
        Token::Text
    }

    fn init(&mut self, byte: u8) -> Token {
        let scanner = &mut self.scanner;
        match byte {
            0 => Token::Nul,
            b'\n' => scanner.one(Token::Linebreak, TextState::Init),
            b'{' => scanner.one(Token::BraceOpen, TextState::Labels),
            b'#' => self.hash(),
            _ => scanner.name::<true>(byte, Token::MetricName, TextState::Value),
        }
    }

    /// `# HELP `, `# TYPE ` or a comment: anything else after a `#`, up to the end of the line.
    fn hash(&mut self) -> Token {
        let scanner = &mut self.scanner;
        let Some(length) = memchr::memchr(b'\n', scanner.rest()) else {
            return Token::Incomplete;
        };
        let line = &scanner.rest()[1..length];
        let blanks = line
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
        let words = &line[blanks..];
        for (keyword, token) in [(b"HELP", Token::Help), (b"TYPE", Token::Type)] {
            let followed = words
                .get(4)
                .is_some_and(|byte| matches!(byte, b' ' | b'\t'));
            if blanks > 0 && words.starts_with(keyword) && followed {
                scanner.at += 1 + blanks + 4;
                scanner.state = TextState::Meta;
                return token;
            }
        }
        // `consumeComment`: a NUL ends the input unless the lexer has seen `# ` before it.
        let nul = if blanks > 0 {
            words.first() == Some(&0)
        } else {
            words.contains(&0)
        };
        if nul {
            return Token::Nul;
        }
        scanner.at += length;
        Token::Comment
    }
}
