//! What remotes answer, and what becomes of the tick.

use std::sync::Arc;

use amp_forwarder::report::{IncidentKind, Outcome};

use super::{OWN, PLENTY, SECOND, always, plan, samples, takes};
use crate::bench::{Bench, Reply, START_MS, job, series, yaml};

#[tokio::test(start_paused = true)]
async fn what_an_outage_takes_beyond_the_deadline_is_lost_and_sent_again_by_the_next_tick() {
    let recovers =
        |(nth, _): (usize, usize)| Reply::Status(if nth < 100_000 && nth > 0 { 503 } else { 200 });
    let mut bench = Bench::new(
        &yaml(&job("a", 60), 1, "max_samples_per_send: 10"),
        |_| series(95, START_MS - 1_000),
        vec![Box::new(recovers)],
        PLENTY,
    );
    let report = bench.tick(30, plan()).await;
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
    assert_eq!(report.ledger.lost, 100, "{report:?}");
    assert_eq!(report.ledger.written, 0, "{report:?}");
    assert!(
        report.incidents.iter().any(|incident| {
            incident.kind == IncidentKind::SamplesLost
                && incident.remote.as_deref() == Some("r0")
                && incident.samples == Some(100)
        }),
        "{:?}",
        report.incidents
    );
    assert!(
        report
            .errors
            .iter()
            .any(|error| error.contains("answered 503")),
        "{:?}",
        report.errors
    );
    assert!(
        report.duration_ms <= 28_000,
        "the margin is kept: {}",
        report.duration_ms
    );

    let back = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let of_remote = Arc::clone(&back);
    let script = move |_| {
        Reply::Status(if of_remote.load(std::sync::atomic::Ordering::Relaxed) {
            200
        } else {
            503
        })
    };
    let mut bench = Bench::new(
        &yaml(&job("a", 60), 1, "max_samples_per_send: 10"),
        |_| series(95, START_MS - 1_000),
        vec![Box::new(script)],
        PLENTY,
    );
    assert_eq!(bench.tick(30, plan()).await.ledger.lost, 100);
    back.store(true, std::sync::atomic::Ordering::Relaxed);
    bench.remotes[0].take();
    bench.at(60 * SECOND).await;
    let report = bench.tick(30, plan()).await;
    assert_eq!(report.outcome, Outcome::Ok, "{report:?}");
    assert_eq!(report.ledger.written, 100, "{report:?}");
    assert_eq!(report.ledger.unchanged, 0, "{report:?}");
    bench.at(120 * SECOND).await;
    let report = bench.tick(30, plan()).await;
    assert_eq!(
        (report.ledger.written, report.ledger.unchanged),
        (OWN, 95),
        "and then they are known"
    );
}

#[tokio::test(start_paused = true)]
async fn a_denial_stops_the_shards_and_the_next_tick_probes() {
    let queue = "max_samples_per_send: 5, max_shards: 4";
    let denied = always(Reply::After(SECOND, Box::new(Reply::Status(403))));
    let mut bench = Bench::new(
        &yaml(&job("a", 60), 1, queue),
        |(_, now)| series(95, now),
        vec![denied],
        PLENTY,
    );
    let report = bench.tick(60, plan()).await;
    assert_eq!((report.outcome, report.ledger.lost), (Outcome::Failed, 100));
    assert!(
        report
            .errors
            .iter()
            .any(|error| error.contains("answered 403")),
        "{:?}",
        report.errors
    );
    let posts = bench.remotes[0].take();
    assert_eq!(
        posts.len(),
        8,
        "each of the four shards signed its batch twice"
    );
    assert!(report.duration_ms < 5_000);

    bench.at(60 * SECOND).await;
    bench.tick(60, plan()).await;
    let posts = bench.remotes[0].take();
    assert_eq!(
        (posts.len(), posts.iter().map(|post| post.together).max()),
        (2, Some(1)),
        "one batch, signed twice"
    );
}

