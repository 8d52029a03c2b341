//! What all parts of one run share: its time, its findings, its story, and what the home has
//! exposed.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use amp_forwarder::prompb::STALE_NAN;
use amp_forwarder::time::Clock;
use tokio::time::Instant;

use crate::events::{Event, Hits};

/// A series by its final labels.
pub(crate) type Key = u32;

/// A sample that may be sent, and in which expositions it stood. These are numbered in the order in
/// which they ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exposed {
    /// None for those of our own, whose values depend on the clock.
    pub(crate) bits: Option<u64>,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// One run.
pub(crate) struct SimWorld {
    start_ms: i64,
    start: Instant,
    frozen_ms: AtomicI64,
    skew_ms: AtomicI64,
    skewed: AtomicBool,
    healed: AtomicBool,
    pub(crate) hits: Arc<Hits>,
    findings: Mutex<Vec<String>>,
    story: Option<Mutex<Vec<String>>>,
    names: Mutex<(HashMap<String, Key>, Vec<String>)>,
    exposed: Mutex<HashMap<(Key, i64), Exposed>>,
    /// Series whose times are the forwarder's own.
    clocked: Mutex<HashSet<Key>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimWorld {
    pub(crate) fn new(start_ms: i64, hits: Arc<Hits>, tells: bool) -> Arc<Self> {
        Arc::new(Self {
            start_ms,
            start: Instant::now(),
            frozen_ms: AtomicI64::new(0),
            skew_ms: AtomicI64::new(0),
            skewed: AtomicBool::new(false),
            healed: AtomicBool::new(false),
            hits,
            findings: Mutex::default(),
            story: tells.then(Mutex::default),
            names: Mutex::default(),
            exposed: Mutex::default(),
            clocked: Mutex::default(),
        })
    }

    /// The true time, by which home and receivers go.
    pub(crate) fn now_ms(&self) -> i64 {
        self.start_ms
            + self.start.elapsed().as_millis() as i64
            + self.frozen_ms.load(Ordering::Relaxed)
    }

    /// Time that tokio's clock does not count.
    pub(crate) fn freeze(&self, ms: i64) {
        self.frozen_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Sets the forwarder's clock: it differs by that much from now on.
    pub(crate) fn set_skew(&self, ms: i64) {
        self.skewed.store(true, Ordering::Relaxed);
        self.skew_ms.store(ms, Ordering::Relaxed);
    }

    /// Notes a series whose times are the forwarder's own.
    pub(crate) fn clocked(&self, key: Key) {
        lock(&self.clocked).insert(key);
    }

    /// Whether the times of a series may go back, as the forwarder's clock was moved.
    pub(crate) fn may_go_back(&self, key: Key) -> bool {
        self.skewed.load(Ordering::Relaxed) && lock(&self.clocked).contains(&key)
    }

    /// Receivers meet no faults from now on.
    pub(crate) fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_healed(&self) -> bool {
        self.healed.load(Ordering::Relaxed)
    }

    pub(crate) fn hit(&self, event: Event) {
        self.hits.hit(event);
    }

    /// A rule was broken.
    pub(crate) fn found(&self, rule: &str, what: impl Into<String>) {
        let what = what.into();
        self.tell(|| format!("FOUND {rule}: {what}"));
        lock(&self.findings).push(format!("{rule}: {what}"));
    }

    /// What was found since then is known, and has its reasons.
    pub(crate) fn pardon(&self) {
        lock(&self.findings).clear();
    }

    pub(crate) fn findings(&self) -> Vec<String> {
        lock(&self.findings).clone()
    }

    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        if let Some(story) = &self.story {
            let line = format!("{:>9.3} {}", self.start.elapsed().as_secs_f64(), what());
            lock(story).push(line);
        }
    }

    pub(crate) fn story(&self) -> Vec<String> {
        self.story
            .as_ref()
            .map(|story| lock(story).clone())
            .unwrap_or_default()
    }

    pub(crate) fn key(&self, labels: &str) -> Key {
        let mut names = lock(&self.names);
        if let Some(&key) = names.0.get(labels) {
            return key;
        }
        let key = names.1.len() as Key;
        names.1.push(labels.to_owned());
        names.0.insert(labels.to_owned(), key);
        key
    }

    pub(crate) fn name(&self, key: Key) -> String {
        lock(&self.names).1[key as usize].clone()
    }

    /// Notes a sample that may be sent from now on. Where another target that showed the series has
    /// ended it at that very time, the marker or the sample wins: whichever is taken first.
    pub(crate) fn expose(&self, key: Key, timestamp_ms: i64, bits: Option<u64>, exposition: u64) {
        let mut exposed = lock(&self.exposed);
        let entry = exposed.entry((key, timestamp_ms)).or_insert(Exposed {
            bits,
            first: exposition,
            last: exposition,
        });
        if entry.bits == Some(STALE_NAN) && bits != entry.bits {
            entry.bits = None;
        }
        entry.last = exposition;
    }

    /// Notes a sample of our own. A clock that was set back can give two of them the same time.
    pub(crate) fn expose_own(
        &self,
        key: Key,
        timestamp_ms: i64,
        bits: Option<u64>,
        exposition: u64,
    ) {
        self.clocked(key);
        let mut exposed = lock(&self.exposed);
        let entry = exposed.entry((key, timestamp_ms)).or_insert(Exposed {
            bits,
            first: exposition,
            last: exposition,
        });
        if entry.bits != bits {
            entry.bits = None;
        }
        entry.last = exposition;
    }

    pub(crate) fn exposed(&self, key: Key, timestamp_ms: i64) -> Option<Exposed> {
        lock(&self.exposed).get(&(key, timestamp_ms)).copied()
    }
}

/// Labels as one string: the identity of a series.
pub(crate) fn identity<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        text.push_str(name);
        text.push('=');
        text.push_str(value);
        text.push('\u{1f}');
    }
    text
}

/// The forwarder's view of the time.
pub(crate) struct SimClock(pub(crate) Arc<SimWorld>);

impl Clock for SimClock {
    fn now_ms(&self) -> i64 {
        self.0.now_ms() + self.0.skew_ms.load(Ordering::Relaxed)
    }
}
