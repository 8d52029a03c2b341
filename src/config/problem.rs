//! What is wrong (or doubtful) in a configuration: where, what, and how to mend it.

use std::fmt;

use serde::Serialize;

/// One finding: an error of a configuration that does not load, or a warning of one that does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Line in the file, from 1.
    pub line: usize,
    /// Column in the line, in characters, from 1.
    pub column: usize,
    /// Where in the configuration, as `scrape_configs[0].params.match[]`; empty for the file as a
    /// whole.
    pub path: String,
    /// What was found and what is expected. Never a secret.
    pub message: String,
    /// What to write instead; empty when the message says it all.
    pub fix: String,
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

/// All that keeps a configuration from loading, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// The file, or wherever the text came from.
    pub origin: String,
    /// At least one.
    pub problems: Vec<Problem>,
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

/// A value as messages show it: quoted, escaped, shortened.
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
            "a.yml: 2 errors in the configuration\n  line 4, a.b: found 1; write 2\n  line 7: found 1"
        );
    }

    #[test]
    fn long_values_are_shortened() {
        assert!(shown(&"é".repeat(1000)).chars().count() < 90);
        assert_eq!(shown("a\n"), "\"a\\n\"");
    }
}
