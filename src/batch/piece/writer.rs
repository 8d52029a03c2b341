//! A piece that is written entry by entry, from new entries and from those of a piece that was sent
//! before.

use bytes::{Bytes, BytesMut};

use super::delta::{self, RawEntry};
use super::patch::{SamplePatch, SampleSlot};
use super::{Piece, decompress};
use crate::series::{SeriesId, TargetId};

/// Writes a piece. The elements of an entry depend on it and on the entry before it, so those of a
/// piece that was sent before are used again wherever two series still follow one another.
#[derive(Debug, Default)]
pub(in crate::batch) struct PieceWriter {
    elements: Vec<u8>,
    slots: Vec<SampleSlot>,
    /// Uncompressed bytes.
    raw_len: usize,
    /// Number of entries that have no slot: a piece with one of them cannot be patched.
    unpatchable: usize,
    /// The last entry, with the length of its head. None when it was not encoded.
    last_head: Option<usize>,
    last: Vec<u8>,
    /// A buffer for the entry in hand.
    entry: Vec<u8>,
    /// A buffer for decompressed entries.
    unpacked: Vec<u8>,
    /// The piece that was sent before.
    rest: Option<RestOfPiece>,
}

/// A piece that was sent before, whose first samples are done with.
#[derive(Debug)]
struct RestOfPiece {
    piece: Piece<BytesMut>,
    /// Number of the sample that comes next.
    next: usize,
}

impl PieceWriter {
    /// Goes on behind the first samples of a piece, which were patched.
    pub(in crate::batch) fn resume(&mut self, piece: Piece<BytesMut>, samples: usize) {
        self.clear();
        self.elements
            .extend_from_slice(&piece.elements[..piece.elements_len(samples)]);
        self.slots.extend_from_slice(&piece.slots[..samples]);
        self.raw_len = piece.raw_len(samples);
        self.adopt(piece, samples);
    }

    /// Looks for the next entries in this piece, from this sample on.
    pub(in crate::batch) fn adopt(&mut self, piece: Piece<BytesMut>, next: usize) {
        self.rest = Some(RestOfPiece { piece, next });
    }

    /// Uses no piece that was sent before.
    pub(in crate::batch) fn forget(&mut self) {
        self.rest = None;
    }

    /// Whether the series is one of those that are still to come in the piece that was sent before.
    pub(in crate::batch) fn awaits(&self, series: SeriesId) -> bool {
        self.rest.as_ref().is_some_and(|rest| {
            let mut slots = rest.piece.slots[rest.next..].iter();
            slots.any(|slot| slot.series() == series)
        })
    }

    /// Uncompressed bytes so far.
    pub(in crate::batch) fn raw_len(&self) -> usize {
        self.raw_len
    }

    /// Number of samples so far, as far as the piece can be patched. Otherwise the number does not
    /// matter.
    pub(in crate::batch) fn samples(&self) -> usize {
        if self.unpatchable == 0 {
            self.slots.len()
        } else {
            0
        }
    }

    /// Bytes held.
    pub(in crate::batch) fn memory(&self) -> usize {
        self.elements.capacity()
            + self.slots.capacity() * size_of::<SampleSlot>()
            + self.last.capacity()
            + self.entry.capacity()
            + self.unpacked.capacity()
            + self.rest.as_ref().map_or(0, |rest| rest.piece.memory())
    }

    /// Takes the sample's entry from the piece that was sent before, if it is the next one there
    /// and follows the same entry as there.
    #[inline]
    pub(in crate::batch) fn take_over(&mut self, patch: &SamplePatch) -> bool {
        let Some(RestOfPiece { piece, next }) = &mut self.rest else {
            return false;
        };
        let (Some(&slot), Some(&last)) = (piece.slots.get(*next), self.slots.last()) else {
            return false;
        };
        let Some(&before) = next.checked_sub(1).and_then(|at| piece.slots.get(at)) else {
            return false;
        };
        if !slot.takes(patch) || !before.has_head_of(last) || self.unpatchable > 0 {
            return false;
        }
        let elements = &piece.elements[usize::from(before.at)..usize::from(slot.at)];
        let end = self.raw_len + usize::from(slot.end - before.end);
        let Some(slot) = SampleSlot::new(patch, end, self.elements.len() + elements.len()) else {
            return false;
        };
        self.elements.extend_from_slice(elements);
        slot.put(&mut self.elements, self.raw_len, patch);
        self.slots.push(slot);
        self.raw_len = end;
        self.last_head = None;
        *next += 1;
        true
    }

