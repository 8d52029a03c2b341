//! The errors of an invocation.

use std::fmt;

use lambda_runtime::Diagnostic;
use serde_json::Value;

use crate::config::SiteName;
use crate::event::EventError;
use crate::setup::SetupError;
use crate::spool::lease::LookError;
use crate::verify::VerifyError;

/// An error of the function. Its type in the answer is stable, so that alarms and callers can
/// distinguish the errors.
#[derive(thiserror::Error)]
pub enum FunctionError {
    /// The configuration, or something that it names, is not usable.
    #[error("{0}")]
    Setup(#[from] SetupError),
    /// The event is not valid.
    #[error("{0}")]
    Event(#[from] EventError),
    /// The event names a job that the configuration does not have. The second field lists the jobs
    /// that it has.
    #[error("unknown job {0}; the configuration has: {1}")]
    UnknownJob(String, String),
    /// The spool cannot be read.
    #[error(transparent)]
    Spool(#[from] LookError),
    /// The home and the remotes could not be compared.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The tick failed. The text is its report in JSON, which names its site.
    #[error("{0}")]
    Tick(String),
    /// A bug in the forwarder. Holds the message of the panic.
    #[error("the forwarder panicked, which is a bug of it: {0}")]
    Panic(String),
    /// The error of one site among many.
    #[error("site {0}: {1}")]
    Site(SiteName, Box<FunctionError>),
}

/// The runtime logs an error by this text, so it is for people: the report of a failed tick, which
/// is in the answer as JSON, is no more than its errors here.
impl fmt::Debug for FunctionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Tick(report) = self else {
            return fmt::Display::fmt(self, f);
        };
        let report: Value = serde_json::from_str(report).unwrap_or_default();
        let errors = report["errors"].as_array().into_iter().flatten();
        let errors: Vec<_> = errors.filter_map(Value::as_str).collect();
        if errors.is_empty() {
            return f.write_str("the tick failed");
        }
        write!(f, "the tick failed: {}", errors.join("; "))
    }
}

impl FunctionError {
    /// The error with the site that it is of, unless its text names that already.
    pub(super) fn of_site(self, site: &SiteName) -> Self {
        match self {
            error @ Self::Tick(_) => error,
            error => Self::Site(site.clone(), Box::new(error)),
        }
    }

    /// The stable name of the kind of error.
    fn error_type(&self) -> &'static str {
        match self {
            Self::Setup(
                SetupError::Config(_)
                | SetupError::Source(_)
                | SetupError::S3(_)
                | SetupError::Spool(_),
            ) => "ConfigurationError",
            Self::Setup(_) => "SetupError",
            Self::Event(_) | Self::UnknownJob(..) => "EventError",
            Self::Spool(_) => "SpoolError",
            Self::Verify(_) => "VerifyFailed",
            Self::Tick(_) => "TickFailed",
            Self::Panic(_) => "Panic",
            Self::Site(_, error) => error.error_type(),
        }
    }
}

impl From<FunctionError> for Diagnostic {
    fn from(error: FunctionError) -> Self {
        Self {
            error_type: error.error_type().to_owned(),
            error_message: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_the_errors_of_a_failed_tick_and_not_its_report() {
        let tick = |report: &str| format!("{:?}", FunctionError::Tick(report.to_owned()));
        let report = r#"{"errors":["send a: refused","queue: b"],"ledger":{"lost":1}}"#;
        assert_eq!(tick(report), "the tick failed: send a: refused; queue: b");
        assert_eq!(tick("{}"), "the tick failed");
        let unknown = FunctionError::UnknownJob("a".to_owned(), "b".to_owned());
        assert_eq!(format!("{unknown:?}"), unknown.to_string());
    }
}
