//! A spool that version 0.1.0 has written is still read: `tests/fixtures/0.1.0`. It is what
//! `forwardctl run --once` left of one scrape, whose remote was away.

use bytes::Bytes;

use super::segment::{self, Segment};
use super::state::{Backlog, SpoolState};
use crate::batch::{cut_in_time, decode, halve};

const AT_MS: i64 = 1_795_176_000_000;

fn segment() -> Segment {
    let bytes =
        include_bytes!("../../tests/fixtures/0.1.0/segments/amp/0000000001-00000001-0000.seg");
    segment::read(&Bytes::from_static(bytes)).unwrap()
}

#[test]
fn a_segment_of_0_1_0() {
    let Segment { batches, note } = segment();
    assert_eq!((batches.len(), batches[0].samples, note), (1, 13, None));
    let entries = decode(&batches[0]).unwrap().timeseries;
    let samples = entries.iter().map(|entry| {
        let name = entry.labels.iter().find(|label| label.name == "__name__");
        let [sample] = &entry.samples[..] else {
            panic!("{entry:?} has not one sample")
        };
        (
            &*name.unwrap().value,
            sample.value,
            sample.timestamp - AT_MS,
        )
    });
    let federated: Vec<_> = samples.take(8).collect();
    assert_eq!(federated[0], ("up", 1.0, 0));
    assert_eq!(federated[6], ("node_cpu_seconds_total", 12_350.5, 5));
    assert_eq!(federated[7], ("zero", 0.0, 0));
}

#[test]
fn batches_of_0_1_0_are_cut_and_split_as_those_of_today() {
    let batch = &segment().batches[0];
    let cut = cut_in_time(batch, AT_MS + 3).unwrap();
    assert_eq!(
        (cut.before.unwrap().samples, cut.from.unwrap().samples),
        (5, 8)
    );
    let halves = halve(batch).unwrap().unwrap();
    assert_eq!(
        (halves.first.samples, halves.second.samples, halves.ordered),
        (6, 7, false)
    );
}

#[test]
fn a_state_of_0_1_0() {
    let state = SpoolState::read(include_bytes!("../../tests/fixtures/0.1.0/state.json")).unwrap();
    let backlog = Backlog {
        segments: 1,
        samples: 13,
        bytes: 597,
        oldest_ms: Some(AT_MS),
    };
    assert_eq!((state.epoch, state.backlog()), (1, backlog));
    assert_eq!(state.jobs["home"].last_slot_ms, Some(1_795_908_233_506));
}
