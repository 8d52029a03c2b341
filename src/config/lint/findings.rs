//! Warnings, each at its place.

use crate::config::problem::Problem;
use crate::config::reader::Positions;

pub(super) struct Findings<'a> {
    pub(super) places: &'a Positions,
    pub(super) warnings: Vec<Problem>,
}

impl Findings<'_> {
    pub(super) fn add(&mut self, path: &str, message: impl Into<String>, fix: impl Into<String>) {
        let (line, column) = self.places.of(path);
        self.warnings.push(Problem {
            line,
            column,
            path: path.into(),
            message: message.into(),
            fix: fix.into(),
        });
    }
}
