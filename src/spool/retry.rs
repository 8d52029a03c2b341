//! Calls to the store, repeated until a deadline while their failures may pass.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::segment::{self, IndexEntry, SegmentError};
use super::store::{Etag, FailureKind, ListedObject, Object, Store, StoreAnswer, StoreError};

/// Longest time for one try: that of 8 MiB at half a megabyte a second.
const TRY: Duration = Duration::from_secs(16);

/// Shortest time for one try, as long as there is that much.
const SHORT_TRY: Duration = Duration::from_secs(1);

/// Largest object that is read, in bytes: the largest `segment_bytes`, and as much again for what
/// surrounds the batches as they could ever need. Something else under the name of a segment may be
/// larger.
pub(super) const MAX_OBJECT: u64 = 33 << 20;

/// Bytes that are read for an index at first: enough for 256 batches.
pub(super) const PEEK: u64 = segment::peek_bytes(256) as u64;

/// Length of the longest index, in bytes, with what surrounds it.
const LONGEST_INDEX: u64 = segment::peek_bytes(segment::MAX_BATCHES) as u64;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A pause between tries, which doubles. It needs no randomness: only the holder of the lease
/// calls, so no other process pauses in step with it.
#[derive(Debug)]
pub(super) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pause {
    /// Waits. Returns false at once when the deadline would come first.
    pub(super) async fn pause(&mut self, deadline: Instant) -> bool {
        let pause_ends = Instant::now() + self.0;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
        if pause_ends >= deadline {
            return false;
        }
        tokio::time::sleep_until(pause_ends).await;
        true
    }
}

/// Deadline of a try that begins now, within the deadline of all tries. Near the end it is half of
/// the time that is left: a try that hangs must leave time for another one.
pub(super) fn try_ends(deadline: Instant) -> Instant {
    let now = Instant::now();
    let half = deadline.saturating_duration_since(now) / 2;
    deadline.min(now + TRY.min(half.max(SHORT_TRY)))
}

