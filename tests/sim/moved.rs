//! Scripted ticks with a backlog whose remote or place changes while something is owed.

use std::sync::Arc;
use std::time::Duration;

use amp_forwarder::report::{IncidentKind, Outcome};
use amp_forwarder::spool::adopt::Adoption;
use amp_forwarder::spool::name::RemoteDir;
use amp_forwarder::spool::outbox::SpoolLimits;
use amp_forwarder::spool::store::Store;
use amp_forwarder::spool::store::memory::MemoryStore;
use amp_forwarder::time::TokioClock;

use crate::bench::{Bench, Reply, START_MS, job, series, yaml};
use crate::memory::has;
use crate::owed::{OWN, bench, drain, once, store};

const SECOND: Duration = Duration::from_secs(1);
const PLENTY: u64 = 64 << 20;

/// Takes over the backlog of one remote for another, from another place if there is one.
fn adoption(
    store: &MemoryStore,
    elsewhere: Option<&MemoryStore>,
    from: &str,
    to: &str,
) -> Adoption {
    Adoption {
        store: Arc::new(store.clone()),
        elsewhere: elsewhere.map(|store| Arc::new(store.clone()) as Arc<dyn Store>),
        from: RemoteDir::new(from),
        to: RemoteDir::new(to),
        limits: SpoolLimits {
            segment_bytes: 1 << 20,
            max_bytes: 1 << 30,
            ..SpoolLimits::default()
        },
        clock: Arc::new(TokioClock::starting_at(START_MS)),
    }
}

/// The same forwarder with another name of its remote, which takes everything.
fn renamed(store: &MemoryStore) -> Bench {
    let config = yaml(&job("a", 60), 1, "").replace("name: r0", "name: new");
    let takes = |_| Reply::Status(200);
    Bench::with_store(
        &config,
        |(_, now)| series(100, now),
        vec![Box::new(takes)],
        PLENTY,
        Some(store.clone()),
    )
}

