//! A model of a remote-write receiver with faults, which checks every request.

mod answer;
mod post;
mod request;
mod search;
mod traits;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use tokio::time::Instant;

use crate::planted::Bug;
use crate::tenant::{Sample, Tenant};
use crate::world::{Key, SimWorld, lock};

pub(crate) use post::RemoteHandle;
pub(crate) use request::decoded;
use search::Search;
pub(crate) use traits::{FAULTS, Fault, Traits};

/// Counts of the answers in a tick, without those to a repeat that ends a [`Search`].
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
    /// Samples that the forwarder may have refused for good, as a [`Search`] has found them.
    pub(crate) suspects: u64,
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
    search: Search,
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
            search: Search::default(),
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
        let mut state = lock(&self.state);
        state.search.ends_tick();
        std::mem::take(&mut state.answered)
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

    /// Allows these samples to be sent again at any time.
    pub(crate) fn excuse(&self, samples: impl IntoIterator<Item = (Key, i64)>) {
        lock(&self.state).excused.extend(samples);
    }

    /// Allows timestamps to go back, because the forwarder's clock was moved.
    pub(crate) fn clock_moved(&self) {
        lock(&self.state).accepted.clear();
    }

    /// Oldest and newest timestamp of the samples that were sent again after a kill.
    pub(crate) fn repeated(&self) -> Option<(i64, i64)> {
        lock(&self.state).repeated
    }
}
