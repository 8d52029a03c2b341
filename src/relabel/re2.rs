//! RE2's syntax, as Go reads it, in terms of the crate `regex`.
//!
//! The two look alike and differ in the corners: classes are ASCII in Go, braces that repeat
//! nothing are literal, `[` in a class is one too, `**` is an error. So a pattern is read here as
//! `regexp/syntax/parse.go` reads it, error messages included, and written again with nothing left
//! to interpret: each part has its own flags around it, and every other character is escaped.

use super::class;
use super::repetition::{MAX_REPEAT, Repetition};
use super::syntax::{Flags, SyntaxError, error};

/// Most groups and repetitions within each other. Go takes a thousand; `regex` compiles them
/// recursively, on stacks of 2 MiB.
const MAX_DEPTH: usize = 250;

/// A pattern in the syntax of `regex`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Translation {
    pub(super) pattern: String,
    /// Names of the groups, from the first one; empty for a group without a name. Go lets a name
    /// occur twice.
    pub(super) names: Vec<String>,
}

/// The part of the output that a repetition would apply to.
#[derive(Debug, Clone, Copy)]
struct Atom {
    /// Index of its start in the output.
    start: usize,
    /// Largest product of nested repetitions in it.
    repeats: u32,
    /// Groups and repetitions within each other.
    depth: usize,
    /// Whether it ends with a repetition: then another one needs a group around it.
    repeated: bool,
}

/// An open group.
struct Group {
    /// Index of its start in the output.
    start: usize,
    /// Flags outside of the group, which hold again after it.
    outer: Flags,
    /// The atom before the current position.
    last: Option<Atom>,
    /// Largest product of nested repetitions in the group so far.
    repeats: u32,
    /// Largest depth of an atom in the group so far.
    depth: usize,
}

impl Group {
    fn open(start: usize, outer: Flags) -> Self {
        Self {
            start,
            outer,
            last: None,
            repeats: 1,
            depth: 0,
        }
    }
}

struct Translator<'a> {
    whole: &'a str,
    out: String,
    names: Vec<String>,
    /// Flags at the current position.
    flags: Flags,
    /// The open groups around `top`, the outermost first.
    groups: Vec<Group>,
    /// The innermost open group, or the pattern itself.
    top: Group,
}

