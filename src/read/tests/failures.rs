//! Answers that are not taken.

use std::time::Duration;

use super::super::ReadErrorKind::{self, Refused, Smaller, Unavailable, Unsupported};
use super::*;

fn answered() -> Vec<Vec<TimeSeries>> {
    let samples = [(-60_000, 1.0), (-45_000, 2.0), (-30_000, 3.0)];
    let names = ["up", "down", "left", "right"];
    vec![names.map(|name| floats(name, &samples)).to_vec()]
}

/// Reads the window again: a good answer still gives all of it.
async fn all_is_still_to_come(bench: &Bench) {
    let read = bench.read([bench.good(&answered())]).await;
    assert_eq!(read.outcome.error, None);
    assert_eq!(read.outcome.commits[0].counts.fresh, 12);
    assert_eq!(read.outcome.commits[0].counts.overlapped, 0);
}

#[tokio::test(start_paused = true)]
async fn a_cut_anywhere_loses_nothing() {
    let bench = Bench::new("up", "");
    let whole = bench.good(&answered());
    for len in 0..whole.body.len() {
        for reset in [false, true] {
            let mut answer = whole.clone();
            answer.body.truncate(len);
            answer.reset = reset;
            let read = bench.read([answer]).await;
            let (kind, text) = read.error();
            let expected = if len == 0 && !reset {
                Unavailable
            } else {
                Smaller
            };
            // The length itself may be cut.
            assert!(
                kind == expected || (len < 2 && kind == Unavailable),
                "{len}: {text}"
            );
            assert_eq!(read.sent, [], "{len}");
            let commit = &read.outcome.commits[0];
            assert_eq!(commit.ledger().scraped, commit.rolled_back, "{len}");
        }
    }
    all_is_still_to_come(&bench).await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_length_in_front_is_noticed() {
    let bench = Bench::new("up", "");
    let whole = bench.good(&answered());
    let (length, rest) = (
        u16::from_le_bytes([whole.body[0], whole.body[1]]),
        &whole.body[2..],
    );
    assert!(length & 0x8080 == 0x0080, "a varint of two bytes");
    let length = (length & 0x7f) | (length >> 8) << 7;
    for wrong in [length - 1, length + 1, 0x80, 0x3fff] {
        let varint = [(wrong & 0x7f) as u8 | 0x80, (wrong >> 7) as u8];
        let mut answer = whole.clone();
        answer.body = [&varint, rest].concat();
        let read = bench.read([answer]).await;
        let (kind, text) = read.error();
        let expected = if wrong > length { Smaller } else { Unavailable };
        assert_eq!(kind, expected, "{text}");
        assert!(text.contains("snappy: "), "{text}");
    }
    let mut huge = whole.clone();
    huge.body = [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], rest].concat();
    let (kind, text) = bench.read([huge]).await.error();
    assert_eq!(kind, Smaller, "{text}");
    all_is_still_to_come(&bench).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_answer_of_remote_read_says_so() {
    let bench = Bench::new("up", "");
    let good = bench.good(&answered());
    let html = "text/html; charset=utf-8";
    let cases: [(Answer, ReadErrorKind, &str); 11] = [
        (
            Answer::other(200, html, "<html>log in"),
            Unsupported,
            "the answer is text/html",
        ),
        (
            good.clone().without("content-type"),
            Unsupported,
            "without Content-Type",
        ),
        (
            Answer {
                body: Vec::new(),
                ..good.clone()
            },
            Unavailable,
            "does not start with a length",
        ),
        // A result for each query, no more and no less.
        (
            bench.good(&[vec![], vec![]]),
            Unavailable,
            "not one result for each query",
        ),
        (
            bench.good(&[]),
            Unavailable,
            "not one result for each query",
        ),
        (
            Answer::other(301, html, "moved"),
            Unsupported,
            "give the final one as target",
        ),
        (
            Answer::other(405, "", ""),
            Unsupported,
            "there is no remote read here",
        ),
        (
            Answer::other(500, "text/plain", "unavailable with Prometheus Agent\n"),
            Unsupported,
            "500: \"unavailable with Prometheus Agent\"; an agent keeps no samples",
        ),
        (
            Answer::other(503, "text/plain", "x"),
            Unavailable,
            "replays its write-ahead log",
        ),
        (
            Answer::other(504, "text/plain", ""),
            Smaller,
            "a proxy gave up waiting",
        ),
        (
            Answer::other(401, "text/plain", ""),
            Refused,
            "allow POST /api/v1/read",
        ),
    ];
    for (answer, expected, part) in cases {
        let read = bench.read([answer]).await;
        let (kind, text) = read.error();
        assert_eq!(kind, expected, "{text}");
        assert!(text.contains(part), "{text}");
        assert!(text.contains("http://h:1/api/v1/read"), "{text}");
        assert_eq!(read.sent, []);
    }
    all_is_still_to_come(&bench).await;
}

#[tokio::test(start_paused = true)]
async fn damaged_bytes_never_commit_what_is_not_whole() {
    let bench = Bench::new("up", "");
    let whole = bench.good(&answered());
    for at in 0..whole.body.len() {
        let mut answer = whole.clone();
        answer.body[at] ^= 0x55;
        let read = bench.read([answer]).await;
        // Damage within a name or a value cannot be seen: snappy's block has no checksum.
        let committed = read.outcome.commits[0].counts.fresh;
        assert!(read.outcome.error.is_none() || committed == 0, "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_home_that_takes_too_long_may_still_be_at_it() {
    let bench = Bench::new("up", "");
    let late = Answer {
        headers_after: Duration::from_secs(30),
        ..bench.good(&answered())
    };
    let read = bench.read([late]).await;
    assert_eq!(read.error().0, Smaller);
    assert!(read.outcome.error.as_ref().unwrap().runs_on());
    assert!(read.outcome.duration <= Duration::from_secs(21));
    all_is_still_to_come(&bench).await;
}

#[tokio::test(start_paused = true)]
async fn limits_end_a_window() {
    // A limit of the job, as in a scrape: a person must act.
    let bench = Bench::new("up", ", sample_limit: 3");
    let (kind, text) = bench.read([bench.good(&answered())]).await.error();
    assert_eq!(kind, Refused, "{text}");
    assert!(text.contains("sample_limit of 3 (4 series)"), "{text}");
    // Memory: the next window is smaller.
    let mut bench = Bench::new("up", "");
    bench.room = 0;
    let read = bench.read([bench.good(&answered())]).await;
    let (kind, text) = read.error();
    assert_eq!(kind, Smaller, "{text}");
    assert!(text.contains("memory_limit exceeded"), "{text}");
    bench.room = usize::MAX;
    all_is_still_to_come(&bench).await;
    // Samples.
    let bench = Bench::new("up", "");
    let many: Vec<_> = (-75_000..-15_000).step_by(59).map(|at| (at, 1.0)).collect();
    let (kind, text) = bench
        .read([bench.good(&[vec![floats("up", &many)]])])
        .await
        .error();
    assert_eq!(kind, Smaller, "{text}");
    assert!(
        text.contains("the 1000 samples of a window exceeded"),
        "{text}"
    );
}
