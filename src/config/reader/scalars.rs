//! Durations, sizes, numbers and booleans.

use std::time::Duration;

use super::{Reader, Scalar, Section};
use crate::config::problem::shown;
use crate::config::units::{parse_bool, parse_duration, parse_integer, parse_size};

impl Reader<'_> {
    pub(in crate::config) fn duration(
        &mut self,
        section: &Section<'_>,
        key: &str,
    ) -> Option<Duration> {
        let Scalar { text, position, .. } = self.scalar(section, key)?;
        let duration = parse_duration(text);
        if duration.is_none() {
            let fix = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
                format!("write {text}s")
            } else {
                "units are y, w, d, h, m, s and ms, the largest first, without fractions".into()
            };
            let text = shown(text);
            let message = format!("found {text}, expected a duration such as 15s or 1m30s");
            self.error(position, section.path_of(key), message, fix);
        }
        duration
    }

    /// Reads a size in bytes.
    pub(in crate::config) fn size(&mut self, section: &Section<'_>, key: &str) -> Option<u64> {
        let Scalar { text, position, .. } = self.scalar(section, key)?;
        let size = parse_size(text);
        if size.is_none() {
            let text = shown(text);
            let message = format!("found {text}, expected a size such as 512KB, 10MiB or 1GB");
            self.error(
                position,
                section.path_of(key),
                message,
                "units are B, KB, MB, GB, TB, PB and EB, or KiB and so on; \
                 all are powers of 1024",
            );
        }
        size
    }

    /// Reads a whole number from 0.
    pub(in crate::config) fn count(&mut self, section: &Section<'_>, key: &str) -> Option<u64> {
        let parse = |text: &str| parse_integer(text).and_then(|number| u64::try_from(number).ok());
        self.unquoted(section, key, parse, "a whole number from 0")
    }

    /// Reads a whole number from 1. `fix` is the advice for a 0.
    pub(in crate::config) fn positive_count(
        &mut self,
        section: &Section<'_>,
        key: &str,
        fix: &str,
    ) -> Option<usize> {
        let count = self.count(section, key)?;
        let positive = usize::try_from(count).ok().filter(|count| *count > 0);
        if positive.is_none() {
            let message = format!("found {count}, expected a number from 1");
            self.error_at(&section.path_of(key), message, fix);
        }
        positive
    }

    /// Reads any finite number.
    pub(in crate::config) fn number(&mut self, section: &Section<'_>, key: &str) -> Option<f64> {
        let parse = |text: &str| text.parse().ok().filter(|number: &f64| number.is_finite());
        self.unquoted(section, key, parse, "a number")
    }

    pub(in crate::config) fn boolean(&mut self, section: &Section<'_>, key: &str) -> Option<bool> {
        self.unquoted(section, key, parse_bool, "true or false")
    }

    /// Reads a value that must be written without quotes: in YAML, `"5"` is a string.
    fn unquoted<T>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        parse: impl Fn(&str) -> Option<T>,
        expected: &str,
    ) -> Option<T> {
        let scalar = self.scalar(section, key)?;
        let value = parse(scalar.text);
        if scalar.plain && value.is_some() {
            return value;
        }
        let fix = if value.is_some() {
            "remove the quotes"
        } else {
            ""
        };
        let found = if scalar.plain {
            shown(scalar.text)
        } else {
            format!("the quoted string {}", shown(scalar.text))
        };
        let message = format!("found {found}, expected {expected}");
        self.error(scalar.position, section.path_of(key), message, fix);
        None
    }
}
