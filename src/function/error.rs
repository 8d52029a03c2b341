//! The errors of an invocation.

use lambda_runtime::Diagnostic;

use crate::config::SiteName;
use crate::event::EventError;
use crate::setup::SetupError;
use crate::spool::lease::LookError;
use crate::verify::VerifyError;

/// An error of the function. Its type in the answer is stable, so that alarms and callers can
/// distinguish the errors.
#[derive(Debug, thiserror::Error)]
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
