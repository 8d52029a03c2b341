//! Tokens of OpenMetrics text, by the states and rules of Prometheus'
//! `model/textparse/openmetricslex.l`.
//!
//! Unlike in the text format a space is a part of the token behind it, and there is exactly one.

/// What the lexer is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Init,
    Meta,
    MetaText,
    Labels,
    LabelValue,
    Value,
    Timestamp,
    Exemplar,
    ExemplarEqual,
    ExemplarTimestamp,
}

/// One token. Its bytes are [`Lexer::token`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Linebreak,
    Help,
    Type,
    Unit,
    /// `# EOF`, with the newline behind it if there is one.
    EndWord,
    Text,
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
    /// ` # {`: an exemplar.
    Comment,
    Invalid,
    /// The block ends within the token: more bytes may make it another one.
    Incomplete,
}

impl Token {
    /// As Prometheus calls it in its errors (`promparse.go` `token.String`).
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Linebreak => "LINEBREAK",
            Self::Help => "HELP",
            Self::Type => "TYPE",
            Self::Unit => "UNIT",
            Self::EndWord => "EOFWORD",
            Self::Text => "TEXT",
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
            Self::Comment => "COMMENT",
            Self::Invalid => "INVALID",
            Self::Incomplete => "EOF",
        }
    }
}

/// Cuts one entry into tokens.
pub(super) struct Lexer<'a> {
    bytes: &'a [u8],
    /// No byte follows.
    last: bool,
    state: State,
    start: usize,
    at: usize,
}

fn letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn name_rest(byte: u8) -> bool {
    letter(byte) || byte.is_ascii_digit()
}

impl<'a> Lexer<'a> {
    pub(super) fn new(bytes: &'a [u8], last: bool) -> Self {
        Self {
            bytes,
            last,
            state: State::Init,
            start: 0,
            at: 0,
        }
    }

    /// Where the last token starts.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// Where the last token ends.
    pub(super) fn end(&self) -> usize {
        self.at
    }

    /// The bytes of the last token.
    pub(super) fn token(&self) -> &'a [u8] {
        &self.bytes[self.start..self.at]
    }

    pub(super) fn next(&mut self) -> Token {
        self.start = self.at;
        let Some(&byte) = self.bytes.get(self.at) else {
            return Token::Incomplete;
        };
        match (self.state, byte) {
            (State::Init, b'#') => self.hash(),
            (State::Init | State::Value, b'{') => self.one(Token::BraceOpen, State::Labels),
            (State::Init, _) => self.name(byte, true, Token::MetricName, State::Value),
            (State::Meta, b'"') => self.quoted(true, Token::MetricName, State::MetaText),
            (State::Meta, _) => self.name(byte, true, Token::MetricName, State::MetaText),
            (State::MetaText, b' ') => self.text(),
            (State::Labels, b'}') => self.one(Token::BraceClose, State::Value),
            (State::Labels, b'=') => self.one(Token::Equal, State::LabelValue),
            (State::Labels | State::Exemplar, b',') => self.one(Token::Comma, self.state),
            (State::Labels, b'"') => self.quoted(true, Token::Quoted, State::Labels),
            (State::Exemplar, b'}') => self.one(Token::BraceClose, State::ExemplarEqual),
            (State::Exemplar, b'=') => self.one(Token::Equal, State::ExemplarEqual),
            (State::Exemplar, b'"') => self.quoted(false, Token::Quoted, State::Exemplar),
            (State::Labels | State::Exemplar, _) => {
                self.name(byte, false, Token::LabelName, self.state)
            }
            (State::LabelValue, b'"') => self.quoted(false, Token::LabelValue, State::Labels),
            (State::ExemplarEqual, b'"') => self.quoted(false, Token::LabelValue, State::Exemplar),
            (State::Value, b' ') => self.word(Token::Value, State::Timestamp),
            (State::ExemplarEqual, b' ') => self.word(Token::Value, State::ExemplarTimestamp),
            (State::Timestamp | State::ExemplarTimestamp, b'\n') => {
                self.one(Token::Linebreak, State::Init)
            }
            (State::Timestamp, b' ') => self.timestamp_or_exemplar(),
            (State::ExemplarTimestamp, b' ') => {
                self.word(Token::Timestamp, State::ExemplarTimestamp)
            }
            _ => Token::Invalid,
        }
    }

    /// `# HELP `, `# TYPE `, `# UNIT ` or `# EOF`.
    fn hash(&mut self) -> Token {
        let rest = &self.bytes[self.at..];
        for (keyword, token) in [
            (&b"# HELP "[..], Token::Help),
            (b"# TYPE ", Token::Type),
            (b"# UNIT ", Token::Unit),
        ] {
            if rest.starts_with(keyword) {
                self.at += keyword.len();
                self.state = State::Meta;
                return token;
            }
            if keyword.starts_with(rest) {
                return Token::Incomplete;
            }
        }
        let word = b"# EOF";
        if rest.starts_with(word) {
            return match rest.get(word.len()) {
                Some(b'\n') => {
                    self.at += word.len() + 1;
                    Token::EndWord
                }
                None if !self.last => Token::Incomplete,
                _ => {
                    self.at += word.len();
                    Token::EndWord
                }
            };
        }
        if word.starts_with(rest) {
            Token::Incomplete
        } else {
            Token::Invalid
        }
    }

    /// The rest of the line after a metric's name in metadata, with the space before it and the
    /// newline.
    fn text(&mut self) -> Token {
        match memchr::memchr(b'\n', &self.bytes[self.at..]) {
            Some(length) => self.at += length + 1,
            None => return Token::Incomplete,
        }
        self.state = State::Init;
        Token::Text
    }

    fn timestamp_or_exemplar(&mut self) -> Token {
        let rest = &self.bytes[self.at..];
        if rest.starts_with(b" # {") {
            self.at += 4;
            self.state = State::Exemplar;
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
        let Some(length) = memchr::memchr2(b' ', b'\n', &self.bytes[self.at + 1..]) else {
            return Token::Incomplete;
        };
        // A NUL stops the lexer everywhere but in texts and label values.
        if length == 0 || self.bytes[self.at..self.at + 1 + length].contains(&0) {
            return Token::Invalid;
        }
        self.at += 1 + length;
        self.state = state;
        token
    }

    fn one(&mut self, token: Token, state: State) -> Token {
        self.at += 1;
        self.state = state;
        token
    }

    fn name(&mut self, first: u8, colon: bool, token: Token, state: State) -> Token {
        let colons = |byte| colon && byte == b':';
        if !letter(first) && !colons(first) {
            return Token::Invalid;
        }
        while self
            .bytes
            .get(self.at)
            .is_some_and(|&byte| name_rest(byte) || colons(byte))
        {
            self.at += 1;
        }
        if self.at == self.bytes.len() {
            return Token::Incomplete;
        }
        self.state = state;
        token
    }

    /// A string in quotes; a backslash takes any byte with it but a newline.
    fn quoted(&mut self, newlines: bool, token: Token, state: State) -> Token {
        let mut at = self.at + 1;
        loop {
            let Some(offset) = memchr::memchr3(
                b'"',
                b'\\',
                if newlines { b'"' } else { b'\n' },
                &self.bytes[at..],
            ) else {
                return Token::Incomplete;
            };
            if token != Token::LabelValue && self.bytes[at..at + offset].contains(&0) {
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
