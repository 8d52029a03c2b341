//! Finding samples in snappy's elements.
//!
//! A block is a sequence of elements (google/snappy `format_description.txt`). The two low bits of
//! an element's first byte are its kind: 0 is a literal, whose bytes follow; 1, 2 and 3 are copies,
//! with one, two or four bytes of distance back in the uncompressed bytes.

use super::patch::SampleSlot;

/// Finds each slot's bytes in snappy's elements, and notes in the slot where they end. False when
/// the bytes of a slot are not in a single literal, or when a copy refers to them: such a piece
/// cannot be patched.
pub(super) fn locate(elements: &[u8], slots: &mut [SampleSlot]) -> bool {
    // `at` is the place in the elements, `raw` the number of uncompressed bytes that they have
    // given so far, `next` the first slot that is not found yet. Slots are in the order of their
    // bytes.
    let (mut at, mut raw, mut next) = (0, 0, 0);
    while let Some(&tag) = elements.get(at) {
        // Bytes of the header, uncompressed bytes, and what the first byte says of the distance.
        // Literals of up to 60 bytes have their length in the first byte; longer ones have it, less
        // one, in the one to four bytes that follow.
        let (header, length, distance) = match (tag & 3, usize::from(tag >> 2)) {
            (0, short @ 0..60) => (1, short + 1, 0),
            (0, long) => (1 + long - 59, 1, 0),
            (1, bits) => (2, 4 + (bits & 7), (bits >> 3) << 8),
            (2, short) => (3, short + 1, 0),
            (_, short) => (5, short + 1, 0),
        };
        // The other bytes of the header: a long literal's length, or the rest of a distance.
        let Some(more) = elements.get(at + 1..at + header) else {
            return false;
        };
        let more = little_endian(more);
        at += header;
        if tag & 3 == 0 {
            let length = length + if header > 1 { more } else { 0 };
            // All slots that start within this literal must also end in it.
            while let Some(slot) = slots
                .get_mut(next)
                .filter(|slot| slot.start() < raw + length)
            {
                let end = usize::from(slot.end);
                let Ok(place) = u16::try_from(at + end - raw) else {
                    return false;
                };
                if slot.start() < raw || end > raw + length {
                    return false;
                }
                slot.at = place;
                next += 1;
            }
            (at, raw) = (at + length, raw + length);
            continue;
        }
        // A copy: neither its source nor its result may touch a slot. A patch of the source would
        // change the copied bytes, too, and bytes that were copied cannot be written over.
        let distance = distance + more;
        let Some(source) = raw.checked_sub(distance) else {
            return false;
        };
        // A copy that is longer than its distance repeats its source.
        let source = source..source + length.min(distance);
        if first_behind(&slots[..next], source.start).is_some_and(|slot| slot.start() < source.end)
            || slots
                .get(next)
                .is_some_and(|slot| slot.start() < raw + length)
        {
            return false;
        }
        raw += length;
    }
    next == slots.len()
}

fn little_endian(bytes: &[u8]) -> usize {
    // Nearly all elements have one byte more, or two.
    match *bytes {
        [] => 0,
        [low] => usize::from(low),
        [low, high] => usize::from(u16::from_le_bytes([low, high])),
        _ => bytes
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | usize::from(*byte)),
    }
}

/// Slots among which the source of a copy is looked for first: most copies refer to one of the last
/// entries.
const NEAR: usize = 4;

/// The first of the slots found so far that ends behind this place.
fn first_behind(found: &[SampleSlot], place: usize) -> Option<&SampleSlot> {
    let is_before = |slot: &SampleSlot| usize::from(slot.end) <= place;
    let near = found.len().saturating_sub(NEAR);
    let from = if found.get(near).is_some_and(is_before) {
        near
    } else {
        0
    };
    let found = &found[from..];
    found.get(found.partition_point(is_before))
}
