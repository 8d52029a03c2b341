//! How a delivery that did not end well is reported: texts for people, next to the table of
//! verdicts. Nothing outside of this room looks at the HTTP status of a remote.

use super::deliver::{RejectedBatch, UndeliveredReason};

impl RejectedBatch {
    /// One line for the report. `repeated` says whether a part of the batch may have been stored
    /// before a kill.
    #[must_use]
    pub fn describe(&self, remote: &str, repeated: bool) -> String {
        format!(
            "send: {remote} refused a batch for good{}: {}",
            likely_reason(self.status, repeated),
            self.message
        )
    }

    /// Whether both were refused with the same answer.
    #[must_use]
    pub fn has_same_answer(&self, other: &Self) -> bool {
        (self.status, &self.message) == (other.status, &other.message)
    }
}

impl UndeliveredReason {
    /// One line for the report.
    #[must_use]
    pub fn describe(&self, remote: &str) -> String {
        match self {
            Self::Stopped(stop) => stop.failure().to_string(),
            Self::Deadline(Some(failure)) => {
                format!("send: out of time for {remote}; the last try: {failure}")
            }
            Self::Deadline(None) => {
                format!("send: out of time for {remote}: give the function a longer time-out")
            }
        }
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
