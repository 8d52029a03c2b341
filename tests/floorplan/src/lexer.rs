//! Splits Rust source into the few tokens that matter for finding paths: comments, strings and
//! numbers are dropped, so that nothing in them is taken for code.

/// A token together with the line that it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The token itself.
    pub kind: TokenKind,
    /// Number of its line, from 1.
    pub line: usize,
}

/// The tokens that the parser tells apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A word: a name or a keyword. `r#type` is `type`.
    Word(String),
    /// `::`
    PathSeparator,
    /// The text of a string literal. Attributes such as `#[path = "x.rs"]` need it.
    Text(String),
    /// Any other character outside of literals and comments.
    Symbol(char),
}

impl Token {
    /// The word, if this token is one.
    #[must_use]
    pub fn word(&self) -> Option<&str> {
        match &self.kind {
            TokenKind::Word(word) => Some(word),
            _ => None,
        }
    }

    /// Whether this token is the given character.
    #[must_use]
    pub fn is(&self, symbol: char) -> bool {
        self.kind == TokenKind::Symbol(symbol)
    }

    /// Whether this token is the given word.
    #[must_use]
    pub fn is_word(&self, word: &str) -> bool {
        self.word() == Some(word)
    }
}

/// Splits `source` into tokens.
#[must_use]
pub fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        chars: source.chars().collect(),
        at: 0,
        line: 1,
        tokens: Vec::new(),
    };
    while lexer.at < lexer.chars.len() {
        lexer.step();
    }
    lexer.tokens
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn advance(&mut self) -> char {
        let next = self.peek(0);
        if next == '\n' {
            self.line += 1;
        }
        self.at += 1;
        next
    }

    fn push(&mut self, line: usize, kind: TokenKind) {
        self.tokens.push(Token { kind, line });
    }

    fn step(&mut self) {
        let line = self.line;
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => self.line_comment(),
            ('/', '*') => self.block_comment(),
            ('"', _) => self.string(line),
            ('\'', _) => self.quote(),
            (':', ':') => {
                self.at += 2;
                self.push(line, TokenKind::PathSeparator);
            }
            (first, _) if first.is_whitespace() => {
                self.advance();
            }
            (first, _) if first.is_ascii_digit() => self.number(),
            (first, _) if is_word_char(first) => self.word(line),
            (first, _) => {
                self.advance();
                self.push(line, TokenKind::Symbol(first));
            }
        }
    }

    fn line_comment(&mut self) {
        while self.at < self.chars.len() && self.peek(0) != '\n' {
            self.at += 1;
        }
    }

    /// Block comments nest in Rust.
    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => {
                    depth += 1;
                    self.at += 2;
                }
                ('*', '/') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return;
                    }
                }
                _ => {
                    self.advance();
                }
            }
        }
    }

    fn string(&mut self, line: usize) {
        self.advance();
        let mut text = String::new();
        while self.at < self.chars.len() {
            match self.advance() {
                '"' => break,
                '\\' => {
                    self.advance();
                }
                other => text.push(other),
            }
        }
        self.push(line, TokenKind::Text(text));
    }

    /// The rest of `r"…"`, `r#"…"#` and so on, whose `r` is already read. Nothing is escaped in it.
    fn raw_string(&mut self, line: usize) {
        let mut hashes = 0;
        while self.peek(0) == '#' {
            hashes += 1;
            self.at += 1;
        }
        self.advance();
        let mut text = String::new();
        while self.at < self.chars.len() {
            let next = self.advance();
            if next == '"' && (0..hashes).all(|ahead| self.peek(ahead) == '#') {
                self.at += hashes;
                break;
            }
            text.push(next);
        }
        self.push(line, TokenKind::Text(text));
    }

    /// A lifetime or a character: `'a` followed by another quote is a character.
    fn quote(&mut self) {
        self.at += 1;
        if self.peek(0) == '\\' {
            self.at += 2;
            while self.at < self.chars.len() && self.advance() != '\'' {}
        } else if self.peek(1) == '\'' {
            self.advance();
            self.at += 1;
        } else {
            while is_word_char(self.peek(0)) {
                self.at += 1;
            }
        }
    }

    /// Numbers are words as far as the characters go; `1.5` must not leave a method call behind.
    fn number(&mut self) {
        while is_word_char(self.peek(0)) || (self.peek(0) == '.' && self.peek(1).is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn word(&mut self, line: usize) {
        let start = self.at;
        while is_word_char(self.peek(0)) {
            self.at += 1;
        }
        let word: String = self.chars[start..self.at].iter().collect();
        // A prefix of a literal (b"", r"", br#""#, c"", b''), or of a raw name (r#type).
        match (word.as_str(), self.peek(0), self.peek(1)) {
            ("r" | "br" | "cr", '"', _) | ("r" | "br" | "cr", '#', '"' | '#') => {
                self.raw_string(line);
            }
            ("b" | "c", '"', _) => self.string(line),
            ("b", '\'', _) => self.quote(),
            ("r", '#', next) if is_word_char(next) => {
                self.at += 1;
                self.word(line);
            }
            _ => self.push(line, TokenKind::Word(word)),
        }
    }
}

fn is_word_char(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        tokens(source)
            .iter()
            .filter_map(|token| token.word().map(str::to_string))
            .collect()
    }

    #[test]
    fn comments_and_literals_hide_what_is_in_them() {
        let source = r##"
            a // crate::b
            /* c /* d */ e */ f
            "crate::g \" h" r#"i " j"# b"k" 'l' '\'' '"' b'm' n
        "##;
        assert_eq!(words(source), ["a", "f", "n"]);
    }

    #[test]
    fn a_lifetime_is_no_character() {
        assert_eq!(words("fn f<'a>(x: &'a str) {}"), ["fn", "f", "x", "str"]);
    }

    #[test]
    fn numbers_and_raw_names() {
        assert_eq!(words("1.5e3 0x1f_u8 1.max(2) r#type"), ["max", "type"]);
    }

    #[test]
    fn lines_are_counted_through_strings_and_comments() {
        let found = tokens("/*\n*/ \"\n\" x");
        assert_eq!(found.last().map(|token| token.line), Some(3));
    }
}
