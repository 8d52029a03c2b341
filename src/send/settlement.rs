//! How a delivery that did not end well is reported: texts for people, next to the table of
//! verdicts. Nothing outside of this room looks at the HTTP status of a remote.

use super::delivery::{RejectedBatch, UndeliveredReason};
use crate::report::{Incident, IncidentKind};

impl RejectedBatch {
    /// Makes the incident for the report. `repeated` says whether a part of the batch may have been
    /// stored before a kill.
    #[must_use]
    pub fn incident(&self, remote: &str, repeated: bool) -> Incident {
        let kind = match self.status {
            429 => IncidentKind::BatchThrottled,
            _ => IncidentKind::BatchRejected,
        };
        let text = format!(
            "send: {remote} refused a batch for good{}: {}",
            likely_reason(self.status, repeated),
            self.message
        );
        Incident::new(kind, text)
            .for_remote(remote)
            .with_samples(u64::from(self.batch.samples))
    }

    /// Whether both were refused with the same answer.
    #[must_use]
    pub fn has_same_answer(&self, other: &Self) -> bool {
        (self.status, &self.message) == (other.status, &other.message)
    }
}

impl UndeliveredReason {
    /// Makes the incident for the report, for `samples` undelivered samples.
    #[must_use]
    pub fn incident(&self, remote: &str, samples: u64) -> Incident {
        let (kind, text) = match self {
            Self::Stopped(stop) => (IncidentKind::RemoteStopped, stop.failure().to_string()),
            Self::Deadline(Some(failure)) => (
                IncidentKind::OutOfTime,
                format!("send: out of time for {remote}; the last try: {failure}"),
            ),
            Self::Deadline(None) => (
                IncidentKind::OutOfTime,
                format!("send: out of time for {remote}: give the function a longer time-out"),
            ),
        };
        Incident::new(kind, text)
            .for_remote(remote)
            .with_samples(samples)
    }
}

/// The likely reason of a refusal, in brackets. A series limit and a request's size have nothing to
/// do with what was stored before, so their statuses are looked at first.
fn likely_reason(status: u16, repeated: bool) -> &'static str {
    match status {
        429 => " (a series limit, or it was throttled for 15 minutes while others passed)",
        413 => "",
        _ if repeated => " (a repeat after a kill: some of it was stored before)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_a_repeat_is_explained_by_its_status_first() {
        for repeated in [false, true] {
            assert!(likely_reason(429, repeated).contains("throttled for 15 minutes"));
            assert_eq!(likely_reason(413, repeated), "");
        }
        for status in [400, 409] {
            assert!(likely_reason(status, true).contains("a repeat after a kill"));
            assert_eq!(likely_reason(status, false), "");
        }
    }
}
