//! Scripted ticks with a backlog that has something special: batches that a receiver never takes,
//! another owner, objects that are gone, thousands of segments.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use amp_forwarder::batch::Batch;
use amp_forwarder::prompb::messages::{Label, Sample, TimeSeries, WriteRequest};
use amp_forwarder::report::{IncidentKind, Ledger, Outcome, Report};
use amp_forwarder::spool::name::{Folder, RemoteDir, SegmentName};
use amp_forwarder::spool::segment;
use amp_forwarder::spool::state::KEY;
use amp_forwarder::spool::store::memory::{MemoryStore, StoreFault};
use amp_forwarder::spool::store::{Op, Store as _};
use amp_forwarder::tick::Plan;
use amp_forwarder::time::TokioClock;
use prost::Message as _;
use tokio::time::Instant;

use crate::bench::{Bench, Reply, START_MS, job, series, yaml};
use crate::memory::has;

const SECOND: Duration = Duration::from_secs(1);
pub(crate) const OWN: u64 = 5;
const PLENTY: u64 = 64 << 20;

pub(crate) fn store() -> MemoryStore {
    MemoryStore::new(Arc::new(TokioClock::starting_at(START_MS)))
}

pub(crate) fn once() -> Plan {
    Plan {
        once: true,
        ..Plan::default()
    }
}

pub(crate) fn drain() -> Plan {
    Plan {
        drain_only: true,
        ..Plan::default()
    }
}

/// A forwarder with one job of 60 s that shows `count` series, and a remote that answers the first
/// `outage` requests with 503 and all others so.
pub(crate) fn bench(
    store: &MemoryStore,
    queue: &str,
    count: usize,
    outage: usize,
    then: Reply,
) -> Bench {
    let remote = move |(nth, _): (usize, usize)| {
        let reply = if nth <= outage {
            Reply::Status(503)
        } else {
            then.clone()
        };
        Reply::After(SECOND / 100, Box::new(reply))
    };
    Bench::with_store(
        &yaml(&job("a", 60), 1, queue),
        move |(_, now)| series(count, now),
        vec![Box::new(remote)],
        PLENTY,
        Some(store.clone()),
    )
}

fn kept(store: &MemoryStore) -> Vec<Batch> {
    let keys = store.keys().into_iter();
    let rejected = keys.filter(|key| key.starts_with("rejected/"));
    let read =
        |key: String| segment::read(&store.peek(&key).expect("it is listed")).expect("a segment");
    rejected.flat_map(|key| read(key).batches).collect()
}

fn add(reports: &[Report]) -> Ledger {
    let mut all = Ledger::default();
    reports.iter().for_each(|report| all.follow(&report.ledger));
    all
}

#[tokio::test(start_paused = true)]
async fn batches_above_the_burst_of_the_receiver_leave_the_spool() {
    let store = store();
    let queue = "max_samples_per_send: 1000, min_backoff: 1s, retry_on_http_429: true";
    let mut bench = bench(&store, queue, 1_000, 9, Reply::Burst(300));
    let spooled = bench.tick(9, once()).await;
    let owed = spooled.ledger.owed_after;
    assert!(owed >= 1_000, "{spooled:?}");
    bench.at(60 * SECOND).await;
    let drained = bench.tick(58, drain()).await;
    assert_eq!(drained.ledger.written, owed, "{drained:?}");
    assert_eq!(drained.outcome, Outcome::Ok, "{drained:?}");
    // What comes next is small from the start.
    bench.remotes[0].take();
    bench.at(120 * SECOND).await;
    let next = bench.tick(20, once()).await;
    assert_eq!(next.ledger.written, 1_000 + OWN, "{next:?}");
    let posts = bench.remotes[0].take();
    assert!(posts.iter().all(|post| post.samples.len() <= 300));
}

