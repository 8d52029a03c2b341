//! RE2's syntax, as Go reads it, in terms of the crate `regex`.
//!
//! The two look alike and differ in the corners: classes are ASCII in Go, braces that repeat
//! nothing are literal, `[` in a class is one too, `**` is an error. So a pattern is read here as
//! `regexp/syntax/parse.go` reads it, error messages included, and written anew with nothing left
//! to interpret: every flag stands beside what it applies to, every other character is escaped.

use super::class;
use super::repetition::{MAX_REPEAT, Repetition, counts};
use super::syntax::{Flags, SyntaxError, error};

/// Groups and repetitions within each other. Go takes a thousand; ours are compiled recursively, on
/// stacks of 2 MiB.
const MAX_DEPTH: usize = 250;

/// A pattern in the syntax of `regex`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Translation {
    pub(super) pattern: String,
    /// Names of the groups, from the first one; empty for those without. Go lets a name come twice.
    pub(super) names: Vec<String>,
}

/// What a repetition would apply to.
#[derive(Debug, Clone, Copy)]
struct Atom {
    /// Where it starts in the output.
    start: usize,
    /// The largest product of nested repetitions in it.
    repeats: u32,
    depth: usize,
    /// It ends with a repetition: another one needs a group around it.
    repeated: bool,
}

/// An open group.
struct Group {
    /// Where it starts in the output.
    start: usize,
    /// Those around it.
    outer: Flags,
    last: Option<Atom>,
    repeats: u32,
    depth: usize,
}

struct Translator<'a> {
    whole: &'a str,
    out: String,
    names: Vec<String>,
    flags: Flags,
    groups: Vec<Group>,
    top: Group,
}

/// Translates a whole pattern; anchors are the caller's.
pub(super) fn translate(pattern: &str) -> Result<Translation, SyntaxError> {
    let flags = Flags {
        fold: false,
        multi_line: false,
        dot_newline: false,
        non_greedy: false,
    };
    let top = Group {
        start: 0,
        outer: flags,
        last: None,
        repeats: 1,
        depth: 0,
    };
    let mut translator = Translator {
        whole: pattern,
        out: String::with_capacity(pattern.len() * 2),
        names: Vec::new(),
        flags,
        groups: Vec::new(),
        top,
    };
    translator.run()?;
    Ok(Translation {
        pattern: translator.out,
        names: translator.names,
    })
}

impl<'a> Translator<'a> {
    fn run(&mut self) -> Result<(), SyntaxError> {
        let mut rest = self.whole;
        // The text from the repetition just before, if there was one.
        let mut repetition = None;
        while let Some(c) = rest.chars().next() {
            let after = &rest[c.len_utf8()..];
            let mut now = None;
            rest = match c {
                '(' if after.starts_with('?') => self.open_special(rest)?,
                '(' => {
                    self.names.push(String::new());
                    self.open("(");
                    after
                }
                '|' => {
                    self.out.push('|');
                    self.top.last = None;
                    after
                }
                ')' => {
                    self.close()?;
                    after
                }
                '^' => self.assertion(
                    if self.flags.multi_line {
                        "(?m:^)"
                    } else {
                        r"(?:\A)"
                    },
                    after,
                ),
                '$' => self.assertion(
                    if self.flags.multi_line {
                        "(?m:$)"
                    } else {
                        r"(?:\z)"
                    },
                    after,
                ),
                '.' => self.assertion(
                    if self.flags.dot_newline {
                        "(?s:.)"
                    } else {
                        r"[^\n]"
                    },
                    after,
                ),
                '[' => {
                    let start = self.out.len();
                    let after = class::bracketed(rest, self.flags, &mut self.out)?;
                    self.atom(start);
                    after
                }
                '*' | '+' | '?' => {
                    now = Some(rest);
                    self.repeat(
                        Repetition {
                            operator: &rest[..1],
                            min: 0,
                            max: None,
                            counted: false,
                        },
                        rest,
                        after,
                        repetition,
                    )?
                }
                '{' => match counts(rest) {
                    None => {
                        self.literal('{');
                        after
                    }
                    Some((min, max, after)) => {
                        let operator = &rest[..rest.len() - after.len()];
                        if min > MAX_REPEAT || max.is_some_and(|max| max > MAX_REPEAT || min > max)
                        {
                            return error("invalid repeat count", operator);
                        }
                        now = Some(rest);
                        self.repeat(
                            Repetition {
                                operator,
                                min,
                                max,
                                counted: true,
                            },
                            rest,
                            after,
                            repetition,
                        )?
                    }
                },
                '\\' => self.escape(rest)?,
                _ => {
                    self.literal(c);
                    after
                }
            };
            repetition = now;
        }
        if self.groups.is_empty() {
            Ok(())
        } else {
            error("missing closing )", self.whole)
        }
    }

    fn atom(&mut self, start: usize) {
        self.top.last = Some(Atom {
            start,
            repeats: 1,
            depth: 0,
            repeated: false,
        });
    }

