//! A model of a remote-write receiver with faults, which checks every request.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use amp_forwarder::net::aws::AwsError;
use amp_forwarder::net::{NetError, Peer, Phase};
use amp_forwarder::prompb::messages::{TimeSeries, WriteRequest};
use amp_forwarder::send::{PostAnswer, PostError, PostRequest, Remote, SignError};
use fastrand::Rng;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, header};
use prost::Message as _;
use tokio::time::{Instant, sleep};

use crate::events::Event;
use crate::planted::Bug;
use crate::reads::histogram_bits;
use crate::tenant::{Sample, Tenant};
use crate::world::{Key, SimWorld, identity, lock};

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

/// Counts of the answers in a tick.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Answered {
    pub(crate) posts: u64,
    pub(crate) written: u64,
    pub(crate) deduplicated: u64,
    pub(crate) rejected: u64,
    /// Samples of requests that were refused for their order, and of which it had some before, or
    /// some were out of order when they first came, or some came before in a request without a
    /// clear answer: no answer can tell these apart.
    pub(crate) known: u64,
    /// Samples of requests that may be tried again after a 429.
    pub(crate) throttled: u64,
    /// Requests that did not simply succeed.
    pub(crate) faults: u64,
    /// Answers that stop a remote.
    pub(crate) refusals: u64,
}

/// The time of one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PostSpan {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
    /// Whether the answer was a final one, after which the forwarder has nothing to wait for.
    pub(crate) is_final: bool,
}

struct InFlight {
    keys: Vec<Key>,
    /// Numbers of the first and the last exposition from which all its samples can come.
    span: (u64, u64),
}

struct State {
    rng: Rng,
    tenant: Tenant,
    in_flight: HashMap<u64, InFlight>,
    requests: u64,
    answered: Answered,
    /// Requests since the last call of [`Receiver::take_posts`], in the order of their ends.
    posts: Vec<PostSpan>,
    /// Samples that were answered for good, and the `life` in which they were.
    told: HashMap<(Key, i64), u64>,
    /// Number of times that the forwarder's memory of sent samples was lost.
    life: u64,
    /// Newest timestamp accepted of each series.
    accepted: HashMap<Key, i64>,
    swallowed: bool,
    /// Samples answered for good with anything but a success.
    refused: HashSet<(Key, i64)>,
    /// Samples of requests that were refused for good with an error.
    rejected: HashSet<(Key, i64)>,
    /// Samples that were deduplicated, so that nobody keeps them.
    deduplicated: HashSet<(Key, i64)>,
    /// Oldest and newest timestamp of the samples that were sent again after a kill.
    repeated: Option<(i64, i64)>,
    /// Samples of orphaned segments, which no process could know of.
    excused: HashSet<(Key, i64)>,
    /// For samples that are stored twice, or were answered: how often each may still be answered.
    /// Without it, [`Receiver::forgotten`] says what may come again.
    left: Option<HashMap<(Key, i64), u32>>,
    /// Time of the home up to which nothing is promised.
    first_ms: Option<i64>,
    /// Samples that are not the newest of their series when they are stored.
    unordered: HashSet<(Key, i64)>,
    /// Samples that were out of order when they first came.
    hopeless: HashSet<(Key, i64)>,
    /// For each sample, the number of its requests that have no clear answer, or none yet.
    unclear: HashMap<(Key, i64), u32>,
    /// Samples that count in [`Answered::known`].
    known: HashSet<(Key, i64)>,
}

impl State {
    /// Notes that a request with these samples has an answer that leaves no doubt.
    fn is_clear(&mut self, samples: &[Sample]) {
        for sample in samples {
            if let Some(requests) = self.unclear.get_mut(&(sample.key, sample.timestamp_ms)) {
                *requests = requests.saturating_sub(1);
            }
        }
    }
}

/// The model of a receiver.
pub(crate) struct Receiver {
    world: Arc<SimWorld>,
    pub(crate) name: String,
    pub(crate) traits: Traits,
    pub(crate) bug: Option<Bug>,
    state: Mutex<State>,
}

