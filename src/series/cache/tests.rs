use super::*;

const FRESH: Observation = Observation::Fresh { nth: 0 };

fn observe(cache: &mut SeriesCache, timestamp_ms: i64, commits: bool) -> Observation {
    let transaction = cache.begin(TargetId(0));
    let key = SeriesKey::new(TargetId(0), b"a");
    let index = cache
        .find(key)
        .unwrap_or_else(|| cache.insert(transaction, key, Some((&Labels::default(), 0)), false));
    let observed = cache.observe(transaction, index, timestamp_ms);
    if commits {
        cache.commit(transaction);
    } else {
        cache.rollback(transaction);
    }
    observed
}

#[test]
fn series_survive_scrapes_that_fail_and_not_those_that_lack_them() {
    for (fails, left) in [(true, 2), (false, 1)] {
        let mut cache = SeriesCache::default();
        observe(&mut cache, 100, true);
        for n in 0..3 * KEEP_UNSEEN {
            let transaction = if fails {
                cache.begin_reports(TargetId(0))
            } else {
                cache.begin(TargetId(0))
            };
            let key = SeriesKey::new(TargetId(0), b"up");
            let index = cache
                .find(key)
                .unwrap_or_else(|| cache.insert(transaction, key, None, false));
            cache.touch(transaction, index);
            cache.observe(transaction, index, i64::from(n));
            cache.commit(transaction);
        }
        assert_eq!(cache.len(), left, "fails: {fails}");
    }
}

#[test]
fn a_series_in_another_scrapes_hand_is_yielded_for_the_whole_of_a_scrape() {
    let mut cache = SeriesCache::default();
    let (first, second) = (cache.begin(TargetId(0)), cache.begin(TargetId(1)));
    let index = cache.insert(
        first,
        SeriesKey::new(TargetId(0), b"a"),
        Some((&Labels::default(), 0)),
        false,
    );
    let same = cache.insert(
        second,
        SeriesKey::new(TargetId(1), b"a"),
        Some((&Labels::default(), 0)),
        false,
    );
    assert_eq!(cache.observe(first, index, 100), FRESH);
    assert_eq!(cache.observe(second, same, 200), Observation::Left);
    assert_eq!(cache.holder(same), Some(first));
    cache.commit(first);
    assert_eq!(
        cache.observe(second, same, 200),
        Observation::Left,
        "a second value for the time of one that was not taken"
    );
    assert_eq!(cache.holder(same), None);
    cache.commit(second);
    let next = cache.begin(TargetId(1));
    assert_eq!(cache.observe(next, same, 200), FRESH);
}

#[test]
fn what_no_sample_was_taken_of_can_be_let_go() {
    let mut cache = SeriesCache::default();
    observe(&mut cache, 100, true);
    let kept = cache.memory();
    let transaction = cache.begin(TargetId(0));
    for n in 0..10_000_u32 {
        let index = cache.insert(
            transaction,
            SeriesKey::new(TargetId(0), &n.to_le_bytes()),
            Some((&Labels::default(), n)),
            false,
        );
        cache.observe(transaction, index, 50);
    }
    cache.rollback(transaction);
    assert!(
        cache.len() > 10_000,
        "a scrape that failed for another reason keeps what it has learned"
    );
    cache.forget_untaken();
    assert_eq!(cache.len(), 1);
    assert!(
        cache.memory() < kept + 1_000,
        "{} after {kept}",
        cache.memory()
    );
    assert_eq!(observe(&mut cache, 100, true), Observation::Unchanged);
}

#[test]
fn series_that_come_and_go_make_room() {
    let mut cache = SeriesCache::default();
    for n in 0..KEEP_UNSEEN - 1 {
        let transaction = cache.begin(TargetId(0));
        let mut labels = Labels::default();
        labels.set("n", n.to_string());
        let index = cache.insert(
            transaction,
            SeriesKey::new(TargetId(0), &n.to_le_bytes()),
            Some((&labels, 0)),
            false,
        );
        cache.touch(transaction, index);
        cache.observe(transaction, index, 50);
        cache.commit(transaction);
    }
    assert_eq!(cache.len(), KEEP_UNSEEN as usize - 1, "no sweep yet");
    cache.forget_untaken();
    assert_eq!(cache.len(), 2, "the last two");
}

#[test]
fn what_another_target_still_shows_is_not_let_go() {
    let mut cache = SeriesCache::default();
    let show = |cache: &mut SeriesCache, target: u16, timestamp_ms: i64| {
        let transaction = cache.begin(TargetId(target));
        let key = SeriesKey::new(TargetId(target), b"a");
        let index = cache.find(key).unwrap_or_else(|| {
            cache.insert(transaction, key, Some((&Labels::default(), 0)), false)
        });
        cache.touch(transaction, index);
        let observed = cache.observe(transaction, index, timestamp_ms);
        cache.commit(transaction);
        observed
    };
    show(&mut cache, 0, 100);
    // The first target shows it no more.
    for _ in 0..3 {
        let transaction = cache.begin(TargetId(0));
        cache.commit(transaction);
    }
    assert_eq!(show(&mut cache, 1, 200), FRESH);
    cache.forget_untaken();
    assert_eq!(show(&mut cache, 0, 150), Observation::OutOfOrder);
}

#[test]
fn what_is_forgotten_is_sent_again_and_nothing_older() {
    let mut cache = SeriesCache::default();
    assert_eq!(observe(&mut cache, 100, true), FRESH);
    assert_eq!(observe(&mut cache, 100, true), Observation::Unchanged);
    cache.forget_timestamps();
    assert_eq!(
        observe(&mut cache, 99, true),
        Observation::OutOfOrder,
        "the newer one may have arrived"
    );
    assert_eq!(observe(&mut cache, 100, false), FRESH);
    assert_eq!(
        observe(&mut cache, 100, true),
        FRESH,
        "a scrape that failed sent nothing"
    );
    assert_eq!(observe(&mut cache, 100, true), Observation::Unchanged);
    cache.forget_timestamps();
    assert_eq!(observe(&mut cache, 101, true), FRESH);
    assert_eq!(observe(&mut cache, 101, true), Observation::Unchanged);
}
