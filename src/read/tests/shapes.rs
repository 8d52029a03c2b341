//! What is taken of a window.

use std::time::Duration;

use super::super::Slots;
use super::*;
use crate::prompb::STALE_NAN;

const UP: &str = "__name__=up,instance=i,job=x";

#[tokio::test(start_paused = true)]
async fn all_samples_of_a_window_are_taken() {
    let bench = Bench::new("up", "");
    let up = floats(
        "up",
        &[
            (-60_000, 1.0),
            (-45_000, 2.5),
            (-30_000, f64::from_bits(STALE_NAN)),
        ],
    );
    let answer = bench.good(&[vec![up, histograms("h", &[-60_000, -20_000])]]);
    let read = bench.read([answer]).await;
    // The Date may be a second old.
    assert_eq!(read.end_ms(), Some(-20_000));
    let sent = ["-60000=1", "-45000=2.5", "-30000=stale"].map(str::to_owned);
    assert_eq!(
        read.sent,
        [
            (
                "__name__=h,instance=i,job=x".to_owned(),
                vec![],
                vec![-60_000, -20_000]
            ),
            (UP.to_owned(), sent.to_vec(), vec![]),
        ]
    );
    let WindowOutcome {
        size,
        tally,
        commits,
        ahead_ms,
        ..
    } = &read.outcome;
    assert_eq!((size.series, size.samples), (2, 5));
    assert!(size.raw_bytes > 100, "{size:?}");
    assert_eq!((tally.scraped, tally.series_added), (5, 2));
    assert_eq!((commits[0].counts.fresh, commits[0].rolled_back), (5, 0));
    assert_eq!(*ahead_ms, Some(0));
    let asked = bench.home.asked.lock().unwrap();
    assert_eq!(asked[0].queries[0].start_timestamp_ms, NOW_MS - 75_000);
    assert_eq!(asked[0].queries[0].end_timestamp_ms, NOW_MS - 15_000);
    assert_eq!(asked[0].queries[0].matchers[0].value, "up");
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_is_not_sent_again_and_what_came_late_is() {
    let bench = Bench::new("up", "");
    let first = floats("up", &[(-60_000, 1.0)]);
    let read = bench.read([bench.good(&[vec![first]])]).await;
    assert_eq!(read.outcome.commits[0].counts.fresh, 1);
    let again = floats("up", &[(-60_000, 1.0), (-45_000, 2.0)]);
    let read = bench.read([bench.good(&[vec![again]])]).await;
    assert_eq!(
        read.sent,
        [(UP.to_owned(), vec!["-45000=2".to_owned()], vec![])]
    );
    let counts = read.outcome.commits[0].counts;
    assert_eq!((counts.fresh, counts.overlapped, counts.scraped), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_has_not_settled_waits_for_the_next_window() {
    // Both clocks, the time to the headers, and the end of the window.
    for (date, headers_after, end) in [
        (0, 0, Some(-20_000)),
        // The home is ten seconds behind, or ten minutes ahead.
        (-10_000, 0, Some(-30_000)),
        (600_000, 0, Some(-15_000)),
        // The snapshot may have been made at once, and the Date be of the end.
        (10_000, 10_000, Some(-20_000)),
        (0, 10_000, Some(-30_000)),
        // Nothing of the window has settled: its end is before its start.
        (-3_600_000, 0, Some(-3_620_000)),
    ] {
        let bench = Bench::new("up", "");
        let times = [-75_000, -30_001, -30_000, -20_000, -19_999, -15_000];
        let samples = times.map(|at| (at, 1.0));
        let answer = Answer {
            headers_after: Duration::from_millis(headers_after),
            ..Answer::good(NOW_MS + date, &[vec![floats("up", &samples)]])
        };
        let read = bench.read([answer]).await;
        assert_eq!(read.end_ms(), end, "{date} {headers_after}");
        let expected = times.iter().filter(|&&at| Some(at) <= end).count() as u64;
        assert_eq!(
            read.outcome.commits[0].counts.scraped, expected,
            "{date} {headers_after}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_resolution_keeps_the_newest_sample_of_each_span() {
    let mut bench = Bench::new("up", "");
    bench.shape = WindowShape::Raw {
        resolution_ms: 30_000,
    };
    bench.range = TimeRange {
        start_ms: NOW_MS - 90_000,
        end_ms: NOW_MS - 30_000,
    };
    let samples = [-89_000, -61_000, -60_000, -40_000, -31_000, -30_000].map(|at| (at, 1.0));
    let read = bench
        .read([bench.good(&[vec![floats("up", &samples)]])])
        .await;
    assert_eq!(read.end_ms(), Some(-30_000));
    // The end of a span belongs to it, as the end of the window does.
    let sent = ["-60000=1", "-30000=1"].map(str::to_owned);
    assert_eq!(read.sent, [(UP.to_owned(), sent.to_vec(), vec![])]);
}

#[tokio::test(start_paused = true)]
async fn slots_show_what_a_scrape_would_have_shown() {
    for (job, sent, histograms_sent) in [
        ("", vec!["-70000=1", "-45000=2", "-16000=3"], vec![-62_000]),
        // The slot is the timestamp, and a sample is shown again.
        (
            ", honor_timestamps: false",
            vec!["-60000=1", "-45000=2", "-30000=2", "-15000=3"],
            vec![-60_000, -45_000],
        ),
        (
            ", scrape_protocols: [PrometheusText0.0.4]",
            vec!["-70000=1", "-45000=2", "-16000=3"],
            vec![],
        ),
    ] {
        let mut bench = Bench::new("up", job);
        let slots = Slots {
            first_ms: NOW_MS - 60_000,
            interval_ms: 15_000,
            count: 4,
            look_back_ms: 20_000,
        };
        bench.shape = WindowShape::Slots(slots);
        bench.range = slots.range();
        let up = [
            (-70_000, 1.0),
            (-46_000, 1.5),
            (-45_000, 2.0),
            (-16_000, 3.0),
        ];
        let answer = bench.good(&[vec![
            floats("up", &up),
            histograms("h", &[-63_000, -62_000]),
        ]]);
        let read = bench.read([answer]).await;
        // Slots need not settle: they show what is visible, as federation does.
        assert_eq!(read.end_ms(), Some(-15_000));
        let of = |name: &str| {
            let series = read.sent.iter().find(|(labels, ..)| labels.contains(name));
            series.map(|(_, floats, histograms)| (floats.clone(), histograms.clone()))
        };
        let floats: Vec<_> = sent.into_iter().map(str::to_owned).collect();
        assert_eq!(of("=up,"), Some((floats, vec![])), "{job}");
        let expected = (!histograms_sent.is_empty()).then_some((vec![], histograms_sent));
        assert_eq!(of("=h,"), expected, "{job}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_date_serves_slots_only() {
    let mut bench = Bench::new("up", "");
    let answer = |bench: &Bench| {
        bench
            .good(&[vec![floats("up", &[(-60_000, 1.0)])]])
            .without("date")
    };
    let read = bench.read([answer(&bench)]).await;
    let (kind, text) = read.error();
    assert_eq!(kind, super::super::ReadErrorKind::NoDate, "{text}");
    assert!(
        text.contains("set forwarder.remote_read.mode to gaps"),
        "{text}"
    );
    bench.shape = WindowShape::Slots(Slots {
        first_ms: NOW_MS - 60_000,
        interval_ms: 15_000,
        count: 3,
        look_back_ms: 10_000,
    });
    let read = bench.read([answer(&bench)]).await;
    assert_eq!(read.end_ms(), Some(-15_000));
    assert_eq!(read.sent.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn overlapping_selectors_give_a_series_once() {
    let bench = Bench::new("up, '{job=\"x\"}'", "");
    let up = floats("up", &[(-60_000, 1.0)]);
    let other = floats("other", &[(-60_000, 1.0)]);
    let answer = bench.good(&[vec![up.clone()], vec![other, up]]);
    let read = bench.read([answer]).await;
    assert_eq!(read.sent.len(), 2);
    assert_eq!(read.outcome.commits[0].counts.scraped, 2);
}

#[tokio::test(start_paused = true)]
async fn a_label_set_that_comes_twice_is_read_again_and_merged() {
    let bench = Bench::new("up", "");
    let one = floats("up", &[(-60_000, 1.0), (-30_000, 3.0)]);
    let two = floats("up", &[(-60_000, 9.0), (-45_000, 2.0)]);
    let other = floats("other", &[(-60_000, 1.0)]);
    let answer = bench.good(&[vec![one, other, two]]);
    let read = bench.read([answer.clone(), answer]).await;
    let sent = ["-60000=1", "-45000=2", "-30000=3"].map(str::to_owned);
    assert_eq!(read.sent[1], (UP.to_owned(), sent.to_vec(), vec![]));
    let commit = &read.outcome.commits[0];
    assert_eq!((commit.counts.scraped, commit.rolled_back), (4, 0));
    assert_eq!(read.outcome.tally.scraped, 4);
}

#[tokio::test(start_paused = true)]
async fn a_part_of_the_names_is_asked_for_by_a_matcher() {
    let mut bench = Bench::new("up, down", "");
    bench.part = NamePart::all(2).last().unwrap();
    bench.read([bench.good(&[vec![], vec![]])]).await;
    let asked = bench.home.asked.lock().unwrap();
    for query in &asked[0].queries {
        let matcher = query.matchers.last().unwrap();
        assert_eq!((matcher.kind, &*matcher.value), (2, "(?s:(?:.{2})*.{1})"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_window_is_reported_as_a_scrape_is() {
    let mut bench = Bench::new("up", ", extra_scrape_metrics: true");
    bench.reports = true;
    let value = |read: &Read, name: &str| {
        let wanted = format!("__name__={name},instance=h:1,job=j");
        let series = read.sent.iter().find(|(labels, ..)| *labels == wanted);
        series.map(|(_, floats, _)| floats.join(" "))
    };
    let x = floats("x", &[(-60_000, 1.0), (-45_000, 1.0)]);
    let read = bench.read([bench.good(&[vec![x]])]).await;
    assert_eq!(value(&read, "up").as_deref(), Some("0=1"));
    assert_eq!(
        value(&read, "scrape_samples_scraped").as_deref(),
        Some("0=2")
    );
    assert_eq!(value(&read, "scrape_series_added").as_deref(), Some("0=1"));
    assert!(value(&read, "scrape_body_size_bytes").unwrap().len() > "0=0".len());
    // A window that fails may be read again, so its caller says when the home is down.
    tokio::time::advance(Duration::from_secs(5)).await;
    let mut read = bench.read([Answer::other(503, "text/plain", "")]).await;
    assert_eq!(read.sent, []);
    let job = &bench.config.scrape_configs[0];
    read.sent = sent(&bench.reader(&|_| true).report_down(job, &bench.target)[0]);
    assert_eq!(value(&read, "up").as_deref(), Some("5000=0"));
    assert_eq!(
        value(&read, "scrape_samples_scraped").as_deref(),
        Some("5000=0")
    );
}

#[tokio::test(start_paused = true)]
async fn label_sets_that_only_the_second_pass_meets_twice_are_merged_in_the_third() {
    let bench = Bench::new("up", "");
    let [up, other] = ["up", "other"].map(|name| floats(name, &[(-60_000, 1.0)]));
    let first = bench.good(&[vec![up.clone(), other.clone(), up.clone()]]);
    let second = bench.good(&[vec![other.clone(), up.clone(), up, other]]);
    let read = bench.read([first, second.clone(), second]).await;
    assert_eq!(read.outcome.error, None);
    assert_eq!(read.sent.len(), 2);
    assert_eq!(read.outcome.commits[0].counts.scraped, 2);
    // When that goes on, nothing is taken.
    let bench = Bench::new("up", "");
    let twice = |name| bench.good(&[vec![floats(name, &[(-60_000, 1.0)]); 2]]);
    let read = bench.read(["a", "b", "c"].map(twice)).await;
    assert_eq!(read.error().0, super::super::ReadErrorKind::Unavailable);
    assert_eq!(read.sent, []);
    assert_eq!(
        read.outcome.commits[0].rolled_back,
        read.outcome.commits[0].ledger().scraped
    );
}

#[tokio::test(start_paused = true)]
async fn custom_buckets_are_shown_as_classic_ones_at_a_slot_and_as_they_are_otherwise() {
    let mut bench = Bench::new("up", ", scrape_protocols: [PrometheusText0.0.4]");
    let mut custom = histograms("h", &[-60_000, -50_000]);
    for histogram in &mut custom.histograms {
        histogram.schema = -53;
        histogram.custom_values = vec![0.5];
    }
    let answer = bench.good(&[vec![custom]]);
    let slots = Slots {
        first_ms: NOW_MS - 60_000,
        interval_ms: 10_000,
        count: 1,
        look_back_ms: 10_000,
    };
    bench.shape = WindowShape::Slots(slots);
    bench.range = slots.range();
    let read = bench.read([answer.clone()]).await;
    let names: Vec<_> = read
        .sent
        .iter()
        .map(|(labels, floats, _)| format!("{labels} {}", floats.join(" ")))
        .collect();
    assert_eq!(
        names,
        [
            "__name__=h_bucket,instance=i,job=x,le=+Inf -60000=0",
            "__name__=h_bucket,instance=i,job=x,le=0.5 -60000=0",
            "__name__=h_count,instance=i,job=x -60000=0",
            "__name__=h_sum,instance=i,job=x -60000=0",
        ]
    );
    bench.shape = WindowShape::Raw { resolution_ms: 0 };
    bench.range.end_ms = NOW_MS - 15_000;
    let read = bench.read([answer]).await;
    let raw = [(
        "__name__=h,instance=i,job=x".to_owned(),
        vec![],
        vec![-60_000, -50_000],
    )];
    assert_eq!(read.sent, raw);
}
