//! A store that answers late, twice, wrongly or not at all, and states that come from a backup.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_name_that_somebody_made_up_does_not_use_up_all_epochs() {
    let store = world();
    for epoch in ["9999999999", "1000000000", "0000000041"] {
        let key = format!("segments/amp/{epoch}-00000001-0000.seg");
        store.plant(&key, Bytes::new());
    }
    let tenure = process(&store, 1, 0).take(&planned()).await.unwrap();
    assert_eq!(tenure.epoch, 42);
}

#[tokio::test(start_paused = true)]
async fn lost_answers_refusals_and_conflicts_at_any_call_change_nothing_in_the_end() {
    let faults = [
        (
            "lost",
            StoreFault {
                answer_lost: true,
                ..StoreFault::default()
            },
        ),
        (
            "slow",
            StoreFault {
                answer_delay: Duration::from_secs(3),
                ..StoreFault::default()
            },
        ),
        (
            "busy",
            StoreFault {
                refuse: Some(FailureKind::Busy),
                ..StoreFault::default()
            },
        ),
        (
            "gone",
            StoreFault {
                refuse: Some(FailureKind::Unreachable),
                ..StoreFault::default()
            },
        ),
        (
            "cut",
            StoreFault {
                refuse: Some(FailureKind::NoAnswer),
                ..StoreFault::default()
            },
        ),
    ];
    for (what, fault) in faults {
        for hits in [
            vec![0],
            vec![1],
            vec![2],
            vec![3],
            vec![1, 2],
            vec![1, 3],
            vec![2, 4],
            vec![2, 3, 4],
        ] {
            let store = world();
            let mut process = process(&store, 1, 0);
            let hit = hits.clone();
            store.set_faults(move |_, _, nth| {
                if hit.contains(&nth) {
                    fault
                } else {
                    StoreFault::default()
                }
            });
            let tenure = process
                .take(&planned())
                .await
                .unwrap_or_else(|error| panic!("{what} {hits:?}: {error}"));
            assert_eq!(
                (tenure.epoch, tenure.previous),
                (1, PreviousEnd::None),
                "{what} {hits:?}"
            );
            let state = owing(tenure.state.clone());
            process
                .release(tenure, state)
                .await
                .unwrap_or_else(|error| panic!("{what} {hits:?}: {error}"));
            store.heal();
            let tenure = process.take(&planned()).await.unwrap();
            assert_eq!(
                (tenure.epoch, tenure.previous, tenure.continued),
                (2, PreviousEnd::Clean, true),
                "{what} {hits:?}"
            );
            assert_eq!(tenure.state.backlog().segments, 1, "{what} {hits:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_met_another_process_does_not_go_on_without_the_store() {
    let store = world();
    let (mut first, mut second) = (process(&store, 1, 0), process(&store, 2, 0));
    let tenure = first.take(&planned()).await.unwrap();
    first.release(tenure, SpoolState::default()).await.unwrap();
    let tenure = second.take(&planned()).await.unwrap();
    second
        .release(tenure, owing(SpoolState::default()))
        .await
        .unwrap();
    assert!(first.may_go_without(), "it cannot know");
    store.set_faults(|op, _, _| StoreFault {
        refuse: (op == Op::Get).then_some(FailureKind::Denied),
        ..StoreFault::default()
    });
    first.take(&planned()).await.unwrap_err();
    assert!(!first.may_go_without(), "the state had changed");
}

#[tokio::test(start_paused = true)]
async fn who_was_away_for_long_does_not_go_on_without_the_store() {
    let store = world();
    let mut process = process(&store, 1, 0);
    let tenure = process.take(&planned()).await.unwrap();
    process
        .release(tenure, SpoolState::default())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(process.may_go_without());
    process.went_without();
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(process.may_go_without(), "it was at work all the time");
    tokio::time::sleep(Duration::from_secs(21)).await;
    assert!(
        !process.may_go_without(),
        "another one may have left a backlog meanwhile"
    );

    assert!(is_lately(Some(5_000), 5_000) && is_lately(Some(5_000), 124_999));
    assert!(
        !is_lately(Some(5_000), 125_000)
            && !is_lately(Some(5_000), 4_999)
            && !is_lately(None, 5_000)
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_is_left_soon_and_what_it_took_is_found_later() {
    let store = world();
    let mut process = process(&store, 1, 0);
    let tenure = process.take(&planned()).await.unwrap();
    process
        .release(tenure, SpoolState::default())
        .await
        .unwrap();
    assert!(process.may_go_without());

    // The PUT takes place, and then nothing answers any more.
    store.set_faults(|op, _, _| match op {
        Op::PutIfMatch => StoreFault {
            answer_lost: true,
            ..StoreFault::default()
        },
        _ => StoreFault {
            refuse: Some(FailureKind::Unreachable),
            ..StoreFault::default()
        },
    });
    let started = Instant::now();
    let error = process.take(&planned()).await.unwrap_err();
    assert!(
        matches!(&error, TakeError::Store(error) if error.kind == FailureKind::Unreachable),
        "{error}"
    );
    assert!(started.elapsed() <= PATIENCE);
    assert!(process.may_go_without(), "clean and empty it was, and is");

    store.heal();
    let tenure = process.take(&planned()).await.unwrap();
    assert_eq!(
        (tenure.epoch, tenure.previous, tenure.continued),
        (3, PreviousEnd::Unclean, false),
        "our own lease needs no waiting for"
    );
    assert!(!process.may_go_without());
    process
        .release(tenure, owing(SpoolState::default()))
        .await
        .unwrap();
    assert!(!process.may_go_without(), "order would be lost");
}

#[tokio::test(start_paused = true)]
async fn segments_without_a_state_are_older_than_all_that_comes() {
    let store = world();
    store.plant("segments/amp/0000000041-00000001-0000.seg", Bytes::new());
    store.plant("segments/other/0000000017-00000001-0000.seg", Bytes::new());
    store.plant("segments/amp/notes", Bytes::new());
    let tenure = process(&store, 1, 0).take(&planned()).await.unwrap();
    assert_eq!((tenure.epoch, tenure.previous), (42, PreviousEnd::Unclean));
}

#[tokio::test(start_paused = true)]
async fn a_state_from_a_backup_does_not_give_epochs_again() {
    let store = world();
    let mut process_1 = process(&store, 1, 0);
    let mut backup = None;
    for epoch in 1..4 {
        let tenure = process_1.take(&planned()).await.unwrap();
        assert_eq!(tenure.epoch, epoch);
        process_1
            .release(tenure, SpoolState::default())
            .await
            .unwrap();
        backup = backup.or_else(|| store.peek(KEY));
    }
    let restore = || store.plant(KEY, backup.clone().unwrap());
    restore();
    // The process that had the epochs knows them, and remembers nothing that the state denies.
    let tenure = process_1.take(&planned()).await.unwrap();
    assert_eq!((tenure.epoch, tenure.previous), (4, PreviousEnd::Unclean));
    assert!(!tenure.continued);
    process_1
        .release(tenure, SpoolState::default())
        .await
        .unwrap();
    // Any other one sees the segments.
    store.plant("segments/amp/0000000041-00000001-0000.seg", Bytes::new());
    restore();
    let _ = store.take_calls();
    let mut process_2 = process(&store, 2, 0);
    let tenure = process_2.take(&planned()).await.unwrap();
    assert_eq!((tenure.epoch, tenure.previous), (42, PreviousEnd::Unclean));
    assert_eq!(ops(&store), [Op::Get, Op::List, Op::PutIfMatch]);
    process_2
        .release(tenure, SpoolState::default())
        .await
        .unwrap();
    let _ = store.take_calls();
    let tenure = process_2.take(&planned()).await.unwrap();
    assert_eq!((tenure.epoch, tenure.previous), (43, PreviousEnd::Clean));
    assert_eq!(ops(&store), [Op::PutIfMatch], "it had the lease before");
    // A state that served a slot lately is none from a backup.
    let mut state = SpoolState::default();
    state
        .jobs
        .entry("home".to_owned())
        .or_default()
        .last_slot_ms = Some(START_MS - 200_000);
    process_2.release(tenure, state).await.unwrap();
    let _ = store.take_calls();
    let tenure = process(&store, 3, 0).take(&planned()).await.unwrap();
    assert_eq!((tenure.epoch, tenure.previous), (44, PreviousEnd::Clean));
    assert_eq!(ops(&store), [Op::Get, Op::PutIfMatch]);
}

#[tokio::test(start_paused = true)]
async fn denials_are_told_at_once() {
    let store = world();
    store.set_faults(|_, _, _| StoreFault {
        refuse: Some(FailureKind::Denied),
        ..StoreFault::default()
    });
    let started = Instant::now();
    assert!(matches!(
        process(&store, 1, 0).take(&planned()).await,
        Err(TakeError::Store(_))
    ));
    assert_eq!(started.elapsed(), Duration::ZERO);
    store.heal();
    store.plant(KEY, Bytes::from_static(br#"{"version":9}"#));
    assert_eq!(
        process(&store, 1, 0).take(&planned()).await.unwrap_err(),
        TakeError::State(StateError::Newer(9))
    );
}
