//! From what the last release said, or from a LIST, to the outboxes of a tick.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::Mutex;

use super::throttling::Throttling;
use super::tombstones::TICKS;
use super::{Entry, Inner, Limits, Outbox};
use crate::spool::access::StoreAccess;
use crate::spool::name::{Folder, RemoteDir, SegmentName};
use crate::spool::retry::{MAX_OBJECT, erase, fetch, list_all};
use crate::spool::state::{RemoteState, State};
use crate::spool::store::StoreError;

/// Segments that are looked into at once, after a kill.
const PEEKS: usize = 16;

/// Of these many strange objects a tick takes care.
const STRANGERS: usize = 20;

/// The backlogs of a spool.
pub struct Opened {
    /// One for each remote that was asked for, in that order.
    pub outboxes: Vec<Outbox>,
    /// Of remotes that the configuration does not name. To be released as they are.
    pub orphans: BTreeMap<RemoteDir, RemoteState>,
}

/// Opens the outboxes of these remotes. Clean and empty: nothing is asked. Else all segments are
/// listed, and after an unclean end looked into.
///
/// # Errors
/// The store is down.
pub async fn open(
    access: &StoreAccess,
    state: &State,
    remotes: &[(RemoteDir, Limits)],
) -> Result<Opened, StoreError> {
    let mut listed: BTreeMap<RemoteDir, Vec<Entry>> = BTreeMap::new();
    let mut strangers = Vec::new();
    if access.unclean || state.is_owed_anything() {
        for object in list_all(&*access.store, &Folder::Segments.prefix(), access.deadline).await? {
            let parsed = object
                .key
                .strip_prefix(&Folder::Segments.prefix())
                .and_then(|rest| {
                    let (remote, file) = rest.split_once('/')?;
                    Some((RemoteDir::found(remote), SegmentName::parse(file)?))
                });
            match parsed {
                Some((remote, name)) if object.size <= MAX_OBJECT => {
                    listed.entry(remote).or_default().push(Entry {
                        name,
                        bytes: object.size,
                        meta: None,
                    });
                }
                _ => strangers.push(object),
            }
        }
    }
    let mut outboxes = Vec::with_capacity(remotes.len());
    for (remote, limits) in remotes {
        let entries = listed.remove(remote).unwrap_or_default();
        let known = state.remotes.get(remote).cloned().unwrap_or_default();
        outboxes.push(Outbox::new(access.clone(), remote.clone(), *limits, entries, known).await);
    }
    if let Some(first) = outboxes.first() {
        for stranger in strangers.into_iter().take(STRANGERS) {
            first
                .set_stranger_aside(&stranger.key, stranger.size)
                .await?;
        }
    }
    Ok(Opened {
        orphans: orphans(access, state, remotes, listed).await,
        outboxes,
    })
}

async fn orphans(
    access: &StoreAccess,
    state: &State,
    remotes: &[(RemoteDir, Limits)],
    listed: BTreeMap<RemoteDir, Vec<Entry>>,
) -> BTreeMap<RemoteDir, RemoteState> {
    let asked = |remote: &RemoteDir| remotes.iter().any(|(known, _)| known == remote);
    let mut orphans: BTreeMap<_, _> = state
        .remotes
        .iter()
        .filter(|(remote, known)| !asked(remote) && known.must_be_kept())
        .map(|(a, b)| (a.clone(), b.clone()))
        .collect();
    if access.unclean || state.is_owed_anything() {
        let mut listed = listed;
        orphans
            .keys()
            .for_each(|remote| _ = listed.entry(remote.clone()).or_default());
        for (remote, entries) in listed {
            let known = orphans.remove(&remote).unwrap_or_default();
            // Nothing is put there: the limits do not matter.
            let outbox = Outbox::new(
                access.clone(),
                remote.clone(),
                Limits::default(),
                entries,
                known,
            )
            .await;
            let summary = outbox.summary().await;
            if summary.must_be_kept() {
                orphans.insert(remote, summary);
            }
        }
    }
    orphans
}

