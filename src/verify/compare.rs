//! One series at both ends, compared. Pure functions.

use super::value::{Precision, TimedPrint, ValuePrint};

/// What a comparison has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct EndCounts {
    /// Samples (or slots) of the home that the remote must have.
    pub home: u64,
    /// Samples that the remote has. In a report, `remote` is the remote's name.
    #[serde(rename = "at_remote")]
    pub remote: u64,
    /// Of those at home, the ones that the remote does not have.
    pub missing: u64,
    /// Of those at home, the ones of which the remote has another value.
    pub different: u64,
    /// Samples of the remote that the home does not have.
    pub foreign: u64,
    /// Stale markers of the home that were not compared, because queries do not show them.
    pub uncompared_markers: u64,
}

impl EndCounts {
    /// Adds other counts.
    pub fn add(&mut self, other: &Self) {
        self.home += other.home;
        self.remote += other.remote;
        self.missing += other.missing;
        self.different += other.different;
        self.foreign += other.foreign;
        self.uncompared_markers += other.uncompared_markers;
    }
}

/// A sample of the home that the remote does not have, or not so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deviation {
    /// The sample at home.
    pub home: TimedPrint,
    /// The remote's value at that time, if it has one.
    pub remote: Option<ValuePrint>,
}

/// A range of time whose samples count. Both ends are included, milliseconds since 1970.
pub type Span = std::ops::RangeInclusive<i64>;

/// Compares every sample of a series within a span. Both slices are sorted by time, and may reach
/// beyond the span.
pub(super) fn every_sample(
    home: &[TimedPrint],
    remote: &[TimedPrint],
    span: &Span,
    precision: Precision,
    mut deviates: impl FnMut(Deviation),
) -> EndCounts {
    let within = |sample: &&TimedPrint| span.contains(&sample.timestamp_ms);
    let mut counts = EndCounts {
        remote: remote.iter().filter(within).count() as u64,
        ..EndCounts::default()
    };
    let mut matched = 0;
    for sample in home.iter().filter(within) {
        if precision == Precision::Query && sample.print == ValuePrint::Marker {
            counts.uncompared_markers += 1;
            continue;
        }
        counts.home += 1;
        let found = at(remote, sample.timestamp_ms);
        matched += u64::from(found.is_some());
        count_deviation(&mut counts, sample, found, precision, &mut deviates);
    }
    counts.foreign = counts.remote.saturating_sub(matched);
    counts
}

/// A moment at which `/federate` was asked, or at which it should have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotMoment {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// The latest that the moment may have been, milliseconds since 1970: what the remote has shows
    /// that a scrape was held up. It is `at_ms` where that is known.
    pub until_ms: i64,
    /// Whether `up` says when it was.
    pub is_known: bool,
}

impl SlotMoment {
    /// The moment that `up` tells.
    pub(super) fn known(at_ms: i64) -> Self {
        Self {
            at_ms,
            until_ms: at_ms,
            is_known: true,
        }
    }

    /// The moment that the grid tells, of a slot whose `up` is missing.
    pub(super) fn planned(at_ms: i64) -> Self {
        Self {
            is_known: false,
            ..Self::known(at_ms)
        }
    }
}

/// How the slots of a series are compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlotRules<'a> {
    /// The slots, oldest first.
    pub slots: &'a [SlotMoment],
    /// The moment of the slot that follows them.
    pub next: SlotMoment,
    /// Age from which `/federate` shows a sample no longer, milliseconds.
    pub look_back_ms: i64,
    /// How long it may take until the home shows a sample, milliseconds: its scrape must have
    /// ended.
    pub lag_ms: i64,
    /// Whether samples keep their timestamps; otherwise they get that of the slot.
    pub honor_timestamps: bool,
}

