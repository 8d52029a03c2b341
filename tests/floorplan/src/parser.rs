//! Finds what matters in one file: modules, the names that it defines, its `use` items and the paths
//! in its code. It knows just enough of Rust's grammar for that, and never fails.

use std::collections::BTreeSet;

use crate::lexer::{Token, TokenKind, tokens};

/// A module: a whole file, or the block of an inline `mod name { … }`.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Modules that are declared here, without those of tests.
    pub modules: Vec<Declaration>,
    /// Names of the items that are defined here.
    pub items: BTreeSet<String>,
    /// Types among them, with the line of their definition.
    pub types: Vec<(String, usize)>,
    /// `use` items, one for each name of a group.
    pub uses: Vec<Use>,
    /// Paths of two or more words in code.
    pub paths: Vec<Mention>,
    /// Single names in code, each with the line of its first mention.
    pub names: Vec<(String, usize)>,
    /// First and last line of each item behind `#[cfg(test)]`.
    pub tests: Vec<(usize, usize)>,
}

/// A module that another one declares.
#[derive(Clone, Debug)]
pub struct Declaration {
    /// Name of the module.
    pub name: String,
    /// What an inline module contains; absent if the module is a file of its own.
    pub inline: Option<Contents>,
}

/// One imported name.
#[derive(Clone, Debug)]
pub struct Use {
    /// The path to what is imported.
    pub path: Mention,
    /// The name that it has here. Absent for `*` and for `as _`.
    pub name: Option<String>,
    /// Whether the path ends in `*`.
    pub is_glob: bool,
    /// Whether others may import the name from here.
    pub is_public: bool,
}

/// A path and where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// The words of the path.
    pub words: Vec<String>,
    /// Number of its line, from 1.
    pub line: usize,
}

