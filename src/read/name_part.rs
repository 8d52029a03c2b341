//! A part of all metric names, so that what is too much for one request is asked for in several.

use crate::selector::{MatchOp, Matcher};
use crate::series::labels::NAME;

/// Parts that a window is read in at most.
pub(super) const MAX_PARTS: u32 = 64;

/// One of several parts of all names. The parts are disjoint, and together they hold every name.
///
/// A name belongs to a part by its length in characters: lengths spread evenly, whatever the
/// alphabet and the habits of a home are, and an expression can tell them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamePart {
    /// Which part, from 0.
    index: u32,
    /// How many there are.
    of: u32,
}

impl NamePart {
    /// All names.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// The parts of a window, in their order. `of` is at least 1 and at most 64.
    pub fn all(of: u32) -> impl Iterator<Item = Self> {
        let of = of.clamp(1, MAX_PARTS);
        (0..of).map(move |index| Self { index, of })
    }

    /// The matcher that selects the part. Everything needs none.
    #[must_use]
    pub fn matcher(self) -> Option<Matcher> {
        let Self { index, of } = self;
        (of > 1).then(|| Matcher {
            label: NAME.to_owned(),
            op: MatchOp::Regex,
            value: format!("(?s:(?:.{{{of}}})*.{{{index}}})"),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_is_in_exactly_one_part(name in "[a-z_:\u{e9}\n]{0,80}", of in 2..=MAX_PARTS) {
            let holds = |part: NamePart| {
                // Prometheus anchors expressions at both ends.
                let anchored = format!("^(?:{})$", part.matcher().unwrap().value);
                regex::Regex::new(&anchored).unwrap().is_match(&name)
            };
            prop_assert_eq!(NamePart::all(of).filter(|&part| holds(part)).count(), 1);
        }
    }

    #[test]
    fn everything_needs_no_matcher() {
        assert_eq!(NamePart::WHOLE.matcher(), None);
        assert_eq!(NamePart::all(0).collect::<Vec<_>>(), [NamePart::WHOLE]);
        assert_eq!(NamePart::all(1_000).count(), MAX_PARTS as usize);
    }
}
