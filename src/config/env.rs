//! The environment that the configuration is read with.

/// Looks up a variable; returns `None` when it is not set.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of the process. A value that is not UTF-8 counts as not set.
#[must_use]
pub fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
