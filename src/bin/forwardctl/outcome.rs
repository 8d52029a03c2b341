//! How a command ends.

use std::time::Duration;

use amp_forwarder::config::parse_duration;
use amp_forwarder::setup::SetupError;
use amp_forwarder::spool::lease::LookError;
use amp_forwarder::spool::store::StoreError;

/// How a command ended after it printed its result.
pub(crate) enum CommandOutcome {
    /// Exit status 0.
    Success,
    /// Exit status 1: the result is bad, and the command has reported why.
    Failure,
}

/// The message of a command that could not do its work. The variant decides the exit status.
pub(crate) enum CommandError {
    /// Exit status 1: the work failed.
    Failed(String),
    /// Exit status 2: the arguments or the configuration are wrong.
    Usage(String),
    /// Exit status 1 without a message: nobody reads the output any more, as after `| head`.
    OutputClosed,
}

/// An argument that should be a duration and is not. The text says how to write one.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct DurationArgumentError(pub(crate) &'static str);

/// Reads a duration as Prometheus writes it.
pub(crate) fn duration(text: &str) -> Result<Duration, DurationArgumentError> {
    parse_duration(text).ok_or(DurationArgumentError(
        "not a duration: write 90s, 5m or 1h30m",
    ))
}

impl From<SetupError> for CommandError {
    fn from(error: SetupError) -> Self {
        match error {
            SetupError::Config(_)
            | SetupError::Source(_)
            | SetupError::Target(_)
            | SetupError::Spool(_) => Self::Usage(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<LookError> for CommandError {
    fn from(error: LookError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// An error of standard output. Errors of files are converted where the path is known.
impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        Self::Failed(format!("cannot write to standard output: {error}"))
    }
}
