//! The slots of a gap: moments at which a scrape was missed.

use super::request::TimeRange;

/// Slots that were missed, in the home's time. There is at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    /// The first slot, milliseconds since 1970.
    pub first_ms: i64,
    /// Distance of the slots, milliseconds, at least 1.
    pub interval_ms: i64,
    /// Number of slots, at least 1.
    pub count: u32,
    /// Oldest age of a sample that federation shows, milliseconds: `--query.lookback-delta`, 5 m
    /// unless the home sets it.
    pub look_back_ms: i64,
}

impl Slots {
    /// Time of a slot, from 0.
    fn at(&self, slot: u32) -> i64 {
        self.first_ms
            .saturating_add(self.interval_ms.saturating_mul(i64::from(slot)))
    }

    /// Time of the last slot, milliseconds since 1970.
    #[must_use]
    pub fn last_ms(&self) -> i64 {
        self.at(self.count.saturating_sub(1))
    }

    /// The times of all slots in their order.
    pub fn times(&self) -> impl Iterator<Item = i64> + use<> {
        let slots = *self;
        (0..slots.count).map(move |slot| slots.at(slot))
    }

    /// The range that must be read for them.
    #[must_use]
    pub fn range(&self) -> TimeRange {
        TimeRange {
            start_ms: self.first_ms.saturating_sub(self.look_back_ms),
            end_ms: self.last_ms(),
        }
    }

    /// The first slots, at most this many.
    #[must_use]
    pub fn first(self, count: u32) -> Self {
        Self {
            count: self.count.min(count),
            ..self
        }
    }

    /// The slots that are not after this time, if there are any.
    #[must_use]
    pub fn up_to(self, end_ms: i64) -> Option<Self> {
        let past = end_ms.saturating_sub(self.first_ms).max(-1);
        let count = past.div_euclid(self.interval_ms.max(1)).saturating_add(1);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        (count > 0).then(|| self.first(count))
    }

    /// The slots that are after this time, if there are any.
    #[must_use]
    pub fn after(self, at_ms: i64) -> Option<Self> {
        let passed = self.up_to(at_ms).map_or(0, |passed| passed.count);
        (passed < self.count).then(|| Self {
            first_ms: self.at(passed),
            count: self.count - passed,
            ..self
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_cut_at_times() {
        let gap = Slots {
            first_ms: 100,
            interval_ms: 10,
            count: 3,
            look_back_ms: 25,
        };
        let times = |slots: Option<Slots>| slots.map(|slots| slots.times().collect::<Vec<_>>());
        for (at, before, after) in [
            (i64::MIN, None, Some(vec![100, 110, 120])),
            (99, None, Some(vec![100, 110, 120])),
            (100, Some(vec![100]), Some(vec![110, 120])),
            (119, Some(vec![100, 110]), Some(vec![120])),
            (120, Some(vec![100, 110, 120]), None),
            (i64::MAX, Some(vec![100, 110, 120]), None),
        ] {
            assert_eq!(times(gap.up_to(at)), before, "{at}");
            assert_eq!(times(gap.after(at)), after, "{at}");
        }
        assert_eq!(
            gap.range(),
            TimeRange {
                start_ms: 75,
                end_ms: 120
            }
        );
    }
}