/// Timestamps of one series, in the order in which they came.
fn times(bench: &Bench) -> Vec<i64> {
    let posts = bench.remotes[0].take().into_iter();
    let of_one = posts.flat_map(|post| post.samples);
    of_one
        .filter(|(name, _)| name == "m7")
        .map(|(_, at_ms)| at_ms)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_backlog_of_a_renamed_remote_is_told_of_until_it_is_adopted() {
    let store = store();
    let mut before = bench(&store, "", 100, usize::MAX, Reply::Status(200));
    let spooled = before.tick(9, once()).await;
    assert_eq!(spooled.ledger.owed_after, 100 + OWN, "{spooled:?}");

    let config = yaml(&job("a", 60), 1, "").replace("name: r0", "name: new");
    let mut after = Bench::with_store(
        &config,
        |_| Reply::Text(String::new()),
        vec![Box::new(|_| Reply::Status(200))],
        PLENTY,
        Some(store.clone()),
    );
    for _ in 0..2 {
        let report = after.tick(20, once()).await;
        assert_eq!(report.outcome, Outcome::Partial, "{report:?}");
        assert!(has(&report, IncidentKind::BacklogOrphaned), "{report:?}");
        assert_eq!(report.spool.samples, 100 + OWN, "{report:?}");
        assert!(report.spool.oldest_ms.is_some(), "{report:?}");
        let orphan = &report.spool.orphans[0];
        assert_eq!((orphan.remote.as_str(), orphan.samples), ("r0", 100 + OWN));
    }
    let adoption = adoption(&store, None, "r0", "new");
    let adopted = adoption.run().await.unwrap();
    assert_eq!((adopted.samples, adopted.left), (100 + OWN, 0));
    let report = after.tick(20, drain()).await;
    assert_eq!(report.ledger.written, 100 + OWN, "{report:?}");
    assert_eq!((report.outcome, report.spool.segments), (Outcome::Ok, 0));
    assert!(report.spool.orphans.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_gets_its_name_back_sends_what_it_was_owed() {
    let store = store();
    // The first one is away for the first two minutes.
    let mut named = bench(&store, "max_backoff: 1s", 100, 8, Reply::Status(200));
    let mut renamed = renamed(&store);
    let owed = named.tick(4, once()).await.ledger.owed_after;
    assert_eq!(owed, 100 + OWN);
    renamed.at(60 * SECOND).await;
    let report = renamed.tick(20, once()).await;
    assert_eq!(report.ledger.written, 100 + OWN, "{report:?}");
    assert_eq!(report.spool.orphans.len(), 1, "{report:?}");

    named.at(120 * SECOND).await;
    let report = named.tick(50, once()).await;
    assert_eq!(report.ledger.owed_before, owed, "{report:?}");
    assert_eq!(report.ledger.written, 2 * (100 + OWN), "{report:?}");
    assert_eq!((report.outcome, report.spool.segments), (Outcome::Ok, 0));
    assert!(report.spool.orphans.is_empty(), "{report:?}");
    let times = times(&named);
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(times.last(), Some(&(START_MS + 120_000)));
}

#[tokio::test(start_paused = true)]
async fn what_lies_in_the_old_place_of_the_spool_waits_there_until_it_is_adopted() {
    let (old, new) = (store(), store());
    let mut before = bench(&old, "", 100, usize::MAX, Reply::Status(200));
    let mut after = bench(&new, "", 100, 0, Reply::Status(200));
    let mut owed = 0;
    for minute in 0..2_u32 {
        before.at(minute * 60 * SECOND).await;
        owed = before.tick(9, once()).await.ledger.owed_after;
    }
    assert_eq!(owed, 2 * (100 + OWN));
    let left = old.keys();

    // Nobody can know of the old place, and nobody touches it.
    after.at(120 * SECOND).await;
    let report = after.tick(20, once()).await;
    assert_eq!(report.ledger.written, 100 + OWN, "{report:?}");
    assert_eq!((report.outcome, report.spool.segments), (Outcome::Ok, 0));
    assert_eq!(old.keys(), left);
    assert_eq!(times(&after), [START_MS + 120_000]);

    let adopted = adoption(&new, Some(&old), "r0", "r0").run().await.unwrap();
    assert_eq!((adopted.samples, adopted.left), (owed, 0));
    assert!(!old.keys().iter().any(|key| key.starts_with("segments/")));
    after.at(180 * SECOND).await;
    let report = after.tick(30, drain()).await;
    assert_eq!(report.ledger.written, owed, "{report:?}");
    assert_eq!((report.outcome, report.spool.segments), (Outcome::Ok, 0));
    assert_eq!(times(&after), [START_MS, START_MS + 60_000]);

    // Whoever goes back to the old place finds it empty, and nothing is lost or sent again.
    before.at(240 * SECOND).await;
    let report = before.tick(9, drain()).await;
    assert_eq!((report.ledger.lost, report.ledger.owed_after), (0, 0));
}

/// What is loaded from the spool counts in `memory_limit`.
#[tokio::test(start_paused = true)]
async fn the_memory_of_a_tick_has_the_segments_that_it_sends() {
    let store = store();
    let mut away = bench(&store, "", 5_000, usize::MAX, Reply::Status(200));
    let mut takes = bench(&store, "", 5_000, 0, Reply::Status(200));
    away.tick(9, once()).await;
    let sizes = store
        .keys()
        .into_iter()
        .filter(|key| key.starts_with("segments/"));
    let size: usize = sizes.map(|key| store.peek(&key).unwrap().len()).sum();
    assert!(size > 20_000, "{size}");
    takes.at(60 * SECOND).await;
    let report = takes.tick(30, drain()).await;
    assert_eq!(report.ledger.written, 5_000 + OWN, "{report:?}");
    // Names and numbers of the segment are not part of its batches.
    let batches = size as u64 * 9 / 10;
    let peak = report.memory.peak_bytes - report.memory.kept_bytes;
    assert!(peak >= batches, "{peak} of {size}");
}
