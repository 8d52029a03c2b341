//! What a tick tells: its report, metrics and logs.

pub mod emf;
mod incident;
mod ledger;
pub mod logs;

use serde::Serialize;

pub use incident::{Incident, IncidentKind, error_texts, merge_incidents};
pub use ledger::{Fate, Ledger};

/// How a tick ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Everything was scraped and delivered.
    Ok,
    /// Some scrape failed, some samples were refused, or some are still owed; nothing was lost.
    Partial,
    /// Without its spool.
    Degraded,
    /// Another tick was at work.
    Busy,
    /// No scrape succeeded, a remote refuses us, or samples were lost.
    Failed,
}

/// How a tick may end that cannot say so itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Previous {
    /// It never released its lease: what is owed was counted from the segments.
    Killed,
}

/// The answer of the function.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The verdict over all.
    pub outcome: Outcome,
    /// Whether samples were only counted, not sent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// How the tick before this one ended, if not as it should.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
    /// Each scrape.
    pub scrapes: Vec<ScrapeReport>,
    /// Of all remotes together.
    pub ledger: Ledger,
    /// Each remote.
    pub remotes: Vec<RemoteReport>,
    /// What is owed.
    pub spool: SpoolReport,
    /// What was held.
    pub memory: MemoryReport,
    /// Age of the newest sample that was delivered, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<i64>,
    /// Of the whole tick.
    pub duration_ms: u64,
    /// Each different one, with how often it was met.
    pub errors: Vec<String>,
    /// What went wrong, as data: the same as `errors`, by kind, job and remote.
    pub incidents: Vec<Incident>,
}

/// One scrape.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScrapeReport {
    /// `job_name`.
    pub job: String,
    /// Label `instance`.
    pub instance: String,
    /// When it started.
    pub start_ms: i64,
    /// From the request to the end of the exposition.
    pub duration_ms: u64,
    /// Samples exposed.
    pub samples: u64,
    /// Series not seen before.
    pub series_added: u64,
    /// Uncompressed bytes.
    pub bytes: u64,
    /// Whether it succeeded.
    pub up: bool,
}

/// One remote.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RemoteReport {
    /// Its `name`, or a hash of its URL.
    pub remote: String,
    /// Its own ledger.
    pub ledger: Ledger,
    /// Batches that were answered.
    pub batches: u64,
    /// Requests made for them.
    pub requests: u64,
    /// Compressed bytes of those batches.
    pub bytes: u64,
    /// From the first batch posted to the last answer, waits for scrapes aside.
    pub send_ms: u64,
}

/// What `forwarder.memory_limit` bounds: caches, scrapes in progress, queues, segments that are
/// loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MemoryReport {
    /// The most of it at once. A scrape that leads beyond the limit is given up.
    pub peak_bytes: u64,
    /// What is left for the next tick: mostly what is remembered of series.
    pub kept_bytes: u64,
    /// `memory_limit`.
    pub limit_bytes: u64,
}

/// The backlog.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SpoolReport {
    /// Objects.
    pub segments: u64,
    /// Samples in them.
    pub samples: u64,
    /// Bytes.
    pub bytes: u64,
    /// Oldest timestamp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<i64>,
}