/// Compares what `/federate` has shown of a series, or should have, with what the remote has. A
/// slot of which it cannot be known whether the series was shown is left out.
pub(super) fn slots(
    home: &[TimedPrint],
    remote: &[TimedPrint],
    span: &Span,
    rules: &SlotRules<'_>,
    precision: Precision,
    mut deviates: impl FnMut(Deviation),
) -> EndCounts {
    let within = |sample: &&TimedPrint| span.contains(&sample.timestamp_ms);
    let is_foreign = |sample: &&TimedPrint| {
        rules.honor_timestamps
            && sample.print != ValuePrint::Marker
            && at(home, sample.timestamp_ms).is_none()
    };
    let mut counts = EndCounts {
        remote: remote.iter().filter(within).count() as u64,
        foreign: remote.iter().filter(within).filter(is_foreign).count() as u64,
        ..EndCounts::default()
    };
    for slot in rules.slots {
        let Some(shown) = shown(home, slot, rules) else {
            continue;
        };
        counts.home += 1;
        let found = |sample: &TimedPrint| {
            if rules.honor_timestamps {
                return at(remote, sample.timestamp_ms);
            }
            at(remote, slot.at_ms).or_else(|| at(remote, slot.until_ms))
        };
        let agrees = |sample: &TimedPrint| {
            found(sample).is_some_and(|print| sample.print.agrees(print, precision))
        };
        if shown.iter().any(agrees) {
            continue;
        }
        // The newest is the one that was most likely shown.
        if let Some(newest) = shown.last() {
            count_deviation(&mut counts, newest, found(newest), precision, &mut deviates);
        }
    }
    counts
}

/// Moves the end of moments that are not known to what a series at the remote proves: a sample that
/// the next slot does not show was shown by this one. `until_ms` are those of the slots.
pub(super) fn prove_moments(
    home: &[TimedPrint],
    remote: &[TimedPrint],
    rules: &SlotRules<'_>,
    until_ms: &mut [i64],
) {
    let following = rules.slots.iter().skip(1).chain([&rules.next]);
    for ((slot, next), until_ms) in rules.slots.iter().zip(following).zip(until_ms) {
        if slot.is_known {
            continue;
        }
        let shown_next = shown(home, next, rules).unwrap_or_default();
        let from = remote.partition_point(|sample| sample.timestamp_ms <= slot.at_ms);
        let later = remote[from..]
            .iter()
            .map(|sample| sample.timestamp_ms)
            .take_while(|&timestamp_ms| timestamp_ms < next.at_ms);
        let proof = later.filter(|&timestamp_ms| {
            !rules.honor_timestamps
                || (at(home, timestamp_ms).is_some() && at(shown_next, timestamp_ms).is_none())
        });
        *until_ms = proof.fold(*until_ms, i64::max);
    }
}

/// The samples of which `/federate` has shown one at a moment: the newest, and those before it that
/// it showed if the newest was not visible yet. `None` when it may have shown nothing.
fn shown<'a>(
    home: &'a [TimedPrint],
    slot: &SlotMoment,
    rules: &SlotRules<'_>,
) -> Option<&'a [TimedPrint]> {
    let at_ms = slot.at_ms;
    let end = home.partition_point(|sample| sample.timestamp_ms <= slot.until_ms);
    let newest = end.checked_sub(1)?;
    let visible = home[..end].partition_point(|sample| {
        // One that was certainly visible hides those before it.
        sample.timestamp_ms <= at_ms - rules.lag_ms
    });
    let first = visible.saturating_sub(1).min(newest);
    if visible == 0 {
        return None;
    }
    let shown = &home[first..end];
    let is_shown = |sample: &TimedPrint| {
        sample.print != ValuePrint::Marker && sample.timestamp_ms >= at_ms - rules.look_back_ms
    };
    shown.iter().all(is_shown).then_some(shown)
}

fn count_deviation(
    counts: &mut EndCounts,
    home: &TimedPrint,
    remote: Option<ValuePrint>,
    precision: Precision,
    deviates: &mut impl FnMut(Deviation),
) {
    match remote {
        Some(print) if home.print.agrees(print, precision) => return,
        Some(_) => counts.different += 1,
        None => counts.missing += 1,
    }
    deviates(Deviation {
        home: *home,
        remote,
    });
}

