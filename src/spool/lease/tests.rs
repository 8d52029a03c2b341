mod clocks;
mod store;

use bytes::Bytes;

use std::time::Duration;

use super::decide::{LeaseStep, decide};
use super::take::PATIENCE;
use super::*;
use crate::spool::state::Lease;
use crate::spool::store::Op;
use crate::spool::store::memory::{MemoryStore, StoreFault};
use crate::spool::{name::RemoteDir, state::RemoteRecord};
use crate::time::{Deadlines, TokioClock};

const MINUTE: Duration = Duration::from_secs(60);
const START_MS: i64 = 1_700_000_000_123;

fn world() -> MemoryStore {
    MemoryStore::new(Arc::new(TokioClock::starting_at(START_MS)))
}

/// A process whose own clock is off by so many milliseconds.
fn process(store: &MemoryStore, seed: u64, off_ms: i64) -> LeaseClient {
    LeaseClient::new(
        Arc::new(store.clone()),
        Arc::new(TokioClock::starting_at(START_MS + off_ms)),
        &mut fastrand::Rng::with_seed(seed),
    )
}

/// A tick of a minute that waits ten seconds for another one.
fn planned() -> Deadlines {
    let now = Instant::now();
    Deadlines::new(now, Some(now + MINUTE), Duration::from_secs(48))
}

/// A tick of three minutes that waits two of them for another one.
fn patient() -> Deadlines {
    let now = Instant::now();
    Deadlines::new(now, Some(now + 3 * MINUTE), Duration::from_secs(58))
}

fn left(tenure: &Tenure) -> Duration {
    tenure.deadlines.left_to_fence(Instant::now())
}

fn ops(store: &MemoryStore) -> Vec<Op> {
    store
        .take_calls()
        .into_iter()
        .map(|called| called.op)
        .collect()
}

