//! Opens the outboxes of a tick, from what the last release said and from a LIST.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Outbox;
use super::count::Which;
use super::inventory::Inventory;
use super::inventory::backlog::BacklogSegment;
use super::limits::SpoolLimits;
use crate::report::{Incident, IncidentKind};
use crate::spool::access::StoreAccess;
use crate::spool::name::{Folder, RemoteDir, SegmentName};
use crate::spool::retry::{MAX_OBJECT, list_all};
use crate::spool::state::{RemoteRecord, SpoolState};
use crate::spool::store::{ListedObject, NOT_A_FILE, StoreError};

/// Most objects without a name of ours that one tick moves out of the way.
const STRANGERS: usize = 20;

/// Longest time for all of them together: nothing waits for it.
const STRANGERS_TIME: Duration = Duration::from_secs(5);

/// The outboxes of a tick.
pub struct OpenSpool {
    /// One for each remote that was asked for, in that order.
    pub outboxes: Vec<Outbox>,
    /// States of remotes that the configuration does not name. To be released as they are.
    pub orphans: BTreeMap<RemoteDir, RemoteRecord>,
    /// Samples that were lost in the spool of those remotes.
    pub orphans_lost: u64,
    /// What people must know of those remotes.
    pub incidents: Vec<Incident>,
}

/// What a LIST of all segments found.
#[derive(Default)]
struct Listing {
    /// Segments by remote, in the order of their names.
    segments: BTreeMap<RemoteDir, Vec<BacklogSegment>>,
    /// Objects that have no name of ours, or are too large to be a segment.
    strangers: Vec<ListedObject>,
}

/// Opens the outboxes of these remotes. The store is not asked at all when the last release was
/// clean and left no backlog. Otherwise all segments are listed, and after an unclean end the first
/// bytes of each are read.
///
/// # Errors
/// The store is down. Nothing may be sent: there may be a backlog that has to go first.
pub async fn open(
    access: &StoreAccess,
    state: &SpoolState,
    remotes: &[(RemoteDir, SpoolLimits)],
) -> Result<OpenSpool, StoreError> {
    let must_list = access.unclean || state.is_owed_anything();
    let mut listing = if must_list {
        list_segments(access).await?
    } else {
        Listing::default()
    };
    let count_ends = access.count_ends();
    let mut outboxes = Vec::with_capacity(remotes.len());
    for (remote, limits) in remotes {
        let listed = listing.segments.remove(remote).unwrap_or_default();
        let released = state.remotes.get(remote).cloned().unwrap_or_default();
        let (access, remote) = (access.clone(), remote.clone());
        let outbox = Outbox::new(access, remote, *limits, listed, released, count_ends).await;
        outboxes.push(outbox);
    }
    if let Some(first) = outboxes.first() {
        let until = access
            .optional_call_ends()
            .min(Instant::now() + STRANGERS_TIME);
        for stranger in listing.strangers.into_iter().take(STRANGERS) {
            first.set_stranger_aside(&stranger, until).await;
        }
    }
    let orphans = state
        .remotes
        .iter()
        .filter(|(remote, known)| {
            let is_asked_for = remotes.iter().any(|(asked, _)| asked == *remote);
            !is_asked_for && known.must_be_kept()
        })
        .map(|(remote, known)| (remote.clone(), known.clone()))
        .collect();
    let mut opened = OpenSpool {
        outboxes,
        orphans,
        orphans_lost: 0,
        incidents: Vec::new(),
    };
    if must_list {
        look_at_orphans(access, &mut opened, listing.segments, count_ends).await;
    }
    Ok(opened)
}

