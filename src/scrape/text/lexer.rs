//! Tokens of the text exposition format.
//!
//! Follows the states and rules of Prometheus' `model/textparse/promlex.l` by hand, traps included.

/// What the lexer is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
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

/// One token. Its bytes are [`Lexer::token`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Linebreak,
    Help,
    Type,
    Text,
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
    /// A NUL where a line could start: Prometheus takes it for the end, and ignores what follows.
    Nul,
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

/// Cuts one entry into tokens.
pub(super) struct Lexer<'a> {
    bytes: &'a [u8],
    state: State,
    start: usize,
    at: usize,
}

fn name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn name_rest(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

impl<'a> Lexer<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
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

    /// The next token that is not white space.
    pub(super) fn next(&mut self) -> Token {
        if self.state != State::MetaText {
            self.skip(|byte| byte == b' ' || byte == b'\t');
        }
        self.start = self.at;
        let Some(&byte) = self.bytes.get(self.at) else {
            return Token::Incomplete;
        };
        match self.state {
            State::Init => self.init(byte),
            State::Meta => match byte {
                b'"' => self.quoted(Token::MetricName, State::MetaText),
                _ => self.name(
                    byte,
                    |byte| name_start(byte) || byte == b':',
                    |byte| name_rest(byte) || byte == b':',
                    Token::MetricName,
                    State::MetaText,
                ),
            },
            State::MetaText => self.text(),
            State::Labels => match byte {
                b'}' => self.one(Token::BraceClose, State::Value),
                b'=' => self.one(Token::Equal, State::LabelValue),
                b',' => self.one(Token::Comma, State::Labels),
                b'"' => self.quoted(Token::Quoted, State::Labels),
                _ => self.name(byte, name_start, name_rest, Token::LabelName, State::Labels),
            },
            State::LabelValue => match byte {
                b'"' => self.quoted(Token::LabelValue, State::Labels),
                _ => Token::Invalid,
            },
            State::Value => match byte {
                b'{' => self.one(Token::BraceOpen, State::Labels),
                b'\n' => Token::Invalid,
                _ => {
                    self.skip(|byte| !matches!(byte, b'{' | b' ' | b'\t' | b'\n'));
                    self.ended(Token::Value, State::Timestamp)
                }
            },
            State::Timestamp => match byte {
                b'\n' => self.one(Token::Linebreak, State::Init),
                b'0'..=b'9' => {
                    self.skip(|byte| byte.is_ascii_digit());
                    self.ended(Token::Timestamp, State::Timestamp)
                }
                _ => Token::Invalid,
            },
        }
    }

    /// The rest of the line after a metric's name in `HELP` and `TYPE`, white space before it
    /// included.
    fn text(&mut self) -> Token {
        match memchr::memchr(b'\n', &self.bytes[self.at..]) {
            Some(length) => self.at += length,
            None => return Token::Incomplete,
        }
        self.state = State::Init;
        Token::Text
    }

    fn init(&mut self, byte: u8) -> Token {
        match byte {
            0 => Token::Nul,
            b'\n' => self.one(Token::Linebreak, State::Init),
            b'{' => self.one(Token::BraceOpen, State::Labels),
            b'#' => self.hash(),
            _ => self.name(
                byte,
                |byte| name_start(byte) || byte == b':',
                |byte| name_rest(byte) || byte == b':',
                Token::MetricName,
                State::Value,
            ),
        }
    }

    /// `# HELP `, `# TYPE ` or a comment: anything else after a `#`, up to the end of the line.
    fn hash(&mut self) -> Token {
        let Some(length) = memchr::memchr(b'\n', &self.bytes[self.at..]) else {
            return Token::Incomplete;
        };
        let line = &self.bytes[self.at + 1..self.at + length];
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
                self.at += 1 + blanks + 4;
                self.state = State::Meta;
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
        self.at += length;
        Token::Comment
    }

    fn skip(&mut self, take: impl Fn(u8) -> bool) {
        while self.bytes.get(self.at).is_some_and(|&byte| take(byte)) {
            self.at += 1;
        }
    }

    fn one(&mut self, token: Token, state: State) -> Token {
        self.at += 1;
        self.state = state;
        token
    }

    /// A token that ends where its class of bytes ends: at the end of the block it may go on in the
    /// next.
    fn ended(&mut self, token: Token, state: State) -> Token {
        if self.at == self.bytes.len() {
            return Token::Incomplete;
        }
        self.state = state;
        token
    }

    fn name(
        &mut self,
        first: u8,
        start: impl Fn(u8) -> bool,
        rest: impl Fn(u8) -> bool,
        token: Token,
        state: State,
    ) -> Token {
        if !start(first) {
            return Token::Invalid;
        }
        self.skip(rest);
        self.ended(token, state)
    }

    /// `"(\\.|[^\\"])*"`: a backslash takes any byte with it but a newline.
    fn quoted(&mut self, token: Token, state: State) -> Token {
        let mut at = self.at + 1;
        loop {
            let Some(offset) = memchr::memchr2(b'"', b'\\', &self.bytes[at..]) else {
                return Token::Incomplete;
            };
            // NUL bytes are taken only in label values (promparse.go `promlexer.next`).
            if token != Token::LabelValue && self.bytes[at..at + offset].contains(&0) {
                return Token::Invalid;
            }
            at += offset;
            if self.bytes[at] == b'"' {
                self.at = at + 1;
                self.state = state;
                return token;
            }
            match self.bytes.get(at + 1) {
                None => return Token::Incomplete,
                Some(b'\n') => {
                    self.at = at;
                    return Token::Invalid;
                }
                Some(_) => at += 2,
            }
        }
    }
}