impl Outbox {
    async fn new(
        access: StoreAccess,
        remote: RemoteDir,
        limits: Limits,
        mut entries: Vec<Entry>,
        known: RemoteState,
    ) -> Self {
        let RemoteState {
            backlog: told,
            head,
            throttling,
            mut unwanted,
            missed,
            uncounted,
            metadata_ms: _,
        } = known;
        // What is not there now is not owed, whenever it comes.
        unwanted.extend(
            missed
                .into_iter()
                .filter(|name| entries.iter().all(|entry| entry.name != *name))
                .map(|name| (name, TICKS)),
        );
        entries.retain(|entry| !unwanted.contains_key(&entry.name));
        let doubtful = entries
            .first()
            .map(|entry| entry.name)
            .filter(|_| access.unclean);
        let mut known_throttling = Throttling::default();
        known_throttling.resume(throttling, |name| {
            entries.iter().any(|entry| entry.name == name)
        });
        let inner = Inner {
            entries: entries.into(),
            rest: told.samples,
            oldest_ms: told.oldest_ms,
            resume: head,
            doubtful,
            unwanted,
            throttling: known_throttling,
            ..Inner::default()
        };
        let outbox = Self {
            access,
            remote,
            limits,
            inner: RefCell::new(inner),
            kept: RefCell::new(HashMap::new()),
            oldest: Mutex::default(),
        };
        outbox.delete_unwanted().await;
        let found = outbox.backlog();
        // After an unclean end the sum is old; and if it is not of these segments, somebody else
        // was here.
        if outbox.access.unclean
            || uncounted
            || (found.segments, found.bytes) != (told.segments, told.bytes)
        {
            outbox.count().await;
        }
        outbox
    }

    /// Looks into all segments for what is owed in them.
    async fn count(&self) {
        let names: Vec<_> = self
            .inner
            .borrow()
            .entries
            .iter()
            .map(|entry| entry.name)
            .collect();
        let peeks = stream::iter(names).map(|name| async move { (name, self.peek(name).await) });
        let found: Vec<_> = peeks.buffer_unordered(PEEKS).collect().await;
        let inner = &mut *self.inner.borrow_mut();
        for (name, meta) in found {
            if let Some(meta) = meta {
                inner.learn(name, meta);
            }
        }
        // What cannot be read now counts when it can.
        inner.rest = 0;
        inner.found = 0;
        inner.oldest_ms = None;
    }

    /// Looks once more into the segments that could not be looked into: else they would be owed and
    /// not counted.
    pub async fn count_unknown(&self) {
        if self.inner.borrow().rest == 0 {
            self.look_into_unknown().await;
            let inner = &mut *self.inner.borrow_mut();
            let unknown = inner.uncounted();
            if unknown > 0 {
                inner.say(format!("spool: {unknown} segments for {} could not be looked into: what is owed in them is not counted yet", self.remote));
            }
        }
        self.settle_rest();
    }

