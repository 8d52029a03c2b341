//! What must have arrived, worked out from the home's database alone.

use std::collections::BTreeMap;

use super::answer::LOOK_BACK_MS;
use super::tsdb::{HomeSeries, Tsdb};

/// A sample that must arrive: a key of a series, and a timestamp.
pub(crate) type SampleKey<K> = (K, i64);

/// Samples that must arrive in `always` mode, with the bits that each may have. Two series of the
/// home may have one label set, and then either sample of one time is right.
///
/// `span` is the time of the home, both ends included, in which everything is settled at the true
/// time `now_ms`. What the home took out of order may or may not arrive.
pub(crate) fn always<K: Ord>(
    tsdb: &Tsdb,
    key: impl Fn(&HomeSeries) -> Option<K>,
    span: (i64, i64),
    now_ms: i64,
) -> BTreeMap<SampleKey<K>, Vec<u64>> {
    let mut expected: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for series in &tsdb.series {
        for sample in series
            .range(span.0, span.1, now_ms)
            .filter(|sample| !sample.out_of_order)
        {
            if let Some(key) = key(series) {
                let bits = expected.entry((key, sample.timestamp_ms)).or_default();
                bits.push(sample.value.bits());
            }
        }
    }
    expected
}

/// What a slot must show of one label set: one of these samples must have arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SlotSample<K> {
    pub(crate) key: K,
    pub(crate) slot_ms: i64,
    /// Timestamps, of which one must be there.
    pub(crate) one_of: Vec<i64>,
}

/// Samples that must arrive in `gaps` mode for a slot, a time of the home: for each label set the one
/// that `/federate` would have shown at `asked_ms`, the true time of the slot, or one that it would
/// have shown for the same slot after what was late had been committed. A label set that it might
/// not have shown at all is left out.
pub(crate) fn slot<K: Ord + Clone>(
    tsdb: &Tsdb,
    key: impl Fn(&HomeSeries) -> Option<K>,
    slot_ms: i64,
    asked_ms: i64,
) -> Vec<SlotSample<K>> {
    let mut of_key: BTreeMap<K, Vec<&HomeSeries>> = BTreeMap::new();
    for series in &tsdb.series {
        if let Some(key) = key(series) {
            of_key.entry(key).or_default().push(series);
        }
    }
    let mut expected = Vec::new();
    for (key, all) in of_key {
        // Of two series with one label set either may be shown, and a marker of one hides the other.
        let mut one_of = Vec::new();
        let mut surely = true;
        for series in all {
            let candidates = candidates(series, slot_ms, asked_ms);
            surely &= candidates.iter().all(Option::is_some);
            one_of.extend(candidates.into_iter().flatten());
        }
        if surely {
            one_of.sort_unstable();
            one_of.dedup();
            expected.push(SlotSample {
                key,
                slot_ms,
                one_of,
            });
        }
    }
    expected
}

/// What an instant query for the slot may show at any true time from `asked_ms` on. `None` is
/// nothing at all.
pub(super) fn candidates(series: &HomeSeries, slot_ms: i64, asked_ms: i64) -> Vec<Option<i64>> {
    let mut moments = vec![asked_ms];
    moments.extend(
        series
            .range(slot_ms - LOOK_BACK_MS, slot_ms, i64::MAX)
            .map(|sample| sample.visible_ms)
            .filter(|visible_ms| *visible_ms > asked_ms),
    );
    moments
        .into_iter()
        .map(|now_ms| {
            series
                .instant(slot_ms, LOOK_BACK_MS, now_ms)
                .map(|sample| sample.timestamp_ms)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tsdb::StoredValue;
    use super::*;

    fn name(series: &HomeSeries) -> Option<String> {
        series.labels.get("__name__").cloned()
    }

    fn series(name: &str, samples: &[(i64, i64)]) -> HomeSeries {
        let mut series = HomeSeries::new([("__name__", name)]);
        for &(timestamp_ms, commit_ms) in samples {
            series.append(
                timestamp_ms,
                StoredValue::Float(timestamp_ms as u64),
                commit_ms,
            );
        }
        series
    }

    #[test]
    fn always_is_every_visible_sample_of_the_span() {
        let mut tsdb = Tsdb::default();
        tsdb.series
            .push(series("a", &[(10, 10), (20, 20), (30, 99), (40, 40)]));
        tsdb.series.push(series("a", &[(20, 20)]));
        tsdb.series[1].insert(15, StoredValue::Float(1), 16);
        let mut unnamed = series("b", &[(20, 20)]);
        unnamed.labels.clear();
        tsdb.series.push(unnamed);
        let all: Vec<_> = always(&tsdb, name, (10, 40), 50).into_iter().collect();
        let of = |at: i64| (("a".to_owned(), at), at as u64);
        let (ten, twenty) = (of(10), of(20));
        assert_eq!(
            all,
            [(ten.0, vec![ten.1]), (twenty.0, vec![twenty.1, twenty.1])]
        );
        assert_eq!(always(&tsdb, name, (11, 40), 99).len(), 3);
    }

    #[test]
    fn a_slot_takes_what_was_or_would_have_been_shown() {
        let mut tsdb = Tsdb::default();
        // The second sample is committed late.
        tsdb.series.push(series("a", &[(10, 10), (20, 45)]));
        tsdb.series.push(series("b", &[(20, 45)]));
        tsdb.series.push(series("c", &[(10, 10)]));
        tsdb.series[2].append(20, StoredValue::STALE, 45);
        let one_of = |asked_ms| {
            slot(&tsdb, name, 25, asked_ms)
                .into_iter()
                .map(|sample| (sample.key, sample.one_of))
                .collect::<Vec<_>>()
        };
        let a = |times: &[i64]| ("a".to_owned(), times.to_vec());
        assert_eq!(
            one_of(25),
            [a(&[10, 20])],
            "neither b nor c was sure to be shown"
        );
        assert_eq!(one_of(45), [a(&[20]), ("b".to_owned(), vec![20])]);
    }
}
