//! What a check finds, and the limits that its probes share.

use std::time::Duration;

use serde::Serialize;

/// Time limit of one probe.
pub(super) const PROBE: Duration = Duration::from_secs(10);

/// Largest difference between a home's clock and ours that is not reported, milliseconds.
pub(super) const CLOCK_TOLERANCE_MS: i64 = 5_000;

/// One line of a check's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The thing that was probed: `home 192.0.2.10:30090 (federate)`.
    pub subject: String,
    /// Whether the forwarder can work with it.
    pub ok: bool,
    /// Whether it works, but probably not as intended.
    pub warning: bool,
    /// The observation, and what to do about it.
    pub message: String,
}

impl Finding {
    pub(super) fn good(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            ok: true,
            warning: false,
            message: message.into(),
        }
    }

    pub(super) fn bad(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            ok: false,
            warning: false,
            message: message.into(),
        }
    }

    pub(super) fn doubtful(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            ok: true,
            warning: true,
            message: message.into(),
        }
    }
}