#[tokio::test(start_paused = true)]
async fn a_series_that_the_receiver_never_takes_does_not_hold_all_others() {
    for (status, queue) in [(503, ""), (429, "retry_on_http_429: true")] {
        let store = store();
        let mut bench = bench(&store, queue, 100, 0, Reply::Unless(status, "m7"));
        let mut reports = Vec::new();
        for minute in 0..40_u32 {
            bench.at(minute * 60 * SECOND).await;
            reports.push(bench.tick(50, once()).await);
        }
        let all = add(&reports);
        assert_eq!(all.lost, 0, "{status}");
        assert!(all.rejected >= 30, "{status}: {all:?}");
        assert!(all.written >= 36 * (99 + OWN), "{status}: {all:?}");
        let kept = kept(&store);
        assert!(
            !kept.is_empty() && kept.iter().all(|batch| batch.samples == 1),
            "{kept:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_an_hour_refuses_nothing_for_good() {
    let store = store();
    let remote = |(nth, _): (usize, usize)| {
        let _ = nth;
        Reply::Status(503)
    };
    let mut bench = Bench::with_store(
        &yaml(&job("a", 60), 1, ""),
        |(_, now)| series(100, now),
        vec![Box::new(remote)],
        PLENTY,
        Some(store.clone()),
    );
    for minute in 0..50_u32 {
        bench.at(minute * 60 * SECOND).await;
        let report = bench.tick(30, once()).await;
        assert_eq!(report.ledger.rejected, 0, "{minute}: {report:?}");
    }
    assert!(kept(&store).is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_stored_without_an_answer_is_counted_as_repeated() {
    let store = store();
    let refusal = Reply::Says(400, "user=fake: err: out of order sample. timestamp=1");
    let remote = move |(nth, _): (usize, usize)| match nth {
        1 => Reply::Silence,
        2 => refusal.clone(),
        _ => Reply::Status(200),
    };
    let mut bench = Bench::with_store(
        &yaml(&job("a", 60), 1, "max_samples_per_send: 1000"),
        |(_, now)| series(100, now),
        vec![Box::new(remote)],
        PLENTY,
        Some(store.clone()),
    );
    // The tick ends before the time-out of the request, so that the next one repeats it.
    let first = bench.tick(6, once()).await;
    assert_eq!(first.ledger.owed_after, 100 + OWN, "{first:?}");
    bench.at(60 * SECOND).await;
    let second = bench.tick(30, drain()).await;
    let ledger = second.ledger;
    assert_eq!(
        (ledger.repeated, ledger.rejected),
        (100 + OWN, 0),
        "{second:?}"
    );
    assert_eq!(second.outcome, Outcome::Ok, "{second:?}");
    assert!(kept(&store).is_empty(), "it is not kept under rejected/");
}

#[tokio::test(start_paused = true)]
async fn segments_that_somebody_deletes_between_two_ticks_are_lost_and_told_of() {
    let store = store();
    let mut bench = bench(&store, "", 100, usize::MAX, Reply::Status(200));
    bench.tick(9, once()).await;
    bench.at(60 * SECOND).await;
    let spooled = bench.tick(9, once()).await;
    let keys = store.keys();
    let oldest = keys
        .iter()
        .find(|key| key.starts_with("segments/"))
        .unwrap();
    let gone = segment::read(&store.peek(oldest).unwrap()).unwrap();
    let gone: u64 = gone
        .batches
        .iter()
        .map(|batch| u64::from(batch.samples))
        .sum();
    store.delete(oldest, Instant::now() + SECOND).await.unwrap();
    bench.at(120 * SECOND).await;
    let report = bench.tick(9, drain()).await;
    assert_eq!(report.ledger.lost, gone, "{report:?}");
    assert_eq!(report.ledger.owed_before, spooled.ledger.owed_after);
    assert!(has(&report, IncidentKind::SegmentLost), "{report:?}");
    assert_eq!(report.outcome, Outcome::Failed);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_done_after_its_tick_gave_it_up_is_found_and_sent() {
    let away = Arc::new(AtomicBool::new(true));
    let bench = |store: &MemoryStore| {
        let away = Arc::clone(&away);
        let remote = move |_| {
            Reply::Status(if away.load(Ordering::Relaxed) {
                503
            } else {
                200
            })
        };
        Bench::with_store(
            &yaml(&job("a", 60), 1, ""),
            |(_, now)| series(100, now),
            vec![Box::new(remote)],
            PLENTY,
            Some(store.clone()),
        )
    };
    // One store answers. The other one does not, and does later what it was asked for.
    let (answers, hangs) = (store(), store());
    hangs.set_faults(|op, key, _| StoreFault {
        delay: SECOND * u32::from(op == Op::PutIfAbsent && key.starts_with("segments/")) * 100,
        ..StoreFault::default()
    });
    let (mut spooling, mut losing) = (bench(&answers), bench(&hangs));
    let (spooled, lost) = tokio::join!(spooling.tick(9, once()), losing.tick(9, once()));
    assert_eq!(spooled.ledger.owed_after, 100 + OWN, "{spooled:?}");
    assert_eq!(lost.ledger.lost, 100 + OWN, "{lost:?}");
    let keys = answers.keys().into_iter();
    for key in keys.filter(|key| key.starts_with("segments/")) {
        assert_eq!(hangs.peek(&key), None);
        hangs.plant(&key, answers.peek(&key).unwrap());
    }

    hangs.heal();
    away.store(false, Ordering::Relaxed);
    losing.remotes[0].take();
    losing.at(60 * SECOND).await;
    let report = losing.tick(30, once()).await;
    assert_eq!(report.ledger.written, 2 * (100 + OWN), "{report:?}");
    assert_eq!((report.outcome, report.spool.segments), (Outcome::Ok, 0));
    let posts = losing.remotes[0].take().into_iter();
    let of_one = posts.flat_map(|post| post.samples);
    let times: Vec<_> = of_one.filter(|(name, _)| name == "m7").collect();
    let at_ms = times.iter().map(|(_, at_ms)| *at_ms - START_MS);
    assert_eq!(at_ms.collect::<Vec<_>>(), [0, 60_000]);
}

#[tokio::test(start_paused = true)]
async fn a_state_from_a_backup_hides_no_backlog_and_changes_no_order() {
    let store = store();
    // All is well in the first minute, of which the backup is, and nothing is taken after it.
    let remote = |(nth, _): (usize, usize)| Reply::Status(if nth <= 1 { 200 } else { 503 });
    let mut before = Bench::with_store(
        &yaml(&job("a", 60), 1, "max_samples_per_send: 1000"),
        |(_, now)| series(100, now),
        vec![Box::new(remote)],
        PLENTY,
        Some(store.clone()),
    );
    let first = before.tick(9, once()).await;
    assert_eq!(first.ledger.written, 100 + OWN, "{first:?}");
    let backup = store.peek(KEY).expect("it was released");
    let mut owed = 0;
    for minute in 1..4_u32 {
        before.at(minute * 60 * SECOND).await;
        owed = before.tick(9, once()).await.ledger.owed_after;
    }
    assert_eq!(owed, 3 * (100 + OWN));

    store.plant(KEY, backup);
    let mut after = bench(&store, "", 100, 0, Reply::Status(200));
    after.at(400 * SECOND).await;
    let report = after.tick(30, once()).await;
    assert_eq!(report.ledger.written, 4 * (100 + OWN), "{report:?}");
    assert_eq!(report.ledger.owed_after, 0, "{report:?}");
    assert!(kept(&store).is_empty());
    let posts = after.remotes[0].take().into_iter();
    let of_one = posts.flat_map(|post| post.samples);
    let times: Vec<_> = of_one
        .filter(|(name, _)| name == "m7")
        .map(|(_, at_ms)| at_ms)
        .collect();
    assert_eq!(times.len(), 4);
    assert!(times.is_sorted(), "{times:?}");
}

/// A segment with one sample.
fn plant(store: &MemoryStore, scrape: u64) {
    let series = TimeSeries {
        labels: vec![Label {
            name: "__name__".to_owned(),
            value: "old".to_owned(),
        }],
        samples: vec![Sample {
            value: 1.0,
            timestamp: START_MS - 60_000 + scrape as i64,
        }],
        histograms: Vec::new(),
    };
    let raw = WriteRequest {
        timeseries: vec![series],
    }
    .encode_to_vec();
    let at_ms = START_MS - 60_000 + scrape as i64;
    let batch = Batch {
        body: snap::raw::Encoder::new()
            .compress_vec(&raw)
            .expect("it is small")
            .into(),
        samples: 1,
        raw_len: raw.len() as u32,
        min_ms: at_ms,
        max_ms: at_ms,
    };
    let name = SegmentName::new(3, scrape, 0).expect("few digits");
    let key = name.key(Folder::Segments, &RemoteDir::new("r0"));
    store.plant(&key, segment::write(&[batch], None));
}

#[tokio::test(start_paused = true)]
async fn thousands_of_segments_after_a_kill_cost_no_scrape_and_none_is_lost() {
    const SEGMENTS: u64 = 3_000;
    let store = store();
    // Without state.json, nothing says how the last tick ended.
    (1..=SEGMENTS).for_each(|scrape| plant(&store, scrape));
    store.set_faults(|op, _, _| StoreFault {
        delay: SECOND / if op == Op::Get { 8 } else { 200 },
        ..StoreFault::default()
    });
    let mut bench = bench(&store, "", 20, 0, Reply::Status(200));
    let mut reports = Vec::new();
    for minute in 0..10_u32 {
        bench.at(minute * 60 * SECOND).await;
        let report = bench.tick(58, Plan::default()).await;
        assert!(!has(&report, IncidentKind::LeaseNotReleased), "{report:?}");
        assert_eq!(report.ledger.lost, 0, "{minute}: {report:?}");
        reports.push(report);
    }
    // A tick that is still at work when the next slot comes serves that as well.
    let scrapes: usize = reports.iter().map(|report| report.scrapes.len()).sum();
    assert_eq!(scrapes, 10, "one for each minute: {reports:?}");
    let scraped: u64 = reports.iter().map(|report| report.ledger.scraped).sum();
    let written: u64 = reports.iter().map(|report| report.ledger.written).sum();
    let owed = reports.last().unwrap().ledger.owed_after;
    assert_eq!(written + owed, scraped + SEGMENTS);
    let posts = bench.remotes[0].take().into_iter();
    let old = posts
        .flat_map(|post| post.samples)
        .filter(|(name, _)| name == "old");
    let times: Vec<_> = old.map(|(_, at_ms)| at_ms).collect();
    assert!(times.len() > 1_000, "{}", times.len());
    assert!(
        times.windows(2).all(|pair| pair[0] < pair[1]),
        "in order, and each once"
    );
}
