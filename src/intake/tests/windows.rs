//! What a window of remote read becomes.

use super::*;

#[test]
fn what_was_sent_is_counted_as_overlapped_and_what_comes_late_is_sent() {
    let mut process = Process::new(LIMITS, 1);
    let start = EPOCH_MS;
    let first = process.takes(start, false, "a", &at(Kind::Float, [-15, 0, 15, 30]));
    assert_eq!(
        times(&first),
        [[15, 30]],
        "a watermark without a table ends what was sent"
    );
    let counts = first.counts;
    assert_eq!(
        (counts.scraped, counts.fresh, counts.overlapped, counts.late),
        (2, 2, 2, 0)
    );
    assert_eq!(counts.series_added, 1);

    let second = process.takes(
        start + 60_000,
        true,
        "a",
        &at(Kind::Float, [30, 45, 50, 60, 75]),
    );
    assert_eq!(times(&second), [[45, 50, 60, 75]]);
    let counts = second.counts;
    assert_eq!((counts.scraped, counts.fresh, counts.overlapped), (4, 4, 1));
    assert_eq!((counts.late, counts.worst_late_ms), (3, 15_000));
    assert_eq!((process.tally.scraped, process.tally.series_added), (4, 0));

    let third = process.takes(start + 75_000, true, "a", &at(Kind::Float, [60, 75]));
    assert_eq!(
        (
            third.counts.scraped,
            third.counts.overlapped,
            times(&third).len()
        ),
        (0, 2, 0)
    );
    assert_eq!(third.ledger().scraped, 0);

    let new = process.takes(start + 75_000, true, "b", &at(Kind::Float, [60, 75, 80]));
    assert_eq!(
        times(&new),
        [[60, 75, 80]],
        "a complete table knows that nothing of it was sent"
    );
    assert_eq!((new.counts.late, new.counts.worst_late_ms), (2, 15_000));
}

#[test]
fn each_run_of_a_kind_is_an_entry_of_the_next_scrape_number() {
    let mut process = Process::new(LIMITS, 1);
    let mut samples = at(Kind::Float, [1, 2, 5]);
    samples.extend(at(Kind::Histogram, [3, 4, 6, 7]));
    samples.extend(at(Kind::Marker, [8]));
    samples.sort_unstable();
    let commit = process.takes(i64::MIN, true, "a", &samples);
    let expected: [&[i64]; 5] = [&[1, 2], &[3, 4], &[5], &[6, 7], &[8]];
    assert_eq!(times(&commit), expected);
    Receiver::default().take(&commit.scrapes);
}

#[test]
fn a_run_beyond_the_limits_of_a_batch_is_cut_in_time() {
    let entries = |samples, bytes| {
        let mut process = Process::new(BatchLimits { samples, bytes }, 1);
        let commit = process.takes(i64::MIN, true, "a", &at(Kind::Float, 1..=10));
        Receiver::default().take(&commit.scrapes);
        let sizes: Vec<_> = commit
            .scrapes
            .iter()
            .flatten()
            .map(|batch| batch.samples)
            .collect();
        let lengths = commit.scrapes.iter().flatten().map(|batch| batch.raw_len);
        (sizes, lengths.max().unwrap() as usize)
    };
    assert_eq!(entries(4, 100_000).0, [4, 4, 2]);
    assert_eq!(entries(10, 100_000).0, [10]);
    // Labels take 57 bytes, a sample 18 (9 where it is 0 with a plus): see `value`.
    let (sizes, longest) = entries(100, 150);
    assert_eq!(sizes, [4, 4, 2]);
    assert!(longest <= 150, "{longest}");
    assert_eq!(
        entries(100, 1).0,
        [1; 10],
        "a sample alone is never too large"
    );
}