fn owing(state: SpoolState) -> SpoolState {
    let mut remote = RemoteRecord::default();
    remote.backlog.segments = 1;
    SpoolState {
        remotes: [(RemoteDir::new("amp"), remote)].into(),
        ..state
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_state_that_is_found_asks_for() {
    let now = Instant::now();
    let time = StoreTime {
        date_ms: 10_000,
        coarse_ms: 1_000,
        sent: now,
        received: now,
    };
    let lease = |nonce: &str, epoch, until_ms| {
        Some(Lease {
            nonce: nonce.to_owned(),
            epoch,
            until_ms,
            serves_until_ms: None,
            is_marked: false,
        })
    };
    let rows = [
        (
            "nothing there",
            0,
            None,
            None,
            LeaseStep::Take(PreviousEnd::None),
        ),
        (
            "released",
            4,
            None,
            None,
            LeaseStep::Take(PreviousEnd::Clean),
        ),
        (
            "released while we tried",
            5,
            None,
            Some(5),
            LeaseStep::Take(PreviousEnd::Clean),
        ),
        (
            "theirs, at work",
            4,
            lease("them", 4, 13_000),
            None,
            LeaseStep::Wait(now + Duration::from_secs(3)),
        ),
        (
            "theirs, not certainly over",
            4,
            lease("them", 4, 10_001),
            None,
            LeaseStep::Wait(now + Duration::from_millis(1)),
        ),
        (
            "theirs, over",
            4,
            lease("them", 4, 10_000),
            None,
            LeaseStep::Take(PreviousEnd::Unclean),
        ),
        (
            "theirs, and longer than any lease",
            4,
            lease("them", 4, 10_000 + 1_000 + 3_600_001),
            None,
            LeaseStep::Take(PreviousEnd::Unclean),
        ),
        (
            "theirs, for ever",
            4,
            lease("them", 4, i64::MAX),
            None,
            LeaseStep::Take(PreviousEnd::Unclean),
        ),
        (
            "theirs, since ever",
            4,
            lease("them", 4, i64::MIN),
            None,
            LeaseStep::Take(PreviousEnd::Unclean),
        ),
        (
            "theirs, of the epoch that we wanted",
            5,
            lease("them", 5, 13_000),
            Some(5),
            LeaseStep::Wait(now + Duration::from_secs(3)),
        ),
        (
            "ours, an answer was lost",
            5,
            lease("us", 5, 13_000),
            Some(5),
            LeaseStep::Ours,
        ),
        (
            "ours, of a tick that could not release",
            4,
            lease("us", 4, 13_000),
            None,
            LeaseStep::Take(PreviousEnd::Unclean),
        ),
        (
            "ours, of a tick before this try",
            4,
            lease("us", 4, 13_000),
            Some(5),
            LeaseStep::Take(PreviousEnd::Unclean),
        ),
    ];
    for (what, epoch, lease, tried, step) in rows {
        let state = SpoolState {
            epoch,
            lease,
            ..SpoolState::default()
        };
        assert_eq!(
            decide(&state, "us", tried, Some(&time), true, now),
            step,
            "{what}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_cold_tick_costs_a_get_and_two_puts_and_a_warm_one_two_puts() {
    let store = world();
    let mut process = process(&store, 1, 0);
    let tenure = process.take(&planned()).await.unwrap();
    assert_eq!(
        (tenure.epoch, tenure.previous, tenure.continued),
        (1, PreviousEnd::None, false)
    );
    assert_eq!(
        ops(&store),
        [Op::Get, Op::List, Op::PutIfAbsent],
        "the first of all looks for segments"
    );
    // All of the tick, and nothing beyond it.
    assert_eq!(left(&tenure), MINUTE - Duration::from_secs(1));
    let state = tenure.state.clone();
    process.release(tenure, state).await.unwrap();
    assert_eq!(ops(&store), [Op::PutIfMatch]);

    for epoch in 2..5 {
        tokio::time::advance(Duration::from_millis(59_750)).await;
        let tenure = process.take(&planned()).await.unwrap();
        assert_eq!(
            (tenure.epoch, tenure.previous, tenure.continued),
            (epoch, PreviousEnd::Clean, true)
        );
        assert_eq!(left(&tenure), MINUTE - Duration::from_secs(1));
        let held = SpoolState::read(&store.peek(KEY).unwrap()).unwrap();
        assert_eq!(
            (held.epoch, held.lease.unwrap().epoch),
            (epoch, epoch),
            "durable before anything of the tick is"
        );
        let mut state = tenure.state.clone();
        let served_ms = START_MS + 60_000 * (i64::try_from(epoch).unwrap() - 1);
        state
            .jobs
            .entry("home".to_owned())
            .or_default()
            .last_slot_ms = Some(served_ms);
        process.release(tenure, state).await.unwrap();
        assert_eq!(ops(&store), [Op::PutIfMatch, Op::PutIfMatch]);
    }
    let tenure = self::process(&store, 2, 0).take(&planned()).await.unwrap();
    assert_eq!(
        (tenure.epoch, tenure.previous, tenure.continued),
        (5, PreviousEnd::Clean, false)
    );
    assert_eq!(ops(&store), [Op::Get, Op::PutIfMatch]);
}

#[tokio::test(start_paused = true)]
async fn whoever_finds_a_lease_waits_for_its_end_or_leaves() {
    let store = world();
    let (mut first, mut second) = (process(&store, 1, 0), process(&store, 2, 0));
    let tenure = first.take(&planned()).await.unwrap();
    let Err(TakeError::Busy { epoch: 1, left }) = second.take(&planned()).await else {
        panic!("not busy")
    };
    assert!(
        left > Duration::from_secs(58) && left < Duration::from_secs(64),
        "{left:?}"
    );

    // Its own deadline allows to wait: here it sees the release within a second.
    let patient = patient();
    let started = Instant::now();
    let release = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        first.release(tenure, SpoolState::default()).await.unwrap();
    };
    let (taken, ()) = tokio::join!(second.take(&patient), release);
    let taken = taken.unwrap();
    assert_eq!((taken.epoch, taken.previous), (2, PreviousEnd::Clean));
    assert!(
        started.elapsed() < Duration::from_secs(22),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_killed_holder_is_followed_when_its_lease_is_certainly_over_and_not_before() {
    let store = world();
    let tenure = process(&store, 1, 0).take(&planned()).await.unwrap();
    let last_act = tenure.deadlines.fence();
    let patient = patient();
    // Their own clocks do not matter.
    let taken = process(&store, 2, 3_600_000).take(&patient).await.unwrap();
    assert_eq!(
        (taken.epoch, taken.previous, taken.continued),
        (2, PreviousEnd::Unclean, false)
    );
    assert!(Instant::now() > last_act);
    assert!(Instant::now() < last_act + Duration::from_secs(8));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_another_one_followed_forgets_and_cannot_release() {
    let store = world();
    let (mut old, mut new) = (process(&store, 1, 0), process(&store, 2, 0));
    let tenure = old.take(&planned()).await.unwrap();
    old.release(tenure, SpoolState::default()).await.unwrap();
    let tenure = new.take(&planned()).await.unwrap();
    new.release(tenure, SpoolState::default()).await.unwrap();
    tokio::time::advance(60 * MINUTE).await;
    let thawed = old.take(&planned()).await.unwrap();
    assert_eq!(
        (thawed.epoch, thawed.previous, thawed.continued),
        (3, PreviousEnd::Clean, false)
    );

    // It sleeps through its lease, and another one takes over.
    tokio::time::advance(2 * MINUTE).await;
    let tenure = new.take(&planned()).await.unwrap();
    assert_eq!((tenure.epoch, tenure.previous), (4, PreviousEnd::Unclean));
    let before = store.peek(KEY);
    assert!(
        matches!(
            old.release(thawed, SpoolState::default()).await,
            Err(ReleaseError::Look(LookError::Store(_)))
        ),
        "past its fence"
    );
    assert_eq!(store.peek(KEY), before);
}

#[tokio::test(start_paused = true)]
async fn tombstones_of_a_failed_release_are_in_our_next_lease_unless_another_came_between() {
    for another in [false, true] {
        let store = world();
        let mut process = process(&store, 1, 0);
        let tenure = process.take(&planned()).await.unwrap();
        store.set_faults(|_, _, _| StoreFault {
            refuse: Some(FailureKind::Denied),
            ..StoreFault::default()
        });
        let tombstones = [(SegmentName::new(1, 2, 3).unwrap(), 5)].into();
        let told = SpoolState {
            remotes: [(
                RemoteDir::new("amp"),
                RemoteRecord {
                    tombstones,
                    ..RemoteRecord::default()
                },
            )]
            .into(),
            ..SpoolState::default()
        };
        process.release(tenure, told.clone()).await.unwrap_err();
        store.heal();
        tokio::time::advance(2 * MINUTE).await;
        if another {
            let mut another = self::process(&store, 2, 0);
            let tenure = another.take(&planned()).await.unwrap();
            another
                .release(tenure, SpoolState::default())
                .await
                .unwrap();
        }
        let _killed = process.take(&planned()).await.unwrap();
        let found = SpoolState::read(&store.peek(KEY).unwrap()).unwrap();
        assert_eq!(
            found.remotes,
            if another { [].into() } else { told.remotes }
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_that_comes_too_late_changes_nothing() {
    let store = world();
    let (mut old, mut new) = (process(&store, 1, 0), process(&store, 2, 0));
    let mut tenure = old.take(&planned()).await.unwrap();
    tokio::time::advance(2 * MINUTE).await;
    let _held = new.take(&planned()).await.unwrap();
    // A clock that did not count the freeze.
    tenure.deadlines = planned();
    assert_eq!(
        old.release(tenure, SpoolState::default()).await,
        Err(ReleaseError::Lost { held: 1, found: 2 })
    );
    assert_eq!(
        SpoolState::read(&store.peek(KEY).unwrap())
            .unwrap()
            .lease
            .unwrap()
            .epoch,
        2
    );
}

#[tokio::test(start_paused = true)]
async fn of_several_at_once_one_holds_at_a_time() {
    for seed in 0..200 {
        let store = world();
        let mut rng = fastrand::Rng::with_seed(seed);
        store.set_faults(move |_, _, _| StoreFault {
            delay: Duration::from_millis(rng.u64(..900)),
            answer_delay: Duration::from_millis(rng.u64(..900)),
            answer_lost: rng.u8(..5) == 0,
            refuse: None,
        });
        let holding = std::cell::Cell::new(0_u32);
        let epochs = std::cell::RefCell::new(Vec::new());
        let ticks = (0..4).map(|nth| {
            let mut process = process(&store, seed * 10 + nth, nth as i64 * 40_000);
            let (holding, epochs) = (&holding, &epochs);
            async move {
                let now = Instant::now();
                let eager = Deadlines::new(now, Some(now + MINUTE), Duration::ZERO);
                let Ok(tenure) = process.take(&eager).await else {
                    return;
                };
                assert_eq!(holding.replace(1), 0, "seed {seed}");
                epochs.borrow_mut().push(tenure.epoch);
                tokio::time::sleep(Duration::from_secs(3).min(left(&tenure))).await;
                holding.set(0);
                let _ = process.release(tenure, SpoolState::default()).await;
            }
        });
        futures_util::future::join_all(ticks).await;
        let epochs = epochs.into_inner();
        assert!(
            !epochs.is_empty() && epochs.windows(2).all(|pair| pair[0] < pair[1]),
            "seed {seed}: {epochs:?}"
        );
    }
}
