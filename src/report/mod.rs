//! The results of a tick: its report, its metrics and its logs.

mod counted;
pub mod emf;
mod incident;
mod ledger;
pub mod logs;
mod own;
mod plain;
pub mod spans;

use serde::Serialize;

pub use counted::counted;
pub use incident::{Incident, IncidentKind, error_texts, merge_incidents};
pub use ledger::{Fate, Ledger};
pub use own::{ExpositionText, OWN_PREFIX, OwnCounters, OwnSeries, RemoteCounters, TickCounts};
pub use plain::{is_hidden, plain, plain_json, plain_line};

/// At most this many scrapes and errors are listed in a report.
pub(crate) const REPORTED: usize = 200;

/// How a tick ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Everything was scraped and delivered.
    Ok,
    /// Some scrape failed, some samples were refused, or some are still owed; nothing was lost.
    Partial,
    /// The spool was unavailable, and the tick went on without it.
    Degraded,
    /// Another tick held the lease, and this one did nothing.
    Busy,
    /// No scrape succeeded, a remote refuses us, or samples were lost.
    Failed,
}

/// The end of the tick before this one, when that tick could not report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PreviousTick {
    /// The process was killed before it released its lease. The backlog was therefore counted from
    /// the segments.
    Killed,
}

/// The report of a tick, which is the answer of the function.
///
/// ```
/// use amp_forwarder::report::{Fate, Ledger, Outcome, Report};
///
/// /// Says whether a tick needs no attention: it delivered everything and its counts add up.
/// fn is_healthy(report: &Report) -> bool {
///     report.outcome == Outcome::Ok && report.ledger.balances()
/// }
///
/// let mut ledger = Ledger { scraped: 7, ..Ledger::default() };
/// ledger.record(Fate::Written, 7);
/// let report = Report {
///     outcome: Outcome::Ok,
///     dry_run: false,
///     previous: None,
///     scrapes: Vec::new(),
///     reads: Vec::new(),
///     given_up_ms: 0,
///     failing: 0,
///     ledger,
///     remotes: Vec::new(),
///     spool: Default::default(),
///     memory: Default::default(),
///     lag_ms: None,
///     duration_ms: 40,
///     errors: Vec::new(),
///     incidents: Vec::new(),
/// };
/// assert!(is_healthy(&report));
/// assert_eq!(serde_json::json!(report)["outcome"], "ok");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Verdict on the whole tick.
    pub outcome: Outcome,
    /// Whether samples were only counted, not sent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// End of the tick before this one, if that tick was killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousTick>,
    /// Scrapes of the tick, at most 200.
    pub scrapes: Vec<ScrapeReport>,
    /// Reads from the homes' TSDBs, one entry for each target that was read; at most 200.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<ReadReport>,
    /// Time whose samples stay at home only, milliseconds: they are too old to be sent, or the gap
    /// was given up.
    #[serde(skip_serializing_if = "is_zero")]
    pub given_up_ms: u64,
    /// Number of targets whose last scrape or read failed, be it in this tick or in an earlier one:
    /// a tick between two slots of a job scrapes nothing.
    pub failing: u64,
    /// Sum of the ledgers of all remotes.
    pub ledger: Ledger,
    /// One report for each remote, in the order of the configuration.
    pub remotes: Vec<RemoteReport>,
    /// Backlog that the tick left in the spool.
    pub spool: SpoolReport,
    /// Memory that the forwarder used.
    pub memory: MemoryReport,
    /// Age in milliseconds of the newest sample that was delivered, for the remote that lags most.
    /// It is absent when nothing was delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<i64>,
    /// Duration of the whole tick, milliseconds.
    pub duration_ms: u64,
    /// Texts of the incidents, each once with the number of its occurrences; at most 200.
    pub errors: Vec<String>,
    /// The incidents of `errors` as data, with their kind, job and remote; at most 200.
    pub incidents: Vec<Incident>,
}

