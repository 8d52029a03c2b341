//! Segments that cannot be read, batches that are throttled, and deletions in doubt.

use super::*;

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