impl Receiver {
    pub(crate) fn new(
        world: Arc<SimWorld>,
        name: String,
        traits: Traits,
        rng: Rng,
        bug: Option<Bug>,
    ) -> Arc<Self> {
        let state = State {
            rng,
            tenant: Tenant::default(),
            in_flight: HashMap::new(),
            requests: 0,
            answered: Answered::default(),
            posts: Vec::new(),
            told: HashMap::new(),
            life: 0,
            accepted: HashMap::new(),
            swallowed: false,
            refused: HashSet::new(),
            rejected: HashSet::new(),
            deduplicated: HashSet::new(),
            repeated: None,
            excused: HashSet::new(),
            left: None,
            first_ms: None,
            unordered: HashSet::new(),
            hopeless: HashSet::new(),
            unclear: HashMap::new(),
            known: HashSet::new(),
        };
        Arc::new(Self {
            world,
            name,
            traits,
            bug,
            state: Mutex::new(state),
        })
    }

    /// Takes the counts since the last call.
    pub(crate) fn take_answered(&self) -> Answered {
        std::mem::take(&mut lock(&self.state).answered)
    }

    /// Takes the requests since the last call.
    pub(crate) fn take_posts(&self) -> Vec<PostSpan> {
        std::mem::take(&mut lock(&self.state).posts)
    }

    pub(crate) fn stored(&self, key: Key, timestamp_ms: i64) -> Option<u64> {
        lock(&self.state).tenant.stored(key, timestamp_ms)
    }

    /// Whether a sample was refused for good or deduplicated, so that it need not be stored.
    pub(crate) fn is_refused(&self, key: Key, timestamp_ms: i64) -> bool {
        lock(&self.state).refused.contains(&(key, timestamp_ms))
    }

    /// Whether a request with a sample was refused for good with an error, and none with it was
    /// deduplicated, or refused as the repeat of one that was stored.
    pub(crate) fn is_rejected(&self, key: Key, timestamp_ms: i64) -> bool {
        let (state, sample) = (lock(&self.state), (key, timestamp_ms));
        state.rejected.contains(&sample)
            && !state.deduplicated.contains(&sample)
            && !state.known.contains(&sample)
    }

    /// Whether a body has a sample that is not older than a few seconds.
    pub(crate) fn is_fresh(&self, body: &[u8]) -> bool {
        let plain = snap::raw::Decoder::new().decompress_vec(body);
        let request = WriteRequest::decode(&*plain.unwrap_or_default()).unwrap_or_default();
        let now_ms = self.world.now_ms();
        let mut samples = request.timeseries.iter().flat_map(|entry| &entry.samples);
        samples.any(|sample| sample.timestamp > now_ms - 20_000)
    }

    /// Whether requests are in flight.
    pub(crate) fn is_asked(&self) -> bool {
        !lock(&self.state).in_flight.is_empty()
    }

    /// Allows all samples to be sent again, because the forwarder no longer knows what it sent.
    pub(crate) fn forgotten(&self, process_too: bool) {
        let mut state = lock(&self.state);
        state.life += 1;
        if process_too && self.traits.forgetful {
            state.accepted.clear();
        }
    }

    /// Samples that were answered for good.
    pub(crate) fn told(&self) -> Vec<(Key, i64)> {
        lock(&self.state).told.keys().copied().collect()
    }

    /// Says how often samples may still be answered. One that is not named may be answered once, or
    /// no more if it was.
    pub(crate) fn allow(&self, left: HashMap<(Key, i64), u32>) {
        lock(&self.state).left = Some(left);
    }

    /// Says which samples of the spool the state did not know after a kill: what was read again in
    /// their place, and is sent after them, may be older.
    pub(crate) fn unordered(&self, samples: impl Iterator<Item = (Key, i64)>) {
        lock(&self.state).unordered.extend(samples);
    }