async fn list_segments(access: &StoreAccess) -> Result<Listing, StoreError> {
    let prefix = Folder::Segments.prefix();
    let mut listing = Listing::default();
    for object in list_all(&*access.store, &prefix, access.fence()).await? {
        let parsed = object.key.strip_prefix(&prefix).and_then(|rest| {
            let (remote, file) = rest.split_once('/')?;
            Some((RemoteDir::found(remote)?, SegmentName::parse(file)?))
        });
        match parsed {
            // An epoch is durable before any segment carries it, so a name of a later one was never
            // given. It would be the last of the queue for ever.
            Some((remote, name)) if object.size <= MAX_OBJECT && name.epoch() <= access.epoch => {
                listing
                    .segments
                    .entry(remote)
                    .or_default()
                    .push(BacklogSegment {
                        name,
                        bytes: object.size,
                        contents: None,
                        in_sum: true,
                    });
            }
            _ => listing.strangers.push(object),
        }
    }
    Ok(listing)
}

/// Brings the states of remotes that the configuration does not name up to date with what is in the
/// store: a remote may have been taken out of the configuration by mistake.
async fn look_at_orphans(
    access: &StoreAccess,
    opened: &mut OpenSpool,
    mut listed: BTreeMap<RemoteDir, Vec<BacklogSegment>>,
    count_ends: Instant,
) {
    let mut known = std::mem::take(&mut opened.orphans);
    for remote in known.keys() {
        listed.entry(remote.clone()).or_default();
    }
    for (remote, segments) in listed {
        let released = known.remove(&remote).unwrap_or_default();
        // Nothing is put there, so the limits do not matter.
        let limits = SpoolLimits::default();
        let (access, dir) = (access.clone(), remote.clone());
        let outbox = Outbox::new(access, dir, limits, segments, released, count_ends).await;
        outbox.lose_unattributed();
        opened.orphans_lost += outbox.take_lost();
        let incidents = outbox.take_incidents().into_iter();
        opened
            .incidents
            .extend(incidents.map(|incident| incident.for_remote(remote.as_str())));
        let summary = outbox.summary().await;
        if summary.must_be_kept() {
            opened.orphans.insert(remote, summary);
        }
    }
}

impl Outbox {
    async fn new(
        access: StoreAccess,
        remote: RemoteDir,
        limits: SpoolLimits,
        listed: Vec<BacklogSegment>,
        released: RemoteRecord,
        count_ends: Instant,
    ) -> Self {
        let (sums, uncounted) = (released.backlog, released.uncounted);
        let inventory = Inventory::new(listed, released, access.unclean);
        let outbox = Self {
            access,
            remote,
            limits,
            inventory: RefCell::new(inventory),
            oldest: Mutex::default(),
        };
        outbox.delete_buried().await;
        let found = outbox.backlog();
        // If the sums of the last release are not those of these segments, another program was
        // here, or segments have vanished.
        let is_other = (found.segments, found.bytes) != (sums.segments, sums.bytes);
        if is_other && !outbox.access.unclean {
            outbox.count(Which::Unknown, count_ends).await;
        } else if outbox.access.unclean || uncounted {
            outbox.count(Which::Uncounted, count_ends).await;
        }
        // Whatever was found was there when the tick began.
        let _ = outbox.take_found();
        outbox
    }

    /// Moves an object without a name of ours out of the way. One that is too large to be moved, or
    /// that the store does not give out, stays and is reported: it blocks nothing.
    async fn set_stranger_aside(&self, stranger: &ListedObject, until: Instant) {
        let key = &stranger.key;
        let what = match self.try_to_set_aside(stranger, until).await {
            Ok(what) => what,
            Err(error) => format!("is passed over ({error}): remove it"),
        };
        self.say(format!(
            "spool: {key} was not written by this program and {what}"
        ));
    }

    /// Returns what became of the object.
    async fn try_to_set_aside(
        &self,
        stranger: &ListedObject,
        until: Instant,
    ) -> Result<String, StoreError> {
        let ListedObject { key, size } = stranger;
        if *size == NOT_A_FILE {
            return Ok("is no file: remove it".to_owned());
        }
        if *size > self.limits.rejected.bytes.min(MAX_OBJECT) {
            return Ok("is too large to keep: remove it".to_owned());
        }
        let store = &*self.access.store;
        // One try only: whatever is wrong with it, the samples must not wait.
        let object = store.get(key, MAX_OBJECT, until).await?.value;
        match self.keep_bytes(Folder::Rejected, 0, object.bytes).await? {
            Some(place) => {
                store.delete(key, until).await?;
                Ok(format!("is kept as {place}"))
            }
            None => Ok("is not kept: remove it".to_owned()),
        }
    }

