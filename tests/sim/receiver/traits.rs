//! What a receiver does to requests: its faults, limits and habits.

use crate::events::Event;

/// A fault of the receiver or of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Unavailable,
    RetryAfterSeconds,
    RetryAfterDate,
    Throttled,
    SeriesLimit,
    Denied,
    NotFound,
    OtherReplica,
    TimedOut,
    TimedOutStored,
    Reset,
    ResetStored,
    Stale,
    NoCredentials,
    NoSts,
    Slow,
}

pub(crate) const FAULTS: &[(Fault, Event)] = &[
    (Fault::Unavailable, Event::Unavailable),
    (Fault::RetryAfterSeconds, Event::RetryAfterSeconds),
    (Fault::RetryAfterDate, Event::RetryAfterDate),
    (Fault::Throttled, Event::Throttled),
    (Fault::SeriesLimit, Event::SeriesLimit),
    (Fault::Denied, Event::Denied),
    (Fault::NotFound, Event::NotFound),
    (Fault::OtherReplica, Event::OtherReplica),
    (Fault::TimedOut, Event::TimedOut),
    (Fault::TimedOutStored, Event::TimedOutStored),
    (Fault::Reset, Event::Reset),
    (Fault::ResetStored, Event::ResetStored),
    (Fault::Stale, Event::Stale),
    (Fault::NoCredentials, Event::NoCredentials),
    (Fault::NoSts, Event::NoSts),
    (Fault::Slow, Event::Slow),
];

/// Traits of a receiver, and the limits that requests to it must respect.
#[derive(Debug, Clone)]
pub(crate) struct Traits {
    /// Probability that a request meets one of the faults in `kinds`.
    pub(crate) faults: f64,
    pub(crate) kinds: Vec<Fault>,
    /// Spans of true time, in milliseconds, in which every request meets this fault.
    pub(crate) outages: Vec<(i64, i64, Fault)>,
    /// Uncompressed bytes above which it answers 413.
    pub(crate) max_raw: usize,
    /// Largest number of samples that the configuration allows in a request.
    pub(crate) max_samples: usize,
    pub(crate) max_request_bytes: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) retries_429: bool,
    /// Whether the home may show older samples after a cold start than were sent before.
    pub(crate) forgetful: bool,
    /// Whether samples may come in any order, because the home goes back in time and processes
    /// forget what they have sent.
    pub(crate) any_order: bool,
    /// Whether the `memory_limit` is small enough to be reached.
    pub(crate) tight_memory: bool,
    /// Whether a sample that was answered may not be sent again unless the forwarder has forgotten
    /// it.
    pub(crate) no_repeats: bool,
    /// Whether an entry may have several samples and histograms, as those of a remote read.
    pub(crate) windows: bool,
}