#[tokio::test(start_paused = true)]
async fn partial_is_a_scrape_that_failed_or_samples_refused() {
    let jobs = job("a", 60) + &job("b", 60);
    let home = |(url, now): (String, i64)| {
        if url.contains("a:9090") {
            Reply::Status(500)
        } else {
            series(3, now)
        }
    };
    let mut bench = Bench::new(&yaml(&jobs, 1, ""), home, vec![takes()], PLENTY);
    let report = bench.tick(60, plan()).await;
    assert_eq!(
        (report.outcome, report.ledger.written),
        (Outcome::Partial, 3 + 2 * OWN)
    );
    assert_eq!(report.scrapes.iter().filter(|scrape| scrape.up).count(), 1);

    let refuses = always(Reply::Status(400));
    let mut bench = Bench::new(
        &yaml(&job("a", 60), 1, ""),
        |(_, now)| series(3, now),
        vec![refuses],
        PLENTY,
    );
    let report = bench.tick(60, plan()).await;
    assert_eq!(report.outcome, Outcome::Partial, "{report:?}");
    assert_eq!(report.ledger.rejected, 3 + OWN, "{report:?}");
    assert_eq!(report.ledger.lost, 0, "{report:?}");

    let mut bench = Bench::new(
        &yaml(&job("a", 60), 1, ""),
        |_| Reply::Silence,
        vec![takes()],
        PLENTY,
    );
    let report = bench.tick(60, plan()).await;
    assert_eq!(
        (report.outcome, report.ledger.written),
        (Outcome::Failed, OWN),
        "no scrape succeeded, and up 0 tells so"
    );
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_hangs_holds_up_no_other() {
    let remotes = vec![always(Reply::Silence), takes()];
    let mut bench = Bench::new(
        &yaml(&job("a", 15), 2, "max_samples_per_send: 10"),
        |(_, now)| series(45, now),
        remotes,
        PLENTY,
    );
    let report = bench.tick(58, plan()).await;
    let scrapes = report.scrapes.len() as u64;
    assert!(scrapes >= 4);
    let [hanging, taking] = &report.remotes[..] else {
        panic!("two remotes")
    };
    assert_eq!(
        (taking.ledger.written, taking.ledger.lost),
        (50 * scrapes, 0)
    );
    assert_eq!(
        (hanging.ledger.written, hanging.ledger.lost),
        (0, 50 * scrapes)
    );
    assert_eq!(report.outcome, Outcome::Failed);
    for (index, scrape) in report.scrapes.iter().enumerate() {
        let of_scrape = bench.remotes[1].take();
        let own: Vec<_> = of_scrape
            .iter()
            .filter(|post| post.samples.iter().any(|(name, _)| name == "up"))
            .collect();
        assert!(
            own.iter()
                .all(|post| post.at_ms - post.samples.last().map_or(0, |last| last.1) < 1_000),
            "scrape {index} of {scrape:?} waited"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn as_many_requests_at_once_as_the_bounds_allow() {
    for (queue, batches, together) in [
        ("max_samples_per_send: 10, max_shards: 3", 10, 3),
        ("max_samples_per_send: 10, max_shards: 1", 10, 1),
        (
            "max_samples_per_send: 10, max_shards: 50, min_shards: 20",
            10,
            10,
        ),
        (
            "max_samples_per_send: 1000, max_shards: 50, min_shards: 20",
            1,
            1,
        ),
        // A batch is never larger than the queue.
        (
            "max_samples_per_send: 1000, capacity: 50, max_shards: 50",
            2,
            2,
        ),
    ] {
        let mut bench = Bench::new(
            &yaml(&job("a", 60), 1, queue),
            |(_, now)| series(95, now),
            vec![takes()],
            PLENTY,
        );
        let report = bench.tick(60, plan()).await;
        let posts = bench.remotes[0].take();
        assert_eq!(
            (posts.len(), posts.iter().map(|post| post.together).max()),
            (batches, Some(together)),
            "{queue}"
        );
        assert_eq!((samples(&posts), report.ledger.written), (100, 100));
    }
}