    /// Says where reading began: a longer overlap may reach behind it, and shows what a receiver has
    /// newer samples of, but which nothing has promised.
    pub(crate) fn begins(&self, first_ms: Option<i64>) {
        lock(&self.state).first_ms = first_ms;
    }

    /// Lets the order begin anew behind the samples that `is_known` names.
    pub(crate) fn reorder(&self, is_known: impl Fn((Key, i64)) -> bool) {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        state.accepted.clear();
        for sample in state.tenant.samples().filter(|sample| is_known(*sample)) {
            let newest = state.accepted.entry(sample.0).or_insert(sample.1);
            *newest = sample.1.max(*newest);
        }
    }

    /// Whether a full memory may have forgotten the series. It forgets series that the last scrapes
    /// did not show; a home that goes back may then show an older sample, or both samples of a
    /// series that it shows twice.
    fn is_forgotten(&self, key: Key, newest_ms: i64, timestamp_ms: i64) -> bool {
        let exposed = |timestamp_ms| self.world.exposed(key, timestamp_ms);
        let missed =
            exposed(newest_ms)
                .zip(exposed(timestamp_ms))
                .is_some_and(|(newest, older)| {
                    let both_again = newest.last == older.last && newest.first < newest.last;
                    newest.last + 1 < older.last || both_again
                });
        self.traits.forgetful && self.traits.tight_memory && missed
    }

    /// Allows these samples to be sent again at any time.
    pub(crate) fn excuse(&self, samples: impl IntoIterator<Item = (Key, i64)>) {
        lock(&self.state).excused.extend(samples);
    }

    /// Allows timestamps to go back, because the forwarder's clock was moved.
    pub(crate) fn clock_moved(&self) {
        lock(&self.state).accepted.clear();
    }

