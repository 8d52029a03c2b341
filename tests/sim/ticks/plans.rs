//! Plans, slots and the time of a tick.

use amp_forwarder::report::Outcome;
use amp_forwarder::tick::Plan;

use super::{OWN, PLENTY, SECOND, always, plan, takes};
use crate::bench::{Bench, Reply, START_MS, job, series, yaml};

#[tokio::test(start_paused = true)]
async fn slots_below_a_minute_are_met_across_ticks() {
    let mut bench = Bench::new(
        &yaml(&job("a", 15), 1, ""),
        |(_, now)| series(3, now),
        vec![takes()],
        PLENTY,
    );
    let mut starts = Vec::new();
    for minute in 0..4 {
        bench.at(60 * minute as u32 * SECOND + 20 * SECOND).await;
        let report = bench.tick(58, plan()).await;
        assert_eq!(report.outcome, Outcome::Ok, "{report:?}");
        assert_eq!(
            report.ledger.written,
            (3 + OWN) * report.scrapes.len() as u64
        );
        starts.extend(bench.home.take().iter().map(|seen| seen.at_ms));
    }
    // The first scrape is immediate; all later ones follow the grid of slots.
    let gaps: Vec<_> = starts[1..]
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .collect();
    assert!(gaps.iter().all(|gap| *gap == 15_000), "{gaps:?}");
    assert!((16..=17).contains(&starts.len()), "{}", starts.len());
}

#[tokio::test(start_paused = true)]
async fn once_is_one_scrape_of_each_job_and_serves_its_slot() {
    let jobs = job("a", 15) + &job("b", 60);
    let mut bench = Bench::new(
        &yaml(&jobs, 1, ""),
        |(_, now)| series(3, now),
        vec![takes()],
        PLENTY,
    );
    let report = bench
        .tick(
            60,
            Plan {
                once: true,
                ..plan()
            },
        )
        .await;
    assert_eq!(
        (report.scrapes.len(), report.duration_ms < 1_000),
        (2, true)
    );
    assert!(bench.home.take().iter().all(|seen| seen.at_ms == START_MS));
    bench.tick(60, plan()).await;
    let next = bench.home.take();
    assert!(
        next.iter()
            .all(|seen| seen.url.contains("a:9090") && seen.at_ms > START_MS + 1_000),
        "{next:?}"
    );
    // `once` scrapes each time, whether or not the slot is served.
    assert_eq!(
        bench
            .tick(
                60,
                Plan {
                    once: true,
                    ..plan()
                }
            )
            .await
            .scrapes
            .len(),
        2
    );
}

#[tokio::test(start_paused = true)]
async fn only_the_jobs_that_are_named() {
    let jobs = job("a", 60) + &job("b", 60) + &job("c", 60);
    let mut bench = Bench::new(
        &yaml(&jobs, 1, ""),
        |(_, now)| series(3, now),
        vec![takes()],
        PLENTY,
    );
    let report = bench
        .tick(
            60,
            Plan {
                jobs: Some(vec!["b".to_owned()]),
                ..plan()
            },
        )
        .await;
    assert_eq!(
        report
            .scrapes
            .iter()
            .map(|scrape| scrape.job.as_str())
            .collect::<Vec<_>>(),
        ["b"]
    );
    assert_eq!(bench.home.take().len(), 1);
    assert_eq!(
        bench
            .forwarder
            .unknown_jobs(&["c".to_owned(), "d".to_owned()]),
        ["d"]
    );
    assert_eq!(
        bench.tick(60, plan()).await.scrapes.len(),
        2,
        "the others are still due"
    );
}

#[tokio::test(start_paused = true)]
async fn a_drain_scrapes_nothing() {
    let mut bench = Bench::new(
        &yaml(&job("a", 60), 1, ""),
        |(_, now)| series(3, now),
        vec![takes()],
        PLENTY,
    );
    let report = bench
        .tick(
            60,
            Plan {
                drain_only: true,
                ..plan()
            },
        )
        .await;
    assert_eq!(report.outcome, Outcome::Ok, "{report:?}");
    assert_eq!(report.ledger.scraped, 0, "{report:?}");
    assert_eq!(report.duration_ms, 0, "{report:?}");
    assert!(bench.home.take().is_empty() && bench.remotes[0].take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_sends_and_remembers_nothing() {
    let mut bench = Bench::new(
        &yaml(&job("a", 60), 2, ""),
        |_| series(20, START_MS - 1_000),
        vec![takes(), takes()],
        PLENTY,
    );
    let report = bench.forwarder.dry_run(&plan()).await;
    assert!(report.dry_run && report.ledger.balances());
    assert_eq!(report.ledger.scraped, 50, "{report:?}");
    assert_eq!(report.ledger.owed_after, 50, "{report:?}");
    assert_eq!(report.ledger.written, 0, "{report:?}");
    assert!(bench.remotes.iter().all(|remote| remote.take().is_empty()));
    assert_eq!(
        bench.tick(60, plan()).await.ledger.written,
        50,
        "the slot is still due, and nothing is unchanged"
    );
    let warm = bench.forwarder.dry_run(&plan()).await;
    assert_eq!(
        warm.ledger.owed_after, 50,
        "it answers as a cold process would"
    );
}

#[tokio::test(start_paused = true)]
async fn a_tick_that_is_to_stop_scrapes_no_more_and_sends_what_it_has() {
    let slow = always(Reply::After(4 * SECOND, Box::new(Reply::Status(200))));
    let mut bench = Bench::new(
        &yaml(&job("a", 5), 1, ""),
        |(_, now)| series(3, now),
        vec![slow],
        PLENTY,
    );
    let (stopper, stop) = tokio::sync::watch::channel(false);
    let stopping = async {
        tokio::time::sleep(12 * SECOND).await;
        stopper.send(true).unwrap();
    };
    let (report, ()) = tokio::join!(
        bench.tick(
            60,
            Plan {
                stop: Some(stop),
                ..plan()
            }
        ),
        stopping
    );
    assert!(
        (3..=4).contains(&report.scrapes.len()),
        "{}",
        report.scrapes.len()
    );
    assert_eq!(
        (report.outcome, report.ledger.written),
        (Outcome::Ok, (3 + OWN) * report.scrapes.len() as u64)
    );
    assert!(report.duration_ms < 20_000);
}

#[tokio::test(start_paused = true)]
async fn without_time_nothing_is_scraped() {
    let mut bench = Bench::new(
        &yaml(&job("a", 15), 1, ""),
        |(_, now)| series(3, now),
        vec![takes()],
        PLENTY,
    );
    let report = bench.tick(2, plan()).await;
    assert_eq!(
        (report.scrapes.len(), report.duration_ms),
        (0, 0),
        "the margin is all there is"
    );
    assert_eq!(
        bench.tick(10, plan()).await.scrapes.len(),
        1,
        "the slot is left to the next tick"
    );
}
