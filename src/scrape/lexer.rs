//! What the lexers of the two text formats share: their tokens, and the scanner that cuts these.
//!
//! Prometheus' lexers share their tokens, too (`model/textparse/promparse.go` `token`). The states
//! and rules of each format are in `text::lexer` and `openmetrics::lexer`.

use super::entry::TextSpan;

/// One token. Its bytes are [`Lexer::token`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Linebreak,
    Help,
    Type,
    /// `# UNIT `, in OpenMetrics only.
    Unit,
    /// `# EOF` of OpenMetrics, with the newline behind it if there is one.
    EndWord,
    Text,
    /// A comment of the text format; in OpenMetrics ` # {`, the start of an exemplar.
    Comment,
    MetricName,
    Quoted,
    BraceOpen,
    BraceClose,
    LabelName,
    LabelValue,
    Comma,
    Equal,
    Timestamp,
    Value,
    /// A NUL where a line of the text format could start: Prometheus takes it for the end, and
    /// ignores what follows.
    Nul,
    Invalid,
    /// The block ends within the token: more bytes may make it another one.
    Incomplete,
}

impl Token {
    /// The token's name in Prometheus' errors (`promparse.go` `token.String`).
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Linebreak => "LINEBREAK",
            Self::Help => "HELP",
            Self::Type => "TYPE",
            Self::Unit => "UNIT",
            Self::EndWord => "EOFWORD",
            Self::Text => "TEXT",
            Self::Comment => "COMMENT",
            Self::MetricName => "MNAME",
            Self::Quoted => "QSTRING",
            Self::BraceOpen => "BOPEN",
            Self::BraceClose => "BCLOSE",
            Self::LabelName => "LNAME",
            Self::LabelValue => "LVALUE",
            Self::Comma => "COMMA",
            Self::Equal => "EQUAL",
            Self::Timestamp => "TIMESTAMP",
            Self::Value => "VALUE",
            Self::Nul | Self::Incomplete => "EOF",
            Self::Invalid => "INVALID",
        }
    }
}

/// Cuts one entry into tokens, by the rules of its format.
///
/// The parsers are generic over it, so that each format has its own compiled copy of the shared
/// grammar and no call is dynamic.
pub(super) trait Lexer<'a> {
    /// What the lexer is in the middle of.
    type State: Copy;

    /// Whether the comma between two labels may be missing.
    const COMMAS_ARE_OPTIONAL: bool;

    /// Whether a word without quotes and without a value is a metric's name, as one in quotes is.
    const BARE_WORD_IS_NAME: bool;

    /// The next token.
    fn next(&mut self) -> Token;

    /// The scanner that has cut the last token.
    fn scanner(&self) -> &Scanner<'a, Self::State>;

    /// Offset of the last token's first byte, from the start of the entry.
    #[inline]
    fn start(&self) -> usize {
        self.scanner().start
    }

    /// Offset of the first byte behind the last token.
    #[inline]
    fn end(&self) -> usize {
        self.scanner().at
    }

    /// The place of the last token.
    #[inline]
    fn span(&self) -> TextSpan {
        TextSpan {
            start: self.start(),
            end: self.end(),
        }
    }

    /// The bytes of the last token.
    #[inline]
    fn token(&self) -> &'a [u8] {
        let scanner = self.scanner();
        &scanner.bytes[scanner.start..scanner.at]
    }
}

/// A position in the bytes of one entry, with the rules by which both formats cut names, strings
/// and single bytes.
pub(super) struct Scanner<'a, State> {
    pub(super) bytes: &'a [u8],
    pub(super) state: State,
    /// Where the last token starts.
    start: usize,
    /// Where the last token ends, and the next one starts.
    pub(super) at: usize,
}

fn starts_name(byte: u8, colons: bool) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || (colons && byte == b':')
}

impl<'a, State> Scanner<'a, State> {
    pub(super) fn new(bytes: &'a [u8], state: State) -> Self {
        Self {
            bytes,
            state,
            start: 0,
            at: 0,
        }
    }

    /// Starts a token, and returns its first byte. None at the end of the block.
    #[inline]
    pub(super) fn begin(&mut self) -> Option<u8> {
        self.start = self.at;
        self.bytes.get(self.at).copied()
    }

    /// The bytes that are not cut yet.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Moves over the bytes of a class.
    #[inline]
    pub(super) fn skip(&mut self, take: impl Fn(u8) -> bool) {
        while self.bytes.get(self.at).is_some_and(|&byte| take(byte)) {
            self.at += 1;
        }
    }

    /// A token of one byte.
    #[inline]
    pub(super) fn one(&mut self, token: Token, state: State) -> Token {
        self.at += 1;
        self.state = state;
        token
    }

    /// A token that ends where its class of bytes ends: at the end of the block it may go on in the
    /// next one.
    #[inline]
    pub(super) fn ended(&mut self, token: Token, state: State) -> Token {
        if self.at == self.bytes.len() {
            return Token::Incomplete;
        }
        self.state = state;
        token
    }

    /// A name without quotes that starts with `first`. Only metrics have colons in their names.
    #[inline]
    pub(super) fn name<const COLONS: bool>(
        &mut self,
        first: u8,
        token: Token,
        state: State,
    ) -> Token {
        if !starts_name(first, COLONS) {
            return Token::Invalid;
        }
        self.skip(|byte| starts_name(byte, COLONS) || byte.is_ascii_digit());
        self.ended(token, state)
    }

    /// `"(\\.|[^\\"])*"`: a backslash takes any byte with it but a newline.
    #[inline]
    pub(super) fn quoted<const NEWLINES: bool>(&mut self, token: Token, state: State) -> Token {
        let mut at = self.at + 1;
        loop {
            // The next byte that means something.
            let rest = &self.bytes[at..];
            let found = if NEWLINES {
                memchr::memchr2(b'"', b'\\', rest)
            } else {
                memchr::memchr3(b'"', b'\\', b'\n', rest)
            };
            let Some(offset) = found else {
                return Token::Incomplete;
            };
            // NUL bytes are taken only in label values (promparse.go `promlexer.next`).
            if token != Token::LabelValue && rest[..offset].contains(&0) {
                return Token::Invalid;
            }
            at += offset;
            match self.bytes[at] {
                b'"' => {
                    self.at = at + 1;
                    self.state = state;
                    return token;
                }
                b'\\' => {}
                _ => return Token::Invalid,
            }
            match self.bytes.get(at + 1) {
                None => return Token::Incomplete,
                Some(b'\n') => return Token::Invalid,
                Some(_) => at += 2,
            }
        }
    }
}
