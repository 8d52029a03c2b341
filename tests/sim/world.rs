//! The state that all parts of one run share: its time, its findings, its story, and the samples
//! that the home has exposed.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use amp_forwarder::prompb::STALE_NAN;
use amp_forwarder::time::Clock;
use tokio::time::Instant;

use crate::events::{Event, Hits};

/// Number of a series, which its final labels identify.
pub(crate) type Key = u32;

/// A sample that may be sent, and the expositions that contained it. Expositions are numbered in
/// the order in which they ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exposed {
    /// Bits of the value; `None` where the value depends on the clock or on the order of scrapes,
    /// so that it cannot be checked.
    pub(crate) bits: Option<u64>,
    /// Number of the first exposition that contained it.
    pub(crate) first: u64,
    /// Number of the last exposition that contained it.
    pub(crate) last: u64,
}

/// Shared state of one run.
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
    /// Series whose timestamps come from the forwarder's clock.
    clocked: Mutex<HashSet<Key>>,
    /// Series of which any sample may be sent.
    own: Mutex<HashSet<Key>>,
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
            own: Mutex::default(),
        })
    }

    /// Returns the true time, which home and receivers use.
    pub(crate) fn now_ms(&self) -> i64 {
        self.start_ms
            + self.start.elapsed().as_millis() as i64
            + self.frozen_ms.load(Ordering::Relaxed)
    }

    /// Adds time that tokio's clock does not count, as when a sandbox is frozen.
    pub(crate) fn freeze(&self, ms: i64) {
        self.frozen_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Sets how far the forwarder's clock is ahead of the true time from now on.
    pub(crate) fn set_skew(&self, ms: i64) {
        self.skewed.store(true, Ordering::Relaxed);
        self.skew_ms.store(ms, Ordering::Relaxed);
    }

    /// Records a series whose timestamps come from the forwarder's clock.
    pub(crate) fn clocked(&self, key: Key) {
        lock(&self.clocked).insert(key);
    }

    /// Whether the timestamps of a series may go back because the forwarder's clock was moved.
    pub(crate) fn may_go_back(&self, key: Key) -> bool {
        self.skewed.load(Ordering::Relaxed) && lock(&self.clocked).contains(&key)
    }

    /// Ends all faults of the receivers.
    pub(crate) fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_healed(&self) -> bool {
        self.healed.load(Ordering::Relaxed)
    }

    pub(crate) fn hit(&self, event: Event) {
        self.hits.hit(event);
    }

    /// Records that a rule was broken.
    pub(crate) fn found(&self, rule: &str, what: impl Into<String>) {
        let what = what.into();
        self.tell(|| format!("FOUND {rule}: {what}"));
        lock(&self.findings).push(format!("{rule}: {what}"));
    }

    /// Drops all findings of the run: the caller knows that they are expected.
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

    /// Records a sample that may be sent from now on. If another target has ended the series at the
    /// same time, either the stale marker or the sample is sent, so the value is not checked.
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

    /// Records that a sample may also be sent with a later exposition, to which it was left.
    pub(crate) fn leave(&self, key: Key, timestamp_ms: i64, exposition: u64) {
        if let Some(exposed) = lock(&self.exposed).get_mut(&(key, timestamp_ms)) {
            exposed.last = exposed.last.max(exposition);
        }
    }

    /// Records a sample of the forwarder's own. A clock that was set back can give two of them the
    /// same time.
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

    /// Records a sample that may be sent with any other one.
    pub(crate) fn expose_any(&self, key: Key, timestamp_ms: i64, bits: Option<u64>) {
        let mut exposed = lock(&self.exposed);
        let entry = exposed.entry((key, timestamp_ms)).or_insert(Exposed {
            bits,
            first: 0,
            last: u64::MAX >> 1,
        });
        if entry.bits != bits {
            entry.bits = None;
        }
    }

    /// Records a series of which any sample may be sent: the forwarder makes them.
    pub(crate) fn own(&self, key: Key) {
        self.clocked(key);
        lock(&self.own).insert(key);
    }

    pub(crate) fn exposed(&self, key: Key, timestamp_ms: i64) -> Option<Exposed> {
        let found = lock(&self.exposed).get(&(key, timestamp_ms)).copied();
        found.or_else(|| {
            lock(&self.own).contains(&key).then_some(Exposed {
                bits: None,
                first: 0,
                last: u64::MAX >> 1,
            })
        })
    }
}

/// Joins labels to one string, which identifies a series.
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

/// Clock of the forwarder, which may differ from the true time.
pub(crate) struct SimClock(pub(crate) Arc<SimWorld>);

impl Clock for SimClock {
    fn now_ms(&self) -> i64 {
        self.0.now_ms() + self.0.skew_ms.load(Ordering::Relaxed)
    }
}
