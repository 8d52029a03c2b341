use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::*;
use crate::spool::lease::LeaseClient;
use crate::spool::state::SpoolState;
use crate::spool::store::memory::{MemoryStore, StoreFault};
use crate::spool::store::{FailureKind, Op};
use crate::time::{Deadlines, TokioClock};

pub(super) const LIMITS: SpoolLimits = SpoolLimits {
    segment_bytes: 330,
    max_bytes: 100_000,
    rejected: ArchiveBound {
        objects: 10,
        bytes: 10_000,
    },
    expired: ArchiveBound {
        objects: 10,
        bytes: 10_000,
    },
};

pub(super) fn world() -> MemoryStore {
    MemoryStore::new(Arc::new(TokioClock::starting_at(0)))
}

/// The texts of the incidents since the last call.
pub(super) fn texts(outbox: &Outbox) -> String {
    let incidents = outbox.take_incidents();
    let texts: Vec<_> = incidents
        .into_iter()
        .map(|incident| incident.text)
        .collect();
    texts.join("\n")
}

pub(super) fn amp() -> RemoteDir {
    RemoteDir::new("amp")
}

fn minute() -> Deadlines {
    let now = Instant::now();
    Deadlines::new(now, Some(now + Duration::from_secs(60)), Duration::ZERO)
}

pub(super) fn tick(store: &MemoryStore, epoch: u64, unclean: bool) -> StoreAccess {
    StoreAccess {
        store: Arc::new(store.clone()),
        epoch,
        deadlines: minute(),
        unclean,
        long_peek: Arc::default(),
    }
}

pub(super) async fn outbox(
    store: &MemoryStore,
    epoch: u64,
    previous: Option<&RemoteRecord>,
) -> Outbox {
    outbox_with(LIMITS, store, epoch, previous).await
}

/// Without a previous state: as after a kill.
pub(super) async fn outbox_with(
    limits: SpoolLimits,
    store: &MemoryStore,
    epoch: u64,
    previous: Option<&RemoteRecord>,
) -> Outbox {
    let mut state = SpoolState::default();
    state
        .remotes
        .extend(previous.map(|previous| (amp(), previous.clone())));
    let mut opened = open(
        &tick(store, epoch, previous.is_none()),
        &state,
        &[(amp(), limits)],
    )
    .await
    .unwrap();
    opened.outboxes.remove(0)
}

/// Told apart by its number of samples.
pub(super) fn batch(samples: u32, at_ms: i64) -> Batch {
    Batch {
        body: vec![samples as u8; 60].into(),
        samples,
        raw_len: 120,
        min_ms: at_ms - 5,
        max_ms: at_ms,
    }
}

fn sizes(head: &Head) -> Vec<u32> {
    head.batches
        .iter()
        .map(|(_, batch)| batch.samples)
        .collect()
}

/// Sends everything, and says in which order.
pub(super) async fn drain(outbox: &Outbox) -> Vec<u32> {
    let mut sent = Vec::new();
    while !outbox.is_empty() {
        let Some(head) = outbox.head().await.unwrap() else {
            continue;
        };
        outbox.prefetch().await;
        for (place, batch) in &head.batches {
            sent.push(batch.samples);
            outbox.answered(head.name, *place);
        }
        outbox.finish(head.name).await.unwrap();
    }
    sent
}

