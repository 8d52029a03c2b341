//! Scripted ticks with a spool whose store is slow or refuses calls: the samples in memory must not
//! be lost because of it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use amp_forwarder::report::{IncidentKind, Outcome, Report};
use amp_forwarder::spool::store::memory::{MemoryStore, StoreFault};
use amp_forwarder::spool::store::{FailureKind, Op};
use amp_forwarder::tick::Plan;
use amp_forwarder::time::TokioClock;

use crate::bench::{Bench, Reply, START_MS, job, series, yaml};
use crate::memory::has;

const SECOND: Duration = Duration::from_secs(1);
const OWN: u64 = 5;
const PLENTY: u64 = 64 << 20;

/// The remote answers 503 for the first `outage` requests.
fn bench(store: &MemoryStore, queue: &str, age_ms: i64, outage: usize) -> Bench {
    let remote = move |(nth, _): (usize, usize)| {
        Reply::After(
            SECOND / 100,
            Box::new(Reply::Status(if nth <= outage { 503 } else { 200 })),
        )
    };
    Bench::with_store(
        &yaml(&job("a", 15), 1, queue),
        move |(_, now)| series(95, now - age_ms),
        vec![Box::new(remote)],
        PLENTY,
        Some(store.clone()),
    )
}

fn store() -> MemoryStore {
    MemoryStore::new(Arc::new(TokioClock::starting_at(START_MS)))
}

fn says(report: &Report, what: &str) -> bool {
    report.errors.iter().any(|error| error.contains(what))
}

