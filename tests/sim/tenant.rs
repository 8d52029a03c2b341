//! A model of one Cortex tenant: which samples it stores, by its rules for order, window, age and
//! duplicates.

use std::collections::{BTreeMap, HashMap};

use crate::events::Event;
use crate::world::Key;

const WINDOW_MS: i64 = 60_000;
const OLDEST_MS: i64 = 3_600_000;
const AHEAD_MS: i64 = 600_000;

/// A sample as the receiver got it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) key: Key,
    pub(crate) timestamp_ms: i64,
    pub(crate) bits: u64,
    /// Whether the receiver always refuses the series.
    pub(crate) bad: bool,
    /// Place of its entry in the request. Samples of an entry stand next to each other.
    pub(crate) entry: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Tenant {
    series: HashMap<Key, BTreeMap<i64, u64>>,
    newest_ms: i64,
}

impl Tenant {
    pub(crate) fn stored(&self, key: Key, timestamp_ms: i64) -> Option<u64> {
        self.series
            .get(&key)
            .and_then(|samples| samples.get(&timestamp_ms))
            .copied()
    }

    /// Whether a sample is refused for its place in the order, whenever it comes from now on.
    pub(crate) fn is_out_of_order(&self, sample: &Sample) -> bool {
        let Some(samples) = self.series.get(&sample.key) else {
            return false;
        };
        let t = sample.timestamp_ms;
        match samples.last_key_value() {
            Some((newest, _)) if t < *newest => {
                t < self.newest_ms - WINDOW_MS && !samples.contains_key(&t)
            }
            Some((newest, bits)) => t == *newest && *bits != sample.bits,
            None => false,
        }
    }

    /// All samples that are stored.
    pub(crate) fn samples(&self) -> impl Iterator<Item = (Key, i64)> {
        let all = self.series.iter();
        all.flat_map(|(key, samples)| samples.keys().map(|at_ms| (*key, *at_ms)))
    }

    /// Stores the valid samples of a request (`pkg/ingester/ingester.go` `Push`). An entry with one
    /// timestamp that is too new or too old is dropped as a whole (`pkg/distributor/distributor.go`
    /// `validateSeries`).
    ///
    /// # Errors
    ///
    /// Returns the reason of the first sample that is refused; the valid ones are stored anyway.
    pub(crate) fn push(&mut self, samples: &[Sample], now_ms: i64) -> Result<(), Event> {
        // Age counts from the newest sample before this request.
        let newest_ms = self.newest_ms;
        let mut outcome = Ok(());
        for entry in samples.chunk_by(|a, b| a.entry == b.entry) {
            let valid = |sample: &Sample| validate(sample, newest_ms, now_ms);
            if let Err(why) = entry.iter().try_for_each(valid) {
                outcome = outcome.and(Err(why));
                continue;
            }
            for sample in entry {
                if let Err(why) = self.store(sample, newest_ms) {
                    outcome = outcome.and(Err(why));
                }
            }
        }
        outcome
    }

    fn store(&mut self, sample: &Sample, newest_ms: i64) -> Result<(), Event> {
        let t = sample.timestamp_ms;
        let samples = self.series.entry(sample.key).or_default();
        match samples.last_key_value().map(|(newest, _)| *newest) {
            Some(newest) if t < newest => {
                if t < newest_ms - WINDOW_MS {
                    return Err(Event::OutOfOrder);
                }
                // An exact duplicate is dropped silently.
                samples.entry(t).or_insert(sample.bits);
            }
            Some(newest) if t == newest && samples.get(&t) != Some(&sample.bits) => {
                return Err(Event::Duplicate);
            }
            _ => {
                samples.insert(t, sample.bits);
            }
        }
        self.newest_ms = self.newest_ms.max(t);
        Ok(())
    }
}

/// Checks a sample for what refuses its whole entry.
fn validate(sample: &Sample, newest_ms: i64, now_ms: i64) -> Result<(), Event> {
    let t = sample.timestamp_ms;
    if sample.bad {
        return Err(Event::Refused);
    }
    if t > now_ms + AHEAD_MS {
        return Err(Event::TooFarAhead);
    }
    if t < now_ms.max(newest_ms) - OLDEST_MS {
        return Err(Event::TooOld);
    }
    Ok(())
}
