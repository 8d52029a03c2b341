//! What went wrong in a tick, as data: alarms and tests match on the kind, people read the text.

use std::borrow::Cow;

use serde::Serialize;

use super::plain::plain_line;

/// The kinds of incidents. Their names in JSON are stable; the texts are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentKind {
    /// Another tick holds the lease: nothing was done.
    LeaseHeld,
    /// Taking the lease took longer than the tick may: nothing was done.
    LeaseLate,
    /// The lease could not be released: the next tick waits for its end.
    LeaseNotReleased,
    /// The store is down and the tick went on without it.
    WithoutSpool,
    /// A call to the store failed.
    SpoolUnavailable,
    /// The oldest segment was written by a newer version: nothing may pass it.
    RemoteBlocked,
    /// The oldest segments were deleted because the backlog has come to `max_bytes`.
    BacklogEvicted,
    /// Segments are in the backlog whose samples could not be counted yet.
    BacklogUncounted,
    /// The backlog belongs to a remote that the configuration does not name.
    BacklogOrphaned,
    /// Samples are in the spool, and the next tick sends them first.
    BacklogLeft,
    /// A segment is gone or cannot be read.
    SegmentLost,
    /// The spool's place holds an object that the forwarder did not write.
    ForeignObject,
    /// A scrape failed.
    ScrapeFailed,
    /// A scrape was given up because it would exceed `memory_limit`.
    MemoryLimit,
    /// Samples of the home are too far ahead of our clock. They are not sent.
    SamplesAhead,
    /// Sending ended before all samples were delivered.
    OutOfTime,
    /// The remote denies all requests, or no receiver is at its URL.
    RemoteStopped,
    /// The remote refused a batch for good.
    BatchRejected,
    /// The remote refused a batch for good with 429: it was throttled for long.
    BatchThrottled,
    /// The remote has reached its limit of active series: it refuses samples of new ones.
    SeriesLimit,
    /// Samples are older than `sample_age_limit`.
    SamplesExpired,
    /// Batches that were refused or too old could not be kept.
    BatchNotKept,
    /// Samples are lost because they could neither be sent nor be put into the spool.
    SamplesLost,
    /// Samples could neither be sent nor be put into the spool. The home keeps them, and they are
    /// read again.
    SamplesReturned,
    /// The home has no remote read: what a tick misses is gone.
    ReadUnsupported,
    /// A read from the home's TSDB failed. What it was to bring is read later.
    ReadFailed,
    /// A gap was given up: reads made no progress while scrapes worked.
    GapGivenUp,
    /// A part of a gap is older than `sample_age_limit`: it stays at home only.
    GapTooOld,
    /// Types and help texts could not be read or sent.
    MetadataFailed,
}

/// One thing that went wrong in a tick.
///
/// ```
/// use amp_forwarder::report::{Incident, IncidentKind};
///
/// let lost = Incident::new(IncidentKind::SamplesLost, "queue: 7 samples are lost".to_owned())
///     .for_remote("amp")
///     .with_samples(7);
/// assert_eq!(serde_json::json!(lost)["kind"], "samples_lost");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Incident {
    /// Class of the incident.
    pub kind: IncidentKind,
    /// `job_name` of the scrape job that it concerns, if it concerns one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Name of the remote that it concerns, if it concerns one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// Number of samples that it concerns, where that is known; the sum over all `times`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<u64>,
    /// How often it was met in the tick.
    pub times: u64,
    /// Description for people: phase, address, cause and next step.
    pub text: String,
}

impl Incident {
    /// Makes an incident that was met once and concerns the whole tick. Its text is one line
    /// without characters that are not shown as themselves, whoever worded a part of it.
    #[must_use]
    pub fn new(kind: IncidentKind, text: String) -> Self {
        Self {
            kind,
            job: None,
            remote: None,
            samples: None,
            times: 1,
            text: match plain_line(&text) {
                Cow::Borrowed(_) => text,
                Cow::Owned(plain) => plain,
            },
        }
    }

    /// Names the scrape job that it concerns.
    #[must_use]
    pub fn for_job(self, job: &str) -> Self {
        Self {
            job: Some(job.to_owned()),
            ..self
        }
    }

    /// Names the remote that it concerns.
    #[must_use]
    pub fn for_remote(self, remote: &str) -> Self {
        Self {
            remote: Some(remote.to_owned()),
            ..self
        }
    }

    /// Says how many samples it concerns.
    #[must_use]
    pub fn with_samples(self, samples: u64) -> Self {
        Self {
            samples: Some(samples),
            ..self
        }
    }

    /// Whether both are the same incident, met twice.
    fn repeats(&self, other: &Self) -> bool {
        (self.kind, &self.job, &self.remote, &self.text)
            == (other.kind, &other.job, &other.remote, &other.text)
    }

    fn count_again(&mut self, other: &Self) {
        self.times += other.times;
        self.samples = match (self.samples, other.samples) {
            (Some(ours), Some(theirs)) => Some(ours + theirs),
            (ours, theirs) => ours.or(theirs),
        };
    }
}

/// Merges repeated incidents. At most `limit` different ones are kept, in the order in which they
/// were met.
#[must_use]
pub fn merge_incidents(met: &[Incident], limit: usize) -> Vec<Incident> {
    let mut different: Vec<Incident> = Vec::new();
    for incident in met {
        let known = different.iter().position(|known| known.repeats(incident));
        match known {
            Some(at) => different[at].count_again(incident),
            None if different.len() < limit => different.push(incident.clone()),
            None => {}
        }
    }
    different
}

/// Lists each different text once, with how often it was met. At most `limit` are listed.
#[must_use]
pub fn error_texts(met: &[Incident], limit: usize) -> Vec<String> {
    let mut different: Vec<(&str, u64)> = Vec::new();
    for incident in met {
        let known = different.iter().position(|known| known.0 == incident.text);
        match known {
            Some(at) => different[at].1 += incident.times,
            None if different.len() < limit => different.push((&incident.text, incident.times)),
            None => {}
        }
    }
    different
        .into_iter()
        .map(|(text, times)| match times {
            1 => text.to_owned(),
            _ => format!("{text} ({times} times)"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(remote: &str, samples: u64) -> Incident {
        Incident::new(IncidentKind::SamplesLost, "lost".to_owned())
            .for_remote(remote)
            .with_samples(samples)
    }

    #[test]
    fn repeated_incidents_are_merged_and_their_samples_added() {
        let met = [lost("a", 3), lost("b", 4), lost("a", 5)];
        let merged = merge_incidents(&met, 10);
        assert_eq!(merged.len(), 2);
        assert_eq!(merged[0].times, 2);
        assert_eq!(merged[0].samples, Some(8));
        assert_eq!(merged[1], lost("b", 4));
        assert_eq!(merge_incidents(&met, 1).len(), 1);
    }

    #[test]
    fn texts_are_listed_once_whomever_they_concern() {
        let met = [lost("a", 3), lost("b", 4)];
        assert_eq!(error_texts(&met, 10), ["lost (2 times)"]);
        assert_eq!(error_texts(&met[..1], 10), ["lost"]);
        assert!(error_texts(&met, 0).is_empty());
    }
}
