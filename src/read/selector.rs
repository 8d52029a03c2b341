//! Vector selectors as `match[]` has them, such as `up{job=~"node|blackbox"}`.
//!
//! `/federate` takes selectors as text and parses them itself; remote read takes matchers. The
//! grammar is that of Prometheus' `ParseMetricSelector` (`promql/parser/generated_parser.y`
//! `vector_selector`, `lex.go` `lexInsideBraces`, `util/strutil/quote.go` `Unquote`).

use std::fmt;

use crate::prompb::remote_read::LabelMatcher;
use crate::relabel::Pattern;
use crate::series::labels::NAME;

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

/// One condition of a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher {
    /// Name of the label; the metric name is `__name__`.
    pub label: String,
    /// How the label's value is compared.
    pub op: MatchOp,
    /// The value, or an RE2 expression that must match the whole value.
    pub value: String,
}

/// A selector: all of its matchers must hold. It may have none, and then selects every series.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// The matchers in the order of the text, the metric name last, as Prometheus has it.
    pub matchers: Vec<Matcher>,
}

/// Why a text is no selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectorError {
    /// Characters before the place where the text starts to be wrong.
    pub at: usize,
    /// What was found, and what was expected.
    pub cause: String,
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "character {}: {}", self.at + 1, self.cause)
    }
}

impl std::error::Error for SelectorError {}

impl Matcher {
    /// The matcher as remote read takes it.
    #[must_use]
    pub fn to_message(&self) -> LabelMatcher {
        LabelMatcher {
            kind: match self.op {
                MatchOp::Equal => 0,
                MatchOp::NotEqual => 1,
                MatchOp::Regex => 2,
                MatchOp::NotRegex => 3,
            },
            name: self.label.clone(),
            value: self.value.clone(),
        }
    }
}

impl Selector {
    /// Parses a selector.
    ///
    /// # Errors
    /// [`SelectorError`]: the home would refuse the selector, too, with status 400.
    ///
    /// # Examples
    ///
    /// ```
    /// use amp_forwarder::read::selector::{MatchOp, Selector};
    ///
    /// let selector = Selector::parse(r#"up{job=~"node|blackbox"}"#)?;
    /// assert_eq!(selector.matchers[0].op, MatchOp::Regex);
    /// assert_eq!(selector.matchers[1].label, "__name__");
    /// assert!(Selector::parse("up{job}").is_err());
    /// # Ok::<(), amp_forwarder::read::selector::SelectorError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        SelectorParser { text, at: 0 }.selector()
    }

    /// Whether the selector names this label with a matcher that depends on its value.
    #[must_use]
    pub fn names(&self, label: &str) -> bool {
        self.matchers.iter().any(|matcher| matcher.label == label)
    }

    /// Whether the selector selects every series that has a name: each of its matchers holds for
    /// any value of the metric name.
    #[must_use]
    pub fn selects_all(&self) -> bool {
        self.matchers.iter().all(|matcher| {
            let Matcher { label, op, value } = matcher;
            label == NAME
                && match op {
                    MatchOp::Regex => value == ".+" || value == ".*",
                    MatchOp::NotEqual => value.is_empty(),
                    MatchOp::Equal | MatchOp::NotRegex => false,
                }
        })
    }
}

