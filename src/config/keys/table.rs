//! A table of keys, and its rows.

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
    /// Whether the key is a switch: `false`, the default, asks for nothing and is allowed.
    pub(in crate::config) switch: bool,
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
        switch: false,
    }
}

pub(super) const fn switch(key: &'static str, why: &'static str) -> UnsupportedKey {
    UnsupportedKey {
        key,
        why,
        instead: REMOVE,
        switch: true,
    }
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
