//! The answer to a request: which fault it meets, what is stored of it, and what is noted of it.

use std::sync::Arc;
use std::time::Duration;

use amp_forwarder::time::Clock as _;

use super::{FAULTS, Fault, Receiver};
use crate::events::Event;
use crate::planted::Bug;
use crate::tenant::Sample;
use crate::world::{SimClock, lock};

impl Receiver {
    pub(super) fn draw(&self, raw: usize, samples: usize) -> (Option<Fault>, [Duration; 2]) {
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
    pub(super) fn store(&self, samples: &[Sample]) -> (u16, &'static str) {
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

    pub(super) fn answered(&self, status: u16, samples: &[Sample], raw_body: &str) {
        let mut state = lock(&self.state);
        let count = samples.len() as u64;
        let final_429 = !self.traits.retries_429 || raw_body.contains("series limit");
        if status < 500 && status != 408 {
            state.is_clear(samples);
        }
        let at: Vec<_> = samples
            .iter()
            .map(|sample| (sample.key, sample.timestamp_ms))
            .collect();
        let now_ms = SimClock(Arc::clone(&self.world)).now_ms();
        match status {
            200..=299 | 400 => {}
            413 if count == 1 => {}
            429 if final_429 => {}
            429 | 500.. => {
                state.search.asked_again(&at, now_ms);
                if status == 429 {
                    state.answered.throttled += count;
                }
                return;
            }
            _ => return,
        }
        let suspects = state.search.answered(&at, now_ms);
        state.answered.suspects += suspects;
        // The forwarder counts no repeat that ends a search: it has counted the sample before.
        if suspects == 0 {
            match status {
                202 => state.answered.deduplicated += count,
                200..=299 => state.answered.written += count,
                _ => state.answered.rejected += count,
            }
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
}
