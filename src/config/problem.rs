//! Problems of a configuration: where they are, what they are, and how to fix them.

use std::fmt;

use serde::Serialize;

/// Line and column in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    /// Line, from 1.
    pub(super) line: usize,
    /// Column in the line, in characters, from 1.
    pub(super) column: usize,
}

impl Position {
    /// The start of the file.
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

/// One finding: an error of a configuration that does not load, or a warning about one that does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Line in the file, from 1.
    pub line: usize,
    /// Column in the line, in characters, from 1.
    pub column: usize,
    /// Path in the configuration, as `scrape_configs[0].params.match[]`; empty for the file as a
    /// whole.
    pub path: String,
    /// Sentence that says what was found and what is expected. It never shows a secret.
    pub message: String,
    /// Advice on what to write instead; empty when the message says it all.
    pub fix: String,
}

impl Problem {
    /// Makes a problem of the file as a whole, or one whose path is set later.
    pub(super) fn at(
        position: Position,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            line: position.line,
            column: position.column,
            path: String::new(),
            message: message.into(),
            fix: fix.into(),
        }
    }

    /// The problem's line and column.
    pub(super) fn position(&self) -> Position {
        Position {
            line: self.line,
            column: self.column,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if !self.path.is_empty() {
            write!(f, ", {}", self.path)?;
        }
        write!(f, ": {}", self.message)?;
        if !self.fix.is_empty() {
            write!(f, "; {}", self.fix)?;
        }
        Ok(())
    }
}

/// All errors that keep a configuration from loading, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// The file or the S3 object that the text came from.
    pub origin: String,
    /// The errors, at least one.
    pub problems: Vec<Problem>,
}

impl ConfigErrors {
    /// Sorts the problems into the order of the file.
    pub(super) fn new(origin: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(Problem::position);
        Self {
            origin: origin.to_owned(),
            problems,
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.problems.len() == 1 {
            "error"
        } else {
            "errors"
        };
        write!(
            f,
            "{}: {} {plural} in the configuration",
            self.origin,
            self.problems.len()
        )?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

/// What an import writes where a person must fill something in.
pub(super) const PLACEHOLDER: &str = "REPLACE-ME";

/// A value as messages show it: quoted, escaped, and cut after 80 characters.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 80;
    if text.chars().count() <= MOST {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(MOST).collect();
    format!("{:?}", format!("{start}…"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_are_listed_with_line_path_and_fix() {
        let problem = |line, path: &str, fix: &str| Problem {
            line,
            column: 3,
            path: path.into(),
            message: "found 1".into(),
            fix: fix.into(),
        };
        let errors = ConfigErrors {
            origin: "a.yml".into(),
            problems: vec![problem(4, "a.b", "write 2"), problem(7, "", "")],
        };
        assert_eq!(
            errors.to_string(),
            "a.yml: 2 errors in the configuration\n  line 4, a.b: found 1; write 2\n  line 7: \
             found 1"
        );
    }

    #[test]
    fn long_values_are_shortened() {
        assert!(shown(&"é".repeat(1000)).chars().count() < 90);
        assert_eq!(shown("a\n"), "\"a\\n\"");
    }
}