/// The value at a time.
fn at(samples: &[TimedPrint], timestamp_ms: i64) -> Option<ValuePrint> {
    let place = samples
        .binary_search_by_key(&timestamp_ms, |sample| sample.timestamp_ms)
        .ok()?;
    Some(samples[place].print)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompb::STALE_NAN;

    const MARKER: f64 = f64::from_bits(STALE_NAN);

    fn series(samples: &[(i64, f64)]) -> Vec<TimedPrint> {
        samples
            .iter()
            .map(|&(timestamp_ms, value)| TimedPrint {
                timestamp_ms,
                print: ValuePrint::float(value),
            })
            .collect()
    }

    /// Counts, and the times of the deviations.
    fn exact(
        home: &[TimedPrint],
        remote: &[TimedPrint],
        precision: Precision,
    ) -> (EndCounts, Vec<i64>) {
        let mut times = Vec::new();
        let counts = every_sample(home, remote, &(0..=100), precision, |deviation| {
            times.push(deviation.home.timestamp_ms);
        });
        (counts, times)
    }

    #[test]
    fn every_sample_has_its_kind() {
        let home = series(&[
            (-1, 9.0),
            (0, 1.0),
            (10, 2.0),
            (20, 3.0),
            (30, MARKER),
            (101, 9.0),
        ]);
        let remote = series(&[(0, 1.0), (10, 2.5), (15, 7.0), (30, MARKER), (200, 1.0)]);
        let expected = EndCounts {
            home: 4,
            remote: 4,
            missing: 1,
            different: 1,
            foreign: 1,
            uncompared_markers: 0,
        };
        assert_eq!(
            exact(&home, &remote, Precision::Bits),
            (expected, vec![10, 20])
        );
        let without_marker = series(&[(0, 1.0), (10, 2.0), (20, 3.0)]);
        let (counts, times) = exact(&home, &without_marker, Precision::Query);
        assert_eq!((counts.home, counts.uncompared_markers), (3, 1));
        assert_eq!(times, [0; 0]);
        assert_eq!(exact(&home, &[], Precision::Bits).0.missing, 4);
    }

    fn slotted(
        home: &[TimedPrint],
        remote: &[TimedPrint],
        at: &[i64],
        lag_ms: i64,
    ) -> (EndCounts, Vec<i64>) {
        let moments: Vec<_> = at.iter().copied().map(SlotMoment::known).collect();
        let rules = SlotRules {
            slots: &moments,
            next: SlotMoment::known(i64::MAX),
            look_back_ms: 300,
            lag_ms,
            honor_timestamps: true,
        };
        let mut times = Vec::new();
        let counts = slots(
            home,
            remote,
            &(0..=1_000),
            &rules,
            Precision::Bits,
            |deviation| {
                times.push(deviation.home.timestamp_ms);
            },
        );
        (counts, times)
    }

    #[test]
    fn a_slot_is_what_federate_shows_then() {
        let home = series(&[(7, 1.0), (22, 2.0), (37, 3.0), (52, 4.0)]);
        let all = series(&[(7, 1.0), (37, 3.0)]);
        // Slots of 30: 22 and 52 are newest only between them.
        let (counts, missing) = slotted(&home, &all, &[15, 45], 1);
        assert_eq!((counts.home, counts.missing), (2, 0), "{missing:?}");
        let (counts, missing) = slotted(&home, &all, &[15, 30, 45, 60], 1);
        assert_eq!((counts.home, counts.missing, missing), (4, 2, vec![22, 52]));
    }

    #[test]
    fn what_may_not_have_been_visible_is_replaced_by_what_was() {
        let home = series(&[(0, 1.0), (14, 2.0)]);
        let older = series(&[(0, 1.0)]);
        assert_eq!(slotted(&home, &older, &[15], 5).0.missing, 0);
        assert_eq!(slotted(&home, &older, &[15], 0).0.missing, 1);
        // Its first sample of all may not have been visible, so nothing can be said.
        assert_eq!(slotted(&series(&[(14, 2.0)]), &[], &[15], 5).0.home, 0);
    }

    #[test]
    fn markers_and_old_samples_are_not_shown() {
        let home = series(&[(0, 1.0), (10, MARKER)]);
        assert_eq!(slotted(&home, &[], &[15], 1).0.home, 0);
        assert_eq!(slotted(&home, &[], &[5], 1).0.home, 1);
        assert_eq!(slotted(&series(&[(0, 1.0)]), &[], &[301], 1).0.home, 0);
        assert_eq!(slotted(&series(&[(0, 1.0)]), &[], &[300], 1).0.home, 1);
    }

    #[test]
    fn what_is_not_at_home_is_foreign() {
        let home = series(&[(0, 1.0)]);
        let remote = series(&[(0, 1.0), (5, 9.0), (10, MARKER)]);
        let (counts, _) = slotted(&home, &remote, &[5], 1);
        assert_eq!((counts.remote, counts.foreign), (3, 1));
    }

    #[test]
    fn without_honor_timestamps_the_slot_is_the_time() {
        let (home, remote) = (series(&[(0, 1.0)]), series(&[(15, 1.0)]));
        let rules = SlotRules {
            slots: &[15, 30].map(SlotMoment::known),
            next: SlotMoment::known(45),
            look_back_ms: 300,
            lag_ms: 1,
            honor_timestamps: false,
        };
        let counts = slots(&home, &remote, &(0..=100), &rules, Precision::Bits, |_| {});
        assert_eq!((counts.home, counts.missing, counts.foreign), (2, 1, 0));
    }

    fn rules_before_60(slots: &[SlotMoment]) -> SlotRules<'_> {
        SlotRules {
            slots,
            next: SlotMoment::planned(60),
            look_back_ms: 300,
            lag_ms: 1,
            honor_timestamps: true,
        }
    }

    /// What is missing where the second of three slots, at 30, was scraped at 33 without a trace of
    /// its `up`.
    fn missing_of_held_up(home: &[TimedPrint], remote: &[TimedPrint], proof: &[TimedPrint]) -> u64 {
        let mut slots = [
            SlotMoment::known(15),
            SlotMoment::planned(30),
            SlotMoment::known(45),
        ];
        let mut until_ms = slots.map(|slot| slot.until_ms);
        prove_moments(home, proof, &rules_before_60(&slots), &mut until_ms);
        for (slot, until_ms) in slots.iter_mut().zip(until_ms) {
            slot.until_ms = until_ms;
        }
        let rules = rules_before_60(&slots);
        let bits = Precision::Bits;
        super::slots(home, remote, &(0..=100), &rules, bits, |_| {}).missing
    }

    #[test]
    fn what_the_remote_has_tells_when_a_slot_was_scraped() {
        // Scraped at home at 2, 12, 22, 32, 42: a scrape at 33 shows 32.
        let home = series(&[(2, 1.0), (12, 2.0), (22, 3.0), (32, 4.0), (42, 5.0)]);
        let arrived = series(&[(12, 2.0), (32, 4.0), (42, 5.0)]);
        let swallowed = series(&[(12, 2.0), (42, 5.0)]);
        assert_eq!(missing_of_held_up(&home, &arrived, &arrived), 0);
        // The same batch held other series, which are missing once.
        assert_eq!(missing_of_held_up(&home, &swallowed, &arrived), 1);
        // Nothing of the slot has arrived.
        assert_eq!(missing_of_held_up(&home, &swallowed, &swallowed), 1);
        // What the next slot shows proves nothing of this one.
        let next_only = series(&[(12, 2.0), (22, 3.0), (42, 5.0)]);
        assert_eq!(missing_of_held_up(&home, &next_only, &swallowed), 0);
    }
}