/// Translates a whole pattern. Anchors are the caller's.
pub(super) fn translate(pattern: &str) -> Result<Translation, SyntaxError> {
    let flags = Flags::default();
    let mut translator = Translator {
        whole: pattern,
        out: String::with_capacity(pattern.len() * 2),
        names: Vec::new(),
        flags,
        groups: Vec::new(),
        top: Group::open(0, flags),
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
        // The text from the repetition just before, if there was one: Go refuses a second one
        // unless something is between them, be it only a flag.
        let mut last_repetition = None;
        while let Some(c) = rest.chars().next() {
            if let Some(repetition) = Repetition::read(rest)? {
                let after = self.repeat(repetition, rest, last_repetition)?;
                last_repetition = Some(rest);
                rest = after;
            } else {
                last_repetition = None;
                rest = self.step(c, rest)?;
            }
        }
        if self.groups.is_empty() {
            Ok(())
        } else {
            error("missing closing )", self.whole)
        }
    }

    /// Translates the part at the start of `rest`, which is no repetition and starts with `c`.
    /// Returns the text after it.
    fn step(&mut self, c: char, rest: &'a str) -> Result<&'a str, SyntaxError> {
        let after = &rest[c.len_utf8()..];
        let Flags {
            multi_line,
            dot_newline,
            ..
        } = self.flags;
        match c {
            '(' if after.starts_with('?') => return self.open_special(rest),
            '(' => {
                self.names.push(String::new());
                self.open("(");
            }
            '|' => {
                self.out.push('|');
                // A repetition has nothing to repeat at the start of an alternative.
                self.top.last = None;
            }
            ')' => self.close()?,
            '^' if multi_line => self.part("(?m:^)"),
            '^' => self.part(r"(?:\A)"),
            '$' if multi_line => self.part("(?m:$)"),
            '$' => self.part(r"(?:\z)"),
            '.' if dot_newline => self.part("(?s:.)"),
            '.' => self.part(r"[^\n]"),
            '[' => {
                let start = self.out.len();
                let after = class::bracketed(rest, self.flags, &mut self.out)?;
                self.atom(start);
                return Ok(after);
            }
            '\\' => return self.escape(rest),
            _ => self.literal(c),
        }
        Ok(after)
    }

    /// Makes the output from `start` on the last atom.
    fn atom(&mut self, start: usize) {
        self.top.last = Some(Atom {
            start,
            repeats: 1,
            depth: 0,
            repeated: false,
        });
    }

    /// Writes an atom.
    fn part(&mut self, translated: &str) {
        self.atom(self.out.len());
        self.out.push_str(translated);
    }

    /// Writes a character that means itself.
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
        let group = Group::open(self.out.len(), self.flags);
        self.groups.push(std::mem::replace(&mut self.top, group));
        self.out.push_str(translated);
    }

    fn close(&mut self) -> Result<(), SyntaxError> {
        let Some(outer) = self.groups.pop() else {
            return error("unexpected )", self.whole);
        };
        self.out.push(')');
        let group = std::mem::replace(&mut self.top, outer);
        self.flags = group.outer;
        self.nest(Atom {
            start: group.start,
            repeats: group.repeats,
            depth: group.depth + 1,
            repeated: false,
        })
    }

    /// Makes a group or a repetition the last atom, and checks how deep the pattern nests.
    fn nest(&mut self, atom: Atom) -> Result<(), SyntaxError> {
        self.top.repeats = self.top.repeats.max(atom.repeats);
        self.top.depth = self.top.depth.max(atom.depth);
        self.top.last = Some(atom);
        if atom.depth + self.groups.len() > MAX_DEPTH {
            error("expression nests too deeply", self.whole)
        } else {
            Ok(())
        }
    }

    /// Applies a repetition, which `rest` starts with, to the last atom. `last` is the text from a
    /// repetition just before it. Returns the text after it. // regexp/syntax/parse.go repeat
    fn repeat(
        &mut self,
        repetition: Repetition<'_>,
        rest: &'a str,
        last: Option<&'a str>,
    ) -> Result<&'a str, SyntaxError> {
        let after = &rest[repetition.operator.len()..];
        let (lazy, after) = match after.strip_prefix('?') {
            Some(after) => (true, after),
            None => (false, after),
        };
        // Messages show the text from the first operator to here.
        let text_from = |start: &'a str| &start[..start.len() - after.len()];
        if let Some(last) = last {
            return error("invalid nested repetition operator", text_from(last));
        }
        let Some(mut atom) = self.top.last else {
            return error("missing argument to repetition operator", text_from(rest));
        };
        if repetition.counted {
            atom.repeats = repetition.product(atom.repeats);
            if repetition.multiplies() && atom.repeats > MAX_REPEAT {
                return error("invalid repeat count", text_from(rest));
            }
        }
        // Go repeats a repetition only if something is between the two, be it only a flag. `regex`
        // needs a group for that.
        if atom.repeated {
            self.out.insert_str(atom.start, "(?:");
            self.out.push(')');
        }
        self.out.push_str(repetition.operator);
        // The flag U swaps greedy and lazy.
        if lazy != self.flags.non_greedy {
            self.out.push('?');
        }
        atom.repeated = true;
        atom.depth += 1;
        self.nest(atom)?;
        Ok(after)
    }

    /// Opens `(?flags)`, `(?flags:`, `(?P<name>` or `(?<name>`. // regexp/syntax/parse.go
    /// parsePerlFlags
    fn open_special(&mut self, rest: &'a str) -> Result<&'a str, SyntaxError> {
        // A name needs a character after its bracket, or the text counts as flags.
        if rest.len() > 4 && rest.starts_with("(?P<") {
            return self.open_named(rest, 4);
        }
        if rest.len() > 3 && rest.starts_with("(?<") {
            return self.open_named(rest, 3);
        }
        let mut flags = self.flags;
        // Flags after a dash are switched off. `seen` says whether one came since the dash: `(?-)`
        // is an error.
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

    /// Opens a group whose name starts at `start`.
    fn open_named(&mut self, rest: &'a str, start: usize) -> Result<&'a str, SyntaxError> {
        let Some(end) = rest.find('>') else {
            return error("invalid named capture", rest);
        };
        let name = &rest[start..end];
        let is_word = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
        if name.is_empty() || !name.bytes().all(is_word) {
            return error("invalid named capture", &rest[..=end]);
        }
        self.names.push(name.to_owned());
        self.open("(");
        Ok(&rest[end + 1..])
    }

    /// Translates an escape, which `rest` starts with. Returns the text after it.
    fn escape(&mut self, rest: &'a str) -> Result<&'a str, SyntaxError> {
        let kind = rest[1..].chars().next();
        let after = kind.map_or("", |c| &rest[1 + c.len_utf8()..]);
        match kind {
            Some('A') => self.part(r"(?:\A)"),
            Some('z') => self.part(r"(?:\z)"),
            // Word characters are ASCII, for which `regex` needs its mode for bytes; see `Pattern`.
            Some('b') => self.part(r"(?-u:\b)"),
            Some('B') => self.part(r"(?-u:\B)"),
            Some('C') => return error("invalid escape sequence", &rest[..2]),
            Some('Q') => {
                let (literal, after) = after.split_once(r"\E").unwrap_or((after, ""));
                literal.chars().for_each(|c| self.literal(c));
                return Ok(after);
            }
            _ => return self.escape_char(rest),
        }
        Ok(after)
    }

    /// Translates the escape of a class or of a character.
    fn escape_char(&mut self, rest: &'a str) -> Result<&'a str, SyntaxError> {
        let start = self.out.len();
        if let Some(after) = class::escaped(rest, self.flags, &mut self.out)? {
            self.atom(start);
            return Ok(after);
        }
        let (code, after) = class::escaped_char(rest)?;
        match char::from_u32(code) {
            Some(c) => self.literal(c),
            None => {
                // No text holds half of a surrogate pair.
                self.out.push_str(class::NOTHING);
                self.atom(start);
            }
        }
        Ok(after)
    }
}
