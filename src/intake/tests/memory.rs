//! What an intake remembers of series, remotes and earlier windows.

use super::*;

#[test]
fn each_remote_takes_what_is_new_to_it() {
    let mut process = Process::new(LIMITS, 2);
    let start = |second: i64| WindowStart {
        watermark_ms: EPOCH_MS + second * 1000,
        complete: false,
        ..WindowStart::default()
    };
    let series = BTreeMap::from([("a", at(Kind::Float, [10, 20, 30]))]);
    let commits = process.read(&[start(20), start(5)], &series, true);
    assert_eq!(times(&commits[0]), [[30]]);
    assert_eq!(times(&commits[1]), [[10, 20, 30]]);
    assert_eq!(
        (commits[0].counts.overlapped, commits[1].counts.overlapped),
        (2, 0)
    );
    assert_eq!(
        process.tally.scraped, 3,
        "the source gave three new samples"
    );
}

#[test]
fn a_remote_that_is_further_than_another_one_gets_no_slot_twice() {
    let mut process = Process::new(LIMITS, 3);
    let start = |second: i64, earlier| WindowStart {
        watermark_ms: EPOCH_MS + second * 1000,
        complete: true,
        earlier,
    };
    let starts = [
        start(0, EarlierSamples::Newest),
        start(25, EarlierSamples::Newest),
        start(30, EarlierSamples::None),
    ];
    let series = BTreeMap::from([("a", at(Kind::Float, [10, 20, 30]))]);
    let commits = process.read(&starts, &series, true);
    assert_eq!(times(&commits[0]), [[10, 20, 30]]);
    assert_eq!(times(&commits[1]), [[20, 30]], "the next slot may show 20");
    assert_eq!(fresh(&commits[2]), 0);
    let overlapped = [0, 1, 2].map(|remote: usize| commits[remote].counts.overlapped);
    assert_eq!(overlapped, [0, 1, 3]);
    // The next window begins at the watermarks of before, too.
    let series = BTreeMap::from([("a", at(Kind::Float, [30, 40]))]);
    let commits = process.read(&starts, &series, true);
    assert_eq!(times(&commits[1]), [[40]], "30 was sent");
    assert_eq!(times(&commits[2]), [[40]]);
}

#[test]
fn a_window_that_is_rolled_back_is_new_again() {
    let mut process = Process::new(LIMITS, 1);
    let first = at(Kind::Float, [1, 2]);
    process.takes(i64::MIN, true, "a", &first);
    let series = BTreeMap::from([("a", at(Kind::Float, [1, 2, 3, 4]))]);
    let lost = process.read(&[], &series, false).remove(0);
    assert_eq!((lost.rolled_back, fresh(&lost)), (2, 0));
    let again = process.read(&[], &series, true).remove(0);
    assert_eq!(times(&again), [[3, 4]]);
}

#[test]
fn a_federated_sample_and_a_read_one_share_their_last_timestamp() {
    let federates = |process: &Process, second: i64| {
        let rules = IntakeRules {
            honor_timestamps: true,
            ..process.rules(EPOCH_MS + second * 1000)
        };
        let mut transaction = IntakeTransaction::begin(&process.writers, rules);
        let sample = ExposedSample {
            series: b"a{cluster=\"a\"}",
            value: 1.0.into(),
            timestamp_ms: Some(EPOCH_MS + second * 1000),
        };
        let mut intake = transaction.intake();
        if !intake.known(&sample).unwrap() {
            let labels = [exposed("__name__", "a"), exposed("cluster", "a")];
            intake.resolved(&sample, &labels).unwrap();
        }
        assert_eq!(
            intake.expected(),
            None,
            "a series of a window is never expected"
        );
        drop(intake);
        transaction.commit().unwrap().remove(0).counts
    };
    for read_first in [false, true] {
        let mut process = Process::new(LIMITS, 1);
        if read_first {
            process.takes(i64::MIN, true, "a", &at(Kind::Float, [1]));
        }
        assert_eq!(federates(&process, 10).fresh, 1);
        let commit = process.takes(i64::MIN, true, "a", &at(Kind::Float, [5, 10, 15]));
        assert_eq!(times(&commit), [[15]], "read first: {read_first}");
        assert_eq!(federates(&process, 15).unchanged, 1);
        assert_eq!(
            process.writers[0]
                .borrow()
                .last_timestamps(|_| true, 0)
                .len(),
            1
        );
    }
}

