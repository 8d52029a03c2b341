//! What came in: complete counts, and the newest requests with their samples.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;

use super::options::JournalOptions;
use super::refusal::Reason;
use super::tenant::{Breaches, Outcome, PostedSample};
use super::wire::MetricMetadata;

/// One request.
#[derive(Debug, Clone, Default)]
pub struct JournalEntry {
    /// Counts from 1 in the order of arrival.
    pub number: u64,
    /// Connection that it came on, counted from 1.
    pub connection: u64,
    /// Arrival of its head, since the gateway's start.
    pub arrived: Duration,
    /// Its answer, since the gateway's start; `None` while there is none.
    pub answered: Option<Duration>,
    /// Arrival by the wall clock, milliseconds since the epoch.
    pub arrived_ms: i64,
    /// Status of the answer; `None` when none was given.
    pub status: Option<u16>,
    /// Why it is no 200, or a 400 in spite of samples stored.
    pub reason: Option<Reason>,
    /// The scripted fault that befell it.
    pub fault: Option<super::faults::FaultAction>,
    /// Request headers.
    pub headers: BTreeMap<String, String>,
    /// Bytes of the body as sent.
    pub body_bytes: usize,
    /// Bytes of it decompressed.
    pub decoded_bytes: usize,
    /// Entries (TimeSeries) in it.
    pub entries: usize,
    /// Requests unanswered when it came, itself included.
    pub in_flight: u64,
    /// Its breaches of the sender's promises.
    pub breaches: Breaches,
    /// Number of its samples.
    pub sample_count: usize,
    /// Its metadata.
    pub metadata: Vec<MetricMetadata>,
    /// Its samples, unless the journal's bound made it forget them.
    pub samples: Vec<PostedSample>,
}

/// Complete counts since the start.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct GatewayStats {
    /// Requests to the remote-write path.
    pub requests: u64,
    /// Requests unanswered now.
    pub in_flight: u64,
    /// Most requests unanswered at once.
    pub max_in_flight: u64,
    /// Answers by status; 0 stands for none.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests by reason of refusal.
    pub refusals: BTreeMap<Reason, u64>,
    /// Entries (TimeSeries).
    pub entries: u64,
    /// Samples posted.
    pub samples: u64,
    /// Samples stored.
    pub stored: u64,
    /// Samples equal to the newest of their series.
    pub repeated: u64,
    /// Samples refused, by reason.
    pub refused: BTreeMap<Reason, u64>,
    /// Samples swallowed by the `drop` fault.
    pub swallowed: u64,
    /// Samples older than one of the same series posted before: never, if the sender keeps its
    /// promise.
    pub out_of_order: u64,
    /// Series in two unanswered requests at once: never, if the sender keeps its promise.
    pub concurrent: u64,
    /// Requests that mix HA clusters or replicas: never, if the sender keeps its promise.
    pub mixed_replicas: u64,
    /// Most samples in a request.
    pub max_samples: u64,
    /// Bytes of bodies as sent.
    pub body_bytes: u64,
    /// Bytes of the largest decompressed body.
    pub max_decoded_bytes: u64,
    /// Active series.
    pub active_series: u64,
    /// Connections accepted.
    pub connections: u64,
}

/// What the journal knows of a request when it arrives.
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
    /// Counts.
    pub stats: GatewayStats,
}

impl Journal {
    /// An empty journal.
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

    /// A request ended.
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

    /// The requests kept, in the order of their ends.
    pub fn entries(&self) -> impl Iterator<Item = &JournalEntry> {
        self.entries.iter()
    }
}