    /// Receives a request, and checks every rule for requests.
    fn arrive(&self, request: &PostRequest<'_>) -> (u64, Vec<Sample>, usize) {
        let found =
            |rule: &str, what: String| self.world.found(rule, format!("{}: {what}", self.name));
        let body = request.body.to_bytes();
        let raw = snap::raw::decompress_len(&body).unwrap_or_default();
        let decoded = decoded(&body).unwrap_or_else(|error| {
            found("body", error);
            Default::default()
        });
        let entries = decoded.timeseries;
        let count: usize = entries
            .iter()
            .map(|entry| entry.samples.len() + entry.histograms.len())
            .sum();
        if entries.is_empty() || count > self.traits.max_samples {
            found(
                "batch",
                format!(
                    "{count} samples in a request, at most {}",
                    self.traits.max_samples
                ),
            );
        }
        if entries.len() > 1 && raw > self.traits.max_request_bytes {
            found(
                "batch",
                format!(
                    "{raw} bytes in a request, at most {}",
                    self.traits.max_request_bytes
                ),
            );
        }
        let mut state = lock(&self.state);
        let mut samples = Vec::with_capacity(entries.len());
        let mut span = (0, u64::MAX);
        let mut replica = None;
        for (entry, series) in entries.iter().enumerate() {
            let labels = &series.labels;
            let text = identity(
                labels
                    .iter()
                    .map(|label| (label.name.as_str(), label.value.as_str())),
            );
            let key = self.world.key(&text);
            if !labels.windows(2).all(|pair| pair[0].name < pair[1].name)
                || labels
                    .iter()
                    .any(|l| l.name.is_empty() || l.value.is_empty())
            {
                found(
                    "labels",
                    format!("not sorted, not unique, or empty: {text}"),
                );
            }
            let values = entry_values(series);
            if (values.len() != 1 || !series.histograms.is_empty()) && !self.traits.windows {
                found(
                    "entry",
                    format!("{} samples of {text}", series.samples.len()),
                );
                continue;
            }
            if values.is_empty() || !values.windows(2).all(|pair| pair[0].0 < pair[1].0) {
                found(
                    "entry",
                    format!("{text} is not in the order of time: {values:?}"),
                );
            }
            if !series.samples.is_empty() && !series.histograms.is_empty() {
                found("entry", format!("floats and histograms of {text}"));
            }
            let value = |name: &str| {
                labels
                    .iter()
                    .find(|label| label.name == name)
                    .map_or("", |label| &label.value)
            };
            let mine = (value("cluster"), value("__replica__"));
            if *replica.get_or_insert(mine) != mine {
                found(
                    "replica",
                    format!("{replica:?} and {mine:?} in one request"),
                );
            }
            // An entry whose newest samples were stored is posted again as a whole.
            let newest_ms = state.accepted.get(&key).copied();
            let is_repeated = values.iter().any(|(at_ms, _)| Some(*at_ms) == newest_ms);
            for (timestamp_ms, bits) in values {
                let sample = Sample {
                    key,
                    timestamp_ms,
                    bits,
                    bad: value("__name__").starts_with("bad_"),
                    entry,
                };
                if state.tenant.is_out_of_order(&sample) {
                    state.hopeless.insert((key, timestamp_ms));
                }
                *state.unclear.entry((key, timestamp_ms)).or_default() += 1;
                self.check_sample(&mut state, &sample, is_repeated, &mut span);
                samples.push(sample);
            }
        }
        let mut keys: Vec<Key> = samples
            .chunk_by(|a, b| a.entry == b.entry)
            .map(|entry| entry[0].key)
            .collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            found("batch", "a series twice in one request".to_owned());
        }
        for other in state.in_flight.values() {
            if let Some(key) = keys
                .iter()
                .find(|key| other.keys.binary_search(key).is_ok())
            {
                found(
                    "in flight",
                    format!("two requests with {} at once", self.world.name(*key)),
                );
            }
            span = (span.0.max(other.span.0), span.1.min(other.span.1));
        }
        if span.0 > span.1 {
            found(
                "scrape",
                format!(
                    "samples of different scrapes at once: those of {} and of {}",
                    span.0, span.1
                ),
            );
        }
        state.requests += 1;
        state.answered.posts += 1;
        let id = state.requests;
        state.in_flight.insert(id, InFlight { keys, span });
        if state.in_flight.len() > self.traits.max_in_flight {
            found(
                "shards",
                format!(
                    "{} requests at once, at most {}",
                    state.in_flight.len(),
                    self.traits.max_in_flight
                ),
            );
        }
        (id, samples, raw)
    }

    /// Oldest and newest timestamp of the samples that were sent again after a kill.
    pub(crate) fn repeated(&self) -> Option<(i64, i64)> {
        lock(&self.state).repeated
    }

    /// Checks one sample of a request.
    fn check_sample(
        &self,
        state: &mut State,
        sample: &Sample,
        is_repeated: bool,
        span: &mut (u64, u64),
    ) {
        let found =
            |rule: &str, what: String| self.world.found(rule, format!("{}: {what}", self.name));
        let Sample {
            key,
            timestamp_ms,
            bits,
            ..
        } = *sample;
        let text = || self.world.name(key);
        match self.world.exposed(key, timestamp_ms) {
            None => found(
                "unexposed",
                format!(
                    "{} at {timestamp_ms} was in no exposition that succeeded",
                    text()
                ),
            ),
            Some(exposed) => {
                *span = (span.0.max(exposed.first), span.1.min(exposed.last));
                if exposed.bits.is_some_and(|exposed| exposed != bits) {
                    found(
                        "value",
                        format!("{} at {timestamp_ms} is {bits:#x}", text()),
                    );
                }
            }
        }
        if let Some(&newest) = state.accepted.get(&key)
            && timestamp_ms < newest
            && !self.traits.any_order
            && !(self.traits.windows
                && (is_repeated || state.tenant.stored(key, timestamp_ms) == Some(bits)))
            && !self.world.may_go_back(key)
            && !state.excused.contains(&(key, timestamp_ms))
            && state
                .first_ms
                .is_none_or(|first_ms| timestamp_ms > first_ms)
            && !self.is_forgotten(key, newest, timestamp_ms)
        {
            found(
                "order",
                format!(
                    "{} at {timestamp_ms} comes after {newest} was accepted",
                    text()
                ),
            );
        }
        let Some(life) = state.told.get(&(key, timestamp_ms)).copied() else {
            return;
        };
        let may_come_again = match &state.left {
            Some(left) => left.get(&(key, timestamp_ms)).is_some_and(|left| *left > 0),
            None => life < state.life,
        };
        if may_come_again {
            let (from_ms, to_ms) = state.repeated.unwrap_or((timestamp_ms, timestamp_ms));
            state.repeated = Some((from_ms.min(timestamp_ms), to_ms.max(timestamp_ms)));
        } else if self.traits.no_repeats {
            found(
                "again",
                format!("{} at {timestamp_ms} was answered already", text()),
            );
        }
    }

    fn draw(&self, raw: usize, samples: usize) -> (Option<Fault>, [Duration; 2]) {
        let mut state = lock(&self.state);
        let now_ms = self.world.now_ms();
        let rng = &mut state.rng;
        let latency = [
            Duration::from_millis(rng.u64(0..20)),
            Duration::from_millis(rng.u64(0..20)),
        ];
        let outage = self
            .traits
            .outages
            .iter()
            .find(|(from, to, _)| (*from..*to).contains(&now_ms))
            .map(|(_, _, fault)| *fault);
        let fault = outage.or_else(|| {
            let faulty = rng.f64() < self.traits.faults && !self.traits.kinds.is_empty();
            faulty.then(|| self.traits.kinds[rng.usize(0..self.traits.kinds.len())])
        });
        let fault = fault.filter(|_| !self.world.is_healed());
        if let Some((_, event)) = FAULTS.iter().find(|(known, _)| Some(*known) == fault) {
            self.world.hit(*event);
        }
        if raw > self.traits.max_raw {
            self.world.hit(if samples > 1 {
                Event::TooLarge
            } else {
                Event::TooLargeAlone
            });
        }
        state.answered.faults += u64::from(fault.is_some() || raw > self.traits.max_raw);
        state.answered.refusals += u64::from(matches!(
            fault,
            Some(Fault::Denied | Fault::NotFound | Fault::NoCredentials)
        ));
        (fault, latency)
    }

    /// Stores the valid samples, and returns the status of the answer.
    fn store(&self, samples: &[Sample]) -> (u16, &'static str) {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        if self.bug == Some(Bug::SwallowedBatch) && !state.swallowed && state.rng.u32(0..10) == 0 {
            state.swallowed = true;
            return (200, "");
        }
        if self.bug == Some(Bug::RefusedForNothing) && state.rng.u32(0..5) == 0 {
            return (400, "out of order sample");
        }
        let is_stored = |sample: &Sample| {
            state
                .tenant
                .stored(sample.key, sample.timestamp_ms)
                .is_some()
        };
        let had_some = samples.iter().any(is_stored);
        let is_hopeless =
            |sample: &Sample| state.hopeless.contains(&(sample.key, sample.timestamp_ms));
        let some_hopeless = samples.iter().any(is_hopeless);
        // This request is one of them.
        let came_before = |sample: &Sample| {
            let requests = state.unclear.get(&(sample.key, sample.timestamp_ms));
            requests.is_some_and(|requests| *requests > 1)
        };
        let some_came_before = samples.iter().any(came_before);
        let outcome = state.tenant.push(samples, self.world.now_ms());
        for sample in samples {
            let is_ordered = !state.unordered.contains(&(sample.key, sample.timestamp_ms));
            let stored = state.tenant.stored(sample.key, sample.timestamp_ms);
            if is_ordered && stored.is_some() {
                let newest = state
                    .accepted
                    .entry(sample.key)
                    .or_insert(sample.timestamp_ms);
                *newest = sample.timestamp_ms.max(*newest);
            }
        }
        match outcome {
            Ok(()) => (200, ""),
            Err(why) => {
                self.world.hit(why);
                let text = match why {
                    Event::OutOfOrder => "out of order sample",
                    Event::Duplicate => "duplicate sample for timestamp",
                    Event::TooOld => "out of bounds",
                    _ => "sample invalid label",
                };
                if (had_some || some_hopeless || some_came_before)
                    && matches!(why, Event::OutOfOrder | Event::Duplicate)
                {
                    state.answered.known += samples.len() as u64;
                    let known = samples.iter();
                    state
                        .known
                        .extend(known.map(|sample| (sample.key, sample.timestamp_ms)));
                }
                (400, text)
            }
        }
    }

    fn answered(&self, status: u16, samples: &[Sample], raw_body: &str) {
        let mut state = lock(&self.state);
        let count = samples.len() as u64;
        let final_429 = !self.traits.retries_429 || raw_body.contains("series limit");
        if status < 500 && status != 408 {
            state.is_clear(samples);
        }
        match status {
            202 => state.answered.deduplicated += count,
            200..=299 => state.answered.written += count,
            413 if count == 1 => state.answered.rejected += count,
            429 if final_429 => state.answered.rejected += count,
            429 => {
                state.answered.throttled += count;
                return;
            }
            400 => state.answered.rejected += count,
            _ => return,
        }
        let life = state.life;
        if status == 202 {
            let samples = samples.iter();
            state
                .deduplicated
                .extend(samples.map(|sample| (sample.key, sample.timestamp_ms)));
        }
        if status >= 400 && (status != 413 || count == 1) {
            let refused = samples.iter();
            state
                .rejected
                .extend(refused.map(|sample| (sample.key, sample.timestamp_ms)));
        }
        // A sample of a window that is refused came out of order, or was there before.
        let is_fault = self.traits.windows && status == 400;
        if !(matches!(status, 200 | 204 | 413) || is_fault) || (status == 413 && count == 1) {
            state.refused.extend(
                samples
                    .iter()
                    .map(|sample| (sample.key, sample.timestamp_ms)),
            );
        }
        if status != 413 || count == 1 {
            let of = |sample: &Sample| (sample.key, sample.timestamp_ms);
            for sample in samples {
                if let Some(left) = state
                    .left
                    .as_mut()
                    .and_then(|left| left.get_mut(&of(sample)))
                {
                    *left = left.saturating_sub(1);
                }
            }
            state
                .told
                .extend(samples.iter().map(|sample| (of(sample), life)));
        }
    }

    pub(crate) async fn post(
        self: Arc<Self>,
        request: PostRequest<'_>,
    ) -> Result<PostAnswer, PostError> {
        let (id, samples, raw) = self.arrive(&request);
        let mut guard = Guard {
            receiver: &self,
            id,
            from: Instant::now(),
            stored: false,
            over: false,
            is_final: false,
        };
        let (fault, [before, after]) = self.draw(raw, samples.len());
        self.world.tell(|| {
            format!(
                "{}: request {id} of {} samples, try {}: {fault:?}",
                self.name,
                samples.len(),
                request.attempt
            )
        });
        let net = |cause: &str, timed_out, stale_connection| NetError {
            timed_out,
            stale_connection,
            ..NetError::new(Phase::Http, Peer::Remote, self.name.clone(), cause)
        };
        if fault == Some(Fault::Stale) && !request.fresh_connection {
            guard.over = true;
            return Err(PostError::Net(net("connection reset", false, true)));
        }
        let (before, after) = match fault {
            Some(Fault::Slow) => (request.timeout.mul_f64(0.4), request.timeout.mul_f64(0.4)),
            _ => (
                before.min(request.timeout / 4),
                after.min(request.timeout / 4),
            ),
        };
        sleep(before).await;
        let mut headers = HeaderMap::new();
        let mut body = String::new();
        let status = match fault {
            Some(Fault::Unavailable) => 503,
            Some(Fault::RetryAfterSeconds) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("3"));
                503
            }
            Some(Fault::RetryAfterDate) => {
                let at = std::time::UNIX_EPOCH
                    + Duration::from_millis(self.world.now_ms() as u64 + 4_000);
                headers.insert(
                    header::RETRY_AFTER,
                    HeaderValue::from_str(&httpdate::fmt_http_date(at))
                        .expect("a date is a header value"),
                );
                429
            }
            Some(Fault::Throttled) => 429,
            Some(Fault::SeriesLimit) => {
                body = "per-user series limit of 10 exceeded".to_owned();
                429
            }
            Some(Fault::Denied) => 403,
            Some(Fault::NotFound) => 404,
            Some(Fault::OtherReplica) => 202,
            Some(Fault::NoCredentials) => {
                guard.over = true;
                lock(&self.state).is_clear(&samples);
                return Err(PostError::Sign(SignError::Credentials(
                    AwsError::NoCredentials("none".to_owned()),
                )));
            }
            Some(Fault::NoSts) => {
                guard.over = true;
                lock(&self.state).is_clear(&samples);
                return Err(PostError::Sign(SignError::TimedOut(request.timeout)));
            }
            Some(Fault::TimedOut | Fault::TimedOutStored | Fault::Reset | Fault::ResetStored) => {
                if matches!(fault, Some(Fault::TimedOutStored | Fault::ResetStored)) {
                    self.store(&samples);
                    guard.stored = true;
                }
                let timed_out = matches!(fault, Some(Fault::TimedOut | Fault::TimedOutStored));
                sleep(if timed_out {
                    request.timeout.saturating_sub(before)
                } else {
                    after
                })
                .await;
                guard.over = true;
                return Err(PostError::Net(net(
                    if timed_out {
                        "timed out"
                    } else {
                        "connection reset"
                    },
                    timed_out,
                    false,
                )));
            }
            _ if raw > self.traits.max_raw => 413,
            _ => {
                guard.stored = true;
                let (status, text) = self.store(&samples);
                text.clone_into(&mut body);
                status
            }
        };
        sleep(after).await;
        guard.over = true;
        guard.is_final = status < 500 && !matches!(status, 413 | 429);
        drop(guard);
        self.answered(status, &samples, &body);
        self.world
            .tell(|| format!("{}: request {id} answered {status}", self.name));
        Ok(PostAnswer {
            status,
            headers,
            body,
        })
    }
}