/// Repeats a call while its failures may pass. For calls that do no harm when they are done twice.
async fn again<T, F>(deadline: Instant, mut call: impl FnMut(Instant) -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<StoreAnswer<T>, StoreError>>,
{
    let mut pause = Pause::default();
    let mut in_doubt = false;
    loop {
        let error = match call(try_ends(deadline)).await {
            Ok(answer) => return Ok(answer.value),
            Err(error) => error,
        };
        // One try without an answer may have been done, whatever the later ones say.
        in_doubt |= error.kind == FailureKind::NoAnswer;
        if !error.kind.is_passing() || !pause.pause(deadline).await {
            return Err(if in_doubt { error.in_doubt() } else { error });
        }
        tracing::debug!("{error}: once more");
    }
}

/// Writes an object under a name that no other process ever writes. An object that is there already
/// is an earlier try of this call, if it has the same bytes.
///
/// # Errors
/// [`FailureKind::Changed`] when something else is there, [`FailureKind::NoAnswer`] whenever the
/// object may exist, and otherwise the error of the last try.
pub async fn persist(
    store: &dyn Store,
    key: &str,
    body: Bytes,
    deadline: Instant,
) -> Result<(), StoreError> {
    let written = again(deadline, |try_ends| {
        store.put_if_absent(key, body.clone(), try_ends)
    })
    .await;
    match written {
        Err(error) if error.kind == FailureKind::Changed => {
            let present = fetch(store, key, body.len() as u64 + 1, deadline)
                .await
                .map_err(StoreError::in_doubt)?;
            if present.bytes == body {
                Ok(())
            } else {
                Err(error)
            }
        }
        written => written.map(|_| ()),
    }
}

/// Reads the first `most` bytes of an object.
///
/// # Errors
/// The error of the last try.
pub async fn fetch(
    store: &dyn Store,
    key: &str,
    most: u64,
    deadline: Instant,
) -> Result<Object, StoreError> {
    again(deadline, |try_ends| store.get(key, most, try_ends)).await
}

/// The turn to read an index that is longer than [`PEEK`]: of many segments that are looked into at
/// once, only one at a time may take more than some kilobytes of memory.
pub(super) type LongPeek = Mutex<()>;

/// Reads the index of a segment, from its first bytes.
///
/// # Errors
/// The error of the last try. The inner error says that the object is not a segment that can be
/// read.
pub async fn peek(
    store: &dyn Store,
    key: &str,
    long: &LongPeek,
    deadline: Instant,
) -> Result<Result<Vec<IndexEntry>, SegmentError>, StoreError> {
    let object = fetch(store, key, PEEK, deadline).await?;
    match segment::peek(&object.bytes) {
        Err(SegmentError::Truncated { expected, .. })
            if !object.is_whole() && expected > PEEK && expected <= LONGEST_INDEX =>
        {
            let _turn = long.lock().await;
            let object = fetch(store, key, expected, deadline).await?;
            Ok(segment::peek(&object.bytes))
        }
        peeked => Ok(peeked),
    }
}

/// Deletes an object.
///
/// # Errors
/// The error of the last try; [`FailureKind::NoAnswer`] whenever it may be gone.
pub async fn erase(store: &dyn Store, key: &str, deadline: Instant) -> Result<(), StoreError> {
    again(deadline, |try_ends| store.delete(key, try_ends)).await
}

/// Deletes the object that has this etag. One that was written anew by somebody else stays, and
/// counts as gone: it is not the one that was meant.
///
/// # Errors
/// As [`erase`].
pub async fn erase_known(
    store: &dyn Store,
    key: &str,
    etag: &Etag,
    deadline: Instant,
) -> Result<(), StoreError> {
    let erased = again(deadline, |try_ends| {
        store.delete_if_match(key, etag, try_ends)
    });
    match erased.await {
        Err(error) if error.kind == FailureKind::Changed => {
            tracing::warn!("{error}: somebody else has written it, and it stays");
            Ok(())
        }
        erased => erased,
    }
}

/// Lists all objects whose keys begin with `prefix`, in order.
///
/// # Errors
/// The error of the last try.
pub async fn list_all(
    store: &dyn Store,
    prefix: &str,
    deadline: Instant,
) -> Result<Vec<ListedObject>, StoreError> {
    let mut all: Vec<ListedObject> = Vec::new();
    loop {
        let page = {
            let after = all.last().map(|listed| listed.key.as_str());
            again(deadline, |try_ends| store.list(prefix, after, try_ends)).await?
        };
        let more = page.more && !page.entries.is_empty();
        all.extend(page.entries);
        if !more {
            return Ok(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::spool::store::Op;
    use crate::spool::store::memory::{MemoryStore, StoreFault};
    use crate::time::TokioClock;

    fn store() -> MemoryStore {
        MemoryStore::new(Arc::new(TokioClock::starting_at(0)))
    }

    fn within(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    const BODY: Bytes = Bytes::from_static(b"body");

    #[tokio::test(start_paused = true)]
    async fn a_write_whose_answer_was_lost_is_found_to_be_ours() {
        let store = store();
        store.set_faults(|op, _, nth| StoreFault {
            answer_lost: op == Op::PutIfAbsent && nth == 0,
            ..StoreFault::default()
        });
        persist(&store, "a", BODY, within(10)).await.unwrap();
        assert_eq!(store.peek("a"), Some(BODY));
        assert_eq!(
            store.take_calls().len(),
            3,
            "a put without an answer, one that meets it, a get that compares"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_somebody_else_wrote_is_never_taken_for_ours() {
        let store = store();
        for other in ["bodY", "body and more", ""] {
            store.plant("a", Bytes::from_static(other.as_bytes()));
            assert_eq!(
                persist(&store, "a", BODY, within(10))
                    .await
                    .unwrap_err()
                    .kind,
                FailureKind::Changed,
                "{other}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn passing_failures_are_tried_again_until_the_deadline_and_others_are_not() {
        let store = store();
        for (kind, calls) in [
            (FailureKind::Busy, 6),
            (FailureKind::Unreachable, 6),
            (FailureKind::NoAnswer, 6),
            (FailureKind::Denied, 1),
            (FailureKind::Full, 1),
        ] {
            store.set_faults(move |_, _, _| StoreFault {
                refuse: Some(kind),
                ..StoreFault::default()
            });
            let deadline = within(3);
            assert_eq!(erase(&store, "a", deadline).await.unwrap_err().kind, kind);
            assert!(Instant::now() < deadline);
            assert_eq!(store.take_calls().len(), calls, "{kind:?}");
        }
        store.set_faults(|_, _, nth| StoreFault {
            refuse: (nth < 3).then_some(FailureKind::Busy),
            ..StoreFault::default()
        });
        persist(&store, "a", BODY, within(3)).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn all_pages_are_listed() {
        let store = store();
        for n in 0..2500 {
            store.plant(&format!("k/{n:04}"), BODY);
        }
        store.plant("l", BODY);
        let all = list_all(&store, "k/", within(3)).await.unwrap();
        assert_eq!(
            (all.len(), all[0].key.as_str(), all[2499].key.as_str()),
            (2500, "k/0000", "k/2499")
        );
        assert_eq!(store.take_calls().len(), 3);
    }
}
