//! The spans that log lines are written within: which site, which tick, which
//! job, which remote.
//!
//! A line says only what happened; its spans say where. In Lambda's JSON they are the list `spans`,
//! elsewhere they stand before the text. The spans have the level ERROR, so that they are there
//! whatever level of lines was asked for.

use tracing::Span;

/// All work of one tick under its lease. `epoch` is the lease's; it is 0 without a spool.
#[must_use]
pub fn tick(epoch: u64) -> Span {
    tracing::error_span!("tick", epoch)
}

/// The scrapes of one job in a tick.
#[must_use]
pub fn job(name: &str) -> Span {
    tracing::error_span!("job", job = name)
}

/// Sending and spooling for one remote in a tick. `id` is the remote's name, or what takes its
/// place.
#[must_use]
pub fn remote(id: &str) -> Span {
    tracing::error_span!("remote", remote = id)
}

/// All work of one invocation for a site, when the function serves many.
#[must_use]
pub fn site(name: &str) -> Span {
    tracing::error_span!("site", site = name)
}
