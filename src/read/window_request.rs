//! One window as it is asked for, and what came of it.

use std::time::Duration;

use super::error::{ReadError, ReadErrorKind};
use super::name_part::NamePart;
use super::pass::{MAX_REPEATED, PassError};
use super::planner::AnswerSize;
use super::request::TimeRange;
use super::shape::WindowShape;
use super::source::ReadSource;
use crate::batch::WindowStart;
use crate::config::ScrapeConfig;
use crate::home::Target;
use crate::intake::{RemoteCommit, Tally};
use crate::net::redacted;

/// One window to read.
#[derive(Debug, Clone, Copy)]
pub struct WindowRequest<'a> {
    /// The job, whose rules apply to the samples as to those of a scrape.
    pub job: &'a ScrapeConfig,
    /// The target whose federation is read instead.
    pub target: &'a Target,
    /// Address and selectors.
    pub source: &'a ReadSource,
    /// Which part of the names is asked for.
    pub part: NamePart,
    /// What is asked for, in the home's time. Both ends are included.
    pub range: TimeRange,
    /// Samples younger than this wait for another window.
    pub settle: Duration,
    /// Longest time from connecting to the end of the answer.
    pub timeout: Duration,
    /// What is taken.
    pub shape: WindowShape,
    /// Samples of the answer at most.
    pub max_samples: u64,
    /// For each remote, in the order of the writers: up to when it has everything.
    pub starts: &'a [WindowStart],
    /// Whether the series that report on a scrape (`up`, `scrape_*`) are written once the window
    /// was read. For one that was not there is
    /// [`report_down`](super::WindowReader::report_down).
    pub reports: bool,
}

/// The outcome of one window. What failed commits no samples.
#[derive(Debug)]
pub struct WindowOutcome {
    /// Time up to which the answer is complete, milliseconds since 1970: never above the end of
    /// the range, and on the grid unless it is that end. It may be below the start: then the
    /// window is empty, and moves no watermark. `None` when the window failed.
    pub end_ms: Option<i64>,
    /// What `scrape_samples_scraped` and its like report.
    pub tally: Tally,
    /// What each remote gets.
    pub commits: Vec<RemoteCommit>,
    /// Bytes of the body on the wire.
    pub bytes: u64,
    /// What the answer held, for the planner.
    pub size: AnswerSize,
    /// Time of the newest sample that it held in the range and not above `end_ms`, milliseconds
    /// since 1970: the home's clock is not behind it.
    pub newest_ms: Option<i64>,
    /// Series that were passed over: they have no name, or one that is not UTF-8.
    pub skipped: u64,
    /// Time from the request to the end of the answer.
    pub duration: Duration,
    /// How far the home's clock, as its `Date` shows it, is ahead of ours. It is good to a second.
    pub ahead_ms: Option<i64>,
    /// Why the window failed, if it did.
    pub error: Option<ReadError>,
}

impl WindowRequest<'_> {
    /// Scheme, host, port and path of remote read.
    pub(super) fn address(&self) -> String {
        redacted(&self.source.url)
    }

    /// As `scrape/scrape.go` `refreshTargetLimitErr`.
    pub(super) fn check_target_limit(&self) -> Result<(), ReadError> {
        let (most, siblings) = (self.job.limits.targets, self.target.siblings);
        if most == 0 || siblings as u64 <= most {
            return Ok(());
        }
        Err(ReadError::Limit {
            address: self.address(),
            limit: format!("target_limit of {most} ({siblings} targets)"),
            hint: ": no target of the job is read",
            kind: ReadErrorKind::Refused,
        })
    }

    /// The error of a window that had other label sets twice in each pass.
    pub(super) fn repeated_error(&self) -> ReadError {
        ReadError::Limit {
            address: self.address(),
            limit: "the number of passes for label sets that come twice".to_owned(),
            hint: ": the home's external labels make different series the same",
            kind: ReadErrorKind::Unavailable,
        }
    }

    /// What a pass over the answer has ended with.
    pub(super) fn pass_error(&self, error: PassError) -> ReadError {
        let address = self.address();
        let limit = |address, limit, hint| ReadError::Limit {
            address,
            limit,
            hint,
            kind: ReadErrorKind::Smaller,
        };
        match error {
            PassError::Malformed(cause) => ReadError::Malformed { address, cause },
            PassError::Refusal(cause) => ReadError::Series { address, cause },
            PassError::TooManySamples => {
                let most = self.max_samples;
                limit(address, format!("the {most} samples of a window"), "")
            }
            PassError::TooManyRepeated => limit(
                address,
                format!("{MAX_REPEATED} label sets that come twice"),
                ": the home's external labels make different series the same",
            ),
        }
    }
}
