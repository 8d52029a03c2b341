//! Why a target cannot be scraped.

use crate::relabel::SizeError;

/// The label that holds the interval of a target.
pub(super) const SCRAPE_INTERVAL: &str = "__scrape_interval__";

/// Why a target cannot be scraped, in Prometheus' words where it has some.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Relabelling made the labels too large.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// Relabelling removed the address.
    #[error("no address")]
    NoAddress,
    /// The address holds a slash. The text is the quoted address, or a description of it when it
    /// may hold a password.
    #[error("{0} is not a valid hostname")]
    Hostname(String),
    /// The address is no host and port.
    #[error("{address} is not a valid address: {cause}")]
    Address {
        /// The quoted address, or a description of it when it may hold a password.
        address: String,
        /// What was found, and what is expected.
        cause: String,
    },
    /// The scheme is neither `http` nor `https`.
    #[error("unsupported protocol scheme {0:?}: expected http or https")]
    Scheme(String),
    /// The interval or the time-out is empty.
    #[error("error parsing scrape {0}: empty duration string")]
    EmptyDuration(&'static str),
    /// The interval or the time-out is no duration.
    #[error("error parsing scrape {setting}: not a valid duration string: {text:?}")]
    Duration {
        /// `interval` or `timeout`.
        setting: &'static str,
        /// The text that is no duration.
        text: String,
    },
    /// The interval or the time-out is zero.
    #[error("scrape {0} cannot be 0")]
    ZeroDuration(&'static str),
    /// The time-out is longer than the interval.
    #[error("scrape timeout cannot be greater than scrape interval ({timeout:?} > {interval:?})")]
    Timeout {
        /// The time-out, as written.
        timeout: String,
        /// The interval, as written.
        interval: String,
    },
    /// The target has another interval than its job.
    #[error(
        "{SCRAPE_INTERVAL} is {0}, and targets of one job have one interval here: \
         give it a job of its own"
    )]
    OwnInterval(String),
}
