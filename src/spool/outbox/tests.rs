mod ends;
mod odd;

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