fn ops(store: &MemoryStore) -> Vec<Op> {
    store
        .take_calls()
        .into_iter()
        .map(|called| called.op)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn scrapes_leave_in_the_order_of_their_numbers_across_ticks() {
    let store = world();
    let first = outbox(&store, 9, Some(&RemoteRecord::default())).await;
    first
        .put(
            1,
            vec![batch(1, 100), batch(2, 100), batch(3, 100), batch(4, 100)],
            Fallback::Memory,
        )
        .await
        .unwrap();
    first
        .put(2, vec![batch(5, 200)], Fallback::Memory)
        .await
        .unwrap();
    // What memory held of the first scrape follows when the tick ends.
    first
        .put(1, vec![batch(6, 100)], Fallback::Memory)
        .await
        .unwrap();
    let keys = store.keys();
    assert_eq!(
        keys,
        [
            "0000000009-00000001-0000",
            "0000000009-00000001-0001",
            "0000000009-00000001-0002",
            "0000000009-00000002-0000"
        ]
        .map(|name| format!("segments/amp/{name}.seg"))
    );
    assert!(
        keys.iter()
            .all(|key| store.peek(key).unwrap().len() <= LIMITS.segment_bytes)
    );
    let summary = first.summary().await;
    assert_eq!(
        (
            summary.backlog.segments,
            summary.backlog.samples,
            summary.backlog.oldest_ms
        ),
        (4, 21, Some(95))
    );

    // A later epoch is later, whatever its scrapes are called.
    let second = outbox(&store, 10, Some(&summary)).await;
    second
        .put(1, vec![batch(7, 300)], Fallback::Memory)
        .await
        .unwrap();
    assert_eq!(second.backlog().samples, 28);
    assert_eq!(drain(&second).await, [1, 2, 3, 4, 6, 5, 7]);
    assert_eq!(
        (store.keys(), second.backlog()),
        (vec![], Backlog::default())
    );
    assert_eq!(second.take_lost(), 0);
}

#[tokio::test(start_paused = true)]
async fn clean_and_empty_asks_nothing_and_a_backlog_costs_a_list() {
    let store = world();
    let empty = outbox(&store, 1, Some(&RemoteRecord::default())).await;
    assert_eq!(
        (empty.head().await.unwrap(), empty.summary().await),
        (None, RemoteRecord::default())
    );
    assert_eq!(ops(&store), []);

    empty
        .put(1, vec![batch(1, 100)], Fallback::Memory)
        .await
        .unwrap();
    empty
        .put(2, vec![batch(2, 200)], Fallback::Memory)
        .await
        .unwrap();
    let summary = empty.summary().await;
    assert_eq!(ops(&store), [Op::PutIfAbsent, Op::PutIfAbsent]);

    let next = outbox(&store, 2, Some(&summary)).await;
    assert_eq!(next.summary().await, summary);
    assert_eq!(ops(&store), [Op::List]);
    drain(&next).await;
    assert_eq!(
        ops(&store),
        [Op::Get, Op::Get, Op::Delete, Op::Delete],
        "the next one is fetched while the head is sent"
    );

    // After a kill the same state is no longer believed.
    let third = outbox(&store, 3, None).await;
    assert_eq!(
        (third.backlog(), ops(&store)),
        (Backlog::default(), vec![Op::List])
    );
}

#[tokio::test(start_paused = true)]
async fn a_head_goes_on_where_the_last_tick_left_it() {
    let store = world();
    let first = outbox(&store, 1, Some(&RemoteRecord::default())).await;
    first
        .put(
            1,
            vec![batch(1, 100), batch(2, 100), batch(4, 100)],
            Fallback::Memory,
        )
        .await
        .unwrap();
    first
        .put(2, vec![batch(8, 200)], Fallback::Memory)
        .await
        .unwrap();
    let head = first.head().await.unwrap().unwrap();
    first.answered(head.name, 1);
    first.answered(head.name, 1);
    first.finish(head.name).await.unwrap();
    assert_eq!(first.backlog().samples, 13);
    assert_eq!(
        sizes(&first.head().await.unwrap().unwrap()),
        [1, 4],
        "not done: it stays"
    );
    let summary = first.summary().await;

    // A tick that only passes by keeps it.
    let second = outbox(&store, 2, Some(&summary)).await;
    assert_eq!(second.summary().await, summary);
    // So does one that was killed: what was answered stays answered.
    let state = SpoolState {
        remotes: [(amp(), summary.clone())].into(),
        ..SpoolState::default()
    };
    let killed = open(&tick(&store, 3, true), &state, &[(amp(), LIMITS)])
        .await
        .unwrap()
        .outboxes
        .remove(0);
    assert_eq!(killed.backlog(), summary.backlog);
    let head = killed.head().await.unwrap().unwrap();
    assert_eq!((sizes(&head), head.repeated), (vec![1, 4], true));

    let third = outbox(&store, 4, Some(&summary)).await;
    let head = third.head().await.unwrap().unwrap();
    assert_eq!((sizes(&head), head.repeated), (vec![1, 4], false));
    third.answered(head.name, 0);
    third.answered(head.name, 2);
    // Its deletion fails, and the next tick makes good for it without posting anything again.
    store.set_faults(|op, _, _| StoreFault {
        refuse: (op == Op::Delete).then_some(FailureKind::Denied),
        ..StoreFault::default()
    });
    third.finish(head.name).await.unwrap_err();
    let summary = third.summary().await;
    assert_eq!((summary.backlog.segments, summary.backlog.samples), (2, 8));
    store.heal();
    assert_eq!(drain(&outbox(&store, 5, Some(&summary)).await).await, [8]);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_split_batch_takes_the_place_of_its_segment() {
    let store = world();
    let outbox = outbox(&store, 1, Some(&RemoteRecord::default())).await;
    outbox
        .put(1, vec![batch(10, 100)], Fallback::Memory)
        .await
        .unwrap();
    outbox
        .put(1, vec![batch(20, 100)], Fallback::Memory)
        .await
        .unwrap();
    outbox
        .put(2, vec![batch(30, 200)], Fallback::Memory)
        .await
        .unwrap();
    let head = outbox.head().await.unwrap().unwrap();
    outbox
        .replace(head.name, vec![batch(4, 100)])
        .await
        .unwrap();
    assert_eq!(outbox.backlog().samples, 54);
    assert_eq!(
        drain(&outbox).await,
        [20, 4, 30],
        "behind its own scrape and before the next"
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_replaced_counts_once_though_it_cannot_be_deleted() {
    let store = world();
    let outbox = outbox(&store, 1, Some(&RemoteRecord::default())).await;
    outbox
        .put(1, vec![batch(10, 100)], Fallback::Memory)
        .await
        .unwrap();
    let head = outbox.head().await.unwrap().unwrap();
    store.set_faults(|op, _, _| StoreFault {
        refuse: (op == Op::Delete).then_some(FailureKind::Denied),
        ..StoreFault::default()
    });
    outbox
        .replace(head.name, vec![batch(4, 100)])
        .await
        .unwrap();
    assert_eq!(
        (outbox.backlog().segments, outbox.backlog().samples),
        (2, 4)
    );
    store.heal();
    assert_eq!(drain(&outbox).await, [4]);
    assert!(store.keys().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_deletion_in_doubt_of_what_is_given_up_counts_once() {
    let store = world();
    let one = segment::size(&[batch(1, 100)]) as u64;
    let outbox = outbox_with(
        SpoolLimits {
            max_bytes: one,
            ..LIMITS
        },
        &store,
        1,
        Some(&RemoteRecord::default()),
    )
    .await;
    outbox
        .put(1, vec![batch(10, 100)], Fallback::Memory)
        .await
        .unwrap();
    let deletions = std::cell::Cell::new(0);
    store.set_faults(move |op, _, _| {
        let nth = deletions.replace(deletions.get() + u32::from(op == Op::Delete));
        match (op, nth) {
            (Op::Delete, 0) => StoreFault {
                answer_lost: true,
                ..StoreFault::default()
            },
            (Op::Delete, _) => StoreFault {
                refuse: Some(FailureKind::Denied),
                ..StoreFault::default()
            },
            _ => StoreFault::default(),
        }
    });
    outbox
        .put(2, vec![batch(20, 100)], Fallback::Memory)
        .await
        .unwrap();
    assert_eq!(
        (
            outbox.take_lost(),
            outbox.backlog().samples,
            outbox.summary().await.tombstones.len()
        ),
        (10, 20, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn since_when_a_batch_is_throttled_outlives_ticks() {
    let store = world();
    let first = outbox(&store, 1, Some(&RemoteRecord::default())).await;
    let (throttled, other) = (batch(10, 100), batch(20, 100));
    let since = |since_ms| BatchTrial {
        throttled_ms: Some(since_ms),
        ..BatchTrial::default()
    };
    first.tried_in_memory(&throttled, &since(1_000));
    first.passed(2_000);
    first
        .put(1, vec![other, throttled], Fallback::Loss)
        .await
        .unwrap();
    let name = first.front().unwrap();
    let second = outbox(&store, 2, Some(&first.summary().await)).await;
    let late = 1_000 + 15 * 60_000;
    assert!(second.is_throttled_for_good(name, 1, late));
    assert!(
        !second.is_throttled_for_good(name, 1, late - 1)
            && !second.is_throttled_for_good(name, 0, late)
    );
    // It is throttled again, and the first time counts.
    second.tried(name, 1, &since(500_000));
    let third = outbox(&store, 3, Some(&second.summary().await)).await;
    assert!(third.is_throttled_for_good(name, 1, late));
    assert_eq!(drain(&third).await, [20, 10]);
    assert_eq!(third.summary().await, RemoteRecord::default());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_segment_is_kept_aside_and_counted_and_the_queue_goes_on() {
    type Damage = (&'static str, fn(Vec<u8>) -> Vec<u8>);
    let damages: [Damage; 4] = [
        ("truncated", |bytes| bytes[..bytes.len() - 7].to_vec()),
        ("truncated", |bytes| bytes[..9].to_vec()),
        ("not a segment", |_| b"hello, I am a text".to_vec()),
        ("checksum", |mut bytes| {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            bytes
        }),
    ];
    for (what, damage) in damages {
        let store = world();
        let first = outbox(&store, 1, Some(&RemoteRecord::default())).await;
        for scrape in 1..4 {
            first
                .put(scrape, vec![batch(1 << scrape, 100)], Fallback::Memory)
                .await
                .unwrap();
        }
        let summary = first.summary().await;
        let key = &store.keys()[1];
        let damaged = Bytes::from(damage(store.peek(key).unwrap().to_vec()));
        store.plant(key, damaged.clone());

        let second = outbox(&store, 2, Some(&summary)).await;
        let before = second.backlog().samples;
        assert_eq!(drain(&second).await, [2, 8], "{what}");
        let messages = texts(&second);
        assert!(
            messages.contains(key)
                && messages.contains(what)
                && messages.contains("kept as rejected/amp/"),
            "{messages}"
        );
        assert_eq!(
            store
                .keys()
                .iter()
                .map(|key| store.peek(key).unwrap())
                .collect::<Vec<_>>(),
            [damaged],
            "{what}"
        );
        // A segment of another length is seen before it is read; its samples were then never
        // counted.
        assert_eq!(second.take_lost() + 10, before, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_segment_of_a_newer_program_blocks_and_stays() {
    let store = world();
    let first = outbox(&store, 1, Some(&RemoteRecord::default())).await;
    first
        .put(1, vec![batch(1, 100)], Fallback::Memory)
        .await
        .unwrap();
    first
        .put(2, vec![batch(2, 200)], Fallback::Memory)
        .await
        .unwrap();
    let key = store.keys().remove(0);
    let mut newer = store.peek(&key).unwrap().to_vec();
    newer[8] = 2;
    let crc = crc32c::crc32c(&newer[..12]);
    newer[12..16].copy_from_slice(&crc.to_le_bytes());
    store.plant(&key, Bytes::from(newer));
    let second = outbox(&store, 2, None).await;
    for _ in 0..2 {
        let blocked = second.head().await.unwrap_err();
        assert!(
            matches!(&blocked, HeadError::Blocked { version: 2, .. })
                && blocked.to_string().contains(&key),
            "{blocked}"
        );
    }
    assert_eq!(store.keys().len(), 2);
    assert_eq!(second.take_lost(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_tick_makes_two_puts_and_a_cold_one_a_get_before() {
    let store = world();
    let mut keeper = LeaseClient::new(
        Arc::new(store.clone()),
        Arc::new(TokioClock::starting_at(0)),
        &mut fastrand::Rng::with_seed(1),
    );
    let ticks = [
        vec![Op::Get, Op::List, Op::PutIfAbsent, Op::PutIfMatch],
        vec![Op::PutIfMatch; 2],
        vec![Op::Get, Op::PutIfMatch, Op::PutIfMatch],
    ];
    for (nth, expected) in ticks.into_iter().enumerate() {
        if nth == 2 {
            // A cold process.
            keeper = LeaseClient::new(
                Arc::new(store.clone()),
                Arc::new(TokioClock::starting_at(0)),
                &mut fastrand::Rng::with_seed(2),
            );
        }
        let now = Instant::now();
        let minute = Some(now + Duration::from_secs(60));
        let planned = Deadlines::new(now, minute, Duration::from_secs(4));
        let tenure = keeper.take(&planned).await.unwrap();
        let access = tenure.access(&keeper);
        let opened = open(
            &access,
            &tenure.state,
            &[(amp(), LIMITS), (RemoteDir::new("other"), LIMITS)],
        )
        .await
        .unwrap();
        assert_eq!(opened.outboxes[0].head().await.unwrap(), None);
        let mut state = tenure.state.clone();
        state.remotes = opened.orphans;
        state
            .remotes
            .insert(amp(), opened.outboxes[0].summary().await);
        // A state that has served a slot lately is none from a backup.
        state
            .jobs
            .entry("home".to_owned())
            .or_default()
            .last_slot_ms = Some(0);
        keeper.release(tenure, state).await.unwrap();
        assert_eq!(ops(&store), expected);
        tokio::time::advance(Duration::from_secs(60)).await;
    }
}

/// Polls a future so many times, then drops it: a kill at that await.
async fn killed_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..polls {
        let polled = std::future::poll_fn(|context: &mut Context<'_>| {
            Poll::Ready(future.as_mut().poll(context))
        })
        .await;
        match polled {
            Poll::Ready(output) => return Some(output),
            Poll::Pending => tokio::time::sleep(Duration::from_millis(3)).await,
        }
    }
    None
}

#[tokio::test(start_paused = true)]
async fn a_kill_at_any_await_loses_nothing_and_repeats_at_most_the_head() {
    let mut finished = false;
    let mut polls = 0;
    while !finished {
        polls += 1;
        let store = world();
        // Each call takes a while before it is done, and a while after.
        store.set_faults(|_, _, _| StoreFault {
            delay: Duration::from_millis(7),
            answer_delay: Duration::from_millis(7),
            ..StoreFault::default()
        });
        let before = outbox(&store, 1, Some(&RemoteRecord::default())).await;
        before
            .put(1, vec![batch(1, 100), batch(2, 100)], Fallback::Memory)
            .await
            .unwrap();
        before
            .put(2, vec![batch(4, 200)], Fallback::Memory)
            .await
            .unwrap();
        let summary = before.summary().await;

        let accepted = RefCell::new(Vec::new());
        let spooled = RefCell::new(Vec::new());
        let work = async {
            let outbox = outbox(&store, 2, Some(&summary)).await;
            while let Some(head) = outbox.head().await.unwrap() {
                let posts = async {
                    for (place, batch) in &head.batches {
                        // The receiver has it before we know.
                        accepted.borrow_mut().push(batch.samples);
                        tokio::time::sleep(Duration::from_millis(3)).await;
                        outbox.answered(head.name, *place);
                    }
                };
                tokio::join!(posts, outbox.prefetch());
                outbox.finish(head.name).await.unwrap();
                if spooled.borrow().is_empty() {
                    outbox
                        .put(1, vec![batch(8, 300), batch(16, 300)], Fallback::Memory)
                        .await
                        .unwrap();
                    spooled.borrow_mut().extend([8, 16]);
                }
            }
        };
        finished = killed_after(polls, work).await.is_some();

        store.heal();
        let after = outbox(&store, 3, None).await;
        let owed = after.backlog().samples;
        let rest = drain(&after).await;
        assert_eq!(
            owed,
            rest.iter().map(|samples| u64::from(*samples)).sum::<u64>(),
            "{polls}"
        );
        let accepted = accepted.into_inner();
        let all = [accepted.clone(), rest.clone()].concat();
        for promised in [1, 2, 4].iter().chain(spooled.borrow().iter()) {
            assert!(
                all.contains(promised),
                "{polls}: {promised} of {accepted:?} {rest:?}"
            );
        }
        // In order but for a head that is sent once more, whose samples nothing newer has followed.
        let scrape = |samples: &u32| match samples {
            1 | 2 => 1,
            4 => 2,
            _ => 3,
        };
        assert!(
            all.iter().map(scrape).is_sorted(),
            "{polls}: {accepted:?} {rest:?}"
        );
        assert_eq!(store.keys(), [""; 0], "{polls}");
    }
    assert!(polls > 30, "{polls}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_for_good_says_what_is_left() {
    let store = world();
    let outbox = outbox(&store, 1, Some(&RemoteRecord::default())).await;
    let batches: Vec<_> = (1..8).map(|samples| batch(samples, 100)).collect();
    store.set_faults(|_, _, nth| StoreFault {
        refuse: (nth > 0).then_some(FailureKind::Full),
        ..StoreFault::default()
    });
    let error = outbox
        .put(1, batches.clone(), Fallback::Memory)
        .await
        .unwrap_err();
    assert_eq!(error.error.kind, FailureKind::Full);
    assert_eq!(outbox.backlog().segments, 1);
    let stored = batches.len() - error.left.len();
    assert_eq!(error.left, batches[stored..]);
    assert_eq!(
        outbox.backlog().samples,
        crate::batch::samples(&batches[..stored])
    );

    // A store that comes back in time is waited for, and one that does not is left at the fence.
    let start = Instant::now();
    store.set_faults(move |_, _, _| StoreFault {
        refuse: (start.elapsed() < Duration::from_secs(9)).then_some(FailureKind::Busy),
        ..StoreFault::default()
    });
    outbox
        .put(2, batches.clone(), Fallback::Memory)
        .await
        .unwrap();
    store.set_faults(|_, _, _| StoreFault {
        answer_lost: true,
        ..StoreFault::default()
    });
    assert_eq!(
        outbox
            .put(3, batches.clone(), Fallback::Memory)
            .await
            .unwrap_err()
            .left,
        batches
    );
    assert!(start.elapsed() <= Duration::from_secs(60));
}
