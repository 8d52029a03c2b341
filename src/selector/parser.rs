//! Reads a selector from its text. // promql/parser/lex.go lexInsideBraces

use super::matcher::{MatchOp, Matcher, Selector, SelectorError};
use crate::relabel::Pattern;
use crate::series::labels::NAME;

impl Selector {
    /// Parses a selector.
    ///
    /// # Errors
    /// [`SelectorError`]: the home would refuse the selector, too, with status 400.
    ///
    /// # Examples
    ///
    /// ```
    /// use amp_forwarder::selector::{MatchOp, Selector};
    ///
    /// let selector = Selector::parse(r#"up{job=~"node|blackbox"}"#)?;
    /// assert_eq!(selector.matchers[0].op, MatchOp::Regex);
    /// assert_eq!(selector.matchers[1].label, "__name__");
    /// assert!(Selector::parse("up{job}").is_err());
    /// # Ok::<(), amp_forwarder::selector::SelectorError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        SelectorParser { text, at: 0 }.selector()
    }
}

/// Reads a text from left to right.
struct SelectorParser<'a> {
    text: &'a str,
    /// Bytes that were read.
    at: usize,
}

impl SelectorParser<'_> {
    fn selector(mut self) -> Result<Selector, SelectorError> {
        let mut selector = Selector::default();
        self.skip();
        let name = self.identifier(true).to_owned();
        self.skip();
        if self.peek() == Some('{') {
            self.at += 1;
            self.matchers(&mut selector)?;
            self.skip();
        } else if name.is_empty() {
            return Err(self.error(format!(
                "found {}, expected a metric name or {{",
                self.found()
            )));
        }
        if self.at < self.text.len() {
            return Err(self.error(format!(
                "found {}, expected the end: each match[] holds one selector",
                self.found()
            )));
        }
        if !name.is_empty() {
            selector.matchers.push(Matcher {
                label: NAME.to_owned(),
                op: MatchOp::Equal,
                value: name,
            });
        }
        Ok(selector)
    }

    /// Reads what follows the brace, up to the closing one. A comma may end the list.
    fn matchers(&mut self, selector: &mut Selector) -> Result<(), SelectorError> {
        loop {
            self.skip();
            if self.peek() == Some('}') {
                self.at += 1;
                return Ok(());
            }
            selector.matchers.push(self.matcher()?);
            self.skip();
            match self.peek() {
                Some(',') => self.at += 1,
                Some('}') => {}
                _ => return Err(self.error(format!("found {}, expected , or }}", self.found()))),
            }
        }
    }

    fn matcher(&mut self) -> Result<Matcher, SelectorError> {
        let start = self.at;
        let quoted = matches!(self.peek(), Some('"' | '\'' | '`'));
        let label = if quoted {
            self.string()?
        } else {
            self.identifier(false).to_owned()
        };
        if !quoted && label.is_empty() {
            return Err(self.error(format!("found {}, expected a label or }}", self.found())));
        }
        self.skip();
        let Some(op) = self.operator() else {
            // A quoted string alone is the metric name (Prometheus 3, "UTF-8 names").
            if quoted && matches!(self.peek(), Some(',' | '}')) {
                return Ok(Matcher {
                    label: NAME.to_owned(),
                    op: MatchOp::Equal,
                    value: label,
                });
            }
            return Err(self.error(format!("found {}, expected =, !=, =~ or !~", self.found())));
        };
        self.skip();
        if !matches!(self.peek(), Some('"' | '\'' | '`')) {
            return Err(self.error(format!("found {}, expected a quoted value", self.found())));
        }
        let value = self.string()?;
        if matches!(op, MatchOp::Regex | MatchOp::NotRegex)
            && let Err(error) = Pattern::new(&value)
        {
            return Err(SelectorError {
                at: self.text[..start].chars().count(),
                cause: error.to_string(),
            });
        }
        Ok(Matcher { label, op, value })
    }

    fn operator(&mut self) -> Option<MatchOp> {
        let operators = [
            ("=~", MatchOp::Regex),
            ("!~", MatchOp::NotRegex),
            ("!=", MatchOp::NotEqual),
            ("=", MatchOp::Equal),
        ];
        let rest = &self.text[self.at..];
        let (text, op) = operators
            .into_iter()
            .find(|(text, _)| rest.starts_with(text))?;
        self.at += text.len();
        Some(op)
    }

    /// Reads a name without quotes. Only a metric's name has colons.
    fn identifier(&mut self, colons: bool) -> &str {
        let start = self.at;
        let letter = |c: char| c.is_ascii_alphabetic() || c == '_' || (colons && c == ':');
        let rest = &self.text[start..];
        if rest.starts_with(letter) {
            let end = rest.find(|c: char| !letter(c) && !c.is_ascii_digit());
            self.at += end.unwrap_or(rest.len());
        }
        &self.text[start..self.at]
    }

    /// Reads a string in one of the three kinds of quotes.
    fn string(&mut self) -> Result<String, SelectorError> {
        let start = self.at;
        let Some(quote) = self.next() else {
            return Ok(String::new());
        };
        let mut bytes = Vec::new();
        loop {
            match self.next() {
                Some(c) if c == quote => break,
                Some('\\') if quote != '`' => self.escape(quote, &mut bytes)?,
                None => return Err(self.unterminated(start)),
                Some('\n') if quote != '`' => return Err(self.unterminated(start)),
                Some(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        String::from_utf8(bytes).map_err(|_| SelectorError {
            at: self.text[..start].chars().count(),
            cause: "the string is not valid UTF-8: no label has such a value".to_owned(),
        })
    }

    fn unterminated(&self, start: usize) -> SelectorError {
        SelectorError {
            at: self.text[..start].chars().count(),
            cause: "unterminated quoted string".to_owned(),
        }
    }

    /// Reads what follows a backslash. As in Go, `\x` and octal escapes are bytes, and `\u` and
    /// `\U` are code points.
    fn escape(&mut self, quote: char, bytes: &mut Vec<u8>) -> Result<(), SelectorError> {
        let at = self.at;
        let wrong = |cause: String| SelectorError {
            at: self.text[..at].chars().count(),
            cause,
        };
        let rest = &self.text[at..];
        let Some(first) = rest.chars().next() else {
            return Err(wrong("escape sequence not terminated".to_owned()));
        };
        let (skipped, digits, radix) = match first {
            'x' => (1, 2, 16),
            'u' => (1, 4, 16),
            'U' => (1, 8, 16),
            '0'..='7' => (0, 3, 8),
            _ => {
                let byte = match first {
                    'a' => 0x07,
                    'b' => 0x08,
                    'f' => 0x0c,
                    'n' => b'\n',
                    'r' => b'\r',
                    't' => b'\t',
                    'v' => 0x0b,
                    '\\' => b'\\',
                    _ if first == quote => quote as u8,
                    _ => return Err(wrong(format!("unknown escape sequence \\{first}"))),
                };
                bytes.push(byte);
                self.at += 1;
                return Ok(());
            }
        };
        let number = rest
            .get(skipped..skipped + digits)
            .filter(|text| text.chars().all(|c| c.is_digit(radix)))
            .and_then(|text| u32::from_str_radix(text, radix).ok())
            .ok_or_else(|| wrong(format!("\\{first} needs {digits} digits")))?;
        if matches!(first, 'u' | 'U') {
            let c = char::from_u32(number).ok_or_else(|| {
                wrong("escape sequence is an invalid Unicode code point".to_owned())
            })?;
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            bytes.push(
                u8::try_from(number)
                    .map_err(|_| wrong("an octal escape is at most \\377".to_owned()))?,
            );
        }
        self.at += skipped + digits;
        Ok(())
    }

    /// Skips white space and comments.
    fn skip(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r']);
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with('#') {
                return;
            }
            self.at += trimmed.find(['\n', '\r']).unwrap_or(trimmed.len());
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// The next character, as an error shows it.
    fn found(&self) -> String {
        match self.peek() {
            Some(c @ ('\u{2018}'..='\u{201f}' | '\u{ab}' | '\u{bb}')) => {
                format!("the typographic quote {c}")
            }
            Some(c) => c.escape_debug().to_string(),
            None => "the end".to_owned(),
        }
    }

    fn error(&self, cause: String) -> SelectorError {
        SelectorError {
            at: self.text[..self.at].chars().count(),
            cause,
        }
    }
}
