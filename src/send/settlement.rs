//! How a delivery that did not end well is reported: texts for people, next to the table of
//! verdicts. Nothing outside of this room looks at the HTTP status of a remote.

use super::delivery::{RejectedBatch, UndeliveredReason};
use super::verdict::names_series_limit;
use crate::report::{Incident, IncidentKind};

impl RejectedBatch {
    /// Makes the incident for the report. `repeated` says whether a part of the batch may have been
    /// stored before a kill.
    #[must_use]
    pub fn incident(&self, remote: &str, repeated: bool) -> Incident {
        let limit = series_limit(&self.message);
        let kind = match self.status {
            _ if limit.is_some() => IncidentKind::SeriesLimit,
            429 => IncidentKind::BatchThrottled,
            _ => IncidentKind::BatchRejected,
        };
        let reason = limit.unwrap_or_else(|| likely_reason(self.status, repeated));
        let text = format!(
            "send: {remote} refused a batch for good{reason}: {}",
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
    /// Makes the incident for the report, for `samples` undelivered samples. There is none for a
    /// batch that was asked for: it is on its way.
    #[must_use]
    pub fn incident(&self, remote: &str, samples: u64) -> Option<Incident> {
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
            Self::Recalled => return None,
        };
        let incident = Incident::new(kind, text).for_remote(remote);
        Some(incident.with_samples(samples))
    }
}

/// What to do about a limit of series, in brackets, if a refusal is about one. The samples of
/// series that the receiver has are stored; those of new ones are not until others have ended or
/// the quota of the workspace is raised (AMP-troubleshooting, AMP_quotas).
fn series_limit(message: &str) -> Option<&'static str> {
    if !names_series_limit(message) {
        None
    } else if message.contains("per-metric") {
        Some(
            " (too many series of one metric: drop some by write_relabel_configs, or ask AWS to \
             raise the quota \"Active series per metric name\")",
        )
    } else {
        Some(
            " (too many series; those that are known go on: drop some by write_relabel_configs, or \
             ask AWS to raise the quota \"Active series per workspace\")",
        )
    }
}

/// The likely reason of a refusal, in brackets. Throttling and a request's size have nothing to do
/// with what was stored before, so their statuses are looked at first.
fn likely_reason(status: u16, repeated: bool) -> &'static str {
    match status {
        429 => " (it was throttled for 15 minutes while others passed)",
        413 => "",
        _ if repeated => " (a repeat after a kill: some of it was stored before)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;

    fn refused(status: u16, message: &str) -> Incident {
        let batch = Batch {
            body: vec![0; 9].into(),
            samples: 7,
            raw_len: 9,
            min_ms: 0,
            max_ms: 0,
        };
        let message = message.to_owned();
        let refused = RejectedBatch {
            batch,
            status,
            message,
        };
        refused.incident("amp", false)
    }

    #[test]
    fn a_limit_of_series_is_no_bad_data_and_names_the_quota() {
        // As a Cortex 1.21 words them.
        let rows = [
            (
                "answered 400: user=fake: per-user series limit of 5 exceeded, contact \
                 administrator to raise it (per-ingester local limit: 5)",
                "Active series per workspace",
            ),
            (
                "answered 400: user=fake: per-metric series limit of 5 exceeded",
                "Active series per metric name",
            ),
        ];
        for (message, quota) in rows {
            for status in [400, 429] {
                let incident = refused(status, message);
                assert_eq!(incident.kind, IncidentKind::SeriesLimit, "{message}");
                assert!(incident.text.contains(quota), "{}", incident.text);
            }
        }
        let rate = "answered 429: ingestion rate limit (5) exceeded while adding 7 samples";
        assert_eq!(refused(429, rate).kind, IncidentKind::BatchThrottled);
        let bad = "answered 400: sample invalid label: \"a-b\"";
        assert_eq!(refused(400, bad).kind, IncidentKind::BatchRejected);
    }

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
