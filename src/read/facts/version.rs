//! The version of a home.

use std::fmt;

/// A version, as `2.53.1`. What follows the three numbers (`-rc.0`) is kept for people only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeVersion {
    numbers: [u32; 3],
    text: String,
}

/// Characters of a version that are kept at most.
const MAX_CHARS: usize = 40;

impl HomeVersion {
    /// Reads a version. `None` when it does not start with three numbers.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-+_".contains(c);
        if text.len() > MAX_CHARS || !text.chars().all(is_plain) {
            return None;
        }
        let release = text.split(['-', '+']).next()?;
        let mut parts = release.splitn(3, '.').map(|part| part.parse().ok());
        let mut number = || parts.next().flatten();
        Some(Self {
            numbers: [number()?, number()?, number()?],
            text: text.to_owned(),
        })
    }

    /// Whether it is `from` or later, and earlier than `before`.
    pub(super) fn is_within(&self, from: [u32; 3], before: [u32; 3]) -> bool {
        (from..before).contains(&self.numbers)
    }
}

impl fmt::Display for HomeVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_three_numbers_and_a_rest() {
        for (text, numbers) in [
            ("2.53.1", Some([2, 53, 1])),
            ("v3.5.0-rc.1", Some([3, 5, 0])),
            ("3.12.0+dedupe", Some([3, 12, 0])),
            ("3.12", None),
            ("", None),
            ("3.x.1", None),
            ("3.1.1 <b>", None),
            ("3.1.4294967296", None),
        ] {
            let version = HomeVersion::parse(text);
            assert_eq!(version.map(|version| version.numbers), numbers, "{text}");
        }
        assert_eq!(HomeVersion::parse("v3.5.0").unwrap().to_string(), "3.5.0");
    }

    #[test]
    fn a_range_has_its_first_version_and_not_its_last() {
        let version = HomeVersion::parse("3.12.5").unwrap();
        assert!(version.is_within([3, 12, 5], [3, 13, 0]));
        assert!(!version.is_within([3, 12, 0], [3, 12, 5]));
        assert!(version.is_within([0, 0, 0], [10, 0, 0]));
    }
}