    /// Writes an entry, which `encode` appends. It returns how long the entry is without its
    /// sample. `patch` is None for a sample whose form cannot be patched.
    ///
    /// # Errors
    /// Not known to happen: what was written before is not what it says it is.
    pub(in crate::batch) fn write(
        &mut self,
        series: SeriesId,
        patch: Option<&SamplePatch>,
        encode: impl FnOnce(&mut Vec<u8>) -> usize,
    ) -> Result<(), snap::Error> {
        if self.raw_len > 0 && self.last_head.is_none() {
            self.recover_last()?;
        }
        self.entry.clear();
        let labels = encode(&mut self.entry);
        let head = patch.map_or(labels, |patch| self.entry.len() - patch.changing());
        let entry = RawEntry {
            bytes: &self.entry,
            head,
        };
        let before = self.last_head.map(|head| RawEntry {
            bytes: &self.last,
            head,
        });
        let same_time = patch.is_some_and(SamplePatch::has_same_time);
        delta::write(&mut self.elements, before, entry, same_time);
        self.raw_len += self.entry.len();
        match patch.and_then(|patch| SampleSlot::new(patch, self.raw_len, self.elements.len())) {
            Some(slot) => self.slots.push(slot),
            None => self.unpatchable += 1,
        }
        std::mem::swap(&mut self.entry, &mut self.last);
        self.last_head = Some(head);
        // In the piece that was sent before, the series behind this one comes next.
        if let Some(rest) = &mut self.rest {
            let mut slots = rest.piece.slots[rest.next..].iter();
            if let Some(at) = slots.position(|slot| slot.series() == series) {
                rest.next += at + 1;
            }
        }
        Ok(())
    }

    /// Decompresses the last entry, which was taken over.
    fn recover_last(&mut self) -> Result<(), snap::Error> {
        let Some((last, others)) = self.slots.split_last() else {
            return Ok(());
        };
        let start = others.last().map_or(0, |slot| usize::from(slot.end));
        decompress(&self.elements, self.raw_len, &mut self.unpacked)?;
        self.last.clear();
        self.last
            .extend_from_slice(&self.unpacked[start..self.raw_len]);
        self.last_head = Some(self.last.len() - last.changing());
        Ok(())
    }

    /// Ends the piece: its elements, and the piece itself if it can be patched. What is left of the
    /// piece that was sent before serves the next one.
    pub(in crate::batch) fn finish(&mut self) -> (Bytes, Option<Piece>) {
        let elements = Bytes::copy_from_slice(&self.elements);
        let piece = (self.unpatchable == 0).then(|| Piece {
            elements: elements.clone(),
            slots: Box::from(&*self.slots),
            used: 0,
            target: TargetId(0),
        });
        let rest = self.rest.take();
        self.clear();
        self.rest = rest.filter(|rest| rest.next < rest.piece.samples());
        (elements, piece)
    }

