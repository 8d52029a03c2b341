//! What somebody else may put into the spool: objects that are none of ours, or that the store does
//! not give out, segments whose numbers cannot be, and a state with extreme ones. None of it may
//! stop a tick, be sent, or be deleted where it is not in the way.

use amp_forwarder::batch::Batch;
use amp_forwarder::spool::segment;
use amp_forwarder::spool::state::KEY;
use amp_forwarder::spool::store::memory::{MemoryStore, StoreFault};
use amp_forwarder::spool::store::{FailureKind, Op};
use bytes::Bytes;
use fastrand::Rng;
use serde_json::json;

use crate::events::Event;
use crate::world::SimWorld;

/// Objects by their keys, with the folder of a remote as `@`. The store refuses to give out those
/// with `true`.
const STRANGERS: &[(&str, bool)] = &[
    ("segments/@/under-another-key", true),
    ("segments/../escapes", true),
    ("segments/@/0000000001-00000001-0000.seg.bak", false),
    ("segments/@/9999999999-00000001-0000.seg", false),
    ("segments/@/9999999999-99999999-9999.seg", true),
    ("segments/..%2F/0000000001-00000001-0000.seg", false),
    ("segments/loose", false),
    ("segments/\u{1b}[2J/0000000001-00000001-0000.seg", false),
    ("reads/@/notes", false),
    ("reads/@/0000000001-0001.last.bak", true),
    ("reads/../escapes", true),
];

/// A segment with checksums that hold and a number of samples that its bytes have no room for.
const FORGED: &str = "segments/@/0000000001-00000000-0000.seg";

/// Puts some strangers into the spool of a remote.
pub(crate) fn plant_strangers(world: &SimWorld, objects: &MemoryStore, dir: &str, rng: &mut Rng) {
    for (key, is_refused) in STRANGERS {
        if rng.bool() {
            objects.plant(
                &key.replace('@', dir),
                Bytes::from_static(b"somebody else's"),
            );
            world.hit(if *is_refused {
                Event::StrangerRefused
            } else {
                Event::Stranger
            });
        }
    }
    if rng.bool() {
        let batch = Batch {
            body: vec![1, 0].into(),
            samples: u32::MAX,
            raw_len: u32::MAX,
            min_ms: i64::MIN,
            max_ms: i64::MAX,
        };
        objects.plant(&FORGED.replace('@', dir), segment::write(&[batch], None));
        world.hit(Event::ForgedSegment);
    }
}

/// Puts a state into the spool: a lease without an end, sums that no spool has, and times of the job
/// and of its reads that no clock shows.
pub(crate) fn plant_state(world: &SimWorld, objects: &MemoryStore, job: &str, dirs: &[&str]) {
    let in_a_year = world.now_ms() + 365 * 86_400_000;
    let watermarks = json!(
        dirs.iter()
            .map(|dir| ((*dir).to_owned(), in_a_year))
            .collect::<std::collections::BTreeMap<_, _>>()
    );
    let mut state = json!({
        "version": 2,
        "epoch": 7,
        "lease": {"nonce": "somebody", "epoch": 7, "until_ms": i64::MAX},
        "jobs": {job: {
            "last_slot_ms": in_a_year,
            "watermarks": watermarks,
            "reads": {"home:9090": {"watermarks": watermarks, "read_ms": watermarks}},
        }},
        "remotes": {},
    });
    for dir in dirs {
        state["remotes"][*dir] = json!({
            "segments": 0,
            "samples": u64::MAX,
            "bytes": u64::MAX,
            "oldest_ms": i64::MIN,
            "metadata_ms": i64::MAX,
            "table": {"epoch": 7, "number": u32::MAX, "series": u64::MAX},
        });
    }
    objects.plant(KEY, Bytes::from(state.to_string()));
    world.hit(Event::ForgedState);
}

/// Whether an object is a stranger's.
pub(crate) fn is_stranger(key: &str) -> bool {
    let file = |key: &str| key.rsplit('/').next().map(str::to_owned);
    STRANGERS.iter().any(|(stranger, _)| {
        *stranger == key || (stranger.contains('@') && file(stranger) == file(key))
    })
}

/// The refusal of a stranger's object, with or without other faults.
pub(crate) fn refusal(op: Op, key: &str) -> Option<StoreFault> {
    let is_refused = STRANGERS.iter().any(|(stranger, is_refused)| {
        let end = stranger.rsplit('@').next().unwrap_or_default();
        *is_refused && key.ends_with(end)
    });
    (op == Op::Get && is_refused).then(|| StoreFault {
        refuse: Some(FailureKind::Denied),
        ..StoreFault::default()
    })
}