#[test]
fn one_bad_sample_costs_no_other() {
    let mut process = Process::new(LIMITS, 1);
    process.histogram_limits = HistogramLimits::new(2, 0.0);
    let now = EPOCH_MS + 3_600_000;
    let plain = |timestamp_ms| TimedFloat {
        value: 1.0,
        timestamp_ms,
    };
    let far = now + 600_001;
    let floats = [plain(now), plain(far - 1), plain(far)];
    let broken = Histogram {
        count: Some(Count::Int(1)),
        ..histogram(now - 30)
    };
    let too_many = Histogram {
        count: Some(Count::Int(3)),
        zero_count: Some(ZeroCount::Int(0)),
        schema: -53,
        custom_values: vec![1.0, 2.0, 3.0],
        positive_spans: vec![crate::prompb::messages::BucketSpan {
            offset: 0,
            length: 3,
        }],
        positive_deltas: vec![1, 0, 0],
        ..histogram(now - 20)
    };
    let mut stale = Histogram::stale(crate::prompb::ValueKind::Histogram);
    stale.timestamp = now - 5;
    let histograms = [
        histogram(now - 40),
        broken,
        too_many,
        histogram(now - 10),
        stale,
    ];
    let rules = process.rules(now);
    let mut transaction = IntakeTransaction::begin_window(&process.writers, rules, &[]);
    let window = SeriesWindow {
        series: b"\na",
        floats: &floats,
        histograms: &histograms,
    };
    let labels = [exposed("__name__", "a")];
    transaction
        .intake()
        .resolved_window(&window, &labels)
        .unwrap();
    let tally = transaction.tally();
    let commit = transaction.commit().unwrap().remove(0);
    assert_balance(commit.counts);
    let sent: Vec<Vec<i64>> = times(&commit);
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [3, 2]);
    assert_eq!((commit.counts.fresh, commit.counts.filtered), (5, 3));
    assert_eq!(
        (tally.scraped, tally.post_relabel, tally.limited),
        (8, 5, 1)
    );
    assert!(tally.over_buckets);

    // The one that is too far ahead moves nothing: what comes before it is still taken.
    let window = SeriesWindow {
        series: b"\na",
        floats: &[plain(far - 1), plain(far)],
        histograms: &[],
    };
    let rules = process.rules(now + 1);
    let mut transaction = IntakeTransaction::begin_window(&process.writers, rules, &[]);
    assert_eq!(transaction.intake().known_window(&window), Ok(true));
    let commit = transaction.commit().unwrap().remove(0);
    assert_eq!((commit.counts.fresh, commit.counts.overlapped), (1, 1));
}

#[test]
fn samples_out_of_order_or_twice_are_put_in_order_and_sent_once() {
    let mut process = Process::new(LIMITS, 1);
    let mut samples = at(Kind::Float, [3, 1, 2, 2]);
    samples.extend(at(Kind::Histogram, [2, 9, 8, 9]));
    let commit = process.takes(i64::MIN, true, "a", &samples);
    // Of a float and a histogram at one time the float counts, and ends its run.
    let expected: [&[i64]; 3] = [&[1, 2], &[3], &[8, 9]];
    assert_eq!(times(&commit), expected);
    assert_eq!((commit.counts.fresh, commit.counts.filtered), (5, 3));
}

#[test]
fn a_series_that_relabelling_drops_is_counted_once() {
    let mut process = Process::new(LIMITS, 1);
    process.metric_relabel = vec![
        Rule::new(RuleSpec {
            source_labels: Some(vec!["__name__".to_owned()]),
            regex: Some("dropped".to_owned()),
            action: Action::Drop,
            ..RuleSpec::default()
        })
        .unwrap(),
    ];
    let first = process.takes(EPOCH_MS, true, "dropped", &at(Kind::Float, [-1, 1, 2]));
    assert_eq!((first.counts.filtered, first.counts.overlapped), (2, 1));
    assert_eq!((process.tally.scraped, process.tally.post_relabel), (2, 0));
    let second = process.takes(
        EPOCH_MS + 2000,
        true,
        "dropped",
        &at(Kind::Float, [1, 2, 3]),
    );
    assert_eq!((second.counts.filtered, second.counts.overlapped), (1, 2));
    assert_eq!(fresh(&second), 0);
    assert_eq!(process.tally.scraped, 1);
}

#[test]
fn histograms_that_a_remote_does_not_take_are_counted_once() {
    let mut process = Process::new(LIMITS, 0);
    process.writers.push(RefCell::new(Writer::new(LIMITS)));
    let mut samples = at(Kind::Float, [1]);
    samples.extend(at(Kind::Histogram, [2, 3]));
    let first = process.takes(i64::MIN, true, "a", &samples);
    assert_eq!((first.counts.fresh, first.counts.filtered), (1, 2));
    let again = process.takes(i64::MIN, true, "a", &samples);
    assert_eq!((again.counts.scraped, again.counts.overlapped), (0, 3));
}

#[test]
fn sample_limit_counts_a_series_once() {
    let mut process = Process::new(LIMITS, 1);
    process.limits.samples = 1;
    let samples = at(Kind::Float, 1..5);
    let one = process.takes(i64::MIN, true, "a", &samples);
    assert_eq!((one.counts.fresh, process.tally.limited), (4, 1));
    let later = at(Kind::Float, 5..9);
    let series = BTreeMap::from([("a", later.clone()), ("b", later)]);
    let two = process.read(&[], &series, true).remove(0);
    assert_eq!(
        (two.counts.fresh, two.counts.filtered, process.tally.limited),
        (4, 4, 2)
    );
}