/// The selectors of a job, without those that others make needless: when one selects everything,
/// the rest would only repeat its series.
#[must_use]
pub fn needed(selectors: Vec<Selector>) -> Vec<Selector> {
    match selectors.iter().position(Selector::selects_all) {
        Some(all) => selectors.into_iter().skip(all).take(1).collect(),
        None => {
            let mut different: Vec<Selector> = Vec::with_capacity(selectors.len());
            for selector in selectors {
                if !different.contains(&selector) {
                    different.push(selector);
                }
            }
            different
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        let Selector { matchers } = match Selector::parse(text) {
            Ok(selector) => selector,
            Err(error) => return error.to_string(),
        };
        let op = |op| match op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        let matchers: Vec<_> = matchers
            .iter()
            .map(|matcher| format!("{}{}{:?}", matcher.label, op(matcher.op), matcher.value))
            .collect();
        matchers.join(" ")
    }

    #[test]
    fn selectors_are_read_as_prometheus_reads_them() {
        for (text, expected) in [
            ("up", r#"__name__="up""#),
            (" a:b_0 ", r#"__name__="a:b_0""#),
            ("{}", ""),
            (r#"{job="a",}"#, r#"job="a""#),
            (
                r#"up{job=~"a|b", x !~ '.+'}"#,
                r#"job=~"a|b" x!~".+" __name__="up""#,
            ),
            (
                r#"{"a metric", "a label"!=`b\n`}"#,
                r#"__name__="a metric" a label!="b\\n""#,
            ),
            (r#"{__name__=~".+"}"#, r#"__name__=~".+""#),
            (
                r#"{a="\"\\\n\x41\101\u00e9\U0001F600"}"#,
                r#"a="\"\\\nAAé😀""#,
            ),
            (r#"{a='\'"'}"#, r#"a="'\"""#),
            ("{ # why\n on = \"by\" }", r#"on="by""#),
            ("by{on=\"\"}", r#"on="" __name__="by""#),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_the_home_would_refuse_is_an_error_with_its_place() {
        for (text, expected) in [
            (
                "",
                "character 1: found the end, expected a metric name or {",
            ),
            (
                "%7Bjob%3D",
                "character 1: found %, expected a metric name or {",
            ),
            (
                "job=\"a\"",
                "character 4: found =, expected the end: each match[] holds one selector",
            ),
            ("{job=a}", "character 6: found a, expected a quoted value"),
            ("{job}", "character 5: found }, expected =, !=, =~ or !~"),
            (
                "{job=\u{201c}a\u{201d}}",
                "character 6: found the typographic quote \u{201c}, expected a quoted value",
            ),
            ("{job=\"a\"", "character 9: found the end, expected , or }"),
            ("{job=\"a}", "character 6: unterminated quoted string"),
            ("{,}", "character 2: found ,, expected a label or }"),
            ("{a=\"b\" c=\"d\"}", "character 8: found c, expected , or }"),
            ("{a=\"\\q\"}", "character 6: unknown escape sequence \\q"),
            ("{a=\"\\xzz\"}", "character 6: \\x needs 2 digits"),
            (
                "{a=\"\\xff\"}",
                "character 4: the string is not valid UTF-8: no label has such a value",
            ),
            (
                "{a=\"\\ud800\"}",
                "character 6: escape sequence is an invalid Unicode code point",
            ),
            (
                "a{b=\"c\"} or d",
                "character 10: found o, expected the end: each match[] holds one selector",
            ),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
        assert!(
            shown("{a=~\"(\"}").starts_with("character 2: "),
            "{}",
            shown("{a=~\"(\"}")
        );
    }

    #[test]
    fn a_selector_of_everything_makes_the_others_needless() {
        let parse = |texts: &[&str]| {
            let selectors = texts.iter().map(|text| Selector::parse(text).unwrap());
            needed(selectors.collect())
        };
        assert_eq!(
            parse(&[r#"{job=~".+"}"#, r#"{__name__=~".+"}"#]),
            parse(&[r#"{__name__=~".+"}"#])
        );
        assert_eq!(parse(&["{}", "up"]).len(), 1);
        assert_eq!(parse(&["up", "up", "down"]).len(), 2);
        // A job may be empty, so this does not select every series.
        assert_eq!(parse(&[r#"{job=~".+"}"#, "up"]).len(), 2);
        assert!(!parse(&[r#"{__name__=~"a.*"}"#])[0].selects_all());
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[a-c{}=~!,\"'`\\\\ x0-7u#\n\u{e9}]{0,40}") {
            let _ = Selector::parse(&text);
        }

        #[test]
        fn any_value_comes_back_from_quotes(value in "\\PC{0,30}") {
            let text = format!("{{a={value:?}}}");
            // Rust's own quoting has \u{…}, which Go's has not.
            prop_assume!(!text.contains("\\u{") && !text.contains("\\0"));
            prop_assert_eq!(&Selector::parse(&text).unwrap().matchers[0].value, &value);
        }
    }
}
