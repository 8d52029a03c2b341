use std::time::Duration;

use super::*;
use crate::spool::state::JobState;
use crate::spool::store::memory::{MemoryStore, StoreFault};
use crate::spool::store::{FailureKind, Op};
use crate::time::{Deadlines, TokioClock};

const START_MS: i64 = 1_700_000_000_123;

fn process(store: &MemoryStore, seed: u64) -> LeaseClient {
    LeaseClient::new(
        Arc::new(store.clone()),
        Arc::new(TokioClock::starting_at(START_MS)),
        &mut fastrand::Rng::with_seed(seed),
    )
}

fn world() -> MemoryStore {
    MemoryStore::new(Arc::new(TokioClock::starting_at(START_MS)))
}

fn planned() -> Deadlines {
    let now = Instant::now();
    let minute = Duration::from_secs(60);
    Deadlines::new(now, Some(now + minute), Duration::from_secs(5))
}

/// The state with a job that was served up to this slot.
fn served(tenure: &Tenure, slot_ms: i64) -> SpoolState {
    let mut state = tenure.state.clone();
    let job = JobState {
        last_slot_ms: Some(slot_ms),
        ..JobState::default()
    };
    state.jobs.insert("home".to_owned(), job);
    state
}

#[tokio::test(start_paused = true)]
async fn what_was_written_down_is_found_after_a_kill() {
    let store = world();
    let mut ours = process(&store, 1);
    let tenure = ours.take(&planned()).await.unwrap();
    let access = tenure.access(&ours);
    for slot_ms in [1, 2] {
        let state = served(&tenure, slot_ms);
        tenure.checkpoint(&access, state).await.unwrap();
    }
    // The process is killed here. Nobody takes the lease before its end, as if it had not written.
    let mut theirs = process(&store, 2);
    let early = theirs.take(&planned()).await;
    assert!(matches!(early, Err(TakeError::Busy { .. })), "{early:?}");
    tokio::time::advance(Duration::from_secs(62)).await;
    let found = theirs.take(&planned()).await.unwrap();
    assert_eq!(found.previous, PreviousEnd::Unclean);
    assert_eq!(found.state.jobs["home"].last_slot_ms, Some(2));
    assert_eq!(found.epoch, tenure.epoch + 1);
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_released_as_without_it() {
    let store = world();
    let mut ours = process(&store, 1);
    let tenure = ours.take(&planned()).await.unwrap();
    let access = tenure.access(&ours);
    tenure
        .checkpoint(&access, served(&tenure, 1))
        .await
        .unwrap();
    let state = served(&tenure, 2);
    ours.release(tenure, state).await.unwrap();
    let _ = store.take_calls();
    let again = ours.take(&planned()).await.unwrap();
    assert!(again.continued);
    assert_eq!(again.previous, PreviousEnd::Clean);
    assert_eq!(again.state.jobs["home"].last_slot_ms, Some(2));
    assert_eq!(store.take_calls().len(), 1, "a warm process needs no GET");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_or_a_refusal_changes_nothing_in_the_end() {
    for fault in [
        StoreFault {
            answer_lost: true,
            ..StoreFault::default()
        },
        StoreFault {
            refuse: Some(FailureKind::Busy),
            ..StoreFault::default()
        },
    ] {
        let store = world();
        let mut ours = process(&store, 1);
        let tenure = ours.take(&planned()).await.unwrap();
        let access = tenure.access(&ours);
        let mut left = 1;
        store.set_faults(move |op, _, _| {
            if op == Op::PutIfMatch && std::mem::take(&mut left) == 1 {
                fault
            } else {
                StoreFault::default()
            }
        });
        tenure
            .checkpoint(&access, served(&tenure, 1))
            .await
            .unwrap();
        tenure
            .checkpoint(&access, served(&tenure, 2))
            .await
            .unwrap();
        let state = served(&tenure, 3);
        ours.release(tenure, state).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_lost_the_lease_writes_nothing() {
    let store = world();
    let mut ours = process(&store, 1);
    let tenure = ours.take(&planned()).await.unwrap();
    // The access of a process that does not notice how late it is.
    let late = StoreAccess {
        store: Arc::new(store.clone()),
        deadlines: Deadlines::new(
            Instant::now(),
            Some(Instant::now() + Duration::from_secs(600)),
            Duration::from_secs(5),
        ),
        ..tenure.access(&ours)
    };
    tokio::time::advance(Duration::from_secs(62)).await;
    let mut theirs = process(&store, 2);
    let found = theirs.take(&planned()).await.unwrap();
    let error = tenure
        .checkpoint(&late, served(&tenure, 9))
        .await
        .unwrap_err();
    assert_eq!(
        error,
        ReleaseError::Lost {
            held: tenure.epoch,
            found: found.epoch
        }
    );
    let state = theirs
        .look(Instant::now() + Duration::from_secs(5))
        .await
        .unwrap();
    assert!(state.jobs.is_empty());
}
