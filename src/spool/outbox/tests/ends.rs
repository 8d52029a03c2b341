//! What costs an outbox nothing, and what ends a tick: kills and a store that fails.

use super::*;

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