    /// Moves an object that bears no name of ours out of the way. One that is too large stays: it
    /// stops nobody.
    async fn set_stranger_aside(&self, key: &str, size: u64) -> Result<(), StoreError> {
        if size > self.limits.rejected.bytes.min(MAX_OBJECT) {
            self.inner.borrow_mut().say(format!(
                "spool: {key} is none of ours and too large to be kept: remove it"
            ));
            return Ok(());
        }
        let object = fetch(&*self.access.store, key, MAX_OBJECT, self.access.until).await?;
        match self.keep_bytes(Folder::Rejected, 0, object.bytes).await? {
            Some(place) => {
                erase(&*self.access.store, key, self.access.until).await?;
                self.inner.borrow_mut().say(format!(
                    "spool: {key} is none of ours: it is kept as {place}"
                ));
            }
            None => self
                .inner
                .borrow_mut()
                .say(format!("spool: {key} is none of ours: remove it")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::tests::{LIMITS, amp, batch, drain, outbox, tick, world};
    use super::super::{Otherwise, open};
    use crate::spool::name::RemoteDir;
    use crate::spool::segment;
    use crate::spool::state::{RemoteState, State};
    use crate::spool::store::memory::Fault;
    use crate::spool::store::{Kind, Op};

    #[tokio::test(start_paused = true)]
    async fn strangers_go_to_rejected_or_are_told_of_and_orphans_stay() {
        let store = world();
        store.plant("segments/amp/notes.txt", Bytes::from_static(b"mine"));
        store.plant("segments/loose", Bytes::from_static(b"too"));
        store.plant("segments/amp/huge", Bytes::from(vec![0; 20_000]));
        store.plant(
            "segments/old/0000000001-00000001-0000.seg",
            segment::write(&[batch(7, 100)], None),
        );
        let opened = open(
            &tick(&store, 2, true),
            &State::default(),
            &[(amp(), LIMITS)],
        )
        .await
        .unwrap();
        let orphan = &opened.orphans[&RemoteDir::found("old")];
        assert_eq!(
            (
                orphan.backlog.segments,
                orphan.backlog.samples,
                orphan.backlog.oldest_ms
            ),
            (1, 7, Some(95))
        );
        assert_eq!(opened.orphans.len(), 1);
        let messages = opened.outboxes[0].take_messages().join("\n");
        assert!(
            messages.contains("segments/amp/huge") && messages.contains("too large"),
            "{messages}"
        );
        let kept = [
            "rejected/amp/0000000002-00000000-0000.seg",
            "rejected/amp/0000000002-00000000-0001.seg",
        ];
        let left = [
            "segments/amp/huge",
            "segments/old/0000000001-00000001-0000.seg",
        ];
        assert_eq!(store.keys(), [kept, left].concat());

        // Clean: they are carried on without a call.
        let state = State {
            remotes: opened.orphans.clone(),
            ..State::default()
        };
        let again = open(&tick(&store, 3, false), &state, &[(amp(), LIMITS)])
            .await
            .unwrap();
        assert_eq!(again.orphans, opened.orphans);
    }

    #[tokio::test(start_paused = true)]
    async fn a_segment_that_could_not_be_looked_into_is_owed_all_the_same() {
        let store = world();
        outbox(&store, 1, Some(&RemoteState::default()))
            .await
            .put(1, vec![batch(7, 100)], Otherwise::Sent)
            .await
            .unwrap();
        for drained in [false, true] {
            store.set_faults(|op, _, _| Fault {
                refuse: (op == Op::Get).then_some(Kind::Denied),
                ..Fault::default()
            });
            let mut opened = open(
                &tick(&store, 2, true),
                &State::default(),
                &[(amp(), LIMITS)],
            )
            .await
            .unwrap();
            let outbox = opened.outboxes.pop().unwrap();
            assert_eq!(
                (outbox.backlog().segments, outbox.backlog().samples),
                (1, 0),
                "nobody can tell"
            );
            outbox.count_unknown().await;
            assert!(outbox.take_messages()[0].contains("is not counted yet"));
            let told = State {
                remotes: [(amp(), outbox.summary().await)].into(),
                ..State::default()
            };
            store.heal();
            let next = open(&tick(&store, 3, false), &told, &[(amp(), LIMITS)])
                .await
                .unwrap();
            assert_eq!(
                next.outboxes[0].backlog().samples,
                7,
                "the next tick counts anew"
            );
            if drained {
                assert_eq!(drain(&outbox).await, [7]);
            }
            outbox.count_unknown().await;
            assert_eq!((outbox.take_found(), outbox.take_found()), (7, 0));
            assert_eq!(
                (outbox.backlog().samples, outbox.take_messages().len()),
                (if drained { 0 } else { 7 }, 0)
            );
        }
    }
}
