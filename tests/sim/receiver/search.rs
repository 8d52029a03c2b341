//! The forwarder's search for samples that a receiver cannot take, as the receiver sees it.
//!
//! An answer that asks to send again refuses nothing. But a batch that was asked for again for a
//! quarter of an hour is taken apart (docs/failures.md): one of its samples is posted alone and
//! taken, what the receiver asks for again when it stands alone is a suspect, and that one sample
//! comes once more. If it is taken again, the suspects are refused for good, though no answer says
//! so, and the repeat is not counted. Soon after such a find, no batch has to wait for so long.

use std::collections::{HashMap, HashSet};

use crate::world::Key;

/// Number of answers after which a sample that stands alone is a suspect.
const TRIES: u32 = 2;

const LONG_MS: i64 = 15 * 60 * 1000;

/// An hour, and the time of a tick that begins in it.
const LATELY_MS: i64 = (60 + 5) * 60 * 1000;

/// A sample: its series and its timestamp.
type At = (Key, i64);

#[derive(Debug, Default)]
pub(super) struct Search {
    /// When each sample was first asked for again, by the forwarder's clock.
    asked_ms: HashMap<At, i64>,
    /// When suspects were last found.
    found_ms: Option<i64>,
    /// How often in this tick a sample that stood alone was asked for again.
    alone: HashMap<At, u32>,
    /// Samples that stood alone and got a final answer in this tick.
    taken: HashSet<At>,
}

impl Search {
    /// Forgets what counts only within a tick.
    pub(super) fn ends_tick(&mut self) {
        self.alone.clear();
        self.taken.clear();
    }

    /// Notes an answer that asks to send the samples of a request again.
    pub(super) fn asked_again(&mut self, samples: &[At], now_ms: i64) {
        for sample in samples {
            let first = self.asked_ms.entry(*sample).or_insert(now_ms);
            *first = now_ms.min(*first);
        }
        if let [sample] = samples {
            *self.alone.entry(*sample).or_default() += 1;
        }
    }

    /// Notes a final answer. Returns the number of suspects that it lets the forwarder refuse for
    /// good, each of them once. If there are any, the request was the repeat that ends a search.
    pub(super) fn answered(&mut self, samples: &[At], now_ms: i64) -> u64 {
        for sample in samples {
            self.alone.remove(sample);
        }
        let [sample] = samples else {
            return 0;
        };
        if self.taken.insert(*sample) {
            return 0;
        }
        let lately = self
            .found_ms
            .is_some_and(|found_ms| now_ms.abs_diff(found_ms) <= LATELY_MS.unsigned_abs());
        let asked_ms = &self.asked_ms;
        let before = self.alone.len();
        self.alone.retain(|sample, times| {
            let is_long = asked_ms
                .get(sample)
                .is_some_and(|asked_ms| now_ms - asked_ms >= LONG_MS);
            *times < TRIES || !(is_long || lately)
        });
        let suspects = before - self.alone.len();
        if suspects > 0 {
            self.found_ms = Some(now_ms);
        }
        suspects as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: At = (1, 1000);
    const BAD: At = (2, 1000);

    /// A tick that posts both, then each alone, the bad one so often, and the good one again.
    fn tick(search: &mut Search, tries: u32, now_ms: i64) -> u64 {
        search.ends_tick();
        search.asked_again(&[GOOD, BAD], now_ms);
        assert_eq!(search.answered(&[GOOD], now_ms), 0);
        for _ in 0..tries {
            search.asked_again(&[BAD], now_ms);
        }
        search.answered(&[GOOD], now_ms)
    }

    #[test]
    fn a_suspect_was_asked_for_a_quarter_of_an_hour() {
        let mut search = Search::default();
        assert_eq!(tick(&mut search, 2, 0), 0);
        assert_eq!(tick(&mut search, 2, LONG_MS - 1), 0);
        assert_eq!(tick(&mut search, 2, LONG_MS), 1);
        // It counts once.
        assert_eq!(search.answered(&[GOOD], LONG_MS), 0);
    }

    #[test]
    fn a_suspect_was_asked_for_twice_alone_and_has_no_final_answer() {
        let mut search = Search::default();
        search.asked_again(&[GOOD, BAD], 0);
        assert_eq!(tick(&mut search, 1, LONG_MS), 0);
        search.asked_again(&[BAD], LONG_MS);
        search.answered(&[BAD], LONG_MS);
        assert_eq!(search.answered(&[GOOD], LONG_MS), 0);
        // What stood alone in the tick before says nothing.
        assert_eq!(tick(&mut search, 1, LONG_MS), 0);
        assert_eq!(tick(&mut search, 1, LONG_MS), 0);
    }

    #[test]
    fn only_a_repeat_of_one_sample_ends_a_search() {
        let mut search = Search::default();
        search.asked_again(&[GOOD, BAD], 0);
        for _ in 0..TRIES {
            search.asked_again(&[BAD], LONG_MS);
        }
        assert_eq!(search.answered(&[GOOD, (3, 1000)], LONG_MS), 0);
        assert_eq!(search.answered(&[GOOD], LONG_MS), 0, "the first time");
        assert_eq!(search.answered(&[GOOD], LONG_MS), 1);
    }

    #[test]
    fn soon_after_a_find_no_sample_has_to_wait_for_long() {
        let mut search = Search::default();
        tick(&mut search, 2, 0);
        assert_eq!(tick(&mut search, 2, LONG_MS), 1);
        let fresh = (3, 2000);
        for (now_ms, suspects) in [(LONG_MS + LATELY_MS + 1, 0), (LONG_MS + LATELY_MS, 1)] {
            search.ends_tick();
            search.asked_ms.remove(&fresh);
            search.answered(&[GOOD], now_ms);
            search.asked_again(&[fresh], now_ms);
            search.asked_again(&[fresh], now_ms);
            assert_eq!(search.answered(&[GOOD], now_ms), suspects);
        }
    }
}