    fn say(&self, message: String) {
        self.inventory
            .borrow_mut()
            .losses
            .say(IncidentKind::ForeignObject, message);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::open;
    use super::super::tests::{LIMITS, amp, batch, drain, texts, tick, world};
    use crate::spool::name::RemoteDir;
    use crate::spool::segment;
    use crate::spool::state::{Backlog, RemoteRecord, SpoolState};
    use crate::spool::store::FailureKind;
    use crate::spool::store::memory::StoreFault;

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
            &SpoolState::default(),
            &[(amp(), LIMITS)],
        )
        .await
        .unwrap();
        let orphan = &opened.orphans[&RemoteDir::new("old")];
        assert_eq!(
            (
                orphan.backlog.segments,
                orphan.backlog.samples,
                orphan.backlog.oldest_ms
            ),
            (1, 7, Some(95))
        );
        assert_eq!(opened.orphans.len(), 1);
        let messages = texts(&opened.outboxes[0]);
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
        let state = SpoolState {
            remotes: opened.orphans.clone(),
            ..SpoolState::default()
        };
        let again = open(&tick(&store, 3, false), &state, &[(amp(), LIMITS)])
            .await
            .unwrap();
        assert_eq!(again.orphans, opened.orphans);
    }

    #[tokio::test(start_paused = true)]
    async fn what_vanishes_from_the_backlog_of_an_orphan_is_told_of() {
        let store = world();
        let backlog = Backlog {
            segments: 1,
            samples: 7,
            bytes: 200,
            oldest_ms: Some(95),
        };
        let record = RemoteRecord {
            backlog,
            ..RemoteRecord::default()
        };
        let state = SpoolState {
            remotes: [(RemoteDir::new("old"), record)].into(),
            ..SpoolState::default()
        };
        let opened = open(&tick(&store, 2, false), &state, &[(amp(), LIMITS)])
            .await
            .unwrap();
        assert_eq!((opened.orphans.len(), opened.orphans_lost), (0, 7));
        assert_eq!(opened.incidents[0].remote.as_deref(), Some("old"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_that_cannot_be_read_is_passed_over() {
        for kind in [
            FailureKind::Denied,
            FailureKind::NotFound,
            FailureKind::NoAnswer,
            FailureKind::Busy,
        ] {
            let store = world();
            let ours = "segments/amp/0000000001-00000001-0000.seg";
            store.plant(ours, segment::write(&[batch(7, 100)], None));
            store.plant(
                "segments/amp/stray",
                Bytes::from_static(b"under another key"),
            );
            store.plant("segments/../escapes", Bytes::from_static(b"elsewhere"));
            // Epochs that no lease has had yet.
            store.plant("segments/amp/9999999999-00000001-0000.seg", Bytes::new());
            store.set_faults(move |_, key, _| StoreFault {
                refuse: (key != ours && key.starts_with("segments/") && key != "segments/")
                    .then_some(kind),
                ..StoreFault::default()
            });
            let state = SpoolState::default();
            let opened = open(&tick(&store, 2, true), &state, &[(amp(), LIMITS)]).await;
            let outbox = opened.unwrap().outboxes.remove(0);
            assert_eq!(outbox.backlog().samples, 7, "{kind:?}");
            let told = texts(&outbox);
            for stranger in ["amp/stray", "../escapes", "amp/9999999999-"] {
                assert!(told.contains(stranger), "{kind:?}: {stranger} in {told}");
            }
            assert_eq!(drain(&outbox).await, [7], "{kind:?}");
        }
    }
}
