//! Warnings, each at its place.

use crate::config::problem::Problem;
use crate::config::reader::Positions;

/// The warnings so far.
pub(super) struct Findings<'a> {
    pub(super) positions: &'a Positions,
    pub(super) warnings: Vec<Problem>,
}

impl Findings<'_> {
    /// Adds a warning at the position of `path`, or of the section around it.
    pub(super) fn add(&mut self, path: &str, message: impl Into<String>, fix: impl Into<String>) {
        self.warnings.push(Problem {
            path: path.to_owned(),
            ..Problem::at(self.positions.of(path), message, fix)
        });
    }
}