/// Refuses all calls of one kind on keys in a folder.
fn fails(store: &MemoryStore, op: Op, folder: &'static str, refuse: FailureKind) {
    store.set_faults(move |called, key, _| {
        if called == op && key.starts_with(folder) {
            StoreFault {
                refuse: Some(refuse),
                ..StoreFault::default()
            }
        } else {
            StoreFault::default()
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_backlog_that_cannot_be_read_or_deleted_in_time_does_not_cost_what_is_in_memory() {
    for slow in [Op::Get, Op::Delete] {
        let store = store();
        let mut bench = bench(&store, "sample_age_limit: 90s, min_backoff: 1s", 0, 20);
        // Writing what is in memory takes longer than the time that is reserved for the release
        // after the end of sending.
        let delay = move |op, key: &str| match op {
            _ if !key.starts_with("segments/") => Duration::ZERO,
            Op::PutIfAbsent => SECOND * 6 / 10,
            op if op == slow => 100 * SECOND,
            _ => Duration::ZERO,
        };
        let slowly = move |op, key: &str, _| StoreFault {
            delay: delay(op, key),
            ..StoreFault::default()
        };
        store.set_faults(slowly);
        let report = bench
            .tick(
                20,
                Plan {
                    once: true,
                    ..Plan::default()
                },
            )
            .await;
        assert_eq!(report.ledger.owed_after, 95 + OWN, "{report:?}");
        // In the first minute the backlog is young, and is read and deleted for the remote. In the
        // second it is too old, and is read and deleted for `expired/`.
        for minute in [1, 2] {
            bench.at(minute * 60 * SECOND).await;
            store.set_faults(slowly);
            let report = bench.tick(58, Plan::default()).await;
            let owed = report.ledger.owed_before + report.ledger.scraped;
            assert!(
                report.ledger.scraped >= 4 * 95 && !has(&report, IncidentKind::LeaseNotReleased),
                "{report:?}"
            );
            assert_eq!(
                report.ledger.lost, 0,
                "{slow:?} in minute {minute}: {report:?}"
            );
            assert_eq!(
                report.ledger.owed_after,
                owed - report.ledger.written - report.ledger.expired,
                "{report:?}"
            );
            store.heal();
        }
        bench.at(200 * SECOND).await;
        let report = bench
            .tick(
                58,
                Plan {
                    drain_only: true,
                    ..Plan::default()
                },
            )
            .await;
        assert_eq!(
            (report.ledger.lost, report.ledger.owed_after),
            (0, 0),
            "{report:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_the_store_denies_blocks_its_remote_alone_and_loudly() {
    let store = store();
    // Both remotes are down in the first tick, so that both have a backlog.
    let down = Arc::new(AtomicBool::new(true));
    let remote = |_| {
        let down = Arc::clone(&down);
        let script = move |_| Reply::Status(if down.load(Relaxed) { 503 } else { 200 });
        Box::new(script) as Box<dyn Fn((usize, usize)) -> Reply + Send + Sync>
    };
    let mut bench = Bench::with_store(
        &yaml(&job("a", 60), 2, "min_backoff: 5s"),
        |(_, now)| series(95, now),
        (0..2).map(remote).collect(),
        PLENTY,
        Some(store.clone()),
    );
    let owed = |report: &Report| {
        let remotes = report.remotes.iter();
        remotes
            .map(|remote| remote.ledger.owed_after)
            .collect::<Vec<_>>()
    };
    let report = bench.tick(20, Plan::default()).await;
    assert_eq!(owed(&report), [100, 100], "{report:?}");

    down.store(false, Relaxed);
    fails(&store, Op::Get, "segments/r0/", FailureKind::Denied);
    bench.at(60 * SECOND).await;
    let report = bench.tick(58, Plan::default()).await;
    assert_eq!(owed(&report), [200, 0], "{report:?}");
    assert_eq!(report.outcome, Outcome::Partial, "{report:?}");
    assert!(says(&report, "segments/r0/"), "{report:?}");
    assert_eq!(report.ledger.lost, 0, "{report:?}");

    store.heal();
    bench.at(120 * SECOND).await;
    let report = bench.tick(58, Plan::default()).await;
    assert_eq!(owed(&report), [0, 0], "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_and_cannot_be_kept_for_now_stays_owed() {
    let store = store();
    let mut bench = bench(
        &store,
        "sample_age_limit: 30s, max_samples_per_send: 95",
        60_000,
        0,
    );
    fails(&store, Op::PutIfAbsent, "expired/", FailureKind::NoAnswer);
    let report = bench
        .tick(
            20,
            Plan {
                once: true,
                ..Plan::default()
            },
        )
        .await;
    assert_eq!(report.ledger.expired, 0, "{report:?}");
    assert_eq!(report.ledger.owed_after, 95, "{report:?}");
    assert_eq!(report.ledger.written, OWN, "{report:?}");
    assert!(
        says(&report, "stay owed until they can be kept")
            && !has(&report, IncidentKind::BatchNotKept),
        "{report:?}"
    );

    // The same holds for samples that come from the spool.
    bench.at(60 * SECOND).await;
    let report = bench
        .tick(
            20,
            Plan {
                drain_only: true,
                ..Plan::default()
            },
        )
        .await;
    assert_eq!(
        (report.ledger.expired, report.ledger.owed_after),
        (0, 95),
        "{report:?}"
    );

    store.heal();
    bench.at(120 * SECOND).await;
    let report = bench
        .tick(
            20,
            Plan {
                drain_only: true,
                ..Plan::default()
            },
        )
        .await;
    assert_eq!(report.outcome, Outcome::Partial, "{report:?}");
    assert_eq!(report.ledger.expired, 95, "{report:?}");
    assert_eq!(report.ledger.owed_after, 0, "{report:?}");
    assert!(store.keys().iter().any(|key| key.starts_with("expired/")));
}

#[tokio::test(start_paused = true)]
async fn what_stays_owed_for_its_age_does_not_hide_that_the_remote_refuses() {
    let store = store();
    // The batch is too large. By the time that is known, 60 samples have become too old: the first
    // half, and 13 of the second one. The remote refuses the other 35.
    let remote = |(_, samples): (usize, usize)| match samples {
        95 => Reply::After(2 * SECOND, Box::new(Reply::Status(413))),
        samples => Reply::Status(if samples as u64 == OWN { 200 } else { 403 }),
    };
    let home = |(_, now): (String, i64)| {
        Reply::Text(
            (0..95)
                .map(|n| format!("m{n} {n} {}\n", if n < 60 { now - 29_000 } else { now }))
                .collect(),
        )
    };
    let config = yaml(
        &job("a", 15),
        1,
        "sample_age_limit: 30s, max_samples_per_send: 95",
    );
    let mut bench = Bench::with_store(
        &config,
        home,
        vec![Box::new(remote)],
        PLENTY,
        Some(store.clone()),
    );
    fails(&store, Op::PutIfAbsent, "expired/", FailureKind::NoAnswer);
    let report = bench
        .tick(
            20,
            Plan {
                once: true,
                ..Plan::default()
            },
        )
        .await;
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
    assert_eq!(report.ledger.expired, 0, "{report:?}");
    assert_eq!(report.ledger.owed_after, 95, "{report:?}");
    assert!(
        says(&report, "403") && says(&report, "stay owed until they can be kept"),
        "{report:?}"
    );
    let mut posted: Vec<_> = bench.remotes[0]
        .take()
        .iter()
        .map(|seen| seen.samples.len())
        .collect();
    posted.sort_unstable();
    assert_eq!(
        posted,
        [OWN as usize, 35, 35, 95],
        "a denied request is tried once more with fresh credentials, and what is too old is not"
    );
}

#[tokio::test(start_paused = true)]
async fn old_samples_that_the_store_denies_to_keep_do_not_block_the_backlog() {
    let store = store();
    let mut bench = bench(
        &store,
        "sample_age_limit: 30s, max_samples_per_send: 95",
        60_000,
        0,
    );
    fails(&store, Op::PutIfAbsent, "expired/", FailureKind::Denied);
    let report = bench
        .tick(
            20,
            Plan {
                once: true,
                ..Plan::default()
            },
        )
        .await;
    assert_eq!(report.ledger.expired, 95, "{report:?}");
    assert_eq!(report.ledger.owed_after, 0, "{report:?}");
    assert_eq!(report.ledger.written, OWN, "{report:?}");
    assert!(has(&report, IncidentKind::BatchNotKept), "{report:?}");
}