    fn assertion(&mut self, translated: &str, after: &'a str) -> &'a str {
        self.atom(self.out.len());
        self.out.push_str(translated);
        after
    }

    fn literal(&mut self, c: char) {
        self.atom(self.out.len());
        if self.flags.fold {
            self.out.push_str("(?i:");
        }
        class::push_char(&mut self.out, c);
        if self.flags.fold {
            self.out.push(')');
        }
    }

    fn open(&mut self, translated: &str) {
        let group = Group {
            start: self.out.len(),
            outer: self.flags,
            last: None,
            repeats: 1,
            depth: 0,
        };
        self.groups.push(std::mem::replace(&mut self.top, group));
        self.out.push_str(translated);
    }

    fn close(&mut self) -> Result<(), SyntaxError> {
        let Some(outer) = self.groups.pop() else {
            return error("unexpected )", self.whole);
        };
        self.out.push(')');
        let Group {
            start,
            outer: flags,
            repeats,
            depth,
            ..
        } = std::mem::replace(&mut self.top, outer);
        self.flags = flags;
        self.settle(Atom {
            start,
            repeats,
            depth: depth + 1,
            repeated: false,
        })
    }

    /// Makes something nested the last atom.
    fn settle(&mut self, atom: Atom) -> Result<(), SyntaxError> {
        self.top.repeats = self.top.repeats.max(atom.repeats);
        self.top.depth = self.top.depth.max(atom.depth);
        self.top.last = Some(atom);
        if atom.depth + self.groups.len() > MAX_DEPTH {
            error("expression nests too deeply", self.whole)
        } else {
            Ok(())
        }
    }

    /// `regexp/syntax/parse.go` `repeat`. Gives what comes after.
    fn repeat(
        &mut self,
        repetition: Repetition<'_>,
        before: &'a str,
        after: &'a str,
        last: Option<&'a str>,
    ) -> Result<&'a str, SyntaxError> {
        let lazy = after.starts_with('?');
        let after = if lazy { &after[1..] } else { after };
        if let Some(last) = last {
            return error(
                "invalid nested repetition operator",
                &last[..last.len() - after.len()],
            );
        }
        let Some(mut atom) = self.top.last else {
            return error(
                "missing argument to repetition operator",
                &before[..before.len() - after.len()],
            );
        };
        let Repetition {
            operator,
            min,
            max,
            counted,
        } = repetition;
        if counted {
            // regexp/syntax/parse.go repeatIsValid
            atom.repeats = match max {
                Some(0) => 1,
                Some(times) => times.saturating_mul(atom.repeats),
                None => min.max(1).saturating_mul(atom.repeats),
            };
            if (min >= 2 || max.is_some_and(|max| max >= 2)) && atom.repeats > MAX_REPEAT {
                return error(
                    "invalid repeat count",
                    &before[..before.len() - after.len()],
                );
            }
        }
        if atom.repeated {
            self.out.insert_str(atom.start, "(?:");
            self.out.push(')');
        }
        self.out.push_str(operator);
        if lazy != self.flags.non_greedy {
            self.out.push('?');
        }
        atom.repeated = true;
        atom.depth += 1;
        self.settle(atom)?;
        Ok(after)
    }

    /// `regexp/syntax/parse.go` `parsePerlFlags`: `(?flags)`, `(?flags:`, `(?P<name>` and
    /// `(?<name>`.
    fn open_special(&mut self, rest: &'a str) -> Result<&'a str, SyntaxError> {
        let named = if rest.len() > 4 && rest.starts_with("(?P<") {
            Some(4)
        } else {
            (rest.len() > 3 && rest.starts_with("(?<")).then_some(3)
        };
        if let Some(start) = named {
            let Some(end) = rest.find('>') else {
                return error("invalid named capture", rest);
            };
            let name = &rest[start..end];
            if name.is_empty()
                || !name
                    .bytes()
                    .all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
            {
                return error("invalid named capture", &rest[..=end]);
            }
            self.names.push(name.to_owned());
            self.open("(");
            return Ok(&rest[end + 1..]);
        }
        let mut flags = self.flags;
        let (mut on, mut seen) = (true, false);
        for (at, c) in rest.char_indices().skip(2) {
            let after = &rest[at + c.len_utf8()..];
            match c {
                'i' => flags.fold = on,
                'm' => flags.multi_line = on,
                's' => flags.dot_newline = on,
                'U' => flags.non_greedy = on,
                '-' if on => {
                    (on, seen) = (false, false);
                    continue;
                }
                ':' | ')' if on || seen => {
                    if c == ':' {
                        self.open("(?:");
                    }
                    self.flags = flags;
                    return Ok(after);
                }
                _ => {
                    return error(
                        "invalid or unsupported Perl syntax",
                        &rest[..rest.len() - after.len()],
                    );
                }
            }
            seen = true;
        }
        error("invalid or unsupported Perl syntax", rest)
    }

    fn escape(&mut self, rest: &'a str) -> Result<&'a str, SyntaxError> {
        let kind = rest[1..].chars().next();
        let after = kind.map_or("", |c| &rest[1 + c.len_utf8()..]);
        match kind {
            Some('A') => return Ok(self.assertion(r"(?:\A)", after)),
            Some('z') => return Ok(self.assertion(r"(?:\z)", after)),
            // ASCII word characters, and for that `regex` needs its mode for bytes; see `Pattern`.
            Some('b') => return Ok(self.assertion(r"(?-u:\b)", after)),
            Some('B') => return Ok(self.assertion(r"(?-u:\B)", after)),
            Some('C') => return error("invalid escape sequence", &rest[..2]),
            Some('Q') => {
                let (literal, after) = after.split_once(r"\E").unwrap_or((after, ""));
                literal.chars().for_each(|c| self.literal(c));
                return Ok(after);
            }
            _ => {}
        }
        let start = self.out.len();
        if let Some(after) = class::escaped(rest, self.flags, &mut self.out)? {
            self.atom(start);
            return Ok(after);
        }
        let (code, after) = class::escaped_char(rest)?;
        match char::from_u32(code) {
            Some(c) => self.literal(c),
            None => {
                // Half of a surrogate pair: in no text.
                self.out.push_str(class::NOTHING);
                self.atom(start);
            }
        }
        Ok(after)
    }
}
