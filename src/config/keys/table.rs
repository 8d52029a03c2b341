//! A table of keys, and its rows.

use crate::config::units::parse_bool;
use crate::config::yaml::{Node, NodeValue};

/// The keys of a section.
pub(in crate::config) struct Table {
    /// The section's name in messages.
    pub(in crate::config) name: &'static str,
    /// Keys that the section takes, in groups: sections share some of them.
    pub(in crate::config) supported: &'static [&'static [&'static str]],
    /// Keys that only Prometheus takes.
    pub(in crate::config) unsupported: &'static [UnsupportedKey],
}

/// A key that Prometheus has and we do not take.
pub(in crate::config) struct UnsupportedKey {
    /// The key. A `*` at its start matches any text.
    pub(in crate::config) key: &'static str,
    /// Reason, which messages show after "not supported: ".
    pub(in crate::config) why: &'static str,
    /// Advice on what to do instead.
    pub(in crate::config) instead: &'static str,
    /// Prometheus' default, which asks for nothing and is allowed. Prometheus writes some defaults
    /// out on its own page /config.
    pub(in crate::config) default: Option<&'static str>,
}

impl UnsupportedKey {
    /// Whether a value is the key's default. A key without a value asks for nothing, unless
    /// Prometheus wants a text: it takes the empty one, and refuses it.
    pub(in crate::config) fn is_default(&self, value: &Node) -> bool {
        if value.is_null() {
            return self
                .default
                .is_none_or(|default| parse_bool(default).is_some());
        }
        let (Some(default), NodeValue::Scalar { text, plain }) = (self.default, &value.value)
        else {
            return false;
        };
        match parse_bool(default) {
            Some(default) => *plain && parse_bool(text) == Some(default),
            None => text == default,
        }
    }
}

pub(super) const fn never(
    key: &'static str,
    why: &'static str,
    instead: &'static str,
) -> UnsupportedKey {
    UnsupportedKey {
        key,
        why,
        instead,
        default: None,
    }
}

/// A key that may only have its default.
pub(super) const fn only(
    key: &'static str,
    default: &'static str,
    why: &'static str,
) -> UnsupportedKey {
    UnsupportedKey {
        key,
        why,
        instead: REMOVE,
        default: Some(default),
    }
}

/// A switch, which is off by default.
pub(super) const fn switch(key: &'static str, why: &'static str) -> UnsupportedKey {
    only(key, "false", why)
}

pub(in crate::config) const REMOVE: &str = "remove the key";

impl Table {
    /// All keys that the section takes, in the order in which messages list them.
    pub(in crate::config) fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.supported.iter().copied().flatten().copied()
    }

    /// Whether the section takes the key.
    pub(in crate::config) fn takes(&self, key: &str) -> bool {
        self.keys().any(|known| known == key)
    }

    /// The row of a key that Prometheus has and we do not take.
    pub(in crate::config) fn unsupported(&self, key: &str) -> Option<&'static UnsupportedKey> {
        self.unsupported
            .iter()
            .find(|row| match row.key.strip_prefix('*') {
                Some(suffix) => key.ends_with(suffix),
                None => row.key == key,
            })
    }
}