/// Reads one file.
#[must_use]
pub fn parse(source: &str) -> Contents {
    let tokens = tokens(source);
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
    };
    parser.module()
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead)
    }

    fn is(&self, ahead: usize, symbol: char) -> bool {
        self.peek(ahead).is_some_and(|token| token.is(symbol))
    }

    fn word(&self, ahead: usize) -> Option<&str> {
        self.peek(ahead).and_then(Token::word)
    }

    fn is_separator(&self, ahead: usize) -> bool {
        self.peek(ahead).map(|token| &token.kind) == Some(&TokenKind::PathSeparator)
    }

    fn line(&self) -> usize {
        self.peek(0).map_or(0, |token| token.line)
    }

    /// Reads to the end of the file, or to the brace that closes an inline module.
    fn module(&mut self) -> Contents {
        let mut contents = Contents::default();
        let mut depth = 0_usize;
        let mut is_public = false;
        while let Some(token) = self.peek(0) {
            if token.is('#') {
                self.attribute(&mut contents);
                continue;
            }
            if token.is('{') {
                depth += 1;
            } else if token.is('}') {
                if depth == 0 {
                    break;
                }
                depth -= 1;
            }
            match token.word() {
                Some("pub") => {
                    is_public = true;
                    self.at += 1;
                    // pub(crate), pub(super), pub(in path): whoever may see it is not asked.
                    if self.is(0, '(') {
                        self.skip_group();
                    }
                    continue;
                }
                Some("use") => self.use_item(is_public, &mut contents),
                Some("mod") => self.module_item(&mut contents),
                Some(_) => self.code_word(depth == 0, &mut contents),
                None => self.at += 1,
            }
            is_public = false;
        }
        contents
    }

    /// Reads `#[…]` or `#![…]`. The item behind `#[cfg(test)]` is skipped.
    fn attribute(&mut self, contents: &mut Contents) {
        let first_line = self.line();
        self.at += 1;
        if self.is(0, '!') {
            self.at += 1;
        }
        if !self.is(0, '[') {
            return;
        }
        let start = self.at;
        self.skip_group();
        let attribute: Vec<&str> = self.tokens[start..self.at]
            .iter()
            .filter_map(Token::word)
            .collect();
        if attribute == ["cfg", "test"] || attribute.starts_with(&["cfg", "all", "test"]) {
            self.skip_item();
            let last = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
            let last_line = last.map_or(first_line, |token| token.line);
            contents.tests.push((first_line, last_line));
        }
    }

    /// Skips a group in brackets of any kind, which starts here.
    fn skip_group(&mut self) {
        let mut depth = 0_usize;
        while let Some(token) = self.peek(0) {
            if token.is('(') || token.is('[') || token.is('{') {
                depth += 1;
            } else if token.is(')') || token.is(']') || token.is('}') {
                depth -= 1;
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    /// Skips an item, a statement, a field or a match arm, with further attributes in front of it.
    fn skip_item(&mut self) {
        const KEYWORDS: [&str; 12] = [
            "async", "const", "enum", "extern", "fn", "impl", "mod", "static", "struct", "trait",
            "type", "use",
        ];
        while self.is(0, '#') {
            self.at += 1;
            self.skip_group();
        }
        if self.word(0) == Some("pub") {
            self.at += 1;
            if self.is(0, '(') {
                self.skip_group();
            }
        }
        // A comma ends a field or a match arm. In the head of an item it ends nothing.
        let is_item = self.word(0).is_some_and(|word| KEYWORDS.contains(&word));
        while let Some(token) = self.peek(0) {
            if token.is('}') {
                return;
            }
            if token.is(';') || (token.is(',') && !is_item) {
                self.at += 1;
                return;
            }
            if token.is('{') {
                self.skip_group();
                // The tree of a `use` goes on to its semicolon.
                if !self.is(0, ';') {
                    return;
                }
            } else if token.is('(') || token.is('[') {
                self.skip_group();
            } else {
                self.at += 1;
            }
        }
    }

    /// Reads `mod name;` or `mod name { … }`, behind its `pub`.
    fn module_item(&mut self, contents: &mut Contents) {
        self.at += 1;
        let Some(name) = self.word(0).map(str::to_string) else {
            return;
        };
        self.at += 1;
        let inline = self.is(0, '{').then(|| {
            self.at += 1;
            self.module()
        });
        self.at += 1;
        contents.modules.push(Declaration { name, inline });
    }

    fn use_item(&mut self, is_public: bool, contents: &mut Contents) {
        self.at += 1;
        // `use<'a>` of an `impl Trait` captures lifetimes and imports nothing.
        if self.is(0, '<') {
            return;
        }
        self.use_tree(&[], is_public, contents);
    }

    /// Reads one branch of a `use` tree, which starts here, below the words of `prefix`.
    fn use_tree(&mut self, prefix: &[String], is_public: bool, contents: &mut Contents) {
        let mut words = prefix.to_vec();
        let line = self.line();
        if self.is_separator(0) {
            // `use ::name` starts at an external crate.
            words.push("::".to_string());
            self.at += 1;
        }
        loop {
            if self.is(0, '{') {
                self.at += 1;
                while !self.is(0, '}') && self.peek(0).is_some() {
                    self.use_tree(&words, is_public, contents);
                    if self.is(0, ',') {
                        self.at += 1;
                    }
                }
                self.at += 1;
                return;
            }
            if self.is(0, '*') {
                self.at += 1;
                contents.uses.push(Use {
                    path: Mention { words, line },
                    name: None,
                    is_glob: true,
                    is_public,
                });
                return;
            }
            let Some(word) = self.word(0).map(str::to_string) else {
                self.at += 1;
                return;
            };
            self.at += 1;
            // `use a::{self}` imports `a`.
            if word != "self" || words.is_empty() {
                words.push(word);
            }
            if !self.is_separator(0) {
                break;
            }
            self.at += 1;
        }
        let mut name = words.last().cloned();
        if self.word(0) == Some("as") {
            name = self
                .word(1)
                .filter(|&alias| alias != "_")
                .map(str::to_string);
            self.at += 2;
        }
        contents.uses.push(Use {
            path: Mention { words, line },
            name,
            is_glob: false,
            is_public,
        });
    }

    /// Reads a word outside of `use` and `mod`: the name of an item, a path, or a single name.
    fn code_word(&mut self, at_module_level: bool, contents: &mut Contents) {
        let line = self.line();
        let behind_dot = self.at > 0 && self.tokens[self.at - 1].is('.');
        let behind_separator =
            self.at > 0 && self.tokens[self.at - 1].kind == TokenKind::PathSeparator;
        let mut words = Vec::new();
        while let Some(word) = self.word(0).map(str::to_string) {
            words.push(word);
            self.at += 1;
            if !self.is_separator(0) || self.word(1).is_none() {
                break;
            }
            self.at += 1;
        }
        if at_module_level && words.len() == 1 {
            self.definition(&words[0], contents);
        }
        // What follows `::` is of an external crate (`::http`) or of a type (`<T as U>::V`).
        if behind_dot || behind_separator {
            return;
        }
        if words.len() > 1 {
            contents.names.push((words[0].clone(), line));
            contents.paths.push(Mention { words, line });
        } else if !self.is(0, ':') || self.is_separator(0) {
            // `name:` is a field or a binding.
            contents.names.push((words.swap_remove(0), line));
        }
    }

    /// Notes the name of an item, if `keyword` starts one.
    fn definition(&mut self, keyword: &str, contents: &mut Contents) {
        if keyword == "macro_rules" && self.is(0, '!') {
            if let Some(name) = self.word(1).map(str::to_string) {
                contents.items.insert(name);
            }
            return;
        }
        let is_type = ["struct", "enum", "trait", "type"].contains(&keyword);
        if !is_type && !["fn", "const", "static"].contains(&keyword) {
            return;
        }
        let line = self.line();
        let name = match self.word(0) {
            Some("fn" | "unsafe" | "async" | "_") | None => return,
            Some(name) => name.to_string(),
        };
        // The name of an item is no mention of it.
        self.at += 1;
        if is_type {
            contents.types.push((name.clone(), line));
        }
        contents.items.insert(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(source: &str) -> Vec<String> {
        parse(source)
            .uses
            .iter()
            .map(|import| {
                let path = import.path.words.join("::");
                match (&import.name, import.is_glob) {
                    (_, true) => format!("{path}::*"),
                    (Some(name), _) => format!("{path} as {name}"),
                    (None, _) => format!("{path} as _"),
                }
            })
            .collect()
    }

    fn paths(source: &str) -> Vec<String> {
        let contents = parse(source);
        contents
            .paths
            .iter()
            .map(|path| path.words.join("::"))
            .collect()
    }

    #[test]
    fn a_nested_group_is_one_import_for_each_name() {
        assert_eq!(
            uses("use crate::a::{self, b::{c, d as e}, f::*, G as _};"),
            [
                "crate::a as a",
                "crate::a::b::c as c",
                "crate::a::b::d as e",
                "crate::a::f::*",
                "crate::a::G as _",
            ]
        );
    }

    #[test]
    fn an_import_inside_of_a_function_counts() {
        assert_eq!(uses("fn f() { use super::x; x(); }"), ["super::x as x"]);
        assert_eq!(uses("fn f(x: &A) -> impl B + use<'_> { x }"), [""; 0]);
    }

    #[test]
    fn paths_in_code() {
        assert_eq!(
            paths(
                "fn f(x: super::A) -> crate::b::C<d::E> { crate::g::h::<self::I>(x.j.k(), ::l::m()) }"
            ),
            ["super::A", "crate::b::C", "d::E", "crate::g::h", "self::I"]
        );
        assert_eq!(
            paths("impl fmt::Debug for A { fn f(&self) -> super::super::B {} }").len(),
            2
        );
    }

    #[test]
    fn tests_are_not_read() {
        let source = "
            #[cfg(test)] use crate::a;
            #[cfg(test)] mod tests { use crate::b; }
            #[cfg(test)] #[path = \"c.rs\"] mod c;
            #[cfg(test)] fn d<E, F>(g: E) { crate::h() }
            #[cfg(all(test, unix))] pub(crate) mod i;
            struct J { #[cfg(test)] pub(crate) k: crate::K, l: crate::L }
            #[cfg(feature = \"m\")] mod n;
        ";
        let contents = parse(source);
        assert_eq!(uses(source), [""; 0]);
        assert_eq!(paths(source), ["crate::L"]);
        assert_eq!(contents.modules.len(), 1);
    }

    #[test]
    fn items_are_those_of_the_module_alone() {
        let contents = parse(
            "pub struct A { b: u8 } pub(crate) const fn c() { struct D; } impl A { const E: u8 = 1; }
             type F = u8; static G: u8 = 0; macro_rules! h { () => {} } enum I {} trait J {}",
        );
        let items: Vec<&str> = contents.items.iter().map(String::as_str).collect();
        assert_eq!(items, ["A", "F", "G", "I", "J", "c", "h"]);
        assert_eq!(contents.types.len(), 4);
    }

    #[test]
    fn an_inline_module_is_a_module_of_its_own() {
        let contents = parse("mod a { pub use super::b; mod c; } mod d;");
        let names: Vec<&str> = contents.modules.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["a", "d"]);
        let inline = contents.modules[0].inline.as_ref().unwrap();
        assert!(inline.uses[0].is_public);
        assert_eq!(inline.modules[0].name, "c");
    }
}
