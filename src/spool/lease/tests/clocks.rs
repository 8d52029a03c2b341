//! Clocks that are set, and that jump.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_makes_no_lease_that_is_too_long() {
    for (skew_ms, gets) in [
        (0, 0),
        (100_000, 0),
        (-3_600_000, 1),
        (3_600_000, 1),
        (-60_000, 1),
    ] {
        let store = world();
        let clock = Arc::new(Movable(0.into(), TokioClock::starting_at(START_MS)));
        let mut process = LeaseClient::new(
            Arc::new(store.clone()),
            Arc::<Movable>::clone(&clock),
            &mut fastrand::Rng::with_seed(1),
        );
        let tenure = process.take(&planned()).await.unwrap();
        process
            .release(tenure, SpoolState::default())
            .await
            .unwrap();
        clock.0.store(skew_ms, std::sync::atomic::Ordering::Relaxed);
        let _ = store.take_calls();
        // It is killed with the answer of its first PUT.
        let planned_ms = clock.1.now_ms() + 60_000;
        store.set_faults(|op, _, _| StoreFault {
            answer_delay: Duration::from_secs(if op == Op::PutIfMatch { 9 } else { 0 }),
            ..StoreFault::default()
        });
        let _ = tokio::time::timeout(Duration::from_secs(1), process.take(&planned())).await;
        let calls = store.take_calls();
        assert_eq!(
            calls.iter().filter(|called| called.op == Op::Get).count(),
            gets,
            "{skew_ms}"
        );
        let until_ms = SpoolState::read(&store.peek(KEY).unwrap())
            .unwrap()
            .lease
            .unwrap()
            .until_ms;
        assert!(
            (until_ms - planned_ms).abs() < 125_000,
            "{skew_ms}: {}",
            until_ms - planned_ms
        );
    }
}

/// A clock that a test moves.
struct Movable(std::sync::atomic::AtomicI64, TokioClock);

impl Clock for Movable {
    fn now_ms(&self) -> i64 {
        self.1.now_ms() + self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_costs_a_request_and_no_safety() {
    // A small one forward may as well have been a freeze, and shows in the answer.
    for (jump_ms, first) in [
        (-7_200_000, Op::Get),
        (-30_000, Op::Get),
        (30_000, Op::PutIfMatch),
        (7_200_000, Op::Get),
    ] {
        let store = world();
        let clock = Arc::new(Movable(0.into(), TokioClock::starting_at(START_MS)));
        let mut process = LeaseClient::new(
            Arc::new(store.clone()),
            Arc::<Movable>::clone(&clock),
            &mut fastrand::Rng::with_seed(1),
        );
        let tenure = process.take(&planned()).await.unwrap();
        process
            .release(tenure, SpoolState::default())
            .await
            .unwrap();
        let _ = store.take_calls();
        clock.0.store(jump_ms, std::sync::atomic::Ordering::Relaxed);
        let tenure = process.take(&planned()).await.unwrap();
        assert_eq!(ops(&store), [first, Op::PutIfMatch], "{jump_ms}");
        assert_eq!(
            (tenure.epoch, tenure.previous, tenure.continued),
            (2, PreviousEnd::Clean, true),
            "{jump_ms}"
        );
        assert_eq!(left(&tenure), MINUTE - Duration::from_secs(1), "{jump_ms}");
        let until_ms = SpoolState::read(&store.peek(KEY).unwrap())
            .unwrap()
            .lease
            .unwrap()
            .until_ms;
        assert!(
            (until_ms - START_MS - 60_000).abs() < 5_000,
            "{jump_ms}: {until_ms}"
        );
    }
}

/// A short term that outlasts the tick makes a lease that is not renewed. When the process was
/// suspended it seems to end before the tick, and whoever renews it must be told that it is not.
#[tokio::test(start_paused = true)]
async fn a_lease_for_the_whole_tick_is_not_renewed_after_a_suspension() {
    let store = world();
    let mut process = process(&store, 1, 0);
    let tenure = process
        .take(&planned().with_lease_term(2 * MINUTE))
        .await
        .unwrap();
    assert_eq!(tenure.deadlines.renewal(), None);
    tenure.deadlines.move_lease_end(Instant::now());
    assert!(tenure.deadlines.renewal().is_some());
    assert_eq!(process.renew(&tenure).await.ok(), Some(false));
}
