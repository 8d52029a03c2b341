//! Durations, sizes, numbers and booleans.

use std::time::Duration;

use super::{Reader, Section};
use crate::config::problem::shown;
use crate::config::units::{parse_bool, parse_duration, parse_integer, parse_size};

impl Reader<'_> {
    pub(in crate::config) fn duration(
        &mut self,
        section: &Section<'_>,
        key: &str,
    ) -> Option<Duration> {
        let (text, _, at) = self.scalar(section, key)?;
        let duration = parse_duration(text);
        if duration.is_none() {
            let fix = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
                format!("write {text}s")
            } else {
                "units are y, w, d, h, m, s and ms, the largest first, without fractions".into()
            };
            self.error(
                at,
                section.path_of(key),
                format!(
                    "found {}, expected a duration such as 15s or 1m30s",
                    shown(text)
                ),
                fix,
            );
        }
        duration
    }

    pub(in crate::config) fn size(&mut self, section: &Section<'_>, key: &str) -> Option<u64> {
        let (text, _, at) = self.scalar(section, key)?;
        let size = parse_size(text);
        if size.is_none() {
            let message = format!(
                "found {}, expected a size such as 512KB, 10MiB or 1GB",
                shown(text)
            );
            self.error(
                at,
                section.path_of(key),
                message,
                "units are B, KB, MB, GB, TB, PB and EB, or KiB and so on; all are powers of 1024",
            );
        }
        size
    }

    /// A whole number from 0.
    pub(in crate::config) fn count(&mut self, section: &Section<'_>, key: &str) -> Option<u64> {
        let (text, plain, at) = self.scalar(section, key)?;
        let number = parse_integer(text).and_then(|number| u64::try_from(number).ok());
        if plain && number.is_some() {
            return number;
        }
        let fix = if number.is_some() {
            "remove the quotes"
        } else {
            ""
        };
        self.error(
            at,
            section.path_of(key),
            format!(
                "found {}, expected a whole number from 0",
                quoted(text, plain)
            ),
            fix,
        );
        None
    }

    /// Any number.
    pub(in crate::config) fn number(&mut self, section: &Section<'_>, key: &str) -> Option<f64> {
        let (text, plain, at) = self.scalar(section, key)?;
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        if plain && number.is_some() {
            return number;
        }
        let fix = if number.is_some() {
            "remove the quotes"
        } else {
            ""
        };
        self.error(
            at,
            section.path_of(key),
            format!("found {}, expected a number", quoted(text, plain)),
            fix,
        );
        None
    }

    pub(in crate::config) fn boolean(&mut self, section: &Section<'_>, key: &str) -> Option<bool> {
        let (text, plain, at) = self.scalar(section, key)?;
        let boolean = parse_bool(text);
        if plain && boolean.is_some() {
            return boolean;
        }
        let fix = if boolean.is_some() {
            "remove the quotes"
        } else {
            ""
        };
        self.error(
            at,
            section.path_of(key),
            format!("found {}, expected true or false", quoted(text, plain)),
            fix,
        );
        None
    }
}

fn quoted(text: &str, plain: bool) -> String {
    if plain {
        shown(text)
    } else {
        format!("the quoted string {}", shown(text))
    }
}