#[test]
fn a_window_marks_no_series_as_stale() {
    let process = Process::new(LIMITS, 1);
    let rules = process.rules(EPOCH_MS);
    // `honor_timestamps` is off, so federated series are tracked.
    let mut scrape = IntakeTransaction::begin(&process.writers, rules);
    let sample = ExposedSample {
        series: b"a",
        value: 1.0.into(),
        timestamp_ms: None,
    };
    let labels = [exposed("__name__", "a")];
    scrape.intake().resolved(&sample, &labels).unwrap();
    scrape.mark_stale().unwrap();
    scrape.commit().unwrap();

    let rules = process.rules(EPOCH_MS + 1);
    for fails in [false, true] {
        let mut window = IntakeTransaction::begin_window(&process.writers, rules, &[]);
        if fails {
            window.roll_back();
        }
        window.mark_stale().unwrap();
        let commit = window.commit().unwrap().remove(0);
        assert_eq!(commit.counts.fresh, 0, "fails: {fails}");
    }
    let mut scrape = IntakeTransaction::begin(&process.writers, rules);
    scrape.mark_stale().unwrap();
    let commit = scrape.commit().unwrap().remove(0);
    assert_eq!(commit.counts.fresh, 1, "the next scrape marks it");
}

#[test]
fn series_are_forgotten_by_the_time_of_their_samples() {
    let mut process = Process::new(LIMITS, 1);
    process.takes(EPOCH_MS, true, "slow", &at(Kind::Float, [1]));
    for second in 2..300 {
        let watermark_ms = EPOCH_MS + second * 1000;
        process.takes(watermark_ms, true, "fast", &at(Kind::Float, [second]));
    }
    let series = |process: &Process| process.writers[0].borrow().series();
    assert_eq!(series(&process), 2, "windows that are short forget nothing");
    let hour = EPOCH_MS + 1_000_000;
    process.takes(hour, true, "fast", &at(Kind::Float, [1_000]));
    assert_eq!(series(&process), 1);
    let again = process.takes(hour, true, "slow", &at(Kind::Float, [990]));
    assert_eq!(times(&again), [[990]]);
}

#[test]
fn what_was_lost_after_a_time_is_taken_again() {
    let mut process = Process::new(LIMITS, 1);
    process.takes(i64::MIN, true, "a", &at(Kind::Float, [1, 2, 3]));
    process.takes(i64::MIN, true, "settled", &at(Kind::Float, [1]));
    let mut cold = process.successor(0);
    // What a process has taken itself may have become visible late: the sample of second 1 may be
    // one of those that were lost. A table has only what had arrived.
    let expected: [&[i64]; 2] = [&[1, 2, 3], &[2, 3]];
    for (process, expected) in [&mut process, &mut cold].into_iter().zip(expected) {
        process.writers[0]
            .borrow_mut()
            .rewind(EPOCH_MS + 1500, |_| true);
        let commit = process.takes(i64::MIN, true, "a", &at(Kind::Float, [1, 2, 3]));
        assert_eq!(times(&commit), [expected]);
        let commit = process.takes(i64::MIN, true, "settled", &at(Kind::Float, [1]));
        assert!(
            times(&commit).iter().all(Vec::is_empty),
            "it was taken before"
        );
    }
}

#[test]
fn a_table_replaces_what_a_process_knew() {
    let mut process = Process::new(LIMITS, 1);
    let mut other = process.successor(0);
    process.takes(i64::MIN, true, "a", &at(Kind::Float, [1, 2, 3]));
    process.takes(i64::MIN, true, "b", &at(Kind::Float, [1]));
    other.takes(i64::MIN, true, "a", &at(Kind::Float, [1]));
    other.takes(i64::MIN, true, "c", &at(Kind::Float, [7]));
    let table = other.writers[0].borrow().last_timestamps(|_| true, 0);
    process.writers[0].borrow_mut().restore(&table, |_| true);
    let rows: [(&str, &[i64], &[i64]); 3] = [
        ("a", &[1, 2, 3], &[2, 3]),
        ("b", &[1], &[1]),
        ("c", &[7, 8], &[8]),
    ];
    for (name, shown, sent) in rows {
        let commit = process.takes(
            i64::MIN,
            true,
            name,
            &at(Kind::Float, shown.iter().copied()),
        );
        assert_eq!(times(&commit), [sent], "{name}");
    }
}