/// The result of one scrape.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScrapeReport {
    /// `job_name` of the scrape job.
    pub job: String,
    /// Label `instance` of the target.
    pub instance: String,
    /// Start of the scrape, milliseconds since 1970.
    pub start_ms: i64,
    /// Duration from the request to the end of the exposition, milliseconds.
    pub duration_ms: u64,
    /// Number of samples that the target exposed.
    pub samples: u64,
    /// Number of series that were not seen before.
    pub series_added: u64,
    /// Uncompressed size of the exposition, bytes.
    pub bytes: u64,
    /// Number of samples that were more than ten minutes ahead of our clock. None of them is sent.
    pub too_far_ahead: u64,
    /// Number of samples that were older than one of their series that was taken before.
    pub out_of_order: u64,
    /// Number of samples whose series and timestamp the exposition has twice.
    pub duplicates: u64,
    /// Newest of the timestamps that the target itself gave to samples that were taken,
    /// milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_ms: Option<i64>,
    /// Whether the scrape succeeded.
    pub up: bool,
}

impl ScrapeReport {
    /// Whether it brought nothing of what was asked for, although it succeeded: every timestamp
    /// was too far ahead.
    #[must_use]
    pub fn is_all_ahead(&self) -> bool {
        self.up && self.too_far_ahead > 0 && self.newest_ms.is_none()
    }
}

/// The reads of one target in a tick.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReadReport {
    /// `job_name` of the scrape job.
    pub job: String,
    /// Label `instance` of the target.
    pub instance: String,
    /// Number of windows that were read.
    pub windows: u64,
    /// Number of windows that could not be read.
    pub failed: u64,
    /// Number of samples that were new.
    pub samples: u64,
    /// Of these, those that became visible at home after a later window was read.
    pub late: u64,
    /// Largest time by which one of them was late, milliseconds.
    pub worst_late_ms: u64,
    /// Size of the answers on the wire, bytes.
    pub bytes: u64,
    /// Time that reading took, milliseconds.
    pub duration_ms: u64,
    /// Time up to which every sample is delivered to every remote or is in the spool, milliseconds
    /// since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safe_ms: Option<i64>,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The result of sending to one remote.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RemoteReport {
    /// `name` of the `remote_write` entry, or else host and workspace of its URL.
    pub remote: String,
    /// Ledger of this remote alone.
    pub ledger: Ledger,
    /// Number of batches that the receiver answered.
    pub batches: u64,
    /// Number of requests that were made, repeated ones included.
    pub requests: u64,
    /// Compressed size of those batches, bytes.
    pub bytes: u64,
    /// Time that sending took, milliseconds, without the waits for scrapes.
    pub send_ms: u64,
}

/// The memory that `forwarder.memory_limit` bounds: caches, scrapes in progress, queues and loaded
/// segments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MemoryReport {
    /// Largest size in the tick, bytes. A scrape that would exceed the limit is given up.
    pub peak_bytes: u64,
    /// Size that is kept for the next tick, bytes. Most of it is the series cache.
    pub kept_bytes: u64,
    /// Effective `memory_limit`, bytes.
    pub limit_bytes: u64,
}

/// The backlog in the spool at the end of a tick, with that of remotes that the configuration does
/// not name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SpoolReport {
    /// Number of segments.
    pub segments: u64,
    /// Number of samples in the segments.
    pub samples: u64,
    /// Size of the segments, bytes.
    pub bytes: u64,
    /// Oldest timestamp in the segments, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<i64>,
    /// Backlogs of remotes that the configuration does not name, at most 200. Nobody sends them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub orphans: Vec<OrphanReport>,
}

/// The backlog of a remote that the configuration does not name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct OrphanReport {
    /// Folder of the remote in the spool.
    pub remote: String,
    /// Number of segments.
    pub segments: u64,
    /// Number of samples in the segments.
    pub samples: u64,
    /// Size of the segments, bytes.
    pub bytes: u64,
    /// Oldest timestamp in the segments, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<i64>,
}