/// Timestamps and bits of an entry's samples, in their order.
fn entry_values(series: &TimeSeries) -> Vec<(i64, u64)> {
    let floats = series
        .samples
        .iter()
        .map(|sample| (sample.timestamp, sample.value.to_bits()));
    let histograms = series
        .histograms
        .iter()
        .map(|histogram| (histogram.timestamp, histogram_bits(histogram)));
    floats.chain(histograms).collect()
}

/// A request in flight.
struct Guard<'a> {
    receiver: &'a Receiver,
    id: u64,
    from: Instant,
    stored: bool,
    over: bool,
    is_final: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        {
            let mut state = lock(&self.receiver.state);
            state.in_flight.remove(&self.id);
            state.posts.push(PostSpan {
                from: self.from,
                to: Instant::now(),
                is_final: self.is_final,
            });
        }
        if !self.over {
            self.receiver.world.hit(if self.stored {
                Event::DroppedInFlightStored
            } else {
                Event::DroppedInFlight
            });
        }
    }
}

/// The forwarder's handle of a receiver.
pub(crate) struct RemoteHandle(pub(crate) Arc<Receiver>);

impl Remote for RemoteHandle {
    fn post<'a>(
        &'a self,
        request: PostRequest<'a>,
    ) -> BoxFuture<'a, Result<PostAnswer, PostError>> {
        match self.0.bug {
            Some(bug) if bug.is_on_the_way() => bug.post(&self.0, request),
            _ => Box::pin(Arc::clone(&self.0).post(request)),
        }
    }

    fn address(&self) -> &str {
        &self.0.name
    }
}

/// The request in a body.
pub(crate) fn decoded(body: &[u8]) -> Result<WriteRequest, String> {
    let raw = snap::raw::Decoder::new()
        .decompress_vec(body)
        .map_err(|error| error.to_string())?;
    WriteRequest::decode(&*raw).map_err(|error| error.to_string())
}