    /// Drops everything but the buffers.
    pub(in crate::batch) fn clear(&mut self) {
        self.elements.clear();
        self.slots.clear();
        (self.raw_len, self.unpatchable, self.last_head) = (0, 0, None);
        self.rest = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::prompb::{TimedValue, Value, wire};

    const NOW_MS: i64 = 1_795_176_000_000;

    /// Labels by the numbers of their names, value, and what is added to the time.
    type Sample = (Vec<(u8, String)>, f64, i64);

    fn samples() -> impl Strategy<Value = Vec<Sample>> {
        let text = prop_oneof![8 => "[ab]{0,3}-[xy]{6}-[0-9]{1,3}", 1 => "[a-z]{100,300}"];
        let labels = prop::collection::btree_map(0..12_u8, text, 0..8);
        let value = prop_oneof![3 => 1.0..99.0_f64, 1 => Just(0.0)];
        let sample = (labels, value, 0..2_i64)
            .prop_map(|(labels, value, time)| (labels.into_iter().collect(), value, time));
        prop::collection::vec(sample, 1..40)
    }

    fn raw_entry((labels, value, time): &Sample) -> Vec<u8> {
        let mut fields = Vec::new();
        for (name, value) in labels {
            let mut label = Vec::new();
            let name = format!("{}{name:02}", "n".repeat(usize::from(name % 3)));
            wire::field(&mut label, wire::LABEL_NAME, name.as_bytes());
            wire::field(&mut label, wire::LABEL_VALUE, value.as_bytes());
            wire::field(&mut fields, wire::LABEL, &label);
        }
        wire::sample(&mut fields, *value, NOW_MS + time);
        let mut entry = Vec::new();
        wire::field(&mut entry, wire::TIME_SERIES, &fields);
        entry
    }

    fn raw(samples: &[Sample]) -> Vec<u8> {
        samples.iter().flat_map(raw_entry).collect()
    }

    fn patches(samples: &[Sample]) -> Vec<SamplePatch> {
        let mut before_ms = None;
        let patch = |(number, (_, value, time)): (usize, &Sample)| {
            let timestamp_ms = NOW_MS + time;
            let same_time = before_ms.replace(timestamp_ms) == Some(timestamp_ms);
            let value = Value::Float(*value);
            let sample = TimedValue {
                value,
                timestamp_ms,
            };
            SamplePatch::new(SeriesId(number as u32), sample, same_time).unwrap()
        };
        samples.iter().enumerate().map(patch).collect()
    }

    fn unpacked(elements: &[u8], raw_len: usize) -> Vec<u8> {
        let mut unpacked = Vec::new();
        decompress(elements, raw_len, &mut unpacked).unwrap();
        unpacked
    }

    proptest! {
        /// However labels come, change and go from entry to entry.
        #[test]
        fn a_piece_holds_its_entries_and_a_patch_changes_nothing_else(mut samples in samples()) {
            let mut writer = PieceWriter::default();
            for (patch, sample) in patches(&samples).iter().zip(&samples) {
                let encode = |out: &mut Vec<u8>| {
                    out.extend_from_slice(&raw_entry(sample));
                    out.len()
                };
                writer.write(SeriesId(0), Some(patch), encode).unwrap();
            }
            let expected = raw(&samples);
            let (elements, piece) = writer.finish();
            prop_assert!(unpacked(&elements, expected.len()) == expected);
            drop(elements);
            for sample in &mut samples {
                sample.1 *= -3.5;
                sample.2 += 60_000;
            }
            // −0 is not left out.
            samples.iter_mut().filter(|sample| sample.1 == 0.0).for_each(|sample| sample.1 = 0.0);
            let mut piece = piece.unwrap().open();
            for (number, patch) in patches(&samples).iter().enumerate() {
                prop_assert!(piece.patch(number, patch));
            }
            let expected = raw(&samples);
            prop_assert!(unpacked(&piece.elements, expected.len()) == expected);
        }
    }

    #[test]
    fn an_entry_like_the_one_before_takes_few_bytes() {
        let labels = |pod: &str| {
            let label = |(number, value): (usize, &str)| (number as u8, value.to_owned());
            let values = ["a-cluster", "a-long-name-of-a-container", pod, "a-node"];
            values.into_iter().enumerate().map(label).collect()
        };
        let samples: Vec<Sample> = vec![
            (labels("app-0001"), 1.5, 0),
            (labels("app-0002"), 2.5, 0),
            (labels("app-0003"), 3.5, 1),
        ];
        let mut writer = PieceWriter::default();
        let mut ends = Vec::new();
        for (patch, sample) in patches(&samples).iter().zip(&samples) {
            let encode = |out: &mut Vec<u8>| {
                out.extend_from_slice(&raw_entry(sample));
                out.len()
            };
            writer.write(SeriesId(0), Some(patch), encode).unwrap();
            ends.push(writer.elements.len());
        }
        // A copy of 71 bytes in two elements, one byte as a literal, and a copy. Behind them the
        // value with its header, and the timestamp with its tag: once as a copy, once as it is.
        let labels = (3 + 2) + 2 + 3;
        assert_eq!(ends[1] - ends[0], labels + 9 + 2, "{ends:?}");
        assert_eq!(ends[2] - ends[1], labels + 9 + 7, "{ends:?}");
    }
}
