//! The journal: complete counts, and the newest requests with their samples.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;

use super::options::JournalOptions;
use super::refusal::Reason;
use super::tenant::{Breaches, Outcome, PostedSample};
use super::wire::MetricMetadata;

/// One request and its answer.
#[derive(Debug, Clone, Default)]
pub struct JournalEntry {
    /// Number of the request, counted from 1 in the order of arrival.
    pub number: u64,
    /// Number of its connection, counted from 1.
    pub connection: u64,
    /// Arrival of the request's head, since the gateway's start.
    pub arrived: Duration,
    /// Time of the answer, since the gateway's start; `None` while there is none.
    pub answered: Option<Duration>,
    /// Arrival by the wall clock, milliseconds since 1970.
    pub arrived_ms: i64,
    /// Status of the answer; `None` when none was given.
    pub status: Option<u16>,
    /// Reason of a refusal. A 400 can have one although samples were stored.
    pub reason: Option<Reason>,
    /// The scripted fault that struck the request.
    pub fault: Option<super::faults::FaultAction>,
    /// Request headers.
    pub headers: BTreeMap<String, String>,
    /// Bytes of the body on the wire.
    pub body_bytes: usize,
    /// Bytes of the decompressed body.
    pub decoded_bytes: usize,
    /// Number of entries (`TimeSeries`) in the request.
    pub entries: usize,
    /// Number of unanswered requests when this one came, itself included.
    pub in_flight: u64,
    /// Promises of the sender that the request broke.
    pub breaches: Breaches,
    /// Number of samples in the request.
    pub sample_count: usize,
    /// Metadata in the request.
    pub metadata: Vec<MetricMetadata>,
    /// Samples in the request, unless the journal's limit made it forget them.
    pub samples: Vec<PostedSample>,
}

/// Complete counts since the start.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct GatewayStats {
    /// Number of requests to the remote-write path.
    pub requests: u64,
    /// Number of requests that are unanswered now.
    pub in_flight: u64,
    /// Largest number of requests that were unanswered at once.
    pub max_in_flight: u64,
    /// Answers by status; 0 counts requests without an answer.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests by reason of refusal.
    pub refusals: BTreeMap<Reason, u64>,
    /// Number of entries (`TimeSeries`).
    pub entries: u64,
    /// Number of samples that were posted.
    pub samples: u64,
    /// Number of samples that were stored.
    pub stored: u64,
    /// Number of samples equal to the newest of their series.
    pub repeated: u64,
    /// Refused samples by reason.
    pub refused: BTreeMap<Reason, u64>,
    /// Number of samples that the `drop` fault swallowed.
    pub swallowed: u64,
    /// Number of samples older than one of the same series that was posted before, repeats of the
    /// request before not counted. It stays 0 if the sender keeps its promise.
    pub out_of_order: u64,
    /// Number of series that were in two unanswered requests at once. It stays 0 if the sender
    /// keeps its promise.
    pub concurrent: u64,
    /// Number of requests that mix HA clusters or replicas. It stays 0 if the sender keeps its
    /// promise.
    pub mixed_replicas: u64,
    /// Largest number of samples in a request.
    pub max_samples: u64,
    /// Bytes of all bodies on the wire.
    pub body_bytes: u64,
    /// Bytes of the largest decompressed body.
    pub max_decoded_bytes: u64,
    /// Number of active series.
    pub active_series: u64,
    /// Number of accepted connections.
    pub connections: u64,
}

/// The number and the company of a request on its arrival.
#[derive(Debug, Clone, Copy)]
pub struct ArrivalCounts {
    /// Its number in the order of arrival, from 1.
    pub number: u64,
    /// Number of unanswered requests, this one included.
    pub in_flight: u64,
}

/// The journal.
#[derive(Debug)]
pub struct Journal {
    options: JournalOptions,
    entries: VecDeque<JournalEntry>,
    samples_kept: usize,
    /// Complete counts since the start.
    pub stats: GatewayStats,
}

impl Journal {
    /// Makes an empty journal.
    pub fn new(options: JournalOptions) -> Self {
        Self {
            options,
            entries: VecDeque::new(),
            samples_kept: 0,
            stats: GatewayStats::default(),
        }
    }

    /// Counts a request that arrived.
    pub fn arrive(&mut self) -> ArrivalCounts {
        let stats = &mut self.stats;
        stats.requests += 1;
        stats.in_flight += 1;
        stats.max_in_flight = stats.max_in_flight.max(stats.in_flight);
        ArrivalCounts {
            number: stats.requests,
            in_flight: stats.in_flight,
        }
    }

    /// Records a request that has ended.
    pub fn record(&mut self, mut entry: JournalEntry) {
        self.count(&entry);
        if self.options.samples == 0 {
            entry.samples.clear();
        }
        self.samples_kept += entry.samples.len();
        self.entries.push_back(entry);
        while self.entries.len() > self.options.requests {
            if let Some(oldest) = self.entries.pop_front() {
                self.samples_kept -= oldest.samples.len();
            }
        }
        let mut oldest = self.entries.iter_mut();
        while self.samples_kept > self.options.samples
            && let Some(entry) = oldest.next()
        {
            self.samples_kept -= entry.samples.len();
            entry.samples = Vec::new();
        }
    }

    fn count(&mut self, entry: &JournalEntry) {
        let stats = &mut self.stats;
        stats.in_flight -= 1;
        *stats.statuses.entry(entry.status.unwrap_or(0)).or_default() += 1;
        if let Some(reason) = entry.reason {
            *stats.refusals.entry(reason).or_default() += 1;
        }
        let count = entry.sample_count as u64;
        stats.entries += entry.entries as u64;
        stats.samples += count;
        stats.max_samples = stats.max_samples.max(count);
        stats.body_bytes += entry.body_bytes as u64;
        stats.max_decoded_bytes = stats.max_decoded_bytes.max(entry.decoded_bytes as u64);
        stats.out_of_order += entry.breaches.out_of_order;
        stats.concurrent += entry.breaches.concurrent;
        if entry.fault == Some(super::faults::FaultAction::Drop) {
            stats.swallowed += count;
        }
        for sample in &entry.samples {
            match sample.outcome {
                Outcome::Stored => stats.stored += 1,
                Outcome::Repeated => stats.repeated += 1,
                Outcome::Refused(reason) => *stats.refused.entry(reason).or_default() += 1,
                Outcome::Unjudged => {}
            }
        }
    }

    /// The requests that are kept, in the order of their ends.
    pub fn entries(&self) -> impl Iterator<Item = &JournalEntry> {
        self.entries.iter()
    }
}
